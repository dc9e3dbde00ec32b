//! What the poll thread asks the scout, and what other threads have noted for it: answers of the scout, of commits, and words of librdkafka.

use std::time::{Duration, Instant};

use longshore_core::source::SourceEvent;
use longshore_core::{Epoch, Failure, Lane, PairId};

use super::inbox::{Found, Note};
use super::keep::Kept;
use super::pairs::{Pair, State};
use super::poll::Poll;
use super::scout::{Ask, Wanted};
use crate::ffi::OK;

/// How long a pair whose whereabouts could not be found out waits before the scout is asked again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long a pair that cannot begin as things are waits before it is looked at again.
const UNREADY: Duration = Duration::from_secs(5);

impl Poll<'_> {
    /// Asks about pairs that were just given, and again about those that could not be found out.
    pub(super) fn ask_scout(&mut self) {
        let now = Instant::now();
        let mut wanted = Vec::new();
        for pair in self.pairs.iter_mut().filter(|pair| pair.lane == Lane::Input) {
            if let State::Looking(again) = pair.state
                && again.is_none_or(|again| again <= now)
            {
                // The answer, whichever it is, ends this wait long before.
                pair.state = State::Looking(Some(now + Duration::from_secs(60)));
                wanted.push((pair.id.clone(), pair.epoch));
            }
        }
        let wanted: Vec<Wanted> = wanted
            .into_iter()
            .map(|(pair, epoch)| {
                let retry = self.pairs.lane(&pair, epoch, Lane::Retry);
                let retry = retry.map(|lane| (lane.topic.clone(), lane.made_again));
                Wanted { pair, epoch, retry }
            })
            .collect();
        let probe = self.health.wants_probe(now);
        let identities = self.pairs.iter_mut().any(|pair| pair.told) && self.identity.is_due(now);
        let ends = self.wanted_ends(now);
        let coordinator = self.health.place.wants_answer(now);
        if let Some(scout) = &self.scout {
            if !wanted.is_empty() {
                scout.ask(Ask::Pairs(wanted));
            }
            if probe {
                scout.ask(Ask::Topics);
            }
            if coordinator {
                scout.ask(Ask::Coordinator);
            }
            if identities {
                scout.ask(Ask::Identities);
            }
            if !ends.is_empty() {
                scout.ask(Ask::Ends(ends));
            }
        }
    }

    /// Has the pair refused, unless its topic turns out to be another one by now. Of a pair that does not flow it is the
    /// answer to a fetch from before it began anew.
    pub(super) fn suspect(&mut self, id: &PairId, failure: Failure) {
        if let (Some(scout), Some(pair)) = (&self.scout, self.pairs.find(id.topic.as_str(), id.partition.0))
            && pair.state == State::Flowing
        {
            scout.ask(Ask::Suspect(pair.id.clone(), pair.epoch, failure));
        }
    }

    pub(super) fn take_notes(&mut self) {
        while let Some(note) = self.inbox.take() {
            match note {
                Note::Rebalance(change) => self.rebalance.push(change),
                Note::Committed(entries, code) => {
                    if code == OK {
                        self.all_well();
                    }
                    for (commit, code) in self.commits.answered(&entries, code) {
                        self.commit_answered(commit, code);
                    }
                }
                Note::Error(code) => self.connection_error(code),
                Note::NotFetched(topic, partition, words) => self.not_fetched(&topic, partition, words),
                Note::Found(found) => {
                    self.all_well();
                    self.found(*found);
                }
                Note::Refused(pair, epoch, failure) => {
                    if let Some(owned) = self.pairs.owned(&pair, epoch)
                        && owned.state != State::Resting
                    {
                        self.pairs.both(&pair, epoch, |lane| {
                            lane.state = State::Resting;
                            lane.told = true;
                        });
                        self.say(SourceEvent::Refused { pair, failure });
                    }
                }
                Note::Unready(pair, epoch, failure) => self.unready(pair, epoch, failure),
                Note::NotFound(pair, epoch, failure) => {
                    if let Some(owned) = self.pairs.owned(&pair, epoch) {
                        owned.state = State::Looking(Some(Instant::now() + LOOK_AGAIN));
                        self.trouble(failure);
                    }
                }
                Note::Unanswered(pair, epoch, words) => self.unanswered(&pair, epoch, words),
                Note::Identified(seen) => {
                    self.identity.answered();
                    self.compare(&seen);
                }
                Note::EndsSeen(ends) => self.ends_seen(ends),
                Note::Ends(pair, epoch, end) => self.say(SourceEvent::EndFound { pair, epoch, end }),
                Note::Coordinator(answers) => self.health.place.answered(answers),
                Note::Probed(Ok(())) => self.topics_well(),
                Note::Probed(Err(failure)) => self.trouble(failure),
            }
        }
    }

    /// A leader does not tell where a pair stands, which is told when it lasts ([`super::standing`]).
    fn unanswered(&mut self, pair: &PairId, epoch: Epoch, words: String) {
        let now = Instant::now();
        if let Some(owned) = self.pairs.owned(pair, epoch) {
            owned.state = State::Looking(Some(now + LOOK_AGAIN));
            owned.leader_failed(words, now);
        }
    }

    /// It is known where a pair stands.
    fn found(&mut self, found: Found) {
        let Found { assignment, retry_id, lost } = found;
        let (pair, epoch) = (assignment.pair.clone(), assignment.epoch);
        if !self.pairs.owned(&pair, epoch).is_some_and(|pair| matches!(pair.state, State::Looking(_))) {
            return;
        }
        let kept = assignment.retry.as_ref().and_then(|retry| retry.committed.clone());
        let kept = kept.map(|position| Kept::inherited(position, self.options.recommit));
        self.pairs.both(&pair, epoch, |lane| {
            lane.state = State::Waiting;
            lane.told = true;
            lane.refused = false;
            lane.leader_answered();
            match lane.lane {
                Lane::Input => lane.topic_id.clone_from(&assignment.topic_id),
                Lane::Retry => {
                    lane.topic_id.clone_from(&retry_id);
                    lane.kept.clone_from(&kept);
                }
            }
        });
        if let Some(words) = lost {
            self.say(SourceEvent::CopiesLost { pair, words });
        }
        self.say(SourceEvent::Assigned(assignment));
    }

    /// A pair cannot begin as things are; it is said once, and looked at again and again, since somebody may set it right.
    fn unready(&mut self, pair: PairId, epoch: Epoch, failure: Failure) {
        let looked_for = |pair: &&mut Pair| matches!(pair.state, State::Looking(_));
        let Some(owned) = self.pairs.owned(&pair, epoch).filter(looked_for) else { return };
        owned.state = State::Looking(Some(Instant::now() + UNREADY));
        let said = std::mem::replace(&mut owned.refused, true);
        owned.told = true;
        if !said {
            self.say(SourceEvent::Refused { pair, failure });
        }
    }
}
