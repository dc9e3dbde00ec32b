//! Who may go, how many and when, one edge at a time.

use super::*;
use crate::Lane;

fn at(ms: u64) -> Moment {
    Moment(Duration::from_millis(ms))
}

/// The offsets of the next unit of at most `room`, none when nothing may go.
fn sent(scheduler: &mut Scheduler, now: Moment, room: usize) -> Option<(UnitId, Vec<i64>)> {
    let unit = scheduler.next_unit(now, room)?;
    Some((unit, scheduler.entries(unit).iter().map(|entry| entry.offset.0).collect()))
}

fn offsets(scheduler: &mut Scheduler, now: Moment, room: usize) -> Option<Vec<i64>> {
    sent(scheduler, now, room).map(|(_, offsets)| offsets)
}

/// Takes the next unit and gives its records back with the steps not through them.
fn taken(scheduler: &mut Scheduler, now: Moment) -> Vec<Entry> {
    let unit = scheduler.next_unit(now, usize::MAX).unwrap();
    scheduler.done(unit, Duration::ZERO, now).unwrap()
}

/// A scheduler by key in which the first of these records failed and waits for second 1, and the others wait to go.
fn with_frozen(grain: Grain, records: &[(i64, u64)]) -> Scheduler {
    let mut scheduler = Scheduler::new(Order::Key, grain, 100, 8);
    scheduler.push(entry(records[0].0, Some(records[0].1)));
    let first = taken(&mut scheduler, at(0));
    scheduler.retry(first[0], at(1_000));
    scheduler.end_unit();
    for (offset, key) in &records[1..] {
        scheduler.push(entry(*offset, Some(*key)));
    }
    scheduler
}

/// Guarantee: a record of the input that goes to the retry lane stands there before the younger copies of its key, but for those that are letters
/// already; before nobody else.
#[test]
fn a_record_comes_before_younger_copies_of_its_key() {
    let record = entry(5, Some(1));
    let copy = Entry { lane: Lane::Retry, ..entry(9, Some(1)) };
    assert!(record.comes_before(&copy));
    for (who, record, copy) in [
        ("older copy", record, Entry { offset: Offset(3), ..copy }),
        ("its own copy", record, Entry { offset: Offset(5), ..copy }),
        ("letter", record, Entry { lettered: true, ..copy }),
        ("another key", record, Entry { key: Some(KeyHash(7)), ..copy }),
        ("no key", Entry { key: None, ..record }, Entry { key: None, ..copy }),
        ("two of the input", record, Entry { lane: Lane::Input, ..copy }),
        ("two copies", Entry { lane: Lane::Retry, ..record }, copy),
    ] {
        assert!(!record.comes_before(&copy), "{who}");
    }
}

/// Guarantee: keys are asked for where they decide the order alone, since to hash them costs.
#[test]
fn keys_are_needed_for_order_by_key_alone() {
    for (order, needed) in [(Order::None, false), (Order::Key, true), (Order::Partition, false)] {
        assert_eq!(Scheduler::new(order, Grain::Batch, 1, 1).needs_keys(), needed, "{order:?}");
    }
}

/// Guarantee: no more units are in flight than there may be, whether records are new or due again.
#[test]
fn units_in_flight_are_bounded() {
    let mut scheduler = Scheduler::new(Order::Key, Grain::Record, 1, 2);
    (0..4).for_each(|key| scheduler.push(entry(key as i64, Some(key))));
    let first = taken(&mut scheduler, at(0));
    scheduler.retry(first[0], at(1));
    assert_eq!(offsets(&mut scheduler, at(0), 9), Some(vec![1]));
    assert_eq!(offsets(&mut scheduler, at(0), 9), Some(vec![2]));
    assert_eq!((offsets(&mut scheduler, at(1), 9), scheduler.queued()), (None, 2));
}

/// Scenario: records are put aside in two goes. Guarantee: each is counted out once.
#[test]
fn what_is_put_aside_is_counted_out_once() {
    let mut scheduler = Scheduler::new(Order::None, Grain::Batch, 1, 1);
    (0..5).for_each(|offset| scheduler.push(entry(offset, None)));
    let mut aside = Vec::new();
    for left in [4, 3, 2] {
        assert_eq!(scheduler.next_unit_of(at(0), 9, |_| false, &mut aside), None);
        assert_eq!((scheduler.queued(), aside.len()), (left, 5 - left));
    }
}

/// Scenario: of two records of a key in one unit the first fails and the second is through. Guarantee: the first waits for its time.
#[test]
fn a_record_that_is_through_wakes_nobody_before_its_time() {
    let mut scheduler = Scheduler::new(Order::Key, Grain::Batch, 100, 8);
    (0..2).for_each(|offset| scheduler.push(entry(offset, Some(1))));
    let both = taken(&mut scheduler, at(0));
    scheduler.retry(both[0], at(1_000));
    scheduler.complete(&both[1]);
    scheduler.end_unit();
    assert_eq!((offsets(&mut scheduler, at(999), 9), scheduler.next_due()), (None, Some(at(1_000))));
    assert_eq!(offsets(&mut scheduler, at(1_000), 9), Some(vec![0]));
}

