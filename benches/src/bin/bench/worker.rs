//! Ours: a `longshore run` process with a pipeline file as a user would write it, timed from the first record read to
//! the last one settled, and proven afterwards. The commit of the last records may take its interval of a second more,
//! in which the worker only waits: it is waited for and checked, but it is no part of a rate, as R0's is none.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::cluster::{Cluster, Contents};
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
    /// Where the spans of traced runs go.
    collector: String,
}

/// One run.
pub(crate) struct Run<'a> {
    workload: &'a Workload,
    /// Of the pipeline.
    name: String,
    group: String,
    pub(crate) output: String,
    page: SocketAddr,
    pipeline: PathBuf,
    /// Its worker gets the first core alone.
    one_core: bool,
}

impl<'a> Workers<'a> {
    pub(crate) fn new(cluster: &'a Cluster, binary: PathBuf, collector: String) -> Self {
        Self { cluster, binary, collector }
    }

    /// Makes the topics that a run needs beside its input.
    fn apply(&self, run: &Run<'_>) -> anyhow::Result<()> {
        let mut command = Command::new(&self.binary);
        command.args(["topics", "apply"]).arg(&run.pipeline);
        let partitions = run.workload.input.partitions.to_string();
        let output = command.args(["--partitions", &partitions, "--replicas", "1"]).output()?;
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
        let run = self.prepared(workload, round)?;
        let measure = self.drain(&run, contents)?;
        self.clear(&run)?;
        Ok(measure)
    }

    /// The same on the first core alone.
    pub(crate) fn measure_on_one_core(
        &self,
        workload: &Workload,
        contents: Contents,
        round: u32,
    ) -> anyhow::Result<Measure> {
        let run = Run { one_core: true, ..self.run_of(workload, &format!("{round}-alone"))? };
        self.apply(&run)?;
        let measure = self.drain(&run, contents)?;
        self.clear(&run)?;
        Ok(measure)
    }

