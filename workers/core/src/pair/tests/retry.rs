//! The retry lane by hand: what is handed over, what waits, and what is committed of it.

use super::*;
use crate::headers::LetterHeaders;
use crate::source::RetryAssignment;
use crate::{Failure, Origin, TopicName};

const WALL_MS: i64 = 1_700_000_000_000;

pub(super) fn policy() -> RetryPolicy {
    RetryPolicy {
        ordered: true,
        in_place: Duration::ZERO,
        cap: Duration::from_secs(60),
        max_age: None,
        waiting: 100,
        parked: 100,
        span: 1000,
        carry_age: Duration::from_secs(86_400),
    }
}

pub(super) fn with_retry(policy: RetryPolicy) -> PairOptions {
    PairOptions { retry: Some(policy), ..options(vec![spec("files", true)]) }
}

pub(super) fn assign(hand: &mut Hand, retry_end: i64) {
    assign_with(hand, retry_end, LedgerView::default());
}

fn assign_with(hand: &mut Hand, retry_end: i64, ledger: LedgerView) {
    assign_at(hand, [None, None], [1000, retry_end], ledger);
}

/// The pair comes from an owner that committed these, with fewer segments published than offsets; both logs are far longer.
pub(super) fn assign_behind(hand: &mut Hand, input: Position, retry: Position) {
    let next_sequence = crate::Sequence(input.offset.0 as u64);
    let ledger = LedgerView { next_sequence, ..LedgerView::default() };
    assign_at(hand, [Some(input), Some(retry)], [1_000_000; 2], ledger);
}

pub(super) fn assign_at(
    hand: &mut Hand,
    committed: [Option<Position>; 2],
    ends: [i64; 2],
    ledger: LedgerView,
) {
    begin_at(hand, committed, ends, ledger);
    hand.mark_taken();
}

/// The same before the broker has taken the mark.
pub(super) fn begin_at(
    hand: &mut Hand,
    committed: [Option<Position>; 2],
    ends: [i64; 2],
    ledger: LedgerView,
) {
    let topic = TopicName::new("in.p.retry");
    let ([committed, committed_copies], log_start) = (committed, Offset(0));
    let retry = RetryAssignment { topic, committed: committed_copies, log_start, log_end: Offset(ends[1]) };
    let assignment = Assignment {
        pair: hand.pair.id().clone(),
        epoch: Epoch(1),
        committed,
        start: Offset(0),
        log_start,
        log_end: Offset(ends[0]),
        cluster: "c".into(),
        topic_id: "t".into(),
        partitions: 1,
        retry: Some(retry),
    };
    hand.tell(Event::Assigned { assignment, writer: WriterId(1) });
    hand.tell(Event::Recovered { epoch: Epoch(1), sink: SinkIndex(0), ledger: Ok(ledger) });
}

pub(super) fn headers(origin: i64, attempt: u32) -> LetterHeaders {
    let origin = Origin {
        topic: TopicName::new("in"),
        partition: crate::Partition(0),
        offset: Offset(origin),
        index: 0,
    };
    let failure = Failure::retry(Reason::StepFailed, "later");
    LetterHeaders { attempt, ..LetterHeaders::failed(origin, 5, &failure, "p v", WALL_MS) }
}

/// Gives the lane one copy.
fn copy(hand: &mut Hand, place: i64, key: &str, headers: &[(&str, &str)]) {
    copy_seen_at(hand, place, key, headers, WALL_MS);
}

/// The same when the worker's clock shows this time.
fn copy_seen_at(hand: &mut Hand, place: i64, key: &str, headers: &[(&str, &str)], wall_ms: i64) {
    let mut chunk = ChunkBuilder::new(hand.pair.id().clone(), Lane::Retry, hand.pair.epoch());
    chunk.record(Offset(place), WALL_MS, Some(key.as_bytes()), Some(b"value"));
    headers.iter().for_each(|(name, value)| chunk.header(name.as_bytes(), Some(value.as_bytes())));
    hand.tell(Event::CopiesRead { chunk: chunk.build(None), wall_ms });
}

