//! A bad network between workers and their broker, and between a worker and its table.

use std::time::{Duration, Instant};

use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::postgres::{ADMIN, Postgres};
use longshore_tests::harness::report;
use longshore_tests::harness::wait::pass_time;
use longshore_tests::harness::wire::{Way, Wire};
use longshore_tests::harness::{Account, Flow, Rig, Worker};

use super::progress::Mark;
use super::{broker, is_full, wire};

/// The default.
const SESSION: Duration = Duration::from_secs(10);
/// What the promise allows.
const MOST: Duration = Duration::from_secs(2 * SESSION.as_secs());
/// How late each way is.
const LATE: Duration = Duration::from_millis(500);

/// What happens to the network, and whether records flow while it lasts or only when it is over.
struct Trouble {
    name: &'static str,
    begin: fn(&Wire),
    flows: bool,
}

const TROUBLES: [Trouble; 6] = [
    Trouble { name: "all connections cut", begin: Wire::cut, flows: false },
    Trouble { name: "requests do not arrive", begin: |wire| wire.hold(Way::There), flows: false },
    Trouble { name: "answers do not arrive", begin: |wire| wire.hold(Way::Back), flows: false },
    Trouble {
        name: "nothing arrives",
        begin: |wire| [Way::There, Way::Back].into_iter().for_each(|way| wire.hold(way)),
        flows: false,
    },
    Trouble { name: "connections half-open", begin: Wire::abandon, flows: true },
    Trouble { name: "500 ms later each way", begin: |wire| wire.delay(LATE), flows: true },
];

/// How long a trouble lasts beyond the session's timeout, so that the broker gives the partitions to nobody; in the long form also far
/// shorter and longer ones.
fn spells() -> &'static [Duration] {
    const LONG: [Duration; 4] =
        [Duration::from_secs(11), Duration::from_secs(1), Duration::from_secs(20), Duration::from_secs(45)];
    if is_full() { &LONG } else { &LONG[..1] }
}

fn assert_alive(crew: &mut [Worker], when: &str) {
    for worker in crew {
        assert!(!worker.process.has_ended(), "{when}: a worker ended\n{}", worker.process.transcript());
    }
}

/// Lets one trouble come and go, and gives how long it took until records flowed again.
fn suffer(rig: &Rig, wire: &Wire, trouble: &Trouble, spell: Duration, crew: &[Worker]) -> Duration {
    let began = Instant::now();
    let mark = Mark::set(rig);
    (trouble.begin)(wire);
    if trouble.flows {
        let took = mark.wait_until_passed(rig, crew);
        pass_time(spell.saturating_sub(began.elapsed()));
        wire.mend();
        return took;
    }
    pass_time(spell);
    wire.mend();
    Mark::set(rig).wait_until_passed(rig, crew)
}

/// Scenario: between two workers and the broker, one after the other and each for longer than a session: connections are cut, requests or
/// answers or both do not arrive (and arrive late when it is over), the peer of each connection is gone without a word, everything is half
/// a second late. Records keep coming.
/// Guarantee: I1 to I4; no worker ends; at most two session timeouts after each trouble every partition has new commits. A broker that does not
/// answer is named in the log, with what to do next (I6).
#[test]
fn a_bad_network_loses_and_doubles_nothing() {
    let Some(broker) = broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "network")
        .kafka(&format!("{{ brokers: \"127.0.0.1:{}\" }}", wire().port()))
        .set(&format!("kafka.client.session.timeout.ms={}", SESSION.as_millis()))
        .with_topics(4);
    let mut crew = [rig.working(), rig.working()];
    let flow = Flow::start(&rig.witness, &rig.topic, 500, log_line);
    flow.wait_for_more(500);
    let mut late = Vec::new();
    for (trouble, spell) in
        TROUBLES.iter().flat_map(|trouble| spells().iter().map(move |spell| (trouble, *spell)))
    {
        let took = suffer(&rig, wire(), trouble, spell, &crew);
        let name = format!("{}, {} s", trouble.name, spell.as_secs());
        report::figure(
            &name,
            &format!("flows after {:.1} s", took.as_secs_f64()),
            &format!("<= {} s", MOST.as_secs()),
        );
        if took > MOST {
            late.push((name.clone(), took));
        }
        assert_alive(&mut crew, &name);
        Account::take(&rig).assert_sound();
    }
    let published = flow.stop();
    rig.wait_drained(Duration::from_secs(60), &crew.iter().collect::<Vec<_>>());
    let said: Vec<_> = crew.iter().map(|worker| worker.process.transcript()).collect();
    crew.into_iter().for_each(Worker::stop);
    Account::take(&rig).assert_right(published, log_fate);
    let broker = format!("broker=\"127.0.0.1:{}/", wire().port());
    let named =
        |line: &str| line.contains("REQTMOUT") && line.contains(&broker) && line.contains("longshore doctor");
    assert!(said.iter().flat_map(|said| said.lines()).any(named), "{}", said.join("\n======\n"));
    assert!(late.is_empty(), "longer than two session timeouts: {late:?}\n{}", said.join("\n======\n"));
}

