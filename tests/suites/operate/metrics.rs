//! Metrics over OTLP through the real Collector, against the page of the same worker.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_tests::harness::{Collector, Record, Rig, free_port, shared_broker, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// The samples of a page of metrics, as [`Collector::metrics`] has them.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
        let label = |label: &str| match label.split_once('=') {
            Some(("le", bound)) => {
                let bound: f64 = bound.trim_matches('"').parse().unwrap_or(f64::INFINITY);
                format!("le=\"{bound:.6e}\"")
            }
            _ => label.to_owned(),
        };
        let labels = labels.trim_end_matches('}').split(',');
        // A label that says nothing is no attribute.
        let mut labels: Vec<String> =
            labels.filter(|label| !label.is_empty() && !label.ends_with("=\"\"")).map(label).collect();
        labels.sort();
        (conventional(&format!("{name}{{{}}}", labels.join(","))), value.parse().unwrap_or(f64::NAN))
    };
    lines.map(sample).collect()
}

/// The conventions' names have dots, no unit, and no end that says what they count.
fn conventional(sample: &str) -> String {
    let Some((name, labels)) = sample.split_once('{').filter(|(name, _)| name.starts_with("messaging_"))
    else {
        return sample.to_owned();
    };
    let end = ["_sum", "_count", "_bucket"].iter().find(|end| name.ends_with(**end)).copied().unwrap_or("");
    let name = name.trim_end_matches(end).trim_end_matches("_total").trim_end_matches("_seconds");
    let labels = labels.replace("messaging_", "messaging.").replace("_name=", ".name=");
    let labels = labels.replace("consumer_group", "consumer.group").replace("error_type", "error.type");
    let mut labels: Vec<&str> = labels.trim_end_matches('}').split(',').collect();
    labels.sort_unstable();
    format!("{}{end}{{{}}}", name.replace('_', "."), labels.join(","))
}

/// What changes without a record: memory, and the count of the exports themselves.
fn is_steady(name: &str) -> bool {
    !name.starts_with("process_") && !name.starts_with("longshore_metric_exports")
}

/// Scenario: a worker works off records, some of which fail for good, and sends its metrics over OTLP. Guarantee: the Collector has the same
/// samples as the worker's page, by name, labels and value, and none more; SIGTERM sends the last values.
#[test]
fn metrics_over_otlp_are_those_of_the_page() {
    const RECORDS: usize = 500;
    let (Some(broker), Some(collector)) = (shared_broker(), Collector::start()) else { return };
    let rig = Rig::new(&broker.bootstrap(), "otlp-metrics").with_topics(2);
    let text =
        |n: usize| if n.is_multiple_of(50) { "no json" } else { "{\"message\":\"x\",\"severity_number\":9}" };
    let records: Vec<_> = (0..RECORDS).map(|n| Record::new(&format!("k{n}"), text(n))).collect();
    rig.witness.publish(&rig.topic, &records);
    let endpoint = collector.endpoint();
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ];
    let mut worker = rig.worker_with(&[], &environment);
    worker.wait_for_partitions();
    rig.wait_drained(PATIENCE, &[&worker]);
    let mut seen = (BTreeMap::new(), BTreeMap::new());
    let mut same = || {
        seen = (samples(&worker.page("/metrics").unwrap_or_default()), collector.metrics());
        let steady = |all: &BTreeMap<String, f64>| -> Vec<(String, f64)> {
            all.iter()
                .filter(|(name, _)| is_steady(name))
                .map(|(name, value)| (name.clone(), *value))
                .collect()
        };
        seen.0.len() > 50 && steady(&seen.0) == steady(&seen.1)
    };
    let began = std::time::Instant::now();
    while !same() {
        assert!(
            began.elapsed() < PATIENCE,
            "page and Collector differ: {:#?}",
            differences(&seen.0, &seen.1)
        );
        longshore_tests::harness::wait::pass_time(Duration::from_millis(50));
    }
    let (page, sent) = seen;
    for name in page.keys().filter(|name| name.starts_with("process_")) {
        assert!(sent.get(name).is_some_and(|bytes| *bytes > 1e6), "{name} of {sent:?}");
    }
    let dead = format!("longshore_records_dead_total{{reason=\"decode.json\",topic=\"{}\"}}", rig.topic);
    assert_eq!(sent.get(&dead), Some(&((RECORDS / 50) as f64)), "{sent:#?}");
    conventions(&sent, &rig, RECORDS as f64);
    worker.stop();

    let hourly = environment
        .map(|(name, value)| (name, if name == "OTEL_METRIC_EXPORT_INTERVAL" { "3600000" } else { value }));
    let mut worker = rig.worker_with(&[], &hourly);
    worker.wait_for_partitions();
    let before = collector.metrics_count();
    worker.stop();
    wait_until("the last values are there", PATIENCE, || collector.metrics_count() == before + 1);
}