    /// A run of a pipeline of its own, so that no round finds copies or letters of another.
    pub(crate) fn prepared<'w>(&self, workload: &'w Workload, round: u32) -> anyhow::Result<Run<'w>> {
        let run = self.run_of(workload, &round.to_string())?;
        self.apply(&run)?;
        Ok(run)
    }

    /// The same, whose output says when each record came.
    pub(crate) fn prepared_stamped<'w>(&self, workload: &'w Workload, round: u32) -> anyhow::Result<Run<'w>> {
        let run = self.run_of(workload, &round.to_string())?;
        self.cluster.create_stamped(&run.output)?;
        self.apply(&run)?;
        Ok(run)
    }

    /// Drains the input of a prepared run and proves what came out.
    pub(crate) fn drain(&self, run: &Run<'_>, contents: Contents) -> anyhow::Result<Measure> {
        let measure = self.timed(run, contents);
        let log = run.log();
        let measure =
            measure.with_context(|| format!("{}; its log ends:\n{}", run.workload.name, tail(&log)))?;
        self.prove(run, contents)?;
        Ok(measure)
    }

    /// Takes the topics of a run away.
    pub(crate) fn clear(&self, run: &Run<'_>) -> anyhow::Result<()> {
        let mut topics = vec![run.letters(), run.copies(), format!("longshore.{}.journal", run.name)];
        if run.writes() {
            topics.push(run.output.clone());
        }
        topics.iter().try_for_each(|topic| self.cluster.delete(topic))?;
        let folder = run.folder();
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        Ok(())
    }

    /// A command of ours about a run's pipeline.
    pub(crate) fn command(&self, words: &[&str], run: &Run<'_>) -> Command {
        let mut command = if run.one_core { Command::new("taskset") } else { Command::new(&self.binary) };
        if run.one_core {
            command.args(["-c", "0"]).arg(&self.binary);
        }
        command.args(words).arg("-c").arg(&run.pipeline);
        command
    }

    /// Starts the worker of a run.
    pub(crate) fn start(&self, run: &Run<'_>) -> anyhow::Result<Running> {
        let log = run.log();
        let mut command = self.command(&["run", "--with-parent"], run);
        if let Some(share) = run.workload.traced {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.collector);
            command.envs([("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", share)]);
        }
        Running::start("longshore run", command, &log.with_extension("out"), &log)
    }

    /// Starts one more worker of a run, and tells where its pages are.
    pub(crate) fn start_beside(&self, run: &Run<'_>, number: u32) -> anyhow::Result<(Running, SocketAddr)> {
        let page = free_address()?;
        let log = run.pipeline.with_extension(format!("{number}.log"));
        let mut command = self.command(&["run", "--with-parent"], run);
        command.args(["--set", &format!("http.listen={page}")]);
        let process = Running::start("longshore run", command, &log.with_extension("out"), &log)?;
        Ok((process, page))
    }

    fn timed(&self, run: &Run<'_>, contents: Contents) -> anyhow::Result<Measure> {
        let mut process = self.start(run)?;
        let wall = run.drained(&mut process, contents.records)?;
        process.glance();
        run.prove_counts(contents.records)?;
        process.terminate()?;
        let cost = process.finish(END)?;
        ensure!(
            run.writes() || fs::metadata(run.log().with_extension("out"))?.len() == 0,
            "a record that was filtered came out"
        );
        Ok(Measure { records: contents.records, wall, cost })
    }

    /// Committed is the end, and the output holds what it must.
    fn prove(&self, run: &Run<'_>, contents: Contents) -> anyhow::Result<()> {
        let (committed, end) = self.cluster.committed(&run.group, &run.workload.input)?;
        ensure!(committed == end && end == contents.records, "committed {committed}, end {end}");
        match run.workload.proof {
            Proof::AllFiltered => {}
            Proof::AllDead => {
                let letters = self.cluster.sum(&run.letters(), None)?;
                ensure!(letters == contents, "the letters differ: {letters:?}, input {contents:?}");
            }
            Proof::SameValues => {
                let found = self.cluster.sum(&run.output, None)?;
                ensure!(found == contents, "the output differs: {found:?}, input {contents:?}");
            }
            Proof::EvenHalf | Proof::EvenHalfRetried(_) => self.prove_even_half(run, contents)?,
            Proof::EvenHalfBroken(every) => {
                self.prove_even_half(run, contents)?;
                let letters = self.cluster.sum(&run.letters(), None)?.records;
                ensure!(letters == contents.records / every, "{letters} letters of {}", contents.records);
            }
            Proof::EachAtLeastOnce => {
                let found = self.cluster.sources(&run.output, None)?;
                ensure!(found.distinct == contents.records, "{found:?} of {} records", contents.records);
            }
            Proof::EachOnceInFiles => each_once(&run.folder(), contents.records)?,
        }
        Ok(())
    }

    fn prove_even_half(&self, run: &Run<'_>, contents: Contents) -> anyhow::Result<()> {
        let found = self.cluster.sum(&run.output, Some("seq"))?;
        let kept = contents.records.div_ceil(2);
        ensure!(
            found.records == kept && found.sum == kept * (kept - 1),
            "the output is not the even half: {found:?}"
        );
        Ok(())
    }

    fn run_of<'w>(&self, workload: &'w Workload, round: &str) -> anyhow::Result<Run<'w>> {
        let page = free_address()?;
        let name = format!("bench-{}-{round}", workload.name);
        let group = format!("bench.{}.{round}", workload.name);
        let output = format!("bench.out.{}.{round}", workload.name);
        let pipeline = self.cluster.folder().join(format!("{name}.yaml"));
        let text = format!(
            "pipeline: {name}\nkind: logs\nkafka: {{ brokers: \"{}\", {} }}\ninput: {{ topics: [{}], order: {}, group: {group} \
             }}\nsteps: {}\nsinks: [{}]\nfailure: {}\nhttp: {{ listen: \"{page}\" }}\n",
            self.cluster.bootstrap(),
            workload.kafka,
            workload.input.topic,
            workload.order,
            workload.steps,
            workload
                .sink
                .replace("OUT", &output)
                .replace("FOLDER", &pipeline.with_extension("rows").to_string_lossy()),
            workload.failure,
        );
        fs::write(&pipeline, text)?;
        Ok(Run { workload, name, group, output, page, pipeline, one_core: false })
    }
}

/// How far the worker is, over all its pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    pairs: usize,
    read: u64,
    unsettled: u64,
    committed: u64,
    /// Of one pair.
    least_committed: u64,
}

