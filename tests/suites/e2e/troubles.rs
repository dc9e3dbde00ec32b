//! Operational errors: one clear line, the documented exit code, no busy loop.

use std::path::Path;
use std::time::{Duration, Instant};

use longshore_broker::{BrokerOptions, Data, JvmBroker};
use longshore_tests::harness::{Record, Rig, Worker, free_port, shared_broker, start_broker, wait_until};

/// How much CPU a worker may spend that has nothing to do but to notice that it cannot work.
const IDLE_CPU: Duration = Duration::from_millis(2_500);

/// The last CPU time seen of a worker until it ends, and its exit code.
fn watch(worker: &mut Worker) -> (i32, Duration) {
    let mut cpu = Duration::ZERO;
    wait_until("the worker ends", Duration::from_secs(90), || {
        if worker.process.has_ended() {
            return true;
        }
        cpu = cpu.max(worker.cpu());
        false
    });
    (worker.exit_code(Duration::from_secs(1)), cpu)
}

/// A worker ends by itself with this code, having said this reason once in its last word, at little CPU. Gives what it
/// said.
pub(crate) fn assert_ends_quietly(rig: &Rig, code: i32, reason: &str) -> String {
    let mut worker = rig.worker_with(&["limits.halt=3s"], &[]);
    let (found, cpu) = watch(&mut worker);
    let said = worker.process.transcript();
    assert_eq!(found, code, "{said}");
    let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error:")).collect();
    assert!(matches!(errors.as_slice(), [line] if line.contains(reason)), "{errors:?}\n{said}");
    assert!(said.lines().count() < 30, "too many words:\n{said}");
    assert!(cpu < IDLE_CPU, "{cpu:?} of CPU\n{said}");
    said
}

/// Scenario: nobody listens at the broker's address. Guarantee: one clear line, exit 69.
#[test]
fn an_unreachable_broker_ends_with_69() {
    let Some(_) = shared_broker() else { return };
    let rig = Rig::new(&format!("127.0.0.1:{}", free_port()), "e2e-unreachable");
    assert_ends_quietly(&rig, 69, "broker.unavailable");
}

/// Scenario: the input topic does not exist. Guarantee: one clear line that says how to make it, exit 78.
#[test]
fn a_missing_topic_ends_with_78() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-no-topic");
    let said = assert_ends_quietly(&rig, 78, "broker.topic-missing");
    assert!(said.contains("longshore topics apply"), "{said}");
}

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
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = forgetful_broker(folder.path()) else { return };
    // Six of its session timeouts are a patience of 12 s.
    let rig = Rig::new(&broker.bootstrap(), "e2e-no-place").with_topics(1);
    rig.witness.delete_topic(COORDINATORS);
    let mut crew = [rig.worker(), rig.worker()];
    for round in 1..=2 {
        for worker in &mut crew {
            worker.wait_until("it has no place", |worker| tells_place(worker, false));
        }
        assert_eq!(said(&crew), [round; 2]);
        rig.witness.create_topic(COORDINATORS, 4, &[("cleanup.policy", "compact")]);
        for worker in &mut crew {
            worker.wait_until("it has a place", |worker| tells_place(worker, true));
        }
        rig.witness.publish(&rig.topic, &[Record::new("a", LINE)]);
        rig.wait_drained(Duration::from_secs(60), &[&crew[0], &crew[1]]);
        // One of them has no partition, for longer than a worker without a place waits.
        let until = Instant::now() + Duration::from_secs(15);
        wait_until("time passes", Duration::from_secs(60), || {
            assert!(crew.iter_mut().all(|worker| tells_place(worker, true)), "a member is not ready");
            Instant::now() > until
        });
        assert_eq!(said(&crew), [round; 2]);
        if round == 1 {
            rig.witness.delete_topic(COORDINATORS);
        }
    }
    crew.into_iter().for_each(Worker::stop);
}
