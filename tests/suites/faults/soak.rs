//! Load for long (`make soak`): workers are killed and leave while one of them stays, and of what that one holds nothing grows.
//! The short form, which runs with every `make test`, shows that it works; what grows slowly takes the long one.

mod slope;

use std::fs;
use std::time::{Duration, Instant};

use longshore_tests::harness::account::Fate;
use longshore_tests::harness::wait::pass_time;
use longshore_tests::harness::witness::Seen;
use longshore_tests::harness::{Account, Flow, Record, Rig, Worker, wait_until};

use self::slope::{Bound, Series};
use super::{broker, is_full};

const PARTITIONS: i32 = 6;
/// The other workers, which come and go.
const OTHERS: usize = 2;
/// One of them is killed so often, and every fourth time one leaves in order.
const STRIKE: Duration = Duration::from_secs(12);
/// The same in the short form.
const STRIKE_SHORT: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_secs(1);
/// The account holds every record in memory, so a longer soak has a lower rate.
const RECORDS_MOST: u64 = 3_000_000;
const RATE_MOST: u64 = 1_000;
/// Looks from before this share of the time do not count: caches, connections and the allocator's heap grow to their usual size at first.
const WARM_UP_SHARE: f64 = 0.25;

/// How long the load lasts: `LONGSHORE_SOAK_MINUTES`, else what is long enough to see that it works.
fn length() -> Duration {
    let minutes =
        std::env::var("LONGSHORE_SOAK_MINUTES").ok().and_then(|minutes| minutes.parse::<f64>().ok());
    let usual = if is_full() { 600.0 } else { 14.0 };
    Duration::from_secs_f64(minutes.map_or(usual, |minutes| minutes * 60.0))
}

/// Each figure that is watched: its name and unit, how much it may grow in an hour, and how much of growth in all is no slope yet but the
/// way it moves up and down.
const WATCHED: [Bound; 5] = [
    Bound { what: "resident memory, MiB", per_hour: 16.0, sway: 24.0 },
    Bound { what: "descriptors", per_hour: 4.0, sway: 12.0 },
    Bound { what: "threads", per_hour: 2.0, sway: 6.0 },
    Bound { what: "uncommitted records", per_hour: 2_000.0, sway: 6_000.0 },
    Bound { what: "records in retry", per_hour: 200.0, sway: 400.0 },
];

/// One record in 50 fails twice, one in 500 is a letter, one in five is filtered.
fn line(number: u64) -> Record {
    let value = format!(
        "{{\"message\":\"request {number} took a while\",\"severity_number\":{},\"twice\":{},\"doomed\":{}}}",
        if number.is_multiple_of(5) { 5 } else { 9 },
        number % 50 == 3,
        number % 500 == 11
    );
    Record::new(&format!("key-{}", number % 997), value)
}

fn fate(seen: &Seen) -> Fate {
    let value: serde_json::Value = serde_json::from_slice(seen.value.as_deref().unwrap_or_default()).unwrap();
    if value["doomed"] == true {
        Fate::Letter("step.failed".to_owned())
    } else if value["severity_number"] == 5 {
        Fate::Filtered
    } else {
        Fate::Row
    }
}

fn rig(bootstrap: &str) -> Rig {
    let rig = Rig::new(bootstrap, "soak").steps(
        "
  - parse: { format: json }
  - fail: { when: 'attributes[\"doomed\"] == true', class: reject }
  - filter: { drop: 'severity_number < 9', name: quiet }
  - fail: { when: 'attributes[\"twice\"] == true', times: 2 }",
    );
    let files = rig.files().display().to_string();
    rig.sinks(&format!(
        "\n  - files: {{ path: \"{files}\", format: jsonl.zst, roll: {{ bytes: 8MiB, age: 2s }} }}"
    ))
    .set("failure.retry.first=500ms")
    .set("failure.retry.cap=2s")
    .set("failure.retry.in_place=0ms")
    .set("limits.memory=128MiB")
    .with_topics(PARTITIONS)
}

struct Crew<'a> {
    rig: &'a Rig,
    /// The one that stays.
    veteran: Worker,
    others: Vec<Worker>,
    kills: usize,
    leaves: usize,
}

