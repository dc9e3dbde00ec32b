//! Members come and go while records flow.

use std::sync::atomic::{AtomicBool, Ordering};

use longshore_kafka::GroupProtocol;
use longshore_tests::harness::{Record, Witness, shared_broker, wait_until};

use super::member::{Member, PATIENCE, World, kafka, look, metadata};

const PARTITIONS: i32 = 6;
/// How often a second member joins and leaves.
const VISITS: usize = 4;
/// What each visit has to see flow before the next step, in records.
const STEP: usize = 600;

/// Publishes until told to stop; gives how many.
fn publish(witness: &Witness, topic: &str, stop: &AtomicBool) -> usize {
    let publisher = witness.publisher();
    let mut count = 0;
    while !stop.load(Ordering::Acquire) {
        let records: Vec<_> =
            (0..120).map(|n| Record::new(&n.to_string(), "x".repeat(100)).to(n % PARTITIONS)).collect();
        count += publisher.publish(topic, &records).len();
    }
    count
}

/// Ends the publisher with the test, also with one that fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Waits until so many more records were handed over.
fn more(world: &World, what: &str) {
    let before = look(world, |seen| seen.offsets());
    wait_until(what, PATIENCE, || look(world, |seen| seen.offsets()) >= before + STEP);
}

/// Waits until partitions moved since then, and flow again.
fn moved(world: &World, assignments: usize, what: &str) {
    wait_until(what, PATIENCE, || look(world, |seen| seen.assignments.len()) > assignments);
    more(world, what);
}

fn storm(bootstrap: &str, name: &str, protocol: GroupProtocol) {
    let witness = Witness::new(bootstrap);
    witness.create_topic(name, PARTITIONS, &[]);
    let (world, stop) = (World::default(), AtomicBool::new(false));
    let join = || Member::join(kafka(bootstrap, protocol), name, name, &world);
    let assigned = || look(&world, |seen| seen.assignments.len());
    let published = std::thread::scope(|scope| {
        let _stops = Stop(&stop);
        let publisher = scope.spawn(|| publish(&witness, name, &stop));
        let first = join();
        more(&world, "records flow to the first member");
        for _ in 0..VISITS {
            let before = assigned();
            let second = join();
            moved(&world, before, "the second member is given partitions");
            let before = assigned();
            second.leave();
            moved(&world, before, "they come back to the first");
        }
        stop.store(true, Ordering::Release);
        let published = publisher.join().unwrap();
        wait_until("every record is handed over", PATIENCE, || {
            look(&world, |seen| seen.offsets()) >= published
        });
        wait_until("everything is committed", PATIENCE, || {
            let committed = witness.committed(name, name);
            let ends = witness.ends(name);
            (0_i32..).zip(ends).all(|(partition, end)| {
                committed.get(&partition).is_some_and(|position| position.offset == end)
            })
        });
        first.leave();
        published
    });
    look(&world, |seen| {
        for (partition, offsets) in &seen.deliveries {
            let end = i64::try_from(offsets.len()).unwrap();
            assert_eq!(offsets.last_key_value().map(|(last, _)| last + 1), Some(end), "a gap in {partition}");
        }
        assert_eq!(seen.offsets(), published);
        let committed: Vec<_> =
            seen.assignments.iter().filter_map(|given| given.committed.as_ref()).collect();
        assert!(committed.len() >= 2 * VISITS, "only {} take-overs met a commit", committed.len());
        for position in committed {
            assert_eq!(position.metadata, metadata(position.offset.0));
        }
        let repeats: u32 = seen.deliveries.values().flat_map(|of| of.values()).map(|times| times - 1).sum();
        assert_eq!(repeats, 0, "records came twice although all members left in order");
    });
}

/// Scenario: records are published without pause through the first moments of many assignments: members join and leave
/// as soon as partitions have moved, and nobody waits for anything to flow.
/// Guarantee: no offset of any partition is passed over, whatever moment its reading began in.
#[test]
fn nothing_is_passed_over_where_reading_begins() {
    const ROUNDS: usize = 10;
    let Some(broker) = shared_broker() else { return };
    let (bootstrap, name) = (broker.bootstrap(), "group-restless");
    let witness = Witness::new(&bootstrap);
    witness.create_topic(name, PARTITIONS, &[]);
    let (world, stop) = (World::default(), AtomicBool::new(false));
    let assigned = || look(&world, |seen| seen.assignments.len());
    let join = || {
        let before = assigned();
        let member = Member::join(kafka(&bootstrap, GroupProtocol::Classic), name, name, &world);
        wait_until("the member is given partitions", PATIENCE, || assigned() > before);
        member
    };
    std::thread::scope(|scope| {
        let _stops = Stop(&stop);
        let publisher = scope.spawn(|| publish(&witness, name, &stop));
        let mut last = join();
        for _ in 0..ROUNDS {
            // The whole assignment goes to the newcomer, which may leave before it has read anything.
            let next = join();
            std::mem::replace(&mut last, next).leave();
        }
        stop.store(true, Ordering::Release);
        let published = publisher.join().unwrap();
        wait_until("every record is handed over", PATIENCE, || {
            look(&world, |seen| seen.offsets()) >= published
        });
        last.leave();
    });
    look(&world, |seen| {
        let given: usize = seen.assignments.len();
        assert!(given >= 2 * ROUNDS, "only {given} assignments");
        for (partition, end) in (0..PARTITIONS).zip(witness.ends(name)) {
            let offsets = seen.deliveries.get(&partition).map(|of| of.keys().copied().collect::<Vec<_>>());
            assert!(offsets.unwrap_or_default().into_iter().eq(0..end), "a gap in {partition}");
        }
    });
}

/// Scenario: a member joins and leaves four times while records flow, by the classic protocol (cooperative-sticky).
/// Guarantee: nothing is lost or handed over twice, commits come back with their metadata, and every pair flows on.
#[test]
fn classic_members_come_and_go() {
    let Some(broker) = shared_broker() else { return };
    storm(&broker.bootstrap(), "group-classic", GroupProtocol::Classic);
}

/// The same by `group.protocol=consumer` (KIP-848).
#[test]
fn consumer_protocol_members_come_and_go() {
    let Some(broker) = shared_broker() else { return };
    storm(&broker.bootstrap(), "group-consumer", GroupProtocol::Consumer);
}
