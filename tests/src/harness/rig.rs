//! A pipeline under test: its file, its topics, its folder, and the worker processes that run it.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::http;
use super::longshore::{Longshore, binary};
use super::wait::{wait_for, wait_until};
use super::witness::Witness;

/// A worker that does not come up or go down within this never will. Generous: the machine may be busy with a build.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What dead-letter topics are made with: by creation time an old record's letter would be deleted soon after it lands.
pub const LETTER_SETTINGS: &[(&str, &str)] = &[
    ("message.timestamp.type", "LogAppendTime"),
    ("cleanup.policy", "delete"),
    ("retention.ms", "2592000000"),
];

/// What retry topics are made with: copies outlive the longest wait.
pub const RETRY_SETTINGS: &[(&str, &str)] = &[
    ("message.timestamp.type", "LogAppendTime"),
    ("cleanup.policy", "delete"),
    ("retention.ms", "604800000"),
    ("retention.bytes", "-1"),
];

/// Steps of a small logs pipeline: broken lines are letters, quiet ones are filtered.
pub const LOG_STEPS: &str = "
  - parse: { format: json }
  - filter: { drop: 'severity_number < 9', name: quiet }";

/// Steps of a small documents pipeline: short texts are filtered.
pub const DOCUMENT_STEPS: &str = "
  - accept: { format: json }
  - normalize: { form: nfc }
  - length: { min: 10 }
  - fingerprint: {}";

/// A pipeline with a topic, a group and a sink folder of its own.
pub struct Rig {
    /// The pipeline's name.
    pub name: String,
    /// Its input topic.
    pub topic: String,
    /// The broker, as the test itself sees it.
    pub witness: Witness,
    /// `name=value` for `--set`, the same for every worker.
    pub settings: Vec<String>,
    kind: &'static str,
    kafka: String,
    folder: TempDir,
    steps: String,
    sinks: Option<String>,
}

impl Rig {
    /// A pipeline of kind `logs` with [`LOG_STEPS`] and one `files` sink. A killed worker is noticed after 2 s.
    ///
    /// # Panics
    /// When no folder can be made.
    #[must_use]
    pub fn new(bootstrap: &str, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder for a pipeline: {error}"));
        Self {
            name: name.to_owned(),
            topic: format!("{name}.in"),
            witness: Witness::new(bootstrap),
            settings: vec![
                "kafka.client.session.timeout.ms=2000".to_owned(),
                "kafka.client.heartbeat.interval.ms=300".to_owned(),
                "kafka.client.topic.metadata.refresh.interval.ms=2000".to_owned(),
            ],
            kind: "logs",
            kafka: format!("{{ brokers: \"{bootstrap}\" }}"),
            folder,
            steps: LOG_STEPS.to_owned(),
            sinks: None,
        }
    }

    /// The same with other steps, as YAML list entries indented by two.
    #[must_use]
    pub fn steps(mut self, steps: &str) -> Self {
        self.steps = steps.to_owned();
        self
    }

    /// The same as a pipeline of documents with [`DOCUMENT_STEPS`].
    #[must_use]
    pub fn documents(mut self) -> Self {
        self.kind = "dataset";
        self.steps(DOCUMENT_STEPS)
    }

    /// The same with other sinks, as YAML list entries indented by two.
    #[must_use]
    pub fn sinks(mut self, sinks: &str) -> Self {
        self.sinks = Some(sinks.to_owned());
        self
    }

    /// The same with another `kafka:` section, as a YAML flow map.
    #[must_use]
    pub fn kafka(mut self, section: &str) -> Self {
        self.kafka = section.to_owned();
        self
    }

    /// The same with one more `--set`.
    #[must_use]
    pub fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// Makes the input and the pipeline's own topics.
    #[must_use]
    pub fn with_topics(self, partitions: i32) -> Self {
        self.witness.create_topic(&self.topic, partitions, &[]);
        self.with_own_topics(partitions)
    }

    /// Makes the pipeline's own topics, which its workers ask for: retry, dead letters, journal.
    #[must_use]
    pub fn with_own_topics(self, partitions: i32) -> Self {
        self.witness.create_topic(&self.retry_topic(), partitions, RETRY_SETTINGS);
        self.witness.create_topic(&self.letter_topic(), partitions, LETTER_SETTINGS);
        self.witness.create_topic(&self.journal_topic(), 1, &[("cleanup.policy", "compact")]);
        self
    }

    /// The retry topic.
    #[must_use]
    pub fn retry_topic(&self) -> String {
        format!("{}.{}.retry", self.topic, self.name)
    }

    /// The journal.
    #[must_use]
    pub fn journal_topic(&self) -> String {
        format!("longshore.{}.journal", self.name)
    }

    /// The consumer group.
    #[must_use]
    pub fn group(&self) -> String {
        format!("longshore.{}", self.name)
    }

    /// The dead-letter topic.
    #[must_use]
    pub fn letter_topic(&self) -> String {
        format!("{}.{}.dlq", self.topic, self.name)
    }

