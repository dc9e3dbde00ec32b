//! Rebalances, one after the other, as a state that the loop goes through.
//!
//! Librdkafka waits for our assign or unassign call and keeps all assigned partitions paused until it comes; heartbeats
//! go on meanwhile. So a revocation takes at most `limits.revoke` plus the answer to its commit.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use longshore_core::source::SourceEvent;
use longshore_core::{Epoch, Failure, PairId, Reason};

use super::pairs::{Place, State, named};
use super::poll::Poll;
use crate::errors::failure;
use crate::ffi::{Change, Entry, PartitionList};

/// Where librdkafka is told that a fresh partition stands, until `Start` seeks. It must not be a logical offset such as the
/// end: librdkafka asks the broker for those, and an answer that a seek has overtaken makes it ask again and move the
/// position *after* the seek, past records that nobody has read.
const PLACEHOLDER: i64 = 0;
/// How long the answer to a revocation's commit may take.
const COMMIT_DEADLINE: Duration = Duration::from_secs(1);

/// Where a revocation stands.
#[derive(Debug)]
enum Phase {
    /// Nothing is being revoked.
    Idle,
    /// Pairs are letting go.
    Releasing { pairs: Vec<(PairId, Epoch)>, entries: Vec<Entry>, deadline: Instant },
    /// Their last commits are on their way.
    Committing { pairs: Vec<(PairId, Epoch)>, entries: Vec<Entry>, deadline: Instant },
}

/// What the group decided and we have not done yet.
#[derive(Debug)]
pub(super) struct Rebalance {
    changes: VecDeque<Change>,
    phase: Phase,
    hurry: bool,
}

impl Default for Rebalance {
    fn default() -> Self {
        Self { changes: VecDeque::new(), phase: Phase::Idle, hurry: false }
    }
}

impl Rebalance {
    pub(super) fn push(&mut self, change: Change) {
        self.changes.push_back(change);
    }

    /// Whether the loop must come back soon.
    pub(super) fn busy(&self) -> bool {
        !matches!(self.phase, Phase::Idle) || !self.changes.is_empty()
    }

    /// At shutdown nobody is left to wait for.
    pub(super) fn hurry(&mut self) {
        self.hurry = true;
    }
}

