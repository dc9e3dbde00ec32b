//! The loop of the poll thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use longshore_core::pair::{CommitResult, Position};
use longshore_core::source::{SourceCommand, SourceEvent};
use longshore_core::{Epoch, Failure, Lane, PairId, Reason};

use super::commits::Commits;
use super::health::Health;
use super::identity::Identity;
use super::inbox::{Inbox, Note};
use super::markers::Markers;
use super::pairs::{Pair, Pairs, State};
use super::rebalance::Rebalance;
use super::scout::{Ask, Scout};
use super::{Events, SourceOptions};
use crate::errors::failure;
use crate::ffi::{Client, Code, Entry, Messages, OK, PartitionList, Queue};

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

/// So many refused seeks in a row mean that librdkafka has stopped the partition; one that was just assigned refuses a few.
const DENIED_MAX: u32 = 50;

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
    pub(super) markers: Markers,
    identity: Identity,
    pub(super) inbox: Arc<Inbox>,
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
            markers: Markers::default(),
            identity: Identity::default(),
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
        let names = PartitionList::of(topics.iter().map(|topic| (topic.as_str(), -1)));
        let names = names.ok_or_else(|| Failure::halt(Reason::Internal, "no memory"))?;
        let scout =
            Scout::spawn(Arc::clone(self.queue), Arc::clone(&self.inbox), topics, self.options.start)?;
        scout.ask(Ask::Topics);
        self.scout = Some(scout);
        self.client().subscribe(&names).map_err(|code| failure(code, "subscribe"))?;
        let mut messages = Messages::new(Arc::clone(self.queue), BATCH_RECORDS);
        let result = loop {
            self.heartbeat.fetch_add(1, Ordering::Relaxed);
            self.take_commands();
            self.send_commits();
            self.turn_rebalance();
            self.start_pairs();
            self.ask_scout();
            self.set_flow();
            self.close();
            if let Some(result) = self.ended.take() {
                break result;
            }
            messages.poll(self.wait());
            self.compare_renewed();
            self.route(&messages);
            self.pass_markers();
            self.take_notes();
        };
        for event in self.commits.give_up() {
            self.say(event);
        }
        result
    }

    /// How long the poll may wait for a record.
    fn wait(&mut self) -> Duration {
        let restless = self.squeezed || self.rebalance.busy() || self.closing != Closing::No;
        let soon = restless
            || self.pairs.iter_mut().any(|pair| match pair.state {
                State::Starting(_) => true,
                State::Flowing => pair.credit.waits(),
                State::Looking(_) | State::Waiting | State::Resting => false,
            });
        if soon { SOON } else { IDLE }
    }

    fn take_commands(&mut self) {
        // Bounded, so that a flood of commands never keeps the consumer from polling.
        for _ in 0..10_000 {
            match self.commands.try_recv() {
                Ok(command) => self.obey(command),
                Err(_) => return,
            }
        }
    }

    fn obey(&mut self, command: SourceCommand) {
        match command {
            // The retry partition is assigned and read once the source knows of it; until then no pair has that lane.
            SourceCommand::Start { lane: Lane::Retry, .. }
            | SourceCommand::Grant { lane: Lane::Retry, .. }
            | SourceCommand::Commit { lane: Lane::Retry, .. } => {}
            SourceCommand::Start { pair, epoch, lane: Lane::Input, offset } => {
                if let Some(pair) = self.pairs.owned(&pair, epoch).filter(|pair| pair.state == State::Waiting)
                {
                    pair.state = State::Starting(offset);
                }
            }
            SourceCommand::Grant { pair, epoch, lane: Lane::Input, records, bytes } => {
                if let Some(pair) = self.pairs.owned(&pair, epoch) {
                    pair.credit.grant(records, bytes);
                }
            }
            SourceCommand::Commit { pair, epoch, lane: Lane::Input, position } => {
                self.commit(pair, epoch, position)
            }
            SourceCommand::Release { pair, epoch, position, .. } => {
                let Some(owned) = self.pairs.owned(&pair, epoch) else { return };
                owned.state = State::Resting;
                owned.told = false;
                if let Some(position) = position {
                    self.commit(pair, epoch, position);
                }
            }
            SourceCommand::Reassign { pair, epoch } => {
                let next = self.pairs.next_epoch();
                if let Some(owned) = self.pairs.owned(&pair, epoch) {
                    let flowing = owned.credit.flowing;
                    owned.renew(next);
                    if flowing {
                        self.pause(&[(pair.topic.as_str(), pair.partition.0)]);
                    }
                }
            }
            SourceCommand::Shutdown => {
                if self.closing == Closing::No {
                    self.closing = Closing::Committing(Instant::now() + LAST_COMMITS);
                }
            }
        }
    }

    /// I8: a pair that is not ours commits nothing, whatever its old owner still asks for.
    fn commit(&mut self, pair: PairId, epoch: Epoch, position: Position) {
        if self.pairs.owned(&pair, epoch).is_some() {
            self.to_commit.push((pair, epoch, position));
        } else {
            let result = CommitResult::Refused;
            self.say(SourceEvent::Committed {
                pair,
                epoch,
                lane: Lane::Input,
                offset: position.offset,
                result,
            });
        }
    }

    /// One request for all commits of this turn. Of one pair the last one counts: offsets rise.
    fn send_commits(&mut self) {
        if self.to_commit.is_empty() {
            return;
        }
        let mut wanted = std::mem::take(&mut self.to_commit);
        let Some(mut list) = PartitionList::empty() else { return };
        for (index, (pair, _, position)) in wanted.iter().enumerate() {
            if !wanted[index + 1..].iter().any(|(later, ..)| later == pair) {
                let metadata = Some(position.metadata.as_str());
                list.add(pair.topic.as_str(), pair.partition.0, position.offset.0, metadata);
            }
        }
        match self.queue.commit(&list) {
            Ok(()) => {
                for (pair, epoch, position) in wanted {
                    self.commits.ask(pair, epoch, position.offset);
                }
            }
            Err(code) => {
                tracing::debug!(?code, "a commit could not be sent");
                for (pair, epoch, position) in wanted.drain(..) {
                    let result = CommitResult::Unknown;
                    self.say(SourceEvent::Committed {
                        pair,
                        epoch,
                        lane: Lane::Input,
                        offset: position.offset,
                        result,
                    });
                }
            }
        }
    }

    /// Sends pairs whose `Start` came to their offset. Librdkafka may not have begun with a partition that was just
    /// assigned; then it is asked again in the next turn.
    fn start_pairs(&mut self) {
        let starting = |pair: &mut Pair| match pair.state {
            State::Starting(offset) => Some((pair.id.clone(), offset)),
            State::Looking(_) | State::Waiting | State::Flowing | State::Resting => None,
        };
        let wanted: Vec<_> = self.pairs.iter_mut().filter_map(starting).collect();
        if wanted.is_empty() {
            return;
        }
        let Some(mut list) = PartitionList::empty() else { return };
        for (pair, offset) in &wanted {
            list.add(pair.topic.as_str(), pair.partition.0, offset.0, None);
        }
        if let Err((code, _)) = self.client().seek(&mut list, Duration::from_secs(1)) {
            tracing::debug!(?code, "a seek did not begin");
            return;
        }
        let mut stopped = Vec::new();
        for entry in list.entries() {
            let Some(pair) = self.pairs.find(&entry.topic, entry.partition) else { continue };
            match entry.code {
                OK => {
                    pair.state = State::Flowing;
                    pair.doubtful = false;
                    pair.beginning.sought();
                    pair.denied = 0;
                    pair.next = longshore_core::Offset(entry.offset);
                }
                Code::RD_KAFKA_RESP_ERR__STATE => {
                    pair.denied += 1;
                    if pair.denied == DENIED_MAX {
                        pair.denied = 0;
                        stopped.push(entry);
                    }
                }
                _ => {}
            }
        }
        self.assign_again(&stopped);
    }

    /// Librdkafka stops a partition whose offset is gone from the log (the placeholder's, or the old one's in a topic that
    /// was made again), and a stopped one cannot be sought: it is given back and taken again where it has to begin.
    fn assign_again(&mut self, entries: &[Entry]) {
        let names: Vec<_> = entries.iter().map(|entry| (entry.topic.as_str(), entry.partition)).collect();
        let (Some(old), Some(mut fresh)) = (PartitionList::of(names.iter().copied()), PartitionList::empty())
        else {
            return;
        };
        if entries.is_empty() {
            return;
        }
        for entry in entries {
            fresh.add(&entry.topic, entry.partition, entry.offset, None);
        }
        let again =
            self.client().incremental_unassign(&old).and_then(|()| self.client().incremental_assign(&fresh));
        if let Err((code, text)) = again {
            tracing::error!(?code, "assign failed: {text}");
            return self.end(Err(Failure::halt(Reason::BrokerFatal, format!("assign failed: {code:?}"))));
        }
        self.pause(&names);
    }

    /// Asks about pairs that were just given, and again about those that could not be found out.
    fn ask_scout(&mut self) {
        let now = Instant::now();
        let mut wanted = Vec::new();
        for pair in self.pairs.iter_mut() {
            if let State::Looking(again) = pair.state
                && again.is_none_or(|again| again <= now)
            {
                // The answer, whichever it is, ends this wait long before.
                pair.state = State::Looking(Some(now + Duration::from_secs(60)));
                wanted.push((pair.id.clone(), pair.epoch));
            }
        }
        let probe = self.health.wants_probe(now);
        let identities = self.pairs.iter_mut().any(|pair| pair.told) && self.identity.wants_look(now);
        if let Some(scout) = &self.scout {
            if !wanted.is_empty() {
                scout.ask(Ask::Pairs(wanted));
            }
            if probe {
                scout.ask(Ask::Topics);
            }
            if identities {
                scout.ask(Ask::Identities);
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

    /// Tells librdkafka which pairs to fetch: those with credit, and none when the memory budget is used up (I5). The
    /// consumer is polled all the same.
    fn set_flow(&mut self) {
        let budget = &self.options.budget;
        let enough = if self.squeezed { budget.limit() / 8 } else { 0 };
        self.squeezed = budget.available() <= enough;
        let squeezed = self.squeezed;
        let now = Instant::now();
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for pair in self.pairs.iter_mut() {
            let wanted = pair.state == State::Flowing && pair.credit.wants_flow(now) && !squeezed;
            if wanted != pair.credit.flowing {
                pair.credit.flowing = wanted;
                if wanted { &mut resume } else { &mut pause }.push(pair.id.clone());
            }
        }
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
                        pair.told = true;
                        pair.topic_id.clone_from(&assignment.topic_id);
                        self.say(SourceEvent::Assigned(*assignment));
                    }
                }
                Note::Refused(pair, epoch, failure) => {
                    if let Some(owned) = self.pairs.owned(&pair, epoch)
                        && owned.state != State::Resting
                    {
                        owned.state = State::Resting;
                        owned.told = true;
                        self.say(SourceEvent::Refused { pair, failure });
                    }
                }
                Note::NotFound(pair, epoch, failure) => {
                    if let Some(owned) = self.pairs.owned(&pair, epoch) {
                        owned.state = State::Looking(Some(Instant::now() + LOOK_AGAIN));
                        self.trouble(failure);
                    }
                }
                Note::Identified(seen) => {
                    self.identity.looked();
                    self.compare(&seen);
                }
                Note::Probed(Ok(())) => self.topics_well(),
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
