//! Commits on their way: who asked for what, until the broker has answered.

use longshore_core::pair::{CommitResult, Position};
use longshore_core::source::SourceEvent;
use longshore_core::{Epoch, Lane, PairId, TopicName};

use crate::errors::{Meaning, meaning};
use crate::ffi::{Code, Entry, OK};

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) pair: PairId,
    pub(super) epoch: Epoch,
    pub(super) lane: Lane,
    /// The topic that the lane reads.
    pub(super) topic: TopicName,
    pub(super) position: Position,
    /// The retry lane's commit that counts on this one: it is sent when this one is acknowledged.
    pub(super) then: Option<Box<Commit>>,
    /// Whether the runtime asked for it and wants the answer.
    pub(super) asked_for: bool,
}

impl Commit {
    /// The answer as the runtime hears it; none when it did not ask.
    pub(super) fn answer(&self, result: CommitResult) -> Option<SourceEvent> {
        let (pair, epoch, lane, offset) = (self.pair.clone(), self.epoch, self.lane, self.position.offset);
        self.asked_for.then_some(SourceEvent::Committed { pair, epoch, lane, offset, result })
    }

    /// Whether both are of one partition.
    pub(super) fn same_place(&self, other: &Self) -> bool {
        self.topic == other.topic && self.pair.partition == other.pair.partition
    }
}

/// All commits on their way, in the order they were asked for.
#[derive(Debug, Default)]
pub(super) struct Commits {
    asked: Vec<Commit>,
}

impl Commits {
    pub(super) fn ask(&mut self, commit: Commit) {
        self.asked.push(commit);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Whether an answer for this pair is still to come.
    pub(super) fn waits_for(&self, pair: &PairId) -> bool {
        self.asked.iter().any(|asked| asked.pair == *pair)
    }

    /// The broker's answer. Commits of one partition are answered in order, so it settles the one it names and those asked
    /// before it, which went out in the same request or were overtaken.
    pub(super) fn answered(&mut self, entries: &[Entry], overall: Code) -> Vec<(Commit, Code)> {
        let mut answers = Vec::new();
        for entry in entries {
            let of_place = |asked: &Commit| {
                asked.topic.as_str() == entry.topic && asked.pair.partition.0 == entry.partition
            };
            let named = |asked: &Commit| of_place(asked) && asked.position.offset.0 == entry.offset;
            let Some(last) = self.asked.iter().rposition(named) else { continue };
            let code = if entry.code == OK { overall } else { entry.code };
            let mut index = 0;
            self.asked.retain(|asked| {
                let settled = index <= last && of_place(asked);
                index += 1;
                if settled {
                    answers.push((asked.clone(), code));
                }
                !settled
            });
        }
        answers
    }

    /// Nobody will answer any more.
    pub(super) fn give_up(&mut self) -> Vec<SourceEvent> {
        self.asked.drain(..).filter_map(|asked| asked.answer(CommitResult::Unknown)).collect()
    }
}

/// What an answer says about the ownership. A generation that moved on says nothing: with the cooperative protocol a
/// member keeps its partitions through a rebalance, and a commit that waited for it fails with `IllegalGeneration`.
pub(super) fn result(code: Code) -> CommitResult {
    match (code, meaning(code)) {
        (OK, _) => CommitResult::Done,
        (Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION | Code::RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH, _) => {
            CommitResult::Unknown
        }
        (Code::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, _) | (_, Meaning::Fenced) => CommitResult::Refused,
        (_, Meaning::Control | Meaning::Error(..)) => CommitResult::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(topic: &str, partition: i32, offset: i64, code: Code) -> Entry {
        Entry { topic: topic.into(), partition, offset, metadata: None, code }
    }

    fn commit(partition: i32, lane: Lane, epoch: u64, offset: i64) -> Commit {
        let topic = match lane {
            Lane::Input => "t",
            Lane::Retry => "t.p.retry",
        };
        Commit {
            pair: PairId::new("t", partition),
            epoch: Epoch(epoch),
            lane,
            topic: TopicName::new(topic),
            position: Position { offset: longshore_core::Offset(offset), metadata: String::new() },
            then: None,
            asked_for: true,
        }
    }

    /// Rule 3 of `kafka.md`: every commit is answered, each under the epoch and for the lane it was asked in.
    #[test]
    fn an_answer_settles_its_commit_and_those_before() {
        let mut commits = Commits::default();
        let pair = PairId::new("t", 0);
        for asked in [
            commit(0, Lane::Input, 1, 5),
            commit(0, Lane::Retry, 1, 9),
            commit(1, Lane::Input, 2, 5),
            commit(0, Lane::Input, 1, 9),
            commit(0, Lane::Input, 3, 11),
        ] {
            commits.ask(asked);
        }
        let answers = commits.answered(&[entry("t", 0, 9, OK)], OK);
        assert_eq!(answers.len(), 2);
        assert!(answers.iter().all(|(commit, _)| commit.lane == Lane::Input));
        assert!(commits.waits_for(&pair));
        let answers = commits.answered(&[entry("t", 0, 11, OK)], Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID);
        let [(answered, code)] = answers.as_slice() else { panic!("{answers:?}") };
        assert_eq!((answered.epoch, result(*code)), (Epoch(3), CommitResult::Refused));
        let answers = commits.answered(&[entry("t.p.retry", 0, 9, OK)], OK);
        assert_eq!(answers[0].0.lane, Lane::Retry);
        assert!(!commits.is_empty());
        assert_eq!(commits.give_up().len(), 1);
    }

    #[test]
    fn a_moved_generation_says_nothing_about_ownership() {
        assert_eq!(result(Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION), CommitResult::Unknown);
        assert_eq!(result(Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID), CommitResult::Refused);
        assert_eq!(result(Code::RD_KAFKA_RESP_ERR__TRANSPORT), CommitResult::Unknown);
    }
}