pub(super) fn copy_of(hand: &mut Hand, place: i64, key: &str, headers: &LetterHeaders) {
    let encoded = headers.encode();
    let list: Vec<_> = encoded.iter().map(|(name, value)| (*name, value.as_str())).collect();
    copy(hand, place, key, &list);
}

fn later(_: i64) -> Verdict {
    Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later")))
}

pub(super) fn starts(hand: &mut Hand) -> Vec<(Lane, Offset)> {
    hand.take(|action| match action {
        Action::Start { lane, offset } => Ok((lane, offset)),
        other => Err(other),
    })
}

pub(super) fn commits_of(hand: &mut Hand, wanted: Lane) -> Vec<Position> {
    hand.take(|action| match action {
        Action::Commit { lane, position } if lane == wanted => Ok(position),
        other => Err(other),
    })
}

pub(super) fn acknowledge(hand: &mut Hand, letter: LetterId) {
    hand.tell(Event::LettersDelivered { epoch: Epoch(1), answers: vec![(letter, Ok(()))] });
}

/// Scenario: a copy waits when the pair becomes ours. Guarantee: the input lane begins only when it was read, and the
/// record of the copy is not run by both lanes.
#[test]
fn the_input_begins_behind_the_end_of_the_retry_partition() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 1);
    assert_eq!(starts(&mut hand), [(Lane::Retry, Offset(0))]);
    copy_of(&mut hand, 0, "a", &headers(0, 1));
    assert_eq!(starts(&mut hand), [(Lane::Input, Offset(0))]);
    hand.receive(&[(0, "a"), (1, "b")]);
    let units = hand.take(|action| match action {
        Action::Run(unit) => Ok(unit),
        other => Err(other),
    });
    let run: Vec<_> = units.iter().flat_map(|unit| &unit.entries).collect();
    let lanes: Vec<_> =
        run.iter().map(|entry| (entry.record.chunk().lane(), entry.record.offset().0)).collect();
    assert!(lanes.contains(&(Lane::Input, 1)) && lanes.contains(&(Lane::Retry, 0)), "{lanes:?}");
    assert_eq!(lanes.len(), 2, "{lanes:?}");
    let tried = run.iter().find(|entry| entry.record.offset() == Offset(0)).unwrap();
    assert_eq!((tried.attempt, tried.record.timestamp_ms()), (2, 5));
}

/// Scenario: a record fails for now, another of its key and one of another key stand behind it. Guarantee: it and what
/// must not overtake it go to the retry topic, the second one untried, and settle on the acknowledgement alone; the
/// other key is published at once (I3, I4).
#[test]
fn what_must_not_overtake_a_failed_record_follows_it() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    hand.receive(&[(0, "a"), (1, "b"), (2, "a")]);
    hand.run(|offset| match offset {
        0 => later(0),
        1 => to_first(1),
        _ => Verdict::Deferred,
    });
    hand.receive(&[(3, "a")]);
    let mut letters = hand.letters();
    letters.sort_by_key(|letter| letter.origin);
    let told: Vec<_> = letters
        .iter()
        .map(|letter| (letter.origin.unwrap().0, letter.attempts, letter.failure.reason))
        .collect();
    assert_eq!(told, [(0, 1, Reason::StepFailed), (2, 0, Reason::RetryParked), (3, 0, Reason::RetryParked)]);
    assert_eq!(letters[0].to, Destination::Retry { delay: Duration::from_secs(1) });
    assert_eq!(letters[1].to, Destination::Retry { delay: Duration::ZERO });
    assert_eq!(hand.rows, 1);
    assert_eq!(hand.pair.watermark(), Offset(0));
    letters.iter().for_each(|letter| acknowledge(&mut hand, letter.id));
    assert_eq!(hand.pair.watermark(), Offset(1), "only what is handed over has settled");
}

