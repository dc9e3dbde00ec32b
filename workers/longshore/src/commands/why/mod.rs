//! `longshore why TOPIC/PARTITION/OFFSET`: the whole life of one record, told from the broker, the sinks' files and the journal.
//! Nothing is asked of a worker, so it answers when all of them are down.

mod computed;
mod facts;
mod told;

use std::time::Duration;

use longshore_core::Origin;
use longshore_core::letter::LetterRef;
use longshore_kafka::{
    Admin, KafkaOptions, ReadFrom, ReadRecord, ReadUntil, Reader, dead_letter_topic, retry_topic,
};
use longshore_settings::Pipeline;

use self::facts::Facts;
use self::told::{Show, Told};
use crate::cli::Format;
use crate::cli::why::Why;
use crate::commands::common::journal::unanswered;
use crate::commands::connection;
use crate::exit::{End, Exit};
use crate::output::Output;

/// How long one record may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(arguments: &Why, output: &Output) -> Result<(), End> {
    let asked = place(&arguments.id)?;
    let why = "it says where its records can be";
    let (loaded, options) = connection::pipeline(&arguments.connection, why, output)?;
    let show = Show { key: true, payload: arguments.raw };
    let told = tell(&asked, &loaded.pipeline, &options, show, output)?;
    match output.format() {
        Format::Table => told.print(output),
        Format::Json => output.json(&told.json())?,
        Format::Ndjson => output.line(told.json()),
    }
    // The sentence was said already.
    if told.found { Ok(()) } else { Err(End::new(Exit::Failed, "")) }
}

/// The life of a record for whoever asks a worker: without `raw` neither its payload nor its key.
pub(crate) fn answer(
    id: &str,
    pipeline: &Pipeline,
    options: &KafkaOptions,
    raw: bool,
    output: &Output,
) -> Result<serde_json::Value, End> {
    // Payloads are shown with their letters.
    let show = Show { key: raw, payload: false };
    Ok(tell(&place(id)?, pipeline, options, show, output)?.json())
}

fn tell(
    asked: &Origin,
    pipeline: &Pipeline,
    options: &KafkaOptions,
    show: Show,
    output: &Output,
) -> Result<Told, End> {
    let admin = Admin::new(options)?;
    let (origin, of) = origin(asked, pipeline, options, &admin)?;
    let facts = Facts::gather(&origin, pipeline, options, &admin, output)?;
    Ok(Told::of(&origin, of, &facts, pipeline, show))
}

/// What was typed.
fn place(text: &str) -> Result<Origin, End> {
    let whole = if text.matches('/').count() == 2 { format!("{text}/0") } else { text.to_owned() };
    whole.parse().map_err(|_| {
        let words =
            "expected TOPIC/PARTITION/OFFSET of a record, of its copy in the retry topic, or of its letter";
        End::new(Exit::Usage, format!("{text}: {words}"))
    })
}

/// Whose life is meant, and what was asked for if that is not the record itself.
fn origin(
    asked: &Origin,
    pipeline: &Pipeline,
    options: &KafkaOptions,
    admin: &Admin,
) -> Result<(Origin, Option<&'static str>), End> {
    let (name, inputs) = (&pipeline.pipeline, &pipeline.input.topics);
    let topic = asked.topic.as_str();
    let what = if inputs.iter().any(|input| input == topic) {
        None
    } else if inputs.iter().any(|input| retry_topic(input, name) == topic) {
        Some("copy")
    } else if inputs.iter().any(|input| dead_letter_topic(input, name) == topic) {
        Some("letter")
    } else {
        let words = format!(
            "{topic} is no topic of pipeline {name}\n  next: name a record of {}, or of its retry or dead-letter topic",
            inputs.join(", ")
        );
        return Err(End::new(Exit::Usage, words));
    };
    let places = admin.offsets(topic)?;
    if !places.iter().any(|place| place.partition == asked.partition.0) {
        let words = format!("{topic} has {} partitions, from 0", places.len());
        return Err(End::new(Exit::Usage, words));
    }
    let Some(what) = what else { return Ok((Origin { index: 0, ..asked.clone() }, None)) };
    let record = record_at(options, admin, asked)?;
    let record = record.ok_or_else(|| {
        let words = "holds no record: never written, or gone by retention or `dlq trim`";
        End::new(Exit::Failed, format!("{topic}/{}/{} {words}", asked.partition, asked.offset))
    })?;
    let letter =
        LetterRef::of(record.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())));
    match letter.place() {
        Ok(Some(place)) if inputs.iter().any(|input| input == place.topic) => {
            Ok((Origin { index: 0, ..place.to_origin() }, Some(what)))
        }
        Ok(Some(_) | None) | Err(_) => {
            let words =
                "no header of it names a record of this pipeline's input: it is known by its own place alone";
            let next = "\n  next: longshore dlq show, for a letter";
            Err(End::new(
                Exit::Failed,
                format!("{topic}/{}/{}: {words}{next}", asked.partition, asked.offset),
            ))
        }
    }
}

/// The record at a place; none when there is none.
fn record_at(options: &KafkaOptions, admin: &Admin, at: &Origin) -> Result<Option<ReadRecord>, End> {
    let (topic, partition, offset) = (at.topic.as_str(), at.partition.0, at.offset.0);
    let places = admin.offsets(topic)?;
    let there =
        places.iter().any(|place| place.partition == partition && (place.start..place.end).contains(&offset));
    if !there {
        return Ok(None);
    }
    let mut reader =
        Reader::open(options, topic, ReadFrom::At(vec![(partition, offset)]), ReadUntil::EndNow)?;
    match reader.next_batch(PATIENCE)? {
        Some(records) if records.is_empty() => Err(unanswered(topic)),
        Some(records) => Ok(records.into_iter().next().filter(|found| found.offset == offset)),
        None => Ok(None),
    }
}
