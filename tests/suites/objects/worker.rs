//! Whole workers: records from a real broker to a bucket of a real store, whatever dies in between.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use longshore_tests::harness::faulty::{Fault, Faulty, Rule};
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::readback::{Place, Reader, read_back};
use longshore_tests::harness::rig::{PATIENCE, Worker};
use longshore_tests::harness::store::{KEY, REGION, SECRET, Store, shared_store};
use longshore_tests::harness::wait::pass_time;
use longshore_tests::harness::{Flow, Rig, shared_broker, wait_until};
use rustix::process::Signal;
use serde_json::Value;

/// What all names in a bucket begin with.
const PREFIX: &str = "lake";

fn sink(endpoint: &str, bucket: &str) -> String {
    format!(
        "\n  - objects: {{ url: \"s3://{bucket}/{PREFIX}\", endpoint: \"{endpoint}\", region: {REGION}, access_key_id: {KEY}, \
         secret_access_key: {SECRET}, roll: {{ age: 300ms }} }}"
    )
}

/// A pipeline of logs into Parquet files of a fresh bucket of its own name.
fn rig(bootstrap: &str, name: &str, store: &Store, endpoint: &str) -> Rig {
    store.bucket(name);
    Rig::new(bootstrap, name).sinks(&sink(endpoint, name)).set("kafka.client.session.timeout.ms=1500")
}

fn is_broken(number: u64) -> bool {
    number % 50 == 7
}

pub(super) fn is_kept(number: u64) -> bool {
    !is_broken(number) && !number.is_multiple_of(5)
}

/// The numbers of all rows with their origins, as a reader found them.
pub(super) fn numbers(rows: &[serde_json::Map<String, Value>]) -> BTreeMap<u64, Vec<String>> {
    let mut found: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for row in rows {
        let attributes: Value = serde_json::from_str(row["attributes"].as_str().unwrap()).unwrap();
        let origin = row["_origin"].as_str().unwrap().to_owned();
        found.entry(attributes["number"].as_u64().unwrap()).or_default().push(origin);
    }
    found
}

/// Each record of [`log_line`] has its one place: a row, in the eyes of pyarrow by S3's protocol and of DuckDB from the store's disk, or
/// a dead letter, or it was filtered. Nothing waits in the retry topic, and nothing lies where objects are staged.
fn assert_account(rig: &Rig, store: &Store, published: u64) {
    let letters = rig.witness.read(&rig.letter_topic());
    let origins: std::collections::BTreeSet<_> =
        letters.iter().map(|letter| letter.header("longshore.origin").unwrap()).collect();
    assert_eq!(origins.len(), (0..published).filter(|number| is_broken(*number)).count(), "letters");
    let expected: Vec<u64> = (0..published).filter(|number| is_kept(*number)).collect();
    let folder = store.bucket_folder(&rig.name);
    for (reader, place) in
        [(Reader::Pyarrow, Place::Bucket(store, &rig.name, PREFIX)), (Reader::Duckdb, Place::Folder(&folder))]
    {
        let Some(found) = read_back(reader, place) else { return };
        let found = numbers(&found.rows);
        let doubled: Vec<_> = found.iter().filter(|(_, origins)| origins.len() != 1).collect();
        assert!(doubled.is_empty(), "{reader:?}: rows that are there more than once: {doubled:?}");
        assert_eq!(found.into_keys().collect::<Vec<_>>(), expected, "{reader:?}");
    }
    assert_eq!(
        rig.witness.ends(&rig.retry_topic()).iter().sum::<i64>(),
        0,
        "an outage is no reason for a retry"
    );
}

pub(super) fn wait_held(worker: &mut Worker, reason: &str) {
    worker.wait_until(&format!("the worker says {reason}"), |worker| {
        worker.pairs().iter().any(|pair| pair.state == "held" && pair.reason.contains(reason))
    });
}

/// Waits until so many more records are committed than now.
fn wait_goes_on(rig: &Rig) {
    let committed = || -> i64 {
        rig.witness.committed(&rig.group(), &rig.topic).values().map(|position| position.offset).sum()
    };
    let before = committed();
    wait_until("records are committed again", PATIENCE, || committed() > before + 200);
}

/// A store that answers again has new objects within five seconds.
fn assert_objects_come(rig: &Rig, store: &Store) {
    let objects = || count_files(&store.bucket_folder(&rig.name).join(PREFIX).join("g0001"));
    let (before, back) = (objects(), Instant::now());
    wait_until("objects come again", PATIENCE, || objects() > before);
    assert!(back.elapsed() < Duration::from_secs(5), "{:?} after the store's return", back.elapsed());
}

fn count_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 }).sum()
}

