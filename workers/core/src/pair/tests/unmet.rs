//! Copies of records that the input lane has not come to, and of what is no record any more.

use super::retry::{acknowledge, assign, assign_at, at_work, copy_of, headers, policy, with_retry};
use super::strays::{END, asked, committed, end_found, stray};
use super::*;
use crate::headers::LetterHeaders;
use crate::metadata::Metadata;

/// Scenario: the last owner's commit calls records settled that lie ahead of it, and a copy waits of one of them, so that it is not known whose it is.
/// Guarantee: the commit, which would come to lie behind all of them, stays at that record.
#[test]
fn a_commit_stays_at_a_copy_that_was_not_met() {
    let mut hand = Hand::new(with_retry(policy()));
    let settled = RunSet::of(Offset(1), Offset(20));
    let metadata = Metadata { settled, clean: true, ..Metadata::default() }.encode(Offset(0)).text;
    assign_at(
        &mut hand,
        [Some(Position { offset: Offset(0), metadata }), None],
        [END, 0],
        LedgerView::default(),
    );
    let waits = LetterHeaders { not_before_ms: Some(i64::MAX), ..headers(12, 1) };
    copy_of(&mut hand, 0, "a", &waits);
    hand.receive(&[(0, "b")]);
    hand.run(|_| Verdict::Filtered(FilterReason::new("f")));
    hand.pass(Duration::from_secs(10));
    for (sink, trailer) in hand.trailers() {
        hand.publish(sink, &trailer, Published::Done(Vec::new()));
    }
    assert_eq!(hand.pair.watermark(), Offset(20));
    assert_eq!(committed(&mut hand, Lane::Input), Some(Offset(12)));
}

/// Scenario: two copies of one record are read, of which the second outranks the first; the input lane comes to that record, and it is another one. Guarantee:
/// the retry lane commits both before the input's commit passes the record, or the next owner would believe the first one (I1).
#[test]
fn what_a_stray_outranked_is_committed_before_its_record() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 2);
    copy_of(&mut hand, 0, "other", &headers(1, 1));
    copy_of(&mut hand, 1, "other", &headers(1, 2));
    hand.receive(&[(0, "a"), (1, "a"), (2, "a")]);
    let letter = stray(&mut hand);
    hand.run(to_first);
    hand.pass(Duration::from_secs(10));
    for (sink, trailer) in hand.trailers() {
        hand.publish(sink, &trailer, Published::Done(Vec::new()));
    }
    assert_eq!(committed(&mut hand, Lane::Input), Some(Offset(1)));
    assert_eq!(committed(&mut hand, Lane::Retry), Some(Offset(1)), "the one that was outranked");
    acknowledge(&mut hand, letter.id);
    assert_eq!(committed(&mut hand, Lane::Retry), Some(Offset(2)));
    let commits: Vec<_> = (0..4).filter_map(|_| committed(&mut hand, Lane::Input)).collect();
    assert_eq!(commits.last(), Some(&Offset(3)), "{commits:?}");
}

/// Scenario: a record waits by its copy, and another copy names it with other bytes. Guarantee: that one is a stray, whatever its rank.
#[test]
fn a_copy_that_differs_from_the_one_that_waits_is_a_stray() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    hand.receive(&[(0, "a")]);
    hand.run(|_| Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later"))));
    let [letter] = &hand.letters()[..] else { panic!("one letter") };
    acknowledge(&mut hand, letter.id);
    copy_of(&mut hand, 0, "a", &LetterHeaders { not_before_ms: Some(i64::MAX), ..headers(0, 1) });
    copy_of(&mut hand, 1, "other", &headers(0, 2));
    stray(&mut hand);
    assert_eq!((at_work(&mut hand), hand.pair.waiting().0), (Vec::new(), 1));
}

/// Scenario: a copy of a record beyond the end of the input waits for what that end is, and the lane passes it: compaction took the record. Guarantee: the copy
/// is tried; it may be all that is left of the record.
#[test]
fn a_copy_whose_record_was_compacted_away_is_tried() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    copy_of(&mut hand, 0, "a", &headers(END, 1));
    assert_eq!((asked(&mut hand), at_work(&mut hand)), (1, Vec::new()));
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(END) });
    assert_eq!(at_work(&mut hand), [0i64; 0], "the lane stands at it");
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(END + 1) });
    assert_eq!(at_work(&mut hand), [END]);
}

/// Scenario: the end of the input is asked for, and before the answer another copy is read. Guarantee: the answer says nothing of that one: its record may have
/// been written since.
#[test]
fn an_answer_is_about_what_was_read_before_the_question() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    copy_of(&mut hand, 0, "a", &headers(END, 1));
    assert_eq!(asked(&mut hand), 1);
    copy_of(&mut hand, 1, "b", &headers(END + 1, 1));
    assert_eq!(asked(&mut hand), 0, "one question at a time");
    end_found(&mut hand, END);
    let letter = stray(&mut hand);
    assert!(letter.failure.detail().contains("in/0/1000/0"), "{}", letter.failure);
    assert_eq!(hand.pair.waiting_bytes().0, WAITING_ENTRY_BYTES, "the other one waits");
    hand.pass(Duration::from_secs(1));
    assert_eq!(asked(&mut hand), 1);
    hand.receive(&[(END, "a"), (END + 1, "b")]);
    let mut tried = at_work(&mut hand);
    tried.sort_unstable();
    assert_eq!(tried, [END, END + 1]);
}

/// Scenario: four copies are due of records that the input's commit has passed; the lane has not read all that was there when the pair became ours. Guarantee:
/// none is tried before, since a later copy may outrank one; then at most half of the window.
#[test]
fn copies_are_tried_when_the_lane_was_read_and_take_half_of_the_window() {
    let window = Window { records: 4, bytes: 1 << 20 };
    let mut hand = Hand::new(PairOptions { window, ..with_retry(policy()) });
    let metadata = Metadata { clean: true, ..Metadata::default() }.encode(Offset(10)).text;
    let position = Position { offset: Offset(10), metadata };
    assign_at(&mut hand, [Some(position), None], [END, 4], LedgerView::default());
    for place in 0..4 {
        assert_eq!(at_work(&mut hand), [0i64; 0], "{place}");
        copy_of(&mut hand, place, &format!("k{place}"), &headers(place, 1));
    }
    assert_eq!(at_work(&mut hand), [0, 1]);
}
