//! Sends the letters of a run, batch after batch, and notes in the journal what the broker has confirmed.
//!
//! The journal is written about once a second and at the end: first the blocks of handled letters, then the run. What was
//! confirmed since the last time would be sent again after a crash. So the run also notes where the target topics ended
//! before anything was sent that is not noted as handled, every record carries the run's id and its letter's place, and
//! whoever resumes looks behind those ends for what has arrived. (To the retry topic a second copy would change nothing,
//! since origin and replay number are the same; a second new record would.)
//!
//! Sending does not wait for that: the ends that are noted were asked for the last time the journal was written, and what was
//! sent before is answered for by now, or waited for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use longshore_conditions::Transform;
use longshore_core::journal::{BLOCK_OFFSETS, Marks, Run, RunState};
use longshore_core::{Class, Failure, Offset};
use longshore_kafka as kafka;
use longshore_kafka::{BatchTicket, BufferedHeader, Producer, ReadFrom, ReadUntil, Reader};
use longshore_runtime::crash::{self, Point};
use longshore_telemetry::trace::Story;
use tokio::runtime::Runtime;

use super::batch::{Batch, Place};
use super::plan::Inputs;
use crate::commands::common::answer::wait;
use crate::commands::common::journal::{SILENCE, unanswered};
use crate::commands::common::traces::Spans;
use crate::commands::common::writer::{Relief, Which, Writer};
use crate::exit::{End, Exit};
use crate::output::{Output, Progress, counted, grouped};

/// How long one look for letters takes.
const LOOK: Duration = Duration::from_millis(500);
/// How often the journal is written.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// Records that go out together.
const BATCH_RECORDS: usize = 1_024;
const BATCH_BYTES: usize = 1024 * 1024;
/// Batches that may wait for their answer.
const BATCHES_WAITING: usize = 32;
/// How long a record waits for others on its way: a replay is not in a hurry, and full batches cost the least.
const LINGER: Duration = Duration::from_millis(50);
/// How often somebody who waits for the next letter's turn looks whether to stop.
const STEP: Duration = Duration::from_millis(50);

/// What a run needs to send.
pub(super) struct Sender<'a> {
    pub(super) options: &'a kafka::KafkaOptions,
    pub(super) inputs: Inputs,
    pub(super) transform: Option<Transform>,
    pub(super) writer: Writer,
    pub(super) runtime: Runtime,
    pub(super) run: Run,
    pub(super) selected: Marks,
    /// Letters of this run that are done with.
    pub(super) handled: Marks,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) spans: Spans,
    pub(super) output: &'a Output,
}

/// How a run came to stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All letters are handled, but for those that the broker refused or that are gone.
    Done,
    /// Ctrl-C.
    Stopped,
    /// Somebody else has it, or gave it up.
    Relieved(Relief),
}

