//! `longshore retry now`: waiting records are made due.
//!
//! A copy of the same bytes with the same identity and rank, and without `not-before`, goes to the end of the record's retry
//! partition. Of two copies of equal rank the later one counts, so the worker takes this one instead of the one that waits; a
//! key's order is that of the input, so a parked record does not overtake the one before it. Whatever happened to the record
//! meanwhile, a copy too many is dropped by rank or by the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_core::headers::{LetterHeaders, is_kept};
use longshore_core::journal::{Counts, RunKind, RunState};
use longshore_core::letter::LetterRef;
use longshore_kafka as kafka;
use longshore_kafka::{OwnedRecord, Producer, ProducerRecord, ReadFrom, ReadUntil, Reader, RecordView};
use serde_json::json;
use tokio::runtime::Runtime;

use super::backlog::{PairKey, copy_of};
use super::ls::{failures, firsts};
use super::{Backlog, Lanes, Waiting};
use crate::cli::Format;
use crate::cli::retry::RetryNow;
use crate::commands::common::answer::{runtime, wait};
use crate::commands::common::ask::{Answer, ask};
use crate::commands::common::choose::Choice;
use crate::commands::common::run::new_run;
use crate::commands::common::watch::Watch;
use crate::commands::common::when;
use crate::commands::common::writer::Writer;
use crate::commands::connection;
use crate::exit::{End, Exit};
use crate::output::{Output, counted, grouped};

/// How long one look for records takes.
const LOOK: Duration = Duration::from_millis(500);

pub(super) fn run(arguments: &RetryNow, output: &Output) -> Result<(), End> {
    let choice = Choice::of(&arguments.meant.filter, &arguments.meant.reason)?;
    let why = "its group says where its retry topic is read from";
    let (loaded, options) = connection::pipeline(&arguments.connection, why, output)?;
    let name = &loaded.pipeline.pipeline;
    let Some(lanes) = Lanes::of(&loaded.pipeline, &options) else {
        let words =
            format!("{name} has no retry topic: its records wait in the worker, which nobody can reach");
        return Err(End::new(Exit::Failed, words));
    };
    let now = when::now_ms();
    let backlog = Backlog::read(&lanes, &choice, now, output)?;
    let plan = Plan::of(&backlog, choice.filter().limit, now);
    show(&plan, &backlog, &lanes, arguments.consent.dry_run, output)?;
    if plan.copies.is_empty() {
        output.note("nothing to make due");
        return Ok(());
    }
    let selected = plan.copies.len() as u64;
    if ask(arguments.consent, &format!("Make {} due now?", counted(selected, "record")))? == Answer::Leave {
        output.note("nothing was sent");
        return Ok(());
    }
    let runtime = runtime()?;
    let writer = Writer::open(&options, &kafka::journal_topic(name))?;
    let counts = Counts { selected, by_reason: plan.by_reason.clone(), ..Counts::default() };
    let mut run = new_run(RunKind::RetryNow, choice.filter(), &lanes.names(), counts);
    // Noted before and after, so that an audit misses nobody.
    writer.run(&runtime, &mut run)?;
    let sent = Sender::new(&lanes, &runtime, output)?.send(&plan, &mut run.counts);
    run.state = if sent.is_ok() { RunState::Done } else { RunState::Cancelled };
    writer.run(&runtime, &mut run)?;
    sent?;
    if output.format() != Format::Table {
        output.json(&run)?;
    }
    let handled = grouped(run.counts.handled);
    let mut words =
        format!("retry now {}: {handled} of {} sent and confirmed", run.id, counted(selected, "record"));
    if run.counts.gone > 0 {
        words.push_str(&format!("; {} gone from the topic meanwhile", grouped(run.counts.gone)));
    }
    if run.counts.refused > 0 {
        words.push_str(&format!(
            "; {} refused by the broker, they wait as before",
            grouped(run.counts.refused)
        ));
        return Err(End::new(Exit::Data, words));
    }
    output.note(words);
    Ok(())
}

/// What would be done.
#[derive(Debug, Default)]
struct Plan<'a> {
    /// The copies to be sent again, by pair and their offset.
    copies: BTreeMap<(&'a PairKey, i64), &'a Waiting>,
    by_reason: BTreeMap<String, u64>,
    /// Meant, and due already.
    due: u64,
    /// Of those: records that an earlier one of their key keeps back.
    due_behind: u64,
    /// Among those that are sent or due: records that an earlier one of their key keeps back.
    behind: u64,
}

impl<'a> Plan<'a> {
    fn of(backlog: &'a Backlog, limit: Option<u64>, now: i64) -> Self {
        let mut plan = Self::default();
        for (pair, _, waiting) in backlog.chosen(limit) {
            plan.behind += u64::from(waiting.behind);
            if waiting.due_ms <= now {
                plan.due += 1;
                plan.due_behind += u64::from(waiting.behind);
                continue;
            }
            *plan.by_reason.entry(backlog.reasons[waiting.reason].clone()).or_default() += 1;
            plan.copies.insert((pair, waiting.copy), waiting);
        }
        plan
    }
}

