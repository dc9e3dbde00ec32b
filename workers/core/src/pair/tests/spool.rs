//! Payloads that do not wait in memory, by hand. Random schedules with spools that fail are in the simulation.

use super::retry::{acknowledge, assign, copy_of, headers, policy, starts, with_retry};
use super::*;
use crate::Chunk;
use crate::headers::LetterHeaders;

pub(super) const WALL_MS: i64 = 1_700_000_000_000;

/// A pair with so small a window that no copy stays in memory, and three copies that are due in 50 s.
pub(super) fn waiting() -> Hand {
    let window = Window { records: 1000, bytes: 500 };
    let mut hand = Hand::new(PairOptions { window, ..with_retry(policy()) });
    assign(&mut hand, 3);
    for place in 0..3 {
        let headers = LetterHeaders { not_before_ms: Some(WALL_MS + 50_000), ..headers(place, 1) };
        copy_of(&mut hand, place, &format!("key-{place}"), &headers);
    }
    hand.receive(&[(0, "key-0"), (1, "key-1"), (2, "key-2")]);
    starts(&mut hand);
    hand
}

pub(super) fn spools(hand: &mut Hand) -> Vec<(SpoolId, Arc<Chunk>)> {
    hand.take(|action| match action {
        Action::Spool { id, chunk } => Ok((id, chunk)),
        other => Err(other),
    })
}

pub(super) fn fetches(hand: &mut Hand) -> Vec<SpoolRead> {
    let fetches = hand.take(|action| match action {
        Action::Fetch(reads) => Ok(reads),
        other => Err(other),
    });
    fetches.into_iter().flatten().collect()
}

fn forgotten(hand: &mut Hand) -> Vec<SpoolId> {
    let forgotten = hand.take(|action| match action {
        Action::Forget(ids) => Ok(ids),
        other => Err(other),
    });
    forgotten.into_iter().flatten().collect()
}

pub(super) fn runs(hand: &mut Hand) -> Vec<(i64, Option<Vec<u8>>)> {
    let units = hand.take(|action| match action {
        Action::Run(unit) => Ok(unit),
        other => Err(other),
    });
    let entries = units.into_iter().flat_map(|unit| unit.entries);
    entries.map(|entry| (entry.record.offset().0, entry.record.value().map(<[u8]>::to_vec))).collect()
}

pub(super) fn give(hand: &mut Hand, read: SpoolRead, chunk: &Arc<Chunk>) {
    let mut builder = ChunkBuilder::new(hand.pair.id().clone(), Lane::Retry, Epoch(1));
    builder.copy_of(&crate::RecordRef::new(chunk, read.index).unwrap());
    let chunk = Some(builder.build(None));
    hand.tell(Event::Fetched { epoch: Epoch(1), chunk, lost: Vec::new(), wall_ms: WALL_MS });
}

/// Scenario: copies wait that have no room in memory, and the spool takes them. Guarantee: they are fetched when they are due, one at a time
/// where no more have room, run with their payload, and the spool is told to forget each once, and only when nobody needs it.
#[test]
fn a_copy_is_fetched_from_the_spool_when_it_is_due() {
    let mut hand = waiting();
    let spooled = spools(&mut hand);
    assert!(spooled.len() == 3 && hand.pair.awaits_spool());
    for (id, _) in &spooled {
        hand.tell(Event::Spooled { epoch: Epoch(1), id: *id, taken: true });
    }
    assert!(hand.pair.waiting_bytes().1 > 0 && !hand.pair.awaits_spool());
    assert!(fetches(&mut hand).is_empty() && forgotten(&mut hand).is_empty());
    hand.pass(Duration::from_secs(50));
    let read = fetches(&mut hand);
    assert_eq!(read.len(), 1, "there is room for one");
    assert!(hand.pair.awaits_spool() && hand.pair.next_wake().is_none_or(|wake| wake > hand.now));
    give(&mut hand, read[0], &spooled[0].1);
    assert_eq!(runs(&mut hand), [(0, Some(b"value".to_vec()))]);
    assert_eq!(forgotten(&mut hand), [spooled[0].0]);
}

