//! Sinks that refuse single rows at publish.

use super::*;

fn table(name: &str) -> SinkSpec {
    SinkSpec { refuses: true, ..spec(name, true) }
}

fn refusal(offset: i64) -> (Offset, Failure) {
    (Offset(offset), Failure::reject(Reason::SinkRejected, "duplicate key"))
}

fn acknowledge(hand: &mut Hand, letter: LetterId) {
    let epoch = hand.pair.epoch();
    hand.tell(Event::LettersDelivered { epoch, answers: vec![(letter, Ok(()))] });
}

/// Scenario: a table takes two of three rows; both children of the third are refused. The next owner reads all three again.
/// Guarantee (I1, I2): the record is decided to be a letter in that very segment, has one letter, which names the sink, and
/// settles with it; the next owner gives no sink a row for it and sends the letter again.
#[test]
fn a_refused_record_is_a_letter_from_that_segment_on() {
    let mut hand = Hand::new(options(vec![table("table")]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a"), (1, "a"), (2, "b")]);
    hand.run(to_first);
    hand.pass(Duration::from_secs(10));
    let (sink, trailer) = hand.trailers().pop().unwrap();
    assert_eq!(trailer.decides, Some(Default::default()));
    hand.publish(sink, &trailer, Published::Done(vec![refusal(1), refusal(1)]));
    let letters = hand.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].origin, letters[0].failure.at.as_str()), (Some(Offset(1)), "table"));
    assert_eq!(hand.pair.watermark(), Offset(1));
    acknowledge(&mut hand, letters[0].id);
    assert_eq!(hand.pair.watermark(), Offset(3));
    assert_eq!(hand.pair.in_flight_records(), 0);

    let (mut stored, mut ledger) = (*trailer, LedgerView::default());
    stored.refuse(&[Offset(1)], 1);
    assert_eq!((stored.rows, stored.dead.clone()), (2, [(Offset(1), 0)].into()));
    ledger.fold(&stored);
    assert!(!ledger.holdings.holds(Offset(1)) && ledger.holdings.holds(Offset(2)));
    let mut next = Hand::new(options(vec![table("table")]));
    next.assign(2, None, vec![ledger]);
    next.receive(&[(0, "a"), (1, "a"), (2, "b")]);
    next.run(|_| Verdict::Routed { sinks: SinkMask::NONE });
    let again = next.letters();
    assert_eq!((again.len(), again[0].origin, next.rows), (1, Some(Offset(1)), 0));
    acknowledge(&mut next, again[0].id);
    assert_eq!(next.pair.watermark(), Offset(3));
}

/// Scenario: files decide letters; a table beside them refuses a row, once before and once after the files hold it.
/// Guarantee: the letter names the table, no ledger decides it, and the record settles when the files hold it and the letter
/// is acknowledged, whichever is last.
#[test]
fn a_sink_beside_the_deciding_one_may_refuse() {
    for files_first in [true, false] {
        let mut hand = Hand::new(options(vec![spec("files", true), table("table")]));
        hand.assign(1, None, vec![LedgerView::default(), LedgerView::default()]);
        hand.receive(&[(0, "a")]);
        hand.run(|_| Verdict::Routed { sinks: SinkMask::first(2) });
        hand.pass(Duration::from_secs(10));
        let mut trailers = hand.trailers();
        assert!(trailers.iter().all(|(_, trailer)| trailer.decides.is_none()));
        if !files_first {
            trailers.reverse();
        }
        for (sink, trailer) in &trailers {
            let refused = if sink.0 == 1 { vec![refusal(0)] } else { Vec::new() };
            hand.publish(*sink, trailer, Published::Done(refused));
            assert_eq!(hand.pair.watermark(), Offset(0), "files first: {files_first}");
        }
        let letter = hand.letters().pop().unwrap();
        assert_eq!(letter.failure.at, "table");
        acknowledge(&mut hand, letter.id);
        assert_eq!(hand.pair.watermark(), Offset(1));
    }
}

/// Scenario: the deciding table refuses a record that a second table still has to take; the letter is acknowledged first.
/// Guarantee (I4): the record settles when the second table holds it, not before.
#[test]
fn a_refused_record_waits_for_the_sinks_that_take_it() {
    let mut hand = Hand::new(options(vec![table("one"), table("two")]));
    hand.assign(1, None, vec![LedgerView::default(), LedgerView::default()]);
    hand.receive(&[(0, "a")]);
    hand.run(|_| Verdict::Routed { sinks: SinkMask::first(2) });
    hand.pass(Duration::from_secs(10));
    let trailers = hand.trailers();
    assert_eq!(
        trailers.iter().map(|(_, trailer)| trailer.decides.is_some()).collect::<Vec<_>>(),
        [true, false]
    );
    hand.publish(trailers[0].0, &trailers[0].1, Published::Done(vec![refusal(0)]));
    let letter = hand.letters().pop().unwrap();
    acknowledge(&mut hand, letter.id);
    assert_eq!(hand.pair.watermark(), Offset(0));
    hand.publish(trailers[1].0, &trailers[1].1, Published::Done(Vec::new()));
    assert_eq!(hand.pair.watermark(), Offset(1));
}

/// Scenario: rows that may be refused fill a quarter of the window, long before the segment's age.
/// Guarantee (I5): their records, which are kept until the publish, count against the window, and the segment is sealed.
#[test]
fn rows_that_may_be_refused_are_sealed_near_the_end_of_the_window() {
    let window = Window { records: 8, bytes: 1 << 20 };
    let mut hand = Hand::new(PairOptions { window, ..options(vec![table("table")]) });
    hand.assign(1, None, vec![LedgerView::default()]);
    hand.receive(&[(0, "a")]);
    hand.run(to_first);
    assert_eq!((hand.trailers().len(), hand.pair.in_flight_records()), (0, 1));
    hand.receive(&[(1, "b")]);
    hand.run(to_first);
    let (sink, trailer) = hand.trailers().pop().unwrap();
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    assert_eq!((hand.pair.watermark(), hand.pair.in_flight_records()), (Offset(2), 0));
}

/// Scenario: every row of a table is refused, though every record passed the steps.
/// Guarantee: the flood breaker takes them for rejected and not for half of all, so it trips.
#[test]
fn a_table_that_refuses_everything_trips_the_flood_breaker() {
    let flood = FloodPolicy { ratio: 0.9, min: 10, window: Duration::from_secs(60) };
    let mut hand = Hand::new(PairOptions { flood: Some(flood), ..options(vec![table("table")]) });
    hand.assign(1, None, vec![LedgerView::default()]);
    let keys: Vec<String> = (0..20).map(|offset| format!("k{offset}")).collect();
    let records: Vec<(i64, &str)> = (0..).zip(keys.iter().map(String::as_str)).collect();
    hand.receive(&records);
    hand.run(to_first);
    hand.pass(Duration::from_secs(10));
    let (sink, trailer) = hand.trailers().pop().unwrap();
    hand.publish(sink, &trailer, Published::Done((0..20).map(refusal).collect()));
    assert_eq!((hand.pair.state(), hand.letters().len()), ("held", 20));
}
