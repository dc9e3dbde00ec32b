//! Everything fails for a long time (I5).

use std::time::{Duration, Instant};

use longshore_tests::harness::account::Fate;
use longshore_tests::harness::wait::pass_time;
use longshore_tests::harness::{Account, Record, Rig, wait_until};

use super::{broker, is_full};

/// `limits.memory` of the worker under test.
const BUDGET_MIB: u64 = 128;
const RECORDS: usize = 60_000;

/// How long everything fails.
fn spell() -> Duration {
    if is_full() { Duration::from_secs(600) } else { Duration::from_secs(45) }
}

fn record(n: usize) -> Record {
    Record::new(&format!("key-{}", n % 5_000), format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(900)))
}

/// Scenario: every record fails at every try, 60 MB of them in retry at once, round after round; then the cause is mended.
/// Guarantee: memory does not grow with time: what the first third of the spell peaks at is what all of it peaks at, within
/// a tenth; and every record comes through in its order.
#[test]
fn everything_fails_and_memory_stays_flat() {
    let Some(broker) = broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "failing-all")
        .steps("\n  - fail: {}\n  - parse: { format: json }")
        .set(&format!("limits.memory={BUDGET_MIB}MiB"))
        .set("failure.retry.attempts=1000")
        .set("failure.retry.first=1s")
        .set("failure.retry.cap=4s")
        .set("failure.retry.in_place=10ms")
        .with_topics(4);
    for start in (0..RECORDS).step_by(5_000) {
        rig.witness.publish(&rig.topic, &(start..start + 5_000).map(record).collect::<Vec<_>>());
    }
    let worker = rig.working();
    let peak = || worker.memory_kib("VmHWM:").unwrap_or(u64::MAX) / 1024;
    let (began, mut early) = (Instant::now(), 0);
    while began.elapsed() < spell() {
        if early == 0 && began.elapsed() > spell() / 3 {
            early = peak();
        }
        pass_time(Duration::from_millis(500));
    }
    let late = peak();
    let copies: i64 = rig.witness.ends(&rig.retry_topic()).iter().sum();
    println!(
        "VmHWM {early} MiB after a third of {:?}, {late} MiB at its end; {copies} copies written",
        spell()
    );
    assert!(copies > RECORDS as i64 / 2, "only {copies} copies were written");
    assert!(late * 10 <= early * 11, "{early} MiB after a third, {late} MiB at the end");
    worker.stop();
    let mended = rig.steps("\n  - parse: { format: json }");
    let worker = mended.working();
    mended.wait_drained(Duration::from_secs(240), &[&worker]);
    wait_until("no copy waits any more", Duration::from_secs(240), || mended.uncommitted_copies() == 0);
    worker.stop();
    Account::take(&mended).assert_right(RECORDS as u64, |_| Fate::Row);
}
