//! Copies that the retry topic refuses for good, while others of the same record come.

use super::retry::{acknowledge, assign, commits_of, copy_of, headers, policy, with_retry};
use super::*;
use crate::headers::LetterHeaders;

pub(super) fn later(_: i64) -> Verdict {
    Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later")))
}

/// The copy of record 0 with this replay number comes to the retry topic.
pub(super) fn replay(hand: &mut Hand, place: i64, replays: u32) {
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
pub(super) fn finish(hand: &mut Hand) -> (Vec<Letter>, Option<Offset>) {
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

/// Scenario: the same, but the later replay is still with the steps when that copy is refused; then it passes, or fails once more.
/// Guarantee: the refusal is none of its business: it has one end, a row, or a next copy of its own, behind which its key waits (I1, I3).
#[test]
fn a_refused_copy_takes_no_other_one_with_it() {
    for fails in [false, true] {
        let (mut hand, letter) = leaving();
        replay(&mut hand, 1, 2);
        refuse(&mut hand, letter);
        let mut rows = 1;
        if fails {
            hand.run(later);
            let [next] = &hand.letters()[..] else { panic!("one letter and no other") };
            assert_eq!(next.replays, 2);
            acknowledge(&mut hand, next.id);
            copy_of(&mut hand, 2, "a", &LetterHeaders { replays: 2, ..headers(0, 1) });
            hand.receive(&[(1, "a")]);
            hand.run(|offset| if offset == 0 { to_first(offset) } else { panic!("its key waits") });
            let [follows] = &hand.letters()[..] else { panic!("one letter and no other") };
            assert_eq!(follows.failure.reason, Reason::RetryParked);
            acknowledge(&mut hand, follows.id);
            copy_of(&mut hand, 3, "a", &headers(1, 0));
            rows = 2;
        }
        hand.run(to_first);
        assert_eq!((hand.rows, hand.pair.holds()), (rows, (0, 0)), "fails: {fails}");
        let (dead, committed) = finish(&mut hand);
        assert_eq!(dead.len(), 0);
        assert_eq!(committed, Some(Offset(2 * rows as i64)), "fails: {fails}");
    }
}

/// Scenario: while the next copy of a record is on its way another one comes that counts less, as from a former owner; then the retry topic
/// refuses the next copy. Guarantee: both old ones settle with the dead letter, so that the lane's commit goes on (I6).
#[test]
fn copies_that_came_meanwhile_settle_with_the_refused_one() {
    let (mut hand, letter) = leaving();
    replay(&mut hand, 1, 1);
    refuse(&mut hand, letter);
    let (dead, committed) = finish(&mut hand);
    assert_eq!(dead.len(), 1);
    assert_eq!((committed, hand.pair.holds()), (Some(Offset(2)), (0, 0)));
}

/// Copies of records 0 and 1, which have one key, have grown old while they wait, and are carried forward; returns those letters.
fn carried() -> (Hand, Vec<Letter>) {
    let mut hand = Hand::new(with_retry(RetryPolicy {
        cap: Duration::from_secs(100),
        carry_age: Duration::from_secs(20),
        ..policy()
    }));
    assign(&mut hand, 0);
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(2) });
    for origin in 0..2 {
        copy_of(
            &mut hand,
            origin,
            "a",
            &LetterHeaders { not_before_ms: Some(i64::MAX), replays: 1, ..headers(origin, 1) },
        );
    }
    hand.pass(Duration::from_secs(70));
    let letters = hand.letters();
    assert!(letters.iter().all(|letter| letter.to == Destination::Tail), "{letters:?}");
    assert_eq!(letters.len(), 2);
    (hand, letters)
}

/// Scenario: copies are carried forward, and the retry topic takes them no more, since somebody lowered its limit on sizes. Guarantee: their
/// records are letters that tell why, with the tries that were made, once; the pair goes on (I1, I9).
#[test]
fn a_copy_that_cannot_be_carried_forward_becomes_a_letter() {
    let (mut hand, letters) = carried();
    let ids = letters.iter().map(|letter| letter.id).collect::<Vec<_>>();
    ids.into_iter().for_each(|letter| refuse(&mut hand, letter));
    assert!(hand.pair.is_running(), "{:?}", hand.pair.halted());
    let (dead, committed) = finish(&mut hand);
    let told: Vec<_> =
        dead.iter().map(|letter| (letter.origin.unwrap().0, letter.to, letter.attempts)).collect();
    assert_eq!(told, [(0, Destination::DeadLetters, 1), (1, Destination::DeadLetters, 1)]);
    assert_eq!((committed, hand.pair.holds(), hand.pair.waiting()), (Some(Offset(2)), (0, 0), (0, 0)));
}

