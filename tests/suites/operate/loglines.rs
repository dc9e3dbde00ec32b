//! Log lines that name the trace of the record they are about.

use std::time::Duration;

use longshore_tests::harness::{Collector, Record, Rig, shared_broker};

const PATIENCE: Duration = Duration::from_secs(60);
const LINE: &str = "a traced record failed";

/// Trace and span of the one line about a traced record.
#[track_caller]
fn ids(said: &str, format: &str) -> (String, String) {
    let lines: Vec<_> = said.lines().filter(|line| line.contains(LINE)).collect();
    let [line] = lines[..] else { panic!("{lines:#?} of {said}") };
    let id = |name: &str| match format {
        "json" => {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((&line["message"], &line["offset"]), (&LINE.into(), &1.into()), "{line}");
            line[name].as_str().unwrap_or_default().to_owned()
        }
        _ => {
            let (_, behind) = line.split_once(&format!("{name}=")).unwrap();
            behind.split(' ').next().unwrap_or_default().to_owned()
        }
    };
    (id("trace_id"), id("span_id"))
}

/// Scenario: two records cannot be parsed; the producer of one records its trace, that of the other does not. A worker logs as JSON, another
/// one as text. Guarantee: the line about the traced one names its trace and span, and under these ids the Collector has the try; no other
/// line names a trace.
#[test]
fn a_line_about_a_traced_record_leads_to_its_span() {
    let (Some(broker), Some(collector)) = (shared_broker(), Collector::start()) else { return };
    let endpoint = collector.endpoint();
    for format in ["json", "text"] {
        let rig = Rig::new(&broker.bootstrap(), &format!("lines-{format}")).with_topics(1);
        let rig = rig.set(&format!("telemetry.log={format}")).set("telemetry.level=debug");
        let trace = if format == "json" {
            "0af7651916cd43dd8448eb211c80319c"
        } else {
            "0af7651916cd43dd8448eb211c80319d"
        };
        let record = |flags: &str| {
            let parent = format!("00-{trace}-b7ad6b7169203331-{flags}");
            Record::new("k", "no json").header("traceparent", &parent)
        };
        rig.witness.publish(&rig.topic, &[record("00"), record("01")]);
        let mut worker = rig.worker_with(&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]);
        rig.wait_drained(PATIENCE, &[&worker]);
        let status = worker.terminate(PATIENCE);
        assert!(status.success(), "{}", worker.process.transcript());
        let said = worker.process.stderr();
        let (named, span) = ids(&said, format);
        assert_eq!(named, trace, "{format}");
        assert_eq!(said.lines().filter(|line| line.contains("trace_id")).count(), 1, "{said}");
        let spans = collector.wait_for("the span of the line", |spans| {
            spans.iter().any(|known| known.text("traceId") == named && known.text("spanId") == span)
        });
        let known = spans.iter().find(|known| known.text("spanId") == span).unwrap();
        assert_eq!(known.text("name"), format!("process {}", rig.topic));
        assert!(known.is_error(), "{known:#?}");
    }
}
