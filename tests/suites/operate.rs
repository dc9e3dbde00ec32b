//! What people operate a fleet with: rules, dashboards and runbooks, held against the metrics that there are, traces, and the view of the whole fleet.
#![expect(clippy::unwrap_used, reason = "tests; clippy spares only test functions")]

#[path = "operate/cost.rs"]
mod cost;
#[path = "operate/doctor.rs"]
mod doctor;
#[path = "operate/fleet.rs"]
mod fleet;
#[path = "operate/grpc.rs"]
mod grpc;
#[path = "operate/instructions.rs"]
mod instructions;
#[path = "operate/loglines.rs"]
mod loglines;
#[path = "operate/metrics.rs"]
mod metrics;
#[path = "operate/otlp.rs"]
mod otlp;
#[path = "operate/prometheus.rs"]
mod prometheus;
#[path = "operate/rollout.rs"]
mod rollout;
#[path = "operate/terminal.rs"]
mod terminal;
#[path = "operate/top.rs"]
mod top;
#[path = "operate/tracing.rs"]
mod tracing;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_tests::harness::tool;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn text(path: &str) -> String {
    let path = root(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every name of a metric in a text, without what a histogram adds to it.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "_:".contains(letter)));
    let ours = words.filter(|word| word.starts_with("longshore_") || word.starts_with("process_resident"));
    let plain = |word: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        ends.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
    };
    ours.map(plain).collect()
}

/// The documented metrics (`docs/metrics.md`, which a test of its own holds against the code).
fn documented() -> BTreeSet<String> {
    let page = text("docs/metrics.md");
    let names = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    names.map(str::to_owned).collect()
}

/// Names of recording rules, and of alerts.
fn rules(kind: &str) -> BTreeSet<String> {
    let rules = text("deploy/prometheus/longshore.rules.yaml");
    let named = rules.lines().filter_map(|line| line.trim().strip_prefix("- ")?.strip_prefix(kind));
    named.map(|name| name.trim().to_owned()).collect()
}

/// Scenario: Prometheus's own tool reads the rules and replays series of a fleet that is well and of ones in trouble.
/// Guarantee: each alert fires when it should, and none for the fleet that is well.
#[test]
fn rules_fire_when_they_should() {
    let Some(promtool) = tool("promtool") else { return };
    for arguments in
        [["check", "rules", "longshore.rules.yaml"], ["test", "rules", "longshore.rules.test.yaml"]]
    {
        let mut command = Command::new(&promtool);
        let output = command.args(arguments).current_dir(root("deploy/prometheus")).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
    let tests = text("deploy/prometheus/longshore.rules.test.yaml");
    for alert in rules("alert:") {
        let fires = tests.lines().any(|line| line.trim() == format!("alertname: {alert}"));
        assert!(fires, "no test in which {alert} fires");
    }
}

/// Guarantee: rules, dashboard and runbooks name no metric that no worker has.
#[test]
fn every_metric_that_is_asked_for_exists() {
    let (known, recorded) = (documented(), rules("record:"));
    assert!(known.len() > 30 && !recorded.is_empty(), "{known:?}");
    let dashboard = text("deploy/grafana/longshore.json");
    for (place, text) in
        [("rules", text("deploy/prometheus/longshore.rules.yaml")), ("dashboard", dashboard.clone())]
    {
        let asked = metrics_in(&text);
        assert!(asked.len() > 5, "{place}: {asked:?}");
        let unknown: Vec<_> = asked.difference(&known).collect();
        assert!(unknown.is_empty(), "{place}: {unknown:?}");
    }
    let recorded_there: BTreeSet<String> = dashboard
        .split(|letter: char| !(letter.is_ascii_alphanumeric() || "_:".contains(letter)))
        .filter(|word| word.starts_with("longshore:"))
        .map(str::to_owned)
        .collect();
    assert!(recorded_there.is_subset(&recorded), "{recorded_there:?}");
}

/// Guarantee: each alert has a severity and a runbook, and each runbook an alert and a command at its beginning.
#[test]
fn every_alert_has_its_runbook() {
    let rules_text = text("deploy/prometheus/longshore.rules.yaml");
    let runbooks = text("docs/runbooks.md");
    let headed: BTreeSet<String> =
        runbooks.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect();
    assert_eq!(headed, rules("alert:"));
    for alert in &headed {
        let anchor = format!("runbook_url: docs/runbooks.md#{}\n", alert.to_lowercase());
        assert!(rules_text.contains(&anchor), "{anchor}");
        let (_, page) = runbooks.split_once(&format!("## {alert}\n\n")).unwrap();
        assert!(page.starts_with("    "), "{alert} does not begin with what to type");
    }
    assert_eq!(rules_text.matches("severity:").count(), headed.len());
}

/// Guarantee: Grafana's dashboard is a document with panels that overlap nowhere, each with a title, a description and a question.
#[test]
fn the_dashboard_is_whole() {
    let dashboard: serde_json::Value = serde_json::from_str(&text("deploy/grafana/longshore.json")).unwrap();
    let mut taken = BTreeSet::new();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for panel in panels {
        assert!(panel["title"].is_string() && panel["description"].is_string(), "{panel}");
        assert!(
            panel["targets"][0]["expr"].as_str().is_some_and(|expression| !expression.is_empty()),
            "{panel}"
        );
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().unwrap());
        assert!(x + w <= 24, "{panel}");
        for cell in (x..x + w).flat_map(|column| (y..y + h).map(move |row| (column, row))) {
            assert!(taken.insert(cell), "{panel} overlaps another");
        }
    }
}
