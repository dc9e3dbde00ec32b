//! Segments: what waits to be published to one sink, when it is sealed, and what its trailer says.

use std::collections::{BTreeMap, VecDeque};

use crate::ledger::{LedgerView, TRAILER_VERSION, Trailer};
use crate::rules::Rule;
use crate::scheduler::Entry;
use crate::sink::Published;
use crate::{Block, Failure, FilterReason, Lane, Moment, Offset, RecordRef, RunSet, Sequence, SinkIndex};

use super::{Action, Pair, Phase, SinkSpec, Tally};

mod finished;

pub(super) use finished::Finished;

/// A dead letter that waits for its decision to be published.
#[derive(Debug)]
pub(super) struct Doomed {
    pub(super) entry: Entry,
    pub(super) record: RecordRef,
    pub(super) failure: Failure,
    pub(super) behind: Behind,
    /// Its replay number.
    pub(super) replays: u32,
}

/// What stands behind a record that will be a letter, until that is decided for good. Where the decision and the rows behind the record are not one
/// publish, and another run of the record might end otherwise, it must wait: a crash could bring the record back behind them (ADR 0005).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// It goes on.
    Goes,
    /// It waits with the scheduler, and that of a copy in the retry lane as well.
    Frozen,
    /// Its key stays parked in the retry lane.
    Parked,
}

/// A record whose row may still be refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) entry: Entry,
    /// Its replay number.
    pub(super) replays: u32,
}

/// What waits to be published, or is being published.
#[derive(Debug, Default)]
pub(super) struct Segment {
    /// Spans of finished records: with rows, or filtered.
    pub(super) finished: RunSet,
    /// Origins of finished records of the retry lane.
    pub(super) retried: RunSet,
    /// Origins of the dead letters that wait here for their decision.
    pub(super) doomed: RunSet,
    pub(super) records: u64,
    pub(super) rows: u64,
    pub(super) filtered: Vec<(FilterReason, u64)>,
    pub(super) dead: Vec<Doomed>,
    /// Records whose rows may still be refused one by one.
    pub(super) sent: Vec<Sent>,
    pub(super) tally: Tally,
    pub(super) bytes: u64,
    pub(super) since: Option<Moment>,
}

impl Segment {
    fn is_empty(&self) -> bool {
        self.finished.is_empty() && self.retried.is_empty() && self.dead.is_empty()
    }

    /// Whether a record of a range waits here.
    fn has_of(&self, (first, end): (Offset, Offset)) -> bool {
        let all = [&self.retried, &self.doomed, &self.finished];
        all.into_iter().any(|records| !records.clipped(first, end).is_empty())
    }

    /// Records of the retry lane whose payloads are needed here.
    fn of_retry_lane(&self) -> u64 {
        let entries =
            self.dead.iter().map(|doomed| doomed.entry).chain(self.sent.iter().map(|sent| sent.entry));
        entries.filter(|entry| entry.lane == Lane::Retry).count() as u64
    }

    /// The replay numbers of those records whose rows may be refused, where there is one.
    fn replayed(&self) -> BTreeMap<Offset, u32> {
        let replayed = self.sent.iter().filter(|sent| sent.replays > 0);
        replayed.map(|sent| (sent.entry.offset, sent.replays)).collect()
    }

    /// Those of the refused records whose rows were in this segment, each once: several children of one record may be refused,
    /// and its letter is the record.
    fn refused(&mut self, mut refused: Vec<(Offset, Failure)>) -> Vec<(Sent, Failure)> {
        if refused.is_empty() {
            return Vec::new();
        }
        self.sent.sort_unstable_by_key(|sent| sent.entry.offset);
        refused.sort_by_key(|(offset, _)| *offset);
        refused.dedup_by_key(|(offset, _)| *offset);
        let find = |(offset, failure)| {
            let place = self.sent.binary_search_by_key(&offset, |sent| sent.entry.offset);
            crate::invariant!(
                I1,
                place.is_ok(),
                "a sink refused record {offset}, of which it was given no row"
            );
            Some((self.sent[place.ok()?], failure))
        };
        refused.into_iter().filter_map(find).collect()
    }
}

/// Rows on their way to a segment.
#[derive(Debug)]
struct Appending {
    segment: u64,
    bytes: u64,
    rows: u64,
}