/// Scenario: the spool takes nothing, or loses what it has. Guarantee: the lane is sent back to the first copy that is due, takes what is wanted
/// from what it reads there, and goes on at its end.
#[test]
fn what_the_spool_does_not_have_is_read_from_the_topic_again() {
    for lost in [false, true] {
        let mut hand = waiting();
        let spooled = spools(&mut hand);
        for (id, _) in &spooled {
            hand.tell(Event::Spooled { epoch: Epoch(1), id: *id, taken: lost });
        }
        hand.pass(Duration::from_secs(50));
        while let Some(read) = fetches(&mut hand).pop() {
            hand.tell(Event::Fetched { epoch: Epoch(1), chunk: None, lost: vec![read], wall_ms: WALL_MS });
        }
        assert_eq!(starts(&mut hand), [(Lane::Retry, Offset(0))], "lost: {lost}");
        copy_of(&mut hand, 0, "key-0", &headers(0, 1));
        assert_eq!(runs(&mut hand), [(0, Some(b"value".to_vec()))]);
        assert_eq!(starts(&mut hand), [(Lane::Retry, Offset(3))], "no room for more: to the end again");
        hand.pass(Duration::from_secs(1));
        assert!(
            hand.pair.next_wake().is_none_or(|wake| wake > hand.now),
            "an answer makes room, and no time"
        );
    }
}

/// A copy of record 0 whose value of so many bytes was left in the topic is read.
fn left(hand: &mut Hand, bytes: usize) {
    let mut chunk = ChunkBuilder::new(hand.pair.id().clone(), Lane::Retry, Epoch(1));
    chunk.without_value(Offset(0), WALL_MS, Some(b"a"), bytes);
    let told = headers(0, 1).encode();
    told.iter().for_each(|(name, value)| chunk.header(name.as_bytes(), Some(value.as_bytes())));
    hand.tell(Event::CopiesRead { chunk: chunk.build(None), wall_ms: WALL_MS });
}

/// Scenario: the value of a large copy was left in the topic. Guarantee: the copy is known and waits; when due it is read, and a chunk that
/// has it without its value again is not taken for it.
#[test]
fn a_large_copy_is_read_when_its_turn_comes() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 1);
    left(&mut hand, b"value".len());
    assert_eq!(starts(&mut hand).last(), Some(&(Lane::Input, Offset(0))));
    hand.receive(&[(0, "a")]);
    assert_eq!(starts(&mut hand), [(Lane::Retry, Offset(0))]);
    left(&mut hand, b"value".len());
    assert!(runs(&mut hand).is_empty());
    copy_of(&mut hand, 0, "a", &headers(0, 1));
    assert_eq!(runs(&mut hand), [(0, Some(b"value".to_vec()))]);
}

/// Scenario: a large copy whose value was left in the topic names a record with a value of another length. Guarantee: the record runs
/// itself; the copy is read, and becomes a letter that has its value.
#[test]
fn a_large_stray_is_told_by_its_length_and_keeps_its_value() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 1);
    left(&mut hand, 20 << 20);
    starts(&mut hand);
    hand.receive(&[(0, "a")]);
    assert_eq!(runs(&mut hand), [(0, Some(b"value".to_vec()))]);
    assert_eq!((starts(&mut hand), hand.letters().len()), (vec![(Lane::Retry, Offset(0))], 0));
    copy_of(&mut hand, 0, "a", &headers(0, 1));
    let [letter] = &hand.letters()[..] else { panic!("one letter and no other") };
    assert_eq!((letter.origin, letter.failure.reason), (None, Reason::RetryStray));
    assert_eq!(letter.record.value(), Some(&b"value"[..]));
}

pub(super) const KIB: u64 = 1024;

/// A worker's spool and its disk: it takes whatever it is given, as a copy, unless it is full.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) full: bool,
    kept: std::collections::HashMap<SpoolId, Arc<Chunk>>,
    /// The chunks that the pair was given, wherever they are by now.
    pub(super) given: Vec<std::sync::Weak<Chunk>>,
}

impl Disk {
    /// Does all that was asked of it.
    pub(super) fn turn(&mut self, hand: &mut Hand) {
        loop {
            let (taken, read) = (spools(hand), fetches(hand));
            if taken.is_empty() && read.is_empty() {
                return;
            }
            for (id, chunk) in taken {
                let mut copy = ChunkBuilder::new(hand.pair.id().clone(), Lane::Retry, Epoch(1));
                let records = (0..chunk.len() as u32).filter_map(|at| crate::RecordRef::new(&chunk, at));
                records.for_each(|record| copy.copy_of(&record));
                drop(chunk);
                if !self.full {
                    self.kept.insert(id, copy.build(None));
                }
                hand.tell(Event::Spooled { epoch: Epoch(1), id, taken: !self.full });
            }
            for read in read {
                let chunk = Arc::clone(&self.kept[&read.id]);
                give(hand, read, &chunk);
            }
        }
    }

