//! Offsets that no record stands on: markers of transactions at the end of a log.

use super::handover::later;
use super::retry::{acknowledge, assign, at_work, copy_of, headers, policy, with_retry};
use super::*;
use crate::headers::LetterHeaders;

/// Scenario: the log ends with a marker, after records that are published; then more records come.
/// Guarantee: the commit goes to the end of the log at once, and never falls back; the ledger's claims stay in one piece.
#[test]
fn a_marker_at_the_end_of_the_log_is_passed() {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    for (number, from) in [0, 10, 20].into_iter().enumerate() {
        hand.receive(&[(from, "a"), (from + 1, "b")]);
        hand.run(to_first);
        hand.tell(Event::Passed { epoch: Epoch(1), lane: crate::Lane::Input, offset: Offset(from + 10) });
        assert_eq!(hand.pair.watermark(), Offset(from), "nothing settled is passed over");
        hand.pass(Duration::from_secs(10));
        let trailers = hand.trailers();
        let (sink, trailer) = &trailers[0];
        assert!(trailer.except.is_empty(), "{trailer:?}");
        assert_eq!(trailer.covers.0, if number == 0 { Offset(0) } else { Offset(from - 8) });
        hand.publish(*sink, trailer, Published::Done(Vec::new()));
        assert_eq!(hand.pair.watermark(), Offset(from + 10));
        let commits = hand.commits();
        assert_eq!(commits.last().map(|position| position.offset), Some(Offset(from + 10)));
        let (epoch, offset, result) = (Epoch(1), Offset(from + 10), CommitResult::Done);
        hand.tell(Event::Committed { epoch, lane: crate::Lane::Input, offset, result });
    }
}

/// Scenario: nothing but aborted transactions in the log. Guarantee: the commit follows, without a segment.
#[test]
fn a_log_without_records_is_committed_to_its_end() {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.tell(Event::Passed { epoch: Epoch(1), lane: crate::Lane::Input, offset: Offset(7) });
    hand.pass(Duration::from_secs(2));
    assert!(hand.trailers().is_empty());
    assert_eq!(hand.commits()[0].offset, Offset(7));
    hand.tell(Event::Passed { epoch: Epoch(0), lane: crate::Lane::Input, offset: Offset(9) });
    assert_eq!(hand.pair.position(), Offset(7), "an old epoch says nothing");
}

/// Scenario: compaction takes a record whose copy waits, before the input lane comes to it. It fails once more, and its next copy comes while
/// the record behind the gap waits in the open segment. Guarantee: the segment does not claim it, it is tried again, and its key goes on (I1, I6).
#[test]
fn what_compaction_took_is_tried_as_long_as_its_copy_waits() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 1);
    copy_of(&mut hand, 0, "a", &headers(3, 1));
    let (epoch, offset, result) = (Epoch(1), Offset(0), CommitResult::Done);
    hand.tell(Event::Committed { epoch, lane: Lane::Input, offset, result });
    hand.receive(&[(2, "b"), (5, "c")]);
    hand.run(|offset| if offset == 3 { later(offset) } else { to_first(offset) });
    let [letter] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!(letter.origin, Some(Offset(3)));
    acknowledge(&mut hand, letter.id);
    copy_of(&mut hand, 1, "a", &headers(3, 2));
    hand.receive(&[(6, "a")]);
    assert_eq!(hand.letters().len(), 1, "it follows its key");
    hand.pass(Duration::from_secs(10));
    let (sink, trailer) = hand.trailers().remove(0);
    assert_eq!(
        (trailer.covers, &trailer.except),
        ((Offset(0), Offset(6)), &RunSet::of(Offset(3), Offset(4)))
    );
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    assert_eq!(at_work(&mut hand), [3]);
}

/// Scenario: a person replays a letter whose record compaction took, while the record behind the gap is at work; that one becomes a letter.
/// Guarantee: the replay is tried then (I6).
#[test]
fn a_replay_of_what_compaction_took_waits_no_longer_than_its_neighbour() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    let (epoch, offset, result) = (Epoch(1), Offset(0), CommitResult::Done);
    hand.tell(Event::Committed { epoch, lane: Lane::Input, offset, result });
    hand.receive(&[(3, "b")]);
    assert_eq!(at_work(&mut hand), [3]);
    copy_of(&mut hand, 0, "a", &LetterHeaders { replays: 1, ..headers(1, 0) });
    assert!(at_work(&mut hand).is_empty(), "nobody knows yet that it is none of the bytes at work");
    let failure = Failure::reject(Reason::StepFailed, "poison");
    hand.tell(Event::UnitDone {
        epoch,
        result: unit_result(UnitId(0), vec![Verdict::Failed(Box::new(failure))], Vec::new()),
    });
    assert_eq!(at_work(&mut hand), [1]);
}
