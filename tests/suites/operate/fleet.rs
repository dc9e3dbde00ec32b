//! `/fleet`: what any worker says of the whole fleet, found through the group.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longshore_broker::BrokerOptions;
use longshore_tests::harness::{Record, Rig, Worker, shared_broker, start_broker, wait_for, wait_until};
use serde_json::Value;

/// A few looks, and what a busy machine adds.
const PATIENCE: Duration = Duration::from_secs(120);

/// The fleet as a worker sees it; none while it does not answer.
fn fleet(worker: &mut Worker) -> Option<Value> {
    let (code, body) = worker.answer("/fleet")?;
    let said: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{code} {body:?}: {error}"));
    assert!(code == 200 || said["reason"].is_string(), "{code} {said}");
    (code == 200).then_some(said)
}

/// The fleet when it is as wanted.
#[track_caller]
fn fleet_that(worker: &mut Worker, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for(what, PATIENCE, || {
            last = fleet(worker)?;
            wanted(&last).then(|| last.clone())
        })
    }));
    seen.unwrap_or_else(|_| panic!("{what}: {last:#}"))
}

/// Name, whether it answers, and how many partitions it has.
type Row = (String, bool, u64);

/// What must be the same whoever looks: who is there and who has what.
fn shape(said: &Value) -> (Vec<Row>, Vec<(i64, String)>) {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let workers = said["workers"].as_array().unwrap().iter().map(|worker| {
        (text(&worker["name"]), worker["answers"] == true, worker["partitions"].as_u64().unwrap())
    });
    let partitions = said["partitions"].as_array().unwrap().iter();
    let partitions = partitions.map(|one| (one["partition"].as_i64().unwrap(), text(&one["worker"])));
    (workers.collect(), partitions.collect())
}

fn answering(count: u64) -> impl Fn(&Value) -> bool {
    move |said| said["totals"]["answering"] == count && said["group_state"] == "Stable"
}

fn records(count: usize) -> Vec<Record> {
    let text = |n: usize| {
        if n.is_multiple_of(50) { "broken".to_owned() } else { format!("{{\"severity_number\":{n}}}") }
    };
    (0..count).map(|n| Record::new(&format!("k{}", n % 97), text(n))).collect()
}

fn two_workers_are_one_fleet(name: &str, new_protocol: bool) {
    let Some(broker) = shared_broker() else { return };
    let mut rig = Rig::new(&broker.bootstrap(), name).with_topics(4);
    if new_protocol {
        // Sessions are the broker's matter there.
        rig.settings.retain(|setting| !setting.contains("session") && !setting.contains("heartbeat"));
        rig = rig.set("kafka.group_protocol=consumer");
    }
    rig.witness.publish(&rig.topic, &records(2_000));
    let (mut one, mut other) = (rig.working(), rig.working());
    let first = fleet_that(&mut one, "both answer", answering(2));
    let second = fleet_that(&mut other, "both answer the other as well", answering(2));
    assert_eq!(shape(&first), shape(&second));
    assert_eq!((&first["pipeline"], &first["group"]), (&name.into(), &rig.group().into()));
    assert_eq!(first["pipeline_version"], second["pipeline_version"]);

    rig.wait_drained(PATIENCE, &[&one, &other]);
    let drained = fleet_that(&mut one, "no lag is left", |said| {
        let totals = &said["totals"];
        totals["lag"] == 0 && totals["dead_letters"] == 40
    });
    let totals = &drained["totals"];
    assert_eq!(
        (&totals["seconds_behind"], &totals["drain_seconds"]),
        (&0.0.into(), &0.0.into()),
        "{drained}"
    );
    let settled: u64 = ["sunk", "filtered", "dead", "already_held"]
        .iter()
        .map(|place| drained["outcomes"][place].as_u64().unwrap())
        .sum();
    assert!(settled >= 2_000, "{drained}");
    for worker in drained["workers"].as_array().unwrap() {
        let number = |name: &str| worker[name].as_u64().unwrap_or_else(|| panic!("{name}: {worker}"));
        // What the metrics tell, by their own page: the default of limits.memory less what the code itself takes.
        assert!(number("budget") > 0 && number("memory") <= number("budget"), "{worker}");
        assert_eq!((&worker["state"], &worker["host"]), (&"running".into(), &"127.0.0.1".into()));
        let id = format!("longshore.http.{}", number("port"));
        assert_eq!(worker["client_id"], id.as_str());
        assert_eq!(worker["name"], format!("127.0.0.1:{}", number("port")).as_str());
    }
    let own: Value = serde_json::from_str(&one.page("/status").unwrap()).unwrap();
    let limit = one.metric("longshore_budget_limit_bytes");
    assert_eq!(own["budget"].as_f64(), Some(limit), "{own}");
    let mine = own["partitions_detail"].as_array().unwrap().len();
    assert!(mine > 0 && own["partitions"] == mine, "{own}");

    other.process.kill9();
    let killed = fleet_that(&mut one, "the killed one shows", |said| said["totals"]["answering"] == 1);
    if killed["totals"]["workers"] == 2 {
        let dead = killed["workers"].as_array().unwrap().iter().find(|worker| worker["answers"] == false);
        assert!(dead.unwrap()["memory"].is_null(), "{killed}");
    }
    let alone = fleet_that(&mut one, "one has them all", |said| {
        said["totals"]["workers"] == 1 && said["workers"][0]["partitions"] == 4
    });
    assert_eq!(alone["totals"]["answering"], 1, "{alone}");
    one.stop();
}

