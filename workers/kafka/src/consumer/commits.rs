//! Commits on their way: who asked for what, until the broker has answered.

use longshore_core::pair::CommitResult;
use longshore_core::source::SourceEvent;
use longshore_core::{Epoch, Lane, Offset, PairId};

use crate::errors::{Meaning, meaning};
use crate::ffi::{Code, Entry, OK};

/// One commit on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    pair: PairId,
    epoch: Epoch,
    offset: Offset,
}

/// All commits on their way, in the order they were asked for.
#[derive(Debug, Default)]
pub(super) struct Commits {
    asked: Vec<Asked>,
}

impl Commits {
    pub(super) fn ask(&mut self, pair: PairId, epoch: Epoch, offset: Offset) {
        self.asked.push(Asked { pair, epoch, offset });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Whether an answer for this pair is still to come.
    pub(super) fn waits_for(&self, pair: &PairId) -> bool {
        self.asked.iter().any(|asked| asked.pair == *pair)
    }

    /// The broker's answer. Commits of one pair are answered in order, so it settles the one it names and those asked
    /// before it, which went out in the same request or were overtaken.
    pub(super) fn answered(&mut self, entries: &[Entry], overall: Code) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        for entry in entries {
            let of_pair = |asked: &Asked| {
                asked.pair.topic.as_str() == entry.topic && asked.pair.partition.0 == entry.partition
            };
            let found = self.asked.iter().rposition(|asked| of_pair(asked) && asked.offset.0 == entry.offset);
            let Some(last) = found else { continue };
            let code = if entry.code == OK { overall } else { entry.code };
            let mut index = 0;
            self.asked.retain(|asked| {
                let settled = index <= last && of_pair(asked);
                index += 1;
                if settled {
                    events.push(committed(asked, result(code)));
                }
                !settled
            });
        }
        events
    }

    /// Nobody will answer any more.
    pub(super) fn give_up(&mut self) -> Vec<SourceEvent> {
        self.asked.drain(..).map(|asked| committed(&asked, CommitResult::Unknown)).collect()
    }
}

fn committed(asked: &Asked, result: CommitResult) -> SourceEvent {
    let (pair, epoch, offset) = (asked.pair.clone(), asked.epoch, asked.offset);
    SourceEvent::Committed { pair, epoch, lane: Lane::Input, offset, result }
}

/// What an answer says about the ownership. A generation that moved on says nothing: with the cooperative protocol a
/// member keeps its partitions through a rebalance, and a commit that waited for it fails with `IllegalGeneration`.
fn result(code: Code) -> CommitResult {
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

    fn entry(partition: i32, offset: i64, code: Code) -> Entry {
        Entry { topic: "t".into(), partition, offset, metadata: None, code }
    }

    /// Rule 3 of `kafka.md`: every commit is answered, each under the epoch it was asked in.
    #[test]
    fn an_answer_settles_its_commit_and_those_before() {
        let mut commits = Commits::default();
        let pair = PairId::new("t", 0);
        commits.ask(pair.clone(), Epoch(1), Offset(5));
        commits.ask(PairId::new("t", 1), Epoch(2), Offset(5));
        commits.ask(pair.clone(), Epoch(1), Offset(9));
        commits.ask(pair.clone(), Epoch(3), Offset(11));
        let events = commits.answered(&[entry(0, 9, OK)], OK);
        assert_eq!(events.len(), 2);
        assert!(commits.waits_for(&pair));
        let events = commits.answered(&[entry(0, 11, OK)], Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID);
        let [SourceEvent::Committed { epoch, result, .. }] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((*epoch, result), (Epoch(3), &CommitResult::Refused));
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
