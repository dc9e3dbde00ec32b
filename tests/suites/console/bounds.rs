//! What a look may take of a worker, whatever strangers have written to the topics that it reads (I5).

use std::path::PathBuf;

use longshore_broker::{BrokerOptions, Tool};
use longshore_testkit::Random;
use longshore_tests::harness::{shared_broker, start_broker};
use serde_json::{Value, json};

use super::*;

/// What a look may add to a worker's memory at its peak, KiB: its clients' buffers, what is remembered of letters, and what the allocator keeps.
const LOOK_KIB: u64 = 24 * 1024;

/// Memory at its peak since [`Peak::begin`].
struct Peak<'a> {
    worker: &'a Worker,
    before: u64,
}

impl<'a> Peak<'a> {
    fn begin(worker: &'a Worker) -> Self {
        let process = PathBuf::from(format!("/proc/{}", worker.process.pid()));
        // Sets the peak back to what is in use now (proc(5)).
        std::fs::write(process.join("clear_refs"), "5").unwrap();
        Self { worker, before: worker.memory_kib("VmRSS").unwrap() }
    }

    fn added_kib(&self) -> u64 {
        self.worker.memory_kib("VmHWM").unwrap().saturating_sub(self.before)
    }
}

/// A pipeline that has nothing to do, and passes over what comes.
fn idle(bootstrap: &str, name: &str) -> Stage {
    let rig = Rig::new(bootstrap, name).steps("\n  - filter: { drop: 'true' }");
    let rig = rig.set(&format!("http.console.token={TOKEN}")).with_topics(1);
    let mut worker = rig.working();
    let address = worker.address().unwrap();
    Stage { rig, worker, address }
}

/// Bad input: 150,000 letters that are headers alone, each of which names another topic by one of the longest names. Guarantee: they are counted,
/// people hear that copies may be among them, and what is read ahead and remembered stays within its bounds.
#[test]
fn names_that_strangers_chose_are_not_kept() {
    let Some(broker) = shared_broker() else { return };
    let stage = idle(&broker.bootstrap(), "console-names");
    let letter = |number: usize| {
        let origin = format!("{number:0>240}/0/{number}/0");
        Record::new("", "{}")
            .to(0)
            .header("longshore.origin", &origin)
            .header("longshore.reason", "decode.json")
    };
    for batch in 0..15 {
        let letters: Vec<Record> = (batch * 10_000..(batch + 1) * 10_000).map(letter).collect();
        stage.rig.witness.publish(&stage.rig.letter_topic(), &letters);
    }
    let peak = Peak::begin(&stage.worker);
    let said = stage.get("/api/letters");
    let added = peak.added_kib();
    // A machine that is busy may take longer for them than a request may.
    if said.code == 200 {
        let said = said.json();
        assert_eq!(said["open"], 150_000, "{said}");
        assert!(said["notes"].to_string().contains("cop"), "{said}");
    } else {
        assert!(said.code == 409 && said.body.contains("longer than one request may"), "{said:?}");
    }
    assert!(added < LOOK_KIB, "a look took {added} KiB");
    stage.worker.stop();
}

/// Bad input: a journal of 12 MB, whose runs hold long texts. Guarantee: a worker does not keep it, says so, and goes on; the command reads it.
#[test]
fn a_large_journal_is_for_the_command() {
    let Some(broker) = shared_broker() else { return };
    let mut stage = Stage::new(broker, "console-journal", &[]);
    let file = stage.rig.file().display().to_string();
    let arguments =
        ["dlq", "discard", "-c", &file, "--code", "decode.json", "--reason", "made by a test", "--yes"];
    let discard = |arguments: &[&str]| {
        let mut command = std::process::Command::new(longshore_tests::harness::binary());
        command.args(arguments).output().unwrap()
    };
    let done = discard(&arguments);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(stage.open("decode.json"), 0);
    let journal = stage.rig.journal_topic();
    let entries = stage.rig.witness.read(&journal);
    let entry = entries.iter().find(|entry| entry.key.as_deref().is_some_and(|key| key.starts_with(b"run/")));
    let mut run: Value = serde_json::from_slice(entry.unwrap().value.as_ref().unwrap()).unwrap();
    run["words"] = json!("x".repeat(100_000));
    let runs: Vec<Record> = (0..120)
        .map(|number| {
            let id = format!("20200101-000000-{number:04}");
            run["id"] = json!(id);
            Record::new(&format!("run/{id}"), run.to_string()).to(0)
        })
        .collect();
    stage.rig.witness.publish(&journal, &runs);
    let peak = Peak::begin(&stage.worker);
    for path in ["/api/letters", "/api/runs", "/api/reasons/decode.json"] {
        let said = stage.get(path).with(409);
        assert!(said.body.contains("more room than a worker has for it"), "{said:?}");
    }
    let added = peak.added_kib();
    assert!(added < LOOK_KIB, "three looks took {added} KiB");
    let listed = discard(&["dlq", "ls", "-c", &file]);
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    assert!(stage.worker.answer("/readyz").is_some_and(|(code, _)| code == 200));
    stage.worker.stop();
}

/// Scenario: 60 MB of letters that do not compress are sent again to a broker that takes one megabyte a second. Guarantee: what waits for it stays within the
/// buffers of the console's clients, and at SIGTERM the replay ends in order.
#[test]
fn a_replay_to_a_slow_broker_stays_small() {
    let Some(broker) = start_broker(BrokerOptions::default()) else { return };
    let stage = idle(&broker.bootstrap(), "console-slow");
    let mut random = Random::new(1);
    let mut noise = || (0..900_000).map(|_| (b' ' + random.below(95) as u8) as char).collect::<String>();
    let letters: Vec<Record> = (0..66).map(|_| Record::new("", noise()).to(0)).collect();
    stage.rig.witness.publish(&stage.rig.letter_topic(), &letters);
    let right = bearer(TOKEN);
    let asked = json!({ "reasons": [""], "to": "input" }).to_string();
    let plan = stage.post("/api/replay/plan", &[&right], &asked).with(200).json();
    assert_eq!(plan["counts"]["selected"], 66, "{plan}");
    let slow = ["--alter", "--add-config", "producer_byte_rate=1000000", "--entity-type", "clients"];
    broker.tool(Tool::Configs, &[&slow[..], &["--entity-default"]].concat()).unwrap();
    // The broker takes it over some time after it was accepted.
    let asked_back = ["--describe", "--entity-type", "clients", "--entity-default"];
    wait_until("the broker is slow", DRAINED, || {
        broker.tool(Tool::Configs, &asked_back).unwrap().stdout.contains("producer_byte_rate=1000000")
    });
    let mut start = plan["request"].clone();
    start["plan"] = plan["plan"].clone();
    let peak = Peak::begin(&stage.worker);
    let run = stage.post("/api/replay", &[&right], &start.to_string()).with(202).json();
    let id = run["run"]["id"].as_str().unwrap().to_owned();
    let arrived = || stage.rig.witness.ends(&stage.rig.topic).iter().sum::<i64>();
    wait_until("some have arrived", DRAINED, || arrived() >= 16);
    let added = peak.added_kib();
    assert!(added < LOOK_KIB, "a replay took {added} KiB");
    assert!(arrived() < 66, "the broker was not slow");
    let mut worker = stage.worker;
    let status = worker.terminate(Duration::from_secs(60));
    assert!(status.success(), "{}", worker.process.transcript());
    let log = worker.process.transcript();
    assert!(log.contains(&format!("replay {id} stopped")) || log.contains("did not end in time"), "{log}");
}