/// One sink of a pair under one ownership.
#[derive(Debug)]
pub(super) struct SinkState {
    pub(super) index: SinkIndex,
    pub(super) ledger: bool,
    pub(super) refuses: bool,
    pub(super) recovered: bool,
    pub(super) recover_tries: u32,
    pub(super) recover_again: Option<Moment>,
    pub(super) view: LedgerView,
    pub(super) next: Sequence,
    pub(super) open: Segment,
    sealed: Option<(Moment, Trailer, Segment)>,
    /// The next segment's `covers` begins here.
    covered: Offset,
    /// Counts segments, to tell which one an `Appended` speaks of.
    segment: u64,
    appending: VecDeque<Appending>,
}

impl SinkState {
    pub(super) fn new(index: SinkIndex, spec: &SinkSpec, start: Offset) -> Self {
        Self {
            index,
            ledger: spec.ledger,
            refuses: spec.refuses,
            recovered: false,
            recover_tries: 0,
            recover_again: None,
            view: LedgerView::default(),
            next: Sequence::default(),
            open: Segment::default(),
            sealed: None,
            covered: start,
            segment: 0,
            appending: VecDeque::new(),
        }
    }

    pub(super) fn adopt(&mut self, view: LedgerView) {
        self.next = view.next_sequence;
        self.view = view;
        self.recovered = true;
        self.recover_again = None;
    }

    /// Whether nothing waits in it and nothing is on its way to it.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sealed.is_none()
    }

    pub(super) fn sealed_since(&self) -> Option<Moment> {
        self.sealed.as_ref().map(|(since, ..)| *since)
    }

    pub(super) fn append(&mut self, block: Block, now: Moment, actions: &mut Vec<Action>) {
        let (bytes, rows) = (block.bytes.len() as u64, block.rows.len() as u64);
        self.open.rows += rows;
        self.open.since.get_or_insert(now);
        self.appending.push_back(Appending { segment: self.segment, bytes, rows });
        actions.push(Action::Append { sink: self.index, block });
    }

    pub(super) fn count_children(&mut self, filtered: &[(FilterReason, u64)]) {
        for (reason, count) in filtered {
            count_reason(&mut self.open.filtered, reason, *count);
        }
    }

    /// Takes out what still waits here.
    pub(super) fn subtract_waiting(&self, spans: &mut RunSet) {
        spans.subtract(&self.open.finished);
        if let Some((_, _, sealed)) = &self.sealed {
            spans.subtract(&sealed.finished);
        }
    }

    /// Takes out the records of the retry lane that still wait here.
    pub(super) fn subtract_retried(&self, origins: &mut RunSet) {
        for segment in self.segments() {
            origins.subtract(&segment.retried);
            origins.subtract(&segment.doomed);
        }
    }

    /// Whether a record waits here to be published, by whatever lane it came.
    pub(super) fn awaits(&self, origin: Offset) -> bool {
        self.segments().any(|segment| {
            segment.finished.contains(origin)
                || segment.retried.contains(origin)
                || segment.doomed.contains(origin)
        })
    }

    fn segments(&self) -> impl Iterator<Item = &Segment> {
        std::iter::once(&self.open).chain(self.sealed.as_ref().map(|(_, _, segment)| segment))
    }

    /// Records of the retry lane whose payloads are needed here.
    pub(super) fn of_retry_lane(&self) -> u64 {
        self.segments().map(Segment::of_retry_lane).sum()
    }

    /// Records that count against the intake window.
    pub(super) fn window_records(&self) -> u64 {
        let sealed = self.sealed.as_ref().map_or(0, |(_, _, s)| s.sent.len() + s.dead.len());
        let waiting = (self.open.sent.len() + self.open.dead.len() + sealed) as u64;
        let rows =
            if !self.refuses { self.appending.iter().map(|appending| appending.rows).sum() } else { 0 };
        waiting + rows
    }

    /// Bytes of rows that no segment took yet, and of those that a sink keeps until it knows which ones are refused.
    pub(super) fn window_bytes(&self) -> u64 {
        let keeps = self.ledger && self.refuses;
        let kept: u64 = if keeps { self.segments().map(|segment| segment.bytes).sum() } else { 0 };
        kept + self.appending.iter().map(|appending| appending.bytes).sum::<u64>()
    }

    fn appended(&mut self, bytes: u64) {
        if let Some(appending) = self.appending.pop_front()
            && appending.segment == self.segment
        {
            self.open.bytes = bytes;
        }
    }

    /// When the open segment is to be sealed for its age.
    pub(super) fn age_due(&self, spec: &SinkSpec) -> Option<Moment> {
        if self.sealed.is_some() || !self.ledger || self.open.is_empty() {
            return None;
        }
        self.open.since.map(|since| since.after(spec.seal.age))
    }

    fn is_due(&self, spec: &SinkSpec, now: Moment, pressed: bool) -> bool {
        if self.sealed.is_some() || self.open.is_empty() {
            return false;
        }
        let full =
            self.open.bytes >= spec.seal.bytes || self.open.rows.max(self.open.records) >= spec.seal.rows;
        pressed || !self.ledger || full || self.age_due(spec).is_some_and(|due| due <= now)
    }
}

