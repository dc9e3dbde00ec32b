//! Ours: a `longshore run` process with a pipeline file as a user would write it, timed from the first record read to
//! the last one settled, and proven afterwards. The commit of the last records may take its interval of a second more,
//! in which the worker only waits: it is waited for and checked, but it is no part of a rate, as R0's is none.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::cluster::{Cluster, Contents, PARTITIONS};
use crate::process::Running;
use crate::rooflines::Measure;
use crate::workloads::{Proof, Workload};

/// How often the worker is asked where it stands: short against seconds, and it answers in some tens of microseconds.
const LOOK: Duration = Duration::from_millis(20);
/// Without any progress for so long, the run has failed.
const STALLED: Duration = Duration::from_secs(60);
/// SIGTERM must end a worker in 25 s.
const END: Duration = Duration::from_secs(30);

/// Starts our worker.
pub(crate) struct Workers<'a> {
    cluster: &'a Cluster,
    binary: PathBuf,
}

/// One run.
struct Run<'a> {
    workload: &'a Workload,
    group: String,
    output: String,
    page: SocketAddr,
    pipeline: PathBuf,
}

impl<'a> Workers<'a> {
    pub(crate) fn new(cluster: &'a Cluster, binary: PathBuf) -> Self {
        Self { cluster, binary }
    }

    /// Makes the topics that the workload's pipeline needs beside its input.
    pub(crate) fn prepare(&self, workload: &Workload) -> anyhow::Result<()> {
        // No round has this number: `topics apply` makes the output topic too, and rounds make their own.
        let run = self.run_of(workload, u32::MAX)?;
        let mut command = Command::new(&self.binary);
        command.args(["topics", "apply"]).arg(&run.pipeline);
        let output = command.args(["--partitions", &PARTITIONS.to_string(), "--replicas", "1"]).output()?;
        ensure!(
            output.status.success(),
            "longshore topics apply: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// One run of a workload over all records of its input.
    pub(crate) fn measure(
        &self,
        workload: &Workload,
        contents: Contents,
        round: u32,
    ) -> anyhow::Result<Measure> {
        let run = self.run_of(workload, round)?;
        let writes = workload.proof != Proof::AllFiltered;
        if writes {
            self.cluster.create(&run.output)?;
        }
        let log = self.cluster.folder().join(format!("{}-{round}.log", workload.name));
        let measure = self.timed(&run, contents, &log);
        let measure = measure.with_context(|| format!("{}; its log ends:\n{}", workload.name, tail(&log)))?;
        self.prove(&run, contents)?;
        if writes {
            self.cluster.delete(&run.output)?;
        }
        Ok(measure)
    }

    fn timed(&self, run: &Run<'_>, contents: Contents, log: &Path) -> anyhow::Result<Measure> {
        let mut command = Command::new(&self.binary);
        command.arg("run").arg("--with-parent").arg("-c").arg(&run.pipeline);
        let stdout = log.with_extension("out");
        let mut process = Running::start("longshore run", command, &stdout, log)?;
        let wall = run.drained(&mut process, contents.records)?;
        process.glance();
        if run.workload.proof == Proof::AllFiltered {
            let filtered = filtered(&run.ask("/metrics")?);
            ensure!(filtered == contents.records, "{filtered} of {} records filtered", contents.records);
        }
        process.terminate()?;
        let cost = process.finish(END)?;
        ensure!(
            run.workload.proof != Proof::AllFiltered || fs::metadata(&stdout)?.len() == 0,
            "a record that was filtered came out"
        );
        Ok(Measure { records: contents.records, wall, cost })
    }

    /// Committed is the end, and the output holds what it must.
    fn prove(&self, run: &Run<'_>, contents: Contents) -> anyhow::Result<()> {
        let (committed, end) = self.cluster.committed(&run.group, run.workload.input.topic)?;
        ensure!(committed == end && end == contents.records, "committed {committed}, end {end}");
        match run.workload.proof {
            Proof::AllFiltered => {}
            Proof::SameValues => {
                let found = self.cluster.sum(&run.output, None)?;
                ensure!(found == contents, "the output differs: {found:?}, input {contents:?}");
            }
            Proof::EvenHalf => {
                let found = self.cluster.sum(&run.output, Some("seq"))?;
                let kept = contents.records.div_ceil(2);
                ensure!(
                    found.records == kept && found.sum == kept * (kept - 1),
                    "the output is not the even half: {found:?}"
                );
            }
        }
        Ok(())
    }

    fn run_of<'w>(&self, workload: &'w Workload, round: u32) -> anyhow::Result<Run<'w>> {
        // The port may be taken by another until the worker binds it; then the run fails and says so.
        let page = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let group = format!("bench.{}.{round}", workload.name);
        let output = format!("bench.out.{}.{round}", workload.name);
        let text = format!(
            "pipeline: bench-{}\nkind: logs\nkafka: {{ brokers: \"{}\" }}\ninput: {{ topics: [{}], order: {}, group: {group} \
             }}\nsteps: {}\nsinks: [{}]\nhttp: {{ listen: \"{page}\" }}\n",
            workload.name,
            self.cluster.bootstrap(),
            workload.input.topic,
            workload.order,
            workload.steps,
            workload.sink.replace("OUT", &output),
        );
        let pipeline = self.cluster.folder().join(format!("{}-{round}.yaml", workload.name));
        fs::write(&pipeline, text)?;
        Ok(Run { workload, group, output, page, pipeline })
    }
}

/// How far the worker is, over all its pairs.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    pairs: usize,
    read: u64,
    unsettled: u64,
    committed: u64,
}

impl Run<'_> {
    /// Waits until everything is committed; returns the time from the first record read to the last one settled.
    fn drained(&self, process: &mut Running, records: u64) -> anyhow::Result<Duration> {
        let (mut began, mut wall) = (None, None);
        let (mut last, mut moved) = (Progress::default(), Instant::now());
        loop {
            let looked = Instant::now();
            process.must_live()?;
            process.glance();
            // The pages come up some time after the process.
            let now = self.progress().unwrap_or_default();
            if began.is_none() && now.read > 0 {
                began = Some(looked);
            }
            if wall.is_none() && now.read == records && now.unsettled == 0 {
                wall = began.map(|began| looked - began);
            }
            if let Some(wall) = wall
                && now.committed == records
            {
                return Ok(wall);
            }
            if now != last {
                (last, moved) = (now, looked);
            }
            if moved.elapsed() > STALLED {
                bail!(
                    "no progress: {} pairs, {} read, {} of {records} committed",
                    now.pairs,
                    now.read,
                    now.committed
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    fn progress(&self) -> anyhow::Result<Progress> {
        let pairs: Vec<serde_json::Value> = serde_json::from_str(&self.ask("/lag")?)?;
        let sum = |field: &str| {
            pairs.iter().filter_map(|pair| pair.get(field).and_then(serde_json::Value::as_u64)).sum()
        };
        let (read, unsettled, committed) = (sum("position"), sum("unsettled"), sum("committed"));
        Ok(Progress { pairs: pairs.len(), read, unsettled, committed })
    }

    fn ask(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.page)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        Ok(body.to_owned())
    }
}

/// The sum over all reasons of filtered records in a page of metrics.
fn filtered(metrics: &str) -> u64 {
    let counters = metrics.lines().filter(|line| line.starts_with("longshore_records_filtered_total{"));
    let values = counters.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.map(|value| value as u64).sum()
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
