//! Hundreds of partitions at once.

use std::time::{Duration, Instant};

use longshore_kafka::{Admin, GroupProtocol};
use longshore_tests::harness::{Witness, shared_broker, wait_until};

use super::member::{Member, PATIENCE, World, kafka, look};

const PARTITIONS: i32 = 256;
/// Far below any session timeout.
const QUICK: Duration = Duration::from_secs(1);

/// Scenario: one member is given 256 partitions.
/// Guarantee: where they stand is known within a second: the broker is asked for all of them together.
#[test]
fn hundreds_of_pairs_are_looked_up_together() {
    let Some(broker) = shared_broker() else { return };
    let (bootstrap, name) = (broker.bootstrap(), "group-many");
    Witness::new(&bootstrap).create_topic(name, PARTITIONS, &[]);
    let options = kafka(&bootstrap, GroupProtocol::Classic);
    let admin = Admin::new(&options).unwrap();
    let world = World::default();
    let member = Member::join(options, name, name, &world);
    let begun = Instant::now();
    wait_until("every pair is known", PATIENCE, || {
        look(&world, |seen| seen.assignments.len()) == PARTITIONS as usize
    });
    let known = begun.elapsed();
    member.leave();
    let begun = Instant::now();
    assert_eq!(admin.offsets(name).unwrap().len(), PARTITIONS as usize);
    let offsets = begun.elapsed();
    println!("256 pairs: joined and known {known:?}, offsets {offsets:?}");
    // Joining the group is part of it.
    assert!(known < QUICK * 4, "{known:?}");
    assert!(offsets < QUICK, "{offsets:?}");
}
