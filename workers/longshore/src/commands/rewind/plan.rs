//! Where each partition would begin again.

use std::path::{Path, PathBuf};

use longshore_core::Offset;
use longshore_core::metadata::{Metadata, MetadataError};
use longshore_kafka::{Admin, PartitionOffsets};
use longshore_settings::{Pipeline, PostgresMode, SinkEntry, SinkKind};
use longshore_sinks::verify;
use serde::Serialize;

use crate::commands::common::when;
use crate::exit::{End, Exit};
use crate::worker::ledgers::ledgers;

/// Where to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Earliest,
    /// Milliseconds since 1970.
    Time(i64),
    /// The same in every partition.
    Offset(i64),
}

impl Goal {
    pub(super) fn parse(text: &str, now_ms: i64) -> Result<Self, End> {
        if text == "earliest" {
            return Ok(Self::Earliest);
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let words = |_| End::new(Exit::Usage, format!("--to {text}: no partition has so many records"));
            return text.parse().map(Self::Offset).map_err(words);
        }
        when::parse("--to", text, now_ms).map(Self::Time).map_err(|_| {
            let words =
                "write earliest, a time such as 2026-11-27T02:00:00Z, how long ago such as 6h, or an offset";
            End::new(Exit::Usage, format!("--to {text}: {words}"))
        })
    }
}

/// A partition of the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// Everything below is settled now.
    pub(super) committed: i64,
    /// Where it begins again.
    pub(super) start: i64,
    /// Offsets that were asked for and that retention has deleted.
    pub(super) gone: i64,
}

impl Place {
    /// Offsets that are read again.
    pub(super) fn again(&self) -> i64 {
        self.committed - self.start
    }
}

/// A new generation writes into the same table, where the rows of the old one are.
fn rewinds_no_inserts(sink: &str) -> End {
    let words = format!(
        "sink {sink} adds rows to a table, and what is read again would be in it twice\n  next: give the pipeline another name and \
         table, and start it where you want to begin (`input.start`)"
    );
    End::new(Exit::Configuration, words)
}

/// A sink with a ledger.
#[derive(Debug)]
pub(super) struct Kept {
    /// The sink's name.
    pub(super) name: String,
    pub(super) place: Home,
}

/// Where a ledger and its rows are.
#[derive(Debug)]
pub(super) enum Home {
    /// A folder, with one below it for each generation.
    Folder(PathBuf),
    /// A table whose rows change: those of a new generation win over those of an earlier one.
    Table(String),
}

/// What would be done.
#[derive(Debug)]
pub(super) struct Plan {
    /// Partitions that have a commit; the others have not begun.
    pub(super) partitions: Vec<Place>,
    /// The generation that is committed, or the pipeline file's before there was a commit.
    pub(super) current: u32,
    pub(super) next: u32,
    /// Sinks with a ledger.
    pub(super) ledgers: Vec<Kept>,
    /// Sinks without.
    pub(super) without_ledger: Vec<String>,
}

impl Plan {
    pub(super) fn make(admin: &Admin, pipeline: &Pipeline, goal: Goal) -> Result<Self, End> {
        let (mut partitions, mut committed) = (Vec::new(), 0);
        for topic in &pipeline.input.topics {
            let commits = admin.commits(&pipeline.group(), topic)?;
            let places = admin.offsets(topic)?;
            check(goal, topic, &places)?;
            for place in places {
                let commit = commits.iter().find(|commit| commit.partition == place.partition);
                let Some((commit, offset)) = commit.and_then(|commit| Some((commit, commit.offset?))) else {
                    continue;
                };
                // What cannot be read is written anew; a worker would halt at it. But of a newer version it may name a generation.
                let metadata = Metadata::decode(&commit.metadata, Offset(offset), Offset(place.end));
                if let Err(MetadataError::Newer(newer)) = metadata {
                    return Err(newer.into_failure().at(topic).into());
                }
                let marks = metadata.unwrap_or_default().sinks;
                committed = marks.iter().map(|mark| mark.generation.0).fold(committed, u32::max);
                let wanted = wanted(admin, topic, &place, goal)?;
                partitions.push(place_of(topic, &place, offset, wanted));
            }
        }
        let (current, next) = generations(committed, pipeline.generation)?;
        let (mut ledgers, mut without_ledger) = (Vec::new(), Vec::new());
        for sink in &pipeline.sinks {
            let mut keep = |place| ledgers.push(Kept { name: sink.name.clone(), place });
            match &sink.kind {
                SinkKind::Files(options) => {
                    refuse_used_folder(&options.path, next)?;
                    keep(Home::Folder(options.path.clone()));
                }
                SinkKind::Objects(options) => {
                    refuse_used_ledger(pipeline, sink, next)?;
                    keep(Home::Folder(PathBuf::from(options.url.trim_end_matches('/'))));
                }
                SinkKind::Postgres(options) => {
                    if options.mode == PostgresMode::Insert {
                        return Err(rewinds_no_inserts(&sink.name));
                    }
                    refuse_used_ledger(pipeline, sink, next)?;
                    keep(Home::Table(options.table.clone()));
                }
                SinkKind::Topic(_) | SinkKind::Stdout(_) => without_ledger.push(sink.name.clone()),
            }
        }
        Ok(Self { partitions, current, next, ledgers, without_ledger })
    }

