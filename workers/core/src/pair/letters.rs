//! Letters on their way to a topic: dead letters, which are decided in the ledger first, and copies for the retry topic. A
//! record settles in its lane when the broker has acknowledged its letter.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::FixedState;

use crate::retry::OUTAGE;
use crate::scheduler::Entry;
use crate::{Class, Failure, Lane, Moment, Offset, Reason, RecordRef, RunSet, SinkIndex};

use super::segments::{Behind, Doomed, Sent};
use super::{Action, Destination, Letter, LetterId, Pair, Tally};

/// Letters on their way.
#[derive(Debug, Default)]
pub(super) struct Letters {
    next: u64,
    flying: HashMap<LetterId, Flying, FixedState>,
    /// The same by the record's origin; several sinks may have refused it. Letters of what is nobody's copy are not among them.
    by_origin: BTreeSet<(Offset, LetterId)>,
    /// Those that could not be delivered for a passing reason, by when they are sent again.
    again: BTreeSet<(Moment, LetterId)>,
    /// Spans of the input lane's records whose letters are not acknowledged.
    pub(super) waiting: RunSet,
    /// Origins of the retry lane's records whose dead letters are not acknowledged.
    pub(super) retried: RunSet,
}

#[derive(Debug)]
pub(super) struct Flying {
    pub(super) entry: Entry,
    pub(super) letter: Letter,
    /// The copies that this letter takes the place of.
    pub(super) copies: Vec<Offset>,
    behind: Behind,
    tries: u32,
}

impl Flying {
    /// A letter that is to be sent.
    pub(super) fn new(
        entry: Entry,
        to: Destination,
        record: RecordRef,
        failure: Failure,
        attempts: u32,
        replays: u32,
    ) -> Self {
        let (id, origin) = (LetterId(0), Some(entry.offset));
        let letter = Letter { id, to, origin, record, failure, attempts, replays, trace: None };
        Self { entry, letter, copies: Vec::new(), behind: Behind::Goes, tries: 0 }
    }

    /// The letter of a record of the retry topic that is nobody's copy.
    pub(super) fn stray(record: RecordRef, failure: Failure, offset: Offset) -> Self {
        let entry = Entry {
            first: offset,
            offset,
            lane: Lane::Retry,
            key: None,
            chunk: u32::MAX,
            index: 0,
            held: crate::SinkMask::NONE,
            attempt: 0,
            lettered: true,
        };
        let flying = Self::new(entry, Destination::DeadLetters, record, failure, 0, 0);
        let letter = Letter { origin: None, ..flying.letter };
        Self { letter, copies: vec![offset], ..flying }
    }

    /// The letter takes the place of a copy, which settles when it is acknowledged.
    pub(super) fn instead_of(mut self, copy: Option<Offset>) -> Self {
        self.copies.extend(copy);
        self
    }

    fn is_dead(&self) -> bool {
        self.letter.to == Destination::DeadLetters && self.letter.origin.is_some()
    }
}