/// The metrics of the messaging conventions, by their own names.
fn conventions(sent: &BTreeMap<String, f64>, rig: &Rig, records: f64) {
    let of = |name: &str, operation: &str, topic: &str, group: &str| {
        let labels =
            format!("messaging.destination.name=\"{topic}\",messaging.operation.name=\"{operation}\"");
        let labels = match group {
            "" => labels,
            group => format!("messaging.consumer.group.name=\"{group}\",{labels}"),
        };
        let sample = format!("{name}{{{labels},messaging.system=\"kafka\"}}");
        *sent.get(&sample).unwrap_or_else(|| panic!("{sample} of {sent:#?}"))
    };
    let (topic, letters, group) = (&rig.topic, &rig.letter_topic(), &rig.group());
    assert_eq!(of("messaging.client.consumed.messages", "poll", topic, group), records);
    assert_eq!(of("messaging.client.sent.messages", "send", letters, ""), records / 50.0);
    let counted =
        |operation, topic, group| of("messaging.client.operation.duration_count", operation, topic, group);
    let counts =
        [counted("poll", topic, group), counted("commit", topic, group), counted("send", letters, "")];
    assert!(counts.iter().all(|count| (1.0..=records).contains(count)), "{counts:?}");
    assert!(of("messaging.process.duration_count", "process", topic, group) >= 1.0);
}

fn differences(page: &BTreeMap<String, f64>, sent: &BTreeMap<String, f64>) -> Vec<String> {
    let names =
        page.keys().chain(sent.keys()).filter(|name| is_steady(name) && page.get(*name) != sent.get(*name));
    names.map(|name| format!("{name}: {:?} on the page, {:?} sent", page.get(name), sent.get(name))).collect()
}

/// Scenario: nobody is at the endpoint, whose address has a password. Guarantee: records are worked off, failures are counted and told once a
/// minute without the password, and SIGTERM ends the worker in time.
#[test]
fn a_collector_that_is_away_costs_metrics_alone() {
    const RECORDS: usize = 100;
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "otlp-away").with_topics(1);
    let records: Vec<_> = (0..RECORDS).map(|n| Record::new(&format!("k{n}"), "{}")).collect();
    rig.witness.publish(&rig.topic, &records);
    let endpoint = format!("http://user:hidden@127.0.0.1:{}/v1/metrics", free_port());
    let environment =
        [("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", endpoint.as_str()), ("OTEL_METRIC_EXPORT_INTERVAL", "100")];
    let mut worker = rig.worker_with(&[], &environment);
    worker.wait_for_partitions();
    rig.wait_drained(PATIENCE, &[&worker]);
    worker.wait_until("failures are counted", |worker| {
        worker.metric("longshore_metric_exports_total{result=\"failed\"}") >= 5.0
    });
    let began = std::time::Instant::now();
    assert!(worker.terminate(PATIENCE).success() && began.elapsed() < Duration::from_secs(25));
    let said = worker.process.stderr();
    assert_eq!(said.matches("metrics were not taken").count(), 1, "{said}");
    assert!(!said.contains("hidden"), "{said}");
}
