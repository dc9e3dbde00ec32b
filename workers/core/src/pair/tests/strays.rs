//! Copies that name a record which is not theirs.

use super::retry::{
    acknowledge, assign, assign_at, assign_behind, at_work, commits_of, copy_of, headers, policy, with_retry,
};
use super::*;
use crate::headers::LetterHeaders;
use crate::metadata::Metadata;

/// The pairs of these tests are told that their input ends at 1000.
pub(super) const END: i64 = 1000;

pub(super) fn asked(hand: &mut Hand) -> usize {
    let pick = |action| if matches!(action, Action::FindEnd) { Ok(()) } else { Err(action) };
    hand.take(pick).len()
}

pub(super) fn end_found(hand: &mut Hand, end: i64) {
    hand.tell(Event::EndFound { epoch: Epoch(1), end: Some(Offset(end)) });
}

pub(super) fn committed(hand: &mut Hand, lane: Lane) -> Option<Offset> {
    hand.pass(Duration::from_secs(10));
    let offset = commits_of(hand, lane).last()?.offset;
    hand.tell(Event::Committed { epoch: Epoch(1), lane, offset, result: CommitResult::Done });
    Some(offset)
}

/// The settled runs that a commit tells of.
pub(super) fn runs_of(position: &Position) -> RunSet {
    Metadata::decode(&position.metadata, position.offset, Offset(END)).unwrap().settled
}

/// Publishes what waits, and commits.
fn publish_and_commit(hand: &mut Hand) -> Option<Offset> {
    for (sink, trailer) in hand.trailers() {
        hand.publish(sink, &trailer, Published::Done(Vec::new()));
    }
    committed(hand, Lane::Input)
}

/// Takes the one letter there is, which is a stray's.
pub(super) fn stray(hand: &mut Hand) -> Letter {
    let [letter] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!((letter.origin, letter.to), (None, Destination::DeadLetters));
    assert_eq!(letter.failure.reason, Reason::RetryStray);
    letter.clone()
}

/// Scenario: a copy names the record that is to be written next, as in a retry topic restored from a backup; it is a replay's, so
/// its bytes tell nothing. Guarantee: the source is asked where the input ends; the copy becomes a letter under its own coordinate,
/// and the record that comes to stand there is run itself.
#[test]
fn a_copy_of_what_is_not_written_is_never_taken_for_it() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    copy_of(&mut hand, 0, "k", &LetterHeaders { replays: 1, ..headers(END, 0) });
    assert_eq!((asked(&mut hand), hand.letters().len(), hand.pair.waiting().0), (1, 0, 1));
    end_found(&mut hand, END);
    let letter = stray(&mut hand);
    assert!(letter.failure.detail().contains("in/0/1000/0"), "{}", letter.failure);
    acknowledge(&mut hand, letter.id);
    assert_eq!(committed(&mut hand, Lane::Retry), Some(Offset(1)));
    hand.receive(&[(END, "a")]);
    assert_eq!(at_work(&mut hand), [END]);
}

/// Scenario: a former owner, which does not know yet that it is one, hands over a record that was written after the pair became
/// ours; nobody can say at first where the input ends. Guarantee: it is asked again, the copy waits for its record, and only one of
/// the two is run.
#[test]
fn a_former_owners_copy_of_a_newer_record_counts() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    copy_of(&mut hand, 0, "a", &headers(END, 1));
    assert_eq!(asked(&mut hand), 1);
    hand.tell(Event::EndFound { epoch: Epoch(1), end: None });
    assert_eq!(asked(&mut hand), 0, "not at once");
    hand.pass(Duration::from_secs(1));
    assert_eq!(asked(&mut hand), 1);
    end_found(&mut hand, END + 1);
    assert_eq!((at_work(&mut hand), hand.letters().len()), (Vec::new(), 0));
    hand.receive(&[(END, "a")]);
    assert_eq!(at_work(&mut hand), [END], "the copy, since the record has failed once");
    assert_eq!(asked(&mut hand), 0);
}