impl Letters {
    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.flying.len() as u64
    }

    /// How many are of records of the retry lane.
    pub(super) fn of_retry_lane(&self) -> u64 {
        let of_lane = |flying: &&Flying| flying.entry.lane == Lane::Retry && flying.letter.origin.is_some();
        self.flying.values().filter(of_lane).count() as u64
    }

    /// When the next one is to be sent again.
    pub(super) fn next_again(&self) -> Option<Moment> {
        self.again.first().map(|(due, _)| *due)
    }

    /// Takes a letter that has its answer.
    fn take(&mut self, letter: LetterId) -> Option<Flying> {
        let flying = self.flying.remove(&letter)?;
        self.by_origin.remove(&(flying.entry.offset, letter));
        Some(flying)
    }

    /// The letters of a record that are on their way.
    fn of(&self, origin: Offset) -> impl Iterator<Item = &Flying> {
        let ids = self.by_origin.range((origin, LetterId(0))..=(origin, LetterId(u64::MAX)));
        ids.filter_map(|(_, letter)| self.flying.get(letter))
    }

    /// The letter on its way that carries the next copy of a record; none when it was acknowledged.
    pub(super) fn leaving(&mut self, origin: Offset) -> Option<&mut Flying> {
        let leaves = |flying: &&Flying| {
            let retried = matches!(flying.letter.to, Destination::Retry { .. });
            retried && flying.entry.lane == Lane::Retry
        };
        let letter = self.of(origin).find(leaves)?.letter.id;
        self.flying.get_mut(&letter)
    }

    /// Whether the dead letter of a record, of this replay or a later one, is on its way.
    pub(super) fn is_flying(&self, origin: Offset, replays: u32) -> bool {
        self.of(origin).any(|flying| flying.is_dead() && flying.letter.replays >= replays)
    }

    /// Whether a dead letter of a record in this lane is on its way.
    fn is_dead_in(&self, lane: Lane, origin: Offset) -> bool {
        self.of(origin).any(|flying| flying.is_dead() && flying.entry.lane == lane)
    }
}

impl Pair {
    /// The record will be a letter.
    pub(super) fn doom(
        &mut self,
        entry: Entry,
        failure: Failure,
        holds: bool,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let own = &mut self.own;
        let Some(record) = own.record(&entry) else { return };
        let mut replays = 0;
        match entry.lane {
            Lane::Input => {
                own.finish(&RunSet::of(entry.first, entry.offset.next()));
                own.relettering.remove(&entry.offset);
                if let Some(lane) = &mut own.retry {
                    lane.note_end(&entry);
                }
            }
            Lane::Retry => {
                replays = self.tried(&entry, !holds).unwrap_or(0);
            }
        }
        let behind = if holds { Behind::Frozen } else { Behind::Goes };
        self.decide(Doomed { entry, record, failure, behind, replays }, now, actions);
    }

    /// Where a ledger can remember that a record is a letter, it is decided there first, so that a crash between the letter
    /// and its settling cannot make the record both a row and a letter.
    pub(super) fn decide(&mut self, doomed: Doomed, now: Moment, actions: &mut Vec<Action>) {
        match self.own.decider {
            // Its row is there already, and others lack it: the letter is for those, and names the first.
            Some(sink) if !doomed.entry.lettered && doomed.entry.held.contains(SinkIndex(sink as u8)) => {
                let lacks = self.own.all_sinks().without(doomed.entry.held).iter().next();
                let name = lacks.map_or("", |sink| self.options.sinks[usize::from(sink.0)].name.as_str());
                let failure = doomed.failure.at(name);
                self.post(Doomed { failure, ..doomed }, actions);
            }
            Some(sink) if !doomed.entry.lettered => {
                let open = &mut self.own.sinks[sink].open;
                open.since.get_or_insert(now);
                open.doomed.insert(doomed.entry.offset);
                open.dead.push(doomed);
            }
            _ => self.post(doomed, actions),
        }
    }

    /// A sink refused the row of a record that may well be in other sinks: the letter names that sink. Where that sink's ledger
    /// decides letters, the decision was published with the refusal.
    pub(super) fn refuse(
        &mut self,
        sent: Sent,
        sink: SinkIndex,
        failure: Failure,
        actions: &mut Vec<Action>,
    ) {
        let Sent { entry, replays } = sent;
        let Some(record) = self.own.record(&entry) else { return };
        let (name, ledger) =
            (&self.options.sinks[usize::from(sink.0)].name, self.own.sinks[usize::from(sink.0)].ledger);
        if let Some(lane) = self.own.retry.as_mut().filter(|_| !ledger) {
            lane.note_refused(entry.offset);
        }
        self.own.need(&entry);
        self.post(
            Doomed { entry, record, failure: failure.at(name), behind: Behind::Goes, replays },
            actions,
        );
    }

