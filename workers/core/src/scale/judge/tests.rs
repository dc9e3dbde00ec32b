//! What is needed, its bounds and its damping, at their edges.

use super::super::PartitionLook;
use super::super::measure::Paced;
use super::*;
use crate::PairId;

const POLICY: Policy =
    Policy { drain: Duration::from_secs(60), min: 0, max: None, down_after: Duration::from_secs(120) };

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

/// A group at this second, with so many members.
fn look(seconds: u64, members: u32) -> Look {
    Look { at: at(seconds), members, rebalancing: false, partitions: Vec::new() }
}

/// A partition with a backlog that is worked off.
fn moving(backlog: u64) -> Moving {
    Moving { backlog, rate: 0.0, arrival: 0.0, held: false, stands: false, busy: false }
}

/// Asked for so many pods before.
fn asked(pods: u32) -> Scaler {
    Scaler { asked: Some(pods), ..Scaler::new(POLICY) }
}

fn need(pods: f64, cause: Cause) -> Need {
    Need::of(pods, cause, "asked".to_owned())
}

fn told(need: &Need) -> (f64, Cause) {
    (need.pods, need.cause)
}

/// Guarantee: partitions without an answer to how long are told apart: nothing behind takes no time, nothing that moves takes no known time.
#[test]
fn a_backlog_is_gone_after_its_length_by_the_rate() {
    for (backlog, rate, seconds) in [(0, 0.0, Some(0.0)), (300, 20.0, Some(15.0)), (300, 0.0, None)] {
        let answer = asked(1).answer(need(1.0, Cause::Demand), &[Moving { rate, ..moving(backlog) }]);
        assert_eq!((answer.lag, answer.drain_seconds), (backlog, seconds));
    }
}

/// Guarantee: pods are needed for what arrives, at nine tenths of what they can, and for the backlog within its time.
#[test]
fn demand_is_what_arrives_and_the_backlog() {
    let arrives = Moving { arrival: 45.0, ..moving(0) };
    assert_eq!(told(&asked(0).demand(&[arrives; 10], 100.0)), (5.0, Cause::Demand));
    assert_eq!(told(&asked(0).demand(&[moving(3_000); 10], 100.0)), (5.0, Cause::Demand));
}

/// Scenario: pods of 100/s, so that 6,000 records are one pod's in the time there is. Guarantee: a partition that would take longer alone is why no more
/// pods are called, unless all do, or others need more than one pod beside it.
#[test]
fn skew_is_few_partitions_with_more_than_a_pod_can_do() {
    for (backlogs, cause) in [
        (vec![7_000, 0, 0, 0], Cause::Skew),
        (vec![7_000, 1_200, 1_200, 0], Cause::Skew),
        (vec![7_000, 4_200, 4_200, 0], Cause::Demand),
        (vec![3_000, 3_000, 6_000, 0], Cause::Demand),
        (vec![1_200, 1_200, 0, 0], Cause::Demand),
        (vec![7_000, 7_000, 7_000, 7_000], Cause::Demand),
    ] {
        let seen: Vec<Moving> = backlogs.iter().copied().map(moving).collect();
        assert_eq!(asked(0).demand(&seen, 100.0).cause, cause, "{backlogs:?}");
    }
}

/// Scenario: a partition is behind and held, or stands, and the others have nothing to do. Guarantee: that is the cause, and is told.
#[test]
fn what_has_nothing_to_do_does_not_move() {
    let (held, stands) = (Moving { held: true, ..moving(50) }, Moving { stands: true, ..moving(50) });
    for (behind, cause) in [(held, Cause::Held), (stands, Cause::Stuck)] {
        let mut scaler = asked(2);
        scaler
            .capacity
            .learn(&Paced { members: 2, rate: 20.0, per_pod: 10.0, busy: true, keeps_up: false }, at(0));
        let need = scaler.need(&look(10, 2), &[behind, moving(0), moving(0)]);
        assert_eq!(told(&need), (2.0, cause));
    }
}

