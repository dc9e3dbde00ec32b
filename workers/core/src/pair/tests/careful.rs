//! Crash loops by hand; random schedules of them are in the simulation.

use super::*;

const LINES: [(i64, &str); 4] = [(0, "a"), (1, "b"), (2, "c"), (3, "d")];

fn hand() -> Hand {
    Hand::new(PairOptions {
        window: Window { records: 3, bytes: 1 << 20 },
        ..options(vec![spec("files", true)])
    })
}

/// The units that were asked for, by their records.
fn runs(hand: &Hand) -> Vec<Vec<i64>> {
    let units = hand.asked.iter().filter_map(|action| match action {
        Action::Run(unit) => Some(unit.entries.iter().map(|entry| entry.record.offset().0).collect()),
        _ => None,
    });
    units.collect()
}

/// The next owner after a crash, with what the broker and the sink hold by then.
fn next(epoch: u64, committed: &mut Option<Position>, ledger: &LedgerView) -> Hand {
    let mut hand = hand();
    let assignment = Assignment {
        pair: hand.pair.id().clone(),
        epoch: Epoch(epoch),
        committed: committed.clone(),
        start: Offset(0),
        log_start: Offset(0),
        log_end: Offset(4),
        cluster: "c".into(),
        topic_id: "t".into(),
        partitions: 1,
        retry: None,
    };
    hand.tell(Event::Assigned { assignment, writer: WriterId(epoch.into()) });
    hand.tell(Event::Recovered { epoch: Epoch(epoch), sink: SinkIndex(0), ledger: Ok(ledger.clone()) });
    commit(&mut hand, committed);
    hand
}

/// The broker takes what was committed.
fn commit(hand: &mut Hand, committed: &mut Option<Position>) {
    let epoch = hand.pair.epoch();
    for position in hand.commits() {
        let (offset, result) = (position.offset, CommitResult::Done);
        *committed = Some(position);
        hand.tell(Event::Committed { epoch, lane: Lane::Input, offset, result });
    }
}

/// Runs, publishes and commits what is asked for until record 1 is to run, which ends the process, or nothing is left.
fn until_crash(hand: &mut Hand, committed: &mut Option<Position>, ledger: &mut LedgerView) -> bool {
    for _ in 0..50 {
        if runs(hand).iter().any(|unit| unit.contains(&1)) {
            return true;
        }
        hand.run(to_first);
        for (sink, trailer) in hand.trailers() {
            ledger.fold(&trailer);
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
        }
        for letter in hand.letters() {
            assert_eq!((letter.origin, letter.failure.reason), (Some(Offset(1)), Reason::CrashLoop));
            let epoch = hand.pair.epoch();
            hand.tell(Event::LettersDelivered { epoch, answers: vec![(letter.id, Ok(()))] });
        }
        commit(hand, committed);
    }
    false
}

/// Scenario: a record ends every process that runs it.
/// Guarantee: after two crashes records run alone, after three more the record is a letter, and the others are rows.
#[test]
fn the_culprit_becomes_a_letter_after_five_crashes() {
    let (mut committed, mut ledger) = (None, LedgerView::default());
    for crash in 0..5 {
        let mut hand = next(crash + 1, &mut committed, &ledger);
        hand.receive(&LINES);
        assert_eq!(hand.pair.state(), if crash < 2 { "running" } else { "careful" });
        assert!(until_crash(&mut hand, &mut committed, &mut ledger), "crash {crash}");
        let alone = runs(&hand).iter().all(|unit| unit.len() == 1);
        assert_eq!(alone, crash >= 2);
    }
    let mut hand = next(6, &mut committed, &ledger);
    hand.receive(&LINES);
    assert!(!until_crash(&mut hand, &mut committed, &mut ledger));
    assert_eq!(hand.pair.state(), "running");
    hand.pass(Duration::from_secs(10));
    assert!(!until_crash(&mut hand, &mut committed, &mut ledger));
    assert_eq!(committed.unwrap().offset, Offset(4));
    assert!([0, 2, 3].into_iter().all(|offset| ledger.holdings.holds(Offset(offset))));
}

