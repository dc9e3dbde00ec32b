//! `longshore dev`: broker, two pipelines, worker processes, a kill -9 in the middle, and the account.

mod account;
mod again;
mod broker;
mod crew;
mod database;
mod evidence;
mod expect;
mod flood;
mod folder;
mod found;
mod generate;
mod interrupt;
mod kill;
mod parquet;
mod pipelines;
mod readback;
mod report;
mod serve;
mod table;
mod way;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore_kafka::{Admin, KafkaOptions, NewTopic, OwnTopic, OwnTopics, TopicInfo};
use longshore_settings::RetryOptions;

use crate::cli::{Compression, Dev, DevAction, DevStart};
use crate::commands::connection::Target;
use crate::commands::publish::{Message, Publisher};
use crate::exit::{End, Exit};
use crate::output::{Output, grouped};
use broker::Broker;
use crew::Worker;
use database::Database;
use expect::Rehearsal;
use flood::Flood;
use folder::Folder;
use pipelines::Prepared;

/// How long the backlog may take to drain after the last record is published.
const DRAIN_DEADLINE: Duration = Duration::from_secs(240);
/// How long a worker may take to stop after SIGTERM, by its own promise.
const STOP_DEADLINE: Duration = Duration::from_secs(26);
/// The embedded broker keeps 5 MiB a partition; more partitions spread the records.
const EMBEDDED_PARTITIONS: u32 = 32;
/// More generated lines than these would not fit the embedded broker.
const EMBEDDED_LINES_MAX: u64 = 400_000;
/// Bytes of real documents that fit the embedded broker however their keys fall.
const EMBEDDED_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;

pub(crate) fn run(arguments: Dev, output: &Output) -> Result<(), End> {
    match arguments.action {
        Some(DevAction::Verify { dir }) => verify(&dir, output),
        None if arguments.start.serve => serve::run(&arguments.start, output),
        None => demo(&arguments.start, output),
    }
}

/// Counts a finished run again.
fn verify(dir: &Path, output: &Output) -> Result<(), End> {
    let accounts = account::count(dir).map_err(|error| End::new(Exit::Data, format!("{error:#}")))?;
    report::print(&accounts, output)
}

fn demo(arguments: &DevStart, output: &Output) -> Result<(), End> {
    let started = Instant::now();
    let folder = Folder::fresh(&arguments.dir)?;
    let dir = folder.path();
    let broker = Broker::start(&arguments.broker, &dir.join("broker"), output)?;
    interrupt::end_on_signal(broker.container())?;
    let target = Target::broker(&broker.bootstrap());
    let rehearsal = arguments.fail.map(|share| Rehearsal::of(share.get()));
    let into = Into::wanted(&arguments.sink, output)?;
    let prepared = pipelines::write(dir, &broker.bootstrap(), rehearsal, &into)?;
    let input = gather(arguments, &broker, output)?;
    make_topics(&broker, &target.options, &prepared, arguments, output)?;

    let mut demo = Demo::start(arguments, dir, &target, prepared)?;
    output.note(format_args!(
        "workers: {} processes per pipeline, logs in {}",
        arguments.workers,
        demo.logs.display()
    ));
    let mut published = demo.publish_and_kill(arguments, input, output)?;
    demo.drain(output)?;
    let flood = if rehearsal.is_some() { demo.flood(arguments, output)? } else { Flood::default() };
    published[0] += flood.published;
    demo.stop(output)?;
    if rehearsal.is_some() {
        demo.mend_and_replay(dir, &broker.bootstrap(), output)?;
    }
    let run = readback::read_back(
        dir,
        &target.options,
        &broker.words(),
        &demo.prepared,
        &published,
        &flood,
        output,
    )?;
    if let Into::Tables(database) = &into {
        table::read_back(dir, database, &demo.prepared, output)?;
    }
    output.note(format_args!(
        "read back {} topics; counting from {} and topics alone\n",
        run.pipelines.len() * 3,
        into.words()
    ));
    let accounts = account::count(dir).map_err(|error| End::new(Exit::Data, format!("{error:#}")))?;
    let verdict = report::print(&accounts, output);
    output.note(format_args!(
        "{:.0} s in all; count again: longshore dev verify {}",
        started.elapsed().as_secs_f64(),
        dir.display()
    ));
    verdict
}

/// Where rows go.
pub(crate) enum Into {
    /// JSON lines.
    Files,
    /// Parquet in a folder.
    Parquet,
    /// Tables of a database.
    Tables(Box<Database>),
}

impl Into {
    /// What `--sink` asks for.
    fn wanted(sink: &str, output: &Output) -> Result<Self, End> {
        match sink {
            "files" => Ok(Self::Files),
            "parquet" if cfg!(feature = "objects") => Ok(Self::Parquet),
            "parquet" => {
                let words = "--sink: this build was made without the feature `objects`";
                Err(End::new(Exit::Configuration, words))
            }
            database => Ok(Self::Tables(Box::new(Database::wanted(database, output)?))),
        }
    }

