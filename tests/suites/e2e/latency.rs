//! `kafka.latency`.

use std::time::Duration;

use longshore_tests::harness::{Record, Rig, shared_broker, wait_until};

const RECORDS: i64 = 25;
/// How long a record waits for others unless the pipeline file says that none does, less what two clocks of whole milliseconds can hide.
const LINGERS_MS: i64 = 9;

/// Milliseconds of the quickest record from when it was made to when the broker wrote down what the worker made of it. Each is sent when the one
/// before it is through, so that none finds others to go along with.
fn quickest_ms(bootstrap: &str, name: &str, latency: &str) -> i64 {
    let out = format!("{name}.out");
    let rig = Rig::new(bootstrap, name)
        .sinks(&format!("\n  - topic: {{ name: {out}, format: raw }}"))
        .kafka(&format!("{{ brokers: \"{bootstrap}\", latency: {latency} }}"))
        .with_topics(1);
    rig.witness.create_topic(&out, 1, &[("message.timestamp.type", "LogAppendTime")]);
    let worker = rig.working();
    let publisher = rig.witness.publisher_with(&[("linger.ms", "0")]);
    for number in 0..RECORDS {
        let value = format!("{{\"level\":\"info\",\"message\":\"line {number}\"}}");
        publisher.publish(&rig.topic, &[Record::new("k", value)]);
        wait_until("it is through", Duration::from_secs(60), || rig.witness.ends(&out) == [number + 1]);
    }
    worker.stop();
    let (made, written) = (rig.witness.read(&rig.topic), rig.witness.read(&out));
    let waits = made.iter().zip(&written).map(|(made, written)| written.timestamp_ms - made.timestamp_ms);
    waits.min().unwrap()
}

/// Scenario: records come one at a time and go through to a topic, with and without `latency: low`. Guarantee: by default each waits for
/// others, and with it none does.
#[test]
fn low_latency_waits_for_nobody() {
    let Some(broker) = shared_broker() else { return };
    let bootstrap = broker.bootstrap();
    let normal = quickest_ms(&bootstrap, "e2e-latency-normal", "normal");
    assert!(normal >= LINGERS_MS, "{normal} ms: there is nothing that low latency could leave out");
    let low = quickest_ms(&bootstrap, "e2e-latency-low", "low");
    assert!(low < LINGERS_MS, "{low} ms, {normal} ms without the setting");
}
