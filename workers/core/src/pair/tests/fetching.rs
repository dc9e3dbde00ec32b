//! Payloads that are in the topic alone: the lane goes back for them, and to its end again.

use super::retry::{assign, copy_of, headers, policy, starts, with_retry};
use super::spool::{KIB, WALL_MS, fetches, mixed, runs, spools, waiting, with_disk};
use super::*;
use crate::headers::LetterHeaders;

/// After so long what was to be read and has not come is asked for again.
const AGAIN: Duration = Duration::from_secs(60);

/// The spool takes nothing of what waits, which is due: the lane was sent back for the first of it. A commit of the input is under way.
fn sent_back() -> Hand {
    let mut hand = waiting();
    for (id, _) in spools(&mut hand) {
        hand.tell(Event::Spooled { epoch: Epoch(1), id, taken: false });
    }
    hand.pass(Duration::from_secs(50));
    assert_eq!(starts(&mut hand), [(Lane::Retry, Offset(0))]);
    hand
}

fn answer_commits(hand: &mut Hand) {
    for Position { offset, .. } in hand.commits() {
        let (epoch, lane, result) = (Epoch(1), Lane::Input, CommitResult::Done);
        hand.tell(Event::Committed { epoch, lane, offset, result });
    }
}

/// Scenario: nothing of what the lane went back for comes, however long; at most new copies at its end. Guarantee: it is asked for once a minute, and
/// nothing else: a broker that is slow or away has not lost it.
#[test]
fn what_does_not_come_is_asked_for_once_a_minute() {
    let mut hand = sent_back();
    answer_commits(&mut hand);
    for minute in 0..6 {
        copy_of(
            &mut hand,
            3 + minute,
            &format!("new-{minute}"),
            &LetterHeaders { not_before_ms: Some(i64::MAX), ..headers(10 + minute, 1) },
        );
        hand.pass(AGAIN - Duration::from_millis(1));
        assert_eq!(starts(&mut hand), [], "{minute}");
        hand.pass(Duration::from_millis(1));
        assert_eq!(starts(&mut hand), [(Lane::Retry, Offset(0))], "{minute}");
        assert!(hand.pair.is_running());
    }
}

/// Scenario: what lies behind comes, each time, and what the lane went back for does not: it is gone from the topic. Guarantee: it is asked for three times
/// more; then the pair begins anew, as soon as no commit is under way.
#[test]
fn what_is_passed_over_again_and_again_is_gone() {
    for commit_flies in [false, true] {
        let mut hand = sent_back();
        if !commit_flies {
            answer_commits(&mut hand);
        }
        for tries in 0..4 {
            copy_of(&mut hand, 1, "key-1", &headers(1, 1));
            hand.pass(AGAIN);
            let again = starts(&mut hand);
            assert_eq!(again.len(), usize::from(tries < 3), "{tries}: {again:?}");
        }
        assert_eq!(hand.pair.is_running(), commit_flies);
        answer_commits(&mut hand);
        assert_eq!(hand.pair.state(), "reassigning");
        assert!(hand.asked.iter().any(|action| matches!(action, Action::Reassign)));
    }
}

/// Scenario: the same, and the last time nothing comes at all. Guarantee: the pair does not begin anew for that.
#[test]
fn what_was_not_passed_over_is_not_gone() {
    let mut hand = sent_back();
    answer_commits(&mut hand);
    for tries in 0..6 {
        if tries < 3 {
            copy_of(&mut hand, 1, "key-1", &headers(1, 1));
        }
        hand.pass(AGAIN);
        assert_eq!(starts(&mut hand), [(Lane::Retry, Offset(0))], "{tries}");
    }
    assert!(hand.pair.is_running());
}

/// A copy of a record that is due in 50 s, too large to stay in memory.
fn large(hand: &mut Hand, place: i64, record: i64) {
    large_replay(hand, place, record, 1, 50_000);
}

