//! Where rows go: what a writer would find wrong with the place when it begins.

use std::hash::{BuildHasher, RandomState};

use longshore_core::sink::WriterContext;
use longshore_core::{Failure, PairId, Reason, WriterId};
use longshore_settings::{PostgresSinkOptions, SinkEntry, SinkKind};

use super::case::Case;
use super::crew::Crew;
use super::finding::{Check, Finding, Next};
use crate::commands::check::NoTopics;
use crate::commands::common::answer::runtime;
use crate::exit::End;
use crate::worker::plan;

pub(super) fn looks(crew: &mut Crew) {
    let case = std::sync::Arc::clone(crew.case());
    for (number, entry) in case.pipeline().sinks.iter().enumerate() {
        let entry = entry.clone();
        // A topic is looked at with the topics, and the rights to it with the rights.
        if matches!(entry.kind, SinkKind::Topic(_)) {
            continue;
        }
        crew.look(Check::Sink, entry.name.clone(), move |case| {
            vec![match examined(case, &entry) {
                Ok(Ok(())) => Finding::ok(Check::Sink, &entry.name, well(&entry.kind)),
                Ok(Err(failure)) => Finding::error(
                    Check::Sink,
                    &entry.name,
                    failure.to_string(),
                    next(number, &entry, &failure),
                ),
                Err(end) => Finding::error(Check::Sink, &entry.name, end.message, setting(number, &entry)),
            }]
        });
    }
}

fn examined(case: &Case, entry: &SinkEntry) -> Result<Result<(), Failure>, End> {
    let sink = plan::sink_of(case.pipeline(), entry, &NoTopics)?;
    let runtime = runtime()?;
    let mut outcome = Ok(());
    for topic in &case.pipeline().input.topics {
        let context = WriterContext {
            pair: PairId::new(topic, 0),
            writer: writer(),
            // Both belong to the ledger, which is not read.
            cluster: String::new(),
            topic_id: String::new(),
        };
        outcome = outcome.and(runtime.block_on(sink.examine(context)));
    }
    Ok(outcome)
}

/// A writer that is nobody else, for the names of what it makes and removes.
fn writer() -> WriterId {
    let state = RandomState::new();
    WriterId((u128::from(state.hash_one(1_u64)) << 64) | u128::from(state.hash_one(2_u64)))
}

fn well(kind: &SinkKind) -> &'static str {
    match kind {
        SinkKind::Files(_) => "files can be made in its folder and get a second name",
        SinkKind::Objects(_) => {
            "objects can be created and removed, and of two of one name the second is refused"
        }
        SinkKind::Postgres(_) => {
            "the table fits, and the role has the rights to it and to the ledger's tables"
        }
        SinkKind::Topic(_) | SinkKind::Stdout(_) => "nothing to look at",
    }
}

fn next(number: usize, entry: &SinkEntry, failure: &Failure) -> Next {
    match (&entry.kind, failure.reason) {
        (SinkKind::Postgres(options), Reason::SinkMissing | Reason::SinkUnfit | Reason::SinkDenied) => {
            Next::Command(psql(options))
        }
        (SinkKind::Files(options), Reason::SinkDenied) => Next::Command(format!(
            "ls -ld {} (it has to be a folder that this user may write)",
            options.path.display()
        )),
        _ => setting(number, entry),
    }
}

/// Shows the table as it is, to the role that the sink has.
fn psql(options: &PostgresSinkOptions) -> String {
    format!(
        "psql 'host={} port={} user={} dbname={}' -c '\\d {}' -c '\\dp {}'",
        options.host, options.port, options.user, options.database, options.table, options.table
    )
}

fn setting(number: usize, entry: &SinkEntry) -> Next {
    let what = match &entry.kind {
        SinkKind::Files(_) => "path: a folder on a disk that all workers share",
        SinkKind::Objects(_) => {
            "url, endpoint, region, access_key_id: a bucket that is reached with these keys"
        }
        SinkKind::Postgres(_) => {
            "host, port, database, user, password, tls: a server that is reached with them"
        }
        SinkKind::Topic(_) => "name: a topic",
        SinkKind::Stdout(_) => "",
    };
    Next::Setting(format!("sinks.{number}.{}.{what}", entry.kind.word()))
}
