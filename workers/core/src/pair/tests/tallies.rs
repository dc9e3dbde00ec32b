//! What is counted when records end, and letters that are on their way meanwhile.

use super::retry::{
    acknowledge, assign_at, at_work, begin_at, commits_of, copy_of, headers, policy, with_retry,
};
use super::*;
use crate::headers::LetterHeaders;
use crate::metadata::Metadata;

fn tallies(hand: &mut Hand) -> Vec<Tally> {
    hand.take(|action| if let Action::Settled(tally) = action { Ok(tally) } else { Err(action) })
}

fn failed(failure: Failure) -> Verdict {
    Verdict::Failed(Box::new(failure))
}

fn later() -> Verdict {
    failed(Failure::retry(Reason::StepFailed, "later"))
}

/// An owner before let go in good order at this offset of the input.
fn let_go_at(offset: i64) -> [Option<Position>; 2] {
    let metadata = Metadata { clean: true, ..Metadata::default() }.encode(Offset(offset)).text;
    [Some(Position { offset: Offset(offset), metadata }), None]
}

/// Scenario: of four records two are rejected for one reason and one for another, and one goes to the retry topic; the answers come together. Guarantee: they
/// are counted once, by their reasons.
#[test]
fn letters_are_counted_by_their_reasons() {
    let mut hand = Hand::new(PairOptions { sinks: vec![spec("topic", false)], ..with_retry(policy()) });
    assign_at(&mut hand, [None, None], [1_000, 0], LedgerView::default());
    hand.receive(&[(0, "a"), (1, "b"), (2, "c"), (3, "d")]);
    hand.run(|offset| match offset {
        0 | 2 => failed(Failure::reject(Reason::DecodeJson, "bad")),
        1 => failed(Failure::reject(Reason::StepFailed, "never")),
        _ => later(),
    });
    assert_eq!(tallies(&mut hand), []);
    let mut letters = hand.letters();
    letters.sort_by_key(|letter| letter.origin);
    let answers = letters.iter().map(|letter| (letter.id, Ok(()))).collect();
    hand.tell(Event::LettersDelivered { epoch: Epoch(1), answers });
    let dead = vec![(Reason::DecodeJson, 2), (Reason::StepFailed, 1)];
    let retried = vec![(Reason::StepFailed, 1)];
    assert_eq!(tallies(&mut hand), [Tally { dead, retried, ..Tally::default() }]);
    hand.tell(Event::LettersDelivered { epoch: Epoch(1), answers: Vec::new() });
    assert_eq!(tallies(&mut hand), []);
}

/// Scenario: a copy is carried forward. Guarantee: that counts as nothing; the record did not end.
#[test]
fn what_is_carried_is_not_counted() {
    let hour = Duration::from_secs(3_600);
    let mut hand = Hand::new(with_retry(RetryPolicy { span: 10, cap: hour, ..policy() }));
    assign_at(&mut hand, let_go_at(10), [1_000, 0], LedgerView::default());
    copy_of(&mut hand, 0, "a", &LetterHeaders { not_before_ms: Some(i64::MAX), ..headers(0, 1) });
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Retry, offset: Offset(100) });
    let [letter] = &hand.letters()[..] else { panic!("one letter") };
    assert_eq!(letter.to, Destination::Tail);
    acknowledge(&mut hand, letter.id);
    assert_eq!(tallies(&mut hand), []);
}

