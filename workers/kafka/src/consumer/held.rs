//! Records that came when their pair had no credit.
//!
//! A pause throws away what librdkafka has fetched ahead of a partition, and after the resume all of it is fetched, checked and
//! unpacked once more. A fetch brings up to 1 MiB of a partition; where many share the memory, a window has room for a part of that, so
//! that over 256 partitions six of seven bytes were fetched for nothing (measured); and one partition alone stood still each time its window was
//! full until the next answer came. So a pair whose credit is used up is not paused at
//! once: what comes is held back here, in chunks that are charged to the budget like all others (I5), and handed over as credit comes.
//!
//! How much is held back is bounded. At a first mark for all pairs together the loop rests between two polls, so that what was
//! fetched stays in librdkafka's queue, whose own bound then stops it from fetching more. A pair that this does not help, since it is
//! slower than the others or stands still, is paused after all, until nothing of it is held back.
//!
//! While half of the budget is taken otherwise, the loop rests for anything that is held back, and less may be: a poll brings no more than a batch, so
//! that a pair that stands still is paused before it has taken much. A pause at once, as it was, had six to twelve bytes of ten
//! fetched once more where sinks or steps are slower than reading and windows are full all the time (measured).
//!
//! The retry lane is paused at once: it is sent to and fro, and what was held back would be of another place. So is a pair in front of a
//! record that has to pass the gate ([`super::gate`]): the room that it takes may be what another one waits for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_core::source::SourceEvent;
use longshore_core::{Chunk, Epoch, Lane, Offset, PairId};

use super::pairs::{Pair, State};
use super::poll::Poll;

/// At one part in so many of the budget the loop rests, and at half as much again pairs are paused; where others need the budget they are paused at
/// this part, and the loop rests before.
const BUDGET_SHARE: u64 = 16;
/// One pair may have one part in so many of what all may have, where there are others.
const PAIR_SHARE: u64 = 4;
/// The longest rest between two polls, and so how late a callback may be served.
const REST: Duration = Duration::from_millis(20);
/// How long the loop rests again and again for a pair of which nothing is handed over.
const PATIENCE: Duration = Duration::from_millis(100);

/// What is held back of one lane, in offset order.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Each with what it is charged with.
    chunks: VecDeque<(Arc<Chunk>, u64)>,
    bytes: u64,
    /// Since when nothing was handed over; none when nothing is held back.
    since: Option<Instant>,
    /// In front of a record that is not held back.
    stopped: bool,
    shut: bool,
}

impl Held {
    fn push(&mut self, chunk: Arc<Chunk>, bytes: u64, now: Instant) {
        if !self.shut {
            self.chunks.push_back((chunk, bytes));
            self.bytes += bytes;
            self.since.get_or_insert(now);
        }
    }

    fn pop(&mut self, now: Instant) -> Option<Arc<Chunk>> {
        let (chunk, bytes) = self.chunks.pop_front()?;
        self.bytes -= bytes;
        self.since = (!self.chunks.is_empty()).then_some(now);
        Some(chunk)
    }

    /// Whether all that came was handed over.
    pub(super) fn is_clear(&self) -> bool {
        self.chunks.is_empty() && !self.shut
    }

    /// Nothing of this ownership is handed over any more, neither what is here nor what may come.
    pub(super) fn shut(&mut self) {
        *self = Self { shut: true, ..Self::default() };
    }
}

/// How much is held back, and how much may be. Of one turn of the loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding {
    bytes: u64,
    rest_bytes: u64,
    most_bytes: u64,
    most_bytes_of_one: u64,
}

impl Holding {
    /// `pairs` is how many may be fetched; `is_needed` whether half of the budget is taken otherwise.
    fn new(bytes: u64, budget_bytes: u64, pairs: u64, is_needed: bool) -> Self {
        let share = budget_bytes / BUDGET_SHARE;
        let (rest_bytes, most_bytes) = if is_needed { (0, share) } else { (share, share + share / 2) };
        let most_bytes_of_one = most_bytes / pairs.clamp(1, PAIR_SHARE);
        Self { bytes, rest_bytes, most_bytes, most_bytes_of_one }
    }

