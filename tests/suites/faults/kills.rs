//! A thousand kills in one run, at moments of chance and at every named point of a worker.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use longshore_testkit::Random;
use longshore_tests::harness::rig::PairSeen;
use longshore_tests::harness::wait::pass_time;
use longshore_tests::harness::{Account, Flow, Rig, Worker, report, wait_until};

use super::lane_points::{LONG, Point, fate, record, rig};
use super::{broker, is_full};

/// Points that every worker comes by, and how often in a second, about.
const COMMON: [Point; 8] = [
    ("append.before", 4),
    ("append.after", 4),
    ("publish.before", 2),
    ("publish.after", 2),
    ("settle.before", 4),
    ("settle.after", 4),
    ("commit.before", 2),
    ("commit.after", 2),
];
/// A kill at a moment of chance, for the count.
const CHANCE: &str = "moments of chance";
/// What the promise asks of each point.
const LEAST: usize = 20;
const PER_SECOND: u64 = 200;
/// So many records of a pipeline may be taken for those that take their workers down; seen was one in twenty pipelines.
const LOOPED: usize = 2;
/// Beyond this a worker that was to die at a point has not come by it: told, and killed at this moment of chance.
const SOON: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(120);
const RECEIVED: &str = "longshore_records_received_total{";

/// How many die in all, how many at each point, how many of them in one pipeline, and how many pipelines at a time.
fn plan() -> Plan {
    if is_full() {
        Plan { deaths: 1_000, each: 30, in_one: 50, at_once: 3 }
    } else {
        Plan { deaths: 8, each: 0, in_one: 8, at_once: 1 }
    }
}

struct Plan {
    deaths: usize,
    each: usize,
    in_one: usize,
    at_once: usize,
}

impl Plan {
    /// Every death in an order of chance; none is one at a moment of chance.
    fn order(&self) -> Vec<Option<Point>> {
        let points: Vec<Point> = COMMON.into_iter().chain(LONG).collect();
        let mut order: Vec<Option<Point>> =
            points.iter().flat_map(|point| std::iter::repeat_n(Some(*point), self.each)).collect();
        order.resize(self.deaths, None);
        let mut random = Random::new(1_000);
        for last in (1..order.len()).rev() {
            order.swap(last, random.below(last + 1));
        }
        order
    }
}

/// What workers were known to have received, and what of it could be read again.
#[derive(Clone, Copy, Default)]
struct Exposure {
    received: f64,
    open: i64,
}

impl Exposure {
    /// What a worker says now, if it says all of it; the count first: what is received in between only makes the bound looser.
    fn of(worker: &mut Worker) -> Option<Self> {
        let received = worker.metric(RECEIVED);
        let pairs = worker.pairs();
        let uncommitted = |pair: &PairSeen| pair.position - pair.committed;
        let open = pairs.iter().map(uncommitted).sum();
        (received > 0.0 && !pairs.is_empty()).then_some(Self { received, open })
    }
}

/// One pipeline and those who die on it.
struct Scene<'a> {
    rig: Rig,
    random: Random,
    exposure: Exposure,
    hits: &'a Mutex<BTreeMap<&'static str, usize>>,
}

