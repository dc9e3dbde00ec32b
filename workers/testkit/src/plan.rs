//! What one seed plays: the log, the pipeline, and how much goes wrong.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::metadata::METADATA_BYTES;
use longshore_core::pair::{
    CommitPolicy, FloodPolicy, Grain, Order, PairOptions, RetryPolicy, SealPolicy, SinkSpec, UnitEntry,
    Window,
};
use longshore_core::retry::Backoff;
use longshore_core::{Generation, Lane, Offset, SinkIndex, SinkMask};

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
    /// It fails in a way that may pass, and never does.
    Hopeless,
    /// The target behind a step is away so many times, then the record passes.
    Outage(u32),
    /// It passes, but sinks that may refuse rows refuse its row.
    Refused,
    /// It passes, but sinks with a ledger that may refuse rows refuse its row so many times over all owners.
    Picky(u32),
    /// It takes the whole process down, always.
    Crasher,
}

impl Kind {
    /// Whether it can only end as a letter.
    pub(crate) fn is_doomed(self) -> bool {
        matches!(self, Self::Poison | Self::Hopeless | Self::Crasher)
    }
}

/// One record of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) offset: Offset,
    pub(crate) key: Option<u8>,
    pub(crate) kind: Kind,
    /// The sinks it is for; none at all makes it unrouted.
    pub(crate) routes: SinkMask,
    /// Copies of it are so large that their values are left in the topic until they are wanted.
    pub(crate) large: bool,
}

/// The scenario of one seed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) log: Vec<Planned>,
    pub(crate) end: Offset,
    pub(crate) options: Arc<PairOptions>,
    pub(crate) processes: usize,
    pub(crate) faults: usize,
    /// Somebody writes copies to the retry partition that are nobody's.
    pub(crate) forger: bool,
    /// Whether anything goes wrong at all.
    pub(crate) faulty: bool,
    pub(crate) steps: usize,
    /// How many of a hundred calls of the spool fail.
    pub(crate) spool_fails: usize,
    /// How many of a hundred copies the retry topic refuses for good.
    pub(crate) refuses_copies: usize,
}

impl Plan {
    pub(crate) fn of(random: &mut Random) -> Self {
        let sinks = random.pick(&[1, 1, 1, 2, 2, 3]);
        let specs: Vec<SinkSpec> = (0..sinks).map(|n| sink(random, n)).collect();
        let log = log(random, sinks);
        let end = log.last().map_or(Offset(0), |record| record.offset.next());
        let (options, processes) = (Arc::new(options(random, specs)), random.pick(&[2, 2, 3]));
        let faults = random.pick(&[0, 1, 2, 3, 4, 6]);
        let (steps, spool_fails) = (random.pick(&[60, 120, 240]), random.pick(&[0, 0, 20, 100]));
        let forger = options.retry.is_some() && random.percent(30);
        let (faulty, refuses_copies) = (faults > 0, random.pick(&[0, 0, 0, 0, 0, 20]));
        Self { log, end, options, processes, faults, forger, faulty, steps, spool_fails, refuses_copies }
    }

    pub(crate) fn record(&self, offset: Offset) -> &Planned {
        let at = self.log.partition_point(|record| record.offset < offset);
        &self.log[at]
    }

    /// Whether the values of its copies are left in the topic; not of a record that there never is.
    pub(crate) fn is_large(&self, offset: Offset) -> bool {
        let at = self.log.partition_point(|record| record.offset < offset);
        self.log.get(at).is_some_and(|record| record.offset == offset && record.large)
    }

    /// Whether the entry of a unit takes part in the order: not when it was retried and retries keep none.
    pub(crate) fn keeps_order(&self, entry: &UnitEntry) -> bool {
        self.is_retry_ordered() || entry.record.chunk().lane() == Lane::Input
    }

    /// Whether a failed record keeps its place before those behind it.
    pub(crate) fn is_retry_ordered(&self) -> bool {
        self.options.retry.is_none_or(|policy| policy.ordered)
    }