    /// The rig's folder, for whatever a test needs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the files sink.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// Starts a worker; does not wait for anything.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn worker(&self) -> Worker {
        self.worker_with(&[], &[])
    }

    /// Starts a worker with further `--set`s and environment variables.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn worker_with(&self, settings: &[&str], environment: &[(&str, &str)]) -> Worker {
        self.worker_by(Command::new(binary()), settings, environment)
    }

    /// The same by a command that runs the binary with the arguments that are added, in a place of its own.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn worker_by(&self, mut command: Command, settings: &[&str], environment: &[(&str, &str)]) -> Worker {
        command.arg("run").arg("-c").arg(self.file());
        let all = self.settings.iter().map(String::as_str).chain(settings.iter().copied());
        command.args(all.flat_map(|setting| ["--set", setting].map(OsString::from)));
        command.envs(environment.iter().copied());
        Worker { process: Longshore::start_command(command), address: None }
    }

    /// Starts a worker and waits until the group has given it a partition.
    ///
    /// # Panics
    /// When it gets none.
    #[must_use]
    pub fn working(&self) -> Worker {
        let mut worker = self.worker();
        worker.wait_for_partitions();
        worker
    }

    /// Waits until everything published is committed.
    ///
    /// # Panics
    /// When it is not within `deadline`; shows what the workers said.
    #[track_caller]
    pub fn wait_drained(&self, deadline: Duration, workers: &[&Worker]) {
        let mut seen = String::new();
        let started = std::time::Instant::now();
        while !self.is_drained(&mut seen) {
            if started.elapsed() > deadline {
                let said: Vec<_> = workers.iter().map(|worker| worker.process.transcript()).collect();
                panic!(
                    "{} is not drained after {deadline:?}: {seen}\n{}",
                    self.name,
                    said.join("\n======\n")
                );
            }
            super::wait::pass_time(Duration::from_millis(100));
        }
    }

    /// How many copies of the retry topic are not committed.
    ///
    /// # Panics
    /// When the broker does not answer.
    #[must_use]
    pub fn uncommitted_copies(&self) -> i64 {
        let committed = self.witness.committed(&self.group(), &self.retry_topic());
        let at = |partition: usize| committed.get(&(partition as i32)).map_or(0, |position| position.offset);
        self.witness
            .ends(&self.retry_topic())
            .iter()
            .enumerate()
            .map(|(partition, end)| end - at(partition))
            .sum()
    }

    fn is_drained(&self, seen: &mut String) -> bool {
        let ends = self.witness.ends(&self.topic);
        let committed = self.witness.committed(&self.group(), &self.topic);
        let at = |partition: usize| committed.get(&(partition as i32)).map_or(0, |position| position.offset);
        *seen = format!("ends {ends:?}, committed {:?}", (0..ends.len()).map(at).collect::<Vec<_>>());
        ends.iter().enumerate().all(|(partition, end)| at(partition) == *end)
    }

    /// The pipeline file, written anew.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        let files = format!(
            "\n  - files: {{ path: \"{}\", format: jsonl.zst, roll: {{ bytes: 1MiB, age: 300ms }} }}",
            self.files().display()
        );
        let text = format!(
            "pipeline: {}\nkind: {}\nkafka: {}\ninput: {{ topics: [{}], order: key }}\nsteps:{}\nsinks:{}\n\
             http: {{ listen: \"127.0.0.1:0\" }}\n",
            self.name,
            self.kind,
            self.kafka,
            self.topic,
            self.steps,
            self.sinks.as_deref().unwrap_or(&files)
        );
        let path = self.folder.path().join("pipeline.yaml");
        // In one step: a worker that was started before this one may be reading it.
        let aside = path.with_extension("new");
        let written = fs::write(&aside, text).and_then(|()| fs::rename(&aside, &path));
        written.unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path
    }
}

/// A `longshore run` process.
#[derive(Debug)]
pub struct Worker {
    /// The process.
    pub process: Longshore,
    address: Option<SocketAddr>,
}

impl Worker {
    /// A status page; none while it does not answer.
    pub fn page(&mut self, path: &str) -> Option<String> {
        self.answer(path).map(|(_, body)| body)
    }

    /// A page with its status code; none while it does not answer.
    pub fn answer(&mut self, path: &str) -> Option<(u16, String)> {
        http::answer(self.address()?, path)
    }

    /// Where it serves its pages; none before it does.
    pub fn address(&mut self) -> Option<SocketAddr> {
        if self.address.is_none() {
            let said = self.process.stderr();
            let line = said.lines().find(|line| line.contains("bound="))?;
            let value = line.split("bound=").nth(1)?.split_whitespace().next()?;
            self.address = value.parse().ok();
        }
        self.address
    }

    /// Stops it (SIGSTOP) while it holds unsettled records, and waits until another member works on all partitions: what it holds
    /// at this moment is what the zombie would publish.
    ///
    /// # Panics
    /// As [`Self::wait_until`].
    #[track_caller]
    pub fn freeze_until_replaced(&mut self, other: &mut Self, partitions: usize) {
        self.wait_until("the sleeper holds unsettled records", |worker| {
            worker.pairs().iter().any(|pair| pair.unsettled > 0)
        });
        self.process.signal(Signal::STOP);
        other.wait_until("the other has all partitions", |worker| {
            worker.pairs().iter().filter(|pair| pair.state == "running").count() == partitions
        });
    }

