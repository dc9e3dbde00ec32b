//! Segments by hand: when they are sealed, what waits in them takes of the window, and what comes late for them.

use super::*;

fn refusing() -> SinkSpec {
    SinkSpec { refuses: true, ..spec("table", true) }
}

fn sealed_at(rows: u64) -> SinkSpec {
    let seal = SealPolicy { rows, ..spec("", true).seal };
    SinkSpec { seal, ..spec("files", true) }
}

fn begun(sink: SinkSpec) -> Hand {
    let mut hand = Hand::new(options(vec![sink]));
    hand.assign(1, None, vec![LedgerView::default()]);
    hand
}

fn reject() -> Verdict {
    Verdict::Failed(Box::new(Failure::reject(Reason::DecodeJson, "bad")))
}

fn filter(_: i64) -> Verdict {
    Verdict::Filtered(FilterReason::new("f"))
}

/// Answers all units: each record has one row, and all rows of a unit have so many bytes. They are on their way to the sink.
fn answer(hand: &mut Hand, bytes: usize) {
    for unit in hand.take(|action| if let Action::Run(unit) = action { Ok(unit) } else { Err(action) }) {
        let offsets = unit.entries.iter().map(|entry| entry.record.offset());
        let rows = offsets.map(|offset| Row { offset, key: None, value: None, headers: Vec::new() });
        let block = Block { bytes: vec![0; bytes], rows: rows.collect(), ..Block::default() };
        let verdicts = unit.entries.iter().map(|_| to_first(0)).collect();
        let result = unit_result(unit.id, verdicts, vec![(SinkIndex(0), block)]);
        hand.tell(Event::UnitDone { epoch: Epoch(1), result });
    }
    hand.take(|action| if let Action::Append { .. } = action { Ok(()) } else { Err(action) });
}

fn appended(hand: &mut Hand, bytes: u64) {
    hand.tell(Event::Appended { epoch: Epoch(1), sink: SinkIndex(0), bytes });
}

fn in_flight(hand: &Hand) -> (u64, u64) {
    (hand.pair.in_flight_records(), hand.pair.in_flight_bytes())
}

/// Scenario: two rows that the sink may refuse and a dead letter wait in a segment, which is sealed and published; then the letter is there. Guarantee: their
/// records, their chunk and the bytes of the segment count until each is through (I5).
#[test]
fn what_may_be_refused_counts_until_it_is_published() {
    let mut hand = begun(refusing());
    hand.receive(&[(0, "a"), (1, "a"), (2, "a")]);
    hand.run(|offset| if offset == 2 { reject() } else { to_first(offset) });
    let chunk = 3 * ("a".len() + "value".len()) as u64;
    assert_eq!(in_flight(&hand), (3, chunk + 1));
    hand.pass(Duration::from_secs(10));
    let (sink, trailer) = hand.trailers().remove(0);
    assert_eq!(in_flight(&hand), (3, chunk + 1), "it is sealed");
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    assert_eq!(in_flight(&hand), (1, chunk), "the letter");
    let letter = hand.letters().remove(0);
    hand.tell(Event::LettersDelivered { epoch: Epoch(1), answers: vec![(letter.id, Ok(()))] });
    assert_eq!(in_flight(&hand), (0, 0));
}

/// Scenario: rows are on their way to a segment. Guarantee: they and their bytes count until it has them, and once: where a sink may refuse them, as their
/// records.
#[test]
fn rows_on_their_way_count_once() {
    for (sink, then) in [(spec("files", true), (0, 0)), (refusing(), (1, 6 + 10))] {
        let mut hand = begun(sink);
        hand.receive(&[(0, "a")]);
        answer(&mut hand, 10);
        assert_eq!(in_flight(&hand), (1, 10 + if then.0 > 0 { 6 } else { 0 }));
        appended(&mut hand, 10);
        assert_eq!(in_flight(&hand), then);
    }
}

/// Guarantee: a segment is sealed when it has its rows, of which filtered records count as well, or its bytes; none before.
#[test]
fn a_full_segment_is_sealed_at_once() {
    for filtered in [true, false] {
        let mut hand = begun(sealed_at(2));
        for offset in 0..2 {
            assert_eq!(hand.trailers().len(), 0);
            hand.receive(&[(offset, "a")]);
            hand.run(|offset| if filtered { filter(offset) } else { to_first(offset) });
        }
        assert_eq!(hand.trailers().len(), 1, "filtered: {filtered}");
    }
    for (bytes, sealed) in [((1 << 20) - 1, 0), (1 << 20, 1)] {
        let mut hand = begun(spec("files", true));
        hand.receive(&[(0, "a")]);
        answer(&mut hand, 10);
        appended(&mut hand, bytes);
        assert_eq!(hand.trailers().len(), sealed, "{bytes} bytes");
    }
}