    /// Produces a dead letter.
    pub(super) fn post(&mut self, doomed: Doomed, actions: &mut Vec<Action>) {
        let Doomed { entry, record, failure, behind, replays } = doomed;
        let own = &mut self.own;
        match entry.lane {
            Lane::Input => own.letters.waiting.insert_range(entry.first, entry.offset.next()),
            Lane::Retry => own.letters.retried.insert_range(entry.offset, entry.offset.next()),
        }
        let flying = Flying::new(entry, Destination::DeadLetters, record, failure, entry.attempt, replays);
        self.send(Flying { behind, ..flying }, actions);
    }

    /// Produces a letter of any kind.
    pub(super) fn send(&mut self, mut flying: Flying, actions: &mut Vec<Action>) {
        let letters = &mut self.own.letters;
        let id = LetterId(letters.next);
        letters.next += 1;
        flying.letter.id = id;
        if let (Destination::Retry { .. }, Lane::Input) = (flying.letter.to, flying.entry.lane) {
            letters.waiting.insert_range(flying.entry.first, flying.entry.offset.next());
        }
        if flying.letter.origin.is_some() {
            letters.by_origin.insert((flying.entry.offset, id));
        }
        actions.push(Action::Letter(Box::new(flying.letter.clone())));
        letters.flying.insert(id, flying);
    }

    /// Answers came. Letters are sent many at a time, and what their answers settle is settled in one go, before anything is done
    /// about those that failed: a halt commits what is settled by then.
    pub(super) fn letters_delivered(
        &mut self,
        answers: Vec<(LetterId, Result<(), Failure>)>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let (mut acknowledged, mut failed) = (Acknowledged::default(), Vec::new());
        for (letter, result) in answers {
            match result {
                Ok(()) => self.letter_acknowledged(letter, &mut acknowledged),
                Err(failure) => failed.push((letter, failure)),
            }
        }
        self.settle_acknowledged(acknowledged, actions);
        for (letter, failure) in failed {
            self.letter_failed(letter, failure, now, actions);
        }
    }

    fn settle_acknowledged(&mut self, acknowledged: Acknowledged, actions: &mut Vec<Action>) {
        let Acknowledged { spans, retried, tally } = acknowledged;
        if tally != Tally::default() {
            actions.push(Action::Settled(tally));
        }
        if !spans.is_empty() {
            let spans = RunSet::collect(spans);
            self.own.letters.waiting.subtract(&spans);
            self.own.settle(spans);
        }
        if !retried.is_empty() {
            let retried = RunSet::collect(retried);
            self.own.letters.retried.subtract(&retried);
            self.own.settle_copies(retried);
        }
    }

    fn letter_failed(&mut self, letter: LetterId, failure: Failure, now: Moment, actions: &mut Vec<Action>) {
        match failure.class {
            Class::Retry { after, .. } => {
                let letters = &mut self.own.letters;
                let Some(flying) = letters.flying.get_mut(&letter) else { return };
                flying.tries += 1;
                let wait = OUTAGE.delay(flying.tries, self.own.random.next());
                letters.again.insert((now.after(after.unwrap_or(wait)), letter));
            }
            Class::Reject => self.letter_refused(letter, failure, now, actions),
            Class::Halt => {
                if self.own.letters.flying.contains_key(&letter) {
                    self.halt(failure, actions);
                }
            }
        }
    }

    /// A record that the retry topic refuses goes to the dead letters, whether it fails or is carried forward. One that those refuse has no
    /// place left: the offset holds and the worker says so, since a letter that cannot be written must not be forgotten.
    fn letter_refused(&mut self, letter: LetterId, failure: Failure, now: Moment, actions: &mut Vec<Action>) {
        let Some(to) = self.own.letters.flying.get(&letter).map(|flying| flying.letter.to) else { return };
        if to == Destination::DeadLetters {
            return self.halt(failure, actions);
        }
        let Some(flying) = self.own.letters.take(letter) else { return };
        match to {
            Destination::Tail => self.carry_refused(flying, failure, now, actions),
            Destination::Retry { .. } | Destination::DeadLetters => {
                self.hand_over_refused(flying, failure, now, actions);
            }
        }
    }

