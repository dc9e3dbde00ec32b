//! What a measurement makes of what is known, at its edges.

use super::*;

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

/// So many pods that each have more to do than they can.
fn busy(members: u32, rate: f64) -> Paced {
    Paced { members, rate, per_pod: rate / f64::from(members), busy: true, keeps_up: false }
}

/// So many pods of which some wait for work.
fn easy(members: u32, rate: f64) -> Paced {
    Paced { busy: false, ..busy(members, rate) }
}

/// One after the other, each half a minute later.
fn learned(measured: &[Paced]) -> Capacity {
    let mut capacity = Capacity::default();
    for (number, paced) in (0..).zip(measured) {
        capacity.learn(paced, at(30 * number));
    }
    capacity
}

/// Two pods that do no more than one did: from second 30 on there is a limit of 100 a second.
fn limited() -> Capacity {
    learned(&[busy(1, 100.0), busy(2, 100.0)])
}

/// Guarantee: what pods do that wait for work is a lower bound, under load it is what they can do, and that moves by a quarter of each
/// measurement; pods that do nothing tell nothing.
#[test]
fn what_a_pod_can_do_is_learned_under_load() {
    let known = |measured: &[Paced]| {
        let capacity = learned(measured);
        (capacity.per_pod(), capacity.is_loaded())
    };
    assert_eq!(known(&[easy(2, 0.0)]), (None, false));
    assert_eq!(known(&[easy(2, 200.0), easy(2, 100.0)]), (Some(100.0), false));
    assert_eq!(known(&[busy(2, 200.0)]), (Some(100.0), true));
    assert_eq!(known(&[busy(2, 200.0), busy(2, 400.0)]), (Some(125.0), true));
}

/// Guarantee: more pods helped when they brought two fifths of their share; else what fewer reached is the limit, and a quarter of a pod is noise.
#[test]
fn more_pods_have_to_bring_two_fifths_of_their_share() {
    // Members and their rate, then those that came and the rate with them, and how many pods reach the limit.
    let edges = [
        ((1, 100.0), (2, 139.0), Some(2)),
        ((1, 100.0), (2, 140.0), None),
        ((1, 100.0), (4, 219.0), Some(2)),
        ((1, 100.0), (4, 221.0), None),
        ((2, 200.0), (4, 224.0), Some(2)),
        ((2, 200.0), (4, 226.0), Some(3)),
        // Whoever did not call for more learns of no limit, however slow the fleet becomes.
        ((2, 200.0), (2, 90.0), None),
    ];
    for ((members, rate), (more, brought), pods) in edges {
        let limit = learned(&[busy(members, rate), busy(more, brought)]).limit();
        assert_eq!(limit.map(|limit| limit.pods), pods, "{members} did {rate}, {more} do {brought}");
    }
}

/// Guarantee: what a fleet did is compared with for less than a quarter of an hour.
#[test]
fn what_a_fleet_did_long_ago_is_nothing_to_compare_with() {
    for (seconds, found) in [(899, true), (900, false)] {
        let mut capacity = learned(&[busy(1, 100.0)]);
        capacity.learn(&busy(2, 100.0), at(seconds));
        assert_eq!(capacity.limit().is_some(), found, "after {seconds} s");
    }
}

/// Guarantee: a limit is believed for ten minutes, under load and without, and not by a fleet that is three tenths quicker.
#[test]
fn a_limit_holds_for_its_time_and_for_a_fleet_that_is_hardly_quicker() {
    // Seconds, the rate then, and the limit's rate after it; under load a limit may be found anew.
    for (seconds, rate, kept) in [(629, 129.0, true), (629, 131.0, false), (630, 90.0, false)] {
        let mut capacity = limited();
        capacity.learn(&easy(2, rate), at(seconds));
        assert_eq!(capacity.limit().is_some(), kept, "{rate}/s after {seconds} s");
    }
    for (seconds, rate, left) in [(629, 129.0, 100.0), (629, 131.0, 131.0), (630, 129.0, 129.0)] {
        let mut capacity = limited();
        capacity.learn(&busy(2, rate), at(seconds));
        assert_eq!(
            capacity.limit().map(|limit| limit.rate),
            Some(left),
            "{rate}/s after {seconds} s under load"
        );
    }
}

/// Guarantee: each time that a limit is found again it is believed for twice as long, for an hour at most.
#[test]
fn a_limit_that_is_found_again_is_believed_for_longer() {
    let (mut capacity, mut now) = (Capacity::default(), 0);
    for believed in [600, 1_200, 2_400, 3_600, 3_600] {
        capacity.learn(&busy(1, 100.0), at(now));
        capacity.learn(&busy(2, 100.0), at(now));
        now += believed;
        capacity.learn(&busy(2, 100.0), at(now - 1));
        assert!(capacity.limit().is_some(), "{believed} s");
        capacity.learn(&busy(1, 100.0), at(now));
        assert!(capacity.limit().is_none(), "{believed} s");
    }
}

/// Scenario: four pods did 100 a second each. Guarantee: when a pod does less than three fifths of that, or the fleet less than three quarters of
/// what it did, a quarter more pods are the most to ask for at once; else twice what was seen.
#[test]
fn a_fleet_that_fell_back_grows_by_small_steps() {
    for (per_pod, rate, step) in [(60.0, 300.0, 9), (59.0, 400.0, 5), (100.0, 299.0, 5)] {
        let capacity = learned(&[busy(4, 400.0), Paced { per_pod, ..busy(4, rate) }]);
        assert_eq!(capacity.step(4), step, "{per_pod} a pod, {rate} in all");
    }
    // Fewer pods do less in all, and have not fallen back.
    assert_eq!(learned(&[busy(8, 800.0), busy(4, 400.0)]).step(4), 16);
}

/// Guarantee: a fleet under suspicion grows by a quarter, by one at least, once those that came last were judged; from nothing it grows as others do.
#[test]
fn a_suspected_fleet_grows_by_a_quarter() {
    let suspected = |members: u32| {
        let rate = 100.0 * f64::from(members);
        learned(&[busy(members, rate), busy(members, rate / 2.0)])
    };
    for (members, step) in [(1, 2), (4, 5), (8, 10), (11, 13)] {
        assert_eq!(suspected(members).step(members), step, "{members}");
    }
    assert_eq!(suspected(4).step(6), 6, "two came that nobody has judged");
    assert_eq!(suspected(4).step(0), 10, "none are there: what was proven, twice");
}

/// Guarantee: suspicion stays until the fleet keeps up, and does not come of pods that wait for work.
#[test]
fn suspicion_ends_when_the_fleet_keeps_up() {
    let fell = [busy(4, 400.0), busy(4, 200.0)];
    let keeps_up = Paced { keeps_up: true, ..easy(4, 200.0) };
    assert_eq!(learned(&[fell[0], fell[1], easy(4, 200.0)]).step(4), 5);
    assert_eq!(learned(&[fell[0], fell[1], keeps_up]).step(4), 10);
    assert_eq!(learned(&[fell[0], easy(4, 200.0)]).step(4), 8);
}