/// Guarantee: only what is behind and does not move is told of, not what is held and has nothing to do.
#[test]
fn what_stands_still_is_counted() {
    let held = Moving { held: true, ..moving(0) };
    let stands = Moving { stands: true, ..moving(1) };
    assert_eq!(still(&[moving(5), held]), "");
    assert!(still(&[moving(5), held, stands]).starts_with("; 1 partition stands"));
    assert!(still(&[stands, stands]).starts_with("; 2 partitions stand"));
}

/// Scenario: 12 partitions. Guarantee: where the fullest pod would have more than it can, it takes as many as give it a partition less. As many as
/// there are, or more, may be full to a ninth above the rate that they are planned with, fewer may not.
#[test]
fn whole_partitions_are_dealt_out() {
    for (pods, asked, packs) in
        [(6.5, 0, 6.5), (6.9, 0, 12.0), (6.5, 7, 6.5), (6.5, 10, 10.0), (12.0, 0, 12.0)]
    {
        assert_eq!(packed(pods, 12, asked).to_bits(), f64::to_bits(packs), "{pods} of {asked}");
    }
}

/// Scenario: 8 partitions. Guarantee: the cause is what bounds, and only where it does.
#[test]
fn bounds_are_told_where_they_bound() {
    for (max, (pods, cause), bounded) in [
        (None, (2.5, Cause::Demand), (2.5, Cause::Demand)),
        (None, (8.0, Cause::Demand), (8.0, Cause::Partitions)),
        (None, (8.0, Cause::Fresh), (8.0, Cause::Fresh)),
        (None, (9.0, Cause::Fresh), (8.0, Cause::Partitions)),
        (Some(8), (9.0, Cause::Fresh), (8.0, Cause::Partitions)),
        (Some(9), (9.0, Cause::Fresh), (8.0, Cause::Partitions)),
        (Some(3), (9.0, Cause::Fresh), (3.0, Cause::Max)),
    ] {
        let mut scaler = Scaler::new(Policy { max, ..POLICY });
        let easy = Paced { members: 8, rate: 800.0, per_pod: 100.0, busy: false, keeps_up: true };
        scaler.capacity.learn(&easy, at(0));
        let need = scaler.bounded(need(pods, cause), &look(10, 8), &[moving(1); 8]);
        assert_eq!(told(&need), bounded, "{max:?} {pods} {cause:?}");
        let names_the_setting = need.reason.contains("`scale.max` allows 3");
        assert_eq!(names_the_setting, need.cause == Cause::Max, "{}", need.reason);
    }
}

/// Scenario: two pods reach what the sinks take. Guarantee: that bounds who needs more, and not who needs just so many.
#[test]
fn what_the_sinks_take_bounds_who_needs_more() {
    for (pods, bounded) in [(2.0, (2.0, Cause::Fresh)), (2.5, (2.0, Cause::Sink))] {
        let mut scaler = Scaler::new(POLICY);
        for (members, rate) in [(2, 200.0), (4, 200.0)] {
            let per_pod = rate / f64::from(members);
            scaler.capacity.learn(&Paced { members, rate, per_pod, busy: true, keeps_up: false }, at(0));
        }
        assert_eq!(told(&scaler.bounded(need(pods, Cause::Fresh), &look(10, 4), &[moving(1); 8])), bounded);
    }
}

/// Guarantee: nobody is called for a tenth more, unless it is up to a bound or from nothing; whole pods are called.
#[test]
fn few_more_are_not_worth_a_rebalance() {
    for (before, (pods, cause), then) in [
        (20, (21.5, Cause::Demand), (20.0, Cause::Steady)),
        (20, (22.0, Cause::Demand), (20.0, Cause::Steady)),
        (20, (22.1, Cause::Demand), (23.0, Cause::Demand)),
        (20, (22.0, Cause::Skew), (20.0, Cause::Steady)),
        (20, (20.5, Cause::Min), (21.0, Cause::Min)),
        (20, (19.5, Cause::Demand), (20.0, Cause::Demand)),
        (0, (0.2, Cause::Demand), (1.0, Cause::Demand)),
    ] {
        let damped = asked(before).damped(need(pods, cause), &look(0, before), Duration::ZERO);
        assert_eq!(told(&damped), then, "{before} to {pods} for {cause:?}");
    }
}