/// The same of another replay, which is due in so long.
fn large_replay(hand: &mut Hand, place: i64, record: i64, replays: u32, due_in_ms: i64) {
    larges(hand, &[(place, record)], replays, due_in_ms);
}

/// Such copies of several records in one chunk.
fn larges(hand: &mut Hand, copies: &[(i64, i64)], replays: u32, due_in_ms: i64) {
    let mut chunk = ChunkBuilder::new(hand.pair.id().clone(), Lane::Retry, Epoch(1));
    for (place, record) in copies {
        let told = LetterHeaders { not_before_ms: Some(WALL_MS + due_in_ms), replays, ..headers(*record, 1) };
        chunk.record(Offset(*place), WALL_MS, None, Some(&vec![b'x'; 70 << 10]));
        let told = told.encode();
        told.iter().for_each(|(name, value)| chunk.header(name.as_bytes(), Some(value.as_bytes())));
    }
    hand.tell(Event::CopiesRead { chunk: chunk.build(None), wall_ms: WALL_MS });
    for (id, _) in spools(hand) {
        hand.tell(Event::Spooled { epoch: Epoch(1), id, taken: false });
    }
}

/// Scenario: three large copies are due, a thousand records apart and a little more. Guarantee: the lane reads on to the second one, and is sent to the third.
/// Where the record of the second one waits by another copy meanwhile, it is sent to the third at once.
#[test]
fn the_lane_reads_on_to_what_is_near_and_seeks_what_is_far() {
    for outranked in [false, true] {
        let mut hand = Hand::new(with_retry(RetryPolicy { span: 1 << 40, ..policy() }));
        assign(&mut hand, 0);
        hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(10) });
        for (place, record) in [(0, 0), (1_001, 1), (2_003, 2)] {
            large(&mut hand, place, record);
        }
        starts(&mut hand);
        hand.pass(Duration::from_secs(50));
        assert_eq!(starts(&mut hand), [(Lane::Retry, Offset(0))]);
        if outranked {
            let told = LetterHeaders { not_before_ms: Some(i64::MAX), replays: 2, ..headers(1, 1) };
            copy_of(&mut hand, 3_000, "key-1", &told);
        }
        large(&mut hand, 0, 0);
        hand.run(to_first);
        assert_eq!(hand.rows, 1);
        if outranked {
            assert_eq!(starts(&mut hand), [(Lane::Retry, Offset(2_003))]);
            continue;
        }
        assert_eq!(starts(&mut hand), [], "a thousand are read up to");
        large(&mut hand, 1_001, 1);
        hand.run(to_first);
        assert_eq!(starts(&mut hand), [(Lane::Retry, Offset(2_003))], "and one more is not");
    }
}

/// Scenario: the payload of a copy is read again when a later replay of its record waits. Guarantee: it is not taken for that one's, which may have been mended (I7): that
/// one is read when it is due.
#[test]
fn a_payload_is_not_taken_for_a_later_replays() {
    let retry = RetryPolicy { span: 1 << 40, cap: Duration::from_secs(3_600), ..policy() };
    let mut hand = Hand::new(with_retry(retry));
    assign(&mut hand, 0);
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Input, offset: Offset(10) });
    for place in 0..3 {
        large(&mut hand, place, place);
    }
    starts(&mut hand);
    hand.pass(Duration::from_secs(50));
    assert_eq!(starts(&mut hand), [(Lane::Retry, Offset(0))]);
    large_replay(&mut hand, 3_000, 2, 2, 100_000);
    larges(&mut hand, &[(0, 0), (1, 1), (2, 2)], 1, 50_000);
    hand.run(to_first);
    assert_eq!(hand.rows, 2);
    starts(&mut hand);
    hand.pass(Duration::from_secs(150));
    assert_eq!(starts(&mut hand), [(Lane::Retry, Offset(3_000))]);
    assert_eq!((runs(&mut hand).len(), hand.rows), (0, 2));
}

