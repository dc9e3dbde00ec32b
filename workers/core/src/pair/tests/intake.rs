//! How much may come in, and what becomes of what is done already.

use super::retry::{assign, commits_of, copy_of, headers, policy, with_retry};
use super::*;
use crate::headers::LetterHeaders;

/// Grants of the input lane, in records and bytes.
fn grants(hand: &mut Hand) -> Vec<(u64, u64)> {
    hand.take(|action| match action {
        Action::Grant { lane: Lane::Input, records, bytes } => Ok((records, bytes)),
        other => Err(other),
    })
}

/// Grants of the retry lane in bytes.
fn retry_grants(hand: &mut Hand) -> Vec<u64> {
    hand.take(|action| match action {
        Action::Grant { lane: Lane::Retry, bytes, .. } => Ok(bytes),
        other => Err(other),
    })
}

fn windowed(records: u64, bytes: u64) -> PairOptions {
    PairOptions { window: Window { records, bytes }, ..options(vec![spec("files", true)]) }
}

/// A record of so many bytes comes; it waits for its next try, or is done.
fn comes(hand: &mut Hand, offset: i64, bytes: usize, waits: bool) {
    let mut chunk = ChunkBuilder::new(hand.pair.id().clone(), Lane::Input, hand.pair.epoch());
    chunk.record(Offset(offset), 5, Some(&offset.to_be_bytes()), Some(&vec![b'x'; bytes - 8]));
    hand.tell(Event::Received(chunk.build(None)));
    hand.run(|at| {
        assert_eq!(at, offset);
        if waits {
            Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later")))
        } else {
            to_first(at)
        }
    });
}

/// Scenario: a record waits, and others come and are done. Guarantee: more is granted when an eighth of the window's records is free again, and not before.
#[test]
fn an_eighth_of_the_records_is_granted_at_once() {
    let mut hand = Hand::new(windowed(80, 1 << 20));
    hand.assign(1, None, vec![LedgerView::default()]);
    assert_eq!(grants(&mut hand), [(80, 1 << 20)]);
    comes(&mut hand, 0, 100, true);
    for offset in 1..10 {
        comes(&mut hand, offset, 100, false);
    }
    assert_eq!(grants(&mut hand), []);
    comes(&mut hand, 10, 100, false);
    assert_eq!(grants(&mut hand), [(80 + 10, (1 << 20) + 10 * 100)]);
}

/// Scenario: the same with few large records. Guarantee: more is granted when an eighth of the window's bytes is free again; and where one record that waits
/// holds most of them, when half of what is left is.
#[test]
fn an_eighth_of_the_bytes_is_granted_at_once() {
    for (waits, first, second) in [(100, 9_999, 9), (70_000, 4_990, 10)] {
        let mut hand = Hand::new(windowed(1_000, 80_000));
        hand.assign(1, None, vec![LedgerView::default()]);
        assert_eq!(grants(&mut hand), [(1_000, 80_000)]);
        comes(&mut hand, 0, waits, true);
        comes(&mut hand, 1, first, false);
        assert_eq!(grants(&mut hand), [], "{waits}");
        comes(&mut hand, 2, second, false);
        assert_eq!(grants(&mut hand), [(1_001, 80_000 + (first + second) as u64)], "{waits}");
    }
}

/// Scenario: records that wait hold nearly all bytes. Guarantee: what little is left is granted where few records wait, and not where many do; where nothing is left nothing is
/// granted, however often it is asked.
#[test]
fn the_rest_of_a_full_window_is_granted_where_few_records_hold_it() {
    for (waiting, granted) in [(10, 1), (11, 0)] {
        let mut hand = Hand::new(windowed(80, 80_000));
        hand.assign(1, None, vec![LedgerView::default()]);
        for offset in 0..waiting {
            comes(&mut hand, offset, 78_000 / waiting as usize, true);
        }
        grants(&mut hand);
        comes(&mut hand, waiting, 1_500, false);
        assert_eq!(grants(&mut hand).len(), granted, "{waiting}");
    }
    let mut hand = Hand::new(windowed(80, 80_000));
    hand.assign(1, None, vec![LedgerView::default()]);
    grants(&mut hand);
    comes(&mut hand, 0, 80_000, true);
    hand.tell(Event::Tick);
    assert_eq!(grants(&mut hand), []);
}

/// Scenario: all that came is done. Guarantee: more is granted however little it was, or nothing would come any more.
#[test]
fn an_empty_window_is_granted_again() {
    let mut hand = Hand::new(windowed(80, 80_000));
    hand.assign(1, None, vec![LedgerView::default()]);
    grants(&mut hand);
    comes(&mut hand, 0, 100, false);
    assert_eq!(grants(&mut hand), [(81, 80_100)]);
    hand.tell(Event::Tick);
    assert_eq!(grants(&mut hand), [], "nothing came since");
    let mut chunk = ChunkBuilder::new(hand.pair.id().clone(), Lane::Input, Epoch(1));
    chunk.record(Offset(1), 5, None, None);
    hand.tell(Event::Received(chunk.build(None)));
    hand.run(|_| Verdict::Filtered(FilterReason::new("f")));
    assert_eq!(grants(&mut hand), [(82, 80_100)], "a record without bytes");
}