fn show(
    plan: &Plan<'_>,
    backlog: &Backlog,
    lanes: &Lanes,
    dry_run: bool,
    output: &Output,
) -> Result<(), End> {
    let (selected, all) = (plan.copies.len() as u64, backlog.iter().count() as u64);
    failures(backlog, output);
    if output.format() != Format::Table {
        if dry_run {
            output.json(&json!({
                "selected": selected,
                "waiting": all,
                "by_reason": plan.by_reason,
                "due_already": plan.due,
                "parked": plan.behind,
                "condition_failed": backlog.condition_failed,
            }))?;
        }
        return Ok(());
    }
    let waits = if all == 1 { "waits" } else { "wait" };
    output.line(format_args!(
        "make {} due now, of {} that {waits} in {}",
        counted(selected, "record"),
        grouped(all),
        lanes.names().join(", ")
    ));
    for (reason, count) in &plan.by_reason {
        output.line(format_args!("  {:>10}  {reason}", grouped(*count)));
    }
    let line = |name: &str, text: String| output.line(format_args!("{name:<10} {text}"));
    // A record that is parked has no time of its own.
    let due = plan.due - plan.due_behind;
    if due > 0 {
        line("not sent", format!("{} due already", grouped(due)));
    }
    if plan.behind > 0 {
        line(
            "parked",
            format!("{} behind an earlier record of their key, which is tried first", grouped(plan.behind)),
        );
    }
    line("repeats", "the same records again: the rank and the ledger drop what is too much".to_owned());
    Ok(())
}

/// Sends copies again.
struct Sender<'a> {
    lanes: &'a Lanes,
    runtime: &'a Runtime,
    producer: Producer,
    output: &'a Output,
}

impl<'a> Sender<'a> {
    fn new(lanes: &'a Lanes, runtime: &'a Runtime, output: &'a Output) -> Result<Self, End> {
        let tuning = kafka::ProducerTuning::default();
        let producer = Producer::new(&lanes.options, &kafka::ClientMemory::default(), &tuning)?;
        Ok(Self { lanes, runtime, producer, output })
    }

    fn send(&self, plan: &Plan<'_>, counts: &mut Counts) -> Result<(), End> {
        for (input, topic) in &self.lanes.topics {
            let places = plan.copies.keys().filter(|(pair, _)| pair.0 == *input);
            let from = firsts(places.map(|(pair, copy)| (pair.1, *copy)));
            if from.is_empty() {
                continue;
            }
            let mut reader = Reader::open(&self.lanes.options, topic, ReadFrom::At(from), ReadUntil::EndNow)?;
            let mut watch = Watch::new(topic, reader.offsets_at_open(), "copies", self.output);
            loop {
                let mut batch = Vec::new();
                let visited = reader.visit_batch(LOOK, &mut |record| {
                    let pair = (input.clone(), record.partition());
                    if plan.copies.contains_key(&(&pair, record.offset())) {
                        batch.extend(again(topic, input, record));
                    }
                })?;
                self.give(topic, &batch, counts)?;
                match visited {
                    None => break,
                    Some(records) => watch.went_on(records as u64)?,
                }
            }
            watch.finish();
        }
        counts.gone = counts.selected.saturating_sub(counts.handled + counts.refused);
        Ok(())
    }

    /// Gives copies to the broker and waits until it has them.
    fn give(&self, topic: &str, batch: &[OwnedRecord], counts: &mut Counts) -> Result<(), End> {
        let headers: Vec<_> = batch.iter().map(OwnedRecord::header_list).collect();
        let records: Vec<ProducerRecord<'_>> =
            batch.iter().zip(&headers).map(|(record, headers)| record.as_ref(headers)).collect();
        let mut at = 0;
        while at < records.len() {
            let part = &records[at..at + self.producer.fitting(&records[at..])];
            let sent = async { self.producer.send_batch(topic, part).await?.await };
            let failed = wait(self.runtime, &self.producer, topic, sent)?;
            counts.handled += (part.len() - failed.len()) as u64;
            for failed in failed {
                match failed.failure.class {
                    longshore_core::Class::Reject => {
                        counts.refused += 1;
                        self.output.note(format_args!("{topic}: {}", failed.failure));
                    }
                    longshore_core::Class::Retry { .. } | longshore_core::Class::Halt => {
                        return Err(failed.failure.into());
                    }
                }
            }
            at += part.len();
        }
        Ok(())
    }
}

/// The same copy without its time; none when it is not what the plan saw.
fn again(topic: &str, input: &str, record: RecordView<'_>) -> Option<OwnedRecord> {
    let mut letter = LetterRef::default();
    record.headers(|name, value| letter.take(name, value));
    let said = LetterHeaders { not_before_ms: None, ..copy_of(&letter, input, record.partition())? };
    let mut headers = Vec::new();
    record.headers(|name, value| {
        if is_kept(name, value) {
            headers.push((name.to_vec(), value.map(<[u8]>::to_vec)));
        }
    });
    let ours = said.encode().into_iter();
    headers.extend(ours.map(|(name, value)| (name.as_bytes().to_vec(), Some(value.into_bytes()))));
    Some(OwnedRecord {
        topic: topic.to_owned(),
        partition: Some(record.partition()),
        key: record.key().map(<[u8]>::to_vec),
        value: record.value().map(<[u8]>::to_vec),
        timestamp_ms: None,
        headers,
    })
}