impl Poll<'_> {
    /// Goes as far as possible without waiting.
    pub(super) fn turn_rebalance(&mut self) {
        loop {
            match std::mem::replace(&mut self.rebalance.phase, Phase::Idle) {
                Phase::Idle => match self.rebalance.changes.pop_front() {
                    Some(Change::Assign(entries)) => self.assign(&entries),
                    Some(Change::Revoke(entries)) => self.revoke(entries),
                    Some(Change::Failed(code)) => self.trouble(failure(code, "rebalance")),
                    None => return,
                },
                Phase::Releasing { pairs, entries, deadline } => {
                    let lost = self.client().assignment_lost();
                    if !lost && !self.all_released(&pairs) && Instant::now() < deadline {
                        self.rebalance.phase = Phase::Releasing { pairs, entries, deadline };
                        return;
                    }
                    let deadline = Instant::now() + COMMIT_DEADLINE;
                    self.rebalance.phase = Phase::Committing { pairs, entries, deadline };
                }
                Phase::Committing { pairs, entries, deadline } => {
                    let waits = pairs.iter().any(|(pair, _)| self.commits.waits_for(pair));
                    if waits && !self.client().assignment_lost() && Instant::now() < deadline {
                        self.rebalance.phase = Phase::Committing { pairs, entries, deadline };
                        return;
                    }
                    self.unassign(&entries);
                }
            }
        }
    }

    /// Takes what is given. Librdkafka is answered at once, so that retained partitions flow again; where the new ones
    /// stand is found out afterwards, while they are paused. Rule 1 of `kafka.md`: one partition that is held already
    /// fails the whole call, so only the difference is assigned; rule 9: an explicit offset, since librdkafka's own
    /// fetch hides the metadata. The placeholder may be gone from the log; [`Poll::start_pairs`] puts that right.
    fn assign(&mut self, entries: &[Entry]) {
        self.given_a_place();
        let held = self.held();
        // The group gives inputs alone; each brings its retry partition with it.
        let places = entries.iter().flat_map(|entry| self.pairs.places(&entry.topic, entry.partition));
        let fresh: Vec<Place> = places.filter(|place| !contains(&held, place)).collect();
        let Some(mut list) = PartitionList::empty() else { return };
        for (topic, partition) in named(&fresh) {
            list.add(topic, partition, PLACEHOLDER, None);
        }
        if let Err((code, text)) = self.client().incremental_assign(&list) {
            tracing::error!(?code, "assign failed: {text}");
            return self.end(Err(Failure::halt(Reason::BrokerFatal, format!("assign failed: {code:?}"))));
        }
        // Before the next poll, so that no record of the placeholder offset is ever seen: a pause discards them.
        self.pause(&fresh);
        for entry in entries {
            self.pairs.add(&entry.topic, entry.partition);
        }
        self.check_held();
        self.all_well();
    }

    /// Begins to give back. A lost assignment is gone already: nothing is committed (trap 11).
    fn revoke(&mut self, entries: Vec<Entry>) {
        if self.client().assignment_lost() {
            return self.unassign(&entries);
        }
        let mut pairs = Vec::new();
        for entry in &entries {
            if let Some(pair) = self.pairs.find(&entry.topic, entry.partition) {
                pairs.push((pair.id.clone(), pair.epoch));
            }
        }
        for (pair, epoch) in &pairs {
            let Some(owned) = self.pairs.owned(pair, *epoch) else { continue };
            let told = owned.told;
            owned.held.shut();
            match owned.state {
                // Refused, or begun anew: the runtime has nothing to finish, so nobody waits for it.
                State::Looking(_) | State::Resting => {
                    self.pairs.both(pair, *epoch, |lane| {
                        lane.state = State::Resting;
                        lane.told = false;
                    });
                }
                State::Waiting | State::Starting(_) | State::Flowing | State::InLine => {}
            }
            if told {
                self.say(SourceEvent::Revoking { pair: pair.clone(), epoch: *epoch });
            }
        }
        let patience = if self.rebalance.hurry { Duration::ZERO } else { self.options.revoke };
        self.rebalance.phase = Phase::Releasing { pairs, entries, deadline: Instant::now() + patience };
    }

    fn all_released(&mut self, pairs: &[(PairId, Epoch)]) -> bool {
        pairs.iter().all(|(pair, epoch)| {
            self.pairs.owned(pair, *epoch).is_none_or(|pair| pair.state == State::Resting)
        })
    }

    /// Gives back what is held of these, and tells the runtime about pairs that did not let go in time.
    fn unassign(&mut self, entries: &[Entry]) {
        // A group that has ended holds nothing and answers nothing; until it is given back what it asked for, it does not end.
        if !self.client().closed() {
            self.give_back(entries);
        }
        for entry in entries {
            if let Some(pair) = self.pairs.remove(&entry.topic, entry.partition)
                && pair.told
            {
                self.say(SourceEvent::Lost { pair: pair.id, epoch: pair.epoch });
            }
        }
        self.check_held();
    }

    fn give_back(&mut self, entries: &[Entry]) {
        let held = self.held();
        let Some(mut list) = PartitionList::empty() else { return };
        let places = entries.iter().flat_map(|entry| self.pairs.places(&entry.topic, entry.partition));
        let gone: Vec<Place> = places.filter(|place| contains(&held, place)).collect();
        for (topic, partition) in named(&gone) {
            list.add(topic, partition, 0, None);
        }
        if let Err((code, text)) = self.client().incremental_unassign(&list) {
            tracing::error!(?code, "unassign failed: {text}");
            self.end(Err(Failure::halt(Reason::BrokerFatal, format!("unassign failed: {code:?}"))));
        }
    }

    /// I8: librdkafka holds the partitions of our pairs, both lanes of each, and no other.
    ///
    /// Nothing is asked while leaving: the group then ends as soon as all is given back, and librdkafka (2.12) drops a question
    /// that it had taken in by then without an answer, for which the caller waits for ever (as in its issue #4884).
    fn check_held(&mut self) {
        if self.leaving() {
            return;
        }
        let Ok(held) = self.client().assignment() else { return };
        let mut held: Vec<_> = held.into_iter().map(|entry| (entry.topic, entry.partition)).collect();
        let places = self.pairs.iter_mut().map(|pair| (pair.topic.as_str().to_owned(), pair.id.partition.0));
        let mut ours: Vec<_> = places.collect();
        held.sort_unstable();
        ours.sort_unstable();
        longshore_core::invariant!(I8, held == ours || self.ended(), "held: {held:?}, ours: {ours:?}");
    }

    fn held(&mut self) -> Vec<Entry> {
        self.client().assignment().unwrap_or_default()
    }
}

fn contains(held: &[Entry], (topic, partition): &Place) -> bool {
    held.iter().any(|held| held.topic == topic.as_str() && held.partition == *partition)
}
