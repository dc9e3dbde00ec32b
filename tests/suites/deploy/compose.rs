//! The compose file: held by the reference reader of the specification, and against what a worker needs.

use std::process::Command;

use longshore_tests::harness::{binary, tool};
use serde_json::Value;

use super::{render, root};

/// The file as the reference reader (compose-go) understands it.
fn read() -> Option<Value> {
    let program = tool("compose")?;
    let output = Command::new(program)
        .args(["-format", "json", "compose.yaml"])
        .current_dir(root("deploy"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Guarantee: the file conforms to the specification; its pipeline has no mistake; a worker has the grace, the memory and the probe that a pod
/// has, shares its volume, waits for broker and topics, and has no right that it does not need.
#[test]
fn compose_runs_what_a_worker_needs() {
    let Some(file) = read() else { return };
    let pipeline = root("deploy/compose-pipeline.yaml");
    let checked = Command::new(binary()).arg("check").arg(&pipeline).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let worker = &file["services"]["worker"];
    let text = std::fs::read_to_string(&pipeline).unwrap();
    let pod = render::render(&text, &["--volume-claim", "data"]);
    let grace = format!("{}s", pod.pod()["terminationGracePeriodSeconds"]);
    assert_eq!(worker["stop_grace_period"], Value::from(grace));
    let memory = &pod.container()["resources"]["limits"]["memory"];
    let megabytes = memory.as_str().unwrap().trim_end_matches("Mi").parse::<u64>().unwrap();
    let given = worker["mem_limit"].as_str().map_or(worker["mem_limit"].as_u64(), |text| {
        text.trim_end_matches('m').parse::<u64>().ok().map(|n| n << 20)
    });
    assert_eq!(given, Some(megabytes << 20), "{}", worker["mem_limit"]);
    assert_eq!(worker["stop_signal"], "SIGTERM");
    let test = worker["healthcheck"]["test"].as_array().unwrap();
    assert_eq!(test[1..], ["/usr/local/bin/longshore", "health", "--ready"].map(Value::from));
    assert!(worker["container_name"].is_null(), "a name would keep it from being scaled");

    for name in ["worker", "topics"] {
        let service = &file["services"][name];
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"][0], "ALL", "{name}");
        assert!(service["privileged"].is_null() && service["user"].is_null(), "{name}");
        assert_eq!(service["configs"][0]["target"], "/etc/longshore/pipeline.yaml", "{name}");
        assert_eq!(service["environment"]["KAFKA_BOOTSTRAP"], "broker:9092", "{name}");
    }
    let waits = &worker["depends_on"];
    assert_eq!(waits["topics"]["condition"], "service_completed_successfully");
    assert_eq!(waits["broker"]["condition"], "service_healthy");
    let mounted = worker["volumes"].as_array().unwrap();
    assert!(
        mounted.iter().any(|volume| volume["type"] == "volume" && volume["target"] == "/var/lib/longshore"),
        "{mounted:?}"
    );
    assert!(text.contains("path: /var/lib/longshore/"), "the ledger lies outside of the volume");

    // The reader takes the defaults, so that what may be given instead is looked for in the text.
    let text = std::fs::read_to_string(root("deploy/compose.yaml")).unwrap();
    for variable in ["${LONGSHORE_PIPELINE:-./compose-pipeline.yaml}", "${KAFKA_BOOTSTRAP:-broker:9092}"] {
        assert!(text.contains(variable), "{variable}");
    }
}