/// Scenario: the same, but the time of the first one comes before the refusal, and it is with the steps. Guarantee: what becomes of it there
/// counts; the other one is a letter.
#[test]
fn a_copy_that_is_tried_when_its_carrying_is_refused_has_its_try() {
    let (mut hand, letters) = carried();
    hand.pass(Duration::from_secs(40));
    letters.iter().for_each(|letter| refuse(&mut hand, letter.id));
    hand.run(to_first);
    let (dead, committed) = finish(&mut hand);
    assert_eq!(dead.iter().map(|letter| letter.origin).collect::<Vec<_>>(), [Some(Offset(1))]);
    assert_eq!((hand.rows, committed, hand.pair.holds()), (1, Some(Offset(2)), (0, 0)));
}

/// The records at work, and what is done about them; the letters that come of it.
fn run_all(hand: &mut Hand) -> Vec<i64> {
    let tried = std::cell::RefCell::new(Vec::new());
    hand.run(|offset| {
        tried.borrow_mut().push(offset);
        to_first(offset)
    });
    tried.into_inner()
}

/// Scenario: of two copies of one key the first cannot be carried forward any more, and the time of the second comes; no sink decides letters, or
/// one of two does. Guarantee: the second one waits until the letter is acknowledged, or its decision published: after a crash the first
/// record would be run again, and might pass, behind its successor (I3).
#[test]
fn behind_a_copy_that_cannot_be_carried_its_key_waits_for_the_letter() {
    for ledgers in [vec![false], vec![true, false]] {
        let mut options = with_retry(RetryPolicy {
            cap: Duration::from_secs(100),
            carry_age: Duration::from_secs(20),
            ..policy()
        });
        options.sinks =
            ledgers.iter().map(|ledger| spec(if *ledger { "files" } else { "topic" }, *ledger)).collect();
        let mut hand = Hand::new(options);
        assign(&mut hand, 0);
        (1..ledgers.len() as u8).for_each(|sink| {
            let (epoch, sink, ledger) = (Epoch(1), SinkIndex(sink), Ok(LedgerView::default()));
            hand.tell(Event::Recovered { epoch, sink, ledger });
        });
        hand.mark_taken();
        hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(2) });
        for origin in 0..2 {
            let waits = LetterHeaders { not_before_ms: Some(i64::MAX), replays: 1, ..headers(origin, 1) };
            copy_of(&mut hand, origin, "a", &waits);
        }
        hand.pass(Duration::from_secs(70));
        let carried = hand.letters();
        let first = carried.iter().find(|letter| letter.origin == Some(Offset(0))).unwrap();
        refuse(&mut hand, first.id);
        hand.pass(Duration::from_secs(60));
        assert_eq!(run_all(&mut hand), [0; 0], "{ledgers:?}: the first one's end is not decided");
        for (sink, trailer) in hand.trailers() {
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
        }
        let dead = |letter: &Letter| letter.to == Destination::DeadLetters;
        let letter = hand.letters().into_iter().find(dead).expect("a dead letter");
        if ledgers == [false] {
            assert_eq!(run_all(&mut hand), [0; 0], "the letter has no answer");
            acknowledge(&mut hand, letter.id);
        }
        assert_eq!(run_all(&mut hand), [1], "{ledgers:?}");
    }
}

