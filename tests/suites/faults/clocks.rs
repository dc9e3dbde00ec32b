//! A clock that jumps by an hour, forth and back, under a running worker.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use longshore_tests::harness::account::Fate;
use longshore_tests::harness::wait::pass_time;
use longshore_tests::harness::{Account, Flow, Record, Rig, Seen, Worker, report, wait_until};

use super::progress::Mark;
use super::{broker, is_full};

/// Records that fail three times, published before each jump and behind it.
const SHAKY: u64 = 40;
const PATIENCE: Duration = Duration::from_secs(60);
/// How much later than planned a try may come: the machine may be busy.
const LATE_MS: i64 = 15_000;
/// How much earlier: the worker counts from before the broker has the copy.
const EARLY_MS: i64 = 1_000;
/// How soon commits go on.
const MOST: Duration = Duration::from_secs(10);

/// The clocks, in seconds from the true one.
fn clocks() -> &'static [i64] {
    if is_full() { &[3_600, 0, -3_600, 0, 3_600, -3_600, 0] } else { &[3_600, 0] }
}

/// The library that shows a process another time of day.
fn faketime() -> Option<PathBuf> {
    let places = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found =
        places.map(|place| place.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var("CI").is_err(), "CI is set, and libfaketime is not installed");
        report::skipped("no libfaketime");
    }
    found
}

/// A worker whose time of day is that of a file; its monotonic clock is the true one.
struct Shifted {
    file: PathBuf,
    worker: Worker,
}

impl Shifted {
    fn start(rig: &Rig, library: &std::path::Path) -> Self {
        let file = rig.folder().join("clock");
        fs::write(&file, "+0\n").unwrap();
        let environment = [
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()),
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        let mut worker = rig.worker_with(&[], &environment);
        worker.wait_for_partitions();
        Self { file, worker }
    }

    /// Sets the clock, and waits until the library has looked at it.
    fn set(&self, seconds: i64) {
        let aside = self.file.with_extension("new");
        fs::write(&aside, format!("{seconds:+}\n")).unwrap();
        fs::rename(&aside, &self.file).unwrap();
        pass_time(Duration::from_millis(1_100));
    }
}

fn shaky(number: u64) -> Record {
    Record::new(&format!("shaky-{number}"), format!("{{\"message\":\"shaky {number}\",\"shaky\":true}}"))
}

fn plain(number: u64) -> Record {
    Record::new(&format!("key-{}", number % 41), format!("{{\"message\":\"line {number}\",\"shaky\":false}}"))
}

fn rig(bootstrap: &str, target: &str) -> Rig {
    let rig = Rig::new(bootstrap, "clocks")
        .steps("\n  - parse: { format: json }\n  - fail: { when: 'attributes[\"shaky\"] == true', times: 3 }")
        .set("failure.retry.first=2s")
        .set("failure.retry.cap=2s")
        .set("failure.retry.floor=1500ms")
        .set("failure.retry.in_place=0ms")
        .set("failure.retry.max_age=30m");
    let files = rig.files().display().to_string();
    let rig = rig.sinks(&format!(
        "\n  - files: {{ path: \"{files}\", roll: {{ bytes: 1MiB, age: 300ms }} }}\n  - topic: {{ name: {target} }}"
    ));
    let rig = rig.with_topics(3);
    rig.witness.create_topic(target, 1, &[("message.timestamp.type", "LogAppendTime")]);
    rig
}

fn landed(rig: &Rig, topic: &str) -> i64 {
    rig.witness.ends(topic).iter().sum()
}

