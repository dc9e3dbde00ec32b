//! What a sink without a ledger may be given twice, and what is held back for it.

use super::*;

/// A pair that writes into files and into a topic, record by record; the topic may get so many twice.
fn hand(repeats: u64) -> Hand {
    let sinks = vec![spec("files", true), spec("topic", false)];
    let mut options = PairOptions { unit_records: 1, units_in_flight: 1, ..options(sinks) };
    options.commit.uncommitted_cap = repeats;
    Hand::new(options)
}

fn assign(hand: &mut Hand, epoch: u64) {
    hand.assign(epoch, None, vec![LedgerView::default(); 2]);
}

/// Both sinks.
fn to_both(_: i64) -> Verdict {
    Verdict::Routed { sinks: SinkMask::first(2) }
}

/// Runs units until no more are given; how many there were.
fn run_all(hand: &mut Hand, verdict: fn(i64) -> Verdict) -> usize {
    let mut units = 0;
    while hand.asked.iter().any(|action| matches!(action, Action::Run(_))) {
        hand.run(verdict);
        units += 1;
    }
    units
}

/// Publishes what is sealed, and acknowledges what is committed then.
fn publish_and_commit(hand: &mut Hand) {
    for (sink, trailer) in hand.trailers() {
        hand.publish(sink, &trailer, Published::Done(Vec::new()));
    }
    hand.mark_taken();
}

/// Scenario: ten records are filtered or go into files alone, where a topic may get two twice. Guarantee: none waits, and the files' segment is not sealed
/// early; of those for the topic only two go before something is committed, and for that the files are sealed as well.
#[test]
fn only_rows_of_a_sink_without_a_ledger_count() {
    let mut hand = hand(2);
    assign(&mut hand, 1);
    hand.receive(&(0..10).map(|offset| (offset, "a")).collect::<Vec<_>>());
    let others =
        |offset| if offset % 2 == 0 { to_first(offset) } else { Verdict::Filtered(FilterReason::new("f")) };
    assert_eq!(run_all(&mut hand, others), 10);
    assert_eq!(hand.trailers(), []);
    hand.receive(&(10..15).map(|offset| (offset, "a")).collect::<Vec<_>>());
    assert_eq!(run_all(&mut hand, to_both), 2);
    let mut more = 0;
    for _ in 0..5 {
        publish_and_commit(&mut hand);
        more += run_all(&mut hand, to_both);
    }
    assert_eq!((more, hand.pair.watermark()), (3, Offset(14)));
}

/// Scenario: a worker is given more pairs, so that each may repeat less. Guarantee: nothing more goes until commits cover what went before, and the share is the
/// next ownership's as well.
#[test]
fn a_smaller_share_holds_at_once_and_outlives_the_ownership() {
    let mut hand = hand(4);
    assign(&mut hand, 1);
    hand.receive(&(0..8).map(|offset| (offset, "a")).collect::<Vec<_>>());
    hand.run(to_both);
    hand.run(to_both);
    hand.tell(Event::Share(1));
    assert_eq!(run_all(&mut hand, to_both), 1, "the one that was with the steps");
    let went = (0..5).find(|_| {
        publish_and_commit(&mut hand);
        run_all(&mut hand, to_both) > 0
    });
    assert!(went.is_some_and(|rounds| rounds > 0), "{went:?}");
    assert_eq!(hand.pair.committed(), Offset(3), "all that went before");
    hand.tell(Event::Lost);
    hand.asked.clear();
    hand.tell(Event::Share(3));
    assert!(hand.asked.is_empty(), "of a pair that is not ours");
    assign(&mut hand, 2);
    hand.receive(&(0..8).map(|offset| (offset, "a")).collect::<Vec<_>>());
    assert_eq!(run_all(&mut hand, to_both), 3);
}

/// Scenario: records settle one by one where a sink may get sixteen twice. Guarantee: when half of them are out, every eighth of them is committed at once.
#[test]
fn what_is_settled_is_committed_when_half_may_repeat() {
    let mut options = PairOptions { unit_records: 1, ..options(vec![spec("topic", false)]) };
    options.commit.uncommitted_cap = 16;
    let mut hand = Hand::new(options);
    hand.assign(1, None, vec![LedgerView::default()]);
    let mut committed = Vec::new();
    for offset in 0..16 {
        hand.receive(&[(offset, "a")]);
        hand.run(to_first);
        for (sink, trailer) in hand.trailers() {
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
        }
        for Position { offset: upto, .. } in hand.commits() {
            committed.push((offset, upto.0));
            let (epoch, lane, result) = (Epoch(1), Lane::Input, CommitResult::Done);
            hand.tell(Event::Committed { epoch, lane, offset: upto, result });
        }
    }
    assert_eq!(committed, [(7, 7), (14, 14)]);
}

/// Scenario: all that may repeat is out, one record of it is settled, and more wait. Guarantee: that one is committed at once, though it is less than an eighth; a
/// larger share lets the next ones go without that.
#[test]
fn where_nothing_more_may_go_all_that_is_settled_is_committed() {
    let mut options =
        PairOptions { unit_records: 1, units_in_flight: 1, ..options(vec![spec("topic", false)]) };
    options.commit.uncommitted_cap = 16;
    let mut hand = Hand::new(options);
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&(0..40).map(|offset| (offset, "a")).collect::<Vec<_>>());
    assert_eq!(run_all(&mut hand, to_first), 16);
    assert_eq!(hand.commits(), []);
    let (sink, trailer) = hand.trailers().remove(0);
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    let committed: Vec<i64> = hand.commits().iter().map(|position| position.offset.0).collect();
    assert_eq!(committed, [1]);
    assert_eq!(run_all(&mut hand, to_first), 0, "it has no answer");
    hand.tell(Event::Share(18));
    assert_eq!(run_all(&mut hand, to_first), 2);
}
