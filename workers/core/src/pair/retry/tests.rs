//! The lane's own accounts, without the pair around it.

use std::sync::Arc;

use super::*;
use crate::pair::careful::Careful;
use crate::pair::segments::SinkState;
use crate::pair::suspects::Trial;
use crate::pair::tests::{options, spec};
use crate::{ChunkBuilder, KeyHash, Lane, PairId, SinkIndex, TopicName};

/// A lane that has read so many copies, none of which is settled.
pub(super) fn with_copies(copies: i64, repeats: bool) -> RetryLane {
    let topic = TopicName::new("in.p.retry");
    let assignment =
        RetryAssignment { topic, committed: None, log_start: Offset(0), log_end: Offset(copies) };
    let mut lane = RetryLane::new(Epoch(1), &assignment, repeats);
    for copy in 0..copies {
        assert_eq!(lane.tracker.admit(Offset(copy), &mut lane.open), Some(Offset(copy)));
    }
    lane
}

fn runs(first: i64, end: i64) -> RunSet {
    RunSet::of(Offset(first), Offset(end))
}

/// Scenario: copies of records before, at and behind the offset that is committed are through. Guarantee: only the first one settles; a commit
/// at an offset does not cover its record (rule 5).
#[test]
fn a_commit_covers_what_lies_below_it() {
    let mut lane = with_copies(3, false);
    for (copy, origin) in [(0, 4), (1, 5), (2, 6)] {
        lane.settle(Offset(origin), Offset(copy), Offset(5));
    }
    let mut open = Vec::new();
    for covered in [5, 6, 7] {
        lane.cover(Offset(covered));
        open.push(lane.tracker.open().clone());
    }
    assert_eq!(open, [runs(1, 3), runs(2, 3), RunSet::default()]);
}

/// Scenario: the same of copies that joined their records, which are published together. Guarantee: as above.
#[test]
fn a_commit_covers_what_joined_below_it() {
    let mut lane = with_copies(3, false);
    for (copy, origin) in [(0, 4), (1, 5), (2, 6)] {
        lane.join(Offset(origin), Offset(copy));
    }
    lane.settle_joined(&runs(4, 7), Offset(5));
    assert!(!lane.has_joined());
    assert_eq!(lane.tracker.open(), &runs(1, 3));
    lane.cover(Offset(7));
    assert!(lane.tracker.open().is_empty());
}

/// Scenario: a record turns out to be none of these copies', which were settled and wait for a commit. Guarantee: they are given back once, and
/// those of other records are not.
#[test]
fn what_waits_for_a_commit_is_taken_by_its_record() {
    let mut lane = with_copies(4, false);
    for (copy, origin) in [(0, 5), (1, 4), (2, 5), (3, 6)] {
        lane.settle(Offset(origin), Offset(copy), Offset(0));
    }
    assert_eq!(lane.take_uncovered(Offset(5)), [Offset(0), Offset(2)]);
    assert_eq!(lane.take_uncovered(Offset(5)), []);
    lane.cover(Offset(10));
    assert_eq!(lane.tracker.open(), &RunSet::collect(vec![(0, 1), (2, 3)]));
}

/// Scenario: records of which a sink without a ledger has rows finish. Guarantee: their copies, and no others, count as what that sink may get twice.
#[test]
fn finished_copies_may_come_twice_until_they_are_committed() {
    let mut lane = with_copies(4, true);
    for (copy, origin) in [(0, 5), (1, 5), (2, 6), (3, 8)] {
        lane.join(Offset(origin), Offset(copy));
    }
    lane.note_sent(&RunSet::default());
    assert_eq!(lane.commits.repeating(), Some(0));
    lane.note_sent(&RunSet::collect(vec![(5, 6), (8, 9)]));
    assert_eq!(lane.commits.repeating(), Some(3));
}

/// Guarantee: a commit is under way when something settled, and when a stray is fetched whose letter the input's commit waits for.
#[test]
fn a_settled_copy_and_a_fetched_stray_are_commits_under_way() {
    let mut lane = with_copies(2, false);
    assert!(!lane.is_committing());
    lane.fetch_of_topic(Offset(9), Offset(1), fetch::Why::Sort);
    assert!(!lane.is_committing(), "what is only to be looked at");
    lane.fetch_of_topic(Offset(9), Offset(1), fetch::Why::Stray("holds another record"));
    assert!(lane.is_committing());
    let mut lane = with_copies(2, false);
    lane.settle_now(Offset(0));
    assert!(lane.is_committing());
}

