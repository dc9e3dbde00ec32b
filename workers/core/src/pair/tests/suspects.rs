//! Crashes while copies wait in the retry lane, by hand; random schedules of them are in the simulation.

use super::retry::{copy_of, headers, policy, with_retry};
use super::*;
use crate::TopicName;
use crate::metadata::Metadata;
use crate::source::RetryAssignment;

/// More than a life after a crash may try at once.
const COPIES: i64 = 2_000;
/// The input's records before it are long settled.
const START: i64 = 10_000;

/// What the broker and the sink hold when an owner crashes.
#[derive(Default)]
struct Held {
    input: Option<Position>,
    retry: Option<Position>,
    ledger: LedgerView,
    letters: Vec<i64>,
}

impl Held {
    fn metadata(&self) -> Metadata {
        let position = self.input.as_ref().unwrap();
        Metadata::decode(&position.metadata, position.offset, position.offset).unwrap()
    }
}

/// The next owner, with the whole retry partition read: of each copy the record, and all of them due.
fn next(epoch: u64, held: &mut Held) -> Hand {
    let mut hand = next_with(epoch, held, COPIES);
    // The later its copy, the earlier its record: the order of the log is not that of the origins.
    for place in 0..COPIES {
        copy_of(&mut hand, place, &format!("k{place}"), &headers(COPIES - place, 1));
    }
    hand
}

/// The next owner, whose retry partition has so many copies and is not read yet.
fn next_with(epoch: u64, held: &mut Held, copies: i64) -> Hand {
    let start = START.max(copies + 1);
    let policy = RetryPolicy { span: 1_000_000, waiting: 1_000_000, parked: 1_000_000, ..policy() };
    let options = PairOptions { window: Window { records: 400, bytes: 1 << 30 }, ..with_retry(policy) };
    let mut hand = Hand::new(options);
    let retry = RetryAssignment {
        topic: TopicName::new("in.p.retry"),
        committed: held.retry.clone(),
        log_start: Offset(0),
        log_end: Offset(copies),
    };
    let first = Position { offset: Offset(start), metadata: String::new() };
    let assignment = Assignment {
        pair: hand.pair.id().clone(),
        epoch: Epoch(epoch),
        committed: Some(held.input.clone().unwrap_or(first)),
        start: Offset(0),
        log_start: Offset(0),
        log_end: Offset(start),
        cluster: "c".into(),
        topic_id: "t".into(),
        partitions: 1,
        retry: Some(retry),
    };
    hand.tell(Event::Assigned { assignment, writer: WriterId(epoch.into()) });
    let ledger = Ok(held.ledger.clone());
    hand.tell(Event::Recovered { epoch: Epoch(epoch), sink: SinkIndex(0), ledger });
    commit(&mut hand, held);
    hand
}

/// The broker takes what was committed.
fn commit(hand: &mut Hand, held: &mut Held) {
    let epoch = hand.pair.epoch();
    let commits = hand.take(|action| match action {
        Action::Commit { lane, position } => Ok((lane, position)),
        other => Err(other),
    });
    for (lane, position) in commits {
        let (offset, result) = (position.offset, CommitResult::Done);
        match lane {
            Lane::Input => held.input = Some(position),
            Lane::Retry => held.retry = Some(position),
        }
        hand.tell(Event::Committed { epoch, lane, offset, result });
    }
}

/// The records of each unit that is to run.
fn units(hand: &Hand) -> Vec<Vec<i64>> {
    let units = hand.asked.iter().filter_map(|action| match action {
        Action::Run(unit) => Some(unit.entries.iter().map(|entry| entry.record.offset().0).collect()),
        _ => None,
    });
    units.collect()
}

/// What an owner did until it crashed, or had nothing more to do.
#[derive(Default)]
struct Life {
    /// How many records it ran, and the most of them at once.
    ran: usize,
    beside: usize,
    /// How many of them it ran alone because it was careful.
    alone: usize,
    crashed: bool,
}

/// An owner goes on until it is to run a record that takes it down.
fn live(hand: &mut Hand, held: &mut Held, poison: Option<i64>) -> Life {
    let mut life = Life::default();
    let mut idle = 0;
    while idle < 6 {
        let asked = units(hand);
        let running: usize = asked.iter().map(Vec::len).sum();
        life.beside = life.beside.max(running);
        if asked.iter().flatten().any(|record| Some(*record) == poison) {
            life.crashed = true;
            return life;
        }
        life.ran += running;
        life.alone += if hand.pair.is_careful() { running } else { 0 };
        hand.run(to_first);
        for (sink, trailer) in hand.trailers() {
            held.ledger.fold(&trailer);
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
        }
        for letter in hand.letters() {
            assert_eq!(letter.failure.reason, Reason::CrashLoop);
            held.letters.push(letter.origin.unwrap().0);
            let epoch = hand.pair.epoch();
            hand.tell(Event::LettersDelivered { epoch, answers: vec![(letter.id, Ok(()))] });
        }
        commit(hand, held);
        idle = if running == 0 { idle + 1 } else { 0 };
        hand.pass(Duration::from_secs(if idle > 0 { 10 } else { 0 }));
    }
    life
}

