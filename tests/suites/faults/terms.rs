//! SIGTERM at moments of chance: in a fetch, in a rebalance, while a sink is slow.

use std::time::{Duration, Instant};

use longshore_testkit::Random;
use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::postgres::{ADMIN, Postgres};
use longshore_tests::harness::wait::pass_time;
use longshore_tests::harness::{Account, Flow, Rig, Wire, Worker, report};

use super::{broker, is_full};

/// What the promise allows.
const MOST: Duration = Duration::from_secs(25);
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a worker is stopped in each of the three situations: more than 500 in all in the long form.
fn stops() -> usize {
    if is_full() { 170 } else { 6 }
}

/// What the stops of one situation came to.
#[derive(Default)]
struct Stops {
    count: usize,
    longest: Duration,
    left: i64,
}

impl Stops {
    /// SIGTERM now; exit 0 within the promise. What the worker had received and not begun is left to the next one.
    fn stop(&mut self, mut worker: Worker) {
        let began = Instant::now();
        let status = worker.terminate(MOST);
        assert!(status.success(), "{status}\n{}", worker.process.transcript());
        self.count += 1;
        self.longest = self.longest.max(began.elapsed());
        self.left += worker.let_go();
    }

    /// The row of the table.
    fn tell(&self, what: &str) {
        let found = format!(
            "{} stops, {:.1} s at most, {} left to the next",
            self.count,
            self.longest.as_secs_f64(),
            self.left
        );
        report::figure(&format!("SIGTERM {what}"), &found, "exit 0 <= 25 s, none hangs");
    }
}

/// A worker that is up, so many milliseconds at most after it was.
fn some_while_after_start(rig: &Rig, random: &mut Random, most_ms: usize) -> Worker {
    let mut worker = rig.worker();
    worker.wait_until("it serves its pages", |worker| worker.address().is_some());
    pass_time(Duration::from_millis(random.below(most_ms) as u64));
    worker
}

/// Scenario: worker after worker is stopped within a second of its start, while it joins, recovers, and fetches a backlog.
/// Guarantee: exit 0 within 25 s each time, I1 to I4.
#[test]
fn stops_in_a_fetch_do_not_hang() {
    let Some(broker) = broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "terms-fetch").with_topics(3);
    let flow = Flow::start(&rig.witness, &rig.topic, 800, log_line);
    let (mut random, mut stops_made) = (Random::new(1), Stops::default());
    for _ in 0..stops() {
        stops_made.stop(some_while_after_start(&rig, &mut random, 1_000));
    }
    let published = flow.stop();
    let last = rig.working();
    rig.wait_drained(PATIENCE, &[&last]);
    last.stop();
    Account::take(&rig).assert_right(published, log_fate);
    stops_made.tell("in a fetch");
}

/// Scenario: a worker joins another one, and one of the two is stopped at some moment of the rebalance.
/// Guarantee: exit 0 within 25 s each time, I1 to I4.
#[test]
fn stops_in_a_rebalance_do_not_hang() {
    let Some(broker) = broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "terms-rebalance").with_topics(6);
    let (mut random, mut stops_made) = (Random::new(2), Stops::default());
    let mut stays = rig.working();
    let flow = Flow::start(&rig.witness, &rig.topic, 500, log_line);
    for _ in 0..stops() {
        let comes = some_while_after_start(&rig, &mut random, 800);
        let goes = if random.below(2) == 0 { comes } else { std::mem::replace(&mut stays, comes) };
        stops_made.stop(goes);
    }
    let published = flow.stop();
    rig.wait_drained(PATIENCE, &[&stays]);
    stays.stop();
    Account::take(&rig).assert_right(published, log_fate);
    stops_made.tell("in a rebalance");
}

/// Scenario: a worker is stopped while its table's server answers a third of a second late.
/// Guarantee: exit 0 within 25 s each time, and each row is there once.
#[test]
fn stops_with_a_slow_sink_do_not_hang() {
    let Some(broker) = broker() else { return };
    let Some(server) = Postgres::start() else { return };
    let (name, wire) = ("terms-sink", Wire::before(server.port()));
    server.database(name);
    server.sql(name, "create table lines (number bigint, whole jsonb not null)");
    let sink = format!(
        "\n  - postgres: {{ host: 127.0.0.1, port: {}, database: {name}, user: {ADMIN}, table: lines, \
         columns: {{ number: 'attributes[\"number\"]' }}, record: whole, roll: {{ age: 200ms }} }}",
        wire.port()
    );
    let rig = Rig::new(&broker.bootstrap(), name).sinks(&sink).with_topics(3);
    let flow = Flow::start(&rig.witness, &rig.topic, 300, log_line);
    let (mut random, mut stops_made) = (Random::new(3), Stops::default());
    for _ in 0..stops() {
        let mut worker = rig.working();
        wire.delay(Duration::from_millis(150));
        worker.wait_until("it holds what the sink has not", |worker| {
            worker.pairs().iter().any(|pair| pair.unsettled > 0)
        });
        pass_time(Duration::from_millis(random.below(600) as u64));
        stops_made.stop(worker);
        wire.mend();
    }
    let published = flow.stop();
    let last = rig.working();
    rig.wait_drained(PATIENCE, &[&last]);
    last.stop();
    let kept = (0..published).filter(|number| number % 50 != 7 && !number.is_multiple_of(5)).count();
    let found = server
        .sql(name, "select count(*), count(distinct number), count(distinct whole->>'_origin') from lines");
    assert_eq!(found, format!("{kept}|{kept}|{kept}"));
    stops_made.tell("with a slow sink");
}