    /// Bytes of the chunks that the pair was given and that are still in memory.
    fn in_memory(&self) -> u64 {
        self.given.iter().filter_map(std::sync::Weak::upgrade).map(|chunk| chunk.bytes() as u64).sum()
    }
}

/// A pair whose window has room for some chunks, and 1000 records of its input that copies may name.
pub(super) fn with_disk(spec: SinkSpec) -> (Hand, Disk) {
    with_disk_and(options(vec![spec]))
}

fn with_disk_and(options: PairOptions) -> (Hand, Disk) {
    let window = Window { records: 1000, bytes: 256 * KIB };
    let retry = RetryPolicy { ordered: false, waiting: 10_000, ..policy() };
    let options = PairOptions { window, retry: Some(retry), ..options };
    let mut hand = Hand::new(options);
    assign(&mut hand, 0);
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(1_000) });
    (hand, Disk::default())
}

/// The lane reads a chunk of 20 copies of half a kilobyte and more from `first` on, each due in so long.
pub(super) fn mixed(hand: &mut Hand, disk: &mut Disk, first: i64, due_in: impl Fn(i64) -> i64) -> u64 {
    let mut chunk = ChunkBuilder::new(hand.pair.id().clone(), Lane::Retry, Epoch(1));
    for place in first..first + 20 {
        chunk.record(Offset(place), WALL_MS, None, Some(&[b'x'; 512]));
        let not_before_ms = Some(WALL_MS + due_in(place));
        let told = LetterHeaders { not_before_ms, replays: 1, ..headers(place, 1) }.encode();
        told.iter().for_each(|(name, value)| chunk.header(name.as_bytes(), Some(value.as_bytes())));
    }
    let chunk = chunk.build(None);
    let bytes = chunk.bytes() as u64;
    disk.given.push(Arc::downgrade(&chunk));
    hand.tell(Event::CopiesRead { chunk, wall_ms: WALL_MS });
    disk.turn(hand);
    bytes
}