/// By record, what happened to its copies and to its row in the order of the broker's clock: when, and how long after that its next try
/// was planned.
fn lives(rig: &Rig, target: &str) -> BTreeMap<String, Vec<(i64, i64)>> {
    let mut lives: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    let number =
        |seen: &Seen, name: &str| seen.header(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    for copy in rig.witness.read(&rig.retry_topic()) {
        let planned = number(&copy, "longshore.not-before") - number(&copy, "longshore.last-failed");
        lives.entry(copy.header("longshore.origin").unwrap()).or_default().push((copy.timestamp_ms, planned));
    }
    for row in rig.witness.read(target) {
        if let Some(life) = lives.get_mut(&row.header("longshore.source").unwrap()) {
            life.push((row.timestamp_ms, 0));
        }
    }
    lives.values_mut().for_each(|life| life.sort_unstable());
    lives
}

/// Each next try came when it was planned, by the broker's clock. Gives the extremes of how much later.
fn assert_waits_are_kept(lives: &BTreeMap<String, Vec<(i64, i64)>>) -> (i64, i64) {
    let mut off = Vec::new();
    for (record, life) in lives {
        assert_eq!(life.len(), 4, "{record} should fail three times and be a row once: {life:?}");
        for pair in life.windows(2) {
            off.push(pair[1].0 - pair[0].0 - pair[0].1);
            let last = off[off.len() - 1];
            assert!((-EARLY_MS..LATE_MS).contains(&last), "{record} came {last} ms off its time: {life:?}");
        }
    }
    (off.iter().copied().min().unwrap_or(0), off.iter().copied().max().unwrap_or(0))
}

/// No duration that a worker tells of is a jump of its clock, and no lag is below nothing.
fn assert_figures_are_sane(worker: &mut Worker) {
    let page = worker.page("/metrics").unwrap();
    let samples = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    for (name, value) in samples.map(|(name, value)| (name, value.parse::<f64>().unwrap_or(0.0))) {
        let duration = name.contains("duration_seconds_sum");
        assert!(!duration || (0.0..1_800.0).contains(&value), "{name} {value}");
        assert!(!name.contains("lag_") || value >= 0.0, "{name} {value}");
    }
    for kind in ["lost", "revoked"] {
        assert_eq!(worker.metric(&format!("longshore_rebalances_total{{kind=\"{kind}\"")), 0.0, "{kind}");
    }
}

/// Scenario: records wait for their next try, none for longer than half an hour in all, and others flow, while the worker's clock jumps an
/// hour ahead and back again (in the long form also an hour behind).
/// Guarantee: each next try comes when it was planned, by the broker's clock; nothing is given up for its age; commits go on, nothing is
/// rebalanced, and no figure has the jump in it.
#[test]
fn timers_do_not_care_for_jumps_of_the_clock() {
    let target = "clocks.out";
    let (Some(broker), Some(library)) = (broker(), faketime()) else { return };
    let rig = rig(&broker.bootstrap(), target);
    let mut shifted = Shifted::start(&rig, &library);
    let flow = Flow::start(&rig.witness, &rig.topic, 200, plain);
    flow.wait_for_more(100);
    let mut published = 0;
    let publish = |next: &mut u64| {
        rig.witness.publish(&rig.topic, &(*next..*next + SHAKY).map(shaky).collect::<Vec<_>>());
        *next += SHAKY;
    };
    for clock in clocks() {
        let waiting = landed(&rig, &rig.retry_topic()) + SHAKY as i64;
        publish(&mut published);
        wait_until("they wait", PATIENCE, || landed(&rig, &rig.retry_topic()) >= waiting);
        shifted.set(*clock);
        let took = Mark::set(&rig).wait_until_passed(&rig, std::slice::from_ref(&shifted.worker));
        assert!(took < MOST, "no commits for {took:?} after the clock went to {clock:+} s");
        publish(&mut published);
        wait_until("all tries are made", PATIENCE, || {
            landed(&rig, &rig.retry_topic()) == 3 * published as i64 && rig.uncommitted_copies() == 0
        });
        assert_figures_are_sane(&mut shifted.worker);
    }
    let published = published + flow.stop();
    rig.wait_drained(PATIENCE, &[&shifted.worker]);
    shifted.worker.stop();
    Account::take(&rig).assert_right(published, |_| Fate::Row);
    let (earliest, latest) = assert_waits_are_kept(&lives(&rig, target));
    report::figure(
        "clock an hour forth and back",
        &format!("tries {earliest} to {latest} ms after their time"),
        "no wait is an hour, no letter",
    );
}
