//! How long a partition stands still while a worker joins two others and leaves them again, records coming at a fixed rate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};

use crate::cluster::{Cluster, PARTITIONS};
use crate::judge::Goal;
use crate::options::Options;
use crate::process::Running;
use crate::rooflines::{Pace, Rooflines};
use crate::rounds::Comparison;
use crate::worker::{Run, Workers, partitions_at};
use crate::workloads::{Group, MEMBERS, MEMBERS_848, Workload};

/// `limits.revoke`, and what the goals allow beside it: for a partition that stays with its worker, and for one that moves.
const REVOKE_MS: f64 = 1_000.0;
const KEPT_MS: f64 = REVOKE_MS + 1_000.0;
const MOVED_MS: f64 = REVOKE_MS + 3_000.0;

/// Records a second: some milliseconds between two of a partition, so that a silence is none of the publisher's.
const RATE: u64 = 2_000;
const WARM_UP: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(17);
/// How long each number of members stays, once all partitions are worked on.
const CALM: Duration = Duration::from_secs(2);
/// Without a worker for some partition for so long, the run has failed.
const STALLED: Duration = Duration::from_secs(60);
/// How often workers are asked what they work on: short beside a heartbeat.
const LOOK: Duration = Duration::from_millis(20);
/// SIGTERM must end a worker in 25 s.
const END: Duration = Duration::from_secs(30);

/// A row each for the partitions that stay and for those that move, as one joins and as one leaves.
struct Rows {
    workload: Workload,
    join: [&'static str; 2],
    leave: [&'static str; 2],
}

const ROWS: [Rows; 2] = [
    Rows { workload: MEMBERS, join: ["join-kept", "join-moved"], leave: ["leave-kept", "leave-moved"] },
    Rows {
        workload: MEMBERS_848,
        join: ["848-join-kept", "848-join-moved"],
        leave: ["848-leave-kept", "848-leave-moved"],
    },
];

/// Which member works on a partition.
type Owners = BTreeMap<u64, usize>;

/// One change of the members: when, and who worked on what before and after.
struct Change {
    window: [u64; 2],
    before: Owners,
    after: Owners,
}

/// A worker and where its pages are.
struct Member {
    process: Running,
    page: SocketAddr,
}

/// Measures it.
pub(crate) struct Rebalance<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) rooflines: &'a Rooflines<'a>,
    pub(crate) workers: &'a Workers<'a>,
    pub(crate) options: &'a Options,
}

impl Rebalance<'_> {
    /// The rows that were asked for.
    pub(crate) fn measure(&self, round: u32) -> anyhow::Result<Vec<Comparison>> {
        let mut rows = Vec::new();
        for wanted in ROWS.iter().filter(|rows| self.options.wants_of(Group::Rebalance, rows.workload.name)) {
            let topic = wanted.workload.input.topic;
            let run = self.workers.prepared_stamped(&wanted.workload, round)?;
            let [join, leave] = self.changes(&run).with_context(|| wanted.workload.name)?;
            rows.extend(self.silences(&run, &join, wanted.join)?);
            rows.extend(self.silences(&run, &leave, wanted.leave)?);
            self.workers.clear(&run)?;
            // The next workers would read what these have read.
            self.cluster.delete(topic)?;
        }
        Ok(rows)
    }

    /// Two workers, a third one, two again.
    fn changes(&self, run: &Run<'_>) -> anyhow::Result<[Change; 2]> {
        let first = Member { process: self.workers.start(run)?, page: run.page() };
        let (process, page) = self.workers.start_beside(run, 2)?;
        let mut members = vec![first, Member { process, page }];
        owners(&mut members)?;
        let pace = Pace { rate: RATE, warm_up: WARM_UP, measured: MEASURED, healthy: 1_000, linger_ms: 0 };
        let load = self.rooflines.start_latency(run.topic(), &run.output, &pace)?;
        // The open loop connects for a second before it sends; a change that came before its flow would only make silences longer.
        std::thread::sleep(WARM_UP);
        let before = owners(&mut members)?;
        let from = now_ms();
        let (process, page) = self.workers.start_beside(run, 3)?;
        members.push(Member { process, page });
        let join = settled(&mut members, from, before)?;

        let (from, before) = (now_ms(), join.after.clone());
        let last = members.pop().context("three were there")?;
        last.process.terminate()?;
        last.process.finish(END)?;
        let leave = settled(&mut members, from, before)?;
        load.finish(STALLED)?;
        for Member { process, .. } in members {
            process.terminate()?;
            process.finish(END)?;
        }
        Ok([join, leave])
    }

    /// The longest silences of a change, of the partitions that stayed and of those that moved.
    fn silences(
        &self,
        run: &Run<'_>,
        change: &Change,
        [kept, moved]: [&'static str; 2],
    ) -> anyhow::Result<[Comparison; 2]> {
        let found = self.cluster.sources(&run.output, Some(change.window))?;
        ensure!(found.silences.len() == PARTITIONS as usize, "{found:?}");
        let longest = |stays: bool| {
            let silences = (0_u64..).zip(&found.silences);
            let of_kind = silences.filter(|(partition, _)| {
                (change.before.get(partition) == change.after.get(partition)) == stays
            });
            of_kind.map(|(_, silence)| *silence).max().context("no partition stayed, or none moved")
        };
        let row = |name, limit, longest: u64| Comparison {
            group: Group::Rebalance,
            name,
            bound_name: "limit ms",
            goal: Goal::AtMost(1.0),
            samples: vec![(limit, longest as f64)],
        };
        Ok([row(kept, KEPT_MS, longest(true)?), row(moved, MOVED_MS, longest(false)?)])
    }
}

/// Waits until the members work on everything, and a while more.
fn settled(members: &mut [Member], from: u64, before: Owners) -> anyhow::Result<Change> {
    let began = Instant::now();
    loop {
        let after = owners(members)?;
        // Whoever joins may get its part in several steps, so it is settled when it was the same for a while.
        std::thread::sleep(CALM);
        if owners(members)? == after && after != before {
            return Ok(Change { window: [from, now_ms()], before, after });
        }
        ensure!(began.elapsed() < STALLED, "the members do not come to rest");
    }
}

/// Waits until each partition is worked on by one of the members, and each member works on one, and tells by which. Without the second, one
/// that has not joined yet would join in the middle of what is measured.
fn owners(members: &mut [Member]) -> anyhow::Result<Owners> {
    let began = Instant::now();
    loop {
        let mut owners = Owners::new();
        for (number, member) in members.iter_mut().enumerate() {
            member.process.must_live()?;
            // The pages come up some time after the process.
            let partitions = partitions_at(member.page).unwrap_or_default();
            owners.extend(partitions.into_iter().map(|partition| (partition, number)));
        }
        let works = |number| owners.values().any(|owner| *owner == number);
        if owners.len() == PARTITIONS as usize && (0..members.len()).all(works) {
            return Ok(owners);
        }
        ensure!(began.elapsed() < STALLED, "not all partitions or members are at work: {owners:?}");
        std::thread::sleep(LOOK);
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_millis() as u64)
}
