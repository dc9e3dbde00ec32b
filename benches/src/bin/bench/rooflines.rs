//! R0, P0, CP0: programs of librdkafka's own and one small loop, with the settings that our worker has.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::cluster::Cluster;
use crate::process::{Cost, Running};

/// No roofline takes longer than this, however slow the machine.
const DEADLINE: Duration = Duration::from_secs(300);

/// What our consumer sets, so that only the loop differs.
const CONSUMER: &[&str] = &[
    "auto.offset.reset=earliest",
    "partition.assignment.strategy=cooperative-sticky",
    "fetch.queue.backoff.ms=50",
    "queued.min.messages=100000",
    "queued.max.messages.kbytes=16384",
    "fetch.max.bytes=16777216",
    "fetch.wait.max.ms=100",
    "check.crcs=true",
    "isolation.level=read_committed",
];

/// What our producer sets.
const PRODUCER: &[&str] = &[
    "acks=all",
    "enable.idempotence=true",
    "linger.ms=10",
    "batch.size=262144",
    "batch.num.messages=100000",
    "partitioner=murmur2_random",
    "queue.buffering.max.messages=500000",
];

/// How many records in how long, and at what cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measure {
    pub(crate) records: u64,
    /// From the first record to the last.
    pub(crate) wall: Duration,
    /// Of the process's whole life.
    pub(crate) cost: Cost,
}

impl Measure {
    /// Records a second.
    pub(crate) fn rate(&self) -> f64 {
        self.records as f64 / self.wall.as_secs_f64()
    }

    /// Processor seconds for a million records.
    pub(crate) fn cpu(&self) -> f64 {
        self.cost.cpu.as_secs_f64() * 1e6 / self.records as f64
    }
}

/// An open loop.
pub(crate) struct Pace {
    /// Records a second.
    pub(crate) rate: u64,
    /// Not counted.
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    /// So many of the 1,000 keys count.
    pub(crate) healthy: u64,
    /// How long the open loop's own records wait for others, in milliseconds.
    pub(crate) linger_ms: u64,
}

/// From when a record was due to be sent to when what came of it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Runs the programs.
pub(crate) struct Rooflines<'a> {
    cluster: &'a Cluster,
    programs: PathBuf,
}

impl<'a> Rooflines<'a> {
    pub(crate) fn new(cluster: &'a Cluster, programs: PathBuf) -> Self {
        Self { cluster, programs }
    }

    /// R0: reads a topic in a group.
    pub(crate) fn consume(&self, topic: &str, records: u64, group: &str) -> anyhow::Result<Measure> {
        let mut command = self.performance(CONSUMER);
        command.args(["-G", group, "-t", topic, "-c", &records.to_string()]);
        let (output, cost) = self.run("rdkafka_performance", command)?;
        Ok(Measure { records, wall: performance_time(&output)?, cost })
    }

    /// P0: writes constant payloads with these headers, each `NAME=VALUE`.
    pub(crate) fn produce(
        &self,
        topic: &str,
        records: u64,
        bytes: u32,
        codec: &str,
        headers: &[&str],
    ) -> anyhow::Result<Measure> {
        let mut command = self.performance(PRODUCER);
        headers.iter().for_each(|header| {
            command.args(["-H", header]);
        });
        command.args(["-P", "-t", topic, "-c", &records.to_string(), "-s", &bytes.to_string(), "-z", codec]);
        let (output, cost) = self.run("rdkafka_performance", command)?;
        Ok(Measure { records, wall: performance_time(&output)?, cost })
    }

    /// CP0: reads a topic, writes every `keep_every`-th record to another, commits what was delivered.
    pub(crate) fn pass(
        &self,
        (from, to): (&str, &str),
        records: u64,
        keep_every: u64,
        group: &str,
    ) -> anyhow::Result<Measure> {
        let consumer = format!("{},enable.auto.commit=false,group.id={group}", CONSUMER.join(","));
        let producer = format!("{},compression.type=lz4", PRODUCER.join(","));
        let mut command = Command::new(self.programs.join("loop"));
        command.args([&self.cluster.bootstrap(), &consumer, &producer, from, to]);
        command.args([records.to_string(), keep_every.to_string()]);
        let (output, cost) = self.run("loop", command)?;
        let seconds = output.split_whitespace().nth(1).context("`loop` printed no time")?;
        Ok(Measure { records, wall: Duration::from_secs_f64(seconds.parse()?), cost })
    }

    /// The times of healthy keys' records.
    pub(crate) fn latency(&self, from: &str, to: &str, pace: &Pace) -> anyhow::Result<Waits> {
        let (output, _) = self.run("latency", self.latency_command(from, to, pace))?;
        let figure = |at: usize| -> anyhow::Result<Duration> {
            let micros = output.split_whitespace().nth(at).context("`latency` printed no figure")?;
            Ok(Duration::from_micros(micros.parse()?))
        };
        Ok(Waits { p50: figure(1)?, p99: figure(2)? })
    }

    /// The same loop beside something else; it ends when as many records came out as went in.
    pub(crate) fn start_latency(&self, from: &str, to: &str, pace: &Pace) -> anyhow::Result<Running> {
        let [stdout, stderr] = self.outputs("latency");
        Running::start("latency", self.latency_command(from, to, pace), &stdout, &stderr)
    }

    fn latency_command(&self, from: &str, to: &str, pace: &Pace) -> Command {
        let consumer = "group.id=bench-latency,enable.auto.commit=false,fetch.wait.max.ms=10,check.crcs=true";
        let producer = PRODUCER.join(",").replace("linger.ms=10", &format!("linger.ms={}", pace.linger_ms));
        let mut command = Command::new(self.programs.join("latency"));
        command.args([&self.cluster.bootstrap(), consumer, &producer, from, to]);
        let seconds = pace.warm_up + pace.measured;
        command.args(
            [pace.rate, seconds.as_secs(), pace.warm_up.as_secs(), pace.healthy].map(|n| n.to_string()),
        );
        command
    }

    fn performance(&self, settings: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("rdkafka_performance"));
        command.args(["-q", "-b", &self.cluster.bootstrap()]);
        for setting in settings {
            command.args(["-X", setting]);
        }
        command
    }

    fn run(&self, name: &str, command: Command) -> anyhow::Result<(String, Cost)> {
        let [stdout, stderr] = self.outputs(name);
        let cost = Running::start(name, command, &stdout, &stderr)?.finish(DEADLINE);
        let cost = cost.with_context(|| fs::read_to_string(&stderr).unwrap_or_default())?;
        Ok((fs::read_to_string(&stdout)?, cost))
    }

    /// Where a program's output and its errors go.
    fn outputs(&self, name: &str) -> [PathBuf; 2] {
        ["out", "err"].map(|kind| self.cluster.folder().join(format!("{name}.{kind}")))
    }
}

/// The time in the last line of the form `% N messages (N bytes) consumed in 123ms: ...`.
fn performance_time(output: &str) -> anyhow::Result<Duration> {
    let mut times = output.lines().filter(|line| line.contains(" messages ")).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.iter().find_map(|word| word.strip_suffix("ms:")?.parse::<u64>().ok())
    });
    times.next_back().map(Duration::from_millis).context("rdkafka_performance printed no time")
}
