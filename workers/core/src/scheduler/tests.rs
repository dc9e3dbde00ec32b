//! The scheduler against plain queues.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

mod edges;

fn entry(offset: i64, key: Option<u64>) -> Entry {
    // Keys of real records are hashes; spread the small ones of the test like those.
    let key = key.map(|key| KeyHash(key.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let (first, offset) = (Offset(offset), Offset(offset));
    let (lane, held) = (crate::Lane::Input, SinkMask::NONE);
    Entry { first, offset, lane, key, chunk: 0, index: 0, held, attempt: 1, lettered: false }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(Option<u64>),
    Send(usize),
    /// Ends a unit; the record at the given place fails and is tried again after so many ticks.
    End(prop::sample::Index, prop::sample::Index, Option<u8>),
    Wait(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => proptest::option::of(0..4u64).prop_map(Step::Push),
        3 => (1..5usize).prop_map(Step::Send),
        3 => (any::<prop::sample::Index>(), any::<prop::sample::Index>(), proptest::option::of(0..4u8))
            .prop_map(|(unit, place, wait)| Step::End(unit, place, wait)),
        1 => (0..4u8).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..120)
}

/// Ends a unit as the runtime does: behind a failed record, those of its group come back untried.
fn end(scheduler: &mut Scheduler, unit: UnitId, fail: Option<(usize, Moment)>, now: Moment) -> Vec<Entry> {
    let order = scheduler.order;
    let entries = scheduler.done(unit, Duration::ZERO, now).unwrap();
    let mut through = Vec::new();
    let failed = fail.map(|(place, due)| (place % entries.len(), due));
    for (place, entry) in entries.iter().enumerate() {
        match failed {
            Some((at, due)) if at == place => scheduler.retry(*entry, due),
            Some((at, _)) if at < place && group_of(order, &entries[at]) == group_of(order, entry) => {
                scheduler.defer(*entry);
            }
            _ => {
                scheduler.complete(entry);
                through.push(*entry);
            }
        }
    }
    scheduler.end_unit();
    through
}

fn check(order: Order, grain: Grain, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut scheduler = Scheduler::new(order, grain, 3, 2);
    let (mut now, mut next, mut flight) = (Moment::default(), 0, Vec::new());
    let mut through: BTreeMap<Group, Vec<Offset>> = BTreeMap::new();
    let note = |through: &mut BTreeMap<Group, Vec<Offset>>, entries: Vec<Entry>| {
        for entry in entries {
            through.entry(group_of(order, &entry)).or_default().push(entry.offset);
        }
    };
    for step in steps {
        match step {
            Step::Push(key) => {
                scheduler.push(entry(next, key));
                next += 1;
            }
            Step::Send(room) => flight.extend(scheduler.next_unit(now, room)),
            Step::End(unit, place, wait) if !flight.is_empty() => {
                let unit = flight.remove(unit.index(flight.len()));
                let fail = wait.map(|wait| (place.index(8), now.after(Duration::from_millis(wait.into()))));
                note(&mut through, end(&mut scheduler, unit, fail, now));
            }
            Step::End(..) => {}
            Step::Wait(ticks) => now = now.after(Duration::from_millis(ticks.into())),
        }
        let mut groups = BTreeSet::new();
        for unit in &flight {
            let of_unit: BTreeSet<Group> =
                scheduler.entries(*unit).iter().map(|e| group_of(order, e)).collect();
            for group in of_unit {
                prop_assert!(groups.insert(group), "{group:?} is in two units at once");
            }
        }
        let ended: usize = through.values().map(Vec::len).sum();
        prop_assert_eq!(scheduler.queued() + scheduler.running_records() + ended, next as usize);
    }
    for _ in 0..1000 {
        now = now.after(Duration::from_millis(10));
        flight.extend(scheduler.next_unit(now, usize::MAX));
        if let Some(unit) = flight.pop() {
            note(&mut through, end(&mut scheduler, unit, None, now));
        }
    }
    prop_assert!(scheduler.is_idle(), "stuck with {} records", scheduler.queued());
    prop_assert_eq!(through.values().map(Vec::len).sum::<usize>(), next as usize);
    for (group, offsets) in through {
        prop_assert!(offsets.is_sorted(), "{group:?} went as {offsets:?}");
    }
    Ok(())
}

proptest! {
    /// Scenario: records arrive, units go and end in any order, some records fail and wait. Guarantee: no group is in two
    /// units, each goes in its order, and nothing is lost or stuck.
    #[test]
    fn groups_go_in_order_and_nothing_is_lost(
        order in prop_oneof![Just(Order::None), Just(Order::Key), Just(Order::Partition)],
        grain in prop_oneof![Just(Grain::Batch), Just(Grain::Record)],
        steps in steps(),
    ) {
        check(order, grain, steps)?;
    }
}

#[test]
fn a_slow_unit_makes_the_next_ones_smaller_and_a_quick_one_larger() {
    let mut scheduler = Scheduler::new(Order::None, Grain::Batch, 1024, 1);
    (0..5000).for_each(|offset| scheduler.push(entry(offset, None)));
    let unit = scheduler.next_unit(Moment::default(), usize::MAX).unwrap();
    end(&mut scheduler, unit, None, Moment(Duration::from_millis(20)));
    assert_eq!(scheduler.unit_records(), 512);
    let unit = scheduler.next_unit(Moment::default(), usize::MAX).unwrap();
    end(&mut scheduler, unit, None, Moment(Duration::from_millis(1)));
    assert_eq!(scheduler.unit_records(), 1024);
}

/// Scenario: units come back late because those of other pairs stand before them, not because their steps are slow.
/// Guarantee: they do not shrink below what the steps do in half a millisecond, and grow back to that; smaller ones would only
/// queue in greater number.
#[test]
fn a_unit_that_only_queued_stays_worth_its_hand_over() {
    let mut scheduler = Scheduler::new(Order::None, Grain::Batch, 1024, 1);
    (0..50_000).for_each(|offset| scheduler.push(entry(offset, None)));
    let mut run = |steps_of_one: Duration, took: Duration| {
        let unit = scheduler.next_unit(Moment::default(), usize::MAX).unwrap();
        let records = scheduler.entries(unit).len() as u32;
        for entry in scheduler.done(unit, steps_of_one * records, Moment(took)).unwrap() {
            scheduler.complete(&entry);
        }
        scheduler.end_unit();
        scheduler.unit_records()
    };
    let (quick, late) = (Duration::from_micros(2), Duration::from_millis(40));
    let sizes: Vec<usize> = (0..4).map(|_| run(quick, late)).collect();
    assert_eq!(sizes, [512, 256, 250, 250]);
    // Steps that are slow themselves shrink it as ever.
    let slow: Vec<usize> = (0..6).map(|_| run(Duration::from_millis(1), late)).collect();
    assert_eq!(slow.last(), Some(&16));
    let again: Vec<usize> = (0..5).map(|_| run(quick, late)).collect();
    assert_eq!(again, [32, 64, 128, 250, 250]);
}

#[test]
fn a_slow_record_holds_up_its_own_key_alone() {
    let mut scheduler = Scheduler::new(Order::Key, Grain::Record, 100, 8);
    for (offset, key) in [(0, 1), (1, 1), (2, 2), (3, 3)] {
        scheduler.push(entry(offset, Some(key)));
    }
    let mut sent = Vec::new();
    while let Some(unit) = scheduler.next_unit(Moment::default(), usize::MAX) {
        sent.push(scheduler.entries(unit)[0].offset.0);
    }
    assert_eq!(sent, [0, 2, 3]);
}