    /// What the account is counted from.
    fn words(&self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Parquet => "Parquet files",
            Self::Tables(_) => "tables",
        }
    }
}

/// What goes in: generated and real log lines, real documents.
struct Input {
    lines: Box<dyn Iterator<Item = Message> + Send>,
    line_count: u64,
    documents: Vec<Message>,
}

fn gather(arguments: &DevStart, broker: &Broker, output: &Output) -> Result<Input, End> {
    let embedded = matches!(broker, Broker::Embedded(_));
    if embedded && arguments.lines > EMBEDDED_LINES_MAX {
        let most = grouped(EMBEDDED_LINES_MAX);
        return Err(End::new(
            Exit::Usage,
            format!("the embedded broker holds {most} lines at most: lower --lines"),
        ));
    }
    let real = found::log_lines(&found::log_files(broker.log().as_deref()));
    let documents = found::documents(&found::document_roots());
    let documents = if embedded { first_bytes(documents, EMBEDDED_DOCUMENT_BYTES) } else { documents };
    output.note(format_args!(
        "input: {} generated log lines (0.1 % broken), {} real ones, {} real documents",
        grouped(arguments.lines),
        grouped(real.len() as u64),
        grouped(documents.len() as u64)
    ));
    let line_count = arguments.lines + real.len() as u64;
    let lines = Box::new(generate::lines(arguments.seed, arguments.lines).chain(real));
    Ok(Input { lines, line_count, documents })
}

/// The first records that fit so many bytes.
fn first_bytes(messages: Vec<Message>, bytes: usize) -> Vec<Message> {
    let mut left = bytes;
    let fits = |message: &Message| {
        let fits = message.value_bytes() <= left;
        left = left.saturating_sub(message.value_bytes());
        fits
    };
    messages.into_iter().take_while(fits).collect()
}

fn make_topics(
    broker: &Broker,
    options: &KafkaOptions,
    prepared: &[Prepared],
    arguments: &DevStart,
    output: &Output,
) -> Result<(), End> {
    let partitions = match broker {
        Broker::Embedded(_) => arguments.partitions.max(EMBEDDED_PARTITIONS),
        _ => arguments.partitions,
    };
    let topics: Vec<NewTopic> =
        prepared.iter().flat_map(|pipeline| topics_of(pipeline, partitions)).collect();
    if let Broker::Embedded(embedded) = broker {
        for topic in &topics {
            embedded.create_topic(&topic.name, topic.partitions as i32)?;
        }
        output
            .note("the embedded broker knows no settings of topics: retry topics and dead letters have none");
        return Ok(());
    }
    let admin = Admin::new(options)?;
    let there = |found: &TopicInfo| topics.iter().any(|topic| topic.name == found.name);
    if let Some(found) = admin.topics()?.into_iter().find(there) {
        let words = "holds a topic of an earlier demo; delete it, or let the demo start its own broker";
        return Err(End::new(Exit::Configuration, format!("the broker {words}: {}", found.name)));
    }
    admin.create_topics(&topics)?;
    let inputs = prepared.len();
    output.note(format_args!(
        "topics: {inputs} with {partitions} partitions each, and retry, dead-letter and journal topics beside them"
    ));
    Ok(())
}

/// The input of a demo's pipeline and the pipeline's own topics.
fn topics_of(pipeline: &Prepared, partitions: u32) -> Vec<NewTopic> {
    let own = OwnTopics {
        pipeline: pipeline.name.to_owned(),
        inputs: vec![pipeline.topic.to_owned()],
        retry_cap: Some(RetryOptions::default().cap.get()),
    };
    let mut topics = vec![NewTopic::new(pipeline.topic, partitions)];
    let own = own.wanted(&[(pipeline.topic.to_owned(), None)], partitions);
    topics.extend(own.iter().map(OwnTopic::new_topic));
    topics
}

/// A demo at work.
struct Demo<'a> {
    target: &'a Target,
    prepared: Vec<Prepared>,
    crews: Vec<Vec<Worker>>,
    logs: PathBuf,
}

impl<'a> Demo<'a> {
    fn start(
        arguments: &DevStart,
        dir: &Path,
        target: &'a Target,
        prepared: Vec<Prepared>,
    ) -> Result<Self, End> {
        let logs = dir.join("logs");
        std::fs::create_dir_all(&logs)?;
        let mut crews = Vec::new();
        for pipeline in &prepared {
            let start = |number| Worker::start(&format!("{}-{number}", pipeline.name), &pipeline.file, &logs);
            crews.push((1..=arguments.workers).map(start).collect::<anyhow::Result<Vec<_>>>()?);
        }
        Ok(Self { target, prepared, crews, logs })
    }

