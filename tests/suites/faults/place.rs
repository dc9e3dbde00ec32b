//! Workers whose consumer group has no coordinator, or one that denies them.

use std::path::Path;
use std::time::{Duration, Instant};

use longshore_broker::{BrokerOptions, Data, JvmBroker};
use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::rig::PATIENCE;
use longshore_tests::harness::{Account, Record, Rig, Worker, start_broker, wait_until};
use rdkafka::mocking::MockCluster;
use rdkafka::types::RDKafkaApiKey as Request;
use rdkafka::types::RDKafkaRespErr::{
    self as Code, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
};

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
/// broker's affair, a minute, for which the long form alone waits; and how often the coordinators are gone before
/// there is an end of it: once with KIP-848 ([`forget`]).
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
        if round < rounds || protocol == "consumer" {
            rig.witness.delete_topic(COORDINATORS);
        }
    }
    if protocol == "consumer" { forget(&rig, crew) } else { crew.into_iter().for_each(Worker::stop) }
}

/// Scenario: as before, and the coordinators are there again, of a group that they have forgotten, to which librdkafka (2.12) clings with KIP-848.
/// Guarantee: I6, the worker that commits ends with a documented code, and works when it is started again.
fn forget(rig: &Rig, crew: [Worker; 2]) {
    rig.witness.create_topic(COORDINATORS, 4, &[("cleanup.policy", "compact")]);
    rig.witness.publish(&rig.topic, &[Record::new("a", LINE)]);
    let mut crew = crew.map(Some);
    let mut code = None;
    wait_until("the worker with the partition ends", Duration::from_secs(150), || {
        let ended = crew.iter_mut().find_map(|worker| worker.take_if(|worker| worker.process.has_ended()));
        code = ended.map(|mut worker| worker.exit_code(PATIENCE));
        code.is_some()
    });
    assert_eq!(code, Some(70));
    let again = rig.worker();
    rig.wait_drained(Duration::from_secs(120), &[&again]);
    again.stop();
    // The other one had no partition, commits nothing, and is a member of nothing.
    crew.into_iter().flatten().for_each(Worker::stop);
}

/// Records of a worker that is denied.
const LINES: u64 = 20;

/// Scenario: a group takes a worker in and gives it partitions, and answers each of its commits as if it were no member, or of a generation that is over; each
/// time it joins anew. Then the group knows it.
/// Guarantee: I6, that is told as commits that nobody acknowledges, by a reason and as not ready, however many ownerships it takes; it is over with the
/// first acknowledgement. I1, I2 and I4.
#[test]
fn commits_that_are_denied_in_each_ownership_are_told() {
    std::thread::scope(|scope| {
        scope.spawn(|| deny(RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, "generation"));
        scope.spawn(|| deny(RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, "member"));
    });
}

fn deny(code: Code, name: &str) {
    let broker = MockCluster::new(1).unwrap();
    let name = format!("denied-{name}");
    // See `support.rs` of the crate `kafka`: sessions of the mock cluster have to be longer than three seconds.
    let rig = Rig::new(&broker.bootstrap_servers(), &name).set("kafka.client.session.timeout.ms=3200");
    for topic in [&rig.topic, &rig.retry_topic(), &rig.letter_topic(), &rig.journal_topic()] {
        broker.create_topic(topic, 1, 1).unwrap();
    }
    rig.witness.publish(&rig.topic, &(0..LINES).map(log_line).collect::<Vec<_>>());
    broker.request_errors(Request::OffsetCommit, &vec![code; 3_000]);
    let mut worker = rig.worker();
    worker.wait_until("it is told", |worker| {
        let named =
            |(code, why): (u16, String)| code == 503 && why.starts_with("broker.commits: consumer group");
        worker.metric("longshore_broker_trouble{reason=\"broker.commits\"}") > 0.0
            && worker.answer("/readyz").is_some_and(named)
    });
    assert_eq!(worker.process.transcript().matches("failure=broker.commits").count(), 1);
    broker.clear_request_errors(Request::OffsetCommit);
    rig.wait_drained(PATIENCE, &[&worker]);
    worker.wait_until("it is well", |worker| worker.answer("/readyz").is_some_and(|(code, _)| code == 200));
    worker.stop();
    Account::take(&rig).assert_right(LINES, log_fate);
}