/// Scenario: a segment was sealed for its age before its sink told how large it has become, and a record waits in the next one. Guarantee: what it tells does
/// not seal that one.
#[test]
fn the_size_of_a_sealed_segment_is_not_that_of_the_next() {
    let mut hand = begun(spec("files", true));
    hand.receive(&[(0, "a")]);
    answer(&mut hand, 10);
    hand.pass(Duration::from_secs(10));
    let (sink, trailer) = hand.trailers().remove(0);
    hand.receive(&[(1, "a")]);
    hand.run(filter);
    appended(&mut hand, 1 << 20);
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    assert_eq!(hand.trailers().len(), 0);
    hand.pass(Duration::from_secs(10));
    assert_eq!(hand.trailers().len(), 1);
}

/// Scenario: a segment is being published for long, and what waits in the next one has grown old. Guarantee: the pair waits for the answer, and no time wakes
/// it, with a ledger or without.
#[test]
fn what_grows_old_behind_a_publish_wakes_nobody() {
    for ledger in [true, false] {
        let mut hand = begun(spec("sink", ledger));
        hand.receive(&[(0, "a")]);
        hand.run(to_first);
        hand.pass(Duration::from_secs(10));
        assert_eq!(hand.trailers().len(), 1);
        hand.receive(&[(1, "a")]);
        hand.run(to_first);
        hand.pass(Duration::from_secs(20));
        hand.mark_taken();
        assert!(hand.pair.next_wake().is_none_or(|wake| wake > hand.now), "ledger: {ledger}");
        assert_eq!(hand.trailers().len(), 0);
    }
}

/// Scenario: a record that waits holds more than half of the window's bytes; a row waits in a segment, and then a dead letter as well. Guarantee: only what
/// holds a record is sealed before its time.
#[test]
fn a_scarce_window_seals_what_holds_records() {
    let mut told = options(vec![spec("files", true)]);
    told.window.bytes = 1_000;
    let mut hand = Hand::new(told);
    hand.assign(1, None, vec![LedgerView::default()]);
    let mut chunk = ChunkBuilder::new(hand.pair.id().clone(), Lane::Input, Epoch(1));
    chunk.record(Offset(0), 5, Some(b"slow"), Some(&[b'x'; 600]));
    hand.tell(Event::Received(chunk.build(None)));
    hand.run(|_| Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later"))));
    hand.receive(&[(1, "a")]);
    hand.run(to_first);
    assert_eq!(hand.trailers().len(), 0);
    hand.receive(&[(2, "a")]);
    hand.run(|_| reject());
    let [(_, trailer)] = &hand.trailers()[..] else { panic!("one segment") };
    assert_eq!(trailer.dead.keys().copied().collect::<Vec<_>>(), [Offset(2)]);
}

/// Scenario: two sinks; two records of a key fail for the last time, one after the other, and a third stands behind them. The first one's decision is
/// published, and its letter is acknowledged when the second one's decision waits for its own publish. Guarantee: the third waits for that publish: the
/// acknowledgement says nothing of the second one (I3).
#[test]
fn an_acknowledged_letter_does_not_free_its_key_again() {
    let sinks = vec![spec("files", true), spec("table", true)];
    let mut hand = Hand::new(PairOptions { attempts: 1, ..options(sinks) });
    hand.assign(1, None, vec![LedgerView::default(), LedgerView::default()]);
    hand.receive(&[(0, "a"), (1, "a"), (2, "a")]);
    let fails = |wanted: i64| {
        move |offset: i64| match offset == wanted {
            true => Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later"))),
            false => Verdict::Deferred,
        }
    };
    hand.run(fails(0));
    let (sink, trailer) = hand.trailers().remove(0);
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    let letter = hand.letters().remove(0);
    hand.run(fails(1));
    let decides = hand.trailers();
    assert_eq!(decides.len(), 1);
    hand.tell(Event::LettersDelivered { epoch: Epoch(1), answers: vec![(letter.id, Ok(()))] });
    let runs = |hand: &Hand| hand.asked.iter().any(|action| matches!(action, Action::Run(_)));
    assert!(!runs(&hand));
    hand.publish(decides[0].0, &decides[0].1, Published::Done(Vec::new()));
    assert!(runs(&hand));
}

/// Scenario: a record was split, and some of its children were filtered. Guarantee: the segment's trailer counts them by their reason, beside records that were
/// filtered.
#[test]
fn filtered_children_are_counted_in_the_trailer() {
    let mut hand = begun(spec("files", true));
    hand.receive(&[(0, "a")]);
    let units = hand.take(|action| if let Action::Run(unit) = action { Ok(unit) } else { Err(action) });
    let children_filtered = vec![(FilterReason::new("child"), 3), (FilterReason::new("f"), 1)];
    let verdicts = vec![filter(0)];
    let result = UnitResult {
        units: vec![units[0].id],
        verdicts,
        blocks: Vec::new(),
        children_filtered,
        took: Duration::ZERO,
    };
    hand.tell(Event::UnitDone { epoch: Epoch(1), result });
    hand.pass(Duration::from_secs(10));
    let (_, trailer) = hand.trailers().remove(0);
    let counted: Vec<(&str, u64)> =
        trailer.filtered.iter().map(|(reason, n)| (reason.as_str(), *n)).collect();
    assert_eq!(counted, [("child", 3), ("f", 2)]);
}
