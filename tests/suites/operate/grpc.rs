//! `OTEL_EXPORTER_OTLP_PROTOCOL=grpc`, in builds that speak it and in those that do not.

use std::process::Command;
use std::time::Duration;

use longshore_tests::harness::{Collector, Longshore, Record, Rig, binary, shared_broker};

const PATIENCE: Duration = Duration::from_secs(60);

/// A worker over some records, with its spans and metrics asked for over gRPC; what it said.
fn worked(rig: &Rig, environment: &[(&str, &str)]) -> String {
    let record = |n: usize| Record::new(&format!("k{n}"), "{\"message\":\"x\",\"severity_number\":9}");
    rig.witness.publish(&rig.topic, &(0..10).map(record).collect::<Vec<_>>());
    let mut worker = rig.worker_with(&[], environment);
    worker.wait_for_partitions();
    rig.wait_drained(PATIENCE, &[&worker]);
    assert!(worker.terminate(PATIENCE).success(), "{}", worker.process.transcript());
    worker.process.stderr()
}

/// Scenario: gRPC is asked for, and the build does not speak it. Guarantee: records are worked off, and the log says for spans and for metrics
/// what to set or how to build.
#[test]
fn a_build_without_grpc_says_what_to_do() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "grpc-refused").with_topics(1);
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"),
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    let said = worked(&rig, &environment);
    for lost in ["no spans", "no metrics are sent"] {
        let wanted = format!(
            "OTEL_EXPORTER_OTLP_PROTOCOL=grpc: {lost}: this build does not speak it; next: set it to http/protobuf"
        );
        let line = said.lines().find(|line| line.contains(&wanted));
        assert!(line.is_some_and(|line| line.contains("--features otlp-grpc")), "{lost}: {said}");
    }
}

/// Scenario: the same with a build that speaks it, packed and not, and a port where nobody listens. Guarantee: the real Collector has spans and
/// metrics; what nobody takes is counted and told.
#[test]
#[ignore = "wants a build with the feature otlp-grpc in LONGSHORE_BIN"]
fn spans_and_metrics_go_over_grpc() {
    let (Some(broker), Some(collector)) = (shared_broker(), Collector::start()) else { return };
    let endpoint = collector.grpc_endpoint();
    for compression in ["none", "gzip"] {
        let rig = Rig::new(&broker.bootstrap(), &format!("grpc-{compression}")).with_topics(1);
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_METRICS_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
        ];
        let said = worked(&rig, &environment);
        assert!(!["lost", "not taken", "OTEL_"].iter().any(|word| said.contains(word)), "{said}");
        let name = format!("process {}", rig.topic);
        let of = |spans: &[longshore_tests::harness::collector::Span]| {
            spans.iter().filter(|span| span.text("name") == name).count()
        };
        let _ = collector.wait_for("the spans of all records", |spans| of(spans) == 10);
        let received = format!("longshore_records_received_total{{partition=\"0\",topic=\"{}\"}}", rig.topic);
        assert_eq!(collector.metrics().get(&received), Some(&10.0), "{:#?}", collector.metrics());
    }
    let line = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(line.path(), "x\n").unwrap();
    let rig = Rig::new(&broker.bootstrap(), "grpc-away").with_topics(1);
    let mut command = Command::new(binary());
    command.args(["publish", "--trace", "-c"]).arg(rig.file()).arg(line.path());
    let endpoint = format!("http://127.0.0.1:{}", longshore_tests::harness::free_port());
    command
        .envs([("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
    let mut process = Longshore::start_command(command);
    assert!(process.wait(PATIENCE).success(), "{}", process.transcript());
    assert!(process.stderr().contains("1 span lost"), "{}", process.transcript());
}
