//! `longshore publish`: files, folders or standard input to a topic, every record confirmed.

mod input;

use std::path::Path;
use std::time::{Duration, SystemTime};

use longshore_core::Failure;
use longshore_core::trace::TRACEPARENT;
use longshore_kafka as kafka;
use longshore_kafka::ProducerRecord;
use longshore_telemetry::Tracer;
use longshore_telemetry::trace::Story;

use super::common::traces::Spans;
use super::connection::{self, Target};
use crate::cli::{Compression, Publish, Unit};
use crate::exit::{End, Exit};
use crate::output::{Output, Progress, counted, grouped};

pub(crate) use input::Message;

/// Records that go out together: large enough to be quick, small enough to be confirmed smoothly.
const BATCH_RECORDS: usize = 1_000;
const BATCH_BYTES: usize = 512 * 1024;
/// Batches that may wait for their answer.
const BATCHES_WAITING: usize = 32;
/// How long the broker may keep silent before we give up.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(arguments: &Publish, output: &Output) -> Result<(), End> {
    let target = connection::target(&arguments.connection, output)?;
    let topic = target.topic(arguments.topic.as_deref())?;
    let keyed = arguments.key.is_some() || arguments.constant_key.is_some();
    if arguments.unit == Unit::Tombstone && keyed {
        return Err(End::new(Exit::Usage, "the lines of --unit tombstone are the keys: leave --key out"));
    }
    let files = input::expand(&arguments.paths)?;
    let total = input::stored_bytes(&files);
    let publisher = Publisher::new(&target, &topic, arguments.compression)?;
    let spans = if arguments.trace { Spans::start(&target.options, output) } else { Spans::none() };
    if arguments.trace && spans.tracer().is_none() {
        output.note(
            "--trace: tracing is off, so no record names a trace; next: set OTEL_EXPORTER_OTLP_ENDPOINT",
        );
    }
    let mut sending = publisher.start(output.progress(&format!("publish to {topic}"), None, "records"))?;
    sending.tracer = spans.tracer().cloned();
    for file in &files {
        input::read(file, arguments.unit, &mut |value| sending.send(message(arguments, file, value)?))?;
    }
    let sent = sending.finish();
    let lost = spans.finish();
    let sent = sent.map_err(|end| End { message: format!("{}{lost}", end.message), ..end })?;
    let rate = sent.records as f64 / sent.took.as_secs_f64().max(0.001);
    let stored = total.map_or(String::new(), |bytes| format!(" from {} bytes", grouped(bytes)));
    let (confirmed, seconds) = (counted(sent.records, "record"), sent.took.as_secs_f64());
    let rate = grouped(rate as u64);
    output.note(format_args!("{confirmed} confirmed{stored} in {seconds:.1} s, {rate}/s{lost}"));
    if output.format() != crate::cli::Format::Table {
        output.json(&serde_json::json!({"topic": topic, "confirmed": sent.records, "bytes": sent.bytes}))?;
    }
    Ok(())
}

/// A record, as the arguments want it.
fn message(arguments: &Publish, file: &Path, read: Vec<u8>) -> Result<Message, End> {
    Ok(match arguments.unit {
        Unit::Tombstone => Message { key: Some(read), value: None },
        Unit::Lines | Unit::File | Unit::Document => {
            Message { key: key(arguments, file, &read)?, value: Some(read) }
        }
    })
}

/// The key of a record with a value.
fn key(arguments: &Publish, file: &Path, value: &[u8]) -> Result<Option<Vec<u8>>, End> {
    if let Some(text) = &arguments.constant_key {
        return Ok(Some(text.clone().into_bytes()));
    }
    let Some(field) = &arguments.key else { return Ok(None) };
    // A line without the field, or no JSON at all, still has to reach the topic: its place is the dead letter there.
    let Ok(line) = serde_json::from_slice::<serde_json::Value>(value) else { return Ok(None) };
    let found = field.split('.').try_fold(&line, |at, name| at.get(name));
    match found {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(text.clone().into_bytes())),
        Some(other @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => {
            Ok(Some(other.to_string().into_bytes()))
        }
        Some(_) => {
            let place = file.display();
            Err(End::new(
                Exit::Data,
                format!("{place}: --key {field} is a list or an object; name a field inside it"),
            ))
        }
    }
}

/// What was sent and confirmed.
pub(crate) struct Sent {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
}

/// Publishes to one topic.
pub(crate) struct Publisher {
    producer: kafka::Producer,
    topic: String,
    runtime: tokio::runtime::Runtime,
}

impl Publisher {
    pub(crate) fn new(target: &Target, topic: &str, compression: Compression) -> Result<Self, End> {
        let tuning =
            kafka::ProducerTuning { compression: compression.into(), ..kafka::ProducerTuning::default() };
        let producer = kafka::Producer::new(&target.options, &kafka::ClientMemory::default(), &tuning)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        kafka::require_topic(&target.options, topic)?;
        Ok(Self { producer, topic: topic.to_owned(), runtime })
    }

