//! `longshore rewind` from the outside: records are processed again into a new generation, and the old one is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_core::Offset;
use longshore_core::metadata::Metadata;
use longshore_sinks::verify::verify;
use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::{Account, Record, Rig, shared_broker, wait_until};

use super::said::{Said, longshore};

const DRAINED: Duration = Duration::from_secs(60);

fn rewind(rig: &Rig, arguments: &[&str]) -> Said {
    let file = rig.folder().join("pipeline.yaml").display().to_string();
    longshore(&[&["rewind", "-c", &file], arguments].concat())
}

/// Every file below a folder with its content.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    found
}

/// The generations that the commits of the input name.
fn committed_generations(rig: &Rig) -> BTreeSet<u32> {
    let committed = rig.witness.committed(&rig.group(), &rig.topic);
    let marks = committed.values().flat_map(|position| {
        let metadata = Metadata::decode(&position.metadata, Offset(position.offset), Offset(i64::MAX));
        metadata.unwrap().sinks
    });
    marks.map(|mark| mark.generation.0).collect()
}

/// Scenario: a drained pipeline with rows, filtered records and letters goes back to the first record. Before that: with a worker
/// at work, without consent, as a dry run. After it: a worker with the old pipeline file, then one with the new generation.
/// Guarantee: nothing happens while a worker is a member or nobody agreed; the old file's worker stops with `ledger.generation`
/// and writes and commits nothing; then every record ends once in the new generation (I1, I2), and no byte of the old one has
/// changed.
#[test]
fn a_pipeline_is_processed_again_into_a_new_generation() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-rewind").with_topics(2);
    rig.witness.publish(&rig.topic, &(0..500).map(log_line).collect::<Vec<_>>());
    let worker = rig.working();
    rig.wait_drained(DRAINED, &[&worker]);
    let busy = rewind(&rig, &["--to", "earliest", "--yes"]);
    assert_eq!(busy.code, 75, "{}", busy.err);
    assert!(busy.err.contains("1 member") && busy.err.contains("stop all workers"), "{}", busy.err);
    worker.stop();
    Account::take(&rig).assert_right(500, log_fate);
    let old = contents(&rig.files());
    let before = rig.witness.committed(&rig.group(), &rig.topic);

    let plan = rewind(&rig, &["--to", "earliest", "--dry-run"]).well();
    assert!(plan.out.lines().all(|line| line.chars().count() <= 80 || line.contains('/')), "{}", plan.out);
    let json = rewind(&rig, &["--to", "earliest", "--dry-run", "-o", "json"]).well().json();
    assert_eq!(
        (&json["records"], &json["generation"], &json["new_generation"]),
        (&500.into(), &1.into(), &2.into())
    );
    assert_eq!(rewind(&rig, &["--to", "earliest"]).code, 64);
    assert_eq!(
        rig.witness.committed(&rig.group(), &rig.topic),
        before,
        "something was committed without consent"
    );

    let said = rewind(&rig, &["--to", "earliest", "--yes"]).well();
    assert!(said.err.contains("generation: 2"), "{}", said.err);
    let back = rig.witness.committed(&rig.group(), &rig.topic);
    assert!(back.values().all(|position| position.offset == 0) && back.len() == 2, "{back:?}");
    assert_eq!(committed_generations(&rig), BTreeSet::from([2]));

    let mut stale = rig.worker_with(&["limits.halt=1s"], &[]);
    assert_eq!(stale.exit_code(DRAINED), 78, "{}", stale.process.transcript());
    assert!(stale.process.stderr().contains("ledger.generation"), "{}", stale.process.transcript());
    assert_eq!(rig.witness.committed(&rig.group(), &rig.topic), back, "the old file's worker committed");
    assert_eq!(contents(&rig.files()), old, "the old file's worker wrote");

    let mut next = rig.worker_with(&["generation=2"], &[]);
    next.wait_for_partitions();
    rig.wait_drained(DRAINED, &[&next]);
    next.stop();
    Account::take_generation(&rig, 2).assert_right(500, log_fate);
    let new = contents(&rig.files());
    assert!(
        old.iter().all(|(path, bytes)| new.get(path) == Some(bytes)),
        "a file of the old generation changed"
    );
    assert!(new.keys().any(|path| path.to_string_lossy().contains("/g0002/")));

    let runs =
        longshore(&["dlq", "replay", "ls", "-c", &rig.file().display().to_string(), "-o", "json"]).well();
    let told: Vec<_> = runs.rows().iter().map(|run| (run["kind"].clone(), run["state"].clone())).collect();
    assert_eq!(told, [("rewind".into(), "done".into())]);
}

const KEYS: usize = 20;
const ROUNDS: usize = 30;
const SLOW_STEPS: &str =
    "\n  - parse: { format: json }\n  - delay: { for: 60s, when: 'attributes[\"slow\"] == true' }";

