//! Dead letters: decided in the ledger, produced after that publish, settled by the broker's acknowledgement.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::scheduler::Entry;
use crate::{Class, Failure, Moment, RunSet, SinkIndex};

use super::segments::Doomed;
use super::{Action, Letter, LetterId, Pair, Tally};

/// Letters on their way to the dead-letter topic.
#[derive(Debug, Default)]
pub(super) struct Letters {
    next: u64,
    flying: HashMap<LetterId, Flying, FixedState>,
    /// Spans of the records whose letters are not acknowledged.
    pub(super) waiting: RunSet,
}

#[derive(Debug)]
struct Flying {
    entry: Entry,
    letter: Letter,
    holds: bool,
    tries: u32,
    again: Option<Moment>,
}

impl Letters {
    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.flying.len() as u64
    }

    /// When the next one is to be sent again.
    pub(super) fn next_again(&self) -> Option<Moment> {
        self.flying.values().filter_map(|flying| flying.again).min()
    }
}

impl Pair {
    /// The record will be a letter. Where a ledger can remember that, it is decided there first, so that a crash between
    /// the letter and its settling cannot make the record both a row and a letter.
    pub(super) fn doom(
        &mut self,
        entry: Entry,
        failure: Failure,
        holds: bool,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let own = &mut self.own;
        own.finish(&RunSet::of(entry.first, entry.offset.next()));
        let Some(record) = own.chunks.record(entry.chunk, entry.index) else { return };
        let doomed = Doomed { entry, record, failure, holds };
        match own.decider {
            Some(sink) if !entry.lettered => {
                let open = &mut own.sinks[sink].open;
                open.since.get_or_insert(now);
                open.dead.push(doomed);
            }
            _ => self.post(doomed, actions),
        }
    }

    /// A sink without a ledger refused the row of a record that may well be in other sinks: the letter names that sink.
    pub(super) fn refuse(
        &mut self,
        entry: Entry,
        sink: SinkIndex,
        failure: Failure,
        actions: &mut Vec<Action>,
    ) {
        let Some(record) = self.own.chunks.record(entry.chunk, entry.index) else { return };
        let name = &self.options.sinks[usize::from(sink.0)].name;
        self.own.chunks.need(entry.chunk, 1);
        self.post(Doomed { entry, record, failure: failure.at(name), holds: false }, actions);
    }

    /// Produces a letter.
    pub(super) fn post(&mut self, doomed: Doomed, actions: &mut Vec<Action>) {
        let Doomed { entry, record, failure, holds } = doomed;
        let own = &mut self.own;
        let decided = own.decider.and_then(|sink| own.sinks[sink].view.holdings.letter(entry.offset));
        let replays = decided.unwrap_or(0);
        let id = LetterId(own.letters.next);
        own.letters.next += 1;
        let letter = Letter { id, record, failure, attempts: entry.attempt, replays };
        own.letters.waiting.insert_range(entry.first, entry.offset.next());
        actions.push(Action::Letter(letter.clone()));
        own.letters.flying.insert(id, Flying { entry, letter, holds, tries: 0, again: None });
    }

    pub(super) fn letter_delivered(
        &mut self,
        letter: LetterId,
        result: Result<(), Failure>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        match result {
            Ok(()) => self.letter_acknowledged(letter, actions),
            Err(failure) => match failure.class {
                Class::Retry { after, .. } => {
                    let Some(flying) = self.own.letters.flying.get_mut(&letter) else { return };
                    flying.tries += 1;
                    let wait = self.options.backoff.delay(flying.tries, self.own.random.next());
                    flying.again = Some(now.after(after.unwrap_or(wait)));
                }
                // The offset holds and the worker says so: a letter that cannot be written must not be forgotten.
                Class::Reject | Class::Halt => {
                    if self.own.letters.flying.contains_key(&letter) {
                        self.halt(failure, actions);
                    }
                }
            },
        }
    }

    fn letter_acknowledged(&mut self, letter: LetterId, actions: &mut Vec<Action>) {
        let own = &mut self.own;
        let Some(Flying { entry, letter, holds, .. }) = own.letters.flying.remove(&letter) else { return };
        let dead = vec![(letter.failure.reason, 1)];
        actions.push(Action::Settled(Tally { dead, ..Tally::default() }));
        own.chunks.release(entry.chunk, 1);
        if holds && own.decider.is_none() {
            own.scheduler.complete(&entry);
        }
        // Several sinks may have refused the same record: it waits for all their letters.
        if own.sinks.len() > 1 && own.letters.flying.values().any(|other| other.entry.offset == entry.offset)
        {
            return;
        }
        own.letters.waiting.remove_range(entry.first, entry.offset.next());
        own.settle(RunSet::of(entry.first, entry.offset.next()));
    }

    /// Sends letters again that could not be delivered for a passing reason.
    pub(super) fn post_again(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.own.letters.next_again().is_none_or(|due| due > now) {
            return;
        }
        for flying in
            self.own.letters.flying.values_mut().filter(|flying| flying.again.is_some_and(|due| due <= now))
        {
            flying.again = None;
            actions.push(Action::Letter(flying.letter.clone()));
        }
    }
}
