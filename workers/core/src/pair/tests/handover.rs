//! Copies that the retry topic refuses for good, while others of the same record come.

use super::retry::{acknowledge, assign, commits_of, copy_of, headers, policy, with_retry};
use super::*;
use crate::headers::LetterHeaders;

fn later(_: i64) -> Verdict {
    Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later")))
}

/// The copy of record 0 with this replay number comes to the retry topic.
fn replay(hand: &mut Hand, place: i64, replays: u32) {
    copy_of(hand, place, "a", &LetterHeaders { replays, ..headers(0, 0) });
}

/// A replay of record 0 has failed for now, and its next copy is on its way.
fn leaving() -> (Hand, LetterId) {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(1) });
    replay(&mut hand, 0, 1);
    hand.run(later);
    let [letter] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!(letter.to, Destination::Retry { delay: Duration::from_secs(1) });
    (hand, letter.id)
}

fn refuse(hand: &mut Hand, letter: LetterId) {
    let refused = Failure::reject(Reason::RetryStray, "too large");
    hand.tell(Event::LettersDelivered { epoch: Epoch(1), answers: vec![(letter, Err(refused))] });
}

/// Publishes and commits whatever waits; returns the dead letters, and what is committed of the retry lane.
fn finish(hand: &mut Hand) -> (Vec<Letter>, Option<Offset>) {
    let (mut letters, mut committed) = (Vec::new(), None);
    for _ in 0..5 {
        hand.pass(Duration::from_secs(10));
        for (sink, trailer) in hand.trailers() {
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
        }
        for letter in hand.letters() {
            acknowledge(hand, letter.id);
            letters.push(letter);
        }
        for position in commits_of(hand, Lane::Input) {
            let (epoch, lane, offset, result) = (Epoch(1), Lane::Input, position.offset, CommitResult::Done);
            hand.tell(Event::Committed { epoch, lane, offset, result });
        }
        for position in commits_of(hand, Lane::Retry) {
            let (epoch, lane, offset, result) = (Epoch(1), Lane::Retry, position.offset, CommitResult::Done);
            hand.tell(Event::Committed { epoch, lane, offset, result });
            committed = Some(offset);
        }
    }
    (letters, committed)
}

/// Scenario: the next copy of a replay is on its way when a later replay is read, tried, and passes; then the retry topic refuses that
/// copy for good. Guarantee: nobody holds its payload any more, so that others have room (I6).
#[test]
fn a_refused_copy_of_what_is_through_holds_no_payload() {
    let (mut hand, letter) = leaving();
    replay(&mut hand, 1, 2);
    hand.run(to_first);
    assert_eq!(hand.pair.holds(), (1, 1));
    refuse(&mut hand, letter);
    assert_eq!(hand.pair.holds(), (0, 0));
    assert_eq!(finish(&mut hand).0.len(), 0);
}