/// Scenario: copies are to be read before the input begins. Guarantee: nothing of the input is granted until they are.
#[test]
fn nothing_is_granted_before_the_input_begins() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 1);
    assert_eq!(grants(&mut hand), []);
    copy_of(&mut hand, 0, "a", &headers(0, 1));
    assert_eq!(grants(&mut hand).len(), 1);
}

/// Guarantee: the retry lane reads an eighth of the window's bytes at a time, of a small window 256 KiB, and of a smaller one half; what is on its way to the
/// spool is less of it.
#[test]
fn the_retry_lane_is_granted_a_part_of_the_window() {
    const KIB: u64 = 1024;
    for (window, granted) in [(64, 32), (512, 256), (1_024, 256), (16 * 1_024, 2_048)] {
        let window = Window { records: 1_000, bytes: window * KIB };
        let mut hand = Hand::new(PairOptions { window, ..with_retry(policy()) });
        assign(&mut hand, 0);
        assert_eq!(retry_grants(&mut hand), [granted * KIB], "{window:?}");
    }
    let window = Window { records: 1_000, bytes: 64 * KIB };
    let mut hand = Hand::new(PairOptions { window, ..with_retry(policy()) });
    assign(&mut hand, 0);
    retry_grants(&mut hand);
    let mut read = |place: i64, bytes: usize| {
        let mut chunk = ChunkBuilder::new(hand.pair.id().clone(), Lane::Retry, Epoch(1));
        chunk.record(Offset(place), 5, None, Some(&vec![b'x'; bytes]));
        let told = LetterHeaders { replays: 1, not_before_ms: Some(i64::MAX), ..headers(place, 1) }.encode();
        told.iter().for_each(|(name, value)| chunk.header(name.as_bytes(), Some(value.as_bytes())));
        let chunk = chunk.build(None);
        let bytes = chunk.bytes() as u64;
        hand.tell(Event::CopiesRead { chunk, wall_ms: 5 });
        let asked = |action| if let Action::Spool { id, .. } = action { Ok(id) } else { Err(action) };
        (hand.take(asked)[0], bytes)
    };
    let ((first, bytes), _) = (read(0, 18 << 10), read(1, 8 << 10));
    assert_eq!(retry_grants(&mut hand), [0u64; 0], "the spool has not answered");
    hand.tell(Event::Spooled { epoch: Epoch(1), id: first, taken: true });
    assert_eq!(retry_grants(&mut hand), [bytes + 32 * KIB], "as much as is not on its way");
}

/// Scenario: a large copy is on its way to the spool, more than is read at a time. Guarantee: nothing is granted before the spool has answered.
#[test]
fn nothing_of_the_retry_lane_is_granted_while_the_spool_has_enough_to_take() {
    let window = Window { records: 1_000, bytes: 64 << 10 };
    let mut hand = Hand::new(PairOptions { window, ..with_retry(policy()) });
    assign(&mut hand, 0);
    retry_grants(&mut hand);
    let mut chunk = ChunkBuilder::new(hand.pair.id().clone(), Lane::Retry, Epoch(1));
    chunk.record(Offset(0), 5, None, Some(&vec![b'x'; 40 << 10]));
    let told = LetterHeaders { replays: 1, not_before_ms: Some(i64::MAX), ..headers(0, 1) }.encode();
    told.iter().for_each(|(name, value)| chunk.header(name.as_bytes(), Some(value.as_bytes())));
    hand.tell(Event::CopiesRead { chunk: chunk.build(None), wall_ms: 5 });
    hand.tell(Event::Tick);
    assert_eq!(retry_grants(&mut hand), [0u64; 0]);
}

/// Scenario: the retry partition ends behind a gap, and the source says so twice. Guarantee: the lane commits that once.
#[test]
fn an_end_of_the_retry_partition_is_committed_once() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 0);
    let mut committed = Vec::new();
    for _ in 0..2 {
        hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Retry, offset: Offset(5) });
        hand.pass(Duration::from_secs(2));
        for Position { offset, .. } in commits_of(&mut hand, Lane::Retry) {
            committed.push(offset);
            let (epoch, lane, result) = (Epoch(1), Lane::Retry, CommitResult::Done);
            hand.tell(Event::Committed { epoch, lane, offset, result });
        }
    }
    assert_eq!(committed, [Offset(5)]);
}

/// Scenario: records come that the ledger holds, beside one that it does not, and then one alone that it does not. Guarantee: those that it holds are counted
/// once, do not run, and are committed.
#[test]
fn what_a_ledger_holds_is_counted_and_committed() {
    let mut ledger = LedgerView { next_sequence: crate::Sequence(1), ..LedgerView::default() };
    ledger.holdings.add(&RunSet::of(Offset(0), Offset(3)), &Default::default());
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![ledger]);
    let settled = |hand: &mut Hand| {
        hand.take(|action| match action {
            Action::Settled(tally) => Ok(tally.already_held),
            other => Err(other),
        })
    };
    hand.receive(&[(0, "a"), (1, "b"), (2, "c"), (3, "d")]);
    assert_eq!(settled(&mut hand), [3]);
    hand.receive(&[(4, "e")]);
    assert_eq!(settled(&mut hand), [0u64; 0]);
    hand.pass(Duration::from_secs(1));
    assert_eq!(hand.commits().iter().map(|at| at.offset).collect::<Vec<_>>(), [Offset(3)]);
}
