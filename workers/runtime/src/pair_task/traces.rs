//! What a pair's task keeps in mind of traced records between their steps and their end. Bounded: what is too much is counted as
//! lost spans, and the records are not affected.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use longshore_core::pair::{CommitResult, Destination, Letter, LetterId};
use longshore_core::{Failure, Lane, Offset, PairId, SinkIndex, TraceContext};
use longshore_telemetry::Tracer;
use longshore_telemetry::trace::{Commit, Held, LINKS, Place, SentLetter, Story};

use crate::stories::Traced;
use crate::writer::Written;

/// A letter under way.
struct Sent {
    story: Story,
    lane: Lane,
    lane_offset: Offset,
    offset: Offset,
    dead: bool,
    attempts: u32,
    reason: &'static str,
    started: SystemTime,
    _held: Held,
}

/// The traced records of one pair.
pub(super) struct Traces {
    tracer: Option<Tracer>,
    /// Those of the units that the machine is just told of.
    now: Vec<Traced>,
    /// Those that failed, until their copy or letter has arrived or they go through: a letter may have to be sent again.
    failed: HashMap<(Lane, Offset), (Story, Held)>,
    letters: HashMap<LetterId, Sent>,
    /// Records that the next commit may settle, as many as its span links to, and the room for them.
    through: Vec<(Lane, Offset, TraceContext)>,
    room: Option<Held>,
    /// The last commit of each lane, until it is answered.
    commits: [Option<(Instant, Option<Commit>)>; 2],
}

impl Traces {
    pub(super) fn new(tracer: Option<Tracer>) -> Self {
        Self {
            tracer,
            now: Vec::new(),
            failed: HashMap::new(),
            letters: HashMap::new(),
            through: Vec::new(),
            room: None,
            commits: [None, None],
        }
    }

    /// Forgets what was dropped.
    pub(super) fn forget(&mut self) {
        self.now.clear();
        self.failed.clear();
        self.letters.clear();
        (self.through, self.room) = (Vec::new(), None);
        self.commits = [None, None];
    }

    /// The machine is told of these records' verdicts next.
    pub(super) fn told(&mut self, traced: Vec<Traced>) {
        let Some(tracer) = &self.tracer else { return };
        for traced in &traced {
            let key = (traced.lane, traced.lane_offset);
            // It may have failed before, when its target was away.
            self.failed.remove(&key);
            if traced.failed
                && let Some(held) = tracer.keep(&traced.story)
            {
                self.failed.insert(key, (traced.story.clone(), held));
            }
            if self.through.len() < LINKS {
                self.room = self.room.take().or_else(|| tracer.keep_links());
                if self.room.is_some() {
                    self.through.push((traced.lane, traced.lane_offset, traced.story.context()));
                }
            }
        }
        self.now = traced;
    }

    /// The machine was told of them, and rows are with their writers.
    pub(super) fn settled(&mut self) {
        self.now.clear();
    }

    /// The records that have rows in the block that goes to a sink now.
    pub(super) fn written(&self, sink: SinkIndex) -> Vec<Written> {
        let Some(tracer) = self.tracer.as_ref().filter(|_| !self.now.is_empty()) else { return Vec::new() };
        let rows = self.now.iter().filter(|traced| traced.goes_to(sink));
        let started = SystemTime::now();
        let written = |traced: &Traced| {
            Some(Written {
                held: tracer.keep(&traced.story)?,
                story: traced.story.clone(),
                lane: traced.lane,
                lane_offset: traced.lane_offset,
                offset: traced.offset,
                started,
            })
        };
        rows.filter_map(written).collect()
    }

