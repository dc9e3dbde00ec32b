//! A real OpenTelemetry Collector of the test's own: OTLP over HTTP on a free port, and a file with all spans that it took.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::ports::free_port;
use super::tools::tool;
use super::wait::wait_until;
use super::{http, report};

/// A Collector that is not there within this never will be.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the Collector when whoever holds its standard input is gone.
const GUARD: &str =
    r#""$@" </dev/null & server=$!; cat >/dev/null; kill -KILL $server; wait $server 2>/dev/null"#;

/// A Collector.
#[derive(Debug)]
pub struct Collector {
    folder: TempDir,
    port: u16,
    guard: Child,
}

impl Collector {
    /// A fresh one. None where it cannot be had: then the test returns, and is counted as skipped.
    ///
    /// # Panics
    /// When it does not start, and with `CI` set when it cannot be had.
    #[must_use]
    pub fn start() -> Option<Self> {
        let program = tool("collector")?;
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder for a Collector: {error}"));
        let port = free_port();
        let config = folder.path().join("config.yaml");
        let text = format!(
            "receivers: {{ otlp: {{ protocols: {{ http: {{ endpoint: \"127.0.0.1:{port}\" }} }} }} }}\n\
             exporters: {{ file: {{ path: \"{}/spans.json\", flush_interval: 100ms }} }}\n\
             service:\n  telemetry: {{ metrics: {{ level: none }} }}\n  pipelines: {{ traces: {{ receivers: [otlp], exporters: [file] }} }}\n",
            folder.path().display()
        );
        fs::write(&config, text).unwrap_or_else(|error| panic!("{}: {error}", config.display()));
        let log = fs::File::create(folder.path().join("log"));
        let log = log.unwrap_or_else(|error| panic!("a Collector's log: {error}"));
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard"]).arg(&program).arg("--config").arg(&config);
        let errors = log.try_clone().map_or_else(|_| Stdio::null(), Stdio::from);
        command.stdin(Stdio::piped()).stdout(log).stderr(errors).process_group(0);
        let guard = command.spawn().unwrap_or_else(|error| panic!("the Collector: {error}"));
        let collector = Self { folder, port, guard };
        let address = ([127, 0, 0, 1], port).into();
        wait_until("the Collector answers", PATIENCE, || http::get(address, "/").is_some());
        let version = program.parent().and_then(std::path::Path::file_name).unwrap_or_default();
        report::used(&version.to_string_lossy());
        Some(collector)
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is to say.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The spans that arrived until now, as its file has them.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let file: PathBuf = self.folder.path().join("spans.json");
        let text = fs::read_to_string(file).unwrap_or_default();
        // A line that is being written is not there yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .flat_map(|line| of_line(&line))
            .collect()
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

fn of_line(line: &Value) -> Vec<Span> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut spans = Vec::new();
    for resource in list(&line["resourceSpans"]) {
        let service = attribute(&resource["resource"], "service.name").unwrap_or_default();
        for json in list(&resource["scopeSpans"]).iter().flat_map(|scope| list(&scope["spans"])) {
            spans.push(Span { service: service.clone(), json });
        }
    }
    spans
}