/// Guarantee: a group that deals out keeps its pods for less than a minute, and one without pods is not kept without.
#[test]
fn a_rebalance_holds_for_a_minute() {
    for (before, seconds, then) in
        [(2, 59, (2.0, Cause::Rebalance)), (2, 60, (5.0, Cause::Demand)), (0, 1, (5.0, Cause::Demand))]
    {
        let mut scaler = Scaler { rebalancing_since: Some(at(0)), ..asked(before) };
        let damped = scaler.damped(need(5.0, Cause::Demand), &look(seconds, before), Duration::ZERO);
        assert_eq!(told(&damped), then, "{before} after {seconds} s");
    }
}

/// Scenario: twenty pods; the most that was needed within two minutes, and what is needed now. Guarantee: fewer are asked for after two minutes without a break,
/// as many as the most needs, and not for less than 15 in a hundred.
#[test]
fn fewer_are_asked_for_late_and_when_it_is_worth_it() {
    for (watched, most, now, then) in [
        (119, 10.0, 10.0, (20.0, Cause::Watching)),
        (120, 10.0, 10.0, (10.0, Cause::Demand)),
        (120, 19.5, 10.0, (20.0, Cause::Cooling)),
        (120, 17.1, 10.0, (20.0, Cause::Steady)),
        (120, 17.0, 10.0, (17.0, Cause::Demand)),
        (120, 14.2, 10.1, (15.0, Cause::Demand)),
        (120, 0.0, 0.0, (0.0, Cause::Demand)),
    ] {
        let mut scaler = asked(20);
        scaler.most_needed(at(0), most);
        let damped = scaler.damped(need(now, Cause::Demand), &look(60, 20), Duration::from_secs(watched));
        assert_eq!(told(&damped), then, "{watched} s, {most} and {now}");
    }
}

/// Guarantee: what was needed counts for just as long as the file says.
#[test]
fn what_was_needed_is_forgotten_after_its_time() {
    for (seconds, most) in [(120, 5.0), (121, 2.0)] {
        let mut scaler = asked(5);
        scaler.most_needed(at(0), 5.0);
        assert!((scaler.most_needed(at(seconds), 2.0) - most).abs() < f64::EPSILON, "after {seconds} s");
    }
}

/// Looks every five seconds at four pods that keep up with 100/s in each of eight partitions; `backlog` comes with the last one.
fn keeps_up(scaler: &mut Scaler, from: u64, backlog: u64) -> Answer {
    let partitions = |second: u64, backlog: u64| {
        let one = |number| PartitionLook {
            pair: PairId::new("in", number),
            end: (second * 100) as i64,
            backlog,
            waiting: 0,
            held: false,
        };
        (0..8).map(one).collect()
    };
    for second in (from..from + 200).step_by(5) {
        let _ = scaler.look(&Look { partitions: partitions(second, 0), ..look(second, 4) });
    }
    let last = from + 200;
    scaler.look(&Look { partitions: partitions(last, backlog), ..look(last, 4) }).unwrap()
}

/// Scenario: four pods keep up. Guarantee: when none was seen at its limit, two are tried; not when a backlog came, and not when it is known what a pod can do.
#[test]
fn half_of_those_that_keep_up_are_tried() {
    let mut fresh = Scaler::new(POLICY);
    let answer = keeps_up(&mut fresh, 0, 0);
    assert_eq!((answer.pods, answer.cause), (2, Cause::Demand), "{answer:?}");
    let behind = keeps_up(&mut Scaler::new(POLICY), 0, 90_000);
    assert!(!behind.reason.contains("half of them"), "{behind:?}");
    let mut known = Scaler::new(POLICY);
    known
        .capacity
        .learn(&Paced { members: 4, rate: 800.0, per_pod: 200.0, busy: true, keeps_up: false }, at(0));
    let answer = keeps_up(&mut known, 0, 0);
    assert!(!answer.reason.contains("half of them"), "{answer:?}");
}