    /// A letter or copy goes out: under the span of its record's try, or in the trace of a record that was not tried.
    pub(super) fn sends(&mut self, letter: &mut Letter) {
        // What is carried forward stays as it is.
        let Some(tracer) = self.tracer.as_ref().filter(|_| letter.to != Destination::Tail) else { return };
        let record = &letter.record;
        let (lane, lane_offset) = (record.chunk().lane(), record.lane_offset());
        let tried = self.failed.get(&(lane, lane_offset)).map(|(tried, _)| tracer.child(tried));
        let Some(story) = tried.or_else(|| tracer.story(record)) else { return };
        letter.trace = story.header();
        let Some(held) = tracer.keep(&story) else { return };
        let sent = Sent {
            story,
            lane,
            lane_offset,
            offset: record.offset(),
            dead: letter.to == Destination::DeadLetters,
            attempts: letter.attempts,
            reason: letter.failure.reason.code(),
            started: SystemTime::now(),
            _held: held,
        };
        self.letters.insert(letter.id, sent);
    }

    /// A commit of everything below an offset goes out.
    pub(super) fn commits(&mut self, lane: Lane, below: Offset) {
        let began = Instant::now();
        let Some(tracer) = &self.tracer else {
            self.commits[place_of(lane)] = Some((began, None));
            return;
        };
        let settled = self.through.extract_if(.., |(of, offset, _)| *of == lane && *offset < below);
        let links = settled.map(|(_, _, context)| context).collect();
        if self.through.is_empty() {
            (self.through, self.room) = (Vec::new(), None);
        }
        self.commits[place_of(lane)] = Some((began, tracer.commits(links)));
    }

    /// A commit is answered; after how long, and what went wrong.
    pub(super) fn committed(
        &mut self,
        pair: &PairId,
        lane: Lane,
        offset: Offset,
        result: &CommitResult,
    ) -> Option<(Duration, Option<&'static str>)> {
        let (began, commit) = self.commits[place_of(lane)].take()?;
        let refused = match result {
            CommitResult::Done => None,
            CommitResult::Refused => Some("refused"),
            CommitResult::Unknown => Some("unknown"),
        };
        if let (Some(tracer), Some(commit)) = (&self.tracer, commit) {
            tracer.committed(&commit, pair, lane, offset, refused);
        }
        Some((began.elapsed(), refused))
    }

    /// A letter is answered for.
    pub(super) fn answered(&mut self, pair: &PairId, id: LetterId, answer: &Result<(), Failure>) {
        let Some(tracer) = &self.tracer else { return };
        let Some(sent) = self.letters.remove(&id) else { return };
        let Sent { story, lane, lane_offset, offset, dead, attempts, reason, started, _held } = sent;
        if answer.is_ok() {
            self.failed.remove(&(lane, lane_offset));
        }
        let place = Place { pair, lane, lane_offset, offset };
        let letter = SentLetter { dead, attempts, reason, started };
        tracer.send_letter(&story, place, &letter, answer.as_ref().err());
    }
}

