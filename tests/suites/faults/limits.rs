//! A worker under the limit of memory that its pod gets.

use std::process::Command;
use std::time::Duration;

use longshore_tests::harness::account::Fate;
use longshore_tests::harness::cage::Cage;
use longshore_tests::harness::{Account, Rig, binary, report, wait_until};

use super::memory::{BUDGET_MIB, assert_within_budget, record_of};
use super::{broker, is_full};

const PARTITIONS: i32 = 64;
const MIB: u64 = 1 << 20;
/// A step takes a mebibyte.
const LARGE: usize = 1_000_000;

/// Records of a kilobyte, and of a megabyte.
fn records() -> (usize, usize) {
    if is_full() { (600_000, 600) } else { (60_000, 60) }
}

/// The limit that `deploy render` gives the pods of a pipeline with this budget, in MiB.
fn rendered_limit(rig: &Rig) -> u64 {
    let file = rig.folder().join("rendered.yaml");
    let text = format!(
        "pipeline: limits\nkind: logs\nkafka: {{ brokers: 'kafka:9092' }}\ninput: {{ topics: [logs.raw] }}\n\
         steps: [ {{ parse: {{ format: json }} }} ]\nsinks: [ {{ topic: {{ name: out }} }} ]\nlimits: {{ memory: {BUDGET_MIB}MiB }}\n"
    );
    std::fs::write(&file, text).unwrap();
    let out = Command::new(binary()).args(["deploy", "render"]).arg(&file).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let yaml = String::from_utf8_lossy(&out.stdout).into_owned();
    let quantity =
        |line: &str| line.trim().strip_prefix("memory: ")?.trim_matches('"').strip_suffix("Mi")?.parse().ok();
    yaml.lines().find_map(quantity).unwrap_or_else(|| panic!("no limit of memory in\n{yaml}"))
}

/// Both sizes over all partitions, mixed.
fn publish(rig: &Rig) -> u64 {
    let publisher = rig.witness.publisher();
    let (small, large) = records();
    let each = small / large;
    for number in 0..large {
        publisher.publish(&rig.topic, &[record_of(LARGE, number, number as i32 % PARTITIONS)]);
        let batch = (0..each).map(|n| large + number * each + n);
        let batch: Vec<_> =
            batch.map(|number| record_of(1_000, number, number as i32 % PARTITIONS)).collect();
        publisher.publish(&rig.topic, &batch);
    }
    (large + each * large) as u64
}

/// Scenario: a backlog of records of 1 KB and of 1 MB in 64 partitions, one in ten of which fails once and comes by the retry topic; the worker
/// has the limit of memory that `deploy render` gives its pod.
/// Guarantee (I5): the kernel does not kill it, its peak is within 1.15 of the budget, and I1 to I4.
#[test]
fn a_worker_lives_within_the_limit_of_its_pod() {
    let Some(broker) = broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "limits")
        .steps("\n  - parse: { format: json }\n  - fail: { ratio: 10%, times: 1, seed: 7 }")
        .set(&format!("limits.memory={BUDGET_MIB}MiB"))
        .set("failure.retry.in_place=0ms")
        .set("failure.retry.first=1s");
    let limit_mib = rendered_limit(&rig);
    let Some(cage) = Cage::new("limits", limit_mib * MIB) else { return };
    let rig = rig.with_topics(PARTITIONS);
    let published = publish(&rig);
    let worker = rig.worker_by(cage.command(&binary()), &[], &[]);
    rig.wait_drained(Duration::from_secs(600), &[&worker]);
    wait_until("no copy waits any more", Duration::from_secs(120), || rig.uncommitted_copies() == 0);
    let own_mib = worker.memory_kib("VmHWM:").unwrap_or(0) / 1024;
    let all_mib = cage.peak().map_or_else(|| "?".to_owned(), |bytes| (bytes / MIB).to_string());
    report::figure(
        "memory limit of the pod",
        &format!("{} killed, process {own_mib} MiB, group {all_mib} MiB", cage.kills()),
        &format!("0 killed in {limit_mib} MiB"),
    );
    assert_eq!(cage.kills(), 0, "killed for want of memory\n{}", worker.process.transcript());
    assert_within_budget(&worker, "in a pod");
    worker.stop();
    Account::take(&rig).assert_right(published, |_| Fate::Row);
}
