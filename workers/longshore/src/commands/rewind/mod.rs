//! `longshore rewind`: records are processed again on purpose, into a new sink generation; the old one stays as it is.
//!
//! The commits themselves carry the new generation (`longshore_core::metadata::SinkMark`), and a worker whose pipeline file
//! names an earlier one halts. So it does not matter which worker starts first with which file: two generations are never mixed
//! (ADR 0010).

mod plan;

use longshore_core::journal::{Counts, Filter, RunKind, RunState};
use longshore_core::metadata::{Metadata, SinkMark};
use longshore_core::{Generation, Offset, Sequence};
use longshore_kafka::{Admin, Committed, journal_topic};
use serde_json::json;

use self::plan::{Goal, Home, Plan, folder};
use super::retry::{Backlog, Lanes};
use crate::cli::Format;
use crate::cli::dlq::LetterFilter;
use crate::cli::rewind::Rewind;
use crate::commands::common::answer::runtime;
use crate::commands::common::ask::{Answer, ask};
use crate::commands::common::choose::Choice;
use crate::commands::common::run::new_run;
use crate::commands::common::writer::Writer;
use crate::commands::common::{journal, when};
use crate::commands::connection::{self, typed};
use crate::exit::{End, Exit};
use crate::output::{Output, counted, grouped};

pub(crate) fn run(arguments: &Rewind, output: &Output) -> Result<(), End> {
    let now = when::now_ms();
    let goal = Goal::parse(&arguments.to, now)?;
    let why = "its group is sent back";
    let (loaded, options) = connection::pipeline(&arguments.connection, why, output)?;
    let pipeline = &loaded.pipeline;
    let admin = Admin::new(&options)?;
    let members = admin.group_members(&pipeline.group())?;
    let plan = Plan::make(&admin, pipeline, goal)?;
    let waiting = match Lanes::of(pipeline, &options) {
        Some(lanes) => {
            let all = Choice::of(&LetterFilter::default(), &[])?;
            Backlog::read(&lanes, &all, now, output)?.iter().count() as u64
        }
        None => 0,
    };
    let journal_name = journal_topic(&pipeline.pipeline);
    let handled = journal::read(&options, &journal_name, output)?.unwrap_or_default().all_handled().len();
    show(&plan, &members, waiting, handled, arguments, output)?;
    if plan.records() == 0 {
        output.note("nothing to read again: no partition has committed anything behind that place");
        return Ok(());
    }
    if !members.is_empty() && !arguments.consent.dry_run {
        let same = typed(&arguments.connection);
        let words = format!(
            "{} has {}: {}\n  next: stop all workers (one that was killed counts until its session times out), then\n  \
             longshore rewind{same} --to {}",
            pipeline.group(),
            counted(members.len() as u64, "member"),
            members.join(", "),
            arguments.to
        );
        return Err(End::new(Exit::Temporary, words));
    }
    let question = format!("Read {} again?", counted(plan.records(), "record"));
    if ask(arguments.consent, &question)? == Answer::Leave {
        output.note("nothing was done");
        return Ok(());
    }
    let runtime = runtime()?;
    let writer = Writer::open(&options, &journal_name)?;
    let counts = Counts { selected: plan.records(), ..Counts::default() };
    let mut run = new_run(RunKind::Rewind, &Filter::default(), &pipeline.input.topics, counts);
    run.words = Some(format!("to {}: generation {} to {}", arguments.to, plan.current, plan.next));
    // Noted before and after, so that an audit misses nobody.
    writer.run(&runtime, &mut run)?;
    let commits: Vec<_> = plan
        .partitions
        .iter()
        .map(|place| {
            let metadata = metadata(&plan, place.start);
            (
                place.topic.as_str(),
                Committed { partition: place.partition, offset: Some(place.start), metadata },
            )
        })
        .collect();
    let done = admin.commit_for(&pipeline.group(), &commits);
    run.state = if done.is_ok() { RunState::Done } else { RunState::Cancelled };
    run.counts.handled = if done.is_ok() { run.counts.selected } else { 0 };
    writer.run(&runtime, &mut run)?;
    done.map_err(|failure| {
        let end = End::from(failure);
        let words =
            "is a worker running? stop all, then type the same again; what was committed already is no harm";
        End::new(end.code, format!("{}\n  next: {words}", end.message))
    })?;
    if output.format() != Format::Table {
        output.json(&run)?;
    }
    output.note(format_args!("rewind {}: {} are read again", run.id, counted(plan.records(), "record")));
    if plan.has_ledger() {
        let file =
            arguments.connection.config.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        output.note(format_args!(
            "  next: set `generation: {}` in {file}, then start the workers; with another number they stop with \
             ledger.generation",
            plan.next
        ));
    }
    Ok(())
}

