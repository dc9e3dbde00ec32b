//! What one seed plays: the log, the pipeline, and how much goes wrong.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::pair::{CommitPolicy, Grain, Order, PairOptions, SealPolicy, SinkSpec, Window};
use longshore_core::retry::Backoff;
use longshore_core::{Generation, Offset, SinkIndex, SinkMask};

use crate::Random;

/// What happens to a record when it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It gets its rows.
    Pass,
    /// It is filtered.
    Filter,
    /// It is rejected, always.
    Poison,
    /// It fails so many times over all workers, then passes.
    Transient(u32),
    /// The target behind a step is away so many times, then the record passes.
    Outage(u32),
    /// It passes, but sinks without a ledger refuse its row.
    Refused,
}

/// One record of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) offset: Offset,
    pub(crate) key: Option<u8>,
    pub(crate) kind: Kind,
    /// The sinks it is for; none at all makes it unrouted.
    pub(crate) routes: SinkMask,
}

/// The scenario of one seed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) log: Vec<Planned>,
    pub(crate) end: Offset,
    pub(crate) options: Arc<PairOptions>,
    pub(crate) processes: usize,
    pub(crate) faults: usize,
    pub(crate) steps: usize,
}

impl Plan {
    pub(crate) fn of(random: &mut Random) -> Self {
        let sinks = random.pick(&[1, 1, 1, 2, 2, 3]);
        let specs: Vec<SinkSpec> = (0..sinks).map(|n| sink(random, n)).collect();
        let log = log(random, sinks);
        let end = log.last().map_or(Offset(0), |record| record.offset.next());
        Self {
            log,
            end,
            options: Arc::new(options(random, specs)),
            processes: random.pick(&[2, 2, 3]),
            faults: random.pick(&[0, 1, 2, 3, 4, 6]),
            steps: random.pick(&[60, 120, 240]),
        }
    }

    pub(crate) fn record(&self, offset: Offset) -> &Planned {
        let at = self.log.partition_point(|record| record.offset < offset);
        &self.log[at]
    }

    /// Whether two records must not overtake each other.
    pub(crate) fn ordered(&self, a: &Planned, b: &Planned) -> bool {
        match self.options.order {
            Order::None => false,
            Order::Key => a.key.is_some() && a.key == b.key,
            Order::Partition => true,
        }
    }
}

fn sink(random: &mut Random, n: usize) -> SinkSpec {
    let rows = random.pick(&[1, 2, 3, 100]);
    let seal = SealPolicy { bytes: 1000, rows, age: Duration::from_secs(10) };
    SinkSpec { name: format!("sink{n}"), ledger: random.percent(70), seal }
}

fn log(random: &mut Random, sinks: usize) -> Vec<Planned> {
    let keys = random.pick(&[1, 2, 3]);
    let gaps = random.percent(40);
    let mut offset = if gaps { random.below(4) as i64 } else { 0 };
    let mut log = Vec::new();
    for _ in 0..random.pick(&[2, 3, 4, 6, 9, 14]) {
        let kind = match random.below(12) {
            0..=4 => Kind::Pass,
            5 | 6 => Kind::Filter,
            7 | 8 => Kind::Poison,
            9 => Kind::Transient(1 + random.below(4) as u32),
            10 => Kind::Outage(1 + random.below(2) as u32),
            _ => Kind::Refused,
        };
        let key = (!random.percent(15)).then(|| random.below(keys) as u8);
        log.push(Planned { offset: Offset(offset), key, kind, routes: routes(random, sinks) });
        offset += 1 + if gaps { random.pick(&[0, 0, 1, 3]) } else { 0 };
    }
    log
}

fn routes(random: &mut Random, sinks: usize) -> SinkMask {
    if random.percent(60) {
        return SinkMask::first(sinks);
    }
    let mut routes = SinkMask::NONE;
    for sink in (0..sinks as u8).map(SinkIndex) {
        if random.percent(50) {
            routes.insert(sink);
        }
    }
    routes
}

fn options(random: &mut Random, sinks: Vec<SinkSpec>) -> PairOptions {
    let window = random.pick(&[1, 2, 4, 8]);
    PairOptions {
        pipeline: "sim".into(),
        version: "1".into(),
        order: random.pick(&[Order::Key, Order::Key, Order::Key, Order::None, Order::Partition]),
        grain: random.pick(&[Grain::Batch, Grain::Batch, Grain::Record]),
        sinks,
        unit_records: random.pick(&[1, 2, 4, 4]),
        units_in_flight: random.pick(&[1, 2, 3]),
        window: Window { records: window, bytes: window * 30 },
        commit: CommitPolicy {
            interval: Duration::from_secs(1),
            records: random.pick(&[1, 3, 100]),
            uncommitted_cap: random.pick(&[1, 2, 5, 100]),
        },
        backoff: Backoff {
            base: Duration::from_millis(200),
            cap: Duration::from_secs(2),
            floor: Duration::from_millis(100),
        },
        attempts: random.pick(&[1, 2, 3, 9]),
        generation: Generation::FIRST,
    }
}
