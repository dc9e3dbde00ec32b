//! What a newer version has left where a pair begins, or in its retry partition.

use super::retry::{assign, assign_behind, commits_of, headers, policy, with_retry};
use super::*;
use crate::headers::{ATTEMPT, CONTRACT};

/// Nothing of a newer version's is a letter, and no commit takes the place of one or passes it.
fn assert_halted(hand: &mut Hand, words: &str) {
    let failure = hand.pair.halted().unwrap().clone();
    assert_eq!((failure.class, failure.reason), (crate::Class::Halt, Reason::FormatNewer), "{failure}");
    assert!(failure.detail().contains(words), "{failure}");
    hand.pass(Duration::from_secs(10));
    hand.tell(Event::Revoke);
    hand.pass(Duration::from_secs(10));
    assert_eq!(hand.letters().len(), 0);
    assert!(hand.trailers().is_empty(), "published");
    let (input, copies) = (commits_of(hand, Lane::Input), commits_of(hand, Lane::Retry));
    assert!(input.is_empty(), "{input:?}");
    assert!(copies.iter().all(|position| position.offset <= Offset(1)), "{copies:?}");
}

/// Scenario: the input's commit, or that of the retry partition alone, has metadata of a later version. Guarantee (I1, I4): the pair halts before it
/// has read a record or asked for a ledger, and commits nothing.
#[test]
fn a_commit_of_a_newer_version_halts_the_pair() {
    let at = |metadata: &str| Position { offset: Offset(0), metadata: metadata.to_owned() };
    for (input, retry) in [("L2:AAAA", ""), ("", "L2:AAAA"), ("L1:AIAAAAANTqQi", ""), ("", "L1:AIAAAAANTqQi")]
    {
        let mut hand = Hand::new(with_retry(policy()));
        assign_behind(&mut hand, at(input), at(retry));
        let begins = |action: &Action| matches!(action, Action::Recover { .. } | Action::Start { .. });
        assert!(!hand.asked.iter().any(begins), "{:?}", hand.asked);
        assert_halted(&mut hand, "commit metadata of version");
        assert_eq!(hand.released(), Some(None));
    }
}

/// Scenario: behind a copy as always lies one whose headers follow a later contract, and behind that a stray. Guarantee (I1): the pair halts; the copy is
/// no stray, what lies behind it is left for whoever can read it, and the retry partition's commit does not pass it.
#[test]
fn a_copy_of_a_newer_contract_halts_the_pair() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 3);
    let mut chunk = ChunkBuilder::new(hand.pair.id().clone(), Lane::Retry, Epoch(1));
    for (place, contract) in [(0, None), (1, Some("2")), (2, None)] {
        chunk.record(Offset(place), 0, Some(b"a"), Some(b"value"));
        if place < 2 {
            for (name, value) in headers(place, 1).encode() {
                chunk.header(name.as_bytes(), Some(value.as_bytes()));
            }
        }
        if let Some(contract) = contract {
            // As a later version may write it.
            chunk.header(ATTEMPT.as_bytes(), Some(b"first"));
            chunk.header(CONTRACT.as_bytes(), Some(contract.as_bytes()));
        }
    }
    hand.tell(Event::CopiesRead { chunk: chunk.build(None), wall_ms: 0 });
    assert_halted(&mut hand, "header contract of version 2, of which longshore");
}
