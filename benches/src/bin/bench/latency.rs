//! How long records take at a fixed rate: with the setting for low latency and without, and those of healthy keys while others fail and wait.

use std::time::Duration;

use anyhow::Context;

use crate::cluster::Cluster;
use crate::judge::Goal;
use crate::options::Options;
use crate::rooflines::{Pace, Rooflines, Waits};
use crate::rounds::Comparison;
use crate::worker::Workers;
use crate::workloads::{Group, PACED, PACED_FAILING, PACED_LOW, PACED_NORMAL, Workload};

/// The row of healthy keys.
pub(crate) const HEALTHY: &str = "healthy-p99";
/// The rows of low latency, by what is typed.
pub(crate) const LOW: &str = "latency";

const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(10);

/// Records a second, a small part of what a worker can do, so that nothing queues by itself.
const HEALTHY_PACE: Pace =
    Pace { rate: 20_000, warm_up: WARM_UP, measured: MEASURED, healthy: 500, linger_ms: 1 };
/// So few that nearly each is sent by itself.
const LOW_PACE: Pace =
    Pace { rate: 1_000, warm_up: WARM_UP, measured: MEASURED, healthy: 1_000, linger_ms: 0 };
/// The most milliseconds that 99 of 100 of them may take with the setting.
const LOW_MOST_MS: f64 = 10.0;

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
    /// The rows that were asked for.
    pub(crate) fn measure(&self, round: u32) -> anyhow::Result<Vec<Comparison>> {
        let mut rows = Vec::new();
        if self.options.wants_of(Group::Failure, HEALTHY) {
            rows.push(self.healthy(round)?);
        }
        if self.options.wants_of(Group::Engine, LOW) {
            rows.extend(self.low(round)?);
        }
        Ok(rows)
    }

    /// The 99th percentile of healthy keys when nothing fails, and when others do.
    fn healthy(&self, round: u32) -> anyhow::Result<Comparison> {
        let clean = self.waits(&PACED, HEALTHY_PACE, round)?;
        let failing = self.waits(&PACED_FAILING, HEALTHY_PACE, round)?;
        Ok(Comparison {
            group: Group::Failure,
            name: HEALTHY,
            bound_name: "clean ms",
            goal: Goal::AtMost(2.0),
            samples: vec![(ms(clean.p99), ms(failing.p99))],
        })
    }

    /// All records with `kafka.latency: low`, against those without it, and against what 99 of 100 may take.
    fn low(&self, round: u32) -> anyhow::Result<[Comparison; 3]> {
        let normal = self.waits(&PACED_NORMAL, LOW_PACE, round)?;
        let low = self.waits(&PACED_LOW, LOW_PACE, round)?;
        let row = |name, bound_name, bound, ours| Comparison {
            group: Group::Engine,
            name,
            bound_name,
            goal: Goal::AtMost(1.0),
            samples: vec![(bound, ms(ours))],
        };
        Ok([
            row("latency-p50", "normal ms", ms(normal.p50), low.p50),
            row("latency-p99", "normal ms", ms(normal.p99), low.p99),
            row("latency-low-p99", "limit ms", LOW_MOST_MS, low.p99),
        ])
    }

    fn waits(&self, workload: &Workload, pace: Pace, round: u32) -> anyhow::Result<Waits> {
        // `topics apply` makes the input as well. Each workload has one of its own, so that none is made again right after it was deleted.
        let topic = workload.input.topic;
        let run = self.workers.prepared(workload, round)?;
        let mut process = self.workers.start(&run)?;
        run.ready(&mut process)?;
        let pace = Pace { rate: self.options.scaled(pace.rate), ..pace };
        let found = self.rooflines.latency(topic, &run.output, &pace);
        let found = found.with_context(|| workload.name)?;
        process.terminate()?;
        process.finish(END)?;
        self.workers.clear(&run)?;
        // The next worker would read what this one has read.
        self.cluster.delete(topic)?;
        Ok(found)
    }
}

fn ms(wait: Duration) -> f64 {
    wait.as_secs_f64() * 1000.0
}