    /// Wakes it (SIGCONT) after [`Self::freeze_until_replaced`], and waits until it learns that it lost its partitions.
    ///
    /// # Panics
    /// As [`Self::wait_until`].
    #[track_caller]
    pub fn wake_as_zombie(&mut self) {
        self.process.signal(Signal::CONT);
        self.wait_until("the sleeper learns that it lost its partitions", |worker| {
            worker.metric("longshore_rebalances_total{kind=\"lost\"") > 0.0
        });
    }

    /// The sum of a metric's samples, 0 while the page does not answer.
    pub fn metric(&mut self, prefix: &str) -> f64 {
        self.page("/metrics").map_or(0.0, |page| http::metric(&page, prefix))
    }

    /// What `/lag` says of each pair: partition, position, committed and unsettled records.
    pub fn pairs(&mut self) -> Vec<PairSeen> {
        let page = self.page("/lag").unwrap_or_default();
        let rows: Vec<serde_json::Value> = serde_json::from_str(&page).unwrap_or_default();
        let number = |row: &serde_json::Value, name: &str| row[name].as_i64().unwrap_or(-1);
        let seen = |row: &serde_json::Value| PairSeen {
            partition: number(row, "partition") as i32,
            state: row["state"].as_str().unwrap_or_default().to_owned(),
            reason: row["reason"].as_str().unwrap_or_default().to_owned(),
            position: number(row, "position"),
            committed: number(row, "committed"),
            unsettled: number(row, "unsettled"),
        };
        rows.iter().map(seen).collect()
    }

    /// What it had received and not committed of the partitions that it let go in order, by its log: a second crash with a partition has
    /// its records tried one at a time, and then many have not begun.
    #[must_use]
    pub fn let_go(&self) -> i64 {
        let said = self.process.stderr();
        let number = |line: &str, name: &str| -> Option<i64> {
            line.split_whitespace().find_map(|word| word.strip_prefix(name))?.parse().ok()
        };
        let released = said.lines().filter(|line| line.contains(": released "));
        released.filter_map(|line| Some(number(line, "received=")? - number(line, "commit=")?)).sum()
    }

    /// Waits until the group has given it a partition that it works on.
    ///
    /// # Panics
    /// When it gets none, or ends.
    #[track_caller]
    pub fn wait_for_partitions(&mut self) {
        self.wait_until("it works on a partition", |worker| worker.pairs().iter().any(PairSeen::works));
    }

    /// Waits for a condition on this worker.
    ///
    /// # Panics
    /// When it does not come, or the worker ends; shows what it said.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let started = std::time::Instant::now();
        while !condition(self) {
            let ended = self.process.has_ended();
            assert!(
                !ended && started.elapsed() < PATIENCE,
                "{} until {what}\n{}",
                if ended { "the worker ended" } else { "waited in vain" },
                self.process.transcript()
            );
            super::wait::pass_time(Duration::from_millis(20));
        }
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Panics
    /// When it does not end within `deadline`.
    #[track_caller]
    pub fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.process.wait(deadline)
    }

    /// SIGTERM, and checks that it ends with exit code 0 within the 25 s that a worker may take.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn stop(mut self) {
        let status = self.terminate(Duration::from_secs(25));
        assert!(status.success(), "{status}\n{}", self.process.transcript());
    }

    /// Waits for the end and gives the exit code.
    ///
    /// # Panics
    /// When it does not end within `deadline`, or by a signal.
    #[track_caller]
    pub fn exit_code(&mut self, deadline: Duration) -> i32 {
        let process = &mut self.process;
        wait_until("the worker ends", deadline, || process.has_ended());
        let status = process.wait(deadline);
        status.code().unwrap_or_else(|| panic!("{status}\n{}", self.process.transcript()))
    }

    /// A value from `/proc/PID/status`, in kB (`VmHWM`, `VmRSS`).
    #[must_use]
    pub fn memory_kib(&self, name: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid())).ok()?;
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// CPU time spent so far, user and system.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.process.pid());
        let stat = wait_for("the process has a stat file", PATIENCE, || fs::read_to_string(&path).ok());
        // Fields are counted behind the command's name, which may hold spaces; a tick is 10 ms on every Linux.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }
}

/// A pair as a worker's `/lag` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairSeen {
    /// The partition.
    pub partition: i32,
    /// What it is at.
    pub state: String,
    /// Why, when held or halted.
    pub reason: String,
    /// The offset behind the last record received.
    pub position: i64,
    /// Everything below is committed.
    pub committed: i64,
    /// Records received and not settled.
    pub unsettled: i64,
}

impl PairSeen {
    /// Whether it takes records, be it one at a time.
    #[must_use]
    pub fn works(&self) -> bool {
        self.state == "running" || self.state == "careful"
    }
}
