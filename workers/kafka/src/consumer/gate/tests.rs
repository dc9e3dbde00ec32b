use super::*;

const MIB: u64 = 1024 * 1024;
const LIMIT: u64 = 48 * MIB;
/// Three copies are five sixths of the budget.
const BIG: usize = 40 * MIB as usize / COPIES as usize;
/// Three copies are half of it.
const HALF: usize = 24 * MIB as usize / COPIES as usize;

fn gate() -> (Gate, Arc<Budget>) {
    let budget = Budget::new(LIMIT);
    (Gate::new(Arc::clone(&budget)), budget)
}

fn waiting(partition: i32, bytes: usize) -> Waiting {
    let pair = PairId::new("logs.raw", partition);
    Waiting { pair, epoch: Epoch(1), lane: Lane::Input, offset: Offset(7), bytes }
}

fn partitions(entered: &[(Waiting, Charge)]) -> Vec<i32> {
    entered.iter().map(|(waiting, _)| waiting.pair.partition.0).collect()
}

fn ready(_: &Waiting) -> Standing {
    Standing::Ready
}

#[test]
fn a_record_is_large_by_its_share_of_the_budget_but_never_below_a_chunk_of_its_own() {
    let (gate, _) = gate();
    assert!(!gate.is_large(MIB as usize));
    assert!(gate.is_large(MIB as usize + 1));
    let tiny = Gate::new(Budget::new(MIB));
    assert!(!tiny.is_large(LARGE_RECORD_BYTES));
    assert!(tiny.is_large(LARGE_RECORD_BYTES + 1));
}

/// Scenario: 64 partitions each bring a large record at once. Guarantee: only what fits is in, all the others come in, one after
/// the other and in their order.
#[test]
fn many_at_once_come_in_one_after_the_other() {
    let (mut gate, budget) = gate();
    let now = Instant::now();
    let mut inside = gate.enter(None, BIG);
    assert!(inside.is_some());
    for partition in 0..64 {
        assert!(gate.enter(None, BIG).is_none(), "no room for a second one");
        gate.wait(waiting(partition, BIG), now);
    }
    assert_eq!(budget.large_waiting(), 64);
    for partition in 0..64 {
        assert!(gate.turn(now, ready).is_empty(), "the one before is inside");
        assert_eq!(budget.used(), footprint(BIG));
        drop(inside.take());
        let entered = gate.turn(now, ready);
        assert_eq!(partitions(&entered), [partition]);
        inside = entered.into_iter().next().map(|(_, charge)| charge);
    }
    assert_eq!((gate.waiting(), budget.large_waiting()), (0, 0));
    assert!(!gate.holds_back());
}

#[test]
fn several_are_in_at_once_when_they_fit() {
    let (mut gate, budget) = gate();
    let inside = [gate.enter(None, HALF), gate.enter(None, HALF)];
    assert!(inside.iter().all(Option::is_some));
    assert_eq!(budget.available(), 0);
    assert!(gate.enter(None, HALF).is_none());
}

/// Scenario: a record that no budget could ever hold. Guarantee: it goes in as soon as next to nothing else is at work.
#[test]
fn what_never_fits_goes_in_alone() {
    let (mut gate, budget) = gate();
    let now = Instant::now();
    let huge = 10 * LIMIT as usize;
    let small = budget.charge(LIMIT / UNUSED_SHARE + 1);
    assert!(gate.enter(None, huge).is_none());
    gate.wait(waiting(0, huge), now);
    assert!(gate.turn(now, ready).is_empty());
    drop(small);
    let _a_little = budget.charge(LIMIT / UNUSED_SHARE);
    assert_eq!(partitions(&gate.turn(now, ready)), [0]);
}

