//! When commits are sent, and what goes with a release.

use super::retry::{acknowledge, assign, commits_of, copy_of, headers, policy, with_retry};
use super::*;

/// A record of the retry topic that is nobody's copy is read, and its letter is acknowledged: the lane has something to commit.
fn settle_a_stray(hand: &mut Hand, place: i64) {
    let mut chunk = ChunkBuilder::new(hand.pair.id().clone(), Lane::Retry, hand.pair.epoch());
    chunk.record(Offset(place), 5, None, Some(b"value"));
    hand.tell(Event::CopiesRead { chunk: chunk.build(None), wall_ms: 5 });
    let [letter] = &hand.letters()[..] else { panic!("one letter") };
    acknowledge(hand, letter.id);
}

fn answer(hand: &mut Hand, lane: Lane, position: &Position, result: CommitResult) {
    hand.tell(Event::Committed { epoch: Epoch(1), lane, offset: position.offset, result });
}

/// What went with the release of both lanes.
fn released(hand: &mut Hand) -> (Option<Position>, Option<Position>) {
    let pick = |action| match action {
        Action::Released { input, retry } => Ok((input, retry)),
        other => Err(other),
    };
    hand.take(pick).pop().expect("a release")
}

/// Scenario: a worker that runs for a while is given a pair. Guarantee: the first commits of the retry lane keep their interval like all later ones.
#[test]
fn the_first_commit_waits_for_its_interval() {
    let mut hand = Hand::new(with_retry(policy()));
    hand.now = Moment(Duration::from_secs(100));
    assign(&mut hand, 0);
    settle_a_stray(&mut hand, 0);
    assert_eq!(commits_of(&mut hand, Lane::Retry), []);
    hand.pass(Duration::from_millis(999));
    assert_eq!(commits_of(&mut hand, Lane::Retry), []);
    hand.pass(Duration::from_millis(1));
    assert_eq!(commits_of(&mut hand, Lane::Retry).len(), 1);
}

/// Scenario: a sink without a ledger may get no more records twice, so that commits are pressed for; the broker does not say what became of one.
/// Guarantee: it is sent again after its interval and not at once, or a broker that is away would be asked without end.
#[test]
fn an_unanswered_commit_is_not_pressed_for() {
    let mut options = PairOptions {
        sinks: vec![spec("topic", false)],
        unit_records: 1,
        ..with_retry(RetryPolicy { in_place: Duration::from_secs(100), ..policy() })
    };
    options.commit.uncommitted_cap = 1;
    let mut hand = Hand::new(options);
    assign(&mut hand, 0);
    hand.receive(&[(0, "a"), (1, "b"), (2, "c")]);
    hand.run(to_first);
    assert_eq!(hand.rows, 1);
    for (sink, trailer) in hand.trailers() {
        hand.publish(sink, &trailer, Published::Done(Vec::new()));
    }
    for lane in [Lane::Input, Lane::Retry] {
        if lane == Lane::Retry {
            settle_a_stray(&mut hand, 0);
        }
        let [pressed] = &commits_of(&mut hand, lane)[..] else { panic!("{lane:?}: it is not waited for") };
        answer(&mut hand, lane, pressed, CommitResult::Unknown);
        assert_eq!(commits_of(&mut hand, lane), [], "{lane:?}");
        hand.pass(Duration::from_secs(1));
        let [again] = &commits_of(&mut hand, lane)[..] else { panic!("{lane:?}: its interval is over") };
        assert_eq!(again.offset, pressed.offset);
    }
}

/// Scenario: a drained pair, which may have halted before, has settled a copy and not committed it, or has nothing new to say of its retry lane. Guarantee: the
/// lane's position goes with the release in the first case alone.
#[test]
fn the_retry_lanes_last_position_goes_with_the_release() {
    for (settled, halts) in [(true, false), (false, false), (true, true)] {
        let mut hand = Hand::new(with_retry(policy()));
        assign(&mut hand, 0);
        if settled {
            settle_a_stray(&mut hand, 0);
        }
        if halts {
            hand.tell(Event::Halt(Failure::halt(Reason::Internal, "test")));
        }
        hand.tell(Event::Drain);
        let retry = released(&mut hand).1;
        assert_eq!(retry.map(|position| position.offset), settled.then_some(Offset(1)), "halts: {halts}");
    }
}

/// Scenario: a segment's name is taken, and nobody answers whether the pair is still ours. Guarantee: the waits between the questions grow as those of any
/// outage do.
#[test]
fn questions_about_a_contested_pair_come_ever_more_seldom() {
    let mut longest = [Duration::ZERO; 4];
    for writer in 1..40 {
        let mut hand = Hand::new(options(vec![spec("files", true)]));
        hand.assign(writer, None, vec![LedgerView::default()]);
        hand.receive(&[(0, "a")]);
        hand.run(to_first);
        hand.pass(Duration::from_secs(10));
        let (sink, trailer) = hand.trailers().pop().unwrap();
        hand.publish(sink, &trailer, Published::TakenByOther(WriterId(99)));
        for longest in &mut longest {
            let [asked] = &hand.commits()[..] else { panic!("one question") };
            let (epoch, lane, offset, result) =
                (hand.pair.epoch(), Lane::Input, asked.offset, CommitResult::Unknown);
            hand.tell(Event::Committed { epoch, lane, offset, result });
            let wake = hand.pair.next_wake().expect("it asks again");
            *longest = wake.since(hand.now).max(*longest);
            hand.pass(wake.since(hand.now));
        }
    }
    let within = |bound: u64, longest: Duration| {
        longest <= Duration::from_millis(bound) && longest > Duration::from_millis(bound * 3 / 4)
    };
    assert!(
        [200, 400, 800, 1_600].into_iter().zip(longest).all(|(bound, most)| within(bound, most)),
        "{longest:?}"
    );
}

/// Scenario: copies wait in the index, aside for the end of the input, and for the end of older bytes of their record. Guarantee: all of them are counted in
/// what waiting takes of memory.
#[test]
fn all_that_waits_is_counted_in_memory() {
    let mut hand = Hand::new(with_retry(RetryPolicy { cap: Duration::from_secs(3_600), ..policy() }));
    assign(&mut hand, 0);
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(10) });
    let replay = |record, replays, waits: bool| crate::headers::LetterHeaders {
        replays,
        not_before_ms: waits.then_some(i64::MAX),
        ..headers(record, 0)
    };
    for (place, record) in [(0, 0), (1, 1)] {
        copy_of(&mut hand, place, &format!("k{record}"), &replay(record, 1, true));
    }
    copy_of(&mut hand, 2, "k2", &replay(2, 1, false));
    assert_eq!(hand.pair.waiting_bytes(), (3 * WAITING_ENTRY_BYTES, 0), "one of them is with the steps");
    copy_of(&mut hand, 3, "k2", &replay(2, 2, false));
    copy_of(&mut hand, 4, "k1000", &replay(1_000, 1, true));
    assert_eq!(hand.pair.waiting_bytes(), (5 * WAITING_ENTRY_BYTES, 0));
}
