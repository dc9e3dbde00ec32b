//! Payloads that do not wait in memory, by hand. Random schedules with spools that fail are in the simulation.

use super::retry::{assign, copy_of, headers, policy, starts, with_retry};
use super::*;
use crate::Chunk;
use crate::headers::LetterHeaders;

const WALL_MS: i64 = 1_700_000_000_000;

/// A pair with so small a window that no copy stays in memory, and three copies that are due in 50 s.
fn waiting() -> Hand {
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

fn spools(hand: &mut Hand) -> Vec<(SpoolId, Arc<Chunk>)> {
    hand.take(|action| match action {
        Action::Spool { id, chunk } => Ok((id, chunk)),
        other => Err(other),
    })
}

fn fetches(hand: &mut Hand) -> Vec<SpoolRead> {
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

fn runs(hand: &mut Hand) -> Vec<(i64, Option<Vec<u8>>)> {
    let units = hand.take(|action| match action {
        Action::Run(unit) => Ok(unit),
        other => Err(other),
    });
    let entries = units.into_iter().flat_map(|unit| unit.entries);
    entries.map(|entry| (entry.record.offset().0, entry.record.value().map(<[u8]>::to_vec))).collect()
}

fn give(hand: &mut Hand, read: SpoolRead, chunk: &Arc<Chunk>) {
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
    assert_eq!(spooled.len(), 3);
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
