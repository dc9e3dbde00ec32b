//! Whole workers: records from a real broker to a real table, whatever dies in between.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::postgres::{ADMIN, Postgres, shared_postgres};
use longshore_tests::harness::rig::PATIENCE;
use longshore_tests::harness::{Flow, Rig, binary, shared_broker, wait_until};
use rustix::process::Signal;

/// Nothing in the table keeps a record from being there twice, so a double is seen. Every 97th line is refused.
const TABLE: &str = "create table logs (number bigint constraint fits check (number % 97 <> 3), body text, \
    seen timestamptz, whole jsonb not null)";

fn rig(bootstrap: &str, name: &str, server: &Postgres) -> Rig {
    server.database(name);
    let sink = format!(
        "\n  - postgres: {{ host: 127.0.0.1, port: {}, database: {name}, user: {ADMIN}, table: logs, \
         columns: {{ number: 'attributes[\"number\"]', body: body, seen: time }}, record: whole, \
         roll: {{ age: 200ms }} }}",
        server.port()
    );
    Rig::new(bootstrap, name).sinks(&sink).set("kafka.client.session.timeout.ms=1500")
}

/// Where every record of [`log_line`] is: nowhere twice, and where it should be.
fn assert_account(rig: &Rig, server: &Postgres, published: u64, refuses: bool) {
    let letters: BTreeSet<(String, String)> = rig
        .witness
        .read(&rig.letter_topic())
        .iter()
        .map(|letter| {
            (letter.header("longshore.origin").unwrap(), letter.header("longshore.reason").unwrap())
        })
        .collect();
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, reason) in &letters {
        *reasons.entry(reason).or_default() += 1;
    }
    let broken = |number: &u64| number % 50 == 7;
    let loud = |number: &u64| !broken(number) && !number.is_multiple_of(5);
    let refused = |number: &u64| refuses && number % 97 == 3;
    let count = |what: &dyn Fn(&u64) -> bool| (0..published).filter(|number| what(number)).count() as u64;
    assert_eq!(reasons.get("decode.json").copied().unwrap_or(0), count(&broken), "{reasons:?}");
    assert_eq!(
        reasons.get("sink.rejected").copied().unwrap_or(0),
        count(&|number| (number % 97 == 3) && loud(number)),
        "{reasons:?}"
    );
    let found = "select number, count(*), count(distinct whole->>'_origin') from logs group by number order by number";
    let found = server.rows(&rig.name, found);
    let expected: Vec<String> = (0..published)
        .filter(|number| loud(number) && !refused(number))
        .map(|number| format!("{number}|1|1"))
        .collect();
    let wrong: Vec<&String> = found.iter().filter(|row| !row.ends_with("|1|1")).collect();
    assert!(wrong.is_empty(), "rows that are there more than once: {wrong:?}");
    assert_eq!(found.len(), expected.len());
    assert_eq!(found, expected);
}

fn waiting_copies(rig: &Rig) -> i64 {
    rig.witness.ends(&rig.retry_topic()).iter().sum()
}

/// A server that answers again has new rows within five seconds.
fn assert_rows_come(rig: &Rig, server: &Postgres) {
    let rows = || server.sql(&rig.name, "select count(*) from logs").parse::<u64>().unwrap();
    let (before, back) = (rows(), Instant::now());
    wait_until("rows come again", PATIENCE, || rows() > before);
    assert!(back.elapsed() < Duration::from_secs(5), "{:?} after the server's return", back.elapsed());
}

/// Scenario: workers die (SIGKILL) before and after a publish, before records settle and after a letter, while records keep
/// coming, one in 97 of which the table refuses. Then the constraint is dropped and the refused letters are replayed.
/// Guarantee (I1, I2): each record has its one place; the replayed ones are rows then, once.
#[test]
fn each_record_is_there_once_whenever_a_worker_dies() {
    let (Some(broker), Some(server)) = (shared_broker(), shared_postgres()) else { return };
    let rig = rig(&broker.bootstrap(), "pg-points", server).with_topics(3);
    server.sql(&rig.name, TABLE);
    let flow = Flow::start(&rig.witness, &rig.topic, 600, log_line);
    for point in ["publish.before:2", "publish.after:3", "settle.before:2", "letter.after:3"] {
        let mut worker = rig.worker_with(&[], &[("LONGSHORE_CRASH_AT", point)]);
        let status = worker.process.wait(Duration::from_secs(60));
        assert_eq!(status.signal(), Some(9), "{point}: {status}\n{}", worker.process.transcript());
    }
    let published = flow.stop();
    let last = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&last]);
    assert_account(&rig, server, published, true);

    server.sql(&rig.name, "alter table logs drop constraint fits");
    let replay = Command::new(binary())
        .args(["dlq", "replay", "-c"])
        .arg(rig.file())
        .args(["--reason", "sink.rejected", "--yes"])
        .output()
        .unwrap();
    assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    let refused = (0..published).filter(|n| n % 97 == 3 && !n.is_multiple_of(5) && n % 50 != 7).count();
    wait_until("the replayed records are rows", PATIENCE, || {
        server.sql(&rig.name, "select count(*) from logs where number % 97 = 3") == refused.to_string()
    });
    last.stop();
    assert_account(&rig, server, published, false);
}

