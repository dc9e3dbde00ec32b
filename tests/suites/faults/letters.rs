//! A great many dead letters: counted quickly, in little memory.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use longshore_tests::harness::witness::Record;
use longshore_tests::harness::{Witness, binary};

use super::{broker, is_full};

const PARTITIONS: i32 = 8;
/// What the command may take at its peak: its buffers, and a few bits for each letter met.
const MEMORY_KIB: u64 = 256 * 1024;

/// Scenario: a topic of letters (a million in the long form), read by `dlq ls` and by librdkafka alone.
/// Guarantee: every letter is counted, memory stays within bounds, and the command takes at most twice as long (four times in
/// the short form, where starting counts).
#[test]
fn many_letters_are_counted_quickly() {
    let Some(broker) = broker() else { return };
    let (witness, topic) = (Witness::new(&broker.bootstrap()), "faults-letters");
    let letters: i64 = if is_full() { 1_000_000 } else { 100_000 };
    witness.create_topic(topic, PARTITIONS, &[]);
    publish(&witness, topic, letters);
    let (mut bare, mut ours, mut peak) = (Duration::MAX, Duration::MAX, 0);
    for _ in 0..3 {
        let (count, took) = witness.consume(topic);
        assert_eq!(count, letters as u64);
        bare = bare.min(took);
        let (count, took, memory) = list(&broker.bootstrap(), topic);
        assert_eq!(count, letters as u64);
        ours = ours.min(took);
        peak = peak.max(memory);
    }
    let ratio = bare.as_secs_f64() / ours.as_secs_f64();
    println!(
        "dlq ls of {letters} letters: {:.2} s, librdkafka alone {:.2} s, ratio {ratio:.2}, peak {peak} KiB",
        ours.as_secs_f64(),
        bare.as_secs_f64()
    );
    assert!(peak < MEMORY_KIB, "{peak} KiB");
    assert!(ratio >= if is_full() { 0.5 } else { 0.25 }, "ratio {ratio:.2}");
}

fn publish(witness: &Witness, topic: &str, letters: i64) {
    let publisher = witness.publisher();
    let letter = |n: i64| {
        // One record in fifty failed, as it would be: letters lie apart at their origins.
        let (partition, offset) = ((n % i64::from(PARTITIONS)) as i32, n / i64::from(PARTITIONS) * 50);
        Record::new(
            &format!("key-{}", n % 1000),
            format!("{{\"message\":\"line {n}\",\"padding\":\"{:0>160}\"", n),
        )
        .to(partition)
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("longshore.origin", &format!("logs.raw/{partition}/{offset}/0"))
        .header("longshore.origin-timestamp", "1700000000000")
        .header("longshore.attempt", "1")
        .header("longshore.replays", "0")
        .header("longshore.reason", if n % 3 == 0 { "decode.json" } else { "decode.shape" })
        .header("longshore.at", "parse")
        .header("longshore.detail", "unexpected end at byte 190")
        .header("longshore.pipeline", "web-logs 0123456789ab")
        .header("longshore.first-failed", "1700000001000")
        .header("longshore.last-failed", "1700000002000")
    };
    for start in (0..letters).step_by(20_000) {
        publisher.publish(topic, &(start..letters.min(start + 20_000)).map(letter).collect::<Vec<_>>());
    }
}

/// Letters counted, how long it took, and the peak of resident memory in KiB.
fn list(bootstrap: &str, topic: &str) -> (u64, Duration, u64) {
    let began = Instant::now();
    let mut command = Command::new(binary());
    command.args(["dlq", "ls", "--broker", bootstrap, "--topic", topic, "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = began.elapsed();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", out.status);
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&out.stdout).unwrap();
    (rows.iter().map(|row| row["open"].as_u64().unwrap()).sum(), took, peak)
}
