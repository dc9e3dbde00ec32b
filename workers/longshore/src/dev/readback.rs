//! Reads the topics back from the broker when all is done and leaves the evidence for the account.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use longshore_core::{Origin, Partition, TopicName};
use longshore_kafka::{Admin, KafkaOptions, ReadFrom, ReadRecord, ReadUntil, Reader};

use super::evidence::{self, Committed, Copy, Letter, Pipeline, Published, Run, digest};
use super::flood::Flood;
use super::pipelines::Prepared;
use crate::exit::{End, Exit};
use crate::output::Output;

/// How long the broker may keep silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Digest of each payload by where it stands.
type Payloads = HashMap<(i32, i64), Option<String>>;

/// Reads everything and writes `run.json` and the topics' files.
pub(crate) fn read_back(
    dir: &Path,
    options: &KafkaOptions,
    broker: &str,
    prepared: &[Prepared],
    published: &[u64],
    flood: &Flood,
    output: &Output,
) -> Result<Run, End> {
    let admin = Admin::new(options)?;
    let mut pipelines = Vec::new();
    for (pipeline, published) in prepared.iter().zip(published) {
        let flooded = pipeline.name == flood.pipeline;
        let payloads = input(dir, options, pipeline, output)?;
        letters(dir, options, pipeline, &payloads)?;
        copies(dir, options, pipeline, &payloads)?;
        pipelines.push(Pipeline {
            name: pipeline.name.to_owned(),
            demo: pipeline.demo,
            topic: pipeline.topic.to_owned(),
            letters: pipeline.letters.to_owned(),
            files: pipeline.files.clone(),
            parquet: pipeline.parquet,
            table: pipeline.table.as_ref().map(|table| table.name.clone()),
            published: *published,
            committed: committed(&admin, pipeline, pipeline.topic)?,
            retry: Some(pipeline.retry.to_owned()),
            retry_committed: committed(&admin, pipeline, pipeline.retry)?,
            rehearsal: pipeline.rehearsal,
            flood_from: if flooded { flood.from.clone() } else { Vec::new() },
        });
    }
    let run = Run { broker: broker.to_owned(), pipelines };
    let text = serde_json::to_string_pretty(&run).map_err(|error| End::new(Exit::Internal, error))?;
    std::fs::write(dir.join(evidence::RUN_FILE), text)?;
    Ok(run)
}

fn committed(admin: &Admin, pipeline: &Prepared, topic: &str) -> Result<Vec<Committed>, End> {
    let rows = admin.lag(&longshore_kafka::default_group(pipeline.name), &[topic.to_owned()])?;
    let row = |row: &longshore_kafka::LagRow| Committed {
        partition: row.partition,
        // An empty partition needs no commit.
        committed: row.committed.or((row.start == row.end).then_some(row.end)),
        end: row.end,
    };
    Ok(rows.iter().map(row).collect())
}

fn input(dir: &Path, options: &KafkaOptions, pipeline: &Prepared, output: &Output) -> Result<Payloads, End> {
    let mut writer = evidence::Writer::create(&evidence::topic_file(dir, pipeline.topic))?;
    let mut progress = output.progress(&format!("read back {}", pipeline.topic), None, "records");
    let mut payloads = Payloads::new();
    each(options, pipeline.topic, |record| {
        let value = record.value.as_deref();
        let (place, text) = match &pipeline.table {
            Some(_) => super::table::expect(pipeline.demo, value),
            None => pipeline.demo.expect(value),
        };
        writer.row(&Published {
            origin: origin(pipeline.topic, &record),
            key: record.key.as_deref().map(digest),
            place,
            text: text.map(|text| digest(text.as_bytes())),
        })?;
        payloads.insert((record.partition, record.offset), record.value.as_deref().map(digest));
        progress.tick(payloads.len() as u64);
        Ok(())
    })?;
    writer.finish()?;
    progress.finish();
    Ok(payloads)
}

fn letters(dir: &Path, options: &KafkaOptions, pipeline: &Prepared, payloads: &Payloads) -> Result<(), End> {
    let mut writer = evidence::Writer::create(&evidence::topic_file(dir, pipeline.letters))?;
    each(options, pipeline.letters, |record| {
        let (origin, payload_same) = identity(&record, payloads);
        let reason = header(&record, "longshore.reason").unwrap_or_default();
        writer.row(&Letter { origin, reason, replays: replays(&record), payload_same })
    })?;
    writer.finish()?;
    Ok(())
}

fn copies(dir: &Path, options: &KafkaOptions, pipeline: &Prepared, payloads: &Payloads) -> Result<(), End> {
    let mut writer = evidence::Writer::create(&evidence::topic_file(dir, pipeline.retry))?;
    each(options, pipeline.retry, |record| {
        let (origin, payload_same) = identity(&record, payloads);
        let reason = header(&record, "longshore.reason").unwrap_or_default();
        writer.row(&Copy { origin, reason, replays: replays(&record), payload_same })
    })?;
    writer.finish()?;
    Ok(())
}

/// The origin that a record's headers name, and whether it has that record's payload.
fn identity(record: &ReadRecord, payloads: &Payloads) -> (Option<Origin>, bool) {
    let origin = header(record, "longshore.origin").and_then(|text| text.parse::<Origin>().ok());
    let own = origin.as_ref().and_then(|origin| payloads.get(&(origin.partition.0, origin.offset.0)));
    let same = own.is_some_and(|own| *own == record.value.as_deref().map(digest));
    (origin, same)
}

fn replays(record: &ReadRecord) -> u32 {
    header(record, "longshore.replays").and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn header(record: &ReadRecord, name: &str) -> Option<String> {
    let found = record.headers.iter().find(|(known, _)| known == name.as_bytes())?;
    found.1.as_ref().and_then(|value| String::from_utf8(value.clone()).ok())
}

fn origin(topic: &str, record: &ReadRecord) -> Origin {
    Origin {
        topic: TopicName::new(topic),
        partition: Partition(record.partition),
        offset: longshore_core::Offset(record.offset),
        index: 0,
    }
}

/// Every record that stands in a topic now.
fn each(
    options: &KafkaOptions,
    topic: &str,
    mut visit: impl FnMut(ReadRecord) -> std::io::Result<()>,
) -> Result<(), End> {
    let mut reader = Reader::open(options, topic, ReadFrom::Start, ReadUntil::EndNow)?;
    while let Some(batch) = reader.next_batch(PATIENCE)? {
        if batch.is_empty() {
            return Err(End::new(
                Exit::Unavailable,
                format!("reading {topic} back: the broker keeps silent"),
            ));
        }
        for record in batch {
            visit(record)?;
        }
    }
    Ok(())
}