/// Scenario: thousands of copies are due, and one of them ends every process that runs it. Guarantee: after two crashes those are tried alone
/// that the last owner can have had, some hundreds at most; after three more the one is a letter, and all others are rows.
#[test]
fn the_culprit_is_found_among_thousands_of_copies() {
    for poison in [1, 700, COPIES] {
        let mut held = Held::default();
        for crash in 1..=5 {
            let mut hand = next(crash, &mut held);
            let life = live(&mut hand, &mut held, Some(poison));
            assert!(life.crashed, "{poison}: life {crash} ended after {} records", life.ran);
            assert_eq!(hand.pair.is_careful(), crash > 2, "{poison}: life {crash}");
            assert!(life.beside <= if crash > 2 { 1 } else { 200 }, "{poison}: {}", life.beside);
            if crash > 1 {
                let (first, end) = held.metadata().copies.unwrap();
                assert!(
                    (first.0..end.0).contains(&poison) && end.0 - first.0 <= 200,
                    "{poison}: {first} {end}"
                );
            }
            assert!(life.alone <= 200, "{poison}: {} alone in life {crash}", life.alone);
        }
        let mut hand = next(6, &mut held);
        let life = live(&mut hand, &mut held, Some(poison));
        assert!(!life.crashed && life.alone <= 200, "{poison}: {} alone", life.alone);
        assert_eq!(held.letters, [poison]);
        let rows = (1..=COPIES).filter(|record| held.ledger.holdings.holds(Offset(*record)));
        assert_eq!(rows.count() as i64, COPIES - 1, "{poison}");
        assert_eq!(hand.pair.state(), "running");
        assert_eq!(held.metadata().takeovers, 0);
        assert_eq!(held.retry.as_ref().unwrap().offset, Offset(COPIES), "{poison}");
    }
}

/// Scenario: thousands of copies are due, and two owners were ended from outside. Guarantee: the one after the first of them works all off, a few
/// hundred at a time, and that is not held against it; so does the one after the second, and no more than the first few hundreds alone.
#[test]
fn a_large_backlog_is_soon_worked_off_after_crashes() {
    let mut held = Held::default();
    drop(next(1, &mut held));
    let mut hand = next(2, &mut held);
    let life = live(&mut hand, &mut held, None);
    assert_eq!((life.ran as i64, life.alone), (COPIES, 0));
    assert_eq!((held.metadata().takeovers, held.metadata().copies), (0, None));

    let mut held = Held::default();
    drop(next(1, &mut held));
    drop(next(2, &mut held));
    assert_eq!(held.metadata().takeovers, 1);
    let mut hand = next(3, &mut held);
    let life = live(&mut hand, &mut held, None);
    assert_eq!(life.ran as i64, COPIES);
    assert!(life.alone <= 200, "{}", life.alone);
    assert_eq!(hand.pair.state(), "running");
}

/// Scenario: an owner after a crash moves the input's watermark while copies that were due are still to be tried, and crashes. Guarantee: it counts, since
/// the watermark tells nothing of copies; but no record of the input is suspected for it.
#[test]
fn progress_of_the_input_does_not_hide_a_copy() {
    let mut held = Held::default();
    drop(next(1, &mut held));
    let mut hand = next(2, &mut held);
    commit(&mut hand, &mut held);
    assert!(!units(&hand).is_empty(), "copies run");
    hand.receive(&[(START, "new")]);
    for _ in 0..3 {
        hand.run(|record| if record >= START { to_first(record) } else { Verdict::Deferred });
        for (sink, trailer) in hand.trailers() {
            held.ledger.fold(&trailer);
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
        }
        hand.pass(Duration::from_secs(10));
        commit(&mut hand, &mut held);
    }
    assert_eq!(held.input.as_ref().unwrap().offset, Offset(START + 1));
    let position = held.input.as_ref().unwrap();
    let metadata = Metadata::decode(&position.metadata, position.offset, Offset(START + 1)).unwrap();
    assert_eq!((metadata.takeovers, metadata.careful), (1, 0));
    assert!(metadata.copies.is_some());
}

