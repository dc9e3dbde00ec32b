//! What a pair's task keeps in mind of traced records between their steps and their end. Bounded: what is too much is counted as
//! lost spans, and the records are not affected.

use std::collections::HashMap;
use std::time::SystemTime;

use longshore_core::pair::{CommitResult, Destination, Letter, LetterId};
use longshore_core::{Failure, Lane, Offset, PairId, SinkIndex};
use longshore_telemetry::Tracer;
use longshore_telemetry::trace::{Commit, Place, SentLetter, Story};

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
}

/// The traced records of one pair.
pub(super) struct Traces {
    tracer: Option<Tracer>,
    /// Those of the units that the machine is just told of.
    now: Vec<Traced>,
    /// Those that failed, until their copy or letter goes out or they go through.
    failed: HashMap<(Lane, Offset), Story>,
    letters: HashMap<LetterId, Sent>,
    /// The last commit of each lane, until it is answered.
    commits: [Option<Commit>; 2],
}

impl Traces {
    pub(super) fn new(tracer: Option<Tracer>) -> Self {
        Self {
            tracer,
            now: Vec::new(),
            failed: HashMap::new(),
            letters: HashMap::new(),
            commits: [None, None],
        }
    }

    /// Forgets what was dropped.
    pub(super) fn forget(&mut self) {
        self.now.clear();
        self.failed.clear();
        self.letters.clear();
        self.commits = [None, None];
    }

    /// The machine is told of these records' verdicts next.
    pub(super) fn told(&mut self, traced: Vec<Traced>) {
        let Some(tracer) = &self.tracer else { return };
        for traced in &traced {
            let key = (traced.lane, traced.lane_offset);
            if !traced.failed {
                // It may have failed before, when its target was away.
                self.failed.remove(&key);
            } else if self.failed.len() < tracer.queue() {
                self.failed.insert(key, traced.story.clone());
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
        if self.now.is_empty() {
            return Vec::new();
        }
        let rows = self.now.iter().filter(|traced| traced.goes_to(sink));
        let started = SystemTime::now();
        let written = |traced: &Traced| Written {
            story: traced.story.clone(),
            lane: traced.lane,
            lane_offset: traced.lane_offset,
            offset: traced.offset,
            started,
        };
        rows.map(written).collect()
    }

    /// A letter or copy goes out: under the span of its record's try, or in the trace of a record that was not tried.
    pub(super) fn sends(&mut self, letter: &mut Letter) {
        // What is carried forward stays as it is.
        let Some(tracer) = self.tracer.as_ref().filter(|_| letter.to != Destination::Tail) else { return };
        let record = &letter.record;
        let (lane, lane_offset) = (record.chunk().lane(), record.lane_offset());
        let tried = self.failed.remove(&(lane, lane_offset)).map(|tried| tracer.child(&tried));
        let Some(story) = tried.or_else(|| tracer.story(record)) else { return };
        letter.trace = story.header();
        if self.letters.len() >= tracer.queue() {
            return tracer.lose(1);
        }
        let sent = Sent {
            story,
            lane,
            lane_offset,
            offset: record.offset(),
            dead: letter.to == Destination::DeadLetters,
            attempts: letter.attempts,
            reason: letter.failure.reason.code(),
            started: SystemTime::now(),
        };
        self.letters.insert(letter.id, sent);
    }

    /// A commit goes out.
    pub(super) fn commits(&mut self, lane: Lane) {
        if let Some(tracer) = &self.tracer {
            self.commits[place_of(lane)] = tracer.commits();
        }
    }

    /// A commit is answered.
    pub(super) fn committed(&mut self, pair: &PairId, lane: Lane, offset: Offset, result: &CommitResult) {
        let Some(tracer) = &self.tracer else { return };
        let Some(commit) = self.commits[place_of(lane)].take() else { return };
        let refused = match result {
            CommitResult::Done => None,
            CommitResult::Refused => Some("refused"),
            CommitResult::Unknown => Some("unknown"),
        };
        tracer.committed(&commit, pair, lane, offset, refused);
    }

    /// A letter is answered for.
    pub(super) fn answered(&mut self, pair: &PairId, id: LetterId, answer: &Result<(), Failure>) {
        let Some(tracer) = &self.tracer else { return };
        let Some(sent) = self.letters.remove(&id) else { return };
        let Sent { story, lane, lane_offset, offset, dead, attempts, reason, started } = sent;
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