impl Crew<'_> {
    /// The oldest of the others goes, and a new one comes.
    fn strike(&mut self) {
        let mut oldest = self.others.remove(0);
        if (self.kills + self.leaves) % 4 == 3 {
            self.leaves += 1;
            oldest.stop();
        } else {
            self.kills += 1;
            oldest.process.kill9();
        }
        self.others.push(self.rig.worker());
    }

    /// The figures of [`WATCHED`] at this moment; none while a page does not answer.
    fn look(&mut self) -> Option<[f64; 5]> {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.veteran.process.pid())).ok()?.count();
        let memory_mib = self.veteran.memory_kib("VmRSS:")? as f64 / 1024.0;
        // A number without a unit, in the same place.
        let threads = self.veteran.memory_kib("Threads:")?;
        self.veteran.page("/metrics")?;
        let workers = std::iter::once(&mut self.veteran).chain(&mut self.others);
        let in_retry: f64 = workers.map(|worker| worker.metric("longshore_retry_waiting_records{")).sum();
        let committed = self.rig.witness.committed(&self.rig.group(), &self.rig.topic);
        let committed: i64 = committed.values().map(|position| position.offset).sum();
        let uncommitted = self.rig.witness.ends(&self.rig.topic).iter().sum::<i64>() - committed;
        Some([memory_mib, descriptors as f64, threads as f64, uncommitted as f64, in_retry])
    }

    fn must_live(&mut self) {
        for worker in std::iter::once(&mut self.veteran).chain(&mut self.others) {
            assert!(!worker.process.has_ended(), "a worker ended by itself\n{}", worker.process.transcript());
        }
    }
}

/// The load, for so long; what was seen, and how many records were published. Shows the table of the slopes.
fn load(rig: &Rig, crew: &mut Crew<'_>, length: Duration) -> ([Series; 5], u64) {
    let rate = (RECORDS_MOST / length.as_secs().max(1)).clamp(50, RATE_MOST);
    let every = STRIKE.min(length / 3).max(STRIKE_SHORT);
    let flow = Flow::start(&rig.witness, &rig.topic, rate, line);
    let mut series = WATCHED.map(Series::new);
    let (began, mut struck) = (Instant::now(), Instant::now());
    while began.elapsed() < length {
        pass_time(LOOK);
        crew.must_live();
        if struck.elapsed() >= every {
            struck = Instant::now();
            crew.strike();
        }
        let at = began.elapsed();
        let figures = crew.look();
        if at.as_secs_f64() >= WARM_UP_SHARE * length.as_secs_f64() {
            let seen = series.iter_mut().zip(figures.into_iter().flatten());
            seen.for_each(|(series, value)| series.add(at, value));
        }
    }
    let published = flow.stop();
    let (minutes, kills, leaves) = (length.as_secs_f64() / 60.0, crew.kills, crew.leaves);
    println!(
        "soak: {minutes:.1} min, {published} records, at most {rate}/s, {kills} killed, {leaves} left in order"
    );
    println!("{}", slope::HEAD);
    series.iter().for_each(|series| println!("{series}"));
    if series.iter().any(|series| !series.is_judged()) {
        let least = (slope::LEAST_HOURS * 60.0 / (1.0 - WARM_UP_SHARE)).ceil();
        println!(
            "A figure that is not judged was watched for too short a time: its slope says nothing. MINUTES={least} and more judge all of them."
        );
    }
    (series, published)
}

/// Scenario: records come for as long as is asked for, some fail and are retried, some become letters; of three workers two are killed or
/// leave every 12 seconds, one stays.
/// Guarantee: memory, descriptors and threads of the one that stays, what is not committed and what waits for its retry do not grow with
/// time; in the end every record is where it belongs, once (I1 to I5).
#[test]
fn a_long_load_leaves_nothing_behind() {
    let Some(broker) = broker() else { return };
    let rig = rig(&broker.bootstrap());
    let veteran = rig.working();
    let others = (0..OTHERS).map(|_| rig.worker()).collect();
    let mut crew = Crew { rig: &rig, veteran, others, kills: 0, leaves: 0 };
    let length = length();
    let (series, published) = load(&rig, &mut crew, length);
    assert!(crew.kills > 0, "nobody was killed");
    // Of three workers the one that is watched works on a third.
    let of_veteran = crew.veteran.metric("messaging_client_consumed_messages_total");
    assert!(
        of_veteran >= published as f64 / 12.0,
        "the watched worker read {of_veteran} of {published} records"
    );
    let looks = length.as_secs_f64() * (1.0 - WARM_UP_SHARE) / LOOK.as_secs_f64();
    let seen = series.iter().map(Series::len).min().unwrap_or(0);
    assert!(seen as f64 >= looks / 4.0, "{seen} looks in {length:?} tell nothing");
    let unseen = series.iter().find(|series| series.most() == 0.0);
    assert!(
        unseen.is_none(),
        "never anything but 0: {}",
        unseen.map_or_else(String::new, ToString::to_string)
    );
    let Crew { veteran, others, .. } = crew;
    let all: Vec<Worker> = std::iter::once(veteran).chain(others).collect();
    rig.wait_drained(Duration::from_secs(120), &all.iter().collect::<Vec<_>>());
    wait_until("no copy waits any more", Duration::from_secs(120), || rig.uncommitted_copies() == 0);
    all.into_iter().for_each(|worker| worker.stop());
    let account = Account::take(&rig);
    println!("account: {}", account.summary());
    account.assert_right(published, fate);
    let beyond = series.iter().filter(|series| series.is_beyond()).map(ToString::to_string);
    let beyond: Vec<String> = beyond.collect();
    assert!(beyond.is_empty(), "these grow:\n{}", beyond.join("\n"));
}