    /// Offsets that are read again.
    pub(super) fn records(&self) -> u64 {
        self.partitions.iter().map(|place| u64::try_from(place.again()).unwrap_or(0)).sum()
    }

    pub(super) fn has_ledger(&self) -> bool {
        !self.ledgers.is_empty()
    }
}

/// The folder of a generation.
pub(super) fn folder(root: &Path, generation: u32) -> String {
    root.join(format!("g{generation:04}")).display().to_string()
}

/// What lies in the new folder already would be taken for this generation's, and its records for held.
fn refuse_used_folder(root: &Path, next: u32) -> Result<(), End> {
    let used = verify::list(root).is_ok_and(|found| found.files.iter().any(|file| file.generation == next));
    if used {
        let words =
            "holds files already\n  next: move them away, or set a higher `generation` in the pipeline file";
        return Err(End::new(Exit::Configuration, format!("{} {words}", folder(root, next))));
    }
    Ok(())
}

/// The same for a ledger that is asked for.
fn refuse_used_ledger(pipeline: &Pipeline, sink: &SinkEntry, next: u32) -> Result<(), End> {
    let ledgers = ledgers(pipeline, sink, None)?;
    if ledgers.iter().flatten().any(|ledger| ledger.generation == next) {
        let words = format!(
            "the ledger of {} knows generation {next} already\n  next: set a higher `generation` in the pipeline file",
            sink.name
        );
        return Err(End::new(Exit::Configuration, words));
    }
    Ok(())
}

/// The present generation and the next one, from what is committed (0: nothing) and what the file says.
fn generations(committed: u32, file: u32) -> Result<(u32, u32), End> {
    if file < committed {
        let words = format!(
            "the group is at generation {committed}, the pipeline file says {file}\n  next: set `generation: {committed}` \
             in it, if it is the right file"
        );
        return Err(End::new(Exit::Configuration, words));
    }
    let current = if committed == 0 { file } else { committed };
    // A file that is ahead already names the next one.
    Ok((current, if file > current { file } else { current.saturating_add(1) }))
}

/// An offset that no partition has is a mistake.
fn check(goal: Goal, topic: &str, places: &[PartitionOffsets]) -> Result<(), End> {
    let end = places.iter().map(|place| place.end).max().unwrap_or(0);
    match goal {
        Goal::Offset(offset) if offset > end => Err(End::new(
            Exit::Usage,
            format!("--to {offset}: the longest partition of {topic} ends at {end}"),
        )),
        Goal::Offset(_) | Goal::Time(_) | Goal::Earliest => Ok(()),
    }
}

/// Where the goal lies in a partition.
fn wanted(admin: &Admin, topic: &str, place: &PartitionOffsets, goal: Goal) -> Result<i64, End> {
    Ok(match goal {
        Goal::Earliest => place.start,
        Goal::Time(ms) => admin.offset_at(topic, place.partition, ms)?.unwrap_or(place.end),
        Goal::Offset(offset) => offset,
    })
}

/// Never forward: what is not settled would be lost. Never before the first record there is.
fn place_of(topic: &str, place: &PartitionOffsets, committed: i64, wanted: i64) -> Place {
    let start = wanted.max(place.start).min(committed);
    let gone = (place.start.min(committed) - wanted).max(0);
    Place { topic: topic.to_owned(), partition: place.partition, committed, start, gone }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_read_or_refused() {
        assert_eq!(Goal::parse("earliest", 0).unwrap(), Goal::Earliest);
        assert_eq!(Goal::parse("42", 0).unwrap(), Goal::Offset(42));
        assert_eq!(Goal::parse("1h", 3_600_005).unwrap(), Goal::Time(5));
        assert_eq!(Goal::parse("1970-01-01T00:00:01Z", 0).unwrap(), Goal::Time(1000));
        for bad in ["", "latest", "-1", "yesterday", "99999999999999999999", "12:30"] {
            let end = Goal::parse(bad, 0).unwrap_err();
            assert!(end.code == Exit::Usage && end.message.starts_with("--to "), "{bad}: {}", end.message);
        }
    }

    /// Guarantee: a partition never goes forward past what is not settled, and never before its first record.
    #[test]
    fn a_start_lies_between_the_first_record_and_the_commit() {
        let place = PartitionOffsets { partition: 0, start: 10, end: 100 };
        let start = |committed, wanted| {
            let place = place_of("t", &place, committed, wanted);
            (place.start, place.gone)
        };
        assert_eq!(start(50, 20), (20, 0));
        assert_eq!(start(50, 70), (50, 0));
        assert_eq!(start(50, 3), (10, 7));
        assert_eq!(
            start(5, 3),
            (5, 2),
            "a commit that retention has overtaken stays for the worker to judge"
        );
    }

    #[test]
    fn a_generation_only_rises() {
        assert_eq!(generations(0, 1).unwrap(), (1, 2));
        assert_eq!(generations(2, 2).unwrap(), (2, 3));
        assert_eq!(generations(2, 5).unwrap(), (2, 5));
        assert_eq!(generations(2, 1).unwrap_err().code, Exit::Configuration);
    }
}