/// Scenario: of each chunk one copy is due at once and the others wait; those that are due are with a slow step, or fail again and again go
/// out as letters. Guarantee: what only waits leaves memory, however long the others of its chunk are at work (I5).
#[test]
fn a_copy_at_work_keeps_no_others_in_memory() {
    for slow in [true, false] {
        let (mut hand, mut disk) = with_disk(spec("files", true));
        let mut chunk_bytes = 0;
        for first in (0..800).step_by(20) {
            chunk_bytes = mixed(&mut hand, &mut disk, first, |place| if place == first { 0 } else { 50_000 });
            if !slow {
                hand.run(|_| Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later"))));
                for letter in hand.letters() {
                    acknowledge(&mut hand, letter.id);
                }
            }
            disk.turn(&mut hand);
            // What is with the steps has chunks of its own; of those that came, no more stays than may, and one more while letters are on their way.
            let most = 256 * KIB / 16 + if slow { 0 } else { chunk_bytes };
            assert!(disk.in_memory() <= most, "slow: {slow}, {first}: {} of {most}", disk.in_memory());
        }
        assert!(40 * chunk_bytes > 2 * 256 * KIB, "all of it would not fit");
        let waiting = hand.pair.waiting();
        assert_eq!(waiting.0, 800, "slow: {slow}");
        let tried = hand.take(|action| if let Action::Run(unit) = action { Ok(unit) } else { Err(action) });
        let tried: usize = tried.iter().map(|unit| unit.entries.len()).sum();
        assert_eq!(tried, if slow { 4 } else { 0 }, "as many units as may be in flight");
    }
}

/// Scenario: half of a chunk is due, and the rest waits. Guarantee: the chunk stays as long as a record of it is with the steps or on its way as
/// a letter, and goes to the spool when the last one is through.
#[test]
fn a_chunk_goes_to_the_spool_when_nobody_holds_it_any_more() {
    let (mut hand, mut disk) = with_disk(spec("files", true));
    let bytes = mixed(&mut hand, &mut disk, 0, |place| if place < 14 { 0 } else { 50_000 });
    mixed(&mut hand, &mut disk, 20, |place| if place < 34 { 0 } else { 50_000 });
    assert!(bytes < 256 * KIB / 16 && 2 * bytes > 256 * KIB / 16, "{bytes}");
    assert!(disk.kept.is_empty());
    hand.run(|_| Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later"))));
    let letters = hand.letters();
    assert_eq!(letters.len(), 28);
    let (last, others) = letters.split_last().unwrap();
    others.iter().for_each(|letter| acknowledge(&mut hand, letter.id));
    assert_eq!(spools(&mut hand).len(), 1, "the one that nobody holds, since both are more than may stay");
    acknowledge(&mut hand, last.id);
    assert!(spools(&mut hand).is_empty(), "one alone may stay");
}

/// Scenario: a copy is larger than what may be at work, and letters of the input wait for a broker that does not answer. Guarantee: it is
/// fetched when nothing else of the lane is at work, whatever the input waits for (I6).
#[test]
fn a_copy_without_room_waits_for_its_own_lane_alone() {
    let (mut hand, mut disk) = with_disk(spec("files", true));
    hand.receive(&[(1_000, "a")]);
    hand.run(|_| Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later"))));
    assert_eq!(hand.letters().len(), 1, "and nobody answers");
    let mut chunk = ChunkBuilder::new(hand.pair.id().clone(), Lane::Retry, Epoch(1));
    chunk.record(Offset(0), WALL_MS, None, Some(&vec![b'x'; 40 << 10]));
    let told = LetterHeaders { not_before_ms: Some(WALL_MS + 50_000), replays: 1, ..headers(0, 1) }.encode();
    told.iter().for_each(|(name, value)| chunk.header(name.as_bytes(), Some(value.as_bytes())));
    hand.tell(Event::CopiesRead { chunk: chunk.build(None), wall_ms: WALL_MS });
    disk.turn(&mut hand);
    assert_eq!(disk.kept.len(), 1);
    hand.pass(Duration::from_secs(50));
    disk.turn(&mut hand);
    assert_eq!(runs(&mut hand).len(), 1);
}

/// Scenario: rows of retried records wait in a segment of a sink that may refuse them, and with them the payloads; more are due, and have no
/// room. Guarantee: the segment is published at once and not when it has grown old.
#[test]
fn a_segment_whose_payloads_take_the_room_is_published() {
    let (mut hand, mut disk) = with_disk(SinkSpec { refuses: true, ..spec("table", true) });
    for first in (0..200).step_by(20) {
        mixed(&mut hand, &mut disk, first, |_| 50_000);
    }
    hand.pass(Duration::from_secs(50));
    disk.turn(&mut hand);
    assert!(hand.trailers().is_empty());
    let mut trailers = Vec::new();
    for _ in 0..20 {
        hand.run(to_first);
        disk.turn(&mut hand);
        trailers.extend(hand.trailers());
    }
    let [(sink, trailer)] = &trailers[..] else { panic!("{} segments", trailers.len()) };
    assert!((1..200).contains(&trailer.rows), "{}", trailer.rows);
    hand.publish(*sink, trailer, Published::Done(Vec::new()));
    disk.turn(&mut hand);
    assert!(!runs(&mut hand).is_empty(), "there is room again");
}

/// Scenario: the spool takes nothing, much waits, and all of it is due; reading it takes longer than the lane may be away from its end. Guarantee: it
/// goes to its end after 10 s, and then back to where it was.
#[test]
fn the_lane_goes_to_its_end_now_and_then_while_it_reads_what_it_read_before() {
    let (mut hand, _) = with_disk(spec("files", true));
    let mut nothing = Disk::default();
    for first in (0..200).step_by(20) {
        mixed(&mut hand, &mut nothing, first, |_| 50_000);
    }
    for id in nothing.kept.keys() {
        let read = SpoolRead { id: *id, index: 0, copy: Offset(0) };
        hand.tell(Event::Fetched { epoch: Epoch(1), chunk: None, lost: vec![read], wall_ms: WALL_MS });
    }
    starts(&mut hand);
    hand.pass(Duration::from_secs(50));
    let back = starts(&mut hand);
    let [(Lane::Retry, from)] = back[..] else { panic!("{back:?}") };
    hand.pass(Duration::from_secs(30));
    assert!(starts(&mut hand).is_empty(), "nothing came yet");
    mixed(&mut hand, &mut nothing, from.0, |_| 50_000);
    assert_eq!(starts(&mut hand), [(Lane::Retry, Offset(200))]);
    hand.pass(Duration::from_millis(200));
    let again = starts(&mut hand);
    assert!(matches!(again[..], [(Lane::Retry, to)] if from < to && to < Offset(200)), "{again:?}");
}

/// Scenario: as many records as may wait were handed over, and the lane has not read their copies yet. Guarantee: the input pauses.
#[test]
fn copies_that_are_not_read_yet_count_as_waiting() {
    let retry = RetryPolicy { waiting: 3, ..policy() };
    let window = Window { records: 4, bytes: 1 << 20 };
    let mut hand = Hand::new(PairOptions { window, ..with_retry(retry) });
    assign(&mut hand, 0);
    let grants = |hand: &mut Hand| {
        hand.take(|action| match action {
            Action::Grant { lane: Lane::Input, records, .. } => Ok(records),
            other => Err(other),
        })
    };
    assert_eq!(grants(&mut hand), [4]);
    hand.receive(&[(0, "a"), (1, "b"), (2, "c")]);
    hand.run(|_| Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later"))));
    for letter in hand.letters() {
        acknowledge(&mut hand, letter.id);
    }
    assert!(grants(&mut hand).is_empty());
}

fn poison(_: i64) -> Verdict {
    Verdict::Failed(Box::new(Failure::reject(Reason::StepFailed, "never")))
}

/// Scenario: the spool is full, so copies that are due are read from the topic again; all are rejected, and wait as dead letters in a
/// segment with their payloads. Guarantee: the segment is published as soon as the next ones have no room, not when it has grown old (I6).
#[test]
fn a_segment_that_takes_the_room_of_what_is_read_again_is_published() {
    let (mut hand, mut disk) = with_disk(spec("files", true));
    disk.full = true;
    for first in (0..200).step_by(20) {
        mixed(&mut hand, &mut disk, first, |_| 50_000);
    }
    hand.pass(Duration::from_secs(50));
    let mut next = 200;
    let mut trailers = Vec::new();
    for _ in 0..30 {
        if let Some((_, offset)) = starts(&mut hand).into_iter().rfind(|(lane, _)| *lane == Lane::Retry) {
            next = offset.0;
        }
        if next < 200 {
            mixed(&mut hand, &mut disk, next, |_| 50_000);
            next += 20;
        }
        hand.run(poison);
        trailers.extend(hand.trailers());
    }
    let [(sink, trailer)] = &trailers[..] else { panic!("{} segments", trailers.len()) };
    assert!((1..200).contains(&trailer.dead.len()), "{}", trailer.dead.len());
    hand.publish(*sink, trailer, Published::Done(Vec::new()));
    for letter in hand.letters() {
        acknowledge(&mut hand, letter.id);
    }
    hand.pass(Duration::from_millis(200));
    assert_ne!(starts(&mut hand), [], "there is room again");
}

/// A pair whose retry lane has more due than there is room for, and has as many as there is with the steps, one by one.
fn starving() -> (Hand, Disk) {
    let one_by_one =
        PairOptions { grain: Grain::Record, units_in_flight: 1000, ..options(vec![spec("files", true)]) };
    let (mut hand, mut disk) = with_disk_and(one_by_one);
    for first in (0..200).step_by(20) {
        mixed(&mut hand, &mut disk, first, |_| 50_000);
    }
    hand.pass(Duration::from_secs(50));
    disk.turn(&mut hand);
    (hand, disk)
}

/// Scenario: copies fail again, and as letters that no broker answers they hold all the room, while more are due; a record of the input is
/// rejected. Guarantee: the segment with its decision waits for its age, since its publish makes no room.
#[test]
fn a_segment_without_payloads_of_the_lane_is_not_pressed() {
    let (mut hand, mut disk) = starving();
    for _ in 0..20 {
        hand.run(|_| Verdict::Failed(Box::new(Failure::retry(Reason::StepFailed, "later"))));
        disk.turn(&mut hand);
    }
    assert!(!hand.letters().is_empty() && hand.pair.holds().0 > 0, "and nobody answers");
    hand.receive(&[(1_000, "a")]);
    hand.run(poison);
    assert_eq!(hand.trailers().len(), 0);
    hand.pass(Duration::from_secs(10));
    let [(_, trailer)] = &hand.trailers()[..] else { panic!("one segment") };
    assert_eq!(trailer.dead.keys().collect::<Vec<_>>(), [&Offset(1_000)]);
}

/// Scenario: of the copies that are due one is with a slow step; the others are rejected and wait in the segment, which has the room of those that
/// are due as well. Guarantee: it is published at once, though one is at work; and in a drain by its age alone.
#[test]
fn a_slow_record_does_not_keep_a_segment_from_making_room() {
    for drains in [false, true] {
        let (mut hand, mut disk) = starving();
        let units = hand.take(|action| if let Action::Run(unit) = action { Ok(unit) } else { Err(action) });
        let (_slow, others) = units.split_first().unwrap();
        assert!((10..190).contains(&others.len()), "{}", others.len());
        if drains {
            hand.tell(Event::Drain);
        }
        for unit in others {
            let verdicts = unit.entries.iter().map(|entry| poison(entry.record.offset().0)).collect();
            let result = unit_result(unit.id, verdicts, Vec::new());
            hand.tell(Event::UnitDone { epoch: Epoch(1), result });
        }
        disk.turn(&mut hand);
        assert_eq!(hand.trailers().is_empty(), drains, "drains: {drains}");
    }
}

/// Scenario: a copy is due and has no room beside one that waits for its turn at the steps; that one is given back untried, because an
/// older record of its key has come that is not due. Guarantee: the pair wakes at once and fetches the first, though nothing else happens (I6).
#[test]
fn the_room_of_a_copy_that_is_given_back_is_used_at_once() {
    let window = Window { records: 1000, bytes: 500 };
    let options = PairOptions { window, units_in_flight: 1, ..with_retry(policy()) };
    let mut hand = Hand::new(options);
    assign(&mut hand, 0);
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(10) });
    hand.receive(&[(10, "slow")]);
    let [(10, _)] = runs(&mut hand)[..] else { panic!("the only unit there may be") };
    let slow = UnitId(0);
    let waits = |ms| LetterHeaders { not_before_ms: Some(WALL_MS + ms), replays: 1, ..headers(5, 1) };
    copy_of(&mut hand, 0, "b", &LetterHeaders { origin: headers(3, 1).origin, ..waits(50_000) });
    let [(id, _)] = spools(&mut hand)[..] else { panic!("it does not stay") };
    hand.tell(Event::Spooled { epoch: Epoch(1), id, taken: true });
    copy_of(&mut hand, 1, "a", &waits(0));
    copy_of(&mut hand, 2, "a", &LetterHeaders { origin: headers(1, 1).origin, ..waits(55_000) });
    hand.now = hand.now.after(Duration::from_secs(50));
    let result = unit_result(slow, vec![to_first(10)], Vec::new());
    hand.tell(Event::UnitDone { epoch: Epoch(1), result });
    assert_eq!((runs(&mut hand).len(), hand.pair.holds()), (0, (0, 0)), "it was given back");
    assert!(fetches(&mut hand).is_empty());
    assert!(hand.pair.next_wake().is_some_and(|wake| wake <= hand.now), "{:?}", hand.pair.next_wake());
    hand.tell(Event::Tick);
    assert_eq!(fetches(&mut hand).len(), 1);
}

/// Scenario: more copies are due than there is room for at once, and the first one is with a step that does not end. Guarantee: it keeps the payloads of a
/// few others, and all the rest are tried meanwhile (I6).
#[test]
fn a_slow_record_does_not_keep_the_whole_share() {
    let (mut hand, mut disk) = starving();
    let mut tried = std::collections::BTreeSet::new();
    loop {
        let units = hand.take(|action| if let Action::Run(unit) = action { Ok(unit) } else { Err(action) });
        if units.is_empty() {
            break;
        }
        for unit in units {
            let offsets: Vec<i64> = unit.entries.iter().map(|entry| entry.record.offset().0).collect();
            let slow = offsets.contains(&0);
            tried.extend(offsets.clone());
            if !slow {
                let result = unit_result(unit.id, offsets.into_iter().map(to_first).collect(), Vec::new());
                hand.tell(Event::UnitDone { epoch: Epoch(1), result });
            }
        }
        disk.turn(&mut hand);
    }
    assert_eq!(tried.len(), 200);
}