/// Scenario: workers die (SIGKILL) before and after a publish, before records settle, after a letter, and at a moment of chance, while
/// records keep coming.
/// Guarantee (I1, I2): each record has its one place.
#[test]
fn each_record_is_there_once_whenever_a_worker_dies() {
    let (Some(broker), Some(store)) = (shared_broker(), shared_store()) else { return };
    let rig = rig(&broker.bootstrap(), "objects-points", store, &store.endpoint()).with_topics(3);
    let flow = Flow::start(&rig.witness, &rig.topic, 600, log_line);
    for point in ["publish.before:2", "publish.after:3", "settle.before:2", "letter.after:3"] {
        let mut worker = rig.worker_with(&[], &[("LONGSHORE_CRASH_AT", point)]);
        let status = worker.process.wait(Duration::from_secs(60));
        assert_eq!(status.signal(), Some(9), "{point}: {status}\n{}", worker.process.transcript());
    }
    let mut worker = rig.working();
    flow.wait_for_more(300);
    worker.process.kill9();
    let published = flow.stop();
    let last = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&last]);
    last.stop();
    assert_account(&rig, store, published);
}

/// Scenario: one of two workers sleeps (SIGSTOP) beyond its session's timeout with open segments; the other takes over; then the sleeper
/// is woken.
/// Guarantee (I2, I8): what the zombie still publishes is refused, and each record is there once.
#[test]
fn a_zombie_doubles_nothing() {
    let (Some(broker), Some(store)) = (shared_broker(), shared_store()) else { return };
    let rig = rig(&broker.bootstrap(), "objects-zombie", store, &store.endpoint()).with_topics(4);
    let (mut sleeper, mut other) = (rig.working(), rig.working());
    let flow = Flow::start(&rig.witness, &rig.topic, 1_000, log_line);
    flow.wait_for_more(1_000);
    sleeper.freeze_until_replaced(&mut other, 4);
    flow.wait_for_more(500);
    sleeper.wake_as_zombie();
    let published = flow.stop();
    rig.wait_drained(Duration::from_secs(60), &[&sleeper, &other]);
    sleeper.stop();
    other.stop();
    assert_account(&rig, store, published);
}

/// Scenario: under a flow of records the store is killed (SIGKILL) and stays away for a while (3 s, a minute in the long form), stands still
/// (SIGSTOP) for as long, answers 503 for a second, and loses the answers to five PUTs.
/// Guarantee (I1, I2, I5): the worker says that the sink is away and goes on by itself within five seconds of its return; nothing
/// goes to the retry topic, each record is there once, and the worker's memory stays within its limit.
#[test]
fn an_outage_pours_nothing_into_the_retry_topic() {
    let Some(broker) = shared_broker() else { return };
    let Some(mut store) = Store::start() else { return };
    let way = Faulty::before(store.port());
    let rig = rig(&broker.bootstrap(), "objects-outage", &store, &way.endpoint()).with_topics(2);
    let mut worker = rig.working();
    let flow = Flow::start(&rig.witness, &rig.topic, 500, log_line);
    wait_goes_on(&rig);
    let away = if std::env::var("LONGSHORE_FAULTS").is_ok_and(|value| value == "full") { 60 } else { 3 };
    store.kill();
    wait_held(&mut worker, "sink.unavailable");
    pass_time(Duration::from_secs(away));
    store.run();
    assert_objects_come(&rig, &store);
    wait_goes_on(&rig);
    store.signal(Signal::STOP);
    pass_time(Duration::from_secs(away));
    store.signal(Signal::CONT);
    assert_objects_come(&rig, &store);
    wait_goes_on(&rig);
    way.rule(Rule::all(Fault::SlowDown));
    pass_time(Duration::from_secs(1));
    way.heal();
    wait_goes_on(&rig);
    drop(way.take_seen());
    way.rule(Rule::all(Fault::LoseAnswer).only("PUT", "").times(5));
    wait_until("five answers are lost", PATIENCE, || way.faults() == 5);
    wait_goes_on(&rig);
    let published = flow.stop();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    let peak = worker.memory_kib("VmHWM").unwrap_or(0) / 1_024;
    assert!(peak <= 256 * 115 / 100, "the worker took {peak} MiB");
    worker.stop();
    assert_account(&rig, &store, published);
}

/// Scenario: folders by a value that every record has for its own: more of them than a segment may have, and in the long form 10,000.
/// Guarantee (I1, I2, I5): each record has its one row, in its folder, with the limit of memory kept.
#[test]
fn a_folder_for_each_record_is_slow_and_right() {
    let Some(broker) = shared_broker() else { return };
    let records =
        if std::env::var("LONGSHORE_FAULTS").is_ok_and(|value| value == "full") { 10_000 } else { 1_500 };
    let rig = Rig::new(&broker.bootstrap(), "objects-folders");
    let lake = rig.folder().join("lake");
    let sink = format!(
        "\n  - objects: {{ url: \"file://{}\", partition: [ {{ name: number, value: 'attributes[\"number\"]' }} ], \
         roll: {{ age: 10s }} }}",
        lake.display()
    );
    let rig = rig.sinks(&sink).with_topics(1);
    let published: Vec<_> = (0..records).map(log_line).collect();
    rig.witness.publish(&rig.topic, &published);
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(600), &[&worker]);
    let peak = worker.memory_kib("VmHWM").unwrap_or(0) / 1_024;
    assert!(peak <= 256 * 115 / 100, "the worker took {peak} MiB");
    worker.stop();
    let Some(found) = read_back(Reader::Dataset, Place::Folder(&lake)) else { return };
    let mut folders: Vec<u64> = Vec::new();
    for row in &found.rows {
        let attributes: Value = serde_json::from_str(row["attributes"].as_str().unwrap()).unwrap();
        let folder = row["number"].as_u64().or_else(|| row["number"].as_str()?.parse().ok()).unwrap();
        assert_eq!(attributes["number"].as_u64(), Some(folder));
        folders.push(folder);
    }
    folders.sort_unstable();
    assert_eq!(folders, (0..records).filter(|number| is_kept(*number)).collect::<Vec<_>>());
}