    /// Publishes both inputs at once while a worker is killed; how many records of each pipeline were confirmed.
    fn publish_and_kill(
        &mut self,
        arguments: &DevStart,
        input: Input,
        output: &Output,
    ) -> Result<Vec<u64>, End> {
        let (logs, documents) = (self.prepared[0].topic, self.prepared[1].topic);
        let target = self.target;
        let (sent_lines, sent_documents, killed) = std::thread::scope(|scope| {
            let lines = scope.spawn(move || publish(target, logs, input.lines, input.line_count, output));
            let count = input.documents.len() as u64;
            let documents =
                scope.spawn(move || publish(target, documents, input.documents.into_iter(), count, output));
            let killed = self.kill(arguments, output);
            (lines.join(), documents.join(), killed)
        });
        killed?;
        let panicked = || End::new(Exit::Internal, "a publisher panicked");
        Ok(vec![sent_lines.map_err(|_| panicked())??, sent_documents.map_err(|_| panicked())??])
    }

    /// Kills a worker of the first pipeline and starts another in its place.
    fn kill(&mut self, arguments: &DevStart, output: &Output) -> Result<(), End> {
        let pipeline = &self.prepared[0];
        let mut next = arguments.workers;
        for _ in 0..kill::TRIES_MAX {
            let seen = kill::kill_one(&self.target.options, pipeline, &mut self.crews[0])?;
            output.note(format_args!("{}", seen.words()));
            next += 1;
            let name = format!("{}-{next}", pipeline.name);
            self.crews[0].push(Worker::start(&name, &pipeline.file, &self.logs)?);
            output.note(format_args!("started {name} in its place"));
            if seen.read_again > 0 {
                return Ok(());
            }
            output.note("nothing has to be read again, so the kill showed nothing: once more");
        }
        let words = format!("{} kills in a row caught no unsettled record", kill::TRIES_MAX);
        Err(End::new(Exit::Failed, words))
    }

    /// Waits until every group has committed the ends of its input and of its retry topic.
    fn drain(&mut self, output: &Output) -> Result<(), End> {
        let admin = Admin::new(&self.target.options)?;
        let deadline = Instant::now() + DRAIN_DEADLINE;
        let mut progress: Option<(u64, crate::output::Progress)> = None;
        loop {
            let mut lag = 0;
            for pipeline in &self.prepared {
                let group = longshore_kafka::default_group(pipeline.name);
                lag += admin
                    .lag(&group, &[pipeline.topic.to_owned(), pipeline.retry.to_owned()])?
                    .iter()
                    .map(|row| row.end - row.committed.unwrap_or(row.start))
                    .sum::<i64>() as u64;
            }
            for worker in self.crews.iter_mut().flatten() {
                worker.check()?;
            }
            if lag == 0 {
                break;
            }
            let (total, bar) = progress
                .get_or_insert_with(|| (lag, output.progress("wait for lag 0", Some(lag), "records")));
            bar.tick(total.saturating_sub(lag));
            if Instant::now() > deadline {
                let words =
                    format!("{} records still wait after {} s", grouped(lag), DRAIN_DEADLINE.as_secs());
                return Err(End::new(Exit::Failed, format!("{words}; logs: {}", self.logs.display())));
            }
            // A group's offsets can only be asked for; this is short against a drain and cheap for the broker.
            std::thread::sleep(Duration::from_millis(100));
        }
        if let Some((_, bar)) = progress {
            bar.finish();
        }
        output.note("lag is 0: everything is committed, and nothing waits in a retry topic");
        Ok(())
    }

    /// Stops all workers by SIGTERM; each has to end in time and with code 0.
    fn stop(&mut self, output: &Output) -> Result<(), End> {
        let began = Instant::now();
        let mut workers: Vec<Worker> = self.crews.drain(..).flatten().collect();
        for worker in &mut workers {
            worker.terminate();
        }
        for worker in &mut workers {
            match worker.ended(STOP_DEADLINE.saturating_sub(began.elapsed())) {
                Some(status) if status.success() => {}
                Some(status) => {
                    return Err(End::new(
                        Exit::Failed,
                        format!("worker {} ended with {status}", worker.name),
                    ));
                }
                None => {
                    return Err(End::new(
                        Exit::Failed,
                        format!("worker {} did not stop in time", worker.name),
                    ));
                }
            }
        }
        output.note(format_args!(
            "{} workers stopped within {:.1} s",
            workers.len(),
            began.elapsed().as_secs_f64()
        ));
        Ok(())
    }
}

fn publish(
    target: &Target,
    topic: &str,
    messages: impl Iterator<Item = Message>,
    count: u64,
    output: &Output,
) -> Result<u64, End> {
    let publisher = Publisher::new(target, topic, Compression::Lz4)?;
    let mut sending =
        publisher.start(output.progress(&format!("publish to {topic}"), Some(count), "records"))?;
    for message in messages {
        sending.send(message)?;
    }
    let sent = sending.finish()?;
    let (records, seconds) = (grouped(sent.records), sent.took.as_secs_f64());
    output.note(format_args!("published {records} records to {topic} in {seconds:.1} s, all confirmed"));
    Ok(sent.records)
}