/// Scenario: between a worker and its table's server connections are cut, nothing arrives for a while, everything is half a second late, and in
/// the long form the server's end of each connection is gone without a word.
/// Guarantee: I1 to I4 in the files beside it, each row is there once; five seconds after a trouble every partition has new commits, later ones while
/// everything is late and of a dead connection as soon as a call's time is up; and nothing goes to the retry topic.
#[test]
fn a_bad_network_to_a_table_loses_and_doubles_nothing() {
    let Some(broker) = broker() else { return };
    let Some(server) = Postgres::start() else { return };
    let (name, own) = ("network-table", Wire::before(server.port()));
    server.database(name);
    server.sql(name, "create table lines (number bigint, whole jsonb not null)");
    let rig = Rig::new(&broker.bootstrap(), name);
    let files = rig.files().display().to_string();
    let rig = rig
        .sinks(&format!(
            "\n  - files: {{ path: \"{files}\", roll: {{ bytes: 1MiB, age: 300ms }} }}\n  - postgres: {{ host: 127.0.0.1, port: {}, \
             database: {name}, user: {ADMIN}, table: lines, columns: {{ number: 'attributes[\"number\"]' }}, record: whole, roll: {{ age: 200ms }} }}",
            own.port()
        ))
        .with_topics(3);
    let mut crew = [rig.working()];
    let flow = Flow::start(&rig.witness, &rig.topic, 300, log_line);
    flow.wait_for_more(300);
    let mut late = Vec::new();
    for trouble in TROUBLES.iter().filter(|trouble| is_full() || trouble.name != "connections half-open") {
        // A publish is a dozen messages, each of which waits for the one before.
        let most = Duration::from_secs(match trouble.name {
            "connections half-open" => 90,
            "500 ms later each way" => 30,
            _ => 5,
        });
        let took = suffer(&rig, &own, trouble, Duration::from_secs(3), &crew);
        let what = format!("table: {}", trouble.name);
        report::figure(
            &what,
            &format!("flows after {:.1} s", took.as_secs_f64()),
            &format!("<= {} s", most.as_secs()),
        );
        if took > most {
            late.push((what.clone(), took));
        }
        assert_alive(&mut crew, &what);
        Account::take(&rig).assert_sound();
    }
    let published = flow.stop();
    rig.wait_drained(Duration::from_secs(60), &crew.iter().collect::<Vec<_>>());
    crew.into_iter().for_each(Worker::stop);
    Account::take(&rig).assert_right(published, log_fate);
    assert_eq!(
        rig.witness.ends(&rig.retry_topic()).iter().sum::<i64>(),
        0,
        "an outage is no reason for a retry"
    );
    let kept = (0..published).filter(|number| number % 50 != 7 && !number.is_multiple_of(5)).count();
    let found = "select count(*), count(distinct number), count(distinct whole->>'_origin') from lines";
    assert_eq!(server.sql(name, found), format!("{kept}|{kept}|{kept}"));
    assert!(late.is_empty(), "{late:?}");
}
