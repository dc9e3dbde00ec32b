//! The reference page of all metrics, written from the registry itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::item::FilterReason;
use longshore_core::pair::{CommitResult, Tally};
use longshore_core::{Failure, Offset, PairId, Reason};

use super::{Lag, Metrics, PairState, Rebalance, SpanLoss};

const INTRODUCTION: &str = "\
# Metrics

Every metric of a worker, at `/metrics` in the OpenMetrics text format, and over OTLP ([tracing.md](tracing.md#metrics-over-otlp)). Names and labels are stable: a change of one is a breaking
change. Units are seconds and bytes; counters count since the process began. A partition's gauges go away when it is given to
another worker, its counters stay.

Those that begin with `messaging_` are of the [messaging conventions](https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/), and have
their names with dots over OTLP (`messaging.client.operation.duration`); a label that says nothing is empty here, and no attribute there.

`topic` and `partition` are those of the input, `sink` is the sink's name in the pipeline file, `reason` is one of
[reasons.md](reasons.md), and for filtered records the name of the filter.

| metric | type | labels | what it says |
|---|---|---|---|
";

/// A registry in which every label was used once.
fn used() -> Metrics {
    let metrics = Metrics::new("0.1.0");
    let failure = Failure::target(Reason::SinkUnavailable, "away");
    let pair = metrics.pair(&PairId::new("logs", 3));
    let filtered = vec![(FilterReason(Arc::from("quiet")), 1)];
    pair.children_filtered(&filtered);
    let dead = vec![(Reason::DecodeJson, 1)];
    pair.settled(&Tally {
        sunk: 1,
        filtered,
        dead,
        already_held: 1,
        retried: vec![(Reason::RetryParked, 1)],
    });
    pair.absent_at_start(1);
    pair.lag(&Lag { records: 1, seconds: Some(1.0), rate: 1.0 });
    pair.letter_retried(&failure);
    pair.stalled();
    pair.committed(Offset(1));
    let sink = metrics.sink("files");
    sink.published(1, Duration::from_millis(1));
    sink.retried(&failure);
    metrics.rebalance(Rebalance::Assigned);
    metrics.broker_trouble(Some(Reason::BrokerGroup));
    metrics.commit(&CommitResult::Done);
    metrics.pairs(PairState::Running, 1);
    metrics.spans().lost(SpanLoss::Full, 1);
    metrics.sent(true);
    metrics.sent_letters("logs.x.dlq", Duration::from_millis(1), 1, &BTreeMap::new());
    metrics
}

/// One metric.
#[derive(Default)]
struct Entry {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// Reads the text format back (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
fn entries(text: &str) -> BTreeMap<String, Entry> {
    let mut entries = BTreeMap::<String, Entry>::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            entries.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
        {
            entries.entry(name.to_owned()).or_default().help = help.trim_end_matches('.').to_owned();
        } else if let Some((sample, labels)) = line.split_once('{') {
            let name = ["_total", "_info", "_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| sample.strip_suffix(end));
            let labels = labels.split_once('}').map_or("", |(labels, _)| labels);
            let names = labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name);
            let known = entries.get_mut(name.unwrap_or(sample)).unwrap();
            known.labels.extend(names.filter(|name| *name != "le").map(str::to_owned));
        }
    }
    entries
}

fn page(entries: &BTreeMap<String, Entry>) -> String {
    let mut page = INTRODUCTION.to_owned();
    for (name, Entry { kind, help, labels }) in entries {
        let end = match kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(page, "| `{name}{end}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
    }
    page
}

/// The documented list of metrics is the one the code has. `UPDATE_EXPECT=1` writes it anew, for a person to read.
#[test]
fn the_page_of_metrics_is_that_of_the_code() {
    let entries = entries(&used().render());
    for (name, entry) in &entries {
        assert!(!entry.help.is_empty() && !entry.kind.is_empty(), "{name}");
        let known = ["longshore_", "process_", "messaging_"];
        assert!(known.iter().any(|prefix| name.starts_with(prefix)), "{name}");
    }
    let page = page(&entries);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(file).unwrap_or_default();
    assert!(written == page, "run with UPDATE_EXPECT=1 and commit the result");
}