impl Sender<'_> {
    /// Sends what is left. The run's numbers are up to date afterwards, and noted.
    pub(super) fn send(&mut self) -> Result<Outcome, End> {
        let mut remaining = self.selected.clone();
        remaining.subtract(&self.handled);
        // What the run itself says may be older than its blocks.
        self.run.counts.handled = self.selected.len() - remaining.len();
        let tuning = kafka::ProducerTuning { linger: LINGER, ..kafka::ProducerTuning::default() };
        let producer = Producer::new(self.options, &self.options.buffers.unwrap_or_default(), &tuning)?;
        let mut way = Way {
            producer,
            admin: kafka::Admin::new(self.options)?,
            waiting: VecDeque::new(),
            behind: 0,
            ends: BTreeMap::new(),
            stories: BTreeMap::new(),
            touched: BTreeSet::new(),
            noted: Instant::now(),
            began: Instant::now(),
            sent: 0,
            progress: self.output.progress(
                &format!("replay {}", self.run.id),
                Some(self.selected.len()),
                "letters",
            ),
        };
        way.mark(&self.run)?;
        self.note_run(&mut way)?;
        let mut outcome = Outcome::Done;
        for topic in remaining.topics().map(Arc::from).collect::<Vec<Arc<str>>>() {
            match self.send_topic(&mut way, &topic, &mut remaining) {
                Ok(Outcome::Done) => {}
                Ok(other) => {
                    outcome = other;
                    break;
                }
                Err(end) => {
                    // What was confirmed is noted if the journal can still be written to; the cause is what is told.
                    self.run.state = RunState::Stopped;
                    let _ = self.confirm_all(&mut way);
                    let _ = self.note(&mut way);
                    return Err(end);
                }
            }
        }
        self.run.state = match outcome {
            Outcome::Done => RunState::Done,
            Outcome::Stopped => RunState::Stopped,
            Outcome::Relieved(_) => return Ok(outcome),
        };
        let answered = self.confirm_all(&mut way);
        if answered.is_err() {
            self.run.state = RunState::Stopped;
        } else if outcome == Outcome::Done {
            remaining.subtract(&self.handled);
            self.run.counts.gone = remaining.len().saturating_sub(self.run.counts.refused);
        }
        let relief = self.note(&mut way)?;
        answered?;
        way.progress.finish();
        Ok(relief.map_or(outcome, Outcome::Relieved))
    }

    fn send_topic(&mut self, way: &mut Way, topic: &Arc<str>, remaining: &mut Marks) -> Result<Outcome, End> {
        let mut left: u64 = remaining.partitions(topic).map(|(_, runs)| runs.len()).sum();
        let from = self.begin(topic, remaining)?;
        if from.is_empty() {
            return Ok(Outcome::Done);
        }
        let mut reader = Reader::open(self.options, topic, ReadFrom::At(from), ReadUntil::EndNow)?;
        let mut silent = Instant::now();
        let (mut batch, mut found) = (Batch::default(), 0);
        while left > 0 {
            batch.clear();
            let visited = reader.visit_batch(LOOK, &mut |record| {
                if remaining.contains(topic, record.partition(), record.offset()) {
                    found += 1;
                    self.take(topic, record, &mut batch);
                }
            })?;
            match visited {
                None => break,
                Some(0) if silent.elapsed() >= SILENCE => return Err(unanswered(topic)),
                Some(0) => {}
                Some(_) => silent = Instant::now(),
            }
            left -= std::mem::take(&mut found);
            if let Some(outcome) = self.send_records(way, topic, &batch)? {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Done)
    }

    /// Where to begin in each partition: at its first letter that is left and still there.
    fn begin(&self, topic: &str, remaining: &Marks) -> Result<Vec<(i32, i64)>, End> {
        let places = kafka::Admin::new(self.options)?.offsets(topic)?;
        let begin = places.iter().filter_map(|place| {
            let runs = remaining.of(topic, place.partition)?;
            let first = runs.clipped(Offset(place.start), Offset(place.end)).first()?;
            Some((place.partition, first.0))
        });
        Ok(begin.collect())
    }

    /// Sends records at the rate that was asked for; an outcome when it is to stop.
    fn send_records(&mut self, way: &mut Way, topic: &str, batch: &Batch) -> Result<Option<Outcome>, End> {
        let most = self
            .run
            .rate
            .map_or(BATCH_RECORDS, |rate| usize::try_from(rate / 10).unwrap_or(1).clamp(1, BATCH_RECORDS));
        let now = SystemTime::now();
        way.stories.extend(batch.stories.iter().map(|(place, story)| (place.clone(), (story.clone(), now))));
        let headers = batch.records.headers();
        let (mut from, mut bytes) = (0, 0);
        for at in 0..batch.records.len() {
            bytes += batch.records.bytes(at);
            if at + 1 - from >= most || bytes >= BATCH_BYTES {
                if let Some(outcome) = self.turn(way, batch, &headers, from..at + 1)? {
                    return Ok(Some(outcome));
                }
                (from, bytes) = (at + 1, 0);
            }
        }
        if let Some(words) = &batch.failed {
            return Err(End::new(Exit::Data, format!("{topic}: {words}")));
        }
        if from == batch.records.len() {
            self.look(way)
        } else {
            self.turn(way, batch, &headers, from..batch.records.len())
        }
    }

    /// Some records of a batch: waits for their turn, gives them to the producer, and notes what was confirmed meanwhile.
    fn turn(
        &mut self,
        way: &mut Way,
        batch: &Batch,
        headers: &[BufferedHeader<'_>],
        rows: Range<usize>,
    ) -> Result<Option<Outcome>, End> {
        while way.is_early(self.run.rate) {
            std::thread::sleep(STEP);
            if let Some(outcome) = self.look(way)? {
                return Ok(Some(outcome));
            }
        }
        way.sent += rows.len() as u64;
        self.give(way, batch, headers, rows)?;
        while way.waiting.len() > BATCHES_WAITING {
            self.confirm_oldest(way)?;
        }
        self.look(way)
    }

    fn give(
        &mut self,
        way: &mut Way,
        batch: &Batch,
        headers: &[BufferedHeader<'_>],
        rows: Range<usize>,
    ) -> Result<(), End> {
        for (number, topic) in batch.topics.iter().enumerate() {
            let rows: Vec<usize> = rows.clone().filter(|row| batch.letters[*row].0 == number).collect();
            let records: Vec<_> = rows.iter().filter_map(|row| batch.records.get(*row, headers)).collect();
            let mut at = 0;
            while at < records.len() {
                let count = way.producer.fitting(&records[at..]);
                let part = &records[at..at + count];
                crash::at(Point::ReplayBefore);
                let given = way.producer.send_batch(topic, part);
                let ticket = wait(&self.runtime, &way.producer, topic, given)?;
                let places = rows[at..at + count].iter().map(|row| batch.letters[*row].1.clone()).collect();
                way.waiting.push_back((ticket, topic.clone(), places));
                at += count;
            }
        }
        Ok(())
    }

    fn confirm_oldest(&mut self, way: &mut Way) -> Result<(), End> {
        let Some((ticket, topic, places)) = way.waiting.pop_front() else { return Ok(()) };
        way.behind = way.behind.saturating_sub(1);
        let failed = wait(&self.runtime, &way.producer, &topic, ticket)?;
        let mut refused = BTreeSet::new();
        let mut ended = None;
        for failed in failed {
            refused.insert(failed.row);
            if let Some(place) = places.get(failed.row) {
                self.tell_span(way, &topic, place, Some(&failed.failure));
            }
            match failed.failure.class {
                // This letter alone: it stays open, and the others go on.
                Class::Reject => {
                    self.run.counts.refused += 1;
                    if let Some((topic, partition, offset)) = places.get(failed.row) {
                        self.output.note(format_args!("{topic}/{partition}/{offset}: {}", failed.failure));
                    }
                }
                Class::Retry { .. } | Class::Halt => ended = Some(End::from(failed.failure)),
            }
        }
        places.iter().for_each(|place| self.tell_span(way, &topic, place, None));
        for (row, (topic, partition, offset)) in places.into_iter().enumerate() {
            if !refused.contains(&row) && self.handled.insert(&topic, partition, offset) {
                self.run.counts.handled += 1;
                way.touched.insert((topic, partition, offset / BLOCK_OFFSETS * BLOCK_OFFSETS));
            }
        }
        way.progress.tick(self.run.counts.handled);
        ended.map_or(Ok(()), Err)
    }

    /// A letter is answered for.
    fn tell_span(&self, way: &mut Way, to: &str, place: &Place, failure: Option<&Failure>) {
        let Some(tracer) = self.spans.tracer() else { return };
        let Some((story, since)) = way.stories.remove(place) else { return };
        let letter = format!("{}/{}/{}", place.0, place.1, place.2);
        tracer.send(&story, to, since, Some((&self.run.id, &letter)), failure);
    }

    /// Waits for all answers; the first failure is told when all are there.
    fn confirm_all(&mut self, way: &mut Way) -> Result<(), End> {
        let mut answered = Ok(());
        while !way.waiting.is_empty() {
            answered = answered.and(self.confirm_oldest(way));
        }
        answered
    }

    /// Looks whether to stop, and notes how far it is when it is time to.
    fn look(&mut self, way: &mut Way) -> Result<Option<Outcome>, End> {
        if self.stop.load(Ordering::Acquire) {
            return Ok(Some(Outcome::Stopped));
        }
        if way.noted.elapsed() < NOTE_EVERY {
            return Ok(None);
        }
        Ok(self.note(way)?.map(Outcome::Relieved))
    }

    /// Writes what is handled and how far the run is, unless somebody else has the run now. What was sent before the ends
    /// that are noted were asked for is waited for.
    fn note(&mut self, way: &mut Way) -> Result<Option<Relief>, End> {
        let mut answered = Ok(());
        while way.behind > 0 {
            answered = answered.and(self.confirm_oldest(way));
        }
        crash::at(Point::ReplaySent);
        way.noted = Instant::now();
        let relief = self.writer.relieved(&self.run)?;
        if relief == Some(Relief::Taken) {
            // The blocks are the other's now; what was sent without being noted it finds in the target topic.
            return Ok(relief);
        }
        if relief == Some(Relief::Cancelled) {
            // Nobody goes on with it and looks for what was under way.
            answered = answered.and(self.confirm_all(way));
        }
        let touched = std::mem::take(&mut way.touched).into_iter();
        let places: Vec<_> =
            touched.map(|(topic, partition, base)| (topic.to_string(), partition, base)).collect();
        self.writer.blocks(&self.runtime, &self.run.id, Which::Handled, &self.handled, &places)?;
        crash::at(Point::ReplayNoted);
        answered?;
        if relief.is_some() {
            return Ok(relief);
        }
        self.note_run(way)?;
        Ok(None)
    }

    /// Writes the run with the ends that were asked for the last time, and asks for those of the next.
    fn note_run(&mut self, way: &mut Way) -> Result<(), End> {
        self.run.sent_behind.clone_from(&way.ends);
        self.writer.run(&self.runtime, &mut self.run)?;
        way.mark(&self.run)
    }
}

/// What is under way.
struct Way {
    producer: Producer,
    admin: kafka::Admin,
    waiting: VecDeque<(BatchTicket, String, Vec<Place>)>,
    /// The first so many of these were sent before the target topics ended at `ends`; all others lie behind.
    behind: usize,
    ends: BTreeMap<String, Vec<i64>>,
    /// The traced letters on their way, and since when.
    stories: BTreeMap<Place, (Story, SystemTime)>,
    /// Blocks with letters that the journal does not know as handled yet.
    touched: BTreeSet<Place>,
    noted: Instant,
    began: Instant,
    sent: u64,
    progress: Progress,
}

impl Way {
    /// Asks where the run's target topics end now.
    fn mark(&mut self, run: &Run) -> Result<(), End> {
        let mut ends = BTreeMap::new();
        for topic in run.sent_behind.keys() {
            let places = self.admin.offsets(topic)?;
            ends.insert(topic.clone(), places.iter().map(|place| place.end).collect());
        }
        (self.ends, self.behind) = (ends, self.waiting.len());
        Ok(())
    }

    /// Whether the next batch has to wait for its turn.
    fn is_early(&self, rate: Option<u64>) -> bool {
        rate.is_some_and(|rate| self.began.elapsed().as_secs_f64() * rate as f64 <= self.sent as f64)
    }
}

/// What became of a run, for people; `lost` is what its spans came to.
pub(super) fn told(run: &Run, outcome: Outcome, lost: &str, resume: &str) -> String {
    let (handled, selected) = (grouped(run.counts.handled), counted(run.counts.selected, "letter"));
    let mut words = match outcome {
        Outcome::Done => format!("replay {}: {handled} of {selected} sent and confirmed{lost}", run.id),
        Outcome::Stopped => {
            format!("replay {} stopped: {handled} of {selected} sent{lost}\n  next: {resume}", run.id)
        }
        Outcome::Relieved(Relief::Taken) => format!("replay {}: another process goes on with it", run.id),
        Outcome::Relieved(Relief::Cancelled) => {
            format!("replay {} was cancelled: {handled} of {selected} sent", run.id)
        }
    };
    if outcome == Outcome::Done && run.counts.gone > 0 {
        words.push_str(&format!("; {} gone from the topic meanwhile", grouped(run.counts.gone)));
    }
    if run.counts.refused > 0 {
        words.push_str(&format!("; {} refused by the broker and still open", grouped(run.counts.refused)));
    }
    words
}
