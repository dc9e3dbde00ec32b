//! A fleet, second by second: pods start slowly, every change of the members stops the group for a while, a pod does about so much, a
//! partition is read by one pod, and the sink takes so much from all of them.

use std::collections::VecDeque;
use std::time::Duration;

use longshore_core::scale::{Cause, Look, PartitionLook};
use longshore_core::{Moment, PairId};

use super::scalers::{Autoscaler, Kind};
use super::shapes::Shape;

pub(crate) const PARTITIONS: usize = 12;
/// Records a second of one pod; each has up to a tenth more or less, anew every second.
pub(crate) const RATE: f64 = 1_000.0;
/// The time to drain that is asked for, in seconds. A record that waits longer is over target.
pub(crate) const TARGET: u64 = 60;
/// From the wish for a pod until it joins.
const START: u64 = 20;
/// How long a rebalance stops the group.
const PAUSE: u64 = 4;
/// Commits lag so far behind the work.
const COMMIT: u64 = 1;

/// What one play came to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) over_seconds: u64,
    pub(crate) pod_seconds: u64,
    pub(crate) changes: u32,
    pub(crate) most: u32,
    /// The most pods while a partition stands or the sink is slow.
    pub(crate) most_ill: u32,
    pub(crate) zero_seconds: u64,
    /// Answers of zero while a record is behind.
    pub(crate) zero_while_behind: u32,
    pub(crate) causes: Vec<Cause>,
}

/// What autoscalers see besides our answer.
pub(crate) struct Seen {
    pub(crate) lag: f64,
    /// Whether a broker told it.
    pub(crate) known: bool,
    /// The share of its CPU that a pod uses on average.
    pub(crate) cpu: f64,
}

#[derive(Default)]
struct Partition {
    arrived: f64,
    done: f64,
    /// What was done a commit ago.
    committed: VecDeque<f64>,
    /// How much had arrived by each second that is not done yet, to tell how long a record waits.
    waits: VecDeque<(u64, f64)>,
}

impl Partition {
    fn lag(&self) -> f64 {
        self.arrived - self.done
    }

    fn arrive(&mut self, second: u64, records: f64) {
        if records > 0.0 {
            self.arrived += records;
            self.waits.push_back((second, self.arrived));
        }
    }

    fn work(&mut self, records: f64) {
        self.done += records;
        while self.waits.front().is_some_and(|(_, arrived)| *arrived <= self.done + 0.5) {
            self.waits.pop_front();
        }
    }

    /// How long the oldest record has waited.
    fn delay(&self, second: u64) -> u64 {
        self.waits.front().map_or(0, |(at, _)| second - at)
    }

    fn look(&self, number: usize) -> PartitionLook {
        let committed = self.committed.front().copied().unwrap_or(0.0);
        let end = self.arrived.round() as i64;
        PartitionLook {
            pair: PairId::new("in", number as i32),
            end,
            backlog: (end - committed.round() as i64).max(0) as u64,
            waiting: 0,
            held: false,
        }
    }
}