/// Scenario: records wait, and of others the decided letter is sent again. Guarantee: both are what the lane has, in order, up to an end that is not
/// one of them; and what settles meanwhile of the latter is not their copy.
#[test]
fn what_waits_and_what_is_lettered_again_is_what_the_lane_has() {
    let mut lane = with_copies(4, false);
    for (origin, copy) in [(4, 0), (6, 1), (8, 2)] {
        lane.index.insert(Copy::new(Offset(origin), Offset(copy), 1, 0));
    }
    for origin in [5, 8, 9] {
        lane.relettering.insert(Offset(origin), 0);
    }
    assert_eq!(lane.waiting_in(Offset(4), Offset(8)), [Offset(4), Offset(5), Offset(6)]);
    assert_eq!(lane.waiting_in(Offset(7), Offset(9)), [Offset(8)]);
    assert!(lane.has(Offset(6)) && lane.has(Offset(9)) && !lane.has(Offset(7)));
    let mut origins = runs(3, 10);
    lane.subtract_relettering(&mut origins);
    assert_eq!(origins, RunSet::collect(vec![(3, 5), (6, 8)]));
}

/// A pair that runs and has this lane and no sinks.
fn pair(lane: RetryLane) -> Pair {
    let mut pair = Pair::new(Arc::new(options(Vec::new())), PairId::new("in", 0));
    pair.phase = Phase::Running;
    pair.own.retry = Some(lane);
    pair
}

/// The copy with its payload in the lane's memory.
fn with_payload(lane: &mut RetryLane, copy: Copy) -> Copy {
    let mut chunk = ChunkBuilder::new(PairId::new("in", 0), Lane::Retry, Epoch(1));
    chunk.record(copy.offset, 5, None, Some(b"value"));
    let place = lane.payloads.insert(&chunk.build(None));
    lane.payloads.need(place, 1);
    lane.payloads.sorted(place);
    copy.placed(place, 0)
}

/// What is known after so many crashes, while the copies of these records may be tried.
fn after_crashes(crashes: u32, first: i64, end: i64) -> Careful {
    let found = Metadata { takeovers: crashes - 1, ..Metadata::default() };
    let mut careful = Careful::new(&found, false, 10, Offset(0), true);
    let until = Some(Moment::default());
    careful.trial = Some(Trial { first: Offset(first), end: Offset(end), until, noted: true });
    careful
}

/// Scenario: there is no room for payloads. Guarantee: the lane goes back for a stray all the same, whose letter the input's commit waits for, and for nothing
/// else.
#[test]
fn a_stray_is_fetched_without_room() {
    for (why, goes) in [(fetch::Why::Stray("holds another record"), true), (fetch::Why::Sort, false)] {
        let mut lane = with_copies(1, false);
        let copy = with_payload(&mut lane, Copy::new(Offset(4), Offset(0), 1, 0));
        lane.payloads.hold(copy.chunk());
        lane.fetch_of_topic(Offset(9), Offset(0), why);
        let mut options = options(Vec::new());
        options.window.bytes = 0;
        let mut pair = pair(lane);
        pair.options = Arc::new(options);
        assert_eq!(pair.next_reading(), goes.then(Moment::default), "{why:?}");
    }
}

/// Scenario: a pair stops while a record waits for its turn and a stray is to be fetched, which nobody reads any more. Guarantee: it lets go; without the stray it
/// would wait for the record.
#[test]
fn a_stop_waits_for_no_stray() {
    for stray in [true, false] {
        let mut lane = with_copies(2, false);
        if stray {
            lane.fetch_of_topic(Offset(9), Offset(1), fetch::Why::Stray("holds another record"));
        }
        let (mut pair, mut actions) = (pair(lane), Vec::new());
        pair.phase = Phase::Draining;
        pair.own.scheduler.push(Copy::new(Offset(4), Offset(0), 1, 0).entry());
        pair.release_when_done(&mut actions);
        assert_eq!(matches!(actions.last(), Some(Action::Released { .. })), stray);
    }
}

