//! Ends of an ownership and what they leave behind: memory, promises in the metadata, letters.

use super::*;
use crate::metadata::{Metadata, SinkMark};
use crate::{RunSet, Sequence};

fn committed(offset: i64, settled: RunSet, next: u64) -> Position {
    let mark = SinkMark {
        name_hash: SinkMark::hash_of("files"),
        generation: Generation::FIRST,
        next: Sequence(next),
    };
    let metadata = Metadata { sinks: vec![mark], settled, ..Metadata::default() };
    Position { offset: Offset(offset), metadata: metadata.encode(Offset(offset)).text }
}

/// Scenario: a pod with an empty local disk halts with `ledger.missing`, and is then stopped (or loses the pair to a
/// rebalance). Guarantee: it commits nothing, so that the promise which made it halt is still there for the next start.
#[test]
fn a_pair_that_never_began_leaves_the_committed_metadata_alone() {
    for stop in [Event::Drain, Event::Revoke] {
        let mut hand = Hand::new(options(vec![spec("files", true)]));
        let position = committed(10, RunSet::of(Offset(20), Offset(30)), 7);
        hand.assign(1, Some(position), vec![LedgerView::default()]);
        assert_eq!(hand.pair.halted().map(|failure| failure.reason), Some(Reason::LedgerMissing));
        hand.tell(stop);
        assert_eq!(hand.released(), Some(None));
        assert!(hand.commits().is_empty());
    }
}

/// Scenario: what the metadata called settled was compacted away since; the watermark passes it, and the next record
/// comes later. Guarantee: the watermark never falls (I4).
#[test]
fn the_watermark_does_not_fall_behind_settled_runs_that_were_compacted_away() {
    let mut hand = Hand::new(options(vec![spec("topic", false)]));
    let position = Position {
        offset: Offset(10),
        metadata: Metadata { settled: RunSet::of(Offset(11), Offset(20)), ..Metadata::default() }
            .encode(Offset(10))
            .text,
    };
    hand.assign(1, Some(position), vec![LedgerView::default()]);
    hand.receive(&[(10, "a")]);
    hand.run(to_first);
    for (sink, trailer) in hand.trailers() {
        hand.publish(sink, &trailer, Published::Done(Vec::new()));
    }
    hand.pass(Duration::from_secs(1));
    let commit = hand.commits().pop().unwrap();
    assert_eq!(commit.offset, Offset(20));
    hand.tell(Event::Committed {
        epoch: Epoch(1),
        lane: crate::Lane::Input,
        offset: Offset(20),
        result: CommitResult::Done,
    });
    hand.receive(&[(25, "a")]);
    assert_eq!(hand.pair.watermark(), Offset(20));
    hand.tell(Event::Drain);
    hand.tell(Event::Deadline);
    hand.released();
}

/// Scenario: a step halts the pair while records are queued and running. Guarantee: what no letter and no
/// unacknowledged row needs is let go at once; a halted pair may stay for hours and must not hold the budget (I5).
#[test]
fn a_halted_pair_gives_its_memory_back() {
    for order in [Order::None, Order::Key, Order::Partition] {
        for grain in [Grain::Batch, Grain::Record] {
            let mut told = options(vec![spec("files", true)]);
            (told.order, told.grain, told.unit_records) = (order, grain, 2);
            let mut hand = Hand::new(told);
            hand.assign(1, None, vec![LedgerView::default()]);
            hand.receive(&[(0, "a"), (1, "b"), (2, "a"), (3, "c"), (4, "d")]);
            hand.run(|offset| match offset {
                0 => Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later"))),
                _ => to_first(offset),
            });
            hand.receive(&[(5, "a"), (6, "b"), (7, "a"), (8, "c"), (9, "d")]);
            hand.tell(Event::Halt(Failure::halt(Reason::Internal, "test")));
            assert_eq!(hand.pair.in_flight_bytes(), 0, "{order:?} {grain:?}");
        }
    }
}

