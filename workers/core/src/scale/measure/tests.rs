//! What looks make of partitions and of the fleet, at their edges.

use std::time::Duration;

use super::*;

/// The end of the log and the backlog of each partition.
fn look(seconds: u64, members: u32, partitions: &[(i64, u64)]) -> Look {
    let partition = |(number, (end, backlog)): (i32, &(i64, u64))| PartitionLook {
        pair: PairId::new("in", number),
        end: *end,
        backlog: *backlog,
        waiting: 0,
        held: false,
    };
    Look {
        at: Moment(Duration::from_secs(seconds)),
        members,
        rebalancing: false,
        partitions: (0..).zip(partitions).map(partition).collect(),
    }
}

/// A fleet that was calm for 20 s, the last 10 of which count; for each partition the backlog, and what came and was worked off in a second.
fn moved(members: u32, partitions: &[(i64, i64, i64)]) -> Measure {
    let mut measure = Measure::default();
    for seconds in [0, 10, 20, 22] {
        let seen: Vec<(i64, u64)> = partitions
            .iter()
            .map(|(backlog, arrive, work)| (arrive * seconds, (backlog + (arrive - work) * seconds) as u64))
            .collect();
        measure.look(&look(seconds as u64, members, &seen));
    }
    measure
}

fn pace(members: u32, partitions: &[(i64, i64, i64)]) -> Paced {
    moved(members, partitions).pace().unwrap()
}

/// Guarantee: looks 25 s apart still say what was in between.
#[test]
fn looks_that_lie_far_apart_are_torn() {
    for (seconds, whole) in [(25, true), (26, false)] {
        let mut measure = Measure::default();
        measure.look(&look(0, 1, &[]));
        assert_eq!(measure.look(&look(seconds, 1, &[])), whole, "{seconds} s");
    }
}

/// Guarantee: a fleet has a pace 12 s after the first look that found it calm, and not by the look that it became calm in.
#[test]
fn a_pace_needs_twelve_calm_seconds() {
    let mut measure = Measure::default();
    for (seconds, has) in [(0, false), (6, false), (12, false), (18, true)] {
        measure.look(&look(seconds, 1, &[(seconds as i64, 5)]));
        assert_eq!(measure.pace().is_some(), has, "{seconds} s");
    }
}

/// Guarantee: whoever has more to do than four seconds take is busy; whoever does nothing is not.
#[test]
fn a_partition_is_busy_beyond_four_seconds_of_its_work() {
    for (backlog, rate, busy) in [(40, 10, false), (41, 10, true), (1, 10, false), (5, 0, false)] {
        let seen = moved(1, &[(backlog, rate, rate)]).partitions().unwrap();
        assert_eq!(seen[0].busy, busy, "{backlog} behind at {rate}/s");
    }
}

/// Guarantee: partitions are known by name, wherever a look has them.
#[test]
fn partitions_are_compared_by_name() {
    let mut measure = Measure::default();
    measure.look(&look(0, 1, &[(0, 0), (100, 0), (200, 0)]));
    let mut later = look(20, 1, &[(20, 0), (300, 0), (600, 0)]);
    later.partitions.rotate_left(1);
    measure.look(&later);
    let arrivals: Vec<f64> = measure.partitions().unwrap().iter().map(|one| one.arrival).collect();
    assert_eq!(arrivals, [10.0, 20.0, 1.0]);
}

/// Guarantee: a fleet is busy when all that has work has too much of it and there is some for each pod; then a pod does its share. A partition without
/// work says nothing of that, one that keeps up does.
#[test]
fn a_fleet_is_busy_when_each_pod_has_too_much_to_do() {
    let (behind, keeps_up, idle) = ((1_000, 0, 10), (0, 10, 10), (0, 0, 0));
    let of = |members, partitions: &[_]| {
        let paced = pace(members, partitions);
        (paced.busy, paced.per_pod)
    };
    assert_eq!(of(2, &[behind, behind, idle, idle]), (true, 10.0));
    assert_eq!(of(2, &[behind; 4]), (true, 20.0));
    assert_eq!(of(2, &[behind, idle, idle, idle]), (false, 10.0));
    assert_eq!(of(2, &[behind, behind, keeps_up, idle]), (false, 15.0));
}

/// Scenario: two of four pods have a partition that is behind, and the others keep up. Guarantee: a pod can do what those two do.
#[test]
fn pods_that_are_behind_tell_what_a_pod_can_do() {
    let paced = pace(4, &[(1_000, 0, 10), (1_000, 0, 30), (0, 10, 10), (0, 0, 0)]);
    assert_eq!((paced.rate, paced.per_pod, paced.busy), (50.0, 20.0, false));
}

/// Guarantee: a fleet keeps up when nothing is behind for longer and all of it is four seconds of work.
#[test]
fn a_fleet_keeps_up_with_four_seconds_of_work() {
    for (partitions, keeps_up) in [
        ([(40, 10, 10), (0, 0, 0)], true),
        ([(39, 10, 10), (2, 0, 0)], false),
        // It is behind alone, and not much for both.
        ([(41, 10, 10), (0, 90, 90)], false),
    ] {
        assert_eq!(pace(2, &partitions).keeps_up, keeps_up, "{partitions:?}");
    }
}
