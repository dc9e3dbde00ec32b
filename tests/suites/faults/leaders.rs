//! Leaders of partitions that hang or are gone, beside others that are well.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use longshore_broker::{BrokerOptions, JvmBroker};
use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::rig::{LETTER_SETTINGS, PATIENCE, RETRY_SETTINGS};
use longshore_tests::harness::{Account, Longshore, Record, Rig, Worker, report, start_broker, wait_until};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rustix::process::{Pid, Signal, kill_process};

use super::is_full;

/// Records of each partition in each round.
const LINES: u64 = 50;
/// How long partitions that are well may wait beside one that is not, from the start of a process to all of their records committed.
const SOON: Duration = Duration::from_secs(20);
/// The topic by which groups have their coordinator; its leaders of a partition are coordinators of groups.
const COORDINATORS: &str = "__consumer_offsets";
/// Its partitions.
const GROUPS: i32 = 4;

/// Three brokers with one replica of everything, so that nobody takes the place of a leader. One that hangs is not noticed by the others: only who
/// asks it for something knows.
fn cluster() -> Option<JvmBroker> {
    let properties = [
        ("broker.session.timeout.ms", "60000"),
        ("offsets.topic.replication.factor", "1"),
        ("default.replication.factor", "1"),
        ("min.insync.replicas", "1"),
    ];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    start_broker(BrokerOptions { brokers: 3, properties, ..BrokerOptions::default() })
}

/// The node that coordinates a group: the leader of the partition that Java's hash of its name chooses.
fn coordinator(rig: &Rig) -> i32 {
    let hash =
        rig.group().bytes().fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", rig.witness.bootstrap()).create().unwrap();
    let seen = consumer.fetch_metadata(Some(COORDINATORS), PATIENCE).unwrap();
    let wanted = (hash & i32::MAX) % GROUPS;
    let partitions = seen.topics()[0].partitions();
    assert_eq!(partitions.len(), GROUPS as usize);
    partitions.iter().find(|partition| partition.id() == wanted).unwrap().leader()
}

/// Makes a topic with a partition on each of these nodes.
fn make(rig: &Rig, topic: &str, nodes: &[i32], settings: &[(&str, &str)]) {
    let places: Vec<_> = nodes.iter().map(std::slice::from_ref).collect();
    let mut new = NewTopic::new(topic, nodes.len() as i32, TopicReplication::Variable(&places));
    for (name, value) in settings {
        new = new.set(name, value);
    }
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", rig.witness.bootstrap()).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let made = runtime.block_on(admin.create_topics([&new], &AdminOptions::new()));
    assert!(matches!(made.as_deref(), Ok([Ok(_)])), "{topic}: {made:?}");
    wait_until("the topic is there", PATIENCE, || rig.witness.partitions(topic) == nodes.len() as i32);
}

/// Makes a pipeline's topics: who leads each partition of its input, and of its retry topic.
fn lead(rig: &Rig, inputs: &[i32], retries: &[i32], well: i32) {
    make(rig, &rig.topic, inputs, &[]);
    make(rig, &rig.retry_topic(), retries, RETRY_SETTINGS);
    make(rig, &rig.letter_topic(), &vec![well; inputs.len()], LETTER_SETTINGS);
    make(rig, &rig.journal_topic(), &[well], &[("cleanup.policy", "compact")]);
}

/// Publishes the next round into these partitions, and gives how many records were published in all.
fn publish(rig: &Rig, partitions: &[i32], from: u64) -> u64 {
    let count = LINES * partitions.len() as u64;
    let at = |number: u64| partitions[(number % partitions.len() as u64) as usize];
    let records: Vec<Record> = (0..count).map(|number| log_line(from + number).to(at(number))).collect();
    rig.witness.publish(&rig.topic, &records);
    from + count
}

/// Waits until so many rounds of these partitions are committed.
fn wait_committed(rig: &Rig, worker: &Worker, partitions: &[i32], rounds: u64) -> Duration {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let found = rig.witness.try_committed(&rig.group(), &rig.topic, 4).unwrap_or_default();
        let at = |partition| found.get(partition).map_or(0, |committed| committed.offset);
        if partitions.iter().all(|partition| at(partition) >= (LINES * rounds) as i64) {
            return begun.elapsed();
        }
        longshore_tests::harness::wait::pass_time(Duration::from_millis(50));
    }
    panic!("partitions {partitions:?} stand still\n{}", worker.process.transcript());
}

/// Whether the worker says of a partition that nothing comes of it, as a reason, by a metric, and as not ready.
fn tells(worker: &mut Worker, place: &str) -> bool {
    let gauge = worker.metric("longshore_broker_trouble{reason=\"broker.fetches\"}");
    let named = format!("broker.fetches: nothing comes of {place}");
    worker.answer("/readyz").is_some_and(|(code, why)| code == 503 && why.starts_with(&named)) && gauge > 0.0
}

fn is_well(worker: &mut Worker) -> bool {
    let gauge = worker.metric("longshore_broker_trouble{");
    worker.answer("/readyz").is_some_and(|(code, _)| code == 200) && gauge < 0.5
}

