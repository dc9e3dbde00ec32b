//! The steps, run once more on the record of the input: what a worker with this pipeline file would do with it now.

use longshore_core::headers::is_ours;
use longshore_core::item::Flow;
use longshore_core::{ChunkBuilder, Epoch, Item, Lane, Offset, PairId, RecordRef};
use longshore_kafka::ReadRecord;
use longshore_runtime::AnyStep;
use longshore_settings::Pipeline;

use crate::exit::End;
use crate::worker::plan::{steps_of, when};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Computed {
    /// A step filters it, all of it: step and rule.
    Filtered { step: String, rule: String },
    /// A step or a condition refuses it: step and reason.
    Failed { at: String, reason: String, detail: String },
    /// It goes to these sinks; none when no `when` takes it. `waits` names steps that were left out.
    Routed { sinks: Vec<String>, waits: Vec<String> },
}

/// Runs the steps. Steps that wait for something outside are left out.
pub(super) fn run(record: &ReadRecord, topic: &str, pipeline: &Pipeline) -> Result<Computed, End> {
    let steps = steps_of(pipeline)?;
    let (mut items, mut waits) = (vec![item(record, topic)], Vec::new());
    let mut filtered = None;
    for step in &steps {
        let AnyStep::Pure(step) = step else {
            waits.push(step.name().to_owned());
            continue;
        };
        let mut next = Vec::new();
        for mut item in items {
            match step.apply(&mut item) {
                Ok(Flow::Keep) => next.push(item),
                Ok(Flow::Drop(rule)) => filtered = Some((step.name().to_owned(), rule.0.to_string())),
                Ok(Flow::Split(children)) => next.extend(children),
                Err(failure) => return Ok(failed(step.name(), &failure)),
            }
        }
        items = next;
        if items.is_empty() {
            let (step, rule) = filtered.unwrap_or_else(|| (step.name().to_owned(), "split.empty".to_owned()));
            return Ok(Computed::Filtered { step, rule });
        }
    }
    let mut sinks = Vec::new();
    for sink in &pipeline.sinks {
        let condition = when(sink)?;
        let mut takes = false;
        for item in &items {
            match condition.as_ref().map_or(Ok(true), |condition| condition.matches(item)) {
                Ok(matches) => takes |= matches,
                Err(failure) => return Ok(failed(&sink.name, &failure)),
            }
        }
        if takes {
            sinks.push(sink.name.clone());
        }
    }
    Ok(Computed::Routed { sinks, waits })
}

fn failed(at: &str, failure: &longshore_core::Failure) -> Computed {
    let (reason, detail) = (failure.reason.code().to_owned(), failure.detail().to_owned());
    Computed::Failed { at: at.to_owned(), reason, detail }
}

/// The record as a worker reads it: what others wrote into our headers does not count.
fn item(record: &ReadRecord, topic: &str) -> Item {
    let mut builder = ChunkBuilder::new(PairId::new(topic, record.partition), Lane::Input, Epoch(0));
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    builder.record(Offset(record.offset), record.timestamp_ms, key, value);
    for (name, value) in record.headers.iter().filter(|(name, _)| !is_ours(name)) {
        builder.header(name, value.as_deref());
    }
    match RecordRef::new(&builder.build(None), 0) {
        Some(source) => Item::new(source),
        None => unreachable!("the chunk was built with one record"),
    }
}