/// A record is too large for the retry topic, and so is all that follows it there; no sink decides letters. Record 0 has failed for now and
/// record 1 was to follow it: both copies are refused. Returns the letter of record 0, which is on its way.
fn too_large() -> (Hand, Letter) {
    let mut hand = Hand::new(PairOptions { sinks: vec![spec("topic", false)], ..with_retry(policy()) });
    assign(&mut hand, 0);
    hand.receive(&[(0, "a"), (1, "a")]);
    hand.run(|offset| if offset == 0 { later(0) } else { Verdict::Deferred });
    let [copy, follows] = &hand.letters()[..] else { panic!("two letters and no other") };
    assert_eq!(follows.failure.reason, Reason::RetryParked);
    refuse(&mut hand, copy.id);
    let [dead] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!((dead.to, dead.origin), (Destination::DeadLetters, Some(Offset(0))));
    refuse(&mut hand, follows.id);
    (hand, dead.clone())
}

/// Scenario: a record of a hot key is too large for the retry topic, like all of its key: one stands behind it when it is refused, others come until
/// its letter is acknowledged. Guarantee: they wait for that letter, since another run of the first one might pass (I3); none of them becomes a
/// letter without a try (I1), and each is run once, in order; they count against the window meanwhile (I5), and as lag.
#[test]
fn what_is_too_large_to_follow_stays_until_the_letter_is_decided() {
    let (mut hand, dead) = too_large();
    let before = hand.pair.in_flight_records();
    hand.receive(&[(2, "a")]);
    assert_eq!((hand.letters().len(), hand.pair.in_flight_records()), (0, before + 1));
    hand.receive(&[(3, "b")]);
    assert_eq!(run_all(&mut hand), [3], "another key goes on");
    let lag = |hand: &Hand| (hand.pair.unfinished(), hand.pair.backlog(Offset(6)));
    assert_eq!(lag(&hand), (2, 2 + 2), "1 and 2 stay, 4 and 5 are not read");
    acknowledge(&mut hand, dead.id);
    assert_eq!(run_all(&mut hand), [1, 2]);
    assert_eq!(lag(&hand), (0, 2));
    let (letters, _) = finish(&mut hand);
    assert_eq!((letters.len(), hand.rows, hand.pair.in_flight_records()), (0, 3, 0));
    hand.receive(&[(4, "a")]);
    assert_eq!(run_all(&mut hand), [4], "the key is free");
}

/// Scenario: the same, and the record behind the refused one fails as well when its turn comes. Guarantee: it had its try, so it is a letter, and
/// what comes behind waits for that one.
#[test]
fn what_stayed_and_fails_is_a_letter_in_its_turn() {
    let (mut hand, dead) = too_large();
    acknowledge(&mut hand, dead.id);
    hand.run(later);
    let [copy] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!((copy.origin, copy.failure.reason), (Some(Offset(1)), Reason::StepFailed));
    refuse(&mut hand, copy.id);
    hand.receive(&[(2, "a")]);
    assert_eq!(run_all(&mut hand), [0; 0]);
    let [dead] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!((dead.to, dead.origin), (Destination::DeadLetters, Some(Offset(1))));
    acknowledge(&mut hand, dead.id);
    assert_eq!(run_all(&mut hand), [2]);
}

/// Scenario: behind the refused record one is too large to follow, and a small one behind that has followed, whose copy is read. Guarantee: the
/// large one goes first when the letter is decided, then the copy (I3).
#[test]
fn what_stayed_goes_before_the_copies_behind_it() {
    let mut hand = Hand::new(PairOptions { sinks: vec![spec("topic", false)], ..with_retry(policy()) });
    assign(&mut hand, 0);
    hand.receive(&[(0, "a"), (1, "a"), (2, "a")]);
    hand.run(|offset| if offset == 0 { later(0) } else { Verdict::Deferred });
    let [copy, large, small] = &hand.letters()[..] else { panic!("three letters and no other") };
    acknowledge(&mut hand, small.id);
    copy_of(&mut hand, 0, "a", &LetterHeaders { first_failed_ms: 0, ..headers(2, 0) });
    refuse(&mut hand, copy.id);
    let [dead] = &hand.letters()[..] else { panic!("one letter and no other") };
    refuse(&mut hand, large.id);
    assert_eq!(run_all(&mut hand), [0; 0]);
    acknowledge(&mut hand, dead.id);
    let mut order = run_all(&mut hand);
    order.extend(run_all(&mut hand));
    assert_eq!(order, [1, 2]);
    assert_eq!(finish(&mut hand).0.len(), 0);
}

