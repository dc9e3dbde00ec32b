//! A topic is deleted and made again under its name while a worker reads it (trap 19).

use std::time::Duration;

use longshore_kafka::{GroupProtocol, Scalar};
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::{Record, Rig, Witness, shared_broker, wait_until};

use super::member::{Member, PATIENCE, World, kafka, look};

fn records(count: usize) -> Vec<Record> {
    (0..count).map(|n| Record::new(&n.to_string(), n.to_string()).to(0)).collect()
}

/// Scenario: the new topic has more records than were read of the old one.
/// Guarantee: the pair is taken from the runtime and given anew with the new topic's id, so that it is judged by it, and the
/// new topic is read to its end.
#[test]
fn a_new_topic_is_not_read_as_the_old_one() {
    let Some(broker) = shared_broker() else { return };
    let (bootstrap, name) = (broker.bootstrap(), "group-again");
    let witness = Witness::new(&bootstrap);
    witness.create_topic(name, 1, &[]);
    let world = World::default();
    let mut options = kafka(&bootstrap, GroupProtocol::Classic);
    // A worker looks for topics that came back every 30 seconds; the test need not wait for that.
    let often = ("topic.metadata.refresh.interval.ms".to_owned(), Scalar::Number(1_000));
    options.client.extend([often]);
    let member = Member::join(options, name, name, &world);
    witness.publish(name, &records(100));
    wait_until("the first topic is read", PATIENCE, || look(&world, |seen| seen.offsets()) == 100);
    let old = look(&world, |seen| seen.assignments.last().cloned()).unwrap();
    assert!(!old.topic_id.is_empty());
    witness.delete_topic(name);
    witness.create_topic(name, 1, &[]);
    witness.publish(name, &records(300));
    wait_until("the pair is given anew, with the new topic's id", PATIENCE, || {
        look(&world, |seen| seen.assignments.iter().any(|given| given.topic_id != old.topic_id))
    });
    look(&world, |seen| {
        assert!(seen.taken.contains(&(old.pair.clone(), old.epoch)), "{:?}", seen.taken);
    });
    wait_until("the new topic is read to its end", PATIENCE, || look(&world, |seen| seen.offsets()) == 300);
    member.leave();
}

/// Scenario: a topic is made again and filled beyond the old one's end before the client looks at the metadata, so that
/// it never sees the topic missing (that alone would make the group begin anew), several times.
/// Guarantee: not one record of a new topic is handed over as one of the old: what is committed for it, or written to a
/// sink, never mixes two topics.
#[test]
fn no_record_of_the_new_topic_passes_as_one_of_the_old() {
    let Some(broker) = shared_broker() else { return };
    let bootstrap = broker.bootstrap();
    let witness = Witness::new(&bootstrap);
    for round in 1..=6 {
        let name = &format!("group-fence-{round}");
        witness.create_topic(name, 1, &[]);
        let world = World::default();
        let mut options = kafka(&bootstrap, GroupProtocol::Classic);
        // So long after a fetch that failed it asks for the metadata.
        let late = ("topic.metadata.refresh.fast.interval.ms".to_owned(), Scalar::Number(1_000));
        options.client.extend([late]);
        let member = Member::join(options, name, name, &world);
        witness.publish(name, &records(100));
        wait_until("the first topic is read", PATIENCE, || look(&world, |seen| seen.offsets()) == 100);
        let old = look(&world, |seen| seen.assignments.last().cloned()).unwrap();
        witness.delete_topic(name);
        witness.create_topic(name, 1, &[]);
        witness.publish(name, &records(300));
        wait_until("the new topic is read to its end", PATIENCE, || {
            look(&world, |seen| seen.offsets()) == 300
        });
        look(&world, |seen| {
            assert!(seen.assignments.last().is_some_and(|given| given.topic_id != old.topic_id));
            assert_eq!(seen.highest.get(&old.epoch), Some(&99), "of the old topic alone");
        });
        member.leave();
    }
}

/// Scenario: the same under a running worker with a ledger.
/// Guarantee: it halts with `ledger.foreign`, exit 78, instead of mixing two topics' records.
#[test]
fn a_running_worker_halts() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "group-halts").with_topics(1);
    let fill = |count| rig.witness.publish(&rig.topic, &(0..count).map(log_line).collect::<Vec<_>>());
    fill(500);
    let mut worker = rig.worker_with(&["limits.halt=2s"], &[]);
    worker.wait_for_partitions();
    rig.wait_drained(PATIENCE, &[&worker]);
    rig.witness.delete_topic(&rig.topic);
    rig.witness.create_topic(&rig.topic, 1, &[]);
    fill(700);
    let code = worker.exit_code(Duration::from_secs(60));
    let said = worker.process.transcript();
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("ledger.foreign"), "{said}");
}