impl Run<'_> {
    /// The topic it reads.
    pub(crate) fn topic(&self) -> &'static str {
        self.workload.input.topic
    }

    /// Its dead-letter topic.
    pub(crate) fn letters(&self) -> String {
        format!("{}.{}.dlq", self.workload.input.topic, self.name)
    }

    /// Its retry topic.
    pub(crate) fn copies(&self) -> String {
        format!("{}.{}.retry", self.workload.input.topic, self.name)
    }

    /// Where the pages of its first worker are.
    pub(crate) fn page(&self) -> SocketAddr {
        self.page
    }

    fn log(&self) -> PathBuf {
        self.pipeline.with_extension("log")
    }

    /// What a sink of files is given.
    fn folder(&self) -> PathBuf {
        self.pipeline.with_extension("rows")
    }

    /// Whether there is an output topic.
    fn writes(&self) -> bool {
        match self.workload.proof {
            Proof::AllFiltered | Proof::AllDead | Proof::EachOnceInFiles => false,
            Proof::SameValues
            | Proof::EvenHalf
            | Proof::EvenHalfRetried(_)
            | Proof::EvenHalfBroken(_)
            | Proof::EachAtLeastOnce => true,
        }
    }

    /// The worker's own counts say what the workload means.
    fn prove_counts(&self, records: u64) -> anyhow::Result<()> {
        match self.workload.proof {
            Proof::AllFiltered => {
                let filtered = counted(&ask(self.page, "/metrics")?, "records_filtered_total");
                ensure!(filtered == records, "{filtered} of {records} records filtered");
            }
            Proof::EvenHalfRetried(share) => {
                let retried = counted(&ask(self.page, "/metrics")?, "records_retried_total") as f64;
                let wanted = share * records as f64;
                ensure!(
                    (0.9 * wanted..1.1 * wanted).contains(&retried),
                    "{retried} records retried, not {wanted}"
                );
            }
            Proof::SameValues
            | Proof::EvenHalf
            | Proof::EvenHalfBroken(_)
            | Proof::AllDead
            | Proof::EachAtLeastOnce
            | Proof::EachOnceInFiles => {}
        }
        Ok(())
    }

    /// Waits until it owns all partitions.
    pub(crate) fn ready(&self, process: &mut Running) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.progress().unwrap_or_default().pairs < self.workload.input.partitions as usize {
            process.must_live()?;
            ensure!(began.elapsed() < STALLED, "not all partitions were assigned");
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

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
            if wall.is_none() && now.read == records && now.unsettled == 0 && self.has_settled(records)? {
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
            // A hundredth of a long run is as exact, and takes less from the worker.
            let so_far = began.map_or(Duration::ZERO, |began| began.elapsed());
            std::thread::sleep(LOOK.max(so_far / 100));
        }
    }

    /// Whether copies in the retry topic have ended too; what waits there is settled for the input.
    fn has_settled(&self, records: u64) -> anyhow::Result<bool> {
        match self.workload.proof {
            Proof::EvenHalfRetried(_) => {
                let page = ask(self.page, "/metrics")?;
                let ended = counted(&page, "records_settled_total");
                Ok(ended == records)
            }
            Proof::AllFiltered
            | Proof::SameValues
            | Proof::EvenHalf
            | Proof::EvenHalfBroken(_)
            | Proof::AllDead
            | Proof::EachAtLeastOnce
            | Proof::EachOnceInFiles => Ok(true),
        }
    }

    /// Waits until its worker has committed this share of each partition, as far as they are alike.
    pub(crate) fn has_committed(
        &self,
        process: &mut Running,
        records: u64,
        share: f64,
    ) -> anyhow::Result<()> {
        let partitions = self.workload.input.partitions as usize;
        let least = (records as f64 * share) as u64 / partitions as u64;
        let began = Instant::now();
        loop {
            process.must_live()?;
            let now = self.progress().unwrap_or_default();
            if now.pairs == partitions && now.least_committed >= least {
                return Ok(());
            }
            ensure!(began.elapsed() < STALLED, "{now:?}: not {least} of each partition are committed");
            std::thread::sleep(LOOK);
        }
    }

    fn progress(&self) -> anyhow::Result<Progress> {
        let pairs: Vec<serde_json::Value> = serde_json::from_str(&ask(self.page, "/lag")?)?;
        let figures = |field: &'static str| {
            pairs.iter().filter_map(move |pair| pair.get(field).and_then(serde_json::Value::as_u64))
        };
        Ok(Progress {
            pairs: pairs.len(),
            read: figures("position").sum(),
            unsettled: figures("unsettled").sum(),
            committed: figures("committed").sum(),
            least_committed: figures("committed").min().unwrap_or(0),
        })
    }
}

/// The partitions of the input that the worker with these pages works on.
pub(crate) fn partitions_at(page: SocketAddr) -> anyhow::Result<Vec<u64>> {
    let pairs: Vec<serde_json::Value> = serde_json::from_str(&ask(page, "/lag")?)?;
    let running = pairs.iter().filter(|pair| pair.get("state").is_some_and(|state| state == "running"));
    Ok(running.filter_map(|pair| pair.get("partition")?.as_u64()).collect())
}

/// An address that is free now. Another may take it until the worker binds it; then the run fails and says so.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn ask(page: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(page)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    Ok(body.to_owned())
}

/// A counter's sum over all its labels in a page of metrics.
fn counted(metrics: &str, counter: &str) -> u64 {
    let name = format!("longshore_{counter}{{");
    let values = metrics.lines().filter(|line| line.starts_with(&name));
    values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).map(|value| value as u64).sum()
}

/// Every whole number below `records` is the `seq` of one row in the files of a folder.
fn each_once(folder: &Path, records: u64) -> anyhow::Result<()> {
    let mut seen = vec![false; usize::try_from(records)?];
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            // What readers of such folders pass over: ledgers, and what is not published yet.
            if path.file_name().is_none_or(|name| name.to_string_lossy().starts_with(['_', '.'])) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            for line in BufReader::new(File::open(&path)?).lines() {
                let line = line?;
                let seq = seq_of(&line).with_context(|| format!("{}: no seq: {line}", path.display()))?;
                let seen = seen.get_mut(usize::try_from(seq)?).context("a seq that was not written")?;
                ensure!(!std::mem::replace(seen, true), "seq {seq} is there twice");
            }
        }
    }
    let missing = seen.iter().filter(|seen| !**seen).count();
    ensure!(missing == 0, "{missing} of {records} records are in no file");
    Ok(())
}

fn seq_of(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("\"seq\":")?;
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
