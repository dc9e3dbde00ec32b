//! The broker launcher itself: what every other suite stands on.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use longshore_broker::{BrokerError, BrokerOptions, Data, JvmBroker, Listener, Tool};
use longshore_tests::harness::{shared_broker, start_broker, wait_until};
use rustix::process::{Pid, test_kill_process};

fn create_topic(broker: &JvmBroker, topic: &str) -> Result<(), BrokerError> {
    broker.tool(Tool::Topics, &["--create", "--topic", topic, "--partitions", "1"]).map(drop)
}

fn consume(broker: &JvmBroker, topic: &str, count: usize) -> Result<String, BrokerError> {
    let count = count.to_string();
    let arguments = ["--topic", topic, "--from-beginning", "--max-messages", &count, "--timeout-ms", "20000"];
    broker.tool(Tool::ConsoleConsumer, &arguments).map(|output| output.stdout)
}

fn is_alive(pid: u32) -> bool {
    Pid::from_raw(pid.cast_signed()).is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// Scenario: a consumer group is the first thing that happens on a broker that just became ready.
/// Guarantee: it forms and reads what the console producer wrote.
#[test]
fn ready_means_that_groups_work() {
    let Some(broker) = shared_broker() else { return };
    create_topic(broker, "ready").unwrap();
    broker.tool_with_input(Tool::ConsoleProducer, &["--topic", "ready"], b"one\ntwo\n").unwrap();
    assert_eq!(consume(broker, "ready", 2).unwrap(), "one\ntwo\n");
}

/// Scenario: a tool is asked for the impossible. Guarantee: an error that carries what it wrote.
#[test]
fn a_failing_tool_is_an_error_with_its_output() {
    let Some(broker) = shared_broker() else { return };
    let error = broker.tool(Tool::Topics, &["--describe", "--topic", "nowhere"]).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

/// Scenario: kill -9 of the only node, restart, orderly stop, and a second cluster on the same folder.
/// Guarantee: ports and records stay; the folder belongs to the caller and survives.
#[test]
fn records_survive_kill_restart_and_a_new_owner() {
    let folder = tempfile::tempdir().unwrap();
    let options = || BrokerOptions { data: Data::At(folder.path().join("data")), ..BrokerOptions::default() };
    let Some(mut broker) = start_broker(options()) else { return };
    create_topic(&broker, "kept").unwrap();
    broker.tool_with_input(Tool::ConsoleProducer, &["--topic", "kept"], b"first\n").unwrap();
    let (address, pid) = (broker.bootstrap(), broker.pid(1).unwrap());

    broker.kill9(1).unwrap();
    assert!(!is_alive(pid));
    assert!(matches!(broker.kill9(1), Err(BrokerError::Node { node: 1, .. })));
    broker.restart(1).unwrap();
    assert_eq!(broker.bootstrap(), address);
    broker.tool_with_input(Tool::ConsoleProducer, &["--topic", "kept"], b"second\n").unwrap();
    broker.stop(1).unwrap();
    drop(broker);

    let Some(broker) = start_broker(options()) else { return };
    assert_eq!(consume(&broker, "kept", 2).unwrap(), "first\nsecond\n");
    assert!(fs::read_to_string(broker.log_path(1).unwrap()).is_ok());
    drop(broker);
    assert!(folder.path().join("data/node-1/log/meta.properties").is_file());
}

/// Scenario: three nodes, one is killed. Guarantee: the rest serves reads and writes, and the killed one comes back.
#[test]
fn three_nodes_outlive_one() {
    let Some(mut broker) = start_broker(BrokerOptions { brokers: 3, ..BrokerOptions::default() }) else {
        return;
    };
    assert_eq!(broker.pids().len(), 3);
    create_topic(&broker, "replicated").unwrap();
    broker.kill9(2).unwrap();
    let arguments = ["--topic", "replicated", "--producer-property", "acks=all"];
    broker.tool_with_input(Tool::ConsoleProducer, &arguments, b"written with two\n").unwrap();
    broker.restart(2).unwrap();
    assert_eq!(consume(&broker, "replicated", 1).unwrap(), "written with two\n");
}

/// Scenario: clients come through each guarded listener, on a broker that checks rights.
/// Guarantee: the listener accepts its credentials, and the user may do what an ACL allows and nothing before.
#[test]
fn guarded_listeners_accept_their_credentials() {
    let listeners =
        vec![Listener::Tls, Listener::SaslPlain, Listener::SaslScram, Listener::SaslTls, Listener::SaslToken];
    let options = BrokerOptions { listeners: listeners.clone(), acls: true, ..BrokerOptions::default() };
    let Some(broker) = start_broker(options) else { return };
    create_topic(&broker, "guarded").unwrap();
    let describe = ["--describe", "--topic", "guarded"];
    let refused = broker.tool_via(Listener::SaslTls, Tool::Topics, &describe).unwrap_err();
    assert!(refused.to_string().contains("guarded"), "{refused}");
    // `kafka-topics --describe` reads the topic's configuration too.
    let allow = ["--add", "--allow-principal", "User:longshore", "--operation", "All", "--topic", "guarded"];
    broker.tool(Tool::Acls, &allow).unwrap();
    for listener in listeners {
        let output = broker.tool_via(listener, Tool::Topics, &describe).unwrap();
        assert!(output.stdout.contains("PartitionCount: 1"), "{listener:?}: {output:?}");
    }
}

/// Scenario: the process that owns a broker is killed with SIGKILL, so that nothing of it can clean up.
/// Guarantee: the JVM goes, and so does its temporary folder.
#[test]
fn a_killed_owner_leaves_nothing_behind() {
    if shared_broker().is_none() {
        return;
    }
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner_that_waits_to_be_killed", "--ignored", "--nocapture"])
        .env_remove("LONGSHORE_TEST_REPORT")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let line =
        lines.into_iter().find_map(|line| line.split_once("broker: ").map(|(_, rest)| rest.to_owned()));
    let line = line.expect("the owner starts a broker");
    let (pid, folder) = line.split_once(' ').unwrap();
    let pid: u32 = pid.parse().unwrap();
    assert!(is_alive(pid) && Path::new(folder).is_dir());

    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("the broker of a killed owner is gone", Duration::from_secs(10), || !is_alive(pid));
    wait_until("its folder is gone", Duration::from_secs(10), || !Path::new(folder).exists());
}

/// Not a test: the child process of [`a_killed_owner_leaves_nothing_behind`].
#[test]
#[ignore = "the child process of a_killed_owner_leaves_nothing_behind"]
fn owner_that_waits_to_be_killed() {
    let broker = JvmBroker::start(BrokerOptions::default()).unwrap();
    println!("broker: {} {}", broker.pid(1).unwrap(), broker.data().display());
    loop {
        std::thread::park();
    }
}
