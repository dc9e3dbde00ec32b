//! Rendering a pipeline through the command, and looking into what came.

use std::fs;
use std::process::{Command, Output};

use longshore_tests::harness::binary;
use serde_json::Value;
use tempfile::TempDir;

/// Files in a folder, and the retry topic's spool.
pub(crate) const FILES: &str = "
pipeline: files
kind: logs
kafka: { brokers: kafka:9092 }
input: { topics: [logs.raw] }
steps: [ { parse: { format: json } } ]
sinks: [ { files: { path: out/logs } } ]
limits: { memory: 512MiB, spool: 2GiB, spool_folder: /var/spool/longshore }
";

/// Parquet in a bucket, with a role's keys.
pub(crate) const OBJECTS: &str = "
pipeline: archive
kind: logs
kafka: { brokers: 'kafka-0:9092,kafka-1:9092' }
input: { topics: [logs.raw, logs.more] }
steps: [ { parse: { format: json } } ]
sinks: [ { objects: { url: s3://archive/logs, region: eu-central-1 } } ]
";

/// The same in a bucket of Google's.
pub(crate) fn google() -> String {
    OBJECTS.replace("s3://archive/logs, region: eu-central-1", "gs://archive/logs")
}

/// The same in a container of Azure's.
pub(crate) fn azure() -> String {
    OBJECTS.replace("s3://archive/logs, region: eu-central-1", "az://archive/logs")
}

/// Every kind of sink side by side, and two of objects.
pub(crate) fn every_sink() -> String {
    let more = "  - files: { path: out/logs }
  - objects: { url: gs://archive/logs }
  - objects: { name: other, url: s3://archive/logs, region: eu-central-1, endpoint: https://minio.internal:9000, access_key_id: longshore, secret_access_key: \"${STORE_KEY}\" }
  - topic: { name: logs.alerts }
  - stdout: {}
limits: { memory: 768MiB, drain: 20s }";
    POSTGRES.replace("limits: { drain: 20s }", more)
}

/// A table, with passwords and certificates from files.
pub(crate) const POSTGRES: &str = "
pipeline: table
kind: logs
kafka:
  brokers: kafka:9093
  security:
    sasl: { mechanism: SCRAM-SHA-512, username: web, password: \"${file:/run/secrets/kafka-password}\" }
    tls: { ca: /run/secrets/kafka/ca.pem }
input: { topics: [logs.raw], start: latest }
steps: [ { parse: { format: json } } ]
sinks:
  - postgres:
      host: db.internal
      port: 6432
      database: logs
      user: longshore
      password: \"${file:/run/secrets/db-password}\"
      tls: { ca: /etc/postgres/ca.pem }
      table: logs
      columns: { body: body }
limits: { drain: 20s }
http: { listen: '127.0.0.1:9090' }
";

/// A topic alone; no retry topic.
pub(crate) const TOPIC: &str = "
pipeline: alerts
kind: logs
kafka: { brokers: 'alone:9095' }
input: { topics: [logs.raw], order: partition }
steps: [ { parse: { format: json } } ]
sinks: [ { topic: { name: logs.alerts } } ]
http: { listen: 'off' }
";

/// What a command did, with the pipeline it was given.
pub(crate) struct Ran {
    folder: TempDir,
    pipeline: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    output: Output,
}

/// Manifests.
pub(crate) struct Rendered {
    /// As one stream.
    pub(crate) yaml: String,
    /// The same as JSON.
    pub(crate) manifests: Vec<Value>,
    /// What people read.
    pub(crate) said: String,
    /// The pipeline file.
    pub(crate) pipeline: String,
}

fn run(folder: &TempDir, arguments: &[String], environment: &[(String, String)]) -> Output {
    let mut command = Command::new(binary());
    command.args(["deploy", "render"]).arg(folder.path().join("pipeline.yaml")).args(arguments);
    command.envs(environment.iter().cloned()).output().unwrap()
}

/// Renders with variables; says nothing of how it ended.
pub(crate) fn render_with(pipeline: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pipeline.yaml"), pipeline).unwrap();
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let environment: Vec<(String, String)> =
        environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let output = run(&folder, &arguments, &environment);
    Ran { folder, pipeline: pipeline.to_owned(), arguments, environment, output }
}

/// Renders what has to be right.
pub(crate) fn render(pipeline: &str, arguments: &[&str]) -> Rendered {
    render_with(pipeline, arguments, &[]).rendered()
}

impl Ran {
    fn said(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).unwrap()
    }

    /// What was said when it was refused with this code.
    pub(crate) fn refused(&self, code: i32) -> String {
        assert_eq!(self.output.status.code(), Some(code), "{}", self.said());
        assert!(self.output.stdout.is_empty(), "{}", String::from_utf8_lossy(&self.output.stdout));
        self.said()
    }

    /// What was written to standard output, with `--out`.
    pub(crate) fn rendered_files(&self) -> String {
        assert!(self.output.status.success(), "{}", self.said());
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    /// The manifests.
    pub(crate) fn rendered(self) -> Rendered {
        let yaml = self.rendered_files();
        let arguments = [&self.arguments[..], &["-o".to_owned(), "json".to_owned()]].concat();
        let json = run(&self.folder, &arguments, &self.environment).stdout;
        let list: Value = serde_json::from_slice(&json).unwrap();
        let manifests = list["items"].as_array().unwrap().clone();
        Rendered { yaml, manifests, said: self.said(), pipeline: self.pipeline }
    }
}

impl Rendered {
    /// The only manifest of a kind.
    pub(crate) fn one(&self, kind: &str) -> &Value {
        let mut found = self.manifests.iter().filter(|manifest| manifest["kind"] == kind);
        let one = found.next().unwrap_or_else(|| panic!("no {kind}"));
        assert!(found.next().is_none(), "two of {kind}");
        one
    }

    /// The pod of the Deployment.
    pub(crate) fn pod(&self) -> &Value {
        &self.one("Deployment")["spec"]["template"]["spec"]
    }

    /// Its only container.
    pub(crate) fn container(&self) -> &Value {
        assert_eq!(self.pod()["containers"].as_array().unwrap().len(), 1);
        &self.pod()["containers"][0]
    }

    /// Holds the file of the ConfigMap against the settings' rules, with the variables of a pod. Files of a Secret are in a folder here.
    pub(crate) fn checked(&self, environment: &[(&str, &str)]) {
        let folder = tempfile::tempdir().unwrap();
        let file = self.one("ConfigMap")["data"]["pipeline.yaml"].as_str().unwrap();
        let secrets = folder.path().display().to_string();
        for name in ["kafka-password", "db-password"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let certificate = concat!(env!("CARGO_MANIFEST_DIR"), "/certificates/client.pem");
        let path = folder.path().join("pipeline.yaml");
        fs::write(&path, file.replace("/run/secrets", &secrets).replace("/etc/postgres/ca.pem", certificate))
            .unwrap();
        let mut command = Command::new(binary());
        let output = command.arg("check").arg(path).envs(environment.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
