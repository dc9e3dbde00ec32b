//! `dlq replay`: what is sent, what is refused, and that it can be resumed.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use longshore_testkit::Random;
use longshore_tests::harness::witness::Seen;
use longshore_tests::harness::{Account, Longshore, Record, Rig, binary, shared_broker, wait_until};
use rustix::process::Signal;

use super::{Said, dlq, file, letter, longshore, open, rig_with_letters, with_letters};

fn replay(rig: &Rig, arguments: &[&str]) -> Said {
    let file = file(rig);
    dlq(&[&["replay", "-c", file.as_str()], arguments].concat())
}

/// The run of the journal's only replay, as `status` tells it.
fn status(rig: &Rig, id: &str) -> serde_json::Value {
    let said = dlq(&["replay", "status", "-c", &file(rig), id, "-o", "json"]).well();
    serde_json::from_str(&said.out).unwrap()
}

/// The ids of all runs, newest first.
fn runs(rig: &Rig) -> Vec<(String, String)> {
    let said = dlq(&["replay", "ls", "-c", &file(rig), "-o", "json"]).well();
    let word = |run: &serde_json::Value, name: &str| run[name].as_str().unwrap().to_owned();
    said.rows().iter().map(|run| (word(run, "id"), word(run, "state"))).collect()
}

fn own(seen: &Seen) -> Vec<(String, Option<Vec<u8>>)> {
    seen.headers.iter().filter(|(name, _)| !name.starts_with("longshore.")).cloned().collect()
}

/// Scenario: letters of a real worker are planned, then replayed to the retry topic, then asked for again.
/// Guarantee: a dry run and a missing yes send nothing; each letter is sent once, byte for byte, to its origin's partition, with
/// the next replay number and no attempt; after that it is handled, and nothing is left to send.
#[test]
fn a_replay_sends_the_same_records_again() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-dlq-replay").with_topics(3);
    let broken =
        |n: i32| Record::new(&format!("key-{n}"), format!("broken {n}")).to(n % 3).header("own", "v");
    let mut records: Vec<Record> = (0..30).map(broken).collect();
    records.push(Record { key: None, ..broken(30) });
    with_letters(&rig, &records);
    let letters = rig.witness.read(&rig.letter_topic());
    assert_eq!(letters.len(), 31);

    let plan = replay(&rig, &["--dry-run"]).well();
    for words in ["31 letters", "decode.json", &rig.retry_topic(), "already held: 0"] {
        assert!(plan.out.contains(words), "{words}\n{}", plan.out);
    }
    let unasked = replay(&rig, &[]);
    assert_eq!(unasked.code, 64, "{}", unasked.err);
    assert!(unasked.err.contains("--yes"), "{}", unasked.err);
    assert!(rig.witness.read(&rig.retry_topic()).is_empty() && runs(&rig).is_empty());

    let said = replay(&rig, &["--yes"]).well();
    assert!(said.err.contains("31 of 31 letters sent"), "{}", said.err);
    let sent = rig.witness.read(&rig.retry_topic());
    assert_eq!(sent.len(), 31);
    for letter in &letters {
        let origin = letter.header("longshore.origin").unwrap();
        let same = |seen: &&Seen| seen.header("longshore.origin").as_deref() == Some(origin.as_str());
        let found: Vec<&Seen> = sent.iter().filter(same).collect();
        assert_eq!(found.len(), 1, "{origin}");
        let again = found[0];
        assert_eq!(
            (&again.key, &again.value, again.partition),
            (&letter.key, &letter.value, letter.partition)
        );
        assert_eq!(own(again), own(letter), "{origin}");
        for (name, value) in [
            ("longshore.replays", Some("1")),
            ("longshore.attempt", Some("0")),
            ("longshore.not-before", None),
        ] {
            assert_eq!(again.header(name).as_deref(), value, "{origin} {name}");
        }
        for name in ["longshore.first-failed", "longshore.reason", "longshore.origin-timestamp"] {
            assert_eq!(again.header(name), letter.header(name), "{origin} {name}");
        }
    }
    assert_eq!(open(&rig), 0);
    let again = replay(&rig, &["--yes"]).well();
    assert!(again.err.contains("nothing to send"), "{}", again.err);
    let all = runs(&rig);
    assert_eq!(all.len(), 1);
    let run = status(&rig, &all[0].0);
    assert_eq!((&run["state"], &run["counts"]["handled"]), (&"done".into(), &31.into()));
    assert!(run["who"].as_str().unwrap().contains('@'), "{run}");
}