/// Scenario: a copy is finished and published while an older record of the input is still at work; then that one is
/// committed. Guarantee: the copy's offset is committed only when an acknowledged input commit has passed its origin
/// (rule 5).
#[test]
fn a_copy_is_committed_behind_its_origin_alone() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    hand.receive(&[(0, "a"), (1, "b")]);
    // Record 0 stays with the steps: only the unit of the other lane's key is answered.
    let units = hand.take(|action| match action {
        Action::Run(unit) => Ok(unit),
        other => Err(other),
    });
    assert_eq!(units.len(), 2);
    for unit in units.iter().filter(|unit| unit.entries[0].record.offset() == Offset(1)) {
        let verdicts = vec![later(1)];
        let result = unit_result(unit.id, verdicts, Vec::new());
        hand.tell(Event::UnitDone { epoch: Epoch(1), result });
    }
    let letters = hand.letters();
    acknowledge(&mut hand, letters[0].id);
    copy_of(&mut hand, 0, "b", &headers(1, 1));
    hand.run(to_first);
    hand.pass(Duration::from_secs(10));
    for (sink, trailer) in hand.trailers() {
        assert_eq!(trailer.also, RunSet::of(Offset(1), Offset(2)));
        hand.publish(sink, &trailer, Published::Done(Vec::new()));
    }
    hand.pass(Duration::from_secs(10));
    let early = commits_of(&mut hand, Lane::Retry);
    assert!(early.iter().all(|position| position.offset == Offset(0)), "{early:?}");
    let unit = units.iter().find(|unit| unit.entries[0].record.offset() == Offset(0)).unwrap();
    let verdicts = vec![Verdict::Filtered(FilterReason::new("f"))];
    let result = unit_result(unit.id, verdicts, Vec::new());
    hand.tell(Event::UnitDone { epoch: Epoch(1), result });
    hand.pass(Duration::from_secs(10));
    for (sink, trailer) in hand.trailers() {
        hand.publish(sink, &trailer, Published::Done(Vec::new()));
    }
    for _ in 0..3 {
        hand.pass(Duration::from_secs(10));
        for position in commits_of(&mut hand, Lane::Input) {
            let (epoch, lane, offset, result) = (Epoch(1), Lane::Input, position.offset, CommitResult::Done);
            hand.tell(Event::Committed { epoch, lane, offset, result });
        }
    }
    hand.pass(Duration::from_secs(10));
    assert_eq!(commits_of(&mut hand, Lane::Retry).last().map(|position| position.offset), Some(Offset(1)));
}

/// Scenario: a copy is in the retry topic, read and run before the broker has answered for the letter that it came by; then that answer comes,
/// and the input is committed. Guarantee: the copy is committed only when its row is published (or its dead letter acknowledged): a crash
/// before that must find it.
#[test]
fn a_copy_waits_for_its_own_end_when_its_letter_is_answered_late() {
    for fails in [false, true] {
        let mut hand = Hand::new(with_retry(policy()));
        assign(&mut hand, 0);
        hand.receive(&[(0, "a")]);
        hand.run(later);
        let letter = hand.letters().remove(0);
        copy_of(&mut hand, 0, "a", &headers(0, 1));
        let poison = |_| Verdict::Failed(Box::new(Failure::reject(Reason::StepFailed, "never")));
        if fails {
            hand.run(poison)
        } else {
            hand.run(to_first)
        }
        acknowledge(&mut hand, letter.id);
        for _ in 0..3 {
            hand.pass(Duration::from_secs(1));
            for position in commits_of(&mut hand, Lane::Input) {
                let (epoch, lane, offset, result) =
                    (Epoch(1), Lane::Input, position.offset, CommitResult::Done);
                hand.tell(Event::Committed { epoch, lane, offset, result });
            }
        }
        let early = commits_of(&mut hand, Lane::Retry);
        assert!(early.iter().all(|position| position.offset == Offset(0)), "{early:?}");
        hand.pass(Duration::from_secs(10));
        for (sink, trailer) in hand.trailers() {
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
        }
        for letter in hand.letters() {
            assert_eq!((letter.to, fails), (Destination::DeadLetters, true));
            acknowledge(&mut hand, letter.id);
        }
        hand.pass(Duration::from_secs(10));
        assert_eq!(
            commits_of(&mut hand, Lane::Retry).last().map(|position| position.offset),
            Some(Offset(1))
        );
    }
}