    /// Whether the loop shall wait a moment for what this pair has to do.
    fn is_much(&self, held: &Held) -> bool {
        !held.chunks.is_empty() && self.bytes >= self.rest_bytes
    }

    /// Whether the pair shall not be fetched any more.
    fn is_too_much(&self, held: &Held, now: Instant) -> bool {
        let stands_still = held.since.is_some_and(|since| now.duration_since(since) >= PATIENCE);
        let is_full = self.bytes >= self.most_bytes || held.bytes >= self.most_bytes_of_one;
        held.stopped || is_full || (stands_still && self.is_much(held))
    }
}

impl Pair {
    /// A chunk that may be handed over, none when it is held back.
    pub(super) fn give(&mut self, chunk: Arc<Chunk>, charged_bytes: u64, now: Instant) -> Option<Arc<Chunk>> {
        if self.lane == Lane::Input && !self.takes_at_once() {
            self.held.push(chunk, charged_bytes, now);
            return None;
        }
        self.credit.spend(chunk.len() as u64, chunk.bytes() as u64);
        Some(chunk)
    }

    fn give_held(&mut self, now: Instant) -> Option<Arc<Chunk>> {
        let takes = matches!(self.state, State::Starting(_) | State::Flowing | State::InLine);
        let chunk = if takes && self.credit.is_left() { self.held.pop(now)? } else { return None };
        self.credit.spend(chunk.len() as u64, chunk.bytes() as u64);
        Some(chunk)
    }

    /// Whether nothing would be held back of what comes now.
    fn takes_at_once(&self) -> bool {
        self.held.is_clear() && self.credit.is_left()
    }

    /// Whether a record that has to pass the gate may try to. Otherwise the pair is paused in front of it until it has credit.
    pub(super) fn comes_to_the_gate(&mut self, offset: Offset) -> bool {
        if self.lane == Lane::Retry || self.takes_at_once() {
            return true;
        }
        self.held.stopped = true;
        self.state = State::Starting(offset);
        false
    }

    /// Whether librdkafka shall fetch.
    pub(super) fn wants_flow(&mut self, holding: &Holding, now: Instant) -> bool {
        let has_credit = self.credit.wants_flow(now) && self.held.is_clear();
        self.held.stopped &= !has_credit;
        let holds_back =
            self.lane == Lane::Input && self.credit.flowing && !holding.is_too_much(&self.held, now);
        self.state == State::Flowing && (has_credit || holds_back)
    }

    /// Whether the loop shall rest for the sake of this pair.
    pub(super) fn wants_rest(&self, holding: &Holding) -> bool {
        self.credit.flowing && holding.is_much(&self.held)
    }
}

impl Poll<'_> {
    /// Hands over what was held back of a pair, as far as its credit goes.
    pub(super) fn hand_over_held(&mut self, pair: &PairId, epoch: Epoch) {
        let now = Instant::now();
        let next = |pair: &mut Pair| pair.give_held(now);
        while let Some(chunk) = self.pairs.lane(pair, epoch, Lane::Input).and_then(next) {
            self.say(SourceEvent::Received(chunk));
        }
    }

    /// How much is held back in this turn. What belongs to nobody any more is let go of.
    pub(super) fn holding(&mut self) -> Holding {
        let (mut bytes, mut pairs) = (0, 0);
        for pair in self.pairs.iter_mut().filter(|pair| pair.lane == Lane::Input) {
            if pair.state == State::Resting {
                pair.held.shut();
            }
            bytes += pair.held.bytes;
            pairs += u64::from(pair.state == State::Flowing);
        }
        let budget = &self.options.budget;
        let is_needed = budget.used().saturating_sub(bytes) >= budget.limit() / 2;
        Holding::new(bytes, budget.limit(), pairs, is_needed)
    }

    /// Waits for a command instead of polling; false when it is time to poll.
    pub(super) fn rests(&mut self) -> bool {
        let left = REST.saturating_sub(self.asked.elapsed());
        if !self.crowded || left.is_zero() || self.rebalance.busy() || self.closing() {
            return false;
        }
        self.obey_next(left)
    }
}

#[cfg(test)]
mod tests;
