//! Letters: counted against R0 on the same topic, and sent again against a producer with the same headers and sizes.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::cluster::{Cluster, Contents};
use crate::judge::Goal;
use crate::process::Running;
use crate::rooflines::Rooflines;
use crate::rounds::Comparison;
use crate::worker::{Run, Workers};
use crate::workloads::{Group, REJECT};

/// The rows of the table.
pub(crate) const NAMES: [&str; 2] = ["dlq-ls", "dlq-replay"];

/// No command takes longer than this over a million letters, however slow the machine.
const DEADLINE: Duration = Duration::from_secs(300);

/// What a copy made by a replay carries (`schemas/headers.md`), for the roofline.
const HEADERS: [&str; 11] = [
    "longshore.origin=bench.letters/0/123456/0",
    "longshore.origin-timestamp=1700000000000",
    "longshore.attempt=1",
    "longshore.replays=1",
    "longshore.reason=step.failed",
    "longshore.at=fail",
    "longshore.detail=a rehearsal",
    "longshore.pipeline=bench-letters-1 0123456789ab",
    "longshore.first-failed=1700000001000",
    "longshore.last-failed=1700000002000",
    "longshore.replay-id=20260131-120000-abcd",
];

/// Measures them.
pub(crate) struct Letters<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) rooflines: &'a Rooflines<'a>,
    pub(crate) workers: &'a Workers<'a>,
}

impl Letters<'_> {
    /// Makes a letter of every record, then counts them and sends them all again.
    pub(crate) fn measure(&self, contents: Contents, round: u32) -> anyhow::Result<[Comparison; 2]> {
        let run = self.workers.prepared(&REJECT, round)?;
        self.workers.drain(&run, contents)?;
        let counted = self.count(&run, contents.records, round)?;
        let replayed = self.replay(&run, contents, round)?;
        self.workers.clear(&run)?;
        Ok([counted, replayed])
    }

    fn count(&self, run: &Run<'_>, letters: u64, round: u32) -> anyhow::Result<Comparison> {
        let bound = self.rooflines.consume(&run.letters(), letters, &format!("bench.roofline.ls.{round}"))?;
        let (output, took) = self.timed("dlq-ls", self.workers.command(&["dlq", "ls", "-o", "json"], run))?;
        let groups: Vec<serde_json::Value> = serde_json::from_str(&output)?;
        let open: u64 =
            groups.iter().filter_map(|row| row.get("open").and_then(serde_json::Value::as_u64)).sum();
        ensure!(open == letters, "dlq ls says {open} letters, there are {letters}");
        let ours = letters as f64 / took.as_secs_f64();
        Ok(comparison(NAMES[0], "R0 k/s", (bound.rate(), ours)))
    }

    fn replay(&self, run: &Run<'_>, contents: Contents, round: u32) -> anyhow::Result<Comparison> {
        let bound = {
            let topic = format!("bench.replayed.{round}");
            self.cluster.create(&topic)?;
            let bytes = u32::try_from(contents.bytes / contents.records)?;
            let measure = self.rooflines.produce(&topic, contents.records, bytes, "lz4", &HEADERS)?;
            self.cluster.delete(&topic)?;
            measure.rate()
        };
        let (_, took) = self.timed("dlq-replay", self.workers.command(&["dlq", "replay", "--yes"], run))?;
        let copies = self.cluster.sum(&run.copies(), None)?;
        ensure!(copies == contents, "the copies differ: {copies:?}, input {contents:?}");
        Ok(comparison(NAMES[1], "P0 k/s", (bound, contents.records as f64 / took.as_secs_f64())))
    }

    /// What a command printed, and how long its process lived.
    fn timed(&self, name: &str, command: Command) -> anyhow::Result<(String, Duration)> {
        let folder = self.cluster.folder();
        let (stdout, stderr) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.err")));
        let began = Instant::now();
        let ended = Running::start(name, command, &stdout, &stderr)?.finish(DEADLINE);
        let took = began.elapsed();
        ended.with_context(|| fs::read_to_string(&stderr).unwrap_or_default())?;
        Ok((fs::read_to_string(&stdout)?, took))
    }
}

fn comparison(name: &'static str, bound_name: &'static str, (bound, ours): (f64, f64)) -> Comparison {
    let samples = vec![(bound / 1000.0, ours / 1000.0)];
    Comparison { group: Group::Failure, name, bound_name, goal: Goal::AtLeast(0.5), samples }
}