/// Scenario: a large record that is nobody's copy was left in the topic, and the lane has not read all that was there when the pair became ours. Guarantee: it
/// reads to its end before it goes back.
#[test]
fn the_lane_does_not_go_back_before_it_was_read() {
    let mut hand = Hand::new(with_retry(policy()));
    assign(&mut hand, 100);
    let mut chunk = ChunkBuilder::new(hand.pair.id().clone(), Lane::Retry, Epoch(1));
    chunk.without_value(Offset(0), WALL_MS, Some(b"a"), 20 << 20);
    hand.tell(Event::CopiesRead { chunk: chunk.build(None), wall_ms: WALL_MS });
    assert_eq!(starts(&mut hand), [(Lane::Retry, Offset(0))], "its beginning");
    hand.pass(Duration::from_secs(10));
    assert_eq!(starts(&mut hand), []);
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Retry, offset: Offset(100) });
    assert!(starts(&mut hand).contains(&(Lane::Retry, Offset(0))));
}

/// Scenario: a chunk that was read before comes again, and one record of its twenty is wanted, or fifteen are. Guarantee: in the first case what is wanted gets
/// a chunk of its own and the rest leaves memory at once; in the second one the chunk stays as it is.
#[test]
fn what_is_wanted_of_a_chunk_keeps_little_more_in_memory() {
    for wanted in [1, 15] {
        let (mut hand, mut disk) = with_disk(spec("files", true));
        disk.full = true;
        let due_in = |place| if (20..20 + wanted).contains(&place) { 50_000 } else { 55_000 };
        // The first one stays in memory.
        for first in [0, 20, 40] {
            mixed(&mut hand, &mut disk, first, due_in);
        }
        starts(&mut hand);
        hand.pass(Duration::from_secs(50));
        assert_eq!(starts(&mut hand), [(Lane::Retry, Offset(20))]);
        disk.given.clear();
        mixed(&mut hand, &mut disk, 20, due_in);
        assert_eq!(runs(&mut hand).len(), wanted as usize);
        let stays = disk.given[0].upgrade().is_some();
        assert_eq!(stays, wanted == 15, "{wanted}");
    }
}

/// Scenario: more is due of the spool than one part of the room that there is. Guarantee: it is asked for in parts of an eighth of that, so that what is slow
/// keeps no more of it in memory.
#[test]
fn the_spool_is_asked_in_parts() {
    let (mut hand, mut disk) = with_disk(spec("files", true));
    let mut bytes = 0;
    for first in (0..200).step_by(20) {
        bytes = mixed(&mut hand, &mut disk, first, |_| 50_000);
    }
    hand.pass(Duration::from_secs(50));
    let parts = hand.take(|action| match action {
        Action::Fetch(reads) => Ok(reads.len() as u64),
        other => Err(other),
    });
    let most = 256 * KIB / 8 / 8 / (bytes / 20);
    let (last, full) = parts.split_last().expect("parts");
    assert!(
        full.len() > 3 && full.iter().all(|part| *part == most) && (1..=most).contains(last),
        "{most}: {parts:?}"
    );
}

/// Scenario: many copies lie far behind the end of their log, and the spool has their payloads. Guarantee: as many are asked of it as have room, at once, to be carried forward.
#[test]
fn what_is_to_be_carried_is_fetched_together() {
    let (mut hand, mut disk) = with_disk(spec("files", true));
    for first in [0, 20, 40, 60] {
        mixed(&mut hand, &mut disk, first, |_| 50_000);
    }
    hand.tell(Event::Passed { epoch: Epoch(1), lane: Lane::Retry, offset: Offset(100_000) });
    let carried = hand.letters();
    assert!(!carried.is_empty() && carried.iter().all(|letter| letter.to == Destination::Tail));
    let read = fetches(&mut hand).len();
    assert!(read > 5, "{read} beside {} that are in memory", carried.len());
}