/// Scenario: the input lane reaches the record before the answer comes. Guarantee: the record itself shows that it exists.
#[test]
fn the_record_itself_tells_that_it_was_written() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    copy_of(&mut hand, 0, "a", &headers(END, 1));
    copy_of(&mut hand, 1, "other", &headers(END, 2));
    hand.receive(&[(END, "a")]);
    assert_eq!(at_work(&mut hand), [END]);
    stray(&mut hand);
    end_found(&mut hand, END + 1);
    assert_eq!((at_work(&mut hand), hand.letters().len()), (Vec::new(), 0));
}

/// Scenario: the copy was written while no worker ran, and the input has grown beyond its origin by the time one starts. Guarantee:
/// it differs from the record that stands there, so the record is run and the copy is a letter; until the copy's offset is
/// committed, the input's commit does not pass the record, or the next owner would believe the copy.
#[test]
fn a_copy_that_differs_from_its_record_is_a_stray() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 1);
    copy_of(&mut hand, 0, "other", &headers(1, 1));
    hand.receive(&[(0, "a"), (1, "a"), (2, "a")]);
    let letter = stray(&mut hand);
    hand.run(to_first);
    hand.pass(Duration::from_secs(10));
    for (sink, trailer) in hand.trailers() {
        assert_eq!(trailer.covers, (Offset(0), Offset(3)));
        hand.publish(sink, &trailer, Published::Done(Vec::new()));
    }
    assert_eq!(hand.rows, 3);
    hand.pass(Duration::from_secs(10));
    let held_back = commits_of(&mut hand, Lane::Input).pop().unwrap();
    assert_eq!(held_back.offset, Offset(1), "the copy is still there");
    assert_eq!(runs_of(&held_back), RunSet::of(Offset(2), Offset(3)), "what lies behind is not done again");
    hand.tell(Event::Committed {
        epoch: Epoch(1),
        lane: Lane::Input,
        offset: Offset(1),
        result: CommitResult::Done,
    });
    acknowledge(&mut hand, letter.id);
    assert_eq!(committed(&mut hand, Lane::Retry), Some(Offset(1)));
    assert_eq!(committed(&mut hand, Lane::Input), Some(Offset(3)));
}

/// Scenario: of two copies of one record, read before the input lane comes to it, one is a stray of the higher rank. Guarantee: the
/// other one counts.
#[test]
fn a_stray_does_not_outrank_a_copy() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 2);
    copy_of(&mut hand, 0, "a", &headers(0, 1));
    copy_of(&mut hand, 1, "other", &headers(0, 2));
    hand.receive(&[(0, "a")]);
    stray(&mut hand);
    let units = hand.take(|action| match action {
        Action::Run(unit) => Ok(unit),
        other => Err(other),
    });
    let tries: Vec<_> = units.iter().flat_map(|unit| unit.entries.iter().map(|e| e.attempt)).collect();
    assert_eq!(tries, [2]);
}

/// Scenario: a sink without a ledger, of which two records may be sent twice; a record is settled beyond the commit, and when the
/// commit has come up to it, it must stop there: a stray names that record. So it is settled and covered no more. Guarantee: it
/// counts against the cap until the stray's offset is committed, and then no more.
#[test]
fn what_a_stray_keeps_from_being_committed_counts_against_the_cap() {
    let in_place = Duration::from_secs(100);
    let mut options = PairOptions {
        sinks: vec![spec("topic", false)],
        unit_records: 1,
        ..with_retry(RetryPolicy { in_place, ..policy() })
    };
    options.commit.uncommitted_cap = 2;
    let mut hand = Hand::new(options);
    assign(&mut hand, 1);
    copy_of(&mut hand, 0, "other", &headers(1, 1));
    hand.receive(&[(0, "a"), (1, "b")]);
    let letter = stray(&mut hand);
    let later = |_| Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later")));
    hand.run(|offset| if offset == 0 { later(offset) } else { to_first(offset) });
    assert_eq!(publish_and_commit(&mut hand), Some(Offset(0)));
    hand.run(to_first);
    assert_eq!(publish_and_commit(&mut hand), Some(Offset(1)), "though both are settled");
    hand.receive(&[(2, "c"), (3, "d"), (4, "e"), (5, "f")]);
    assert_eq!(hand.rows, 2);
    for _ in 0..4 {
        hand.run(to_first);
    }
    assert_eq!(hand.rows, 3, "it and the stray's record are two");
    acknowledge(&mut hand, letter.id);
    assert_eq!(committed(&mut hand, Lane::Retry), Some(Offset(1)));
    let commits: Vec<_> = (0..4).filter_map(|_| publish_and_commit(&mut hand)).collect();
    assert!(commits.last() >= Some(&Offset(2)), "{commits:?}");
    hand.run(to_first);
    assert_eq!(hand.rows, 5, "two at once again");
}