/// Scenario: records of the retry topic that are no copies of ours: without headers, with damaged ones, of another
/// partition, of a child. Guarantee: each becomes one letter under its own coordinate, and its offset settles with it.
#[test]
fn strays_become_letters_under_their_own_coordinate() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    let strays: [&[(&str, &str)]; 4] = [
        &[],
        &[("longshore.origin", "in/0")],
        &[("longshore.origin", "in/7/3/0")],
        &[("longshore.origin", "in/0/3/2")],
    ];
    for (place, headers) in (0..).zip(strays) {
        copy(&mut hand, place, "k", headers);
    }
    let letters = hand.letters();
    assert_eq!(letters.len(), 4);
    for letter in &letters {
        assert_eq!((letter.origin, letter.to), (None, Destination::DeadLetters));
        assert_eq!(letter.failure.reason, Reason::RetryStray);
        acknowledge(&mut hand, letter.id);
    }
    hand.pass(Duration::from_secs(10));
    assert_eq!(commits_of(&mut hand, Lane::Retry).last().map(|position| position.offset), Some(Offset(4)));
}

/// Scenario: `not-before` lies far in the future, in the past, and is the smallest number there is. Guarantee: the wait
/// is clipped to the cap, and the others are tried at once (rule 7).
#[test]
fn a_time_beyond_the_cap_is_clipped() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    hand.receive(&[(0, "a"), (1, "b"), (2, "c")]);
    hand.run(later);
    for letter in hand.letters() {
        acknowledge(&mut hand, letter.id);
    }
    for (place, not_before) in [(0, i64::MAX), (1, WALL_MS - 1), (2, i64::MIN)] {
        let headers = LetterHeaders { not_before_ms: Some(not_before), ..headers(place, 1) };
        copy_of(&mut hand, place, ["a", "b", "c"][place as usize], &headers);
    }
    let tried = |hand: &mut Hand| {
        let mut offsets: Vec<i64> = hand
            .take(|action| match action {
                Action::Run(unit) => Ok(unit),
                other => Err(other),
            })
            .iter()
            .flat_map(|unit| unit.entries.iter().map(|entry| entry.record.offset().0))
            .collect();
        offsets.sort_unstable();
        offsets
    };
    assert_eq!(tried(&mut hand), [1, 2]);
    hand.pass(Duration::from_secs(59));
    assert_eq!(tried(&mut hand), [0i64; 0]);
    hand.pass(Duration::from_secs(2));
    assert_eq!(tried(&mut hand), [0]);
}

/// Scenario: two copies are due at different moments of the same 10 ms, without order. Guarantee: they are tried at once, as one unit,
/// and not before either is due.
#[test]
fn copies_of_about_one_time_are_one_unit() {
    let unordered = with_retry(RetryPolicy { ordered: false, ..policy() });
    let mut hand = Hand::new(PairOptions { order: Order::None, ..unordered });
    assign(&mut hand, 0);
    hand.receive(&[(0, "a"), (1, "b")]);
    hand.run(later);
    for letter in hand.letters() {
        acknowledge(&mut hand, letter.id);
    }
    for (place, wait_ms) in [(0, 1), (1, 9)] {
        let headers = LetterHeaders { not_before_ms: Some(WALL_MS + wait_ms), ..headers(place, 1) };
        copy_of(&mut hand, place, ["a", "b"][place as usize], &headers);
    }
    let units = |hand: &mut Hand| {
        let units = hand.take(|action| match action {
            Action::Run(unit) => Ok(unit),
            other => Err(other),
        });
        units.iter().map(|unit| unit.entries.len()).collect::<Vec<_>>()
    };
    assert!(units(&mut hand).is_empty());
    let wake = hand.pair.next_wake().expect("a time");
    assert_eq!(wake, wake.rounded_up(Duration::from_millis(10)));
    hand.pass(Duration::from_millis(10));
    assert_eq!(units(&mut hand), [2]);
}

