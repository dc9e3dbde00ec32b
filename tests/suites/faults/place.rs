//! Workers whose consumer group has no coordinator.

use std::path::Path;
use std::time::{Duration, Instant};

use longshore_broker::{BrokerOptions, Data, JvmBroker};
use longshore_tests::harness::{Record, Rig, Worker, start_broker, wait_until};

use super::is_full;

/// The topic by which groups have their coordinator.
const COORDINATORS: &str = "__consumer_offsets";

/// A broker that cannot make [`COORDINATORS`] again once it is deleted.
fn forgetful_broker(folder: &Path) -> Option<JvmBroker> {
    let options = || BrokerOptions { data: Data::At(folder.join("data")), ..BrokerOptions::default() };
    drop(start_broker(options())?);
    let properties = vec![("offsets.topic.replication.factor".to_owned(), "3".to_owned())];
    start_broker(BrokerOptions { properties, ..options() })
}

/// A record that goes to the sink.
const LINE: &str = r#"{"body":"x","severity_number":13}"#;

/// Whether the worker says everywhere that it has no place in its group, or everywhere that it has.
fn tells_place(worker: &mut Worker, has_place: bool) -> bool {
    let gauge = worker.metric("longshore_group_member ");
    let status = worker.page("/status").unwrap_or_default();
    match worker.answer("/readyz") {
        Some((200, _)) => has_place && gauge > 0.0 && status.contains("\"running\""),
        Some((503, why)) => {
            let named = why.starts_with("broker.group: ") && why.contains("longshore doctor");
            !has_place && named && gauge < 0.5 && status.contains("\"holding\"")
        }
        _ => false,
    }
}

/// The group protocols; for how many seconds a worker of each waits for a place: six of its sessions (2 s in the rig), and where these are the
/// broker's affair, a minute, for which the long form alone waits; and how often the coordinators are gone: once with KIP-848, where librdkafka
/// (2.12) does not join a group again that the broker has forgotten (docs/reliability.md).
fn protocols() -> &'static [(&'static str, u64, usize)] {
    if is_full() { &[("classic", 12, 2), ("consumer", 60, 1)] } else { &[("classic", 12, 2)] }
}

/// How often each worker has said that it has no place.
fn said(crew: &[Worker; 2]) -> [usize; 2] {
    [0, 1].map(|at| crew[at].process.transcript().matches("broker.group: no place").count())
}

/// Scenario: somebody deletes `__consumer_offsets`, so that no group has a coordinator any more, makes it again, and does both once more; two
/// workers begin meanwhile, for one partition.
/// Guarantee: I6, a worker that the group has not taken in, or has lost, says so once, is not ready, and works as soon as there is a
/// coordinator; the worker without a partition says nothing of the kind while it is a member.
#[test]
fn a_worker_without_a_place_in_its_group_says_so() {
    std::thread::scope(|scope| {
        for (protocol, waits, rounds) in protocols() {
            scope.spawn(|| play(protocol, *waits, *rounds));
        }
    });
}

fn play(protocol: &str, waits: u64, rounds: usize) {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = forgetful_broker(folder.path()) else { return };
    let mut rig = Rig::new(&broker.bootstrap(), &format!("no-place-{protocol}"));
    if protocol == "consumer" {
        rig.settings.retain(|setting| !setting.contains("session.timeout") && !setting.contains("heartbeat"));
        rig = rig.set("kafka.group_protocol=consumer");
    }
    let rig = rig.with_topics(1);
    rig.witness.delete_topic(COORDINATORS);
    let mut crew = [rig.worker(), rig.worker()];
    for round in 1..=rounds {
        wait_until("they have no place", Duration::from_secs(waits + 60), || {
            crew.iter_mut().all(|worker| tells_place(worker, false))
        });
        assert_eq!(said(&crew), [round; 2]);
        rig.witness.create_topic(COORDINATORS, 4, &[("cleanup.policy", "compact")]);
        for worker in &mut crew {
            worker.wait_until("it has a place", |worker| tells_place(worker, true));
        }
        rig.witness.publish(&rig.topic, &[Record::new("a", LINE)]);
        rig.wait_drained(Duration::from_secs(60), &[&crew[0], &crew[1]]);
        // One of them has no partition, for longer than a worker without a place waits.
        let until = Instant::now() + Duration::from_secs(waits + 3);
        wait_until("time passes", Duration::from_secs(waits + 60), || {
            assert!(crew.iter_mut().all(|worker| tells_place(worker, true)), "a member is not ready");
            Instant::now() > until
        });
        assert_eq!(said(&crew), [round; 2]);
        if round < rounds {
            rig.witness.delete_topic(COORDINATORS);
        }
    }
    crew.into_iter().for_each(Worker::stop);
}
