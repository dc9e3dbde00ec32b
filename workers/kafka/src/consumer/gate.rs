//! The gate for large records (I5).
//!
//! Kafka always hands out at least one record, however large it is, so nobody can be asked before a large record is here. A
//! few of them at once, one for each partition, are many times the budget. So each is held up at this gate before it is copied:
//!
//! - If there is room for all the copies that will be made of it, the room is taken at once and kept until the record is
//!   settled.
//! - Otherwise it is let go of. Its partition stands in a line, and when its turn comes the room is taken *first* and the record
//!   is fetched again. Whoever came first goes first; a smaller one never overtakes, or the largest would starve.
//! - While somebody whose turn it is waits for room, no other partition is fetched, so that room comes to be. If nothing is given
//!   back for a while (a step or a sink holds its records for minutes), the others go on for five times as long, and then it is
//!   tried again with twice the patience: others lose a sixth of their time, and the line moves when what is under way is done.
//!
//! A large copy in a retry lane may have to wait for hours until it is tried, so its value is left in the topic at first, and the lane
//! goes on. When its turn comes the lane is sent back to it, and then it passes the gate like any other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_core::record::LARGE_RECORD_BYTES;
use longshore_core::{Budget, Charge, Epoch, Lane, Offset, PairId};

/// How often a record that has a chunk of its own is held at the same time, its rows not counted (they are charged where
/// they are made): here, in the producer's queue, and packed for the broker. Small records have only the first of these for
/// themselves; the queues that make the others are bounded in bytes.
const COPIES: u64 = 3;
/// A record is large when its copies take more than one part in so many of the budget.
const LARGE_SHARE: u64 = 16;
/// So little use of the budget, one part in so many, is none: a record that can never fit goes in alone.
const UNUSED_SHARE: u64 = 8;
/// How long nothing may be given back before other partitions go on, at first.
const PATIENCE: Duration = Duration::from_secs(2);
/// They go on so many times as long as they have stood.
const LULL: u32 = 5;

/// What a record that has a chunk of its own is charged with.
pub(super) fn footprint(bytes: usize) -> u64 {
    bytes as u64 * COPIES
}

/// A partition whose next record is large and was let go of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) pair: PairId,
    pub(super) epoch: Epoch,
    pub(super) lane: Lane,
    /// The record.
    pub(super) offset: Offset,
    /// Its size.
    pub(super) bytes: usize,
}

/// How a waiting partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It could be fetched.
    Ready,
    /// Its own earlier records come first: it keeps its place and holds nobody up.
    Busy,
    /// It is not ours any more, or was begun anew.
    Gone,
}

/// Whether other partitions stand still for the first one in the line.
#[derive(Clone, Copy, Debug)]
enum Hold {
    No,
    /// They do, as long as room is given back.
    Yes {
        lowest: u64,
        since: Instant,
    },
    /// They go on until then, since nothing was given back.
    Lull {
        until: Instant,
    },
}

/// The gate. The poll thread alone touches it.
#[derive(Debug)]
pub(super) struct Gate {
    budget: Arc<Budget>,
    large_bytes: usize,
    line: VecDeque<Waiting>,
    hold: Hold,
    patience: Duration,
}

impl Gate {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        let share = usize::try_from(budget.limit() / LARGE_SHARE / COPIES).unwrap_or(usize::MAX);
        let large_bytes = share.max(LARGE_RECORD_BYTES);
        Self { budget, large_bytes, line: VecDeque::new(), hold: Hold::No, patience: PATIENCE }
    }

    /// Whether a record of this size has to pass the gate. Smaller ones overshoot the budget by no more than what was fetched
    /// ahead, which is bounded in bytes.
    pub(super) fn is_large(&self, bytes: usize) -> bool {
        bytes > self.large_bytes
    }

    /// Room for a record that is here: what was kept for it, or what is free. None when it has to be let go of.
    pub(super) fn enter(&mut self, kept: Option<Charge>, bytes: usize) -> Option<Charge> {
        let need = footprint(bytes);
        let kept = kept.filter(|charge| charge.bytes() >= need);
        if kept.is_none() && (!self.line.is_empty() || !self.has_room(need)) {
            return None;
        }
        kept.or_else(|| Some(self.budget.charge(need)))
    }

    /// Puts a partition into the line.
    pub(super) fn wait(&mut self, waiting: Waiting, now: Instant) {
        self.line.push_back(waiting);
        self.hold_back(now);
        self.budget.note_waiting(self.line.len() as u64);
    }

    /// Lets in whose turn it is, each with its room. Call it in every turn of the loop.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        mut standing: impl FnMut(&Waiting) -> Standing,
    ) -> Vec<(Waiting, Charge)> {
        if self.line.is_empty() {
            return Vec::new();
        }
        self.line.retain(|waiting| standing(waiting) != Standing::Gone);
        let mut entered = Vec::new();
        loop {
            let first = self.line.iter().position(|waiting| standing(waiting) == Standing::Ready);
            let Some(first) = first else {
                // Nobody is held up by those whose own records come first.
                self.hold = Hold::No;
                break;
            };
            let need = footprint(self.line[first].bytes);
            if !self.has_room(need) {
                self.hold_back(now);
                break;
            }
            self.hold = Hold::No;
            self.patience = PATIENCE;
            let Some(waiting) = self.line.remove(first) else { break };
            entered.push((waiting, self.budget.charge(need)));
        }
        self.budget.note_waiting(self.line.len() as u64);
        entered
    }

    /// Whether nobody but those let in is to be fetched.
    pub(super) fn holds_back(&self) -> bool {
        matches!(self.hold, Hold::Yes { .. })
    }

    /// How many partitions wait.
    pub(super) fn waiting(&self) -> usize {
        self.line.len()
    }

    fn has_room(&self, need: u64) -> bool {
        let (used, limit) = (self.budget.used(), self.budget.limit());
        // What waits in the retry lanes will not go away for its sake.
        used + need <= limit || self.budget.moving() <= limit / UNUSED_SHARE
    }

    /// Others stand still from now on, or still, unless nothing is given back.
    fn hold_back(&mut self, now: Instant) {
        let used = self.budget.used();
        match self.hold {
            Hold::Lull { until } if now < until => {}
            Hold::Yes { lowest, since } if used >= lowest => {
                if now.duration_since(since) >= self.patience {
                    self.hold = Hold::Lull { until: now + self.patience.saturating_mul(LULL) };
                    self.patience = self.patience.saturating_mul(2);
                }
            }
            Hold::Yes { .. } | Hold::Lull { .. } | Hold::No => {
                self.hold = Hold::Yes { lowest: used, since: now };
            }
        }
    }
}

#[cfg(test)]
mod tests;
