//! A real OpenTelemetry Collector of the test's own: OTLP over HTTP and gRPC on free ports, and a file with all spans that it took.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::ports::free_port;
use super::report;
use super::tools::tool;
use super::wait::wait_until;

/// A Collector that is not there within this never will be.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the Collector when whoever holds its standard input is gone.
const GUARD: &str =
    r#""$@" </dev/null & server=$!; cat >/dev/null; kill -KILL $server; wait $server 2>/dev/null"#;

/// A Collector.
#[derive(Debug)]
pub struct Collector {
    folder: TempDir,
    scheme: &'static str,
    port: u16,
    grpc_port: u16,
    guard: Child,
}

impl Collector {
    /// A fresh one. None where it cannot be had: then the test returns, and is counted as skipped.
    ///
    /// # Panics
    /// When it does not start, and with `CI` set when it cannot be had.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_at(free_port())
    }

    /// The same, with HTTP on this port.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_at(port: u16) -> Option<Self> {
        Self::listening(port, "http", "")
    }

    /// One that speaks TLS, as `collector.pem` of `tests/certificates`, and only with whom `authority.pem` signed.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_with_tls() -> Option<Self> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/certificates");
        let tls = format!(
            ", tls: {{ cert_file: \"{folder}/collector.pem\", key_file: \"{folder}/collector.key\", client_ca_file: \"{folder}/authority.pem\" }}"
        );
        Self::listening(free_port(), "https", &tls)
    }

    fn listening(port: u16, scheme: &'static str, tls: &str) -> Option<Self> {
        let program = tool("collector")?;
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder for a Collector: {error}"));
        let grpc_port = free_port();
        let config = folder.path().join("config.yaml");
        let text = format!(
            "receivers: {{ otlp: {{ protocols: {{ http: {{ endpoint: \"127.0.0.1:{port}\"{tls} }}, grpc: {{ endpoint: \"127.0.0.1:{grpc_port}\"{tls} }} }} }} }}\n\
             exporters:\n  file/spans: {{ path: \"{folder}/spans.json\", flush_interval: 100ms }}\n  file/metrics: {{ path: \"{folder}/metrics.json\", flush_interval: 100ms }}\n\
             service:\n  telemetry: {{ metrics: {{ level: none }} }}\n  pipelines:\n    traces: {{ receivers: [otlp], exporters: [file/spans] }}\n    metrics: {{ receivers: [otlp], exporters: [file/metrics] }}\n",
            folder = folder.path().display()
        );
        fs::write(&config, text).unwrap_or_else(|error| panic!("{}: {error}", config.display()));
        let log = fs::File::create(folder.path().join("log"));
        let log = log.unwrap_or_else(|error| panic!("a Collector's log: {error}"));
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard"]).arg(&program).arg("--config").arg(&config);
        let errors = log.try_clone().map_or_else(|_| Stdio::null(), Stdio::from);
        command.stdin(Stdio::piped()).stdout(log).stderr(errors).process_group(0);
        let guard = command.spawn().unwrap_or_else(|error| panic!("the Collector: {error}"));
        let collector = Self { folder, scheme, port, grpc_port, guard };
        wait_until("the Collector listens", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let version = program.parent().and_then(std::path::Path::file_name).unwrap_or_default();
        report::used(&version.to_string_lossy());
        Some(collector)
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is to say.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// The same for `OTEL_EXPORTER_OTLP_PROTOCOL=grpc`.
    #[must_use]
    pub fn grpc_endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.grpc_port)
    }

    /// The spans that arrived until now, as its file has them.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.lines("spans.json").iter().flat_map(of_line).collect()
    }

    /// The metrics that arrived last: each sample by its name and labels as a page of metrics has it, with labels in order, and its value.
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        self.lines("metrics.json").last().map(samples).unwrap_or_default()
    }

    /// How often metrics arrived.
    #[must_use]
    pub fn metrics_count(&self) -> usize {
        self.lines("metrics.json").len()
    }

    /// What the Collector wrote down, a value for each request or so.
    fn lines(&self, file: &str) -> Vec<Value> {
        let file: PathBuf = self.folder.path().join(file);
        let text = fs::read_to_string(file).unwrap_or_default();
        // A line that is being written is not there yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for spans.
    ///
    /// # Panics
    /// When there are not so many within a minute; shows what there is.
    #[track_caller]
    #[must_use]
    pub fn wait_for(&self, what: &str, mut enough: impl FnMut(&[Span]) -> bool) -> Vec<Span> {
        let began = std::time::Instant::now();
        loop {
            let spans = self.spans();
            if enough(&spans) {
                return spans;
            }
            if began.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                panic!("not within {PATIENCE:?}: {what}\n{spans:#?}\n{log}");
            }
            super::wait::pass_time(Duration::from_millis(50));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// A span as the Collector wrote it down.
#[derive(Clone, Debug)]
pub struct Span {
    /// `service.name` of its resource.
    pub service: String,
    /// Its resource, as OTLP's JSON has it.
    pub resource: Value,
    /// The span, as OTLP's JSON has it.
    pub json: Value,
}

impl Span {
    /// A field that is text, empty when it is not there.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.json[field].as_str().unwrap_or_default()
    }

    /// An attribute as text, also a number; none when it is not there.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<String> {
        attribute(&self.json, name)
    }

    /// An attribute of its resource.
    #[must_use]
    pub fn of_resource(&self, name: &str) -> Option<String> {
        attribute(&self.resource, name)
    }

    /// How long it took.
    ///
    /// # Panics
    /// When it has no times.
    #[must_use]
    pub fn took(&self) -> Duration {
        let time =
            |field: &str| self.text(field).parse::<u64>().unwrap_or_else(|_| panic!("no {field}: {self:?}"));
        Duration::from_nanos(time("endTimeUnixNano").saturating_sub(time("startTimeUnixNano")))
    }

    /// Whether its status is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.json["status"]["code"].as_i64() == Some(2)
    }
}

