//! Two SIGKILLs while a million records pass: what a sink without a ledger gets twice, and that one with a ledger gets nothing twice.

use anyhow::ensure;

use crate::cluster::{Cluster, Contents};
use crate::judge::Goal;
use crate::options::Options;
use crate::rounds::Comparison;
use crate::worker::Workers;
use crate::workloads::{Group, KILLED, KILLED_LEDGER, Proof, Workload};

/// What is killed in each run, evenly over its records.
const KILLS: u64 = 2;
/// So many repeats are allowed a sink without a ledger, by the design's table of peers.
const REPEATS: f64 = 5_000.0;

/// The rows and what they read.
pub(crate) const ROWS: [Workload; 2] = [KILLED, KILLED_LEDGER];

/// Measures them.
pub(crate) struct Kills<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) workers: &'a Workers<'a>,
    pub(crate) options: &'a Options,
}

impl Kills<'_> {
    /// The rows that were asked for.
    pub(crate) fn measure(
        &self,
        contents_of: impl Fn(&Workload) -> anyhow::Result<Contents>,
        round: u32,
    ) -> anyhow::Result<Vec<Comparison>> {
        let mut rows = Vec::new();
        for workload in ROWS.iter().filter(|row| self.options.wants_of(row.group, row.name)) {
            let contents = contents_of(workload)?;
            let written = self.killed(workload, contents, round)?;
            let repeats = (written - contents.records) as f64;
            rows.push(comparison(workload.name, repeats));
        }
        Ok(rows)
    }

    /// Kills the worker on the way, lets another one finish, and tells how many records the sink was given; that none is missing, and none
    /// twice where there is a ledger, is proven with the run.
    fn killed(&self, workload: &Workload, contents: Contents, round: u32) -> anyhow::Result<u64> {
        let run = self.workers.prepared(workload, round)?;
        for kill in 1..=KILLS {
            let mut process = self.workers.start(&run)?;
            // A pair whose workers die before they commit anything has a crash loop, in which records run one at a time.
            run.has_committed(&mut process, contents.records, kill as f64 / (KILLS + 1) as f64)?;
            // Dropped is killed.
            drop(process);
        }
        self.workers.drain(&run, contents)?;
        let written = if workload.proof == Proof::EachAtLeastOnce {
            self.cluster.sources(&run.output, None)?.records
        } else {
            contents.records
        };
        ensure!(written >= contents.records, "{written} of {} records", contents.records);
        self.workers.clear(&run)?;
        Ok(written)
    }
}

fn comparison(name: &'static str, repeats: f64) -> Comparison {
    let goal = Goal::AtMost(1.0);
    Comparison { group: Group::Peers, name, bound_name: "repeats", goal, samples: vec![(REPEATS, repeats)] }
}