/// Scenario: two workers with two thousand records, some broken; then one is killed. Guarantee: both tell the same fleet, with true memory, budget, lag and dead letters; the killed
/// one shows.
#[test]
fn any_worker_tells_the_whole_fleet() {
    two_workers_are_one_fleet("operate-fleet", false);
}

/// The same with the group protocol in which the brokers assign.
#[test]
fn any_worker_tells_the_whole_fleet_of_the_new_protocol() {
    two_workers_are_one_fleet("operate-fleet-848", true);
}

/// Takes connections at a port and answers each with these bytes; how many there were.
fn listen(answer: String) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (port, asked)
}

/// Scenario: beside a worker, the group has a member without pages, one that names a port in another way, and one that names it as a worker does and sends whoever asks elsewhere.
/// Guarantee: all are shown with what the group gave them; only the last is asked, and where it sends people nobody goes.
#[test]
fn strangers_are_shown_and_not_believed() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "operate-strangers").with_topics(4);
    let (elsewhere, sent) = listen("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned());
    let redirect = format!(
        "HTTP/1.1 307 x\r\nlocation: http://127.0.0.1:{elsewhere}/status\r\ncontent-length: 0\r\n\r\n"
    );
    let (trap, trapped) = listen(redirect);
    let (other, reached) = listen(String::new());
    let mut worker = rig.working();
    let mut strangers = Vec::new();
    for id in ["ui".to_owned(), format!("ui-http.{other}"), format!("longshore.http.{trap}")] {
        // One after another: each start writes the pipeline file anew.
        strangers.push(rig.worker_with(&["http.listen=off", &format!("kafka.client.client.id={id}")], &[]));
        let members = strangers.len() as u64 + 1;
        fleet_that(&mut worker, "it is a member", |said| said["totals"]["workers"] == members);
    }
    let said = fleet_that(&mut worker, "all four have a partition", |said| {
        let workers = said["workers"].as_array().unwrap();
        workers.len() == 4 && workers.iter().all(|worker| worker["partitions"] == 1)
    });
    assert_eq!(said["totals"]["answering"], 1, "{said}");
    let names: Vec<_> =
        said["workers"].as_array().unwrap().iter().map(|worker| worker["name"].as_str().unwrap()).collect();
    for name in ["ui@127.0.0.1".to_owned(), format!("ui-http.{other}@127.0.0.1"), format!("127.0.0.1:{trap}")]
    {
        assert!(names.contains(&name.as_str()), "{name} in {names:?}");
    }
    assert!(
        said["partitions"].as_array().unwrap().iter().all(|one| one["worker"].is_string() && one["lag"] == 0),
        "{said}"
    );
    wait_until("the trap is asked", PATIENCE, || trapped.load(Ordering::SeqCst) > 0);
    assert_eq!((sent.load(Ordering::SeqCst), reached.load(Ordering::SeqCst)), (0, 0));
    worker.stop();
    drop(strangers);
}

/// Scenario: the broker goes away under a worker that has told of its fleet. Guarantee: it says so, and tells again when the broker is back.
#[test]
fn without_a_broker_the_fleet_is_not_known() {
    let Some(mut broker) = start_broker(BrokerOptions::default()) else { return };
    let rig = Rig::new(&broker.bootstrap(), "operate-away").with_topics(2);
    let mut worker = rig.working();
    fleet_that(&mut worker, "it tells", answering(1));
    broker.stop(1).unwrap();
    let (code, said) = wait_for("it says that the broker is away", PATIENCE, || {
        worker.answer("/fleet").filter(|(code, _)| *code != 200)
    });
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["cause"]), (503, &"broker".into()), "{said}");
    assert!(worker.page("/status").is_some(), "its own figures need no broker");
    broker.restart(1).unwrap();
    fleet_that(&mut worker, "it tells again", answering(1));
    worker.stop();
}