/// Scenario: records wait in the retry topic, before and behind the place that the group goes back to; then the bug is mended and
/// they are made due. Guarantee: everything from the new start on and everything that waited is in the new generation, once and
/// in the order of its key; nothing before the new start comes a second time.
#[test]
fn what_waits_for_its_retry_is_not_lost_by_going_back() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-rewind-retry")
        .steps(SLOW_STEPS)
        .set("limits.step=300ms")
        .set("failure.retry.floor=30m")
        .set("failure.retry.first=1h")
        .with_topics(1);
    let of = |n: usize| {
        let (round, key) = (n / KEYS, n % KEYS);
        let slow = key.is_multiple_of(5) && round == 5;
        Record::new(&format!("key-{key}"), format!("{{\"round\":{round},\"slow\":{slow}}}"))
    };
    rig.witness.publish(&rig.topic, &(0..KEYS * ROUNDS).map(of).collect::<Vec<_>>());
    let worker = rig.working();
    rig.wait_drained(DRAINED, &[&worker]);
    worker.stop();
    let first = Account::take(&rig);
    let waiting: BTreeSet<i64> = first.missing().into_iter().map(|place| place.1).collect();
    let start = 205;
    assert!(waiting.first().is_some_and(|first| *first < start) && waiting.len() == 100, "{waiting:?}");

    let said = rewind(&rig, &["--to", "205", "--yes"]).well();
    assert!(said.out.contains("100 records that wait"), "{}", said.out);
    let mut next = rig.worker_with(&["generation=2", "steps.1.delay.for=1ms", "limits.step=30s"], &[]);
    next.wait_for_partitions();
    rig.wait_drained(DRAINED, &[&next]);
    let file = rig.folder().join("pipeline.yaml").display().to_string();
    longshore(&["retry", "now", "-c", &file, "--yes"]).well();
    let waits = || longshore(&["retry", "ls", "-c", &file, "-o", "json"]).well().json()["waiting"] == 0;
    wait_until("nothing waits", DRAINED, waits);
    next.stop();

    let (mut rows, mut last) = (Vec::new(), BTreeMap::new());
    let report = verify(&rig.files(), |row| {
        if row.file.generation == 2 {
            let offset = row.origin.offset.0;
            let previous = last.insert(offset % KEYS as i64, offset);
            assert!(
                previous.is_none_or(|previous| previous < offset),
                "{offset} behind {previous:?} of its key"
            );
            rows.push(offset);
        }
    });
    assert!(report.unwrap().findings.is_empty());
    let found: BTreeSet<i64> = rows.iter().copied().collect();
    assert_eq!(found.len(), rows.len(), "a record came twice");
    let wanted: BTreeSet<i64> = waiting.iter().copied().chain(start..(KEYS * ROUNDS) as i64).collect();
    assert_eq!(found, wanted);
}

/// Bad input. Guarantee: a clear message and the documented exit code, and nothing is committed.
#[test]
fn mistakes_of_a_rewind_are_told() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-rewind-mistakes").with_topics(1);
    let file = rig.file().display().to_string();
    rig.witness.publish(&rig.topic, &(0..5).map(|n| log_line(n).to(0)).collect::<Vec<_>>());
    let none = longshore(&["rewind", "-c", &file, "--to", "earliest", "--yes"]).well();
    assert!(none.err.contains("nothing to read again"), "{}", none.err);
    rig.witness.commit(&rig.group(), &rig.topic, 0, 5, "");
    for (arguments, code, words) in [
        (&["rewind", "--to", "earliest"][..], 64, "name the pipeline with -c"),
        (&["rewind", "-c", &file], 64, "--to"),
        (&["rewind", "-c", &file, "--to", "latest"], 64, "write earliest"),
        (&["rewind", "-c", &file, "--to", "yesterday"], 64, "write earliest"),
        (&["rewind", "-c", &file, "--to", "6"], 64, "ends at 5"),
        (&["rewind", "-c", &file, "--to", "2999-01-01T00:00:00Z", "--yes"], 0, "nothing to read again"),
        (&["rewind", "-c", &file, "--to", "2"], 64, "--yes"),
        (&["rewind", "-c", "no-such-file.yaml", "--to", "2"], 78, "no-such-file.yaml"),
        (&["rewind", "-c", &file, "--to", "2", "--broker", "127.0.0.1:1"], 69, "broker.unavailable"),
    ] {
        let said = longshore(arguments);
        assert_eq!(said.code, code, "{arguments:?}: {}", said.err);
        assert!(said.err.contains(words), "{arguments:?}: {}", said.err);
    }
    assert_eq!(rig.witness.committed(&rig.group(), &rig.topic)[&0].offset, 5);
    longshore(&["rewind", "-c", &file, "--to", "2", "--yes"]).well();
    let stale = longshore(&["rewind", "-c", &file, "--to", "earliest", "--yes"]);
    assert_eq!(stale.code, 78, "{}", stale.err);
    assert!(stale.err.contains("set `generation: 2`"), "{}", stale.err);
}