fn place_of(lane: Lane) -> usize {
    match lane {
        Lane::Input => 0,
        Lane::Retry => 1,
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::item::FilterReason;
    use longshore_core::pair::{UnitEntry, Verdict};
    use longshore_core::{ChunkBuilder, Epoch, Reason, RecordRef, SinkMask};
    use longshore_telemetry::Metrics;
    use longshore_telemetry::trace::{Switch, TraceOptions};

    use super::*;
    use crate::stories::AtWork;

    fn tracer(metrics: &Metrics, memory_bytes: u64) -> Tracer {
        let options = TraceOptions { switch: Switch::On, memory_bytes, ..TraceOptions::default() };
        Tracer::start(options, metrics.spans()).unwrap().expect("no OTEL_ variable stands against it")
    }

    fn entries(records: i64) -> Vec<UnitEntry> {
        let mut chunk = ChunkBuilder::new(PairId::new("logs", 0), Lane::Input, Epoch(1));
        (0..records).for_each(|offset| chunk.record(Offset(offset), 0, None, Some(b"x")));
        let chunk = chunk.build(None);
        let entry = |at| {
            let record = RecordRef::new(&chunk, at).unwrap();
            UnitEntry { record, attempt: 1, held: SinkMask::NONE }
        };
        (0..records as u32).map(entry).collect()
    }

    fn letter(id: u64, entry: &UnitEntry, failure: &Failure) -> Letter {
        Letter {
            id: LetterId(id),
            to: Destination::Retry { delay: std::time::Duration::ZERO },
            origin: Some(entry.record.offset()),
            record: entry.record.clone(),
            failure: failure.clone(),
            attempts: 1,
            replays: 0,
            trace: None,
        }
    }

    /// Scenario: a copy is refused by the broker and sent again later, by another letter. Guarantee (I7): each send stands under the try
    /// that failed, and nothing of it is kept once it has arrived.
    #[test]
    fn a_letter_that_is_sent_again_is_under_the_same_try() {
        let (metrics, entries) = (Metrics::new("x"), entries(1));
        let tracer = tracer(&metrics, TraceOptions::MEMORY_BYTES);
        let (entry, failure) = (&entries[0], Failure::reject(Reason::DecodeJson, "no"));
        let tried = AtWork::begin(&tracer, entry).unwrap();
        let tried = tried.end(&tracer, entry, Some(&Verdict::Failed(Box::new(failure.clone())))).unwrap();
        let span = tried.story.context().span;
        let mut traces = Traces::new(Some(tracer));
        traces.told(vec![tried]);
        traces.settled();
        for (id, answer) in [(1, Err(failure.clone())), (2, Err(failure.clone())), (3, Ok(()))] {
            let mut letter = letter(id, entry, &failure);
            traces.sends(&mut letter);
            let sent = &traces.letters[&letter.id].story;
            assert_eq!((sent.parent(), letter.trace), (Some(span), Some(sent.context())), "letter {id}");
            traces.answered(&PairId::new("logs", 0), letter.id, &answer);
        }
        assert!(traces.failed.is_empty() && traces.letters.is_empty());
    }

    /// Scenario: far more traced records are at work, failed and with a slow sink than there is room for. Guarantee (I5): no more
    /// stories are kept than that, what is too much is counted, and room comes back.
    #[test]
    fn stories_are_kept_within_their_bound() {
        let (metrics, entries) = (Metrics::new("x"), entries(1_000));
        let tracer = tracer(&metrics, 64 << 10);
        let at_work: Vec<AtWork> = entries.iter().filter_map(|entry| AtWork::begin(&tracer, entry)).collect();
        // Half of the memory is for stories, each of which counts as 320 bytes.
        assert_eq!(at_work.len(), (32 << 10) / 320);
        drop(at_work);
        let failure = Failure::reject(Reason::DecodeJson, "no");
        let mut traces = Traces::new(Some(tracer.clone()));
        let mut kept = Vec::new();
        for entry in &entries {
            let Some(tried) = AtWork::begin(&tracer, entry) else { continue };
            let verdict = match entry.record.offset().0 % 3 {
                0 => Verdict::Failed(Box::new(failure.clone())),
                1 => Verdict::Filtered(FilterReason::new("x")),
                _ => Verdict::Routed { sinks: SinkMask::first(1) },
            };
            traces.told(tried.end(&tracer, entry, Some(&verdict)).into_iter().collect());
            kept.extend(traces.written(SinkIndex(0)));
            traces.settled();
        }
        // The last place is the try's own.
        let links = 128 * 48;
        assert_eq!(kept.len() + traces.failed.len() + 1, ((32 << 10) - links) / 320);
        let last = tracer.keep(&kept[0].story);
        assert!(last.is_some() && tracer.keep(&kept[0].story).is_none());
        drop(last);
        let text = metrics.render();
        let lost = text.lines().find(|line| line.starts_with("longshore_spans_dropped_total")).unwrap();
        assert!(lost.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap() > 500, "{lost}");
        kept.clear();
        traces.forget();
        assert_eq!(entries.iter().filter_map(|entry| AtWork::begin(&tracer, entry)).count(), 1_000);
    }
}