/// Scenario: an owner is careful while copies come all the time and are due at once. Guarantee: those wait; when the suspects are through
/// everything runs at once again. With those among the others a busy lane was tried one at a time for ever.
#[test]
fn careful_mode_ends_however_many_copies_come() {
    let mut held = Held::default();
    drop(next(1, &mut held));
    let mut hand = next(2, &mut held);
    hand.pass(Duration::ZERO);
    commit(&mut hand, &mut held);
    let mut hand = next(3, &mut held);
    assert!(hand.pair.is_careful());
    let mut place = COPIES;
    let end = COPIES + 1_000;
    while hand.pair.is_careful() {
        assert!(place < end, "still careful when {place} copies came");
        hand.now = hand.now.after(Duration::from_millis(1));
        for _ in 0..2 {
            copy_of(&mut hand, place, &format!("k{place}"), &headers(place + 1, 1));
            place += 1;
        }
        hand.run(to_first);
        for (sink, trailer) in hand.trailers() {
            held.ledger.fold(&trailer);
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
        }
        commit(&mut hand, &mut held);
    }
    assert!(hand.rows <= 200, "{} alone", hand.rows);
    live(&mut hand, &mut held, None);
    assert_eq!(hand.rows as i64, place, "the others follow");
}

/// The ranges that an owner notes until the crash before it is past.
fn ranges(hand: &mut Hand, held: &mut Held) -> Vec<(i64, i64)> {
    let mut ranges = Vec::new();
    for _ in 0..2_000 {
        if hand.pair.waiting().0 > 0 && held.input.is_some() {
            let noted = held.metadata().copies.map(|(first, end)| (first.0, end.0));
            if let Some(range) = noted
                && ranges.last() != Some(&range)
            {
                ranges.push(range);
            }
            if held.metadata().takeovers == 0 && !ranges.is_empty() {
                break;
            }
        }
        hand.run(to_first);
        for (sink, trailer) in hand.trailers() {
            held.ledger.fold(&trailer);
            hand.publish(sink, &trailer, Published::Done(Vec::new()));
        }
        commit(hand, held);
        let woken = hand.pair.next_wake().is_some_and(|wake| wake <= hand.now);
        hand.pass(Duration::from_millis(if woken { 0 } else { 10 }));
        commit(hand, held);
    }
    ranges
}

/// Scenario: a hundred thousand copies wait, one of five hundred of them is due, the last one first, and an owner was ended from outside. Guarantee: the next
/// one is through with those in few ranges, and in less than two seconds beside what their publishes take; it took one range for each of them.
#[test]
fn a_long_lane_of_which_little_is_due_is_soon_through() {
    const LONG: i64 = 100_000;
    let mut held = Held::default();
    drop(next_with(1, &mut held, LONG));
    let mut hand = next_with(2, &mut held, LONG);
    for place in 0..LONG {
        let (origin, due) = (LONG - place, place % 500 == 0);
        let wall_ms = 1_700_000_000_000;
        let not_before_ms = (!due).then_some(wall_ms + 50_000);
        hand.now = hand.now.after(Duration::from_micros(1));
        let headers = crate::headers::LetterHeaders { not_before_ms, ..headers(origin, 1) };
        copy_of(&mut hand, place, &format!("k{place}"), &headers);
    }
    commit(&mut hand, &mut held);
    let began = hand.now;
    let ranges = ranges(&mut hand, &mut held);
    assert!((1..=22).contains(&ranges.len()), "{} ranges", ranges.len());
    assert!(ranges.windows(2).all(|two| two[0].1 <= two[1].0), "{ranges:?}");
    assert_eq!((hand.rows as i64, held.metadata().takeovers), (LONG / 500, 0));
    assert!(hand.now.since(began) < Duration::from_secs(2), "{:?}", hand.now.since(began));
}

/// Scenario: after a crash one copy is due in 50 s, and another one waits for the input to come to its record. Guarantee: the owner is woken for the first one then, and not all
/// the time while the commit of its range is not answered.
#[test]
fn a_suspect_is_waited_for_and_woken_for() {
    let mut held = Held::default();
    drop(next_with(1, &mut held, 2));
    let mut hand = next_with(2, &mut held, 2);
    let due = crate::headers::LetterHeaders { not_before_ms: Some(1_700_000_050_000), ..headers(1, 1) };
    copy_of(&mut hand, 0, "k", &due);
    copy_of(&mut hand, 1, "other", &headers(START + 1, 1));
    commit(&mut hand, &mut held);
    for _ in 0..10 {
        let Some(wake) = hand.pair.next_wake().filter(|wake| wake.0 < Duration::from_secs(50)) else { break };
        assert!(wake > hand.now, "{wake:?}");
        hand.now = wake;
        hand.tell(Event::Tick);
        commit(&mut hand, &mut held);
    }
    assert_eq!((hand.pair.next_wake(), units(&hand).len()), (Some(Moment(Duration::from_secs(50))), 0));
    hand.now = Moment(Duration::from_secs(50));
    hand.tell(Event::Tick);
    assert!(hand.pair.next_wake().is_none_or(|wake| wake > hand.now), "{:?}", hand.pair.next_wake());
    commit(&mut hand, &mut held);
    assert_eq!(units(&hand), [[1]]);
    assert!(
        hand.pair.next_wake().is_none_or(|wake| wake > hand.now),
        "it is at work: {:?}",
        hand.pair.next_wake()
    );
}