    fn letter_acknowledged(&mut self, letter: LetterId, acknowledged: &mut Acknowledged) {
        let own = &mut self.own;
        let Some(flying) = own.letters.take(letter) else { return };
        let (entry, reason) = (flying.entry, flying.letter.failure.reason);
        if flying.letter.origin.is_some() {
            own.release(entry.lane, entry.chunk, 1);
        }
        match flying.letter.to {
            Destination::DeadLetters => {
                count(&mut acknowledged.tally.dead, reason);
                self.dead_letter_acknowledged(&flying, acknowledged);
            }
            Destination::Retry { .. } | Destination::Tail => {
                if flying.letter.to != Destination::Tail {
                    count(&mut acknowledged.tally.retried, reason);
                }
                self.copy_acknowledged(&flying, acknowledged);
            }
        }
    }

    fn dead_letter_acknowledged(&mut self, flying: &Flying, acknowledged: &mut Acknowledged) {
        let (own, entry) = (&mut self.own, &flying.entry);
        if let (None, Some(lane)) = (flying.letter.origin, &mut own.retry) {
            return flying.copies.iter().for_each(|copy| lane.settle_now(*copy));
        }
        self.thaw(entry, flying.behind);
        let own = &mut self.own;
        // Several sinks may have refused the same record: it waits for all their letters. A replay in the retry lane that
        // has failed again meanwhile waits for its own.
        if own.letters.is_dead_in(entry.lane, entry.offset) {
            return;
        }
        match entry.lane {
            Lane::Input => acknowledged.spans.push(entry.span()),
            Lane::Retry => {
                if let Some(lane) = own.retry.as_mut().filter(|_| entry.lettered) {
                    lane.note_relettered(entry.offset);
                }
                acknowledged.retried.push((entry.offset.0, entry.offset.next().0));
            }
        }
    }

    /// What stands behind a record goes on: the decision over it is durable.
    pub(super) fn thaw(&mut self, entry: &Entry, behind: Behind) {
        let parked = match behind {
            Behind::Goes => return,
            Behind::Frozen => {
                self.own.scheduler.complete(entry);
                entry.lane == Lane::Retry
            }
            Behind::Parked => true,
        };
        if let Some(lane) = self.own.retry.as_mut().filter(|_| parked) {
            lane.release_key(entry.offset, entry.key);
        }
    }

    fn copy_acknowledged(&mut self, flying: &Flying, acknowledged: &mut Acknowledged) {
        let (own, entry) = (&mut self.own, &flying.entry);
        let covered = own.commits.acknowledged();
        match (entry.lane, &mut own.retry) {
            (Lane::Retry, Some(lane)) => {
                flying.copies.iter().for_each(|copy| lane.settle(entry.offset, *copy, covered));
            }
            (Lane::Retry, None) => {}
            (Lane::Input, _) => acknowledged.spans.push(entry.span()),
        }
    }

    /// Sends letters again that could not be delivered for a passing reason.
    pub(super) fn post_again(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let letters = &mut self.own.letters;
        while let Some(&(due, letter)) = letters.again.first()
            && due <= now
        {
            letters.again.pop_first();
            if let Some(flying) = letters.flying.get(&letter) {
                actions.push(Action::Letter(Box::new(flying.letter.clone())));
            }
        }
    }
}

/// What acknowledged letters settle.
#[derive(Default)]
struct Acknowledged {
    /// Spans of the input lane's records.
    spans: Vec<(i64, i64)>,
    /// Origins of the retry lane's records whose dead letters these were, as runs.
    retried: Vec<(i64, i64)>,
    tally: Tally,
}

/// One more of a reason.
fn count(tally: &mut Vec<(Reason, u64)>, reason: Reason) {
    match tally.iter_mut().find(|(known, _)| *known == reason) {
        Some((_, count)) => *count += 1,
        None => tally.push((reason, 1)),
    }
}