/// Scenario: letters by reason, by a condition, by time and by number. Guarantee: those and no others are chosen.
#[test]
fn filters_choose_letters() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-dlq-filter").with_topics(1);
    let make = |n: i64| {
        letter(&rig, n, 0, if n < 10 { "decode.json" } else { "sink.rejected" }, &format!("{{\"n\":{n}}}"))
    };
    rig.witness.publish(&rig.topic, &(0..20).map(|_| Record::new("k", "x").to(0)).collect::<Vec<_>>());
    rig.witness.publish(&rig.letter_topic(), &(0..20).map(make).collect::<Vec<_>>());
    for (arguments, wanted) in [
        (&["--reason", "decode.json"][..], 10),
        (&["--reason", "decode.json", "--reason", "sink.rejected"], 20),
        (&["--reason", "decode.utf8"], 0),
        (&["--where", "fields.n >= 15 && letter.reason == 'sink.rejected'"], 5),
        (&["--where", "letter.replays > 0"], 0),
        (&["--limit", "3"], 3),
        (&["--since", "1h"], 20),
        (&["--until", "1h"], 0),
    ] {
        let said = replay(&rig, &[arguments, &["--dry-run", "-o", "json"]].concat()).well();
        let plan: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(plan["counts"]["selected"], wanted, "{arguments:?}: {plan}");
    }
    // A condition that cannot be evaluated for a letter says so and does not choose it.
    let said = replay(&rig, &["--where", "fields.n.startsWith('1')", "--dry-run"]).well();
    assert!(said.out.contains("20 that --where cannot be evaluated for"), "{}", said.out);
    replay(&rig, &["--limit", "7", "--yes"]).well();
    assert_eq!(open(&rig), 13);
}

/// Bad input: letters that must not be sent. Guarantee: each is refused, counted, and stays open.
#[test]
fn letters_that_must_not_be_sent_are_refused() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-dlq-refuse").with_topics(1);
    rig.witness.publish(&rig.topic, &(0..50).map(|_| Record::new("k", "x").to(0)).collect::<Vec<_>>());
    let with = |mut record: Record, name: &str, value: &str| {
        record.headers.retain(|(known, _)| known != name);
        record.header(name, value)
    };
    let good = |n| letter(&rig, n, 0, "decode.json", "x");
    let many = (0..2_000).fold(good(6), |record, n| record.header(&format!("h{n}"), &"x".repeat(400)));
    rig.witness.publish(
        &rig.letter_topic(),
        &[
            good(1),
            letter(&rig, 2, 3, "decode.json", "replayed too often"),
            with(good(3), "longshore.omitted", "5000000"),
            with(good(4), "longshore.origin", "no-such-topic/0/4/0"),
            with(good(4), "longshore.origin", &format!("{}/9/4/0", rig.topic)),
            with(good(4), "longshore.origin", &format!("{}/0/999999/0", rig.topic)),
            with(good(5), "longshore.origin", "forged"),
            many,
        ],
    );
    let said = replay(&rig, &["--yes", "-o", "json"]).well();
    let run: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let counts = &run["counts"];
    assert_eq!((&counts["handled"], &counts["too_often"]), (&2.into(), &1.into()), "{counts}");
    assert_eq!((&counts["without_payload"], &counts["no_origin"]), (&1.into(), &4.into()), "{counts}");
    let sent = rig.witness.read(&rig.retry_topic());
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1].headers.iter().filter(|(name, _)| name.starts_with('h')).count(), 2_000);
    assert_eq!(open(&rig), 6);
    // The cap is the caller's to raise.
    replay(&rig, &["--yes", "--max-replays", "9", "--reason", "decode.json"]).well();
    let sent = rig.witness.read(&rig.retry_topic());
    assert_eq!(sent.last().unwrap().header("longshore.replays").as_deref(), Some("4"));
}