/// Scenario: one of two workers sleeps (SIGSTOP) beyond its session's timeout with open segments; the other takes over; then
/// the sleeper is woken.
/// Guarantee (I2, I8): what the zombie still publishes is refused, and each record is there once.
#[test]
fn a_zombie_doubles_nothing() {
    let (Some(broker), Some(server)) = (shared_broker(), shared_postgres()) else { return };
    let rig = rig(&broker.bootstrap(), "pg-zombie", server).with_topics(4);
    server.sql(&rig.name, TABLE);
    let (mut sleeper, mut other) = (rig.working(), rig.working());
    let flow = Flow::start(&rig.witness, &rig.topic, 1_000, log_line);
    flow.wait_for_more(1_000);
    sleeper.freeze_until_replaced(&mut other, 4);
    flow.wait_for_more(500);
    sleeper.wake_as_zombie();
    let published = flow.stop();
    rig.wait_drained(Duration::from_secs(60), &[&sleeper, &other]);
    sleeper.stop();
    other.stop();
    assert_account(&rig, server, published, true);
}

/// Scenario: the server is killed (SIGKILL) and stays away for a while (3 s, a minute in the long form), then stands still (SIGSTOP) for as long, under a flow of
/// records.
/// Guarantee (I1, I2, I5): the worker says that the sink is away and goes on by itself within five seconds of its return; nothing goes
/// to the retry topic, each record is there once, and the worker's memory stays within its limit.
#[test]
fn an_outage_pours_nothing_into_the_retry_topic() {
    let Some(broker) = shared_broker() else { return };
    let Some(mut server) = Postgres::start() else { return };
    let rig = rig(&broker.bootstrap(), "pg-outage", &server).with_topics(2);
    server.sql(&rig.name, TABLE);
    let mut worker = rig.working();
    let flow = Flow::start(&rig.witness, &rig.topic, 500, log_line);
    flow.wait_for_more(500);
    let away = if std::env::var("LONGSHORE_FAULTS").is_ok_and(|value| value == "full") { 60 } else { 3 };
    server.kill();
    worker.wait_until("the worker says that the sink is away", |worker| {
        worker.pairs().iter().any(|pair| pair.state == "held" && pair.reason.contains("sink.unavailable"))
    });
    longshore_tests::harness::wait::pass_time(Duration::from_secs(away));
    server.run();
    assert_rows_come(&rig, &server);
    server.signal_all(Signal::STOP);
    longshore_tests::harness::wait::pass_time(Duration::from_secs(away));
    server.signal_all(Signal::CONT);
    assert_rows_come(&rig, &server);
    let published = flow.stop();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    let peak = worker.memory_kib("VmHWM").unwrap_or(0) / 1_024;
    assert!(peak <= 256 * 115 / 100, "the worker took {peak} MiB");
    worker.stop();
    assert_eq!(waiting_copies(&rig), 0, "an outage is no reason for a retry");
    assert_account(&rig, &server, published, true);
}

/// Scenario: a worker starts while the server is away, and has to wait for its ledgers; records in retry would wait for a minute.
/// Guarantee (I6): it says so, and goes on within five seconds of the server's return.
#[test]
fn a_worker_that_starts_in_an_outage_goes_on_when_it_ends() {
    let Some(broker) = shared_broker() else { return };
    let Some(mut server) = Postgres::start() else { return };
    let rig = rig(&broker.bootstrap(), "pg-later", &server).set("failure.retry.first=1m").with_topics(2);
    server.sql(&rig.name, TABLE);
    server.kill();
    let flow = Flow::start(&rig.witness, &rig.topic, 200, log_line);
    let mut worker = rig.worker();
    worker.wait_until("the worker says that the sink is away", |worker| {
        worker.pairs().iter().any(|pair| pair.reason.contains("sink.unavailable"))
    });
    // Some tries are in vain, so that the next one is not among the first.
    longshore_tests::harness::wait::pass_time(Duration::from_secs(3));
    server.run();
    assert_rows_come(&rig, &server);
    let published = flow.stop();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();
    assert_account(&rig, &server, published, true);
}

/// Scenario: one record in ten fails twice in a step and waits in the retry topic meanwhile; the worker is killed once.
/// Guarantee (I2): what comes back later is a row once, like all others.
#[test]
fn retried_records_come_later_and_once() {
    let (Some(broker), Some(server)) = (shared_broker(), shared_postgres()) else { return };
    let steps = format!("{}\n  - fail: {{ ratio: 10%, times: 2 }}", longshore_tests::harness::rig::LOG_STEPS);
    let rig = rig(&broker.bootstrap(), "pg-retry", server)
        .steps(&steps)
        .set("failure.retry.first=300ms")
        .set("failure.retry.in_place=0ms")
        .with_topics(2);
    server.sql(&rig.name, TABLE);
    let flow = Flow::start(&rig.witness, &rig.topic, 500, log_line);
    let mut first = rig.working();
    wait_until("copies wait in the retry topic", PATIENCE, || waiting_copies(&rig) > 20);
    first.process.kill9();
    let published = flow.stop();
    let mut last = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&last]);
    last.wait_until("nothing waits any more", |worker| {
        worker.metric("longshore_retry_waiting_records") == 0.0
    });
    wait_until("the retry topic is committed", PATIENCE, || {
        let ends = rig.witness.ends(&rig.retry_topic());
        let committed = rig.witness.committed(&rig.group(), &rig.retry_topic());
        (0..).zip(ends).all(|(partition, end)| committed.get(&partition).map_or(0, |at| at.offset) == end)
    });
    last.stop();
    assert_account(&rig, server, published, true);
}

/// Scenario: the table is not there. Guarantee: the worker says so and ends with the code of a bad deployment.
#[test]
fn a_missing_table_ends_the_worker() {
    let (Some(broker), Some(server)) = (shared_broker(), shared_postgres()) else { return };
    let rig = rig(&broker.bootstrap(), "pg-missing", server).set("limits.halt=2s").with_topics(1);
    let mut worker = rig.worker();
    let code = worker.exit_code(Duration::from_secs(60));
    let said = worker.process.stderr();
    assert!(said.contains("table public.logs does not exist"), "{said}");
    assert_eq!(code, 78, "{said}");
}