/// Scenario: a record was split, and the topic refused several of its children. Guarantee: one letter, and the record
/// settles once, with its acknowledgement.
#[test]
fn several_refused_children_of_a_record_make_one_letter() {
    let mut hand = Hand::new(options(vec![spec("topic", false)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a"), (1, "a")]);
    hand.run(to_first);
    let refused = |detail: &str| (Offset(0), Failure::reject(Reason::SinkTooLarge, detail));
    let (sink, trailer) = hand.trailers().remove(0);
    hand.publish(sink, &trailer, Published::Done(vec![refused("first"), refused("second")]));
    let letters = hand.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(hand.pair.watermark(), Offset(0));
    for letter in letters {
        hand.tell(Event::LettersDelivered { epoch: Epoch(1), answers: vec![(letter.id, Ok(()))] });
    }
    assert_eq!((hand.pair.watermark(), hand.pair.in_flight_bytes()), (Offset(2), 0));
}

/// Scenario: the answers to several letters come together: one acknowledged, one that is to be sent again, one acknowledged.
/// Guarantee: each counts for its own letter; the watermark stops at the one that is not acknowledged (I4), which is sent again,
/// and passes it with its answer.
#[test]
fn answers_that_come_together_settle_their_own_letters() {
    let mut hand = Hand::new(options(vec![spec("topic", false)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a"), (1, "b"), (2, "c")]);
    hand.run(|_| Verdict::Failed(Box::new(Failure::reject(Reason::DecodeJson, "bad"))));
    let mut letters = hand.letters();
    letters.sort_by_key(|letter| letter.record.offset());
    let away = || Err(Failure::target(Reason::BrokerUnavailable, "away"));
    let answers = vec![(letters[0].id, Ok(())), (letters[1].id, away()), (letters[2].id, Ok(()))];
    hand.tell(Event::LettersDelivered { epoch: Epoch(1), answers });
    assert_eq!((hand.pair.watermark(), hand.pair.in_flight_records()), (Offset(1), 1));
    assert!(hand.letters().is_empty());
    hand.pass(Duration::from_secs(10));
    let again = hand.letters();
    assert_eq!(again.iter().map(|letter| letter.id).collect::<Vec<_>>(), [letters[1].id]);
    hand.tell(Event::LettersDelivered { epoch: Epoch(1), answers: vec![(again[0].id, Ok(()))] });
    assert_eq!((hand.pair.watermark(), hand.pair.in_flight_bytes()), (Offset(3), 0));
}

/// Scenario: one large record that is slow (or waits for its next try) holds nearly all bytes of the window; small records
/// of other keys come and finish. Guarantee: they go on with the rest of the window, however little it is.
#[test]
fn one_large_slow_record_does_not_starve_the_others() {
    let mut told = options(vec![spec("files", true)]);
    told.grain = Grain::Record;
    let mut hand = Hand::new(told);
    hand.assign(1, None, vec![LedgerView::default()]);
    let chunk = |offset: i64, size: usize| {
        let mut chunk = ChunkBuilder::new(PairId::new("in", 0), Lane::Input, Epoch(1));
        chunk.record(Offset(offset), 0, Some(&offset.to_be_bytes()), Some(&vec![0; size]));
        Event::Received(chunk.build(None))
    };
    hand.tell(chunk(0, (1 << 20) - 60_000));
    hand.take(|action| match action {
        Action::Run(unit) => Ok(unit),
        other => Err(other),
    });
    let (mut received, mut granted) = ((1 << 20) - 60_000, 0);
    for offset in 1..100 {
        granted = hand
            .take(|action| match action {
                Action::Grant { bytes, .. } => Ok(bytes),
                other => Err(other),
            })
            .into_iter()
            .fold(granted, u64::max);
        assert!(received < granted, "starved at {offset}: {received} of {granted}");
        hand.tell(chunk(offset, 5_000));
        received += 5_008;
        hand.run(to_first);
    }
    hand.tell(Event::Lost);
}

/// Scenario: the pair halts, or its commit is refused, while it is being drained or revoked. Guarantee: it lets go at once,
/// with what is settled in the first case and with nothing in the second; nobody would tell it to do so later.
#[test]
fn a_pair_that_halts_or_is_dropped_while_it_stops_lets_go() {
    for stop in [true, false] {
        for dropped in [true, false] {
            let mut hand = Hand::new(options(vec![spec("files", true)]));
            hand.assign(1, None, vec![LedgerView::default()]);
            hand.receive(&[(0, "a"), (1, "b")]);
            hand.run(to_first);
            hand.pass(Duration::from_secs(10));
            let (sink, trailer) = hand.trailers().remove(0);
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
            hand.pass(Duration::from_secs(1));
            assert_eq!(hand.commits().len(), 1);
            hand.receive(&[(2, "a")]);
            hand.run(to_first);
            hand.tell(if stop { Event::Drain } else { Event::Revoke });
            if dropped {
                let result = CommitResult::Refused;
                hand.tell(Event::Committed {
                    epoch: Epoch(1),
                    lane: crate::Lane::Input,
                    offset: Offset(2),
                    result,
                });
                assert_eq!(hand.released(), Some(None));
            } else {
                let failure = Failure::halt(Reason::SinkDenied, "no rights");
                hand.tell(Event::SinkHeld { epoch: Epoch(1), sink: SinkIndex(0), failure });
                assert_eq!(hand.released().flatten().map(|position| position.offset), Some(Offset(2)));
            }
        }
    }
}

/// Scenario: records are done and wait in an open segment for its age, and nothing else comes. Guarantee: after a while one commit tells how many, without
/// moving, and no more follow; when the segment is published the next one tells of none.
#[test]
fn what_waits_in_a_segment_is_told_once() {
    let mut hand = Hand::new(options(vec![spec("files", true)]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a"), (1, "b"), (2, "c")]);
    hand.run(to_first);
    let told = |hand: &mut Hand| {
        hand.now = hand.pair.next_wake().unwrap_or(hand.now);
        hand.tell(Event::Tick);
        let commits = hand.commits();
        let read = |at: &Position| Metadata::decode(&at.metadata, at.offset, Offset(1000)).unwrap().waiting;
        let found: Vec<(i64, u64)> = commits.iter().map(|at| (at.offset.0, read(at))).collect();
        for Position { offset, .. } in commits {
            let (epoch, lane, result) = (Epoch(1), Lane::Input, CommitResult::Done);
            hand.tell(Event::Committed { epoch, lane, offset, result });
        }
        found
    };
    assert_eq!(told(&mut hand), [(0, 3)]);
    assert_eq!(hand.now, Moment(Duration::from_secs(5)));
    assert_eq!(told(&mut hand), [], "the next thing that is due is the segment's age");
    let (sink, trailer) = hand.trailers().remove(0);
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    assert_eq!(told(&mut hand), [(3, 0)]);
}