/// Scenario: letters go to the input again, and Connect's go to a topic.
/// Guarantee: new records, keyed as the letters are, that say what they were made from and carry nothing else of any dead-letter
/// handling; the plan says that this is not idempotent.
#[test]
fn new_records_say_what_they_were_made_from() {
    let Some(broker) = shared_broker() else { return };
    let rig = rig_with_letters(broker, "e2e-dlq-new", 20);
    let before = rig.witness.ends(&rig.topic);
    let said = replay(&rig, &["--to", "input", "--yes"]).well();
    assert!(said.out.contains("NOT idempotent"), "{}", said.out);
    let fresh = |topic: &str, ends: &[i64]| {
        let mut seen = rig.witness.read(topic);
        seen.retain(|seen| seen.offset >= ends.get(seen.partition as usize).copied().unwrap_or(0));
        seen
    };
    let sent = fresh(&rig.topic, &before);
    assert_eq!(sent.len(), 20);
    for seen in &sent {
        let names: Vec<_> = seen
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| name.starts_with("longshore."))
            .collect();
        let wanted = ["replay-id", "replay-letter", "replay-of", "replayed"];
        assert_eq!(names, wanted.map(|name| format!("longshore.{name}")));
        let number = String::from_utf8_lossy(seen.value.as_ref().unwrap()).into_owned();
        let of = seen.header("longshore.replay-of").unwrap();
        assert_eq!(number, format!("broken {}", of.split('/').nth(2).unwrap()));
    }
    assert_eq!(open(&rig), 0);

    let (theirs, target) = ("e2e-dlq-new.connect", "e2e-dlq-new.target");
    rig.witness.create_topic(theirs, 1, &[]);
    rig.witness.create_topic(target, 2, &[]);
    let letter = Record::new("k", "v")
        .header("own", "o")
        .header("__connect.errors.topic", "orders")
        .header("__connect.errors.partition", "0")
        .header("__connect.errors.offset", "7")
        .header("__connect.errors.exception.message", "x");
    rig.witness.publish(theirs, &[letter]);
    let refused = replay(&rig, &["--topic", theirs, "--yes"]).well();
    assert!(refused.out.contains("1 whose origin is no place"), "{}", refused.out);
    replay(&rig, &["--topic", theirs, "--to", target, "--yes"]).well();
    let sent = rig.witness.read(target);
    assert_eq!(sent.len(), 1);
    assert_eq!(own(&sent[0]), [("own".to_owned(), Some(b"o".to_vec()))]);
    assert_eq!(sent[0].header("longshore.replay-of").as_deref(), Some("orders/0/7/0"));
}