/// Scenario: a record goes for its next try, which does not happen. Guarantee: it goes again at once, before what stands behind it.
#[test]
fn a_try_that_did_not_happen_is_made_up_for() {
    let mut scheduler = with_frozen(Grain::Batch, &[(0, 1), (1, 1)]);
    let first = taken(&mut scheduler, at(1_000));
    scheduler.defer(first[0]);
    scheduler.end_unit();
    assert_eq!(offsets(&mut scheduler, at(1_000), 9), Some(vec![0]));
    assert_eq!(offsets(&mut scheduler, at(1_000), 9), None);
}

/// The same for a record that did not fail yet, with a queue for each key.
#[test]
fn a_record_that_was_not_tried_goes_before_others() {
    let mut scheduler = Scheduler::new(Order::Key, Grain::Record, 1, 8);
    (0..2).for_each(|key| scheduler.push(entry(key as i64, Some(key))));
    let first = taken(&mut scheduler, at(0));
    scheduler.defer(first[0]);
    scheduler.end_unit();
    assert_eq!(offsets(&mut scheduler, at(0), 9), Some(vec![0]));
    assert_eq!(offsets(&mut scheduler, at(0), 9), Some(vec![1]));
}

/// Guarantee: a unit of due records has no more than there is room for, and one without any.
#[test]
fn due_records_keep_to_the_room() {
    for (room, count) in [(0, 1), (1, 1), (2, 2), (9, 3)] {
        let mut scheduler = Scheduler::new(Order::None, Grain::Batch, 100, 8);
        (0..3).for_each(|offset| scheduler.push(entry(offset, None)));
        for entry in taken(&mut scheduler, at(0)) {
            scheduler.retry(entry, at(5));
        }
        assert_eq!(offsets(&mut scheduler, at(5), room).unwrap().len(), count, "room for {room}");
    }
}

/// Scenario: a key waits for its next try, and records of it and of others wait to go. Guarantee: the others go, as many as there is room for, and
/// nothing of that key.
#[test]
fn what_waits_for_a_key_holds_up_no_other() {
    let records = [(0, 1), (1, 2), (2, 1), (3, 2), (4, 2)];
    let mut scheduler = with_frozen(Grain::Batch, &records);
    let (unit, first) = sent(&mut scheduler, at(1), 2).unwrap();
    assert_eq!(first, [1, 3]);
    end(&mut scheduler, unit, None, at(1));
    assert_eq!(offsets(&mut scheduler, at(1), 2), Some(vec![4]));
    assert_eq!(offsets(&mut scheduler, at(999), 2), None);
    let (unit, again) = sent(&mut scheduler, at(1_000), 2).unwrap();
    assert_eq!(again, [0]);
    end(&mut scheduler, unit, None, at(1_000));
    assert_eq!(offsets(&mut scheduler, at(1_000), 2), Some(vec![2]));
}

/// Guarantee: lanes take turns, so a lane with much to do holds up no other.
#[test]
fn lanes_take_turns() {
    let mut scheduler = Scheduler::new(Order::Key, Grain::Batch, 1, 2);
    for (offset, key) in [(0, 0), (1, 0), (2, 0), (3, u64::MAX)] {
        scheduler.push(Entry { key: Some(KeyHash(key)), ..entry(offset, None) });
    }
    let mut went = Vec::new();
    while let Some((unit, offsets)) = sent(&mut scheduler, at(0), 1) {
        went.extend(offsets);
        end(&mut scheduler, unit, None, at(0));
    }
    assert_eq!(went, [0, 3, 1, 2]);
}

/// Scenario: units of 512 records of 1,024 at most. Guarantee: they are halved when one takes more than five milliseconds, doubled when a full one takes less
/// than half of that, and left as they are in between.
#[test]
fn units_are_sized_by_what_they_take() {
    for (records, micros, size) in [
        (512, 10_000, 256),
        (100, 10_000, 256),
        (100, 5_001, 256),
        (100, 5_000, 512),
        (512, 3_000, 512),
        (512, 2_500, 512),
        (512, 2_499, 1_024),
        (511, 1_000, 512),
    ] {
        let mut scheduler = Scheduler::new(Order::None, Grain::Batch, 1_024, 1);
        (0..2_000).for_each(|offset| scheduler.push(entry(offset, None)));
        let mut run = |room: usize, took: Duration| {
            let unit = scheduler.next_unit(at(0), room).unwrap();
            end(&mut scheduler, unit, None, Moment(took));
            scheduler.unit_records()
        };
        assert_eq!(run(1_024, Duration::from_millis(10)), 512);
        assert_eq!(run(records, Duration::from_micros(micros)), size, "{records} took {micros} us");
    }
}
