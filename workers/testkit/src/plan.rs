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
use crate::case::{Chance, Cut};

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
    /// Each try ends as it likes: with rows, filtered, rejected, or with a failure that may pass.
    Fickle,
    /// It takes the whole process down, always.
    Crasher,
}

impl Kind {
    /// Whether it can only end as a letter.
    pub(crate) fn is_doomed(self) -> bool {
        matches!(self, Self::Poison | Self::Hopeless | Self::Crasher)
    }

    /// Whether its first try may fail in a way that passes.
    pub(crate) fn is_flaky(self) -> bool {
        matches!(self, Self::Transient(_) | Self::Hopeless | Self::Outage(_) | Self::Fickle)
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
    /// The retry topic never takes a copy of it.
    pub(crate) unwelcome: bool,
    /// How many rows it makes in each sink: a step split it.
    pub(crate) children: usize,
}

/// The scenario of one pair.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) log: Vec<Planned>,
    /// The end of the log: behind its last record, and the markers behind that.
    pub(crate) end: Offset,
    pub(crate) options: Arc<PairOptions>,
    pub(crate) processes: usize,
    pub(crate) faults: usize,
    /// Whether anything goes wrong at all.
    pub(crate) faulty: bool,
    pub(crate) steps: usize,
    /// How many of a hundred calls of the spool fail.
    pub(crate) spool_fails: usize,
    /// How many of a hundred copies the retry topic refuses for good.
    pub(crate) refuses_copies: usize,
    /// What may happen, a bit for each [`Chance`].
    chances: u16,
}

impl Plan {
    pub(crate) fn of(random: &mut Random) -> Self {
        let sinks = random.pick(&[1, 1, 1, 2, 2, 3]);
        let specs: Vec<SinkSpec> = (0..sinks).map(|n| sink(random, n)).collect();
        let (options, processes) = (Arc::new(options(random, specs)), random.pick(&[2, 2, 3]));
        let faults = random.pick(&[0, 1, 2, 3, 4, 6]);
        let (steps, spool_fails) = (random.pick(&[60, 120, 240]), random.pick(&[0, 0, 20, 100]));
        let mut plan = Self {
            log: Vec::new(),
            end: Offset(0),
            options,
            processes,
            faults,
            faulty: faults > 0,
            steps,
            spool_fails,
            refuses_copies: random.pick(&[0, 0, 0, 0, 0, 20]),
            chances: chances(random),
        };
        plan.write(random);
        plan
    }

    /// The scenario of another pair of the same pipeline.
    pub(crate) fn sibling(&self, random: &mut Random) -> Self {
        let mut plan = Self { log: Vec::new(), end: Offset(0), ..self.clone() };
        plan.write(random);
        plan
    }

    /// More records behind those that there are, and faults to come.
    pub(crate) fn go_on(&mut self, random: &mut Random) {
        self.faults = random.pick(&[2, 3, 4]);
        (self.faulty, self.steps) = (true, random.pick(&[60, 120]));
        self.write(random);
    }

    fn write(&mut self, random: &mut Random) {
        let gaps = random.percent(40);
        let more = log(random, self, gaps);
        self.log.extend(more);
        let last = self.log.last().map_or(Offset(0), |record| record.offset.next());
        // Behind the last record there may be markers of transactions.
        self.end = Offset(last.0 + if gaps { random.pick(&[0, 1, 2]) } else { 0 });
    }

    /// Takes something out.
    pub(crate) fn cut(&mut self, cut: Cut) {
        match cut {
            Cut::Record(place) if place < self.log.len() && self.log.len() > 1 => {
                self.log.remove(place);
            }
            Cut::Faults(most) => {
                self.faults = self.faults.min(most);
                self.faulty = self.faults > 0;
            }
            Cut::Steps(most) => self.steps = self.steps.min(most),
            Cut::Without(chance) => self.forbid(chance),
            Cut::Record(_) | Cut::Pair(_) | Cut::Rounds(_) => {}
        }
    }

    fn forbid(&mut self, chance: Chance) {
        self.chances &= !(1 << chance as u16);
        match chance {
            Chance::Spool => self.spool_fails = 0,
            Chance::Refusals => {
                self.refuses_copies = 0;
                self.log.iter_mut().for_each(|record| record.unwelcome = false);
            }
            Chance::Large => self.log.iter_mut().for_each(|record| record.large = false),
            Chance::Flood => Arc::make_mut(&mut self.options).flood = None,
            Chance::Forger
            | Chance::Replays
            | Chance::Holds
            | Chance::Retention
            | Chance::Compaction
            | Chance::Halts
            | Chance::Answers => {}
        }
    }

    /// Whether something may happen.
    pub(crate) fn may(&self, chance: Chance) -> bool {
        self.chances & 1 << chance as u16 != 0
    }

    pub(crate) fn has_retries(&self) -> bool {
        self.options.retry.is_some()
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

fn chances(random: &mut Random) -> u16 {
    let rare = [(Chance::Forger, 30), (Chance::Retention, 40), (Chance::Compaction, 30), (Chance::Halts, 25)];
    let mut chances = u16::MAX;
    for (chance, percent) in rare {
        if !random.percent(percent) {
            chances &= !(1 << chance as u16);
        }
    }
    chances
}

fn log(random: &mut Random, plan: &Plan, gaps: bool) -> Vec<Planned> {
    let keys = random.pick(&[1, 2, 3]);
    let (large, unwelcome) = (random.pick(&[0, 0, 30]), random.pick(&[0, 0, 40]));
    let splits = random.pick(&[0, 0, 25]);
    let (sinks, step) = (plan.options.sinks.len(), |random: &mut Random| match gaps {
        true => random.pick(&[0, 0, 1, 3]),
        false => 0,
    });
    let mut offset = plan.end.0 + if gaps { random.below(4) as i64 } else { 0 };
    let mut log = Vec::new();
    for _ in 0..random.pick(&[2, 3, 4, 6, 9, 14]) {
        let kind = match random.below(31) {
            0..=9 => Kind::Pass,
            10..=13 => Kind::Filter,
            14..=17 => Kind::Poison,
            18 | 19 => Kind::Transient(1 + random.below(4) as u32),
            20 | 21 => Kind::Hopeless,
            22 | 23 => Kind::Outage(1 + random.below(2) as u32),
            24 | 25 => Kind::Refused,
            26 | 27 => Kind::Picky(1 + random.below(2) as u32),
            28 | 29 => Kind::Fickle,
            _ => Kind::Crasher,
        };
        let key = (!random.percent(15)).then(|| random.below(keys) as u8);
        log.push(Planned {
            offset: Offset(offset),
            key,
            kind,
            routes: routes(random, sinks),
            large: random.percent(large),
            unwelcome: random.percent(unwelcome),
            children: if random.percent(splits) { 2 } else { 1 },
        });
        offset += 1 + step(random);
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