/// Scenario: the first in the line does not fit yet, smaller ones behind it and fresh ones do. Guarantee: none overtakes.
#[test]
fn nobody_overtakes() {
    let (mut gate, budget) = gate();
    let now = Instant::now();
    let inside = budget.charge(LIMIT / 2);
    gate.wait(waiting(0, BIG), now);
    gate.wait(waiting(1, HALF), now);
    assert!(gate.turn(now, ready).is_empty());
    assert!(gate.enter(None, HALF).is_none(), "a fresh one waits behind the line, though it would fit");
    drop(inside);
    assert_eq!(partitions(&gate.turn(now, ready)), [0]);
}

/// Scenario: the first in the line waits for records of its own partition, say behind a held sink. Guarantee: it neither holds
/// others up nor loses its place; one that is gone leaves the line.
#[test]
fn who_is_busy_keeps_the_place_and_holds_nobody_up() {
    let (mut gate, budget) = gate();
    let now = Instant::now();
    let inside = budget.charge(LIMIT);
    gate.wait(waiting(0, BIG), now);
    assert!(gate.holds_back());
    let busy = |waiting: &Waiting| match waiting.pair.partition.0 {
        0 => Standing::Busy,
        1 => Standing::Gone,
        _ => Standing::Ready,
    };
    assert!(gate.turn(now, busy).is_empty());
    assert!(!gate.holds_back());
    gate.wait(waiting(1, BIG), now);
    gate.wait(waiting(2, BIG), now);
    gate.turn(now, busy);
    assert!(gate.holds_back(), "partition 2 waits for room");
    assert_eq!(gate.waiting(), 2);
    drop(inside);
    assert_eq!(partitions(&gate.turn(now, busy)), [2]);
    assert_eq!(partitions(&gate.turn(now, ready)), [0]);
}

#[test]
fn room_that_was_kept_is_used_if_it_is_enough() {
    let (mut gate, budget) = gate();
    let now = Instant::now();
    let _full = budget.charge(LIMIT);
    gate.wait(waiting(0, BIG), now);
    let kept = budget.charge(footprint(BIG));
    let charge = gate.enter(Some(kept), BIG).unwrap();
    assert_eq!(charge.bytes(), footprint(BIG));
    assert!(gate.enter(Some(charge), BIG + 1).is_none(), "another record than the one it was kept for");
    assert_eq!(budget.used(), LIMIT);
}

/// Scenario: half of the budget is held for minutes, and a large record waits. Guarantee: the others stand still as long as room
/// is given back, go on when none is, and stand still again after a while, longer each time, until it was let in.
#[test]
fn others_go_on_while_nothing_is_given_back() {
    let (mut gate, budget) = gate();
    let began = Instant::now();
    let at = |seconds: u64| began + Duration::from_secs(seconds);
    let (stuck, moving) = (budget.charge(LIMIT / 2), budget.charge(LIMIT / 4));
    gate.wait(waiting(0, BIG), began);
    gate.turn(at(1), ready);
    assert!(gate.holds_back());
    drop(moving);
    gate.turn(at(2), ready);
    gate.turn(at(3), ready);
    assert!(gate.holds_back(), "room was given back a second ago");
    gate.turn(at(4), ready);
    assert!(!gate.holds_back(), "nothing for two seconds");
    let moving = budget.charge(LIMIT / 4);
    gate.turn(at(13), ready);
    assert!(!gate.holds_back());
    gate.turn(at(14), ready);
    assert!(gate.holds_back(), "tried again after ten seconds");
    drop(moving);
    gate.turn(at(15), ready);
    gate.turn(at(18), ready);
    assert!(gate.holds_back(), "twice the patience");
    gate.turn(at(19), ready);
    assert!(!gate.holds_back());
    drop(stuck);
    assert_eq!(partitions(&gate.turn(at(20), ready)), [0], "room is taken whenever it is there");
    gate.wait(waiting(1, BIG), at(21));
    let _stuck = budget.charge(LIMIT);
    gate.turn(at(21), ready);
    gate.turn(at(23), ready);
    assert!(!gate.holds_back(), "the patience is that of the beginning again");
}