/// Scenario: a record is rejected, and when a copy that names it is read, its decision waits in a segment, its letter is on its way, or that was
/// just acknowledged. Guarantee: the copy is committed before the input's commit passes the record: the next owner would believe
/// it behind that, and send the letter again with its bytes, or run it (I1).
#[test]
fn a_copy_of_what_has_just_ended_is_committed_before_its_record() {
    for (stage, ledger) in [(0, true), (1, true), (2, true), (1, false), (2, false)] {
        let mut options = PairOptions { sinks: vec![spec("sink", ledger)], ..with_retry(policy()) };
        options.commit.interval = Duration::from_secs(15);
        let mut hand = Hand::new(options);
        assign(&mut hand, 0);
        hand.receive(&[(0, "a")]);
        let forged = |hand: &mut Hand| copy_of(hand, 0, "other", &headers(0, 1));
        hand.run(|_| Verdict::Failed(Box::new(Failure::reject(Reason::StepFailed, "never"))));
        if stage == 0 {
            forged(&mut hand);
        }
        if ledger {
            hand.pass(Duration::from_secs(10));
            let (sink, trailer) = hand.trailers().pop().unwrap();
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
        }
        if stage == 1 {
            forged(&mut hand);
        }
        let [letter] = &hand.letters()[..] else { panic!("one letter and no other") };
        assert_eq!(letter.origin, Some(Offset(0)));
        acknowledge(&mut hand, letter.id);
        if stage == 2 {
            forged(&mut hand);
        }
        assert_eq!(hand.pair.watermark(), Offset(1));
        hand.pass(Duration::from_secs(10));
        let below = |offset: Option<Offset>| offset.is_none_or(|offset| offset == Offset(0));
        assert!(below(committed(&mut hand, Lane::Input)), "{stage} {ledger}");
        assert_eq!(committed(&mut hand, Lane::Retry), Some(Offset(1)), "{stage} {ledger}");
        let commits: Vec<_> = (0..4).filter_map(|_| committed(&mut hand, Lane::Input)).collect();
        assert_eq!(commits.last(), Some(&Offset(1)), "{stage} {ledger}: {commits:?}");
    }
}

/// Scenario: another writer takes a segment's number while a commit of the retry lane has no answer. Guarantee: the pair asks whether it is
/// still ours, and begins anew, only when that is there: an ownership that begins before the commit lands would count on copies that it
/// passes (I4).
#[test]
fn a_contest_waits_for_the_commit_of_the_retry_lane() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    copy_of(&mut hand, 0, "k", &LetterHeaders { replays: 1, ..headers(END, 0) });
    end_found(&mut hand, END);
    let letter = stray(&mut hand);
    hand.receive(&[(0, "a")]);
    hand.run(to_first);
    acknowledge(&mut hand, letter.id);
    hand.pass(Duration::from_secs(10));
    let [flying] = &commits_of(&mut hand, Lane::Retry)[..] else { panic!("the stray is settled") };
    assert_eq!(flying.offset, Offset(1));
    let (sink, trailer) = hand.trailers().pop().unwrap();
    hand.publish(sink, &trailer, Published::TakenByOther(WriterId(9)));
    hand.pass(Duration::from_secs(10));
    assert!(commits_of(&mut hand, Lane::Input).is_empty() && hand.pair.state() == "contested");
    let done = |lane, offset| Event::Committed { epoch: Epoch(1), lane, offset, result: CommitResult::Done };
    hand.tell(done(Lane::Retry, Offset(1)));
    assert_eq!(commits_of(&mut hand, Lane::Input).len(), 1);
    assert!(!hand.asked.iter().any(|action| matches!(action, Action::Reassign)));
    hand.tell(done(Lane::Input, Offset(0)));
    assert!(hand.asked.iter().any(|action| matches!(action, Action::Reassign)));
}

