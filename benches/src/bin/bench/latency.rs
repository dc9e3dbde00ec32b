//! How long records of healthy keys take while those of others fail and wait, at a fixed rate.

use std::time::Duration;

use anyhow::Context;

use crate::cluster::Cluster;
use crate::judge::Goal;
use crate::options::Options;
use crate::rooflines::{Pace, Rooflines};
use crate::rounds::Comparison;
use crate::worker::Workers;
use crate::workloads::{Group, PACED, PACED_FAILING, Workload};

/// The row of the table.
pub(crate) const NAME: &str = "healthy-p99";

/// Records a second, a small part of what a worker can do, so that nothing queues by itself.
const RATE: u64 = 20_000;
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(10);

/// SIGTERM must end a worker in 25 s.
const END: Duration = Duration::from_secs(30);

/// Measures it.
pub(crate) struct Latency<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) rooflines: &'a Rooflines<'a>,
    pub(crate) workers: &'a Workers<'a>,
    pub(crate) options: &'a Options,
}

impl Latency<'_> {
    /// The 99th percentile of healthy keys when nothing fails, and when others do.
    pub(crate) fn measure(&self, round: u32) -> anyhow::Result<Comparison> {
        let clean = self.percentile(&PACED, round)?;
        let failing = self.percentile(&PACED_FAILING, round)?;
        let samples = vec![(clean, failing)];
        Ok(Comparison {
            group: Group::Failure,
            name: NAME,
            bound_name: "clean ms",
            goal: Goal::AtMost(2.0),
            samples,
        })
    }

    fn percentile(&self, workload: &Workload, round: u32) -> anyhow::Result<f64> {
        let topic = workload.input.topic;
        self.cluster.create(topic)?;
        let run = self.workers.prepared(workload, round)?;
        let mut process = self.workers.start(&run)?;
        run.ready(&mut process)?;
        let rate = self.options.scaled(RATE);
        let pace = Pace { rate, warm_up: WARM_UP, measured: MEASURED, healthy: 500 };
        let found = self.rooflines.latency(topic, &run.output, &pace);
        let found = found.with_context(|| workload.name)?;
        process.terminate()?;
        process.finish(END)?;
        self.workers.clear(&run)?;
        // The next worker would read what this one has read.
        self.cluster.delete(topic)?;
        Ok(found.as_secs_f64() * 1000.0)
    }
}
