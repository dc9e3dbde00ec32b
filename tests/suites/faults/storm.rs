//! Everything at once: workers join, leave, are killed, are stopped and woken, every few seconds.

use std::time::{Duration, Instant};

use longshore_testkit::Random;
use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::wait::pass_time;
use longshore_tests::harness::{Account, Flow, Rig, Worker};
use rustix::process::Signal;

use super::{broker, is_full};

const CREW_MAX: usize = 4;

fn length() -> Duration {
    Duration::from_secs(if is_full() { 600 } else { 20 })
}

/// One of the things that happen to a crew.
fn strike(rig: &Rig, crew: &mut Vec<Worker>, random: &mut Random) {
    let at = random.below(crew.len());
    match random.below(6) {
        0 | 1 if crew.len() < CREW_MAX => crew.push(rig.worker()),
        2 if crew.len() > 1 => crew.remove(at).stop(),
        3 => crew.remove(at).process.kill9(),
        4 => {
            // Longer than the session: the sleeper is evicted, and wakes as a zombie.
            crew[at].process.signal(Signal::STOP);
            pass_time(Duration::from_millis(500 + 100 * random.below(30) as u64));
            crew[at].process.signal(Signal::CONT);
        }
        _ => {}
    }
    if crew.is_empty() {
        crew.push(rig.worker());
    }
}

/// Scenario: at random moments, one to three seconds apart, a worker joins, leaves, is killed, or sleeps beyond its
/// session. Guarantee: I1 to I4, and no worker ends by itself.
#[test]
fn a_storm_loses_and_doubles_nothing() {
    let Some(broker) = broker() else { return };
    let rig =
        Rig::new(&broker.bootstrap(), "storm").set("kafka.client.session.timeout.ms=1500").with_topics(6);
    let mut crew = vec![rig.working(), rig.working()];
    let flow = Flow::start(&rig.witness, &rig.topic, 800, log_line);
    let mut random = Random::new(17);
    let began = Instant::now();
    while began.elapsed() < length() {
        pass_time(Duration::from_millis(1_000 + random.below(2_000) as u64));
        strike(&rig, &mut crew, &mut random);
        for worker in &mut crew {
            assert!(!worker.process.has_ended(), "a worker ended by itself\n{}", worker.process.transcript());
        }
    }
    let published = flow.stop();
    rig.wait_drained(Duration::from_secs(120), &crew.iter().collect::<Vec<_>>());
    crew.into_iter().for_each(|worker| worker.stop());
    Account::take(&rig).assert_right(published, log_fate);
}