    /// Whether a sink of the record always refuses its row.
    pub(crate) fn is_refused(&self, record: &Planned) -> bool {
        let refuses =
            |sink: SinkIndex| self.options.sinks.get(usize::from(sink.0)).is_some_and(|spec| spec.refuses);
        record.kind == Kind::Refused && record.routes.iter().any(refuses)
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
    let ledger = random.percent(70);
    SinkSpec { name: format!("sink{n}"), ledger, refuses: !ledger || random.percent(50), seal }
}

fn log(random: &mut Random, sinks: usize) -> Vec<Planned> {
    let keys = random.pick(&[1, 2, 3]);
    let gaps = random.percent(40);
    let large = random.pick(&[0, 0, 30]);
    let mut offset = if gaps { random.below(4) as i64 } else { 0 };
    let mut log = Vec::new();
    for _ in 0..random.pick(&[2, 3, 4, 6, 9, 14]) {
        let kind = match random.below(29) {
            0..=9 => Kind::Pass,
            10..=13 => Kind::Filter,
            14..=17 => Kind::Poison,
            18 | 19 => Kind::Transient(1 + random.below(4) as u32),
            20 | 21 => Kind::Hopeless,
            22 | 23 => Kind::Outage(1 + random.below(2) as u32),
            24 | 25 => Kind::Refused,
            26 | 27 => Kind::Picky(1 + random.below(2) as u32),
            _ => Kind::Crasher,
        };
        let key = (!random.percent(15)).then(|| random.below(keys) as u8);
        log.push(Planned {
            offset: Offset(offset),
            key,
            kind,
            routes: routes(random, sinks),
            large: random.percent(large),
        });
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

/// Partition order retries in place.
fn retry_policy(random: &mut Random, order: Order) -> Option<RetryPolicy> {
    if order == Order::Partition || random.percent(25) {
        return None;
    }
    Some(RetryPolicy {
        ordered: order == Order::Key && random.percent(85),
        in_place: random.pick(&[Duration::ZERO, Duration::ZERO, Duration::from_millis(300)]),
        cap: Duration::from_secs(5),
        max_age: random.pick(&[None, None, None, Some(Duration::from_secs(3))]),
        waiting: random.pick(&[1, 2, 99, 99]),
        parked: random.pick(&[1, 2, 99, 99]),
        span: random.pick(&[1, 2, 4, 100, 100]),
        carry_age: random.pick(&[Duration::from_secs(2), Duration::from_secs(1000)]),
    })
}

fn flood_policy(random: &mut Random) -> Option<FloodPolicy> {
    random.percent(40).then(|| FloodPolicy {
        ratio: random.pick(&[0.5, 0.9, 1.0]),
        min: random.pick(&[1, 2, 4]),
        window: random.pick(&[Duration::from_secs(1), Duration::from_secs(60)]),
    })
}

fn options(random: &mut Random, sinks: Vec<SinkSpec>) -> PairOptions {
    let window = random.pick(&[1, 2, 4, 8]);
    let order = random.pick(&[Order::Key, Order::Key, Order::Key, Order::None, Order::Partition]);
    let retry = retry_policy(random, order);
    PairOptions {
        pipeline: "sim".into(),
        version: "1".into(),
        order,
        grain: random.pick(&[Grain::Batch, Grain::Batch, Grain::Record]),
        sinks,
        unit_records: random.pick(&[1, 2, 4, 4]),
        units_in_flight: random.pick(&[1, 2, 3]),
        window: Window { records: window, bytes: window * random.pick(&[30, 30, 3_000]) },
        commit: CommitPolicy {
            interval: Duration::from_secs(1),
            records: random.pick(&[1, 3, 100]),
            uncommitted_cap: random.pick(&[1, 2, 5, 100]),
            // Room for all runs there are, or for two to five of them.
            metadata_bytes: random.pick(&[METADATA_BYTES, METADATA_BYTES, METADATA_BYTES, 28, 32, 36]),
        },
        backoff: Backoff {
            base: Duration::from_millis(200),
            cap: Duration::from_secs(2),
            floor: Duration::from_millis(100),
        },
        attempts: random.pick(&[1, 2, 3, 9]),
        retry,
        flood: flood_policy(random),
        generation: Generation::FIRST,
    }
}