/// Scenario: a transform that fails on some letters, or gives null or nothing. Guarantee: its failures are listed before anything is sent,
/// and nothing is sent then; by explicit choice the others are; the corrected payload is what is sent, the identity stays.
#[test]
fn a_transform_corrects_or_nothing_is_sent() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-dlq-transform").with_topics(1);
    rig.witness.publish(&rig.topic, &(0..10).map(|_| Record::new("k", "x").to(0)).collect::<Vec<_>>());
    let payloads = [r#"{"id":"7","b":1}"#, r#"{"id":"x"}"#, "no json", r#"{"id":"9"}"#];
    let letters = payloads.iter().zip(0..).map(|(payload, n)| letter(&rig, n, 0, "decode.shape", payload));
    rig.witness.publish(&rig.letter_topic(), &letters.collect::<Vec<_>>());
    let path = rig.folder().join("fix.yaml");
    let write = |transform: &str| std::fs::write(&path, transform).unwrap();
    let file = path.display().to_string();
    for (transform, code, words) in [
        ("payload: 'null'", 65, "/0/3: payload: no result"),
        ("payload: fields.missing", 65, "/0/0: payload: no result"),
        ("key: fields.b", 65, "/0/1: key: no result"),
        ("'': \"'x'\"", 64, "names no field"),
        ("{}", 64, "expected at least one place"),
        ("", 64, ""),
    ] {
        write(transform);
        let refused = replay(&rig, &["--transform", &file, "--yes"]);
        assert!(refused.code == code && refused.err.contains(words), "{transform}: {}", refused.err);
    }
    assert!(rig.witness.read(&rig.retry_topic()).is_empty() && runs(&rig).is_empty());
    write("id: int(fields.id)\nkey: \"'fixed'\"\n");
    let path = file;
    let refused = replay(&rig, &["--transform", &path, "--yes"]);
    assert_eq!(refused.code, 65, "{}", refused.err);
    assert_eq!(refused.err.matches("transform: ").count(), 2, "{}", refused.err);
    assert!(refused.err.contains("/0/1: id: ") && refused.err.contains("/0/2: id: "), "{}", refused.err);
    assert!(rig.witness.read(&rig.retry_topic()).is_empty());

    replay(&rig, &["--transform", &path, "--skip-failures", "--yes"]).well();
    let sent = rig.witness.read(&rig.retry_topic());
    let values: Vec<_> =
        sent.iter().map(|seen| String::from_utf8_lossy(seen.value.as_ref().unwrap()).into_owned()).collect();
    assert_eq!(values, [r#"{"id":7,"b":1}"#, r#"{"id":9}"#]);
    assert!(sent.iter().all(|seen| seen.key.as_deref() == Some(b"fixed")));
    assert_eq!(sent[1].header("longshore.origin"), Some(format!("{}/0/3/0", rig.topic)));
    assert_eq!(open(&rig), 2);
}

/// How often each value came.
fn counted(seen: &[Seen], identity: impl Fn(&Seen) -> String) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for seen in seen {
        *counts.entry(identity(seen)).or_default() += 1;
    }
    counts
}

/// A replay that is killed so often; of more letters than arrive until the last kill.
#[derive(Clone, Copy)]
struct Killed {
    kills: usize,
    letters: i64,
}

/// Starts a slow replay and kills it at moments of a seeded schedule, told by how many letters have arrived, until it was killed
/// often enough; resumes it each time, and lets the last one end. Whatever the moment, the journal claims no letter that has not
/// arrived; at the end it claims all.
fn killed_and_resumed(rig: &Rig, to: &str, target: &str, plan: Killed) {
    let (file, mut random) = (file(rig), Random::new(plan.kills as u64));
    let start = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.args(["dlq", "replay"]).args(arguments);
        Longshore::start_command(command)
    };
    let arrived = || rig.witness.ends(target).iter().sum::<i64>();
    let mut process = start(&["-c", &file, "--to", to, "--rate", "150", "--yes"]);
    let mut id = String::new();
    for kill in 0..plan.kills {
        // Somewhere inside a batch or between two: whatever the moment is.
        let more = arrived() + 1 + random.below(50) as i64;
        wait_until("letters arrive", Duration::from_secs(60), || {
            assert!(!process.has_ended(), "it ended before kill {kill}\n{}", process.transcript());
            arrived() >= more
        });
        process.kill9();
        if id.is_empty() {
            runs(rig)[0].0.clone_into(&mut id);
        }
        let told = status(rig, &id);
        let (handled, sent) = (told["counts"]["handled"].as_i64().unwrap(), arrived());
        assert!(told["state"] == "running" && handled <= sent, "{sent} arrived until kill {kill}: {told}");
        let rate = if kill + 1 == plan.kills { "100000" } else { "150" };
        process = start(&["resume", "-c", &file, &id, "--rate", rate]);
    }
    let ended = process.wait(Duration::from_secs(60));
    assert!(ended.success(), "{ended}\n{}", process.transcript());
    let told = status(rig, &id);
    assert_eq!(
        (&told["state"], &told["counts"]["handled"]),
        (&"done".into(), &plan.letters.into()),
        "{told}"
    );
    assert_eq!(open(rig), 0);
}

/// That each of so many identities is there exactly once.
fn assert_once(seen: &[Seen], identity: &str, letters: i64) {
    let counts = counted(seen, |seen| seen.header(identity).unwrap());
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(doubled.is_empty() && counts.len() as i64 == letters, "{}, doubled {doubled:?}", counts.len());
}

/// Scenario: a replay to a topic is killed with SIGKILL at twenty arbitrary moments and resumed, until it ends.
/// Guarantee: every letter is in the target exactly once, and the journal never tells more than is true.
#[test]
fn a_killed_replay_doubles_nothing() {
    let Some(broker) = shared_broker() else { return };
    let plan = Killed { kills: 20, letters: 2_500 };
    let rig = rig_with_letters(broker, "e2e-dlq-killed", plan.letters);
    let target = "e2e-dlq-killed.target";
    rig.witness.create_topic(target, 3, &[]);
    killed_and_resumed(&rig, target, target, plan);
    assert_once(&rig.witness.read(target), "longshore.replay-of", plan.letters);
}

/// Scenario: the same to the retry topic. Guarantee: every identity is there once, all with the same replay number.
#[test]
fn a_killed_replay_to_retry_is_the_same() {
    let Some(broker) = shared_broker() else { return };
    let plan = Killed { kills: 5, letters: 900 };
    let rig = rig_with_letters(broker, "e2e-dlq-retried", plan.letters);
    killed_and_resumed(&rig, "retry", &rig.retry_topic(), plan);
    let sent = rig.witness.read(&rig.retry_topic());
    assert_once(&sent, "longshore.origin", plan.letters);
    assert!(sent.iter().all(|seen| seen.header("longshore.replays").as_deref() == Some("1")));
}