/// Scenario: a copy whose record failed first longer ago than `max_age` fails once more. Guarantee: it gets no further
/// try, whatever number of them is left.
#[test]
fn a_record_that_failed_for_too_long_becomes_a_letter() {
    let mut hand = Hand::new(with_retry(RetryPolicy { max_age: Some(Duration::from_secs(60)), ..policy() }));
    assign(&mut hand, 0);
    hand.receive(&[(0, "a")]);
    hand.run(later);
    let letters = hand.letters();
    acknowledge(&mut hand, letters[0].id);
    copy_of(&mut hand, 0, "a", &LetterHeaders { first_failed_ms: WALL_MS - 61_000, ..headers(0, 1) });
    hand.run(later);
    hand.pass(Duration::from_secs(10));
    for (sink, trailer) in hand.trailers() {
        assert_eq!(trailer.dead.get(&Offset(0)), Some(&0));
        hand.publish(sink, &trailer, Published::Done(Vec::new()));
    }
    let letters = hand.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].to, letters[0].attempts), (Destination::DeadLetters, 2));
}

/// Whether a copy that landed when its record had failed for `failing_ms`, and is due `planned_ms` later, is tried for the last time by a worker
/// that reads it when its clock says `seen_ms` more; `max_age` is a minute.
fn is_last_try(failing_ms: i64, planned_ms: i64, seen_ms: i64) -> bool {
    let minute = Duration::from_secs(60);
    let mut hand = Hand::new(with_retry(RetryPolicy { max_age: Some(minute), cap: minute, ..policy() }));
    assign(&mut hand, 0);
    hand.receive(&[(0, "a")]);
    hand.run(later);
    let letters = hand.letters();
    acknowledge(&mut hand, letters[0].id);
    let not_before_ms = (planned_ms > 0).then_some(WALL_MS + planned_ms);
    let copy = LetterHeaders { first_failed_ms: WALL_MS - failing_ms, not_before_ms, ..headers(0, 1) };
    let encoded = copy.encode();
    let list: Vec<_> = encoded.iter().map(|(name, value)| (*name, value.as_str())).collect();
    copy_seen_at(&mut hand, 0, "a", &list, WALL_MS + seen_ms);
    hand.pass(Duration::from_secs(60));
    hand.run(later);
    hand.pass(Duration::from_secs(10));
    // Another try is a copy at once; a letter waits until its segment has decided it.
    !hand.letters().iter().any(|letter| matches!(letter.to, Destination::Retry { .. }))
}

/// Scenario: a record has failed for some seconds, by the broker's clock, when the worker's clock jumps an hour ahead; `max_age` is a minute.
/// Guarantee: it is tried again for its minute.
#[test]
fn a_clock_that_jumps_ahead_gives_nothing_up() {
    assert!(!is_last_try(10_000, 0, 3_600_000));
    assert!(is_last_try(60_000, 0, 3_600_000));
}

/// Scenario: owners read one copy as soon as it landed, and an hour later, behind an outage. Guarantee: to both it is the last try or it is not, by
/// when it was due: an outage uses up no tries.
#[test]
fn all_owners_judge_the_age_of_a_copy_alike() {
    for seen_ms in [-3_600_000, 0, 20_000, 3_600_000] {
        assert!(is_last_try(40_000, 20_000, seen_ms), "seen at {seen_ms}");
        assert!(!is_last_try(39_999, 20_000, seen_ms), "seen at {seen_ms}");
    }
}