/// Scenario: a sink without a ledger; a record is through and committed when a late copy of it is read, which the broker does not let the retry
/// lane commit. Guarantee: the input's commit, which is past that record already, goes on (I6).
#[test]
fn a_late_copy_of_what_is_committed_holds_nothing_back() {
    let mut hand = Hand::new(PairOptions { sinks: vec![spec("sink", false)], ..with_retry(policy()) });
    assign(&mut hand, 0);
    let through = |hand: &mut Hand, offset| {
        hand.receive(&[(offset, "a")]);
        hand.run(to_first);
        hand.pass(Duration::from_secs(10));
        publish_and_commit(hand)
    };
    assert_eq!(through(&mut hand, 0), Some(Offset(1)));
    copy_of(&mut hand, 0, "a", &headers(0, 1));
    assert_eq!(through(&mut hand, 1), Some(Offset(2)));
}

/// Scenario: a record is handed over, and before its copy a replay of it is read, as of a letter from before a rewind. Guarantee: once both are
/// through nothing waits any more, so the input goes on however little may wait.
#[test]
fn a_copy_that_comes_behind_a_replay_of_its_record_is_no_longer_expected() {
    let mut hand = Hand::new(with_retry(RetryPolicy { waiting: 1, ..policy() }));
    assign(&mut hand, 0);
    hand.receive(&[(0, "a")]);
    hand.run(|_| Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later"))));
    let [letter] = &hand.letters()[..] else { panic!("one letter") };
    acknowledge(&mut hand, letter.id);
    let granted = |action| match action {
        Action::Grant { lane: Lane::Input, .. } => Ok(()),
        other => Err(other),
    };
    hand.take(granted);
    copy_of(&mut hand, 0, "a", &LetterHeaders { replays: 1, ..headers(0, 1) });
    copy_of(&mut hand, 1, "a", &headers(0, 1));
    hand.run(to_first);
    hand.pass(Duration::from_secs(10));
    publish_and_commit(&mut hand);
    assert!(hand.pair.waiting().0 == 0 && !hand.take(granted).is_empty());
}

/// A pair whose retry lane is read to its end: 1,700 copies wait, so spread that the lane's commit has no room for all that is settled between
/// them; the input lane has passed their records, and begins at 2,000. `before` are the commits of the owner before.
fn with_spread_copies(before: Option<[Position; 2]>) -> Hand {
    let hour = Duration::from_secs(3_600);
    let policy = RetryPolicy { cap: hour, waiting: 10_000, parked: 10_000, span: 1_000_000, ..policy() };
    let mut hand = Hand::new(with_retry(policy));
    match before {
        None => assign(&mut hand, 0),
        Some([input, retry]) => assign_behind(&mut hand, input, retry),
    }
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(2_000) });
    (0..1_700).for_each(|n| copy_that_waits(&mut hand, n * 16, n));
    hand
}

/// A copy of record `n` that waits for longer than the test takes.
fn copy_that_waits(hand: &mut Hand, place: i64, n: i64) {
    let waits = LetterHeaders { replays: 1, not_before_ms: Some(i64::MAX), ..headers(n, 0) };
    copy_of(hand, place, &format!("k{n}"), &waits);
}