/// Adds to the count of a reason; the reasons of a pipeline are few.
pub(super) fn count_reason<T: PartialEq + Clone>(counts: &mut Vec<(T, u64)>, reason: &T, more: u64) {
    match counts.iter_mut().find(|(known, _)| known == reason) {
        Some((_, count)) => *count += more,
        None => counts.push((reason.clone(), more)),
    }
}

impl Pair {
    pub(super) fn appended(&mut self, sink: SinkIndex, bytes: u64) {
        if let Some(state) = self.sink_mut(sink) {
            state.appended(bytes);
        }
    }

    /// Seals what is due and asks for its publish.
    pub(super) fn seal_due(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let stopping = match self.phase {
            Phase::Running => false,
            // While records are still at work a drain seals by the same rules, else it would make many small segments.
            Phase::Draining => self.own.scheduler.is_idle(),
            Phase::Revoking => true,
            Phase::Idle
            | Phase::Recovering
            | Phase::Contested { .. }
            | Phase::Reassigning
            | Phase::Dropped
            | Phase::Halted(_) => return,
        };
        // What becomes of a probe of the flood breaker, or of a record that is tried alone, is to be known soon.
        let spent = self.is_intake_spent() && self.own.scheduler.is_idle();
        let probing = self.own.holds.breaker.is_open() || self.own.careful.is_on() || spent;
        let all_pressed = stopping || probing || self.is_pressed_by_cap();
        let trial = self.awaited_trial();
        for at in 0..self.own.sinks.len() {
            let tried = trial.is_some_and(|of_it| self.own.sinks[at].open.has_of(of_it));
            let pressed = all_pressed || tried || self.is_pressed_by_window(at);
            if self.own.sinks[at].is_due(&self.options.sinks[at], now, pressed) {
                self.seal(at, now, actions);
            }
        }
    }

    /// Letters that wait for a publish hold their records, and so do rows that may be refused. These count against the window:
    /// near its end, seal. At once when records behind a letter wait for the decision.
    fn is_pressed_by_window(&self, at: usize) -> bool {
        let window = self.options.window;
        let open = &self.own.sinks[at].open;
        let waiting = (open.dead.len() + open.sent.len()) as u64;
        let near = waiting >= (window.records / 4).max(1) || self.own.window_bytes() >= window.bytes / 2;
        let held = || open.dead.iter().any(|doomed| doomed.behind != Behind::Goes);
        waiting > 0 && (near || held() || self.is_pressed_by_retries(open))
    }

    /// Whether copies wait for room in memory that the publish of this segment would make. Where more records of their lane are with the steps than
    /// wait here, those make room sooner or come here as well.
    fn is_pressed_by_retries(&self, open: &Segment) -> bool {
        let Some(lane) = self.own.retry.as_ref().filter(|_| self.phase == Phase::Running) else {
            return false;
        };
        lane.waits_for_room(self.options.window) && {
            let held = open.of_retry_lane();
            held > 0 && held >= lane.in_work()
        }
    }

    fn seal(&mut self, at: usize, now: Moment, actions: &mut Vec<Action>) {
        let trailer = self.trailer(at);
        let state = &mut self.own.sinks[at];
        state.covered = trailer.covers.1;
        state.segment += 1;
        let segment = std::mem::take(&mut state.open);
        actions.push(Action::Publish { sink: state.index, trailer: Box::new(trailer.clone()) });
        state.sealed = Some((now, trailer, segment));
        let covered = self.own.sinks.iter().filter(|sink| sink.ledger).map(|sink| sink.covered).min();
        self.own.gaps.forget_below(covered.unwrap_or(Offset(i64::MAX)));
    }

