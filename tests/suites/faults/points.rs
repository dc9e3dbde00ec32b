//! SIGKILL at named points: before and after a sink takes rows, publishes, is settled, commits, and sends a letter. The
//! worker does it to itself (`LONGSHORE_CRASH_AT`), so the point is exact.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use longshore_testkit::Random;
use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::{Account, Flow, Rig};

use super::{broker, is_full};

/// How often a worker may come by the point before it dies there: so that deaths fall into different states.
const PASSES: usize = 6;

fn hits() -> usize {
    if is_full() { 20 } else { 2 }
}

/// Partitions of the input.
const PARTITIONS: i32 = 3;

/// How many records may be taken for those that take their workers down: the third death in a row that meets the same record alone is its last one,
/// behind two that make its partition careful. Many a worker dies here before it has got anything done.
fn looped() -> usize {
    PARTITIONS as usize * (hits() - 2) / 3
}

/// Scenario: worker after worker dies at `point` while records keep coming, one in fifty of them a dead letter.
/// Guarantee: after each death nothing is committed that has no place, and nothing is doubled; in the end every record
/// has its one place, few of them as letters of a crash loop. A point that is not reached as often as it should be fails.
fn die_at(point: &str) {
    let Some(broker) = broker() else { return };
    let name = format!("point-{}", point.replace('.', "-"));
    let rig = Rig::new(&broker.bootstrap(), &name)
        .set("kafka.client.session.timeout.ms=1000")
        .with_topics(PARTITIONS);
    let flow = Flow::start(&rig.witness, &rig.topic, 600, log_line);
    let mut random = Random::new(point.len() as u64);
    for hit in 0..hits() {
        let plan = format!("{point}:{}", 1 + random.below(PASSES));
        let mut worker = rig.worker_with(&[], &[("LONGSHORE_CRASH_AT", &plan)]);
        let status = worker.process.wait(Duration::from_secs(60));
        assert_eq!(
            status.signal(),
            Some(9),
            "hit {hit} of {plan}: {status}\n{}",
            worker.process.transcript()
        );
        Account::take(&rig).assert_sound();
    }
    let published = flow.stop();
    let last = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&last]);
    last.stop();
    Account::take(&rig).assert_right_but(looped(), published, log_fate);
}

macro_rules! points {
    ($($test:ident = $point:literal;)+) => {
        $(#[test] fn $test() { die_at($point); })+
    };
}

points! {
    before_rows_are_taken = "append.before";
    after_rows_are_taken = "append.after";
    before_a_publish = "publish.before";
    after_a_publish = "publish.after";
    before_records_settle = "settle.before";
    after_records_settle = "settle.after";
    before_a_commit = "commit.before";
    after_a_commit = "commit.after";
    before_a_letter = "letter.before";
    after_a_letter = "letter.after";
}
