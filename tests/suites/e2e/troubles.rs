//! Operational errors: one clear line, the documented exit code, no busy loop.

use std::time::Duration;

use longshore_tests::harness::{Rig, Worker, free_port, shared_broker, wait_until};

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