/// Scenario: a copy outranked another one of its record, and turns out to be nobody's. Guarantee: the other one is a stray as well where the input lane has not met
/// the record, and stays what it was where it has.
#[test]
fn what_a_stray_outranked_is_one_until_the_record_is_met() {
    for (position, left) in [(4, 0), (5, 1)] {
        let mut lane = with_copies(2, false);
        lane.settle(Offset(4), Offset(0), Offset(0));
        let copy = with_payload(&mut lane, Copy::new(Offset(4), Offset(1), 2, 0));
        let mut pair = pair(lane);
        pair.own.tracker.pass_to(Offset(position));
        pair.stray(Offset(4), &copy, "holds another record", &mut Vec::new());
        let lane = pair.own.retry.as_mut().unwrap();
        assert_eq!(lane.take_uncovered(Offset(4)).len(), left, "at {position}");
    }
}

/// Scenario: a record's row waits in a segment for its publish, and a copy of it is read. Guarantee: a copy of the same bytes settles with the row; a replay, whose bytes may
/// be others, waits for what becomes of that row.
#[test]
fn a_copy_of_what_waits_for_its_publish_joins_it() {
    for (replays, joined, later) in [(0, true, 0), (1, false, 1)] {
        let mut lane = with_copies(2, false);
        let copy = with_payload(&mut lane, Copy::new(Offset(4), Offset(0), 1, replays));
        let mut sink = SinkState::new(SinkIndex(0), &spec("files", true), Offset(0));
        sink.open.finished = runs(4, 5);
        let mut pair = pair(lane);
        pair.own.sinks = vec![sink];
        pair.place_copy(Offset(4), copy, true, &mut Vec::new());
        let lane = pair.own.retry.as_ref().unwrap();
        assert_eq!((lane.joined.contains_key(&Offset(4)), lane.later.len()), (joined, later), "{replays}");
    }
}

/// Scenario: a replay waits for what becomes of older bytes of its record, and these have passed. Guarantee: it settles with them, unless a sink with a ledger
/// lacks the record.
#[test]
fn a_replay_settles_with_what_passed_unless_a_ledger_lacks_it() {
    for (sink, settles) in
        [(None, true), (Some(spec("topic", false)), true), (Some(spec("files", true)), false)]
    {
        let mut lane = with_copies(2, false);
        let copy = with_payload(&mut lane, Copy::new(Offset(4), Offset(1), 1, 1));
        lane.keep_for_later(Offset(4), copy);
        let mut pair = pair(lane);
        pair.own.sinks = sink.iter().map(|spec| SinkState::new(SinkIndex(0), spec, Offset(0))).collect();
        pair.replays_passed([&runs(4, 5), &RunSet::default()]);
        let waits = pair.own.retry.as_ref().unwrap().later.len();
        assert_eq!(waits == 0, settles, "{sink:?}");
    }
}

/// Scenario: a copy had no room. Guarantee: after a crash, when only a range is tried, the pair is woken at once where nothing is in use whose end makes room; and
/// neither otherwise nor without a crash, where what is due wakes it.
#[test]
fn a_range_that_starves_wakes_where_nobody_makes_room() {
    for (crashed, starved, in_use, wakes) in [
        (true, true, false, true),
        (true, true, true, false),
        (true, false, false, false),
        (false, true, false, false),
    ] {
        let mut lane = with_copies(2, false);
        if in_use {
            let copy = with_payload(&mut lane, Copy::new(Offset(4), Offset(0), 1, 0));
            lane.payloads.hold(copy.chunk());
        }
        lane.fetches.starved = starved;
        let mut pair = pair(lane);
        if crashed {
            pair.own.careful = after_crashes(1, 0, 9);
        }
        let what = format!("crashed {crashed}, starved {starved}, in use {in_use}");
        assert_eq!(pair.next_retry_due(), wakes.then(Moment::default), "{what}");
    }
}

/// Scenario: records are tried alone after crashes, and one of the range stands behind another of its key, which lies before the range. Guarantee: that one goes in its
/// place, and is counted as such.
#[test]
fn what_goes_in_place_of_one_of_the_range_is_counted() {
    let mut lane = with_copies(2, false);
    for (origin, offset) in [(1, 0), (3, 1)] {
        let copy = Copy::new(Offset(origin), Offset(offset), 1, 0).keyed(Some(KeyHash(7)));
        let copy = with_payload(&mut lane, copy);
        lane.index.insert(copy);
        lane.parking.park(KeyHash(7), Offset(origin));
    }
    let mut pair = pair(lane);
    pair.own.careful = after_crashes(2, 2, 5);
    pair.own.tracker.pass_to(Offset(10));
    pair.queue_due(Moment::default());
    assert_eq!((pair.own.careful.heads, pair.own.scheduler.queued()), (1, 1));
}