/// Scenario: a copy of the key waits in the retry topic for its time, and a record behind it is too large to follow. Guarantee: it is a letter:
/// in memory it might wait for hours, and many of its kind would stop the partition (I9).
#[test]
fn what_is_too_large_to_follow_a_copy_that_waits_is_a_letter() {
    let mut hand = Hand::new(PairOptions { sinks: vec![spec("topic", false)], ..with_retry(policy()) });
    assign(&mut hand, 0);
    hand.receive(&[(0, "a"), (1, "a")]);
    hand.run(|offset| if offset == 0 { later(0) } else { Verdict::Deferred });
    let [copy, follows] = &hand.letters()[..] else { panic!("two letters and no other") };
    acknowledge(&mut hand, copy.id);
    refuse(&mut hand, follows.id);
    let [dead] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!((dead.to, dead.origin), (Destination::DeadLetters, Some(Offset(1))));
}

/// Scenario: the pair is taken away while a record stays, and while the answer that would make another one stay is on its way. Guarantee: nothing waits
/// for them; the commit does not pass them, so the next owner reads them again (I4).
#[test]
fn a_revoke_does_not_wait_for_what_stays() {
    let mut hand = Hand::new(PairOptions { sinks: vec![spec("topic", false)], ..with_retry(policy()) });
    assign(&mut hand, 0);
    hand.receive(&[(0, "a"), (1, "a"), (2, "a")]);
    hand.run(|offset| if offset == 0 { later(0) } else { Verdict::Deferred });
    let [copy, first, second] = &hand.letters()[..] else { panic!("three letters and no other") };
    refuse(&mut hand, copy.id);
    let [dead] = &hand.letters()[..] else { panic!("one letter and no other") };
    refuse(&mut hand, first.id);
    hand.tell(Event::Revoke);
    refuse(&mut hand, second.id);
    assert_eq!(hand.released(), None, "the letter has no answer");
    acknowledge(&mut hand, dead.id);
    let position = hand.released().expect("released").expect("something was settled");
    assert_eq!((position.offset, hand.pair.in_flight_bytes()), (Offset(1), 0));
}

/// Scenario: retries keep no order, one of two sinks decides letters, and the retry topic refuses a copy. Guarantee: nothing waits for the letter, so
/// the open segment is not sealed for it.
#[test]
fn where_retries_keep_no_order_a_refused_copy_seals_nothing() {
    for ordered in [false, true] {
        let sinks = vec![spec("files", true), spec("topic", false)];
        let options = PairOptions { sinks, ..with_retry(RetryPolicy { ordered, ..policy() }) };
        let mut hand = Hand::new(options);
        assign(&mut hand, 0);
        let (epoch, sink, ledger) = (Epoch(1), SinkIndex(1), Ok(LedgerView::default()));
        hand.tell(Event::Recovered { epoch, sink, ledger });
        hand.mark_taken();
        hand.receive(&[(0, "a")]);
        hand.run(later);
        let [copy] = &hand.letters()[..] else { panic!("one letter and no other") };
        refuse(&mut hand, copy.id);
        assert_eq!(hand.trailers().len(), usize::from(ordered), "ordered: {ordered}");
    }
}

/// Scenario: the ledger that decides letters holds a record, the other one lacks it when its owner dies; the next owner runs it again and its last
/// try fails. Guarantee: when the letter is acknowledged, what stands behind it goes on (I6).
#[test]
fn behind_a_letter_for_the_sinks_that_lack_its_record_the_key_goes_on() {
    let mut ledger = LedgerView::default();
    ledger.holdings.add(&RunSet::of(Offset(0), Offset(1)), &Default::default());
    let sinks = vec![spec("files", true), spec("table", true)];
    let mut hand = Hand::new(PairOptions { attempts: 1, ..options(sinks) });
    hand.assign(1, None, vec![ledger, LedgerView::default()]);
    hand.receive(&[(0, "a"), (1, "a")]);
    hand.run(|offset| if offset == 0 { later(0) } else { Verdict::Deferred });
    let [letter] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!(letter.failure.at, "table");
    assert_eq!(run_all(&mut hand), [0; 0]);
    acknowledge(&mut hand, letter.id);
    assert_eq!(run_all(&mut hand), [1]);
}
