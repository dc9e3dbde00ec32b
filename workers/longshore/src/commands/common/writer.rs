//! Writes a run's records to the journal, and watches whether somebody else took the run over.

use std::time::Duration;

use longshore_core::journal::{BlockKey, Key, Marks, Run, RunState};
use longshore_kafka as kafka;
use longshore_kafka::{Producer, ProducerRecord, ReadFrom, ReadUntil, Reader};
use tokio::runtime::Runtime;

use super::answer::wait;
use super::when;
use crate::exit::{End, Exit};

/// Blocks of one write: the largest takes half a megabyte.
const BLOCKS_AT_ONCE: usize = 8;

/// Why a process must let go of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relief {
    /// Another process goes on with it.
    Taken,
    /// Somebody gave it up.
    Cancelled,
}

/// What kind of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Selected,
    Handled,
}

/// The journal, to be written to.
pub(crate) struct Writer {
    topic: String,
    producer: Producer,
    tail: Reader,
}

impl Writer {
    /// Opens the journal; what others write from now on is seen by [`Self::relieved`].
    pub(crate) fn open(options: &kafka::KafkaOptions, topic: &str) -> Result<Self, End> {
        let tail = Reader::open(options, topic, ReadFrom::End, ReadUntil::Forever).map_err(|failure| {
            let end = End::from(failure);
            let missing = end.code == Exit::Configuration;
            let hint = if missing { "\n  next: longshore topics apply PIPELINE" } else { "" };
            End { message: format!("{}{hint}", end.message), ..end }
        })?;
        let tuning = kafka::ProducerTuning { linger: Duration::ZERO, ..kafka::ProducerTuning::default() };
        let producer = Producer::new(options, &options.buffers.unwrap_or_default(), &tuning)?;
        Ok(Self { topic: topic.to_owned(), producer, tail })
    }

    /// Writes a run as it is now.
    pub(crate) fn run(&self, runtime: &Runtime, run: &mut Run) -> Result<(), End> {
        run.updated_ms = when::now_ms();
        let value = json(run)?;
        self.put(runtime, &[(Key::Run(run.id.clone()).to_string(), Some(value))])
    }

    /// Writes the blocks at these places as they are now; a block without letters is taken away.
    pub(crate) fn blocks(
        &self,
        runtime: &Runtime,
        run: &str,
        which: Which,
        marks: &Marks,
        places: &[(String, i32, i64)],
    ) -> Result<(), End> {
        for places in places.chunks(BLOCKS_AT_ONCE) {
            let mut list = Vec::with_capacity(places.len());
            for (topic, partition, base) in places {
                let block = marks.block(topic, *partition, *base);
                let key = BlockKey {
                    run: run.to_owned(),
                    topic: topic.clone(),
                    partition: *partition,
                    base: *base,
                };
                let key = match which {
                    Which::Selected => Key::Selected(key),
                    Which::Handled => Key::Handled(key),
                };
                let value = if block.runs.is_empty() { None } else { Some(json(&block)?) };
                list.push((key.to_string(), value));
            }
            self.put(runtime, &list)?;
        }
        Ok(())
    }

    /// Takes keys away.
    pub(crate) fn forget(&self, runtime: &Runtime, keys: &[Key]) -> Result<(), End> {
        let list: Vec<_> = keys.iter().map(|key| (key.to_string(), None)).collect();
        list.chunks(1_000).try_for_each(|part| self.put(runtime, part))
    }

    /// Writes records in order and waits until the broker has them.
    fn put(&self, runtime: &Runtime, list: &[(String, Option<Vec<u8>>)]) -> Result<(), End> {
        let records: Vec<_> = list
            .iter()
            .map(|(key, value)| ProducerRecord {
                partition: None,
                key: Some(key.as_bytes()),
                value: value.as_deref(),
                timestamp_ms: None,
                headers: &[],
            })
            .collect();
        if records.is_empty() {
            return Ok(());
        }
        let sent = async { self.producer.send_batch(&self.topic, &records).await?.await };
        let failed = wait(runtime, &self.producer, &self.topic, sent)?;
        failed.into_iter().next().map_or(Ok(()), |failed| Err(failed.failure.into()))
    }

    /// Whether somebody else has written this run since the journal was opened. Asks nobody, so what was written a moment
    /// ago may be seen the next time only.
    pub(crate) fn relieved(&mut self, run: &Run) -> Result<Option<Relief>, End> {
        let key = Key::Run(run.id.clone()).to_string();
        let mut relief = None;
        loop {
            let visited = self.tail.visit_batch(Duration::ZERO, &mut |record| {
                if record.key() != Some(key.as_bytes()) {
                    return;
                }
                let written = record.value().and_then(|value| serde_json::from_slice::<Run>(value).ok());
                relief = match written {
                    Some(other) if other.state == RunState::Cancelled => Some(Relief::Cancelled),
                    Some(other) if other.writer != run.writer => Some(Relief::Taken),
                    Some(_) => relief,
                    None => Some(Relief::Cancelled),
                };
            })?;
            if visited.unwrap_or(0) == 0 {
                return Ok(relief);
            }
        }
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, End> {
    serde_json::to_vec(value).map_err(|error| End::new(Exit::Internal, error))
}