fn attribute(of: &Value, name: &str) -> Option<String> {
    let found = of["attributes"].as_array()?.iter().find(|told| told["key"].as_str() == Some(name))?;
    let value = found["value"].as_object()?.values().next()?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// A number, which OTLP's JSON has as text when it is a large one.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn samples(line: &Value) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    for resource in list(&line["resourceMetrics"]) {
        for metric in list(&resource["scopeMetrics"]).iter().flat_map(|scope| list(&scope["metrics"])) {
            let name = metric["name"].as_str().unwrap_or_default();
            for point in
                list(&metric["sum"]["dataPoints"]).iter().chain(&list(&metric["gauge"]["dataPoints"]))
            {
                let value = number(&point["asInt"]).or_else(|| number(&point["asDouble"]));
                samples.insert(named(name, point, None), value.unwrap_or(f64::NAN));
            }
            for point in list(&metric["histogram"]["dataPoints"]) {
                for (end, field) in [("_sum", "sum"), ("_count", "count")] {
                    let value = number(&point[field]).unwrap_or(0.0);
                    samples.insert(named(&format!("{name}{end}"), &point, None), value);
                }
                let mut below = 0.0;
                let bounds = list(&point["explicitBounds"]);
                for (at, count) in list(&point["bucketCounts"]).iter().enumerate() {
                    below += number(count).unwrap_or(f64::NAN);
                    let bound = bounds.get(at).and_then(number).unwrap_or(f64::INFINITY);
                    samples.insert(named(&format!("{name}_bucket"), &point, Some(bound)), below);
                }
            }
        }
    }
    samples
}

/// A sample's name with its labels in order.
fn named(name: &str, point: &Value, bound: Option<f64>) -> String {
    let told = list(&point["attributes"]);
    let label = |told: &Value| {
        let name = told["key"].as_str().unwrap_or_default();
        format!("{name}={:?}", attribute(point, name).unwrap_or_default())
    };
    let mut labels: Vec<String> = told.iter().map(label).collect();
    // Nobody reads the last digits of a bound alike.
    labels.extend(bound.map(|bound| format!("le=\"{bound:.6e}\"")));
    labels.sort();
    format!("{name}{{{}}}", labels.join(","))
}

fn of_line(line: &Value) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in list(&line["resourceSpans"]) {
        let service = attribute(&resource["resource"], "service.name").unwrap_or_default();
        for json in list(&resource["scopeSpans"]).iter().flat_map(|scope| list(&scope["spans"])) {
            spans.push(Span { service: service.clone(), resource: resource["resource"].clone(), json });
        }
    }
    spans
}