    /// The trailer by rule 4: everything received in `covers` that neither this segment nor the ledger holds is in
    /// `except`. Spans tile what was received, so that is a difference of sets, whatever became of those records.
    fn trailer(&self, at: usize) -> Trailer {
        let own = &self.own;
        let state = &own.sinks[at];
        let segment = &state.open;
        let begin = state.covered;
        let end = segment.finished.end().map_or(begin, |end| end.max(begin));
        let mut except = RunSet::of(begin, end);
        except.subtract(&segment.finished);
        state.view.holdings.take_held(&mut except);
        // Else every marker at the end of a log would be a run of its own for ever.
        except.subtract(&own.gaps);
        let late = if Rule::AlsoTellsLate.holds() { begin } else { Offset(i64::MIN) };
        let mut also = segment.finished.clipped(Offset(i64::MIN), late);
        also.union(&segment.retried);
        state.view.holdings.take_held(&mut also);
        Trailer {
            version: TRAILER_VERSION,
            pipeline: self.options.pipeline.clone(),
            generation: self.options.generation,
            cluster: own.assignment.cluster.clone(),
            topic: self.id.topic.as_str().to_owned(),
            topic_id: own.assignment.topic_id.clone(),
            partition: self.id.partition.0,
            partitions: own.assignment.partitions,
            sequence: state.next,
            writer: own.writer,
            covers: (begin, end),
            except,
            also,
            dead: segment.dead.iter().map(|doomed| (doomed.entry.offset, doomed.replays)).collect(),
            rows: segment.rows,
            filtered: segment
                .filtered
                .iter()
                .map(|(reason, count)| (reason.0.as_ref().to_owned(), *count))
                .collect(),
            decides: (state.refuses && own.decider == Some(at)).then(|| segment.replayed()),
        }
    }

    pub(super) fn published(
        &mut self,
        sink: SinkIndex,
        sequence: Sequence,
        outcome: Published,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(state) = self.sink_mut(sink) else { return };
        if state.sealed.as_ref().is_none_or(|(_, trailer, _)| trailer.sequence != sequence) {
            return;
        }
        match outcome {
            Published::Done(refused) => self.publish_done(sink, refused, now, actions),
            Published::TakenByUs => self.publish_done(sink, Vec::new(), now, actions),
            Published::TakenByOther(_) => self.contest(now, actions),
        }
    }

    /// The segment is held: its letters go out, and its records settle unless another sink still has to take them.
    fn publish_done(
        &mut self,
        sink: SinkIndex,
        refused: Vec<(Offset, Failure)>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(state) = self.own.sinks.get_mut(usize::from(sink.0)) else { return };
        let Some((_, mut trailer, mut segment)) = state.sealed.take() else { return };
        state.next = state.next.next();
        let refused = segment.refused(refused);
        if state.ledger {
            let offsets: Vec<Offset> = refused.iter().map(|(sent, _)| sent.entry.offset).collect();
            trailer.refuse(&offsets, 0);
            state.view.fold(&trailer);
        }
        for doomed in segment.dead.drain(..) {
            if let Some(lane) = &mut self.own.retry {
                lane.note_end(&doomed.entry);
            }
            self.thaw(&doomed.entry, doomed.behind);
            self.post(Doomed { behind: Behind::Goes, ..doomed }, actions);
        }
        self.count_refused(refused.len() as u64, now, actions);
        for (sent, failure) in refused {
            segment.tally.sunk = segment.tally.sunk.saturating_sub(1);
            self.refuse(sent, sink, failure, actions);
        }
        self.replays_passed([&segment.finished, &segment.retried]);
        for Sent { entry, .. } in &segment.sent {
            self.own.release(entry.lane, entry.chunk, 1);
        }
        self.own.settle(segment.finished);
        self.own.settle_copies(segment.retried);
        if segment.tally != Tally::default() {
            actions.push(Action::Settled(segment.tally));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SinkMask;

    fn sent(offset: i64, replays: u32) -> Sent {
        let (first, key, held) = (Offset(offset), None, SinkMask::NONE);
        let lane = Lane::Retry;
        let entry =
            Entry { first, offset: first, lane, key, chunk: 0, index: 0, held, attempt: 1, lettered: false };
        Sent { entry, replays }
    }

    /// Guarantee: a segment has what it finished of either lane, and the dead letters that it is to decide; it tells the replay numbers of rows that have one.
    #[test]
    fn a_segment_knows_what_waits_in_it() {
        let one = |offset| RunSet::of(Offset(offset), Offset(offset + 1));
        let (finished, retried, doomed) = (one(1), one(3), one(5));
        let segment =
            Segment { finished, retried, doomed, sent: vec![sent(3, 0), sent(4, 2)], ..Segment::default() };
        let had: Vec<i64> = (0..7).filter(|at| segment.has_of((Offset(*at), Offset(at + 1)))).collect();
        assert_eq!(had, [1, 3, 5]);
        assert_eq!(segment.replayed(), [(Offset(4), 2)].into());
        assert_eq!(segment.of_retry_lane(), 2);
    }
}