/// `longshore lag` shows what the leaders that are well know, says which one does not answer, and does not end as if it had seen all.
fn assert_lag(rig: &Rig, hanging: i32) {
    let (group, bootstrap) = (rig.group(), rig.witness.bootstrap());
    let asked = ["lag", "--broker", bootstrap, "-g", &group, "-t", &rig.topic, "-o", "json"];
    let mut process = Longshore::start(asked);
    assert_eq!(process.wait(PATIENCE).code(), Some(69), "{}", process.transcript());
    let (out, err) = (process.stdout(), process.stderr());
    let rows: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(rows.len(), 4, "{out}");
    for row in rows {
        let is_seen = row["lag"].is_u64() && row["end"].is_i64() && row["error"].is_null();
        let is_told =
            row["lag"].is_null() && row["error"].as_str().is_some_and(|why| why.contains("broker."));
        assert!(if row["partition"] == hanging { is_told } else { is_seen }, "{out}");
    }
    assert!(err.contains(&format!("offsets of {}/{hanging}", rig.topic)), "{err}");
    assert!(err.contains("1 partition unknown"), "{err}");
}

/// Asks each broker for the id of a producer (InitProducerId, version 1): it hands them out of a block that it gets from the controller when it is
/// first asked. If that one hangs, whoever wants an id of a broker that was never asked waits for as long as brokers wait for their controller (30 s,
/// measured), whoever leads the partition that it writes to.
fn number_producers(broker: &JvmBroker) {
    let request: Vec<u8> = [
        &16_i32.to_be_bytes()[..],
        &22_i16.to_be_bytes(),
        &1_i16.to_be_bytes(),
        &7_i32.to_be_bytes(),
        // No client id; no transactional id, and its timeout.
        &(-1_i16).to_be_bytes(),
        &(-1_i16).to_be_bytes(),
        &1_000_i32.to_be_bytes(),
    ]
    .concat();
    for address in broker.bootstrap().split(',') {
        wait_until("the broker gives a producer's id", PATIENCE, || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&request).unwrap();
            // Length, correlation, throttle time, error code, id, epoch.
            let mut answer = [0; 24];
            stream.read_exact(&mut answer).unwrap();
            answer[12..14] == [0, 0]
        });
    }
}

fn signal(broker: &JvmBroker, node: i32, signal: Signal) {
    let pid = broker.pid(node.cast_unsigned()).unwrap();
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// Scenario: three brokers and one replica of everything. One broker hangs. It leads one partition of the input of a worker that starts just then, and a
/// partition of its retry topic; of a worker that has been at work for a while it leads a partition of the retry topic alone. Then it goes on.
/// In the long form it is stopped in order after that, so that its partitions have no leader, and started again.
/// Guarantee: I6, the partitions of the first worker whose leaders are well flow within seconds; both workers tell what holds up the rest, `longshore lag`
/// tells of all the others, and all is well when the broker is. I1 to I4.
#[test]
fn a_leader_that_hangs_holds_up_its_own_partitions_alone() {
    let Some(mut broker) = cluster() else { return };
    let rig = |name: &str| Rig::new(&broker.bootstrap(), name);
    let (late, early) = (rig("late"), rig("early"));
    let coordinators = [&late, &early].map(coordinator);
    let victim = (1..=3).find(|node| !coordinators.contains(node)).unwrap();
    let well: Vec<_> = (1..=3).filter(|node| *node != victim).collect();
    lead(&late, &[well[0], victim, well[1], well[0]], &[victim, well[0], well[0], well[1]], well[0]);
    lead(&early, &[well[0]], &[victim], well[0]);
    let mut first = early.working();
    let early_count = publish(&early, &[0], 0);
    early.wait_drained(PATIENCE, &[&first]);
    let late_count = publish(&late, &[0, 1, 2, 3], 0);

    number_producers(&broker);
    signal(&broker, victim, Signal::STOP);
    let begun = Instant::now();
    let mut second = late.worker();
    wait_committed(&late, &second, &[2, 3], 1);
    let took = begun.elapsed();
    report::figure(
        "one leader of three hangs as a worker starts",
        &format!("the others' partitions are done after {:.1} s", took.as_secs_f64()),
        &format!("<= {} s", SOON.as_secs()),
    );
    assert!(took < SOON, "{took:?}\n{}", second.process.transcript());
    second.wait_until("it tells what is held up", |worker| tells(worker, "late.in/0 and 1 more"));
    first.wait_until("it tells of its retry lane", |worker| tells(worker, "early.in.early.retry/0"));
    let late_count = publish(&late, &[2, 3], late_count);
    let took = wait_committed(&late, &second, &[2, 3], 2);
    assert!(took < SOON, "{took:?}\n{}", second.process.transcript());
    assert_lag(&late, 1);
    signal(&broker, victim, Signal::CONT);
    come_back(&late, &mut second);
    come_back(&early, &mut first);

    if is_full() {
        broker.stop(victim.cast_unsigned()).unwrap();
        second.wait_until("it tells what is held up", |worker| tells(worker, "late.in/1 and 1 more"));
        first.wait_until("it tells of its retry lane", |worker| tells(worker, "early.in.early.retry/0"));
        broker.restart(victim.cast_unsigned()).unwrap();
        come_back(&late, &mut second);
        come_back(&early, &mut first);
    }
    first.stop();
    second.stop();
    Account::take(&late).assert_right(late_count, log_fate);
    Account::take(&early).assert_right(early_count, log_fate);
}

fn come_back(rig: &Rig, worker: &mut Worker) {
    worker.wait_until("all is well", is_well);
    rig.wait_drained(PATIENCE, &[worker]);
}
