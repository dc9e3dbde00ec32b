//! A worker that stops while it sends letters again for somebody.

use std::process::Command;

use longshore_tests::harness::{binary, shared_broker};
use serde_json::json;

use super::*;

/// Scenario: a replay of 60 letters goes on, five a second, when its worker is told to stop; somebody goes on with it by the command.
/// Guarantee: the worker waits for its orderly end and says so; the journal has it as stopped, with what was sent; afterwards each letter was
/// sent once.
#[test]
fn a_replay_ends_in_order_with_its_worker() {
    let Some(broker) = shared_broker() else { return };
    let stage = Stage::new(broker, "console-stopping", &[&format!("http.console.token={TOKEN}")]);
    let broken: Vec<Record> = (0..60).map(|n| Record::new(&format!("more-{n}"), "{ not JSON")).collect();
    stage.rig.witness.publish(&stage.rig.topic, &broken);
    wait_until("they are letters", DRAINED, || stage.rig.witness.read(&stage.rig.letter_topic()).len() == 64);
    let right = bearer(TOKEN);
    let asked = json!({ "reasons": ["decode.json"], "rate": 5 }).to_string();
    let plan = stage.post("/api/replay/plan", &[&right], &asked).with(200).json();
    assert_eq!(plan["counts"]["selected"], 62, "{plan}");
    let mut start = plan["request"].clone();
    start["plan"] = plan["plan"].clone();
    let run = stage.post("/api/replay", &[&right], &start.to_string()).with(202).json();
    let id = run["run"]["id"].as_str().unwrap().to_owned();
    let copies = || stage.rig.witness.read(&stage.rig.retry_topic()).len();
    wait_until("some were sent", DRAINED, || copies() >= 5);

    let Stage { rig, mut worker, .. } = stage;
    let status = worker.terminate(Duration::from_secs(25));
    assert!(status.success(), "{}", worker.process.transcript());
    let log = worker.process.transcript();
    assert!(log.contains(&format!("replay {id} stopped: ")), "{log}");
    let sent = rig.witness.read(&rig.retry_topic()).len();
    assert!((5..62).contains(&sent), "{sent}");

    let file = rig.file().display().to_string();
    let replay = |words: &[&str]| {
        let output = Command::new(binary()).args(["dlq", "replay"]).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said + &String::from_utf8_lossy(&output.stderr))
    };
    let (code, said) = replay(&["status", "-c", &file, "-o", "json", &id]);
    let noted: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &noted["state"], &noted["counts"]["handled"]),
        (Some(0), &json!("stopped"), &json!(sent))
    );
    let (code, said) = replay(&["resume", "-c", &file, &id, "--rate", "1000"]);
    assert!(code == Some(0) && said.contains("62 of 62 letters"), "{code:?} {said}");
    assert_eq!(rig.witness.read(&rig.retry_topic()).len(), 62);
}
