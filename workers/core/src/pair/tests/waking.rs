//! When the pair is woken for copies, and what of them stays in memory meanwhile.

use super::retry::{assign, commits_of, copy_of, headers, policy, with_retry};
use super::spool::{WALL_MS, fetches, give, runs, spools, waiting};
use super::*;
use crate::headers::LetterHeaders;

/// When the pair wants to be woken, in milliseconds.
fn wakes(hand: &Hand) -> Option<u128> {
    hand.pair.next_wake().map(|wake| wake.0.as_millis())
}

/// A copy that is due in so many seconds.
fn due_in(hand: &mut Hand, place: i64, seconds: i64) {
    let headers = LetterHeaders { not_before_ms: Some(WALL_MS + seconds * 1_000), ..headers(place, 1) };
    copy_of(hand, place, &format!("key-{place}"), &headers);
}

/// Guarantee: the pair is woken for a copy that will be due while another one is at work; not for one that is due before the lane was read, nor in a drain, which leaves it to the
/// next owner.
#[test]
fn a_copy_wakes_the_pair_when_it_can_be_tried() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 3);
    due_in(&mut hand, 0, 0);
    due_in(&mut hand, 1, 50);
    assert!(wakes(&hand).is_none_or(|wake| wake > 0), "the lane is not read: {:?}", wakes(&hand));
    due_in(&mut hand, 2, 60);
    for offset in 0..3 {
        hand.receive(&[(offset, &format!("key-{offset}"))]);
    }
    hand.pass(Duration::from_secs(2));
    for lane in [Lane::Input, Lane::Retry] {
        for Position { offset, .. } in commits_of(&mut hand, lane) {
            hand.tell(Event::Committed { epoch: Epoch(1), lane, offset, result: CommitResult::Done });
        }
    }
    assert_eq!(wakes(&hand), Some(50_000));
    hand.tell(Event::Drain);
    assert_eq!(wakes(&hand), None);
}

/// A chunk with a small copy that is due and large ones that are not, of the records from this one on.
fn one_due(hand: &mut Hand, first: i64) {
    let mut chunk = ChunkBuilder::new(hand.pair.id().clone(), Lane::Retry, hand.pair.epoch());
    for (at, (bytes, wait_ms)) in (0..).zip([(10, 0), (4_000, 50_000), (4_000, 50_000)]) {
        let place = first + at;
        chunk.record(
            Offset(place),
            WALL_MS,
            Some(format!("key-{place}").as_bytes()),
            Some(&vec![b'x'; bytes]),
        );
        let told = LetterHeaders { replays: 1, not_before_ms: Some(WALL_MS + wait_ms), ..headers(place, 1) }
            .encode();
        told.iter().for_each(|(name, value)| chunk.header(name.as_bytes(), Some(value.as_bytes())));
    }
    hand.tell(Event::CopiesRead { chunk: chunk.build(None), wall_ms: WALL_MS });
}

/// Scenario: of a chunk one small copy is due, and there is no room for the others. Guarantee: it gets a chunk of its own and goes, and the others go to the spool at once; where it cannot go
/// yet, because the lane is not read to its end or the input has not come so far, all of them do.
#[test]
fn what_is_due_at_once_does_not_keep_the_others_in_memory() {
    for (end, input, spooled, goes) in
        [(0, 3, vec![3], vec![0]), (0, 0, vec![3], vec![]), (9, 3, vec![3], vec![])]
    {
        let window = Window { records: 1_000, bytes: 500 };
        let mut hand = Hand::new(PairOptions { window, ..with_retry(policy()) });
        assign(&mut hand, end);
        hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(input) });
        one_due(&mut hand, 0);
        let chunks: Vec<usize> = spools(&mut hand).iter().map(|(_, chunk)| chunk.len()).collect();
        let ran: Vec<i64> = runs(&mut hand).iter().map(|(record, _)| *record).collect();
        assert_eq!((chunks, ran), (spooled, goes), "end {end}, input {input}");
    }
}

/// Scenario: copies are due that are with the spool, and there is room for one. Guarantee: nobody is woken for the others while it is at work.
#[test]
fn copies_without_room_wake_nobody() {
    let mut hand = waiting();
    let spooled = spools(&mut hand);
    for (id, _) in &spooled {
        hand.tell(Event::Spooled { epoch: Epoch(1), id: *id, taken: true });
    }
    hand.pass(Duration::from_secs(50));
    let read = fetches(&mut hand).remove(0);
    give(&mut hand, read, &spooled[0].1);
    assert_eq!(runs(&mut hand).len(), 1);
    assert!(hand.pair.next_wake().is_none_or(|wake| wake > hand.now), "{:?}", hand.pair.next_wake());
}

/// Scenario: a sink without a ledger may get one record twice, and a copy's row is there but not committed. Guarantee: the next copy waits for that commit.
#[test]
fn what_the_retry_lane_may_repeat_counts_against_the_cap() {
    let mut options =
        PairOptions { sinks: vec![spec("topic", false)], unit_records: 1, ..with_retry(policy()) };
    options.commit.uncommitted_cap = 1;
    let mut hand = Hand::new(options);
    assign(&mut hand, 0);
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(2) });
    for (place, key) in [(0, "a"), (1, "b")] {
        copy_of(&mut hand, place, key, &LetterHeaders { replays: 1, ..headers(place, 0) });
    }
    hand.run(to_first);
    assert_eq!(hand.rows, 1);
    let commit = |hand: &mut Hand, lane: Lane| {
        for Position { offset, .. } in commits_of(hand, lane) {
            hand.tell(Event::Committed { epoch: Epoch(1), lane, offset, result: CommitResult::Done });
        }
    };
    for _ in 0..5 {
        hand.pass(Duration::from_secs(2));
        for (sink, trailer) in hand.trailers() {
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
        }
        commit(&mut hand, Lane::Input);
        hand.run(to_first);
    }
    assert_eq!(hand.rows, 1, "the lane's commit is not answered");
    commit(&mut hand, Lane::Retry);
    hand.run(to_first);
    assert_eq!(hand.rows, 2);
}