/// Scenario: Ctrl-C in the middle; another replay is tried; the first is resumed by a second process while a third looks.
/// Guarantee: it ends with 75 and the command to go on with; nobody else may begin meanwhile; resumed, it sends the rest once.
#[test]
fn a_stopped_replay_goes_on_where_it_stood() {
    let Some(broker) = shared_broker() else { return };
    let rig = rig_with_letters(broker, "e2e-dlq-stopped", 300);
    let target = "e2e-dlq-stopped.target";
    rig.witness.create_topic(target, 2, &[]);
    let mut command = Command::new(binary());
    command.args(["dlq", "replay", "-c", &file(&rig), "--to", target, "--rate", "50", "--yes"]);
    let mut process = Longshore::start_command(command);
    wait_until("some letters are sent", Duration::from_secs(60), || {
        rig.witness.ends(target).iter().sum::<i64>() >= 20
    });
    process.signal(Signal::INT);
    let status = process.wait(Duration::from_secs(30));
    assert_eq!(status.code(), Some(75), "{}", process.transcript());
    assert!(process.stderr().contains("replay resume"), "{}", process.transcript());
    let (id, state) = runs(&rig)[0].clone();
    assert_eq!(state, "stopped");
    let other = replay(&rig, &["--yes"]);
    assert_eq!(other.code, 75, "{}", other.err);
    assert!(other.err.contains(&id), "{}", other.err);
    dlq(&["replay", "resume", "-c", &file(&rig), &id, "--rate", "100000"]).well();
    let counts = counted(&rig.witness.read(target), |seen| seen.header("longshore.replay-letter").unwrap());
    assert!(counts.len() == 300 && counts.values().all(|count| *count == 1), "{} of 300", counts.len());
    let done = dlq(&["replay", "resume", "-c", &file(&rig), &id]).well();
    assert!(done.err.contains("done already"), "{}", done.err);
}

/// Scenario: a replay is cancelled from another terminal while it runs.
/// Guarantee: it ends by itself; what was sent is handled, the rest is open, and together they are all letters.
#[test]
fn a_cancelled_replay_leaves_the_rest_open() {
    let Some(broker) = shared_broker() else { return };
    let rig = rig_with_letters(broker, "e2e-dlq-cancel", 300);
    let target = "e2e-dlq-cancel.target";
    rig.witness.create_topic(target, 1, &[]);
    let mut command = Command::new(binary());
    command.args(["dlq", "replay", "-c", &file(&rig), "--to", target, "--rate", "30", "--yes"]);
    let mut process = Longshore::start_command(command);
    wait_until("some letters are sent", Duration::from_secs(60), || {
        rig.witness.ends(target).iter().sum::<i64>() >= 20
    });
    let (id, _) = runs(&rig)[0].clone();
    dlq(&["replay", "cancel", "-c", &file(&rig), &id]).well();
    let status = process.wait(Duration::from_secs(30));
    assert_eq!(status.code(), Some(75), "{}", process.transcript());
    assert_eq!(runs(&rig), [(id, "cancelled".to_owned())]);
    let sent = rig.witness.read(target).len();
    assert_eq!(sent as u64 + open(&rig), 300);
    replay(&rig, &["--to", target, "--yes"]).well();
    let counts = counted(&rig.witness.read(target), |seen| seen.header("longshore.replay-letter").unwrap());
    assert!(counts.len() == 300 && counts.values().all(|count| *count == 1), "{} of 300", counts.len());
}