/// Scenario: a copy is due in two seconds; the clock of who reads it is an hour behind that of who wrote it. Guarantee: it is tried after the two
/// seconds, though the cap is a minute.
#[test]
fn a_copy_waits_no_longer_than_was_planned() {
    let minute = Duration::from_secs(60);
    let mut hand = Hand::new(with_retry(RetryPolicy { cap: minute, ..policy() }));
    assign(&mut hand, 0);
    hand.receive(&[(0, "a")]);
    hand.run(later);
    let letters = hand.letters();
    acknowledge(&mut hand, letters[0].id);
    let encoded = LetterHeaders { not_before_ms: Some(WALL_MS + 2_000), ..headers(0, 1) }.encode();
    let list: Vec<_> = encoded.iter().map(|(name, value)| (*name, value.as_str())).collect();
    copy_seen_at(&mut hand, 0, "a", &list, WALL_MS - 3_600_000);
    hand.pass(Duration::from_millis(1_990));
    hand.run(to_first);
    assert_eq!(hand.rows, 0);
    hand.pass(Duration::from_millis(20));
    hand.run(to_first);
    assert_eq!(hand.rows, 1);
}

/// Scenario: the retry topic refuses a record for its size. Guarantee: it is a dead letter instead, and its key is free.
#[test]
fn what_the_retry_topic_refuses_becomes_a_letter() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    hand.receive(&[(0, "a")]);
    hand.run(later);
    let letters = hand.letters();
    let result = Err(Failure::reject(Reason::SinkTooLarge, "too large"));
    hand.tell(Event::LettersDelivered { epoch: Epoch(1), answers: vec![(letters[0].id, result)] });
    hand.receive(&[(1, "a")]);
    hand.run(to_first);
    assert_eq!((hand.rows, hand.pair.waiting()), (1, (0, 0)));
    hand.pass(Duration::from_secs(10));
    for (sink, trailer) in hand.trailers() {
        hand.publish(sink, &trailer, Published::Done(Vec::new()));
    }
    let letters = hand.letters();
    assert_eq!((letters.len(), letters[0].to), (1, Destination::DeadLetters));
    assert_eq!(letters[0].failure.reason, Reason::SinkTooLarge);
}

/// Scenario: a parked record was rejected and its letter decided in the ledger; the worker died before the letter was sent.
/// Guarantee: the next owner sends the letter with the reason that the steps give, not with what stands on the copy, and makes no row.
#[test]
fn a_decided_letter_says_why_its_record_failed() {
    let mut first = Hand::new(with_retry(policy()));
    assign(&mut first, 0);
    first.receive(&[(3, "a")]);
    first.run(|_| Verdict::Failed(Box::new(Failure::reject(Reason::DecodeJson, "bad"))));
    first.tell(Event::Drain);
    let (_, trailer) = first.trailers().pop().unwrap();
    let mut ledger = LedgerView::default();
    ledger.fold(&trailer);

    let mut next = Hand::new(with_retry(policy()));
    assign_with(&mut next, 1, ledger);
    let parked = Failure::retry(Reason::RetryParked, "behind another");
    let origin = headers(3, 0).origin;
    let parked = LetterHeaders { attempt: 0, ..LetterHeaders::failed(origin, 5, &parked, "p v", WALL_MS) };
    copy_of(&mut next, 0, "a", &parked);
    assert_eq!(at_work(&mut next), [0i64; 0], "its record is to be met first");
    next.receive(&[(3, "a")]);
    next.run(|_| Verdict::Failed(Box::new(Failure::reject(Reason::DecodeJson, "bad"))));
    let [letter] = &next.letters()[..] else { panic!("one letter and no other") };
    assert_eq!((letter.failure.reason, letter.attempts), (Reason::DecodeJson, 1));
    acknowledge(&mut next, letter.id);
    assert_eq!((next.rows, next.pair.waiting()), (0, (0, 0)));
}

/// The records that are with the steps now, in their order.
pub(super) fn at_work(hand: &mut Hand) -> Vec<i64> {
    let units = hand.take(|action| match action {
        Action::Run(unit) => Ok(unit),
        other => Err(other),
    });
    units.iter().flat_map(|unit| unit.entries.iter().map(|entry| entry.record.offset().0)).collect()
}