/// A record goes through the input lane, and then a copy of it is read that a former owner made. Returns the last commits of both lanes.
fn pass_with_a_spare_copy(hand: &mut Hand, record: i64, place: i64) -> [Position; 2] {
    hand.receive(&[(record, "a")]);
    hand.run(to_first);
    copy_of(hand, place, "a", &headers(record, 0));
    commit_all(hand)
}

/// Publishes and commits whatever waits; returns the last commits of both lanes.
fn commit_all(hand: &mut Hand) -> [Position; 2] {
    let mut last = [None, None];
    for _ in 0..4 {
        for (sink, trailer) in hand.trailers() {
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
        }
        hand.pass(Duration::from_secs(10));
        for (place, lane) in [Lane::Input, Lane::Retry].into_iter().enumerate() {
            for position in commits_of(hand, lane) {
                let (offset, result) = (position.offset, CommitResult::Done);
                hand.tell(Event::Committed { epoch: Epoch(1), lane, offset, result });
                last[place] = Some(position);
            }
        }
    }
    last.map(|position| position.expect("each lane commits"))
}

/// The copies among these that a commit of the retry lane calls settled.
fn told(position: &Position, places: &[i64]) -> Vec<i64> {
    let read = Metadata::decode(&position.metadata, position.offset, Offset(i64::MAX)).unwrap();
    places.iter().copied().filter(|place| read.settled.contains(Offset(*place))).collect()
}

/// Scenario: behind many copies that wait a former owner's copies come of two records that this owner has itself, one after the other. Guarantee: each
/// is told of nevertheless, also in later commits, so that the input's commit goes on (I6) and no later owner reads one again behind it (I1).
#[test]
fn a_spare_copy_is_told_of_however_much_waits_before_it() {
    let mut hand = with_spread_copies(None);
    for (record, place) in [(2_000, 30_000), (2_001, 30_500)] {
        let [input, retry] = pass_with_a_spare_copy(&mut hand, record, place);
        assert_eq!(input.offset, Offset(record + 1));
        assert!(told(&retry, &[place]) == [place] && told(&retry, &[30_000]) == [30_000]);
    }
}

/// Scenario: the same, and between the two the pair goes to another owner, twice. Guarantee: what the commits of one owner tell of such copies,
/// those of the next ones tell again, however little room there is: the owner behind would believe a copy that the input's commit
/// has passed, and run it in the place of its record (I1).
#[test]
fn what_an_owner_told_of_strays_the_next_ones_tell_again() {
    let mut places = Vec::new();
    let mut before = None;
    for (record, place) in [(2_000, 30_000), (2_001, 30_500), (2_002, 31_000)] {
        let mut hand = with_spread_copies(before.take());
        // What waits between them keeps them from being one run with the new one.
        places.iter().zip(1_800..).for_each(|(told, n)| copy_that_waits(&mut hand, told + 100, n));
        let [input, retry] = pass_with_a_spare_copy(&mut hand, record, place);
        places.push(place);
        assert_eq!(input.offset, Offset(record + 1));
        assert_eq!(told(&retry, &places), places);
        // It let go in good order, so the next one does not begin with care.
        let found = Metadata::decode(&input.metadata, input.offset, Offset(i64::MAX)).unwrap();
        let marks =
            Metadata { clean: true, sinks: found.sinks, settled: found.settled, ..Metadata::default() };
        before = Some([Position { metadata: marks.encode(input.offset).text, ..input }, retry]);
    }
}

/// So many spare copies that the retry lane's commit has no room to tell of all.
const SPARE: i64 = 2_000;

/// A pair with [`SPARE`] spare copies of records that are in the ledger, those from 4,000 on, each between two copies that wait.
fn with_crowded_strays() -> (Hand, RetryPolicy) {
    let hour = Duration::from_secs(3_600);
    let policy = RetryPolicy { cap: hour, waiting: 10_000, parked: 10_000, span: 1_000_000, ..policy() };
    let mut hand = Hand::new(with_retry(policy));
    assign(&mut hand, 0);
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(4_000) });
    let waits = LetterHeaders { replays: 1, not_before_ms: Some(i64::MAX), ..headers(0, 0) };
    for n in 0..SPARE {
        hand.receive(&[(4_000 + n, "a")]);
        hand.run(to_first);
        copy_of(&mut hand, 2 * n, "a", &headers(4_000 + n, 0));
        let waits = LetterHeaders { origin: headers(n, 0).origin, ..waits.clone() };
        copy_of(&mut hand, 2 * n + 1, &format!("k{n}"), &waits);
    }
    (hand, policy)
}