    /// Begins to send.
    pub(crate) fn start(&self, progress: Progress) -> Result<Sending<'_>, End> {
        Ok(Sending {
            publisher: self,
            batch: Vec::with_capacity(BATCH_RECORDS),
            batch_bytes: 0,
            tracer: None,
            waiting: std::collections::VecDeque::new(),
            sent: Sent { records: 0, bytes: 0, took: Duration::ZERO },
            progress,
        })
    }
}

/// Records without an answer.
struct Waiting {
    ticket: kafka::BatchTicket,
    records: u64,
    /// The traced ones of them.
    stories: Vec<(usize, Story)>,
    since: SystemTime,
}

/// Records on their way.
pub(crate) struct Sending<'a> {
    publisher: &'a Publisher,
    batch: Vec<Message>,
    batch_bytes: usize,
    /// Starts the records' traces.
    tracer: Option<Tracer>,
    waiting: std::collections::VecDeque<Waiting>,
    sent: Sent,
    progress: Progress,
}

impl Sending<'_> {
    /// Takes a record; sends when a batch is full.
    pub(crate) fn send(&mut self, message: Message) -> Result<(), End> {
        self.batch_bytes += message.value_bytes() + message.key.as_ref().map_or(0, Vec::len);
        self.batch.push(message);
        if self.batch.len() >= BATCH_RECORDS || self.batch_bytes >= BATCH_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Sends what is left and waits until all is confirmed.
    pub(crate) fn finish(mut self) -> Result<Sent, End> {
        self.flush()?;
        while !self.waiting.is_empty() {
            self.settle()?;
        }
        self.sent.took = self.progress.finish();
        Ok(self.sent)
    }

    fn flush(&mut self) -> Result<(), End> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let since = SystemTime::now();
        let stories = self.stories();
        let named: Vec<(usize, String)> =
            stories.iter().filter_map(|(row, story)| Some((*row, story.header()?.to_string()))).collect();
        let headers: Vec<_> = named
            .iter()
            .map(|(row, trace)| (*row, [(TRACEPARENT.as_bytes(), Some(trace.as_bytes()))]))
            .collect();
        let mut records: Vec<ProducerRecord<'_>> = self.batch.iter().map(record).collect();
        for (row, headers) in &headers {
            records[*row].headers = headers;
        }
        let Publisher { producer, topic, runtime } = self.publisher;
        let send = producer.send_batch(topic, &records);
        let sent = runtime.block_on(async { tokio::time::timeout(PATIENCE, send).await });
        let ticket = sent.map_err(|_| self.silent())??;
        self.waiting.push_back(Waiting { ticket, records: self.batch.len() as u64, stories, since });
        self.sent.bytes += self.batch_bytes as u64;
        self.batch.clear();
        self.batch_bytes = 0;
        if self.waiting.len() > BATCHES_WAITING { self.settle() } else { Ok(()) }
    }

    /// The traces that begin with the batch.
    fn stories(&self) -> Vec<(usize, Story)> {
        let Some(tracer) = &self.tracer else { return Vec::new() };
        (0..self.batch.len()).filter_map(|row| Some((row, tracer.root()?))).collect()
    }

    fn tell_spans(&self, stories: &[(usize, Story)], since: SystemTime, failed: &[kafka::FailedRecord]) {
        let Some(tracer) = &self.tracer else { return };
        for (row, story) in stories {
            let failed = failed.iter().find(|failed| failed.row == *row);
            let failure: Option<&Failure> = failed.map(|failed| &failed.failure);
            tracer.send(story, &self.publisher.topic, since, None, failure);
        }
    }

    /// Waits for the answer to the oldest batch.
    fn settle(&mut self) -> Result<(), End> {
        let Some(Waiting { ticket, records, stories, since }) = self.waiting.pop_front() else {
            return Ok(());
        };
        let answered =
            self.publisher.runtime.block_on(async { tokio::time::timeout(PATIENCE, ticket).await });
        let failed = answered.map_err(|_| self.silent())??;
        self.tell_spans(&stories, since, &failed);
        if let Some(first) = failed.into_iter().next() {
            let end = End::from(first.failure);
            let confirmed = grouped(self.sent.records);
            return Err(End {
                message: format!("{} ({confirmed} records were confirmed before)", end.message),
                ..end
            });
        }
        self.sent.records += records;
        self.progress.tick(self.sent.records);
        Ok(())
    }

    fn silent(&self) -> End {
        match self.publisher.producer.trouble() {
            Some(failure) => failure.into(),
            None => {
                let (seconds, confirmed) = (PATIENCE.as_secs(), grouped(self.sent.records));
                let topic = &self.publisher.topic;
                let words = format!(
                    "no record of {topic} was acknowledged for {seconds} s ({confirmed} records were confirmed before)\n  \
                     next: has each partition a leader, and enough replicas in sync? kafka-topics --bootstrap-server BROKER \
                     --describe --topic {topic}"
                );
                End::new(Exit::Unavailable, words)
            }
        }
    }
}

fn record(message: &Message) -> ProducerRecord<'_> {
    ProducerRecord {
        partition: None,
        key: message.key.as_deref(),
        value: message.value.as_deref(),
        timestamp_ms: None,
        headers: &[],
    }
}