/// Scenario: a record waits for its time and another of its key behind it. Somebody writes a copy of the second one without a
/// time, and later one of the first, each of the same rank as the copy that waits (`longshore retry now`). Guarantee: the later
/// copy counts instead of the earlier, which settles; the second record does not overtake the first (I3), and the first is tried
/// at once.
#[test]
fn a_later_copy_of_equal_rank_counts_and_keeps_the_keys_order() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    hand.receive(&[(0, "a"), (1, "a")]);
    hand.run(|offset| if offset == 0 { later(0) } else { Verdict::Deferred });
    for letter in hand.letters() {
        acknowledge(&mut hand, letter.id);
    }
    let waits =
        |origin, attempt| LetterHeaders { not_before_ms: Some(WALL_MS + 50_000), ..headers(origin, attempt) };
    copy_of(&mut hand, 0, "a", &waits(0, 1));
    copy_of(&mut hand, 1, "a", &headers(1, 0));
    assert_eq!(at_work(&mut hand), [0i64; 0]);
    copy_of(&mut hand, 2, "a", &headers(1, 0));
    hand.pass(Duration::from_secs(1));
    assert_eq!(at_work(&mut hand), [0i64; 0], "the second record waits for the first");
    copy_of(&mut hand, 3, "a", &headers(0, 1));
    assert_eq!(at_work(&mut hand), [0]);
    assert_eq!(hand.pair.waiting(), (2, 1), "two records wait, whatever the number of their copies");
}

/// Scenario: such a copy is written for a record whose copy of a higher rank is already there, and for one that is with the
/// steps. Guarantee: the higher rank stays, and the record at work is not tried a second time.
#[test]
fn a_copy_that_comes_too_late_changes_nothing() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    hand.receive(&[(0, "a"), (1, "b")]);
    hand.run(later);
    for letter in hand.letters() {
        acknowledge(&mut hand, letter.id);
    }
    let far = |attempt| LetterHeaders { not_before_ms: Some(WALL_MS + 50_000), ..headers(0, attempt) };
    copy_of(&mut hand, 0, "a", &far(2));
    copy_of(&mut hand, 1, "a", &headers(0, 1));
    assert_eq!(at_work(&mut hand), [0i64; 0]);
    copy_of(&mut hand, 2, "b", &headers(1, 1));
    assert_eq!(at_work(&mut hand), [1]);
    copy_of(&mut hand, 3, "b", &headers(1, 1));
    hand.pass(Duration::from_secs(1));
    assert_eq!(at_work(&mut hand), [0i64; 0]);
}

/// Scenario: a record waits for the steps when a copy of a later one of its key is read, as from a former owner; so one between the two is handed over,
/// comes back as the first of its key, and waits for the steps behind it. Guarantee: when the first one follows its key into the retry lane, the one behind
/// it does not go in its place (I3).
#[test]
fn a_copy_does_not_overtake_a_record_that_follows_its_key() {
    let mut hand = Hand::new(PairOptions { units_in_flight: 1, ..with_retry(policy()) });
    assign(&mut hand, 0);
    hand.receive(&[(0, "slow")]);
    let slow = hand.take(|action| if let Action::Run(unit) = action { Ok(unit.id) } else { Err(action) });
    hand.receive(&[(1, "a")]);
    copy_of(&mut hand, 0, "a", &headers(3, 0));
    hand.receive(&[(2, "a")]);
    let [letter] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!(letter.origin, Some(Offset(2)));
    acknowledge(&mut hand, letter.id);
    copy_of(&mut hand, 1, "a", &headers(2, 0));
    hand.tell(Event::UnitDone {
        epoch: Epoch(1),
        result: unit_result(slow[0], vec![to_first(0)], Vec::new()),
    });
    assert_eq!(at_work(&mut hand), [0i64; 0]);
    let [letter] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!(letter.origin, Some(Offset(1)));
    acknowledge(&mut hand, letter.id);
    copy_of(&mut hand, 2, "a", &headers(1, 0));
    let mut tried = Vec::new();
    for _ in 0..2 {
        hand.run(|offset| {
            assert!(offset < 3);
            to_first(offset)
        });
        tried.push(hand.rows);
    }
    assert_eq!(
        (tried, hand.pair.waiting().0),
        (vec![1, 2], 1),
        "one after the other, and the last waits for its record"
    );
}