/// A number in [0, 1) for a place and a time: splitmix64.
fn noise(seed: u64, second: u64, place: u64) -> f64 {
    let mut z =
        seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ second.wrapping_mul(0xBF58_476D_1CE4_E5B9) ^ (place << 32);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

struct Fleet {
    partitions: Vec<Partition>,
    /// When each pod joins or joined.
    pods: Vec<u64>,
    members: u32,
    paused_until: u64,
    /// CPU of the last seconds, as the metrics server gives it.
    cpu: VecDeque<f64>,
    /// What producers keep while no broker answers.
    kept: f64,
}

/// Plays a shape.
pub(crate) fn play(shape: Shape, kind: Kind, seed: u64) -> Outcome {
    let mut fleet = Fleet {
        partitions: (0..PARTITIONS).map(|_| Partition::default()).collect(),
        pods: vec![0; 4],
        members: 0,
        paused_until: 0,
        cpu: VecDeque::new(),
        kept: 0.0,
    };
    let mut autoscaler = Autoscaler::new(kind);
    let mut outcome = Outcome {
        over_seconds: 0,
        pod_seconds: 0,
        changes: 0,
        most: 0,
        most_ill: 0,
        zero_seconds: 0,
        zero_while_behind: 0,
        causes: Vec::new(),
    };
    for second in 0..shape.seconds() {
        fleet.arrive(shape, seed, second);
        fleet.join(second);
        fleet.work(shape, seed, second);
        if second % 5 == 0 {
            autoscaler.look((!shape.is_away(second)).then(|| fleet.look(second)).as_ref());
        }
        if second % 15 == 7 {
            let seen = fleet.seen(shape, second);
            let pods = autoscaler.sync(second, fleet.pods.len() as u32, fleet.members, &seen);
            outcome.changes += u32::from(fleet.resize(pods, second));
        }
        let behind = fleet.partitions.iter().any(|partition| partition.lag() >= 1.0);
        let zero = autoscaler.answer.as_ref().is_some_and(|answer| answer.pods == 0);
        outcome.zero_while_behind += u32::from(zero && behind && second % 5 == 0);
        fleet.count(shape, second, &mut outcome);
    }
    outcome.causes = autoscaler.causes;
    outcome
}

impl Fleet {
    fn arrive(&mut self, shape: Shape, seed: u64, second: u64) {
        let wobble = 0.95 + 0.1 * noise(seed, second, 1_000);
        self.kept += shape.arrival(second) * wobble;
        if shape.is_away(second) {
            return;
        }
        let each = std::mem::take(&mut self.kept) / PARTITIONS as f64;
        self.partitions.iter_mut().for_each(|partition| partition.arrive(second, each));
    }

    fn join(&mut self, second: u64) {
        let members = self.pods.iter().filter(|at| **at <= second).count() as u32;
        if members != self.members {
            (self.members, self.paused_until) = (members, second + PAUSE);
        }
    }

    fn work(&mut self, shape: Shape, seed: u64, second: u64) {
        let idle = second < self.paused_until || shape.is_away(second) || self.members == 0;
        let mut shares = vec![0.0; PARTITIONS];
        let members = self.members.min(PARTITIONS as u32) as usize;
        let mut cpu = 0.0;
        for pod in (0..members).filter(|_| !idle) {
            let own: Vec<usize> = (pod..PARTITIONS).step_by(members).collect();
            let movable = |partition: &&usize| !shape.stands(second, **partition);
            let mut left = RATE * (0.9 + 0.2 * noise(seed, second, pod as u64));
            let able = left;
            let mut open: Vec<usize> = own.iter().filter(movable).copied().collect();
            open.sort_by(|a, b| self.partitions[*a].lag().total_cmp(&self.partitions[*b].lag()));
            let mut rest = open.len();
            for partition in open {
                shares[partition] = (left / rest as f64).min(self.partitions[partition].lag());
                left -= shares[partition];
                rest -= 1;
            }
            cpu += (able - left) / able;
        }
        let total: f64 = shares.iter().sum();
        let taken = (shape.sink(second) / total.max(1.0)).min(1.0);
        for (partition, share) in self.partitions.iter_mut().zip(shares) {
            partition.work(share * taken);
            partition.committed.push_back(partition.done);
            if partition.committed.len() as u64 > COMMIT {
                partition.committed.pop_front();
            }
        }
        // A pod that waits for its sink uses no CPU.
        self.cpu.push_back(cpu * taken / f64::from(self.members.max(1)));
        if self.cpu.len() > 30 {
            self.cpu.pop_front();
        }
    }

    fn look(&self, second: u64) -> Look {
        let partitions = self.partitions.iter().enumerate().map(|(number, partition)| partition.look(number));
        Look {
            at: Moment(Duration::from_secs(second)),
            members: self.members,
            rebalancing: second < self.paused_until,
            partitions: partitions.collect(),
        }
    }

    fn seen(&self, shape: Shape, second: u64) -> Seen {
        let lag = self.partitions.iter().map(Partition::lag).sum();
        let cpu = self.cpu.iter().sum::<f64>() / self.cpu.len().max(1) as f64;
        Seen { lag, known: !shape.is_away(second), cpu }
    }

    /// Whether the number of pods changes.
    fn resize(&mut self, pods: u32, second: u64) -> bool {
        let pods = pods as usize;
        if pods == self.pods.len() {
            return false;
        }
        self.pods.sort_unstable();
        self.pods.truncate(pods);
        self.pods.resize(pods, second + START);
        true
    }

    fn count(&self, shape: Shape, second: u64, outcome: &mut Outcome) {
        // What stands is no scaler's business.
        let delays = self.partitions.iter().enumerate().filter(|(number, _)| !shape.stands(second, *number));
        let delay = delays.map(|(_, partition)| partition.delay(second)).max().unwrap_or(0);
        outcome.over_seconds += u64::from(delay > TARGET && !shape.is_away(second));
        outcome.pod_seconds += self.pods.len() as u64;
        outcome.most = outcome.most.max(self.pods.len() as u32);
        if shape.is_ill(second) {
            outcome.most_ill = outcome.most_ill.max(self.pods.len() as u32);
        }
        outcome.zero_seconds += u64::from(self.pods.is_empty());
    }
}
