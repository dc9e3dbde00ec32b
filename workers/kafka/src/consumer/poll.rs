//! The loop of the poll thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use longshore_core::pair::{CommitResult, Position};
use longshore_core::source::{SourceCommand, SourceEvent};
use longshore_core::{Epoch, Failure, Lane, PairId, Reason, TopicName};

use super::commits::{self, Commit, Commits};
use super::flow::Squeeze;
use super::gate::Gate;
use super::health::Health;
use super::inbox::Inbox;
use super::keep::Kept;
use super::looks::Looks;
use super::markers::Markers;
use super::pairs::{Pair, Pairs, Place, State, named};
use super::rebalance::Rebalance;
use super::scout::{Ask, Scout};
use super::standing::Unacknowledged;
use super::thrift::Thrift;
use super::{Events, SourceOptions, ends, identity};
use crate::errors::failure;
use crate::ffi::{Client, Code, Entry, Messages, OK, PartitionList, Queue};

/// Records taken in one poll.
const BATCH_RECORDS: usize = 1024;
/// The longest wait for records; commands and answers end it.
const IDLE: Duration = Duration::from_millis(200);
/// The wait while something has to be looked at again soon.
const SOON: Duration = Duration::from_millis(5);
/// How long the answers to the last commits may take at shutdown.
const LAST_COMMITS: Duration = Duration::from_secs(2);
/// So long at most commits wait for the answer to those before them, to go out in one request.
const GATHERING: Duration = Duration::from_millis(20);
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
    pub(super) gate: Gate,
    pub(super) thrift: Thrift,
    pub(super) squeeze: Squeeze,
    /// Whether so much is held back that the loop rests between two polls.
    pub(super) crowded: bool,
    pub(super) identity: Looks,
    pub(super) ends: Looks,
    pub(super) inbox: Arc<Inbox>,
    commands: Receiver<SourceCommand>,
    heartbeat: Arc<AtomicU64>,
    /// When the client was last asked for records.
    pub(super) asked: Instant,
    pub(super) scout: Option<Scout>,
    closing: Closing,
    /// Commits that go out in one request.
    pub(super) to_commit: Vec<Commit>,
    /// When the last request for commits went out.
    committed: Instant,
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
        let pairs = Pairs::new(&options.retry_topics);
        let gate = Gate::new(Arc::clone(&options.budget));
        let health = Health::new(super::place::Place::new(&options.kafka));
        Self {
            options,
            queue,
            events,
            pairs,
            commits: Commits::default(),
            rebalance: Rebalance::default(),
            health,
            markers: Markers::default(),
            gate,
            thrift: Thrift::default(),
            squeeze: Squeeze::default(),
            crowded: false,
            identity: Looks::every(identity::LOOK_INTERVAL),
            ends: Looks::every(ends::INTERVAL),
            inbox,
            commands,
            heartbeat,
            asked: Instant::now(),
            scout: None,
            closing: Closing::No,
            to_commit: Vec::new(),
            committed: Instant::now(),
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

    /// Whether the source is on its way to its end.
    pub(super) fn closing(&self) -> bool {
        self.closing != Closing::No
    }

    /// Whether the group is being left.
    pub(super) fn leaving(&self) -> bool {
        matches!(self.closing, Closing::Leaving(_))
    }

    /// Whether the loop is about to end.
    pub(super) fn ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Runs until the source has ended.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        let topics = self.options.topics.clone();
        let names = PartitionList::of(topics.iter().map(|topic| (topic.as_str(), -1)));
        let names = names.ok_or_else(|| Failure::halt(Reason::Internal, "no memory"))?;
        let watched = topics.iter().chain(self.options.retry_topics.values()).cloned().collect();
        let scout =
            Scout::spawn(Arc::clone(self.queue), Arc::clone(&self.inbox), watched, self.options.start)?;
        scout.ask(Ask::Topics);
        self.scout = Some(scout);
        self.client().subscribe(&names).map_err(|code| failure(code, "subscribe"))?;
        let mut messages = Messages::new(Arc::clone(self.queue), BATCH_RECORDS);
        let result = loop {
            self.heartbeat.fetch_add(1, Ordering::Relaxed);
            self.take_commands();
            self.keep_offsets();
            self.send_commits();
            self.turn_rebalance();
            self.let_in();
            self.start_pairs();
            self.ask_scout();
            self.set_flow();
            self.close();
            if let Some(result) = self.ended.take() {
                break result;
            }
            if self.rests() {
                continue;
            }
            self.asked = Instant::now();
            messages.poll(self.wait());
            self.compare_renewed();
            self.route(&messages);
            // Its records are copied, and may be large.
            messages.clear();
            self.pass_markers();
            self.take_notes();
            self.look_whether_standing();
        };
        for event in self.commits.give_up() {
            self.say(event);
        }
        result
    }

    /// How long the poll may wait for a record.
    fn wait(&mut self) -> Duration {
        let leaves = self.rebalance.busy() || self.closing != Closing::No;
        let restless = leaves || !self.to_commit.is_empty() || self.flow_is_restless();
        if restless { SOON } else { IDLE }
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

    /// Waits at most so long for a command; false when none came.
    pub(super) fn obey_next(&mut self, timeout: Duration) -> bool {
        self.commands.recv_timeout(timeout).map(|command| self.obey(command)).is_ok()
    }

    fn obey(&mut self, command: SourceCommand) {
        match command {
            SourceCommand::Start { pair, epoch, lane, offset } => {
                if let Some(pair) = self.pairs.lane(&pair, epoch, lane) {
                    pair.start(offset);
                }
            }
            SourceCommand::Grant { pair, epoch, lane, records, bytes } => {
                if let Some(pair) = self.pairs.lane(&pair, epoch, lane) {
                    pair.credit.grant(records, bytes);
                }
                if lane == Lane::Input {
                    self.hand_over_held(&pair, epoch);
                }
            }
            SourceCommand::Commit { pair, epoch, lane, position } => {
                self.commit(&pair, epoch, lane, position);
            }
            SourceCommand::Release { pair, epoch, position, retry } => {
                self.release(&pair, epoch, position, retry);
            }
            SourceCommand::Reassign { pair, epoch } => {
                self.begin_anew(&pair, epoch);
            }
            SourceCommand::FindEnd { pair, epoch } => {
                if let Some(scout) = &self.scout {
                    scout.ask(Ask::End(pair, epoch));
                }
            }
            SourceCommand::Shutdown => {
                if self.closing == Closing::No {
                    self.closing = Closing::Committing(Instant::now() + LAST_COMMITS);
                }
            }
        }
    }

    /// Asks anew where a pair of ours stands, under another epoch; what is to be committed goes out before.
    pub(super) fn begin_anew(&mut self, pair: &PairId, epoch: Epoch) {
        self.send_gathered();
        let (_, flowed) = self.pairs.renew(pair, epoch);
        self.pause(&flowed);
    }

    /// I8: a pair that is not ours commits nothing, whatever its old owner still asks for.
    fn commit(&mut self, pair: &PairId, epoch: Epoch, lane: Lane, position: Position) {
        let offset = position.offset;
        match self.commit_of(pair, epoch, lane, position) {
            Some(commit) => self.to_commit.push(commit),
            None => {
                let (pair, result) = (pair.clone(), CommitResult::Refused);
                self.say(SourceEvent::Committed { pair, epoch, lane, offset, result });
            }
        }
    }

    /// A commit of a lane that is ours; the retry lane's is kept in mind.
    fn commit_of(&mut self, id: &PairId, epoch: Epoch, lane: Lane, position: Position) -> Option<Commit> {
        let after = self.options.recommit;
        let pair = self.pairs.lane(id, epoch, lane)?;
        if lane == Lane::Retry {
            pair.kept = Some(Kept::own(position.clone(), after));
        }
        pair.unacknowledged.get_or_insert_with(|| Unacknowledged::asked(Instant::now()));
        let topic = pair.topic.clone();
        Some(Commit { pair: id.clone(), epoch, lane, topic, position, then: None, asked_for: true })
    }

    /// The runtime lets go of a pair. Its last commit of the retry lane counts on the input lane's, so it goes out when that
    /// one is acknowledged, or at once when there is none to wait for.
    fn release(&mut self, pair: &PairId, epoch: Epoch, input: Option<Position>, retry: Option<Position>) {
        if self.pairs.owned(pair, epoch).is_none() {
            return;
        }
        let retry = retry.and_then(|position| self.commit_of(pair, epoch, Lane::Retry, position));
        let input = input.and_then(|position| self.commit_of(pair, epoch, Lane::Input, position));
        self.to_commit.extend(match input {
            Some(input) => Some(Commit { then: retry.map(Box::new), ..input }),
            None => retry,
        });
        self.pairs.both(pair, epoch, |lane| {
            lane.state = State::Resting;
            lane.told = false;
        });
    }

    /// Sends what is to be committed, unless it waits for the answer to the request before. Nobody who lets go of a pair waits.
    fn send_commits(&mut self) {
        let leaves = self.rebalance.busy() || self.closing != Closing::No;
        if leaves || self.commits.is_empty() || self.committed.elapsed() >= GATHERING {
            self.send_gathered();
        }
    }

    /// One request for all that is to be committed. Of one partition the last one counts: offsets rise. Whatever begins a pair anew calls this
    /// first: where it is committed is asked for behind it, so that the answer knows of it.
    pub(super) fn send_gathered(&mut self) {
        if self.to_commit.is_empty() {
            return;
        }
        self.committed = Instant::now();
        let wanted = std::mem::take(&mut self.to_commit);
        let Some(mut list) = PartitionList::empty() else { return };
        for (index, commit) in wanted.iter().enumerate() {
            if !wanted[index + 1..].iter().any(|later| later.same_place(commit)) {
                let Position { offset, metadata } = &commit.position;
                list.add(commit.topic.as_str(), commit.pair.partition.0, offset.0, Some(metadata.as_str()));
            }
        }
        match self.queue.commit(&list) {
            Ok(()) => wanted.into_iter().for_each(|commit| self.commits.ask(commit)),
            Err(code) => {
                tracing::debug!(?code, "a commit could not be sent");
                for commit in wanted {
                    self.commit_answered(commit, Code::RD_KAFKA_RESP_ERR__FAIL);
                }
            }
        }
    }

    /// Tells the runtime, and sends what has waited for this answer.
    pub(super) fn commit_answered(&mut self, mut commit: Commit, code: Code) {
        let (then, result) = (commit.then.take(), commits::result(code));
        self.health.denials.answered(code, self.health.place.patience(), Instant::now());
        if let Some(lane) = self.pairs.lane(&commit.pair, commit.epoch, commit.lane) {
            match result {
                CommitResult::Done => (lane.unacknowledged, lane.refused_commit) = (None, None),
                CommitResult::Refused => {
                    lane.unacknowledged = None;
                    lane.refused_commit.get_or_insert_with(Instant::now);
                }
                CommitResult::Unknown => {
                    lane.unacknowledged.iter_mut().for_each(|commits| commits.answered(code));
                }
            }
        }
        if let Some(event) = commit.answer(result.clone()) {
            self.say(event);
        }
        match then {
            Some(then) if result == CommitResult::Done => self.to_commit.push(*then),
            Some(then) => self.commit_answered(*then, code),
            None => {}
        }
    }

    /// Sends pairs whose `Start` came to their offset. Librdkafka may not have begun with a partition that was just
    /// assigned; then it is asked again in the next turn.
    fn start_pairs(&mut self) {
        let starting = |pair: &mut Pair| match pair.state {
            State::Starting(offset) => Some((pair.place(), offset)),
            State::Looking(_) | State::Waiting | State::Flowing | State::InLine | State::Resting => None,
        };
        let wanted: Vec<_> = self.pairs.iter_mut().filter_map(starting).collect();
        if wanted.is_empty() {
            return;
        }
        let Some(mut list) = PartitionList::empty() else { return };
        for ((topic, partition), offset) in &wanted {
            list.add(topic.as_str(), *partition, offset.0, None);
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
        let places: Vec<Place> =
            entries.iter().map(|entry| (TopicName::new(&entry.topic), entry.partition)).collect();
        let (Some(old), Some(mut fresh)) = (PartitionList::of(named(&places)), PartitionList::empty()) else {
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
        self.pause(&places);
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
