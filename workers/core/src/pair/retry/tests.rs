//! The lane's own accounts, without the pair around it.

use super::*;
use crate::TopicName;

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
    lane.note_finished(&RunSet::default());
    assert_eq!(lane.commits.repeating(), Some(0));
    lane.note_finished(&RunSet::collect(vec![(5, 6), (8, 9)]));
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