/// Scenario: among as many a copy holds another record than the one that it names, which is in the ledger, and its letter is on its way. Guarantee (I1):
/// the input's commit waits for the letter; without it the next owner would take the copy for one of that record and drop it.
#[test]
fn a_stray_among_too_many_is_passed_when_its_letter_is_there() {
    let (mut hand, _) = with_crowded_strays();
    let record = 4_000 + SPARE;
    copy_of(&mut hand, 2 * SPARE, "other", &headers(record, 1));
    hand.receive(&[(record, "a")]);
    let letter = stray(&mut hand);
    hand.run(to_first);
    assert_eq!(commit_all(&mut hand)[0].offset, Offset(record));
    acknowledge(&mut hand, letter.id);
    assert_eq!(commit_all(&mut hand)[0].offset, Offset(record + 1));
}

/// Scenario: among as many a spare copy names a record that became a dead letter, so that no sink holds it. Guarantee (I1, I7): the input's commit does not pass
/// that record before the retry lane's commit tells of the copy: the next owner would believe it.
#[test]
fn a_spare_copy_among_too_many_of_what_no_sink_holds_is_told_of_first() {
    let (mut hand, _) = with_crowded_strays();
    let (record, place) = (4_000 + SPARE, 2 * SPARE);
    hand.receive(&[(record, "b")]);
    hand.run(|_| Verdict::Failed(Box::new(Failure::reject(Reason::StepFailed, "never"))));
    copy_of(&mut hand, place, "b", &headers(record, 0));
    for _ in 0..4 {
        for (sink, trailer) in hand.trailers() {
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
        }
        for letter in hand.letters() {
            acknowledge(&mut hand, letter.id);
        }
        hand.pass(Duration::from_secs(10));
    }
    assert_eq!(hand.pair.watermark(), Offset(record + 1));
    let [input, retry] = commit_all(&mut hand);
    assert!(input.offset <= Offset(record) || told(&retry, &[place]) == [place], "{}", input.offset);
}

/// Scenario: 2,000 spare copies of records that are in the ledger, each between two copies that wait, so that the retry lane's commit has no room to tell
/// of all. Guarantee (I6): the input's commit goes on, and so do the copies that wait for it; the next owner drops the spare copies that it was not
/// told of, since the ledger holds their records (I1, I2).
#[test]
fn more_strays_than_a_commit_has_room_for_do_not_stop_it() {
    let (mut hand, policy) = with_crowded_strays();
    let [input, retry] = commit_all(&mut hand);
    let places: Vec<i64> = (0..SPARE).map(|n| 2 * n).collect();
    let known = told(&retry, &places);
    assert!((1_000..1_900).contains(&known.len()), "{}", known.len());
    assert_eq!(input.offset, Offset(4_000 + SPARE));

    let mut ledger = LedgerView { next_sequence: crate::Sequence(1_000_000), ..LedgerView::default() };
    ledger.holdings.add(&RunSet::of(Offset(4_000), Offset(4_000 + SPARE)), &Default::default());
    let mut next = Hand::new(with_retry(policy));
    assign_at(&mut next, [Some(input), Some(retry.clone())], [10_000, 2 * SPARE], ledger);
    for n in (0..SPARE).filter(|n| 2 * n >= retry.offset.0) {
        copy_of(&mut next, 2 * n, "a", &headers(4_000 + n, 0));
    }
    assert!(next.pair.is_running(), "{:?}", next.pair.halted());
    assert_eq!((at_work(&mut next), next.pair.waiting().0, next.letters().len()), (Vec::new(), 0, 0));
}