/// Guarantee: owners that let go in good order, or that moved the watermark, are no crashes.
#[test]
fn a_clean_end_and_progress_count_for_nothing() {
    let (mut committed, ledger) = (None, LedgerView::default());
    for epoch in 1..6 {
        let mut hand = next(epoch, &mut committed, &ledger);
        hand.receive(&LINES);
        hand.tell(Event::Revoke);
        committed = hand.released().unwrap().or(committed);
        assert_eq!(hand.pair.state(), "idle");
    }
    let (mut committed, mut ledger) = (committed, ledger);
    for epoch in 6..10 {
        let mut hand = next(epoch, &mut committed, &ledger);
        assert_eq!(hand.pair.state(), "running");
        hand.receive(&[(epoch as i64 - 6, "k")]);
        hand.run(to_first);
        hand.pass(Duration::from_secs(10));
        until_crash(&mut hand, &mut committed, &mut ledger);
    }
}

/// Scenario: one crash without progress.
/// Guarantee: until the watermark moves no more than a window of records is taken in, and what is finished of it is published at once.
#[test]
fn after_one_crash_the_intake_is_bounded_until_there_is_progress() {
    let (mut committed, ledger) = (None, LedgerView::default());
    drop(next(1, &mut committed, &ledger));
    let mut hand = next(2, &mut committed, &ledger);
    let granted = |hand: &Hand| {
        let grants = hand.asked.iter().filter_map(|action| match action {
            Action::Grant { records, .. } => Some(*records),
            _ => None,
        });
        grants.max()
    };
    hand.receive(&LINES[..3]);
    hand.run(to_first);
    assert_eq!(granted(&hand), Some(3));
    let (sink, trailer) = hand.trailers().pop().unwrap();
    hand.publish(sink, &trailer, Published::Done(Vec::new()));
    assert_eq!(granted(&hand), Some(6));
}

/// An owner after two crashes, with these records.
fn careful(options: PairOptions) -> (Hand, Option<Position>) {
    let (mut committed, ledger) = (None, LedgerView::default());
    drop(next(1, &mut committed, &ledger));
    drop(next(2, &mut committed, &ledger));
    let mut hand = Hand::new(options);
    hand.assign(3, committed.clone(), vec![ledger]);
    assert!(hand.pair.is_careful());
    hand.receive(&LINES);
    commit(&mut hand, &mut committed);
    (hand, committed)
}

/// Scenario: records run alone, and most are rejected. Guarantee: the flood breaker holds them back as it does others.
#[test]
fn a_flood_holds_records_that_run_alone() {
    let flood = FloodPolicy { ratio: 0.5, min: 2, window: Duration::from_secs(60) };
    let window = Window { records: 3, bytes: 1 << 20 };
    let (mut hand, mut committed) =
        careful(PairOptions { flood: Some(flood), window, ..options(vec![spec("files", true)]) });
    let alone = |hand: &Hand| runs(hand).iter().map(Vec::len).collect::<Vec<_>>();
    for _ in 0..2 {
        assert_eq!(alone(&hand), [1]);
        hand.run(|_| Verdict::Failed(Box::new(Failure::reject(Reason::DecodeJson, "bad"))));
        for (sink, trailer) in hand.trailers() {
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
        }
        for letter in hand.letters() {
            hand.tell(Event::LettersDelivered { epoch: Epoch(3), answers: vec![(letter.id, Ok(()))] });
        }
        commit(&mut hand, &mut committed);
        commit(&mut hand, &mut committed);
    }
    assert_eq!(hand.pair.held().map(|failure| failure.reason), Some(Reason::RejectFlood));
    assert_eq!(alone(&hand), [0; 0], "the breaker is open");
    hand.pass(Duration::from_secs(1));
    commit(&mut hand, &mut committed);
    assert_eq!(alone(&hand), [1], "a probe");
}

/// Scenario: a record that ran alone is due for its next try while the note about another one is on its way to the broker. Guarantee: nobody is woken before
/// that is answered.
#[test]
fn a_careful_pair_waits_for_its_note() {
    let window = Window { records: 3, bytes: 1 << 20 };
    let (mut hand, mut committed) = careful(PairOptions { window, ..options(vec![spec("files", true)]) });
    assert_eq!(runs(&hand).len(), 1);
    hand.run(|_| Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later"))));
    hand.pass(Duration::from_secs(2));
    assert!(hand.pair.next_wake().is_none_or(|wake| wake > hand.now), "{:?}", hand.pair.next_wake());
    commit(&mut hand, &mut committed);
    assert_eq!(runs(&hand).len(), 1);
}
