//! The loop of the poll thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use longshore_core::pair::{CommitResult, Position};
use longshore_core::source::{SourceCommand, SourceEvent};
use longshore_core::{Epoch, Failure, PairId, Reason};

use super::commits::Commits;
use super::health::Health;
use super::inbox::{Inbox, Note};
use super::pairs::{Pair, Pairs, State};
use super::rebalance::Rebalance;
use super::scout::{Ask, Scout};
use super::{Events, SourceOptions};
use crate::errors::failure;
use crate::ffi::{Client, Messages, OK, PartitionList, Queue};

/// Records taken in one poll.
const BATCH_RECORDS: usize = 1024;
/// The longest wait for records; commands and answers end it.
const IDLE: Duration = Duration::from_millis(200);
/// The wait while something has to be looked at again soon.
const SOON: Duration = Duration::from_millis(5);
/// How long a pair whose whereabouts could not be found out waits before the scout is asked again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long the answers to the last commits may take at shutdown.
const LAST_COMMITS: Duration = Duration::from_secs(2);
/// How long leaving the group may take: up to four seconds inside a JoinGroup wait (measured).
const CLOSE_DEADLINE: Duration = Duration::from_secs(4);

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    /// Waiting for the answers to commits until then.
    Committing(Instant),
    /// Leaving the group until then.
    Leaving(Instant),
}

/// All state of the poll thread; this thread alone touches it.
pub(super) struct Poll<'a> {
    pub(super) options: SourceOptions,
    pub(super) queue: &'a Arc<Queue>,
    pub(super) events: &'a Events,
    pub(super) pairs: Pairs,
    pub(super) commits: Commits,
    pub(super) rebalance: Rebalance,
    pub(super) health: Health,
    inbox: Arc<Inbox>,
    commands: Receiver<SourceCommand>,
    heartbeat: Arc<AtomicU64>,
    scout: Option<Scout>,
    closing: Closing,
    /// Commits gathered in this turn, sent in one request.
    to_commit: Vec<(PairId, Epoch, Position)>,
    /// Whether everything is paused because the memory budget is used up.
    squeezed: bool,
    ended: Option<Result<(), Failure>>,
}

impl<'a> Poll<'a> {
    pub(super) fn new(
        options: SourceOptions,
        queue: &'a Arc<Queue>,
        inbox: Arc<Inbox>,
        commands: Receiver<SourceCommand>,
        heartbeat: Arc<AtomicU64>,
        events: &'a Events,
    ) -> Self {
        Self {
            options,
            queue,
            events,
            pairs: Pairs::default(),
            commits: Commits::default(),
            rebalance: Rebalance::default(),
            health: Health::default(),
            inbox,
            commands,
            heartbeat,
            scout: None,
            closing: Closing::No,
            to_commit: Vec::new(),
            squeezed: false,
            ended: None,
        }
    }

    pub(super) fn client(&self) -> &Arc<Client> {
        self.queue.client()
    }

    pub(super) fn say(&self, event: SourceEvent) {
        (self.events)(event);
    }

    /// Ends the loop.
    pub(super) fn end(&mut self, result: Result<(), Failure>) {
        self.ended.get_or_insert(result);
    }

    /// Runs until the source has ended.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        let topics = self.options.topics.clone();
        self.pause(&names(&pause));
        if resume.is_empty() {
            return;
        }
        if let Some(list) = PartitionList::of(names(&resume))
            && let Err(code) = self.client().resume(&list)
        {
            tracing::warn!(?code, "resume failed");
        }
        self.client().wake_brokers();
    }

    pub(super) fn pause(&self, pairs: &[(&str, i32)]) {
        if pairs.is_empty() {
            return;
        }
        if let Some(list) = PartitionList::of(pairs.iter().copied())
            && let Err(code) = self.client().pause(&list)
        {
            tracing::warn!(?code, "pause failed");
        }
    }

    fn take_notes(&mut self) {
        while let Some(note) = self.inbox.take() {
            match note {
                Note::Rebalance(change) => self.rebalance.push(change),
                Note::Committed(entries, code) => {
                    if code == OK {
                        self.all_well();
                    }
                    for event in self.commits.answered(&entries, code) {
                        self.say(event);
                    }
                }
                Note::Error(code) => self.connection_error(code),
                Note::Found(assignment) => {
                    self.all_well();
                    if let Some(pair) = self.pairs.owned(&assignment.pair, assignment.epoch)
                        && matches!(pair.state, State::Looking(_))
                    {
                        pair.state = State::Waiting;
                        self.say(SourceEvent::Assigned(*assignment));
                    }
                }
                Note::Refused(pair, epoch, failure) => {
                    if let Some(owned) = self.pairs.owned(&pair, epoch) {
                        owned.state = State::Resting;
                        self.say(SourceEvent::Refused { pair, failure });
                    }
                }
                Note::NotFound(pair, epoch, failure) => {
                    if let Some(owned) = self.pairs.owned(&pair, epoch) {
                        owned.state = State::Looking(Some(Instant::now() + LOOK_AGAIN));
                        self.trouble(failure);
                    }
                }
                Note::Probed(Ok(())) => self.all_well(),
                Note::Probed(Err(failure)) => self.trouble(failure),
            }
        }
    }

    /// Drives a shutdown on: answers to commits, then leaving the group, each with its deadline.
    fn close(&mut self) {
        let now = Instant::now();
        match self.closing {
            Closing::No => {}
            Closing::Committing(deadline) => {
                if self.commits.is_empty() || now >= deadline {
                    self.rebalance.hurry();
                    match self.queue.close_consumer() {
                        Ok(()) => self.closing = Closing::Leaving(now + CLOSE_DEADLINE),
                        Err((code, _)) => self.end(Err(failure(code, "close"))),
                    }
                }
            }
            Closing::Leaving(deadline) => {
                if self.client().closed() {
                    self.end(Ok(()));
                } else if now >= deadline {
                    tracing::warn!(
                        "leaving the consumer group took too long; the group will notice by its timeout"
                    );
                    self.end(Ok(()));
                }
            }
        }
    }
}

fn names(pairs: &[PairId]) -> Vec<(&str, i32)> {
    pairs.iter().map(|id| (id.topic.as_str(), id.partition.0)).collect()
}
