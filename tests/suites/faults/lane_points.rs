//! SIGKILL at named points of the retry lane: around the copy of a failed record, of one that stands behind it, of one that
//! failed again, of one that is carried forward, around the dead letter of one that ran out of tries, and around the moment when
//! the next record of a parked key is let go.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use longshore_testkit::Random;
use longshore_tests::harness::account::Fate;
use longshore_tests::harness::wait::pass_time;
use longshore_tests::harness::{Account, Flow, Record, Rig, Seen, wait_until};

use super::{broker, is_full};

/// A point, and how often a worker comes by it in a few seconds, about.
pub(super) type Point = (&'static str, usize);

/// Where a copy is left behind that the next owner has to find. The other points take a worker up to a minute to come by.
const SHORT: [Point; 3] = [("handover.after", 300), ("park.after", 3), ("again.after", 300)];

pub(super) const LONG: [Point; 12] = [
    ("handover.before", 300),
    ("handover.after", 300),
    ("park.before", 3),
    ("park.after", 3),
    ("again.before", 300),
    ("again.after", 300),
    ("release.before", 3),
    ("release.after", 3),
    ("carry.before", 2),
    ("carry.after", 2),
    ("letter.before", 10),
    ("letter.after", 10),
];

const PER_SECOND: u64 = 400;
const PATIENCE: Duration = Duration::from_secs(60);

/// The points, and how often each is hit.
fn plan() -> (&'static [Point], usize) {
    if is_full() { (&LONG, 20) } else { (&SHORT, 1) }
}

/// Quiet ones are filtered, shaky ones fail twice, doomed ones always. The shaky ones are many and soon through, so that a doomed
/// one, which waits for seconds, comes to lie far behind the end of the retry topic; few records stand behind it.
pub(super) fn record(number: u64) -> Record {
    let level = if number.is_multiple_of(5) { "debug" } else { "info" };
    let (shaky, doomed) = (number % 5 == 3, number % 97 == 50);
    let text =
        format!(r#"{{"level":"{level}","message":"line","n":{number},"shaky":{shaky},"doomed":{doomed}}}"#);
    Record::new(&format!("key-{}", number % 997), text)
}

pub(super) fn fate(seen: &Seen) -> Fate {
    let value = value(seen);
    match (&value["level"], &value["doomed"]) {
        (level, _) if level == "debug" => Fate::Filtered,
        (_, doomed) if *doomed == true => Fate::Letter("step.failed".to_owned()),
        _ => Fate::Row,
    }
}

fn value(seen: &Seen) -> serde_json::Value {
    serde_json::from_slice(seen.value.as_deref().unwrap_or_default()).unwrap()
}

/// How often a worker comes by the point until it dies there: it takes a few seconds, so that something was committed before.
/// Three deaths in a row before anything moved are a crash loop, which is another promise.
fn passes((_, few_seconds): Point, random: &mut Random) -> usize {
    few_seconds + random.below(few_seconds)
}

/// A hundred copies behind the end one is carried forward already, and doomed records wait long enough for that; no wait is spent in
/// the worker.
pub(super) fn rig(bootstrap: &str, name: &str) -> Rig {
    Rig::new(bootstrap, name)
        .steps(
            "
  - parse: { format: json }
  - filter: { drop: 'severity_number < 9', name: quiet }
  - fail: { when: 'attributes[\"shaky\"] == true', times: 2 }
  - fail: { when: 'attributes[\"doomed\"] == true' }",
        )
        .set("kafka.client.session.timeout.ms=1000")
        .set("failure.retry.attempts=7")
        .set("failure.retry.first=100ms")
        .set("failure.retry.cap=8s")
        .set("failure.retry.in_place=0ms")
        .set("failure.retry.span=100")
        .with_topics(2)
}

/// The points in the order of one round; another one each time, so that every death meets what any other has left.
fn shuffled(points: &[Point], random: &mut Random) -> Vec<Point> {
    let mut points = points.to_vec();
    for last in (1..points.len()).rev() {
        points.swap(last, random.below(last + 1));
    }
    points
}

/// Scenario: worker after worker dies at one of the points while records keep coming: some fail for a while, some for good, and
/// what shares a key with them waits behind them.
/// Guarantee: after each death nothing is committed that has no place, and nothing is doubled; in the end every record has its
/// one place, each row is that of its record, and the rows of a key stand in the order of their numbers. A point that is not
/// reached fails.
#[test]
fn deaths_in_the_retry_lane_lose_and_double_nothing() {
    let Some(broker) = broker() else { return };
    let mut random = Random::new(2);
    let (points, rounds) = plan();
    for round in 0..rounds {
        // Each has a pipeline of its own: all that was ever published is read after each death.
        let rig = rig(&broker.bootstrap(), &format!("lane-points-{round}"));
        die_at_each(&rig, shuffled(points, &mut random), &mut random);
    }
}

fn die_at_each(rig: &Rig, points: Vec<Point>, random: &mut Random) {
    let flow = Flow::start(&rig.witness, &rig.topic, PER_SECOND, record);
    for point in points {
        let plan = format!("{}:{}", point.0, passes(point, random));
        let mut worker = rig.worker_with(&[], &[("LONGSHORE_CRASH_AT", &plan)]);
        let began = Instant::now();
        while !worker.process.has_ended() {
            let mut page = || worker.page("/metrics").unwrap_or_default();
            assert!(began.elapsed() < PATIENCE, "it does not come by {plan}\n{}", page());
            pass_time(Duration::from_millis(20));
        }
        println!("{plan}: dead after {:?}", began.elapsed());
        let status = worker.process.wait(PATIENCE);
        assert_eq!(status.signal(), Some(9), "{plan}: {status}\n{}", worker.process.transcript());
        // The next worker finds no backlog by which it would come to its point before it has committed.
        flow.hold(|| Account::take(rig).assert_sound());
    }
    let published = flow.stop();
    let last = rig.working();
    rig.wait_drained(PATIENCE, &[&last]);
    wait_until("no copy waits any more", PATIENCE, || rig.uncommitted_copies() == 0);
    last.stop();
    let account = Account::take(rig);
    account.assert_right(published, fate);
    for (place, rows) in &account.rows {
        let [row] = rows.as_slice() else { panic!("{place:?}: {rows:?}") };
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        assert_eq!(row["attributes"]["n"], value(&account.published[place])["n"], "{place:?}");
    }
}