impl Scene<'_> {
    /// Lets a worker die at a point, or where it stands after a while of work.
    fn death(&mut self, point: Option<Point>) {
        let plan = point
            .map(|(point, often)| format!("{point}:{}", 1 + often / 2 + self.random.below(often.max(2))));
        let environment = plan.as_ref().map(|plan| ("LONGSHORE_CRASH_AT", plan.as_str()));
        let mut worker = self.rig.worker_with(&[], environment.as_slice());
        let (mut last, began) = (Exposure::default(), Instant::now());
        let longest =
            if point.is_some() { SOON } else { Duration::from_millis(400 + self.random.below(1_200) as u64) };
        while !worker.process.has_ended() && began.elapsed() < longest {
            last = Exposure::of(&mut worker).unwrap_or(last);
            pass_time(Duration::from_millis(30));
        }
        let came = worker.process.has_ended();
        worker.process.kill9();
        assert!(point.is_some() || !came, "a worker ended by itself\n{}", worker.process.transcript());
        if came {
            let status = worker.process.wait(PATIENCE);
            assert_eq!(status.signal(), Some(9), "{plan:?}: {status}\n{}", worker.process.transcript());
        }
        let met = point.filter(|_| came).map_or(CHANCE, |(point, _)| point);
        *self.hits.lock().unwrap_or_else(PoisonError::into_inner).entry(met).or_default() += 1;
        self.exposure.received += last.received;
        self.exposure.open += last.open + worker.let_go();
    }

    /// Works off what is left, and holds everything against what was published. Gives how many records were read again, and how many may
    /// have been.
    fn end(mut self, published: u64) -> (i64, i64) {
        let mut last = self.rig.working();
        self.rig.wait_drained(PATIENCE, &[&last]);
        wait_until("no copy waits any more", PATIENCE, || self.rig.uncommitted_copies() == 0);
        self.exposure.received += last.metric(RECEIVED);
        last.stop();
        Account::take(&self.rig).assert_right_but(LOOPED, published, fate);
        (self.exposure.received as i64 - published as i64, self.exposure.open)
    }
}

/// Scenario: worker after worker is killed, at moments of chance and at each named point, while records keep coming of which some fail for a
/// while and some for good; every fifty deaths the account of the pipeline is taken to its end.
/// Guarantee: I1 to I4; what was read again is no more than what was received and not committed when the workers died; and in the long form
/// each point was hit at least twenty times.
#[test]
fn a_thousand_kills_lose_and_double_nothing() {
    let Some(broker) = broker() else { return };
    let (plan, bootstrap) = (plan(), broker.bootstrap());
    let order = plan.order();
    let scenes: Vec<&[Option<Point>]> = order.chunks(plan.in_one).collect();
    let (next, hits, sums) = (AtomicUsize::new(0), Mutex::default(), Mutex::new((0, 0)));
    thread::scope(|scope| {
        for _ in 0..plan.at_once {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(deaths) = scenes.get(number) else { return };
                    let (again, open) = play(&bootstrap, number, deaths, &hits);
                    assert!(
                        again <= open,
                        "scene {number}: {again} records were read again, {open} were open"
                    );
                    let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
                    *sums = (sums.0 + again.max(0), sums.1 + open);
                }
            });
        }
    });
    let (again, open) = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    let hits: BTreeMap<&str, usize> = hits.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (point, count) in &hits {
        report::figure(
            &format!("killed at {point}"),
            &format!("{count} times"),
            if plan.each > 0 { ">= 20" } else { "" },
        );
    }
    report::figure(
        &format!("{} kills", hits.values().sum::<usize>()),
        &format!("{again} records read again, I1 to I4 hold"),
        &format!("<= {open} uncommitted"),
    );
    let points = COMMON.into_iter().chain(LONG).map(|(point, _)| point);
    let few: Vec<_> =
        points.filter(|point| plan.each > 0 && hits.get(point).is_none_or(|count| *count < LEAST)).collect();
    assert!(few.is_empty(), "hit fewer than {LEAST} times: {few:?}");
}

/// One pipeline from its first death to its account.
fn play(
    bootstrap: &str,
    number: usize,
    deaths: &[Option<Point>],
    hits: &Mutex<BTreeMap<&'static str, usize>>,
) -> (i64, i64) {
    let rig = rig(bootstrap, &format!("kills-{number}"));
    let flow = Flow::start(&rig.witness, &rig.topic, PER_SECOND, record);
    let mut scene = Scene { rig, random: Random::new(number as u64), exposure: Exposure::default(), hits };
    for (index, point) in deaths.iter().enumerate() {
        scene.death(*point);
        if index % 5 == 4 {
            Account::take(&scene.rig).assert_sound();
        }
    }
    let published = flow.stop();
    println!("scene {number}: {} deaths, {published} records", deaths.len());
    scene.end(published)
}
