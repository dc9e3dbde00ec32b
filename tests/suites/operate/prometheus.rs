//! A real Prometheus server with our rules, beside a real worker.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::{Flow, Rig, free_port, shared_broker, tool, wait_until};
use serde_json::Value;

use super::{root, rules};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server; ends with the test.
struct Server {
    child: Child,
    port: u16,
    log: std::path::PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(program: &std::path::Path, folder: &std::path::Path, target: &str) -> Self {
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\nrule_files: [ '{}' ]\nscrape_configs:\n  - job_name: longshore\n    static_configs: [ {{ targets: [ '{target}' ] }} ]\n",
            root("deploy/prometheus/longshore.rules.yaml").canonicalize().unwrap().display()
        );
        let (file, log, port) = (folder.join("prometheus.yml"), folder.join("prometheus.log"), free_port());
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let child =
            command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        Self { child, port, log }
    }

    /// A page as it is; HTTP/1.0, since a server of HTTP/1.1 may answer in chunks.
    fn page(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    fn data(&self, path: &str) -> Option<Value> {
        let answer: Value = serde_json::from_str(&self.page(path)?).ok()?;
        (answer["status"] == "success").then(|| answer["data"].clone())
    }

    /// The number of series that an expression gives now.
    fn series(&self, expression: &str) -> usize {
        let found = self.data(&format!("/api/v1/query?query={expression}"));
        found.and_then(|found| Some(found["result"].as_array()?.len())).unwrap_or(0)
    }
}

/// Scenario: Prometheus scrapes a worker that works, and evaluates our rules over it. Guarantee: the target is up with every metric that is
/// documented for a worker at work, each recording rule gives a series or has nothing to say, none fails, nothing fires, and the server
/// finds nothing odd in the exposition.
#[test]
fn a_real_server_scrapes_a_worker() {
    let (Some(broker), Some(program)) = (shared_broker(), tool("prometheus")) else { return };
    let rig = Rig::new(&broker.bootstrap(), "operate-prometheus").with_topics(2);
    let port = free_port();
    let mut worker = rig.worker_with(&[&format!("http.listen=127.0.0.1:{port}")], &[]);
    worker.wait_for_partitions();
    let flow = Flow::start(&rig.witness, &rig.topic, 300, log_line);
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&program, folder.path(), &format!("127.0.0.1:{port}"));

    let said = || std::fs::read_to_string(&server.log).unwrap_or_default();
    wait_until("the target is up", PATIENCE, || {
        let targets = server.data("/api/v1/targets");
        targets.is_some_and(|targets| {
            let target = &targets["activeTargets"][0];
            let refused = target["lastError"].as_str().unwrap_or_default();
            assert!(refused.is_empty(), "{target:#}\n{}", said());
            target["health"] == "up"
        })
    });
    for metric in [
        "longshore_records_settled_total",
        "longshore_publish_duration_seconds_bucket",
        "longshore_build_info",
    ] {
        wait_until(metric, PATIENCE, || server.series(metric) > 0);
    }
    let recorded = rules("record:");
    let mut groups = Value::Null;
    wait_until("every rule was evaluated", PATIENCE, || {
        groups = server.data("/api/v1/rules").map_or(Value::Null, |found| found["groups"].clone());
        let rules: Vec<&Value> = groups
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|group| group["rules"].as_array().unwrap())
            .collect();
        !rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown")
    });
    for rule in groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        assert!(rule["health"] == "ok" && rule["lastError"].is_null(), "{rule:#}");
        assert!(rule["state"].is_null() || rule["state"] != "firing", "{rule:#}");
    }
    wait_until("a recording rule gives a series", PATIENCE, || {
        recorded.iter().any(|rule| server.series(rule) > 0)
    });

    let own = server.page("/metrics").unwrap();
    for trouble in
        ["sample_duplicate_timestamp", "sample_out_of_order", "sample_out_of_bounds", "exceeded_sample_limit"]
    {
        let name = format!("prometheus_target_scrapes_{trouble}_total ");
        let count = own.lines().find_map(|line| line.strip_prefix(&name));
        assert_eq!(count, Some("0"), "{name}\n{}", said());
    }
    let odd: Vec<String> = said()
        .lines()
        .filter(|line| ["level=warn", "level=error"].iter().any(|level| line.to_lowercase().contains(level)))
        .filter(|line| line.contains("scrape") || line.contains("rule"))
        .map(str::to_owned)
        .collect();
    assert!(odd.is_empty(), "{odd:#?}");
    drop(flow);
    worker.stop();
}

/// Scenario: a worker that has just got its partition. Guarantee: each counter whose increase an alert asks for is on its page, at 0: one that
/// comes with its first event shows Prometheus no increase by that.
#[test]
fn what_alerts_count_is_there_before_it_happens() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "alerts-count").with_topics(1);
    let mut worker = rig.working();
    let page = worker.page("/metrics").unwrap();
    let rules = std::fs::read_to_string(root("deploy/prometheus/longshore.rules.yaml")).unwrap();
    let asked: Vec<&str> =
        rules.split("increase(").skip(1).filter_map(|rest| rest.split('[').next()).collect();
    assert!(asked.len() >= 4, "{asked:?}");
    for counter in asked {
        let (name, label) = counter.split_once('{').unwrap_or((counter, ""));
        let label = label.trim_end_matches('}');
        let is_there = |line: &str| line.starts_with(name) && line.contains(label) && line.ends_with(" 0");
        assert!(page.lines().any(is_there), "{counter}: {page}");
    }
    worker.stop();
}