/// What stands in the commit: the new generation of every sink with a ledger, nothing published, nothing settled beyond.
fn metadata(plan: &Plan, start: i64) -> String {
    let mark = |name: &String| SinkMark {
        name_hash: SinkMark::hash_of(name),
        generation: Generation(plan.next),
        next: Sequence(0),
    };
    let sinks = plan.ledgers.iter().map(|kept| mark(&kept.name)).collect();
    Metadata { sinks, clean: true, ..Metadata::default() }.encode(Offset(start)).text
}

fn show(
    plan: &Plan,
    members: &[String],
    waiting: u64,
    handled: u64,
    arguments: &Rewind,
    output: &Output,
) -> Result<(), End> {
    if output.format() != Format::Table {
        if arguments.consent.dry_run {
            output.json(&json!({
                "partitions": plan.partitions,
                "records": plan.records(),
                "generation": plan.current,
                "new_generation": plan.has_ledger().then_some(plan.next),
                "folders": plan.ledgers.iter().filter_map(|kept| match &kept.place {
                    Home::Folder(root) => Some(folder(root, plan.next)),
                    Home::Table(_) => None,
                }).collect::<Vec<_>>(),
                "tables": plan.ledgers.iter().filter_map(|kept| match &kept.place {
                    Home::Table(table) => Some(table),
                    Home::Folder(_) => None,
                }).collect::<Vec<_>>(),
                "waiting": waiting,
                "handled_letters": handled,
                "members": members,
            }))?;
        }
        return Ok(());
    }
    output.rows(
        &["TOPIC", "PARTITION", "COMMITTED", "NEW START", "AGAIN", "GONE"],
        &plan.partitions,
        |place| {
            let numbers = [place.committed, place.start, place.again(), place.gone];
            let numbers = numbers.map(|number| number.to_string());
            [place.topic.clone(), place.partition.to_string()].into_iter().chain(numbers).collect()
        },
    )?;
    let line = |name: &str, text: String| output.line(format_args!("{name:<10} {text}"));
    if plan.has_ledger() {
        line("generation", format!("{} to {}", plan.current, plan.next));
        for kept in &plan.ledgers {
            match &kept.place {
                Home::Folder(root) => {
                    line("old files", format!("{} stays as it is", folder(root, plan.current)));
                    line("new files", folder(root, plan.next));
                }
                Home::Table(table) => {
                    line(
                        "rows",
                        format!("{table} shows older records again until their newer ones are read"),
                    );
                }
            }
        }
    }
    for sink in &plan.without_ledger {
        line("repeats", format!("{sink} keeps no ledger: it gets these records a second time"));
    }
    if waiting > 0 {
        line(
            "retry",
            format!("{} that wait stay there, with their attempts, and go", counted(waiting, "record")),
        );
        line("", "to the new generation when they are through".to_owned());
    }
    if handled > 0 {
        line("letters", format!("{} were replayed or discarded; a record that fails", grouped(handled)));
        line("", "again counts as a copy of its handled letter, and a correction is not".to_owned());
        line("", "made again".to_owned());
    }
    let gone: i64 = plan.partitions.iter().map(|place| place.gone).sum();
    if gone > 0 {
        let gone = grouped(u64::try_from(gone).unwrap_or(0));
        line("gone", format!("{gone} offsets that were asked for are deleted by retention"));
    }
    if arguments.consent.dry_run && !members.is_empty() {
        output.note(format_args!("stop the workers first: {}", members.join(", ")));
    }
    Ok(())
}
