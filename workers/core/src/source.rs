//! What goes between the source (the poll thread) and the runtime. The unit that moves is a batch; every message
//! about a pair carries the epoch of the ownership it belongs to, and what carries an old one is dropped.

use std::sync::Arc;

use crate::pair::{CommitResult, Position};
use crate::{Chunk, Epoch, Failure, Lane, Offset, PairId, TopicName};

/// From the source to the runtime.
#[derive(Debug)]
pub enum SourceEvent {
    /// The pair is ours from now on, paused until [`SourceCommand::Start`]; also after [`SourceCommand::Reassign`].
    Assigned(Assignment),
    /// Records of one lane, in offset order.
    Received(Arc<Chunk>),
    /// The broker answered a commit.
    Committed {
        /// The pair.
        pair: PairId,
        /// The ownership the commit was made under.
        epoch: Epoch,
        /// The lane.
        lane: Lane,
        /// The committed offset.
        offset: Offset,
        /// What the broker said.
        result: CommitResult,
    },
    /// Nothing comes any more from below this offset: what lies there behind the last record are transaction markers and
    /// records of aborted transactions.
    Passed {
        /// The pair.
        pair: PairId,
        /// Its ownership.
        epoch: Epoch,
        /// The lane.
        lane: Lane,
        /// The end of the log as far as records can be read.
        offset: Offset,
    },
    /// The answer to [`SourceCommand::FindEnd`].
    EndFound {
        /// The pair.
        pair: PairId,
        /// Its ownership.
        epoch: Epoch,
        /// The offset behind the input's last record; none when nobody could say.
        end: Option<Offset>,
    },
    /// The pair is being taken away: seal what fits, cancel the rest, and answer with [`SourceCommand::Release`]
    /// within `limits.revoke`; the poll thread waits for it.
    Revoking {
        /// The pair.
        pair: PairId,
        /// The ownership that ends.
        epoch: Epoch,
    },
    /// The pair is gone: abort, commit nothing.
    Lost {
        /// The pair.
        pair: PairId,
        /// The ownership that ended.
        epoch: Epoch,
    },
    /// The pair cannot be started (offset out of range with a strict policy, topic made again): halt it.
    Refused {
        /// The pair.
        pair: PairId,
        /// Why.
        failure: Failure,
    },
    /// Copies of records that were to be tried again are gone from the pair's retry topic, and nobody can bring them back:
    /// say it. `Assigned` follows.
    CopiesLost {
        /// The pair.
        pair: PairId,
        /// How they were lost, for people.
        words: String,
    },
    /// Where the pair's input ends by now; told every few seconds for as long as the broker answers.
    LogEnd {
        /// The pair.
        pair: PairId,
        /// Its ownership.
        epoch: Epoch,
        /// The offset behind the last record.
        end: Offset,
    },
    /// Something about the connection that passes by itself (all brokers down, authentication refused): say it.
    Trouble(Failure),
    /// The trouble is over.
    Well,
    /// Whether the worker has a place in its consumer group: said when it has had none for long, and when it has one again. Trouble that
    /// tells of it may be covered by another one.
    Member(bool),
    /// The source ended: cleanly after [`SourceCommand::Shutdown`], or for good with a failure.
    Ended(Result<(), Failure>),
}

/// What is known of a pair when it becomes ours.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The pair.
    pub pair: PairId,
    /// The new ownership.
    pub epoch: Epoch,
    /// What the group has committed, none for the first time.
    pub committed: Option<Position>,
    /// Where to start when nothing is committed, by the policy `input.start`.
    pub start: Offset,
    /// The log's first offset.
    pub log_start: Offset,
    /// The offset behind the log's last record.
    pub log_end: Offset,
    /// The cluster's id.
    pub cluster: String,
    /// The topic's id; empty when the broker does not give one.
    pub topic_id: String,
    /// How many partitions the topic has.
    pub partitions: u32,
    /// The pair's retry partition; none for a pipeline without retry topics.
    pub retry: Option<RetryAssignment>,
}

/// What is known of a pair's retry partition when the pair becomes ours.
#[derive(Clone, Debug)]
pub struct RetryAssignment {
    /// The retry topic.
    pub topic: TopicName,
    /// What the group has committed there, none for the first time; the lane then starts at `log_start`.
    pub committed: Option<Position>,
    /// The retry log's first offset.
    pub log_start: Offset,
    /// The offset behind its last record, asked for after the pair became ours: the input lane waits until the retry
    /// lane was read up to here.
    pub log_end: Offset,
}

/// From the runtime to the source.
#[derive(Clone, Debug)]
pub enum SourceCommand {
    /// The pair is recovered: fetch this lane from this offset.
    Start {
        /// The pair.
        pair: PairId,
        /// Its ownership.
        epoch: Epoch,
        /// The lane.
        lane: Lane,
        /// Where to begin.
        offset: Offset,
    },
    /// How much a lane may have been given in all since its epoch began; when that is used up the source holds back what comes, or
    /// pauses the lane. The lanes of a pair have their credit apart.
    Grant {
        /// The pair.
        pair: PairId,
        /// Its ownership.
        epoch: Epoch,
        /// The lane.
        lane: Lane,
        /// Records, in all since the epoch began.
        records: u64,
        /// Bytes, in all since the epoch began.
        bytes: u64,
    },
    /// Commit without waiting; the answer comes as [`SourceEvent::Committed`].
    Commit {
        /// The pair.
        pair: PairId,
        /// Its ownership.
        epoch: Epoch,
        /// The lane.
        lane: Lane,
        /// What to commit.
        position: Position,
    },
    /// The answer to [`SourceEvent::Revoking`], or the end of a drain: commit this (if anything), then let go.
    Release {
        /// The pair.
        pair: PairId,
        /// Its ownership.
        epoch: Epoch,
        /// The last commit, none when nothing changed.
        position: Option<Position>,
        /// The retry lane's last commit. It counts on the input's: commit it after that one is acknowledged (or when there
        /// is none), never without it.
        retry: Option<Position>,
    },
    /// Begin the pair anew: pause, ask for the committed position again, raise the epoch, send `Assigned`.
    Reassign {
        /// The pair.
        pair: PairId,
        /// The ownership to end.
        epoch: Epoch,
    },
    /// Ask the broker where the pair's input ends by now; the answer comes as [`SourceEvent::EndFound`].
    FindEnd {
        /// The pair.
        pair: PairId,
        /// Its ownership.
        epoch: Epoch,
    },
    /// All pairs are released or hopeless: leave the group, close, end.
    Shutdown,
}

/// The runtime's way to command a source; never blocks.
pub trait SourceControl: Send + Sync {
    /// Hands a command over and wakes the poll thread.
    fn send(&self, command: SourceCommand);
}