/// Bad input. Guarantee: a clear message, the documented exit code, and nothing sent or noted.
#[test]
fn mistakes_of_a_replay_are_told() {
    let Some(broker) = shared_broker() else { return };
    let rig = rig_with_letters(broker, "e2e-dlq-mistakes", 3);
    let (letters, journal) = (rig.letter_topic(), rig.journal_topic());
    let broken = rig.folder().join("broken.yaml");
    std::fs::write(&broken, "id: 1 +\n").unwrap();
    let broken = broken.display().to_string();
    let list = rig.folder().join("list.yaml");
    std::fs::write(&list, "- id\n").unwrap();
    let list = list.display().to_string();
    for (arguments, code, words) in [
        (&["--to", letters.as_str()][..], 64, "letters are read from there"),
        (&["--to", rig.retry_topic().as_str()], 64, "pipeline's own"),
        (&["--to", journal.as_str()], 64, "pipeline's own"),
        (&["--to", "e2e-no-such-target"], 78, "e2e-no-such-target does not exist"),
        (&["--where", "leter.reason == 'x'"], 64, "unknown variable `leter`, did you mean"),
        (&["--where", "1 +"], 64, "ends too early"),
        (&["--since", "yesterday"], 64, "--since yesterday"),
        (&["--transform", &broken], 64, "ends too early"),
        (&["--transform", &list], 64, "expected a map"),
        (&["--transform", "/no/such/file"], 64, "cannot read"),
        (&["--topic", "e2e-no-such-letters"], 78, "e2e-no-such-letters does not exist"),
        (&["--broker", "127.0.0.1:1"], 69, "broker.unavailable"),
    ] {
        let said = replay(&rig, &[arguments, &["--yes"]].concat());
        assert_eq!(said.code, code, "{arguments:?}: {}", said.err);
        assert!(said.err.contains(words), "{arguments:?}: {}", said.err);
    }
    let bootstrap = broker.bootstrap();
    let said = dlq(&["replay", "--broker", &bootstrap, "--topic", &letters, "--yes"]);
    assert!(said.code == 64 && said.err.contains("-c"), "{}", said.err);
    let said = dlq(&["replay", "status", "-c", &file(&rig), "nonsense"]);
    assert!(said.code == 1 && said.err.contains("knows no nonsense"), "{}", said.err);
    assert!(rig.witness.read(&rig.retry_topic()).is_empty() && runs(&rig).is_empty());

    rig.witness.delete_topic(&journal);
    let said = replay(&rig, &["--yes"]);
    assert_eq!(said.code, 78, "{}", said.err);
    assert!(said.err.contains("topics apply"), "{}", said.err);
    assert_eq!(open(&rig), 3);
}

/// Scenario: letters of a worker are replayed as they are, and fail again; then they are replayed with a correction.
/// Guarantee: what fails again is an open letter with the next replay number; what is corrected becomes one row under the
/// record's own origin, and no letter is open any more.
#[test]
fn a_replayed_record_fails_again_or_becomes_its_row() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-dlq-round").with_topics(1);
    let records: Vec<Record> = (0..4).map(|n| Record::new("k", format!("{{'n':{n}}}")).to(0)).collect();
    with_letters(&rig, &records);
    replay(&rig, &["--yes"]).well();
    assert_eq!(open(&rig), 0);
    let worker = rig.working();
    wait_until("the letters come back", Duration::from_secs(60), || {
        rig.witness.ends(&rig.letter_topic())[0] == 8
    });
    worker.stop();
    assert_eq!(open(&rig), 4);
    let letters = rig.witness.read(&rig.letter_topic());
    assert!(letters[4..].iter().all(|seen| seen.header("longshore.replays").as_deref() == Some("1")));
    assert!(letters.iter().all(|seen| seen.header("longshore.replay-id").is_none()));

    let path = rig.folder().join("quotes.yaml");
    std::fs::write(&path, "payload: payload.replace(\"'\", '\"')\n").unwrap();
    replay(&rig, &["--transform", &path.display().to_string(), "--yes"]).well();
    let worker = rig.working();
    let settled = || {
        let committed = rig.witness.committed(&rig.group(), &rig.retry_topic());
        committed.get(&0).is_some_and(|found| found.offset == rig.witness.ends(&rig.retry_topic())[0])
    };
    wait_until("the corrected records are settled", Duration::from_secs(60), settled);
    worker.stop();
    let account = Account::take(&rig);
    let rows: Vec<_> = account.rows.iter().map(|(place, rows)| (*place, rows.len())).collect();
    assert_eq!(rows, [((0, 0), 1), ((0, 1), 1), ((0, 2), 1), ((0, 3), 1)]);
    assert_eq!((account.letters.len(), open(&rig)), (8, 0));
    let told = longshore(&["why", "-c", &file(&rig), &format!("{}/0/0", rig.topic)]).well().out;
    for words in [
        "sent again as replay 1; to ",
        "dead letter after attempt 1 of replay 1",
        "sent again as replay 2; to ",
    ] {
        assert!(told.contains(words), "no {words:?} in\n{told}");
    }
    assert!(!told.contains("attempt 0"), "{told}");
}
