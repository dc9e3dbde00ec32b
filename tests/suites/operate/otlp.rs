//! How spans and metrics come to the real Collector: one that is not there yet, and one that speaks TLS.

use std::path::Path;
use std::time::Duration;

use longshore_tests::harness::collector::Span;
use longshore_tests::harness::{Collector, Record, Rig, Worker, free_port, shared_broker};

const PATIENCE: Duration = Duration::from_secs(60);
const RECORDS: usize = 200;

/// A worker that worked off its records, each of which is traced.
fn worked(rig: &Rig, environment: &[(&str, &str)]) -> Worker {
    let record = |n: usize| Record::new(&format!("k{n}"), "{\"message\":\"x\",\"severity_number\":9}");
    rig.witness.publish(&rig.topic, &(0..RECORDS).map(record).collect::<Vec<_>>());
    let mut worker = rig.worker_with(&[], environment);
    worker.wait_for_partitions();
    rig.wait_drained(PATIENCE, &[&worker]);
    worker
}

/// How many records' way was told.
fn told(rig: &Rig, spans: &[Span]) -> usize {
    let name = format!("process {}", rig.topic);
    spans.iter().filter(|span| span.text("name") == name).count()
}

/// Scenario: a worker begins to send before the Collector is there. Guarantee: what was sent then is sent again, each span once, and none is lost.
#[test]
fn a_collector_that_comes_late_gets_everything() {
    let Some(broker) = shared_broker() else { return };
    let port = free_port();
    let rig = Rig::new(&broker.bootstrap(), "otlp-late").with_topics(1);
    let endpoint = format!("http://127.0.0.1:{port}");
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000"),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64"),
    ];
    let mut worker = worked(&rig, &environment);
    let Some(collector) = Collector::start_at(port) else { return };
    let _ = collector.wait_for("the spans of all records", |spans| told(&rig, spans) >= RECORDS);
    assert!(worker.terminate(PATIENCE).success());
    assert_eq!(told(&rig, &collector.spans()), RECORDS);
    assert!(!worker.process.stderr().contains("lost"), "{}", worker.process.stderr());
}

/// Scenario: the Collector speaks TLS, with a certificate of an authority that the system does not know, and asks for ours. Guarantee: with the standard
/// variables' files spans and metrics arrive; without, or with another authority, none does, the log says so, and records are worked off.
#[test]
fn a_collector_with_tls_is_believed_by_its_authority() {
    let (Some(broker), Some(collector)) = (shared_broker(), Collector::start_with_tls()) else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("certificates");
    let file = |name: &str| folder.join(name).display().to_string();
    let (endpoint, authority, stranger) = (collector.endpoint(), file("authority.pem"), file("stranger.pem"));
    let (certificate, key) = (file("worker.pem"), file("worker.key"));
    let authority = ("OTEL_EXPORTER_OTLP_CERTIFICATE", authority.as_str());
    let own = [
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate.as_str()),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", key.as_str()),
    ];
    let stranger = [("OTEL_EXPORTER_OTLP_CERTIFICATE", stranger.as_str()), own[0], own[1]];
    let common = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
    ];
    for (name, files) in [("unknown", &own[..]), ("stranger", &stranger), ("nameless", &[authority])] {
        let rig = Rig::new(&broker.bootstrap(), &format!("otlp-{name}")).with_topics(1);
        let mut worker = worked(&rig, &[&common[..], files].concat());
        assert!(worker.terminate(PATIENCE).success());
        let said = worker.process.stderr();
        assert!(said.contains("spans are lost") && said.contains("metrics were not taken"), "{name}: {said}");
        assert_eq!((collector.spans().len(), collector.metrics_count()), (0, 0), "{name}");
    }
    let rig = Rig::new(&broker.bootstrap(), "otlp-tls").with_topics(1);
    let mut worker = worked(&rig, &[&common[..], &[authority], &own].concat());
    assert!(worker.terminate(PATIENCE).success());
    let _ = collector.wait_for("the spans of all records", |spans| told(&rig, spans) == RECORDS);
    assert!(collector.metrics_count() > 0);
    assert!(!worker.process.stderr().contains("lost"), "{}", worker.process.stderr());
}