/// Scenario: the bucket is gone for a while, under a flow of records.
/// Guarantee (I6): the worker says so; when the bucket is back it goes on, and each record is there once.
#[test]
fn a_bucket_that_disappears_is_waited_for() {
    let Some(broker) = shared_broker() else { return };
    let Some(mut store) = Store::start() else { return };
    let rig = rig(&broker.bootstrap(), "objects-gone", &store, &store.endpoint()).with_topics(2);
    let mut worker = rig.working();
    let flow = Flow::start(&rig.witness, &rig.topic, 500, log_line);
    wait_goes_on(&rig);
    let (bucket, aside) = (store.bucket_folder(&rig.name), rig.folder().join("aside"));
    // The bucket goes while the store is away: taken from under a publish, this store makes the folder anew, and with it the bucket.
    store.kill();
    fs::rename(&bucket, &aside).unwrap();
    store.run();
    wait_held(&mut worker, "sink.missing");
    fs::rename(&aside, &bucket).unwrap();
    wait_goes_on(&rig);
    let published = flow.stop();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();
    assert_account(&rig, &store, published);
}

/// Scenario: there is no such bucket, or the secret is wrong. Guarantee: the worker says so and ends with the code of a bad deployment.
#[test]
fn a_missing_bucket_or_right_ends_the_worker() {
    let (Some(broker), Some(store)) = (shared_broker(), shared_store()) else { return };
    let rig = rig(&broker.bootstrap(), "objects-none", store, &store.endpoint())
        .set("limits.halt=2s")
        .with_topics(1);
    let stranger = sink(&store.endpoint(), "objects-none").replace(SECRET, "stolen-secret-4711");
    let nowhere = sink(&store.endpoint(), "objects-nowhere");
    let mut rig = rig;
    for (sinks, reason, code) in [(nowhere, "sink.missing", 78), (stranger, "sink.denied", 77)] {
        rig = rig.sinks(&sinks);
        let mut worker = rig.worker();
        let ended = worker.exit_code(Duration::from_secs(60));
        let said = worker.process.stderr();
        assert!(said.contains(reason) && !said.contains("stolen-secret"), "{said}");
        assert_eq!(ended, code, "{said}");
    }
}

/// Scenario: the file names no endpoint, and the environment does, as it is usual in clusters with a store of their own.
/// Guarantee: the bucket is looked for there as with an endpoint in the file, and each record is in it once.
#[test]
fn an_endpoint_of_the_environment_is_one() {
    let (Some(broker), Some(store)) = (shared_broker(), shared_store()) else { return };
    let rig = rig(&broker.bootstrap(), "objects-environment", store, &store.endpoint()).with_topics(1);
    let without =
        sink(&store.endpoint(), &rig.name).replace(&format!("endpoint: \"{}\", ", store.endpoint()), "");
    assert!(!without.contains("endpoint"));
    let rig = rig.sinks(&without);
    let published: Vec<_> = (0..200).map(log_line).collect();
    rig.witness.publish(&rig.topic, &published);
    let worker = rig.worker_with(&[], &[("AWS_ENDPOINT_URL", &store.endpoint())]);
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();
    assert_account(&rig, store, 200);
}

/// Scenario: records go to files and to a bucket whose store is killed for a while; the worker is killed meanwhile as well.
/// Guarantee (I2): both hold each record once in the end.
#[test]
fn two_sinks_agree_after_one_was_away() {
    let Some(broker) = shared_broker() else { return };
    let Some(mut store) = Store::start() else { return };
    let rig = rig(&broker.bootstrap(), "objects-two", &store, &store.endpoint());
    let files = format!(
        "{}\n  - files: {{ path: \"{}\", roll: {{ age: 300ms }} }}",
        sink(&store.endpoint(), "objects-two"),
        rig.files().display()
    );
    let rig = rig.sinks(&files).with_topics(2);
    let mut worker = rig.working();
    let flow = Flow::start(&rig.witness, &rig.topic, 500, log_line);
    wait_goes_on(&rig);
    store.kill();
    wait_held(&mut worker, "sink.unavailable");
    worker.process.kill9();
    store.run();
    let last = rig.working();
    wait_goes_on(&rig);
    let published = flow.stop();
    rig.wait_drained(Duration::from_secs(60), &[&last]);
    last.stop();
    assert_account(&rig, &store, published);
    let account = longshore_tests::harness::Account::take(&rig);
    assert!(account.rows.values().all(|rows| rows.len() == 1), "{}", account.summary());
    assert_eq!(account.rows.len(), (0..published).filter(|number| is_kept(*number)).count());
}
