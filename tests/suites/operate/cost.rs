//! What tracing costs, in instructions: counted by valgrind, so that a busy machine changes nothing.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use longshore_tests::harness::{Longshore, Record, Rig, binary, free_port, report, shared_broker};
use rustix::process::Signal;

/// The most instructions for each record with none sampled, and with 1 in 100: a tenth more than measured with the build of the tests, which
/// needs more of them than a release build (docs/benchmarks.md has the share of what a worker spends).
const LOOK_MOST: f64 = 185.0;
const SAMPLED_MOST: f64 = 445.0;
const RECORDS: u64 = 100_000;

/// The example, which the build of everything makes beside this test.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/tracing_cost")
}

/// Instructions of a run over so many records.
fn instructions(records: u64, ratio: &str) -> u64 {
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(example())
        .arg(records.to_string())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .envs([("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", ratio)])
        .output()
        .unwrap();
    let (said, told) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success() && told.contains(" 0 lost"), "{told}{said}");
    collected(&said)
}

/// What valgrind says at the end.
fn collected(said: &str) -> u64 {
    let line = said.lines().find_map(|line| line.split_once("Collected : "));
    let count = line.and_then(|(_, count)| count.trim().parse().ok());
    count.unwrap_or_else(|| panic!("no count of instructions: {said}"))
}

/// Instructions of a worker that works off so many records.
fn of_worker(rig: &Rig, records: usize) -> u64 {
    let topic = (0..records).map(|n| {
        let text = format!(
            "{{\"message\":\"request {n} took a while\",\"severity_number\":{},\"host\":\"web-{}\"}}",
            n % 24,
            n % 7
        );
        Record::new(&format!("key-{}", n % 1_000), text)
    });
    rig.witness.publish(&rig.topic, &topic.collect::<Vec<_>>());
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(binary());
    command.arg("run").arg("-c").arg(rig.file()).args(["--set", "limits.drain=60s"]);
    let mut process = Longshore::start_command(command);
    rig.wait_drained(Duration::from_secs(500), &[]);
    process.signal(Signal::TERM);
    assert!(process.wait(Duration::from_secs(100)).success(), "{}", process.transcript());
    collected(&process.stderr())
}

/// By hand, for docs/benchmarks.md: what a worker spends on a record that is parsed, filtered and written to a file. Batches depend on
/// time, so runs differ by some percent.
#[test]
#[ignore = "takes minutes under valgrind, and wants a release build in LONGSHORE_BIN"]
fn what_a_worker_spends() {
    let Some(broker) = shared_broker() else { return };
    let (few, many) = (2_000, 42_000);
    let of = |records: usize| {
        let rig = Rig::new(&broker.bootstrap(), &format!("cost-{records}"));
        of_worker(
            &rig.steps("\n  - parse: { format: json }\n  - filter: { drop: 'severity_number < 9' }")
                .with_topics(2),
            records,
        )
    };
    let each = (of(many) - of(few)) as f64 / (many - few) as f64;
    report::used(&format!("valgrind: a worker spends {each:.0} instructions a record"));
    // What the page says of the share holds as long as this does.
    assert!(SAMPLED_MOST <= 0.03 * each, "1 % sampled may take {SAMPLED_MOST} of {each} instructions");
}

/// Scenario: 100,000 records that name no trace are looked at, with none and with 1 in 100 sampled, whose spans are sent. Guarantee: the
/// instructions for each record stay what they were.
#[test]
fn tracing_is_cheap() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        assert!(std::env::var("CI").is_err(), "CI is set, and there is no valgrind");
        return report::skipped("no valgrind");
    }
    let each = |ratio| {
        let (nothing, all) = (instructions(0, ratio), instructions(RECORDS, ratio));
        (all.saturating_sub(nothing)) as f64 / RECORDS as f64
    };
    let (looked, sampled) = (each("0"), each("0.01"));
    report::used(&format!("valgrind: {looked:.0} instructions a record, {sampled:.0} with 1 % sampled"));
    assert!(looked <= LOOK_MOST, "{looked} instructions for a look");
    assert!(sampled <= SAMPLED_MOST, "{sampled} instructions with 1 % sampled");
}
