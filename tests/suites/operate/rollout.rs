//! A fleet is rolled to a newer version of its pipeline while records keep coming, as a Deployment does it: one new worker first, then
//! SIGTERM for an old one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::witness::now_ms;
use longshore_tests::harness::{Account, Flow, Rig, Worker, shared_broker, wait_until};

const PARTITIONS: i32 = 6;
const WORKERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
/// `limits.revoke`, and what the goals of a rebalance allow beside it: for a partition that stays where it is, and for one that moves.
const REVOKE_MS: i64 = 1_000;
const RETAINED_MS: i64 = REVOKE_MS + 1_000;
const MOVED_MS: i64 = REVOKE_MS + 3_000;

/// Which process works on a partition.
type Owners = BTreeMap<i32, u32>;

/// Waits until every partition is worked on by one of them, and tells by which.
#[track_caller]
fn owners(workers: &mut [Worker]) -> Owners {
    let mut owners = Owners::new();
    wait_until("every partition is worked on", PATIENCE, || {
        owners.clear();
        for worker in workers.iter_mut() {
            assert!(!worker.process.has_ended(), "{}", worker.process.transcript());
            let process = worker.process.pid();
            let works = worker.pairs().into_iter().filter(|pair| pair.works());
            owners.extend(works.map(|pair| (pair.partition, process)));
        }
        owners.len() == PARTITIONS as usize
    });
    owners
}

/// One worker replaced: when, and which partitions had another owner meanwhile.
struct Step {
    from_ms: i64,
    until_ms: i64,
    moved: BTreeSet<i32>,
}

/// What the topic sink was given of one record: when it arrived, and when its record was published.
#[derive(Clone, Copy)]
struct Arrival {
    stamp_ms: i64,
    published_ms: i64,
}

/// Arrivals by partition of the input, in their order, and how many came more than once.
fn arrivals(rig: &Rig, account: &Account) -> (BTreeMap<i32, Vec<Arrival>>, usize) {
    let (mut by_partition, mut known, mut repeats) =
        (BTreeMap::<i32, Vec<Arrival>>::new(), BTreeSet::new(), 0);
    for seen in rig.witness.read(&format!("{}.out", rig.name)) {
        let source = seen.header("longshore.source").unwrap();
        let mut parts = source.rsplit('/').skip(1).map(|part| part.parse::<i64>());
        let (Some(Ok(offset)), Some(Ok(partition))) = (parts.next(), parts.next()) else {
            panic!("{source}")
        };
        let place = (i32::try_from(partition).unwrap(), offset);
        repeats += usize::from(!known.insert(place));
        let arrival =
            Arrival { stamp_ms: seen.timestamp_ms, published_ms: account.published[&place].timestamp_ms };
        by_partition.entry(place.0).or_default().push(arrival);
    }
    by_partition.values_mut().for_each(|arrivals| arrivals.sort_by_key(|arrival| arrival.stamp_ms));
    (by_partition, repeats)
}

/// The longest time in a step in which nothing of a partition arrived although something was there.
fn longest_gap_ms(arrivals: &[Arrival], step: &Step) -> i64 {
    let gaps = arrivals
        .windows(2)
        .filter(|pair| pair[1].stamp_ms >= step.from_ms && pair[0].stamp_ms <= step.until_ms);
    gaps.map(|pair| pair[1].stamp_ms - pair[0].stamp_ms.max(pair[1].published_ms)).max().unwrap_or(0)
}

/// Scenario: three workers of one version under load are replaced one by one by workers of another, which for a while work beside them.
/// Guarantee: every record is in the ledger's sink once and in its order, by either version; no record that a ledger held is worked on
/// again; no partition stands still for longer than the goals of a rebalance.
#[test]
fn a_fleet_is_rolled_under_load() {
    let Some(broker) = shared_broker() else { return };
    let name = "operate-rollout";
    let rig = Rig::new(&broker.bootstrap(), name);
    let sinks = format!(
        "\n  - files: {{ path: \"{}\", roll: {{ age: 300ms }} }}\n  - topic: {{ name: {name}.out }}",
        rig.files().display()
    );
    let steps = "\n  - parse: { format: json }\n  - set: { release: '\"old\"' }\n  - filter: { drop: 'severity_number < 9', name: quiet }";
    let rig = rig.steps(steps).sinks(&sinks).with_topics(PARTITIONS);
    rig.witness.create_topic(&format!("{name}.out"), 1, &[("message.timestamp.type", "LogAppendTime")]);

    let mut fleet: Vec<Worker> = (0..WORKERS).map(|_| rig.working()).collect();
    let flow = Flow::start(&rig.witness, &rig.topic, 1_500, log_line);
    flow.wait_for_more(1_500);
    let mut held = 0.0;
    let mut steps = Vec::new();
    for _ in 0..WORKERS {
        let (from_ms, before) = (now_ms(), owners(&mut fleet));
        let mut new = rig.worker_with(&["steps.1.set.release='\"new\"'"], &[]);
        new.wait_for_partitions();
        fleet.push(new);
        let beside = owners(&mut fleet);
        flow.wait_for_more(600);
        let mut old = fleet.remove(0);
        held += already_held(&mut old);
        let status = old.terminate(Duration::from_secs(25));
        assert!(status.success(), "{status}\n{}", old.process.transcript());
        let after = owners(&mut fleet);
        flow.wait_for_more(1_500);
        let moved = (0..PARTITIONS).filter(|n| before[n] != beside[n] || beside[n] != after[n]);
        steps.push(Step { from_ms, until_ms: now_ms(), moved: moved.collect() });
    }
    let published = flow.stop();
    rig.wait_drained(PATIENCE, &fleet.iter().collect::<Vec<_>>());
    held += fleet.iter_mut().map(already_held).sum::<f64>();
    fleet.into_iter().for_each(Worker::stop);

    let account = Account::take(&rig);
    account.assert_right(published, log_fate);
    assert_eq!(held, 0.0, "records that a ledger held were read again");
    let of_release = |word: &str| {
        let rows = account.rows.values().flatten();
        rows.filter(|row| row.contains(&format!("\"release\":\"{word}\""))).count()
    };
    let (old, new) = (of_release("old"), of_release("new"));
    assert!(
        old > 1_000 && new > 1_000 && old + new == account.rows.len(),
        "{old} rows of the old, {new} of the new"
    );

    let (arrivals, repeats) = arrivals(&rig, &account);
    println!("{published} records; {repeats} repeats in the sink without a ledger");
    for (number, step) in steps.iter().enumerate() {
        for (partition, arrivals) in &arrivals {
            let moved = step.moved.contains(partition);
            let (gap, most) = (longest_gap_ms(arrivals, step), if moved { MOVED_MS } else { RETAINED_MS });
            let word = if moved { "moved" } else { "retained" };
            println!("step {number}, partition {partition}, {word}: longest gap {gap} ms");
            assert!(
                gap <= most,
                "step {number}: partition {partition}, {word}, stood still for {gap} ms, at most {most}"
            );
        }
        assert!(!step.moved.is_empty(), "step {number}: nothing moved, although a worker came and one went");
    }
}

/// Records that came again although the ledger held them.
fn already_held(worker: &mut Worker) -> f64 {
    let page = worker.page("/metrics").unwrap_or_default();
    let held = page.lines().filter(|line| {
        line.starts_with("longshore_records_settled_total{") && line.contains("place=\"already_held\"")
    });
    held.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