/// Scenario: records are filtered where no sink keeps a ledger, so that there is nothing to wait for. Guarantee: they settle and count at once.
#[test]
fn what_waits_for_nothing_is_counted_at_once() {
    let mut hand = Hand::new(options(vec![spec("topic", false)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a"), (1, "a")]);
    hand.run(|_| Verdict::Filtered(FilterReason::new("f")));
    let filtered = vec![(FilterReason::new("f"), 2)];
    assert_eq!(tallies(&mut hand), [Tally { filtered, ..Tally::default() }]);
    assert_eq!(hand.pair.watermark(), Offset(2));
    hand.receive(&[(2, "a")]);
    hand.run(to_first);
    assert_eq!(tallies(&mut hand), [], "its row is not acknowledged");
}

/// Scenario: a record has failed once more and its next copy is on its way, when an older copy of it is read; the input's commit has passed the record.
/// Guarantee: neither copy settles before the broker has the next one (I1).
#[test]
fn an_older_copy_settles_with_the_next_one() {
    let mut hand = Hand::new(with_retry(policy()));
    assign_at(&mut hand, let_go_at(10), [1_000, 0], LedgerView::default());
    copy_of(&mut hand, 0, "a", &headers(0, 1));
    hand.run(|_| later());
    let [letter] = &hand.letters()[..] else { panic!("one letter") };
    copy_of(&mut hand, 1, "a", &headers(0, 1));
    hand.pass(Duration::from_secs(10));
    assert_eq!(commits_of(&mut hand, Lane::Retry), []);
    acknowledge(&mut hand, letter.id);
    hand.pass(Duration::from_secs(10));
    let committed = commits_of(&mut hand, Lane::Retry);
    assert_eq!(committed.last().map(|position| position.offset), Some(Offset(2)));
}

/// Scenario: the next copy of a record is on its way when another copy that counts more is read, tried, and fails as well; then the retry topic refuses the first of the
/// two. Guarantee: the record goes on by the second one, and is no letter beside it (I2).
#[test]
fn a_refused_copy_takes_no_later_one_with_it() {
    let mut hand = Hand::new(PairOptions { attempts: 9, ..with_retry(policy()) });
    assign_at(&mut hand, let_go_at(10), [1_000, 0], LedgerView::default());
    let mut letters = Vec::new();
    for (place, attempt) in [(0, 1), (1, 3)] {
        copy_of(&mut hand, place, "a", &headers(0, attempt));
        hand.run(|_| later());
        letters.append(&mut hand.letters());
    }
    let [first, second] = &letters[..] else { panic!("two letters: {letters:?}") };
    let refused = Err(Failure::reject(Reason::SinkTooLarge, "too large"));
    hand.tell(Event::LettersDelivered { epoch: Epoch(1), answers: vec![(first.id, refused)] });
    hand.pass(Duration::from_secs(10));
    assert_eq!((hand.letters().len(), hand.trailers().len(), hand.pair.waiting().0), (0, 0, 1));
    acknowledge(&mut hand, second.id);
    let mut last = None;
    for _ in 0..3 {
        for Position { offset, .. } in commits_of(&mut hand, Lane::Retry) {
            let (epoch, lane, result) = (Epoch(1), Lane::Retry, CommitResult::Done);
            hand.tell(Event::Committed { epoch, lane, offset, result });
            last = Some(offset);
        }
        hand.pass(Duration::from_secs(10));
    }
    assert_eq!(last, Some(Offset(2)));
}

/// Scenario: a replay is rejected; its letter is decided and on its way when another copy of it is read. Guarantee: that one asks for nothing: it does not run,
/// and makes no second letter; nor does one that is read when the letter is there.
#[test]
fn a_copy_of_what_is_on_its_way_as_a_letter_asks_for_nothing() {
    let mut hand = Hand::new(with_retry(policy()));
    assign_at(&mut hand, let_go_at(10), [1_000, 0], LedgerView::default());
    let replay = LetterHeaders { replays: 1, ..headers(0, 1) };
    copy_of(&mut hand, 0, "a", &replay);
    hand.run(|_| failed(Failure::reject(Reason::StepFailed, "never")));
    hand.pass(Duration::from_secs(10));
    let (sink, trailer) = hand.trailers().remove(0);
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    let [letter] = &hand.letters()[..] else { panic!("one letter") };
    copy_of(&mut hand, 1, "a", &replay);
    assert_eq!((at_work(&mut hand), hand.letters().len()), (Vec::new(), 0));
    acknowledge(&mut hand, letter.id);
    assert_eq!((at_work(&mut hand), hand.letters().len(), hand.pair.waiting().0), (Vec::new(), 0, 0));
    hand.pass(Duration::from_secs(10));
    let committed = commits_of(&mut hand, Lane::Retry);
    assert_eq!(committed.last().map(|position| position.offset), Some(Offset(2)));
}

/// Scenario: the next owner sends a decided letter again, and then another copy of its record is read. Guarantee: the letter is not sent once more.
#[test]
fn a_decided_letter_is_sent_again_once() {
    let mut ledger = LedgerView { next_sequence: crate::Sequence(1), ..LedgerView::default() };
    ledger.holdings.add(&RunSet::default(), &[(Offset(0), 0)].into());
    let mut hand = Hand::new(with_retry(policy()));
    assign_at(&mut hand, let_go_at(10), [1_000, 0], ledger);
    copy_of(&mut hand, 0, "a", &headers(0, 1));
    let held = hand.asked.iter().find_map(|action| match action {
        Action::Run(unit) => Some(unit.entries[0].held),
        _ => None,
    });
    assert_eq!(held, Some(SinkMask::first(1)), "no sink gets a row");
    hand.run(|_| failed(Failure::reject(Reason::DecodeJson, "bad")));
    let [letter] = &hand.letters()[..] else { panic!("one letter") };
    assert_eq!((letter.failure.reason, letter.to), (Reason::DecodeJson, Destination::DeadLetters));
    acknowledge(&mut hand, letter.id);
    copy_of(&mut hand, 1, "a", &headers(0, 1));
    assert_eq!((at_work(&mut hand), hand.letters().len()), (Vec::new(), 0));
}

/// Scenario: letters cannot be delivered for now, time and again. Guarantee: each is sent again once after each wait, and the waits grow as those of any outage
/// do.
#[test]
fn a_letter_is_sent_again_ever_more_seldom() {
    let mut longest = [Duration::ZERO; 4];
    for writer in 1..40 {
        let mut hand = Hand::new(options(vec![spec("topic", false)]));
        hand.assign(writer, None, vec![LedgerView::default()]);
        hand.receive(&[(0, "a")]);
        hand.run(|_| failed(Failure::reject(Reason::DecodeJson, "bad")));
        hand.mark_taken();
        for longest in &mut longest {
            let [letter] = &hand.letters()[..] else { panic!("one letter") };
            let answers = vec![(letter.id, Err(Failure::target(Reason::BrokerUnavailable, "away")))];
            hand.tell(Event::LettersDelivered { epoch: Epoch(writer), answers });
            let began = hand.now;
            while hand.asked.iter().all(|action| !matches!(action, Action::Letter(_))) {
                let wake = hand.pair.next_wake().expect("it is sent again");
                assert!(wake > hand.now);
                hand.now = wake;
                hand.tell(Event::Tick);
                hand.mark_taken();
            }
            *longest = hand.now.since(began).max(*longest);
        }
    }
    let within = |bound: u64, longest: Duration| {
        longest <= Duration::from_millis(bound) && longest > Duration::from_millis(bound * 3 / 4)
    };
    let bounds = [200, 400, 800, 1_600];
    assert!(bounds.into_iter().zip(longest).all(|(bound, most)| within(bound, most)), "{longest:?}");
}

/// Scenario: one sink, whose ledger decides letters; a record fails for the last time, and another of its key stands behind it. Guarantee: that one goes on at
/// once, since one publish decides over both.
#[test]
fn what_one_publish_decides_does_not_wait() {
    let mut hand = Hand::new(PairOptions { attempts: 1, ..options(vec![spec("files", true)]) });
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a"), (1, "a")]);
    hand.run(|offset| if offset == 0 { later() } else { Verdict::Deferred });
    assert_eq!(at_work(&mut hand), [1]);
}

/// Scenario: a copy is due and the broker has not taken the mark that every ownership begins with. Guarantee: nothing runs before it has, or a crash would not
/// be counted.
#[test]
fn nothing_runs_before_the_mark_is_taken() {
    let mut hand = Hand::new(with_retry(policy()));
    begin_at(&mut hand, let_go_at(10), [1_000, 0], LedgerView::default());
    copy_of(&mut hand, 0, "a", &headers(0, 1));
    assert_eq!(at_work(&mut hand), [0i64; 0]);
    hand.mark_taken();
    assert_eq!(at_work(&mut hand), [0]);
}

/// Scenario: less than half of what a sink without a ledger may get twice is acknowledged and not committed, and nothing waits for that. Guarantee: the
/// commit keeps its interval.
#[test]
fn nothing_is_pressed_for_when_nothing_waits() {
    let mut options = options(vec![spec("topic", false)]);
    options.commit.uncommitted_cap = 8;
    let mut hand = Hand::new(options);
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a")]);
    hand.run(to_first);
    let (sink, trailer) = hand.trailers().remove(0);
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    assert_eq!(hand.commits(), []);
    hand.pass(Duration::from_secs(1));
    assert_eq!(hand.commits().len(), 1);
}

/// Scenario: records go to one, to all and to none of three sinks, which publish one after the other. Guarantee: each is counted once, by the first sink that
/// it waits for.
#[test]
fn rows_in_several_sinks_are_counted_once() {
    let sinks = ["one", "two", "three"].map(|name| spec(name, true)).to_vec();
    let mut hand = Hand::new(options(sinks));
    hand.assign(1, None, vec![LedgerView::default(); 3]);
    hand.receive(&[(0, "a"), (1, "a"), (2, "a")]);
    hand.run(|offset| Verdict::Routed { sinks: SinkMask::first([1, 3, 0][offset as usize]) });
    hand.pass(Duration::from_secs(10));
    let trailers = hand.trailers();
    assert_eq!((trailers.len(), tallies(&mut hand)), (3, Vec::new()));
    let mut counted = Vec::new();
    for (sink, trailer) in trailers {
        hand.publish(sink, &trailer, Published::Done(Vec::new()));
        counted.push(tallies(&mut hand));
    }
    let filtered = vec![(FilterReason::new("unrouted"), 1)];
    let all = Tally { sunk: 2, filtered, ..Tally::default() };
    assert_eq!(counted, [vec![all], Vec::new(), Vec::new()]);
    assert_eq!(hand.pair.watermark(), Offset(3));
}

/// Scenario: a copy is read of a record that the ledger holds. Guarantee: it is counted as that, once, and not tried.
#[test]
fn a_copy_of_what_is_held_is_counted() {
    let mut ledger = LedgerView { next_sequence: crate::Sequence(1), ..LedgerView::default() };
    ledger.holdings.add(&RunSet::of(Offset(0), Offset(1)), &Default::default());
    let mut hand = Hand::new(with_retry(policy()));
    assign_at(&mut hand, let_go_at(10), [1_000, 0], ledger);
    copy_of(&mut hand, 0, "a", &headers(0, 1));
    assert_eq!(tallies(&mut hand), [Tally { already_held: 1, ..Tally::default() }]);
    assert_eq!((at_work(&mut hand), hand.pair.waiting().0), (Vec::new(), 0));
}
