//! A partition that has no leader.

use longshore_broker::{BrokerOptions, Tool};
use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::rig::PATIENCE;
use longshore_tests::harness::{Account, Rig, start_broker};

use super::codes::{LINES, go_on, is_in_trouble, publish};
use super::is_full;

/// Scenario: the broker that leads one partition dies, and as there is no other replica no other takes its place; then it comes back.
/// Guarantee: I6, the worker says which partition cannot be read and why, is not ready meanwhile, and goes on when it can; I1, I2, I4.
#[test]
fn a_partition_without_a_leader_is_told() {
    // Three brokers; the codes of such a partition are played in the short form.
    if !is_full() {
        return;
    }
    let Some(mut broker) = start_broker(BrokerOptions { brokers: 3, ..BrokerOptions::default() }) else {
        return;
    };
    let rig = Rig::new(&broker.bootstrap(), "leaderless");
    let single = ["--create", "--topic", &rig.topic, "--partitions", "3", "--replication-factor", "1"];
    let lonely = ["--config", "min.insync.replicas=1"];
    broker.tool(Tool::Topics, &[&single[..], &lonely].concat()).unwrap();
    let rig = rig.with_own_topics(3);
    publish(&rig, 0);
    let mut worker = rig.working();
    rig.wait_drained(PATIENCE, &[&worker]);
    // Where that is the group's coordinator as well, the pair begins anew meanwhile.
    let group = ["--describe", "--state", "--group", &rig.group()];
    let described = broker.tool(Tool::ConsumerGroups, &group).unwrap().stdout;
    let led = (0..3).map(|partition| (partition, rig.witness.leader(&rig.topic, partition).unwrap()));
    let mut away = led.filter(|(_, node)| !described.contains(&format!("({node})")));
    let (partition, leader) = away.next().unwrap();
    broker.kill9(leader).unwrap();
    worker.wait_until("it is told", |worker| is_in_trouble(worker, "broker.fetches"));
    let (code, why) = worker.answer("/readyz").unwrap();
    let named = format!("broker.fetches: nothing comes of {}/{partition} for 12 s", rig.topic);
    assert!(code == 503 && why.starts_with(&named), "{code} {why}");
    broker.restart(leader).unwrap();
    go_on(&rig, worker, "broker.fetches", LINES);
    Account::take(&rig).assert_right(2 * LINES, log_fate);
}
