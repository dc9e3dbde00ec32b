//! Workers that are killed with SIGKILL at moments nobody chose.

use std::collections::BTreeSet;
use std::time::Duration;

use longshore_testkit::Random;
use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::rig::PairSeen;
use longshore_tests::harness::{Account, Flow, Record, Rig, Worker, shared_broker};

const RECEIVED: &str = "longshore_records_received_total{";

/// What a worker is known to have received, and what of it may be read again after it is killed now.
fn exposed(worker: &mut Worker) -> (f64, i64) {
    // The count first: what is received in between only makes the bound looser.
    let received = worker.metric(RECEIVED);
    let uncommitted = |pair: &PairSeen| pair.position - pair.committed;
    (received, worker.pairs().iter().map(uncommitted).sum())
}

/// Scenario: three workers; one after the other is killed while it owns partitions, and replaced.
/// Guarantee: I1 to I4 hold; after each kill nothing is committed that has no place; what is read again is no more than
/// what the workers had received and not committed of the partitions that they lost.
#[test]
fn killed_workers_lose_and_double_nothing() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-kill").with_topics(6);
    let mut crew: Vec<Worker> = (0..3).map(|_| rig.working()).collect();
    let flow = Flow::start(&rig.witness, &rig.topic, 1_500, log_line);
    let mut random = Random::new(3);
    let (mut received, mut exposure) = (0.0, 0);
    for _ in 0..4 {
        flow.wait_for_more(100 + random.below(800) as u64);
        let mut victim = crew.remove(random.below(crew.len()));
        let (known, open) = exposed(&mut victim);
        victim.process.kill9();
        received += known;
        exposure += open + victim.let_go();
        Account::take(&rig).assert_sound();
        crew.push(rig.working());
    }
    let published = flow.stop();
    rig.wait_drained(Duration::from_secs(60), &crew.iter().collect::<Vec<_>>());
    received += crew.iter_mut().map(|worker| worker.metric(RECEIVED)).sum::<f64>();
    exposure += crew.iter().map(Worker::let_go).sum::<i64>();
    let read_again = received - published as f64;
    assert!(read_again <= exposure as f64, "{read_again} records were read again, {exposure} were open");
    crew.into_iter().for_each(|worker| worker.stop());
    Account::take(&rig).assert_right(published, log_fate);
}

/// Scenario: the only worker is killed with much received and nothing published, since its segments stay open long.
/// Guarantee: its successor reads all of that again and nothing is lost or doubled.
#[test]
fn an_open_segment_dies_with_its_worker() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-kill-open").with_topics(2);
    let records: Vec<_> = (0..2_000).map(log_line).collect();
    rig.witness.publish(&rig.topic, &records);
    let mut first = rig.worker_with(&["sinks.0.files.roll.age=1h"], &[]);
    first.wait_until("all is received", |worker| worker.metric(RECEIVED) >= 2_000.0);
    first.process.kill9();
    let committed = rig.witness.committed(&rig.group(), &rig.topic);
    assert!(committed.values().all(|position| position.offset == 0), "{committed:?}");
    let mut second = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&second]);
    assert_eq!(second.metric(RECEIVED), 2_000.0);
    second.stop();
    Account::take(&rig).assert_right(2_000, log_fate);
}

/// Scenario: a worker passes records of four partitions on to a topic that may get 200 of them twice, and is killed twice on the way.
/// Guarantee: each record is there, and no more than 200 of them a second time for each kill.
#[test]
fn a_topic_gets_no_more_twice_than_the_file_says() {
    const RECORDS: usize = 40_000;
    const REPEATS: usize = 200;
    let Some(broker) = shared_broker() else { return };
    let out = "e2e-repeats.out";
    let rig = Rig::new(&broker.bootstrap(), "e2e-repeats")
        .steps("\n  - parse: { format: json }")
        .sinks(&format!("\n  - topic: {{ name: {out} }}"))
        .set(&format!("limits.repeats={REPEATS}"))
        .with_topics(4);
    rig.witness.create_topic(out, 4, &[]);
    let record = |n: usize| Record::new(&format!("k{}", n % 1_000), format!("{{\"n\":{n}}}"));
    rig.witness.publish(&rig.topic, &(0..RECORDS).map(record).collect::<Vec<_>>());
    let written = || rig.witness.ends(out).iter().sum::<i64>() as usize;
    for kill in 1..=2 {
        let mut worker = rig.working();
        worker.wait_until("a third more is written", |_| written() >= kill * RECORDS / 3);
        worker.process.kill9();
        assert!(written() < RECORDS, "it was through before it was killed");
    }
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();
    let seen = rig.witness.read(out);
    let sources: BTreeSet<_> = seen.iter().filter_map(|seen| seen.header("longshore.source")).collect();
    assert_eq!(sources.len(), RECORDS);
    assert!(seen.len() - RECORDS <= 2 * REPEATS, "{} were there twice", seen.len() - RECORDS);
}
