use longshore_core::{Failure, Reason};

use super::*;

fn member(client_id: &str, host: &str, partitions: &[i32]) -> Member {
    let partitions = partitions.iter().map(|partition| PairId::new("in", *partition)).collect();
    Member { client_id: client_id.to_owned(), host: host.parse().ok(), partitions }
}

fn seen(partition: i32, end: i64, backlog: u64) -> PartitionView {
    PartitionView {
        pair: PairId::new("in", partition),
        committed: Some(end - backlog as i64),
        end,
        backlog: Ok(backlog),
        copies: 3,
        unpublished: 0,
        held: false,
    }
}

fn told(partition: i32, end: i64, lag: u64) -> Detail {
    let partition = Partition {
        topic: "in".to_owned(),
        partition,
        end,
        lag: Some(lag),
        seconds_behind: Some(lag as f64),
        rate: Some(10.0),
        waiting: Some(1),
        parked: Some(1),
        retries: Some(4),
        dead_letters: Some(2),
        ..Partition::default()
    };
    Detail { state: "running".to_owned(), partition }
}

fn page(client_id: &str, details: Vec<Detail>) -> StatusPage {
    StatusPage {
        pipeline: "p".to_owned(),
        pipeline_version: "1".to_owned(),
        group: "g".to_owned(),
        worker: Worker {
            client_id: client_id.to_owned(),
            memory: Some(10),
            budget: Some(100),
            state: Some("running".to_owned()),
            ..Worker::default()
        },
        partitions_detail: details,
        outcomes: Outcomes { sunk: 5, dead: 3, ..Outcomes::default() },
    }
}

const ID: &str = "longshore.http.8080";

fn address(host: &str) -> SocketAddr {
    SocketAddr::new(host.parse().unwrap(), 8080)
}

fn merged(members: Vec<Member>, partitions: Vec<PartitionView>, answers: Answers) -> View {
    let named = Named { pipeline: "p".into(), pipeline_version: "1".into(), group: "g".into() };
    let kafka = FleetView { state: "Stable", members, partitions };
    let rates = HashMap::from([(PairId::new("in", 1), 5.0)]);
    merge(&named, "2026-11-28T08:00:00Z".into(), kafka, answers, &rates)
}

/// Scenario: one worker answers, one does not, and a member is of another make; one partition has nobody. Guarantee: each partition has the best that is
/// known of it: its worker's words, and what came since; else what is committed, with a rate from look to look. What is not known of one that lags is not known
/// of the whole.
#[test]
fn a_partition_has_the_best_that_is_known_of_it() {
    let members = vec![
        member(ID, "10.0.0.1", &[0]),
        member(ID, "10.0.0.2", &[1]),
        member("kafka-ui", "10.0.0.9", &[2]),
    ];
    let partitions = vec![seen(3, 50, 0), seen(2, 50, 5), seen(1, 50, 10), seen(0, 104, 60)];
    let answers = HashMap::from([(address("10.0.0.1"), page(ID, vec![told(0, 100, 20)]))]);
    let view = merged(members, partitions, answers);
    let names: Vec<_> = view.workers.iter().map(|worker| (worker.name.as_str(), worker.answers)).collect();
    assert_eq!(names, [("10.0.0.1:8080", true), ("10.0.0.2:8080", false), ("kafka-ui@10.0.0.9", false)]);
    assert_eq!((view.workers[2].port, view.workers[2].partitions), (None, 1));
    let [own, silent, foreign, nobodys] = &view.partitions[..] else { panic!("{view:?}") };
    assert_eq!(own.worker.as_deref(), Some("10.0.0.1:8080"));
    assert_eq!((own.lag, own.end, own.drain_seconds, own.waiting), (Some(24), 104, Some(2.4), Some(1)));
    assert_eq!((own.retries, own.dead_letters, own.committed), (Some(4), Some(2), Some(44)));
    assert_eq!((silent.lag, silent.rate, silent.drain_seconds), (Some(10), Some(5.0), Some(2.0)));
    assert_eq!((silent.seconds_behind, silent.waiting, silent.retries), (None, Some(3), None));
    assert_eq!((foreign.lag, foreign.rate, foreign.drain_seconds), (Some(5), None, None));
    assert_eq!((nobodys.worker.as_deref(), nobodys.lag, nobodys.seconds_behind), (None, Some(0), Some(0.0)));
    let totals = &view.totals;
    assert_eq!((totals.lag, totals.rate, totals.dead_letters), (39, Some(15.0), 3));
    assert_eq!((totals.seconds_behind, totals.drain_seconds), (None, None));
    assert_eq!((totals.workers, totals.answering, totals.memory, totals.budget), (3, 1, 10, 100));
    assert_eq!(view.outcomes.sunk, 5);
}

/// Scenario: a member tells of partitions that the group gave to another, and one answers for another group or with another name. Guarantee: none of it counts.
#[test]
fn nobody_speaks_for_anothers_partitions() {
    let members =
        vec![member(ID, "10.0.0.1", &[0]), member(ID, "10.0.0.2", &[1]), member(ID, "10.0.0.3", &[2])];
    let stranger = StatusPage { group: "other".to_owned(), ..page(ID, vec![told(2, 50, 99)]) };
    let answers = HashMap::from([
        (address("10.0.0.1"), page(ID, vec![told(0, 50, 7), told(1, 50, 99)])),
        (address("10.0.0.2"), page("another", vec![told(1, 50, 99)])),
        (address("10.0.0.3"), stranger),
    ]);
    let view = merged(members, vec![seen(0, 50, 0), seen(1, 50, 1), seen(2, 50, 2)], answers);
    let lags: Vec<_> = view.partitions.iter().map(|partition| partition.lag).collect();
    assert_eq!(lags, [Some(7), Some(1), Some(2)]);
    assert_eq!(view.totals.answering, 1);
}

/// Scenario: a worker was killed and began anew at its address, and the group still lists both. Guarantee: they are one row, with the partitions of both; what
/// the new one has not is told from Kafka.
#[test]
fn one_address_is_one_worker() {
    let members = vec![member(ID, "10.0.0.1", &[0]), member(ID, "10.0.0.1", &[1])];
    assert_eq!(addresses(&members), [address("10.0.0.1")]);
    let answers = HashMap::from([(address("10.0.0.1"), page(ID, vec![told(1, 50, 8)]))]);
    let view = merged(members, vec![seen(0, 50, 4), seen(1, 50, 4)], answers);
    assert_eq!((view.workers.len(), view.workers[0].partitions), (1, 2));
    let lags: Vec<_> = view.partitions.iter().map(|partition| (partition.lag, partition.retries)).collect();
    assert_eq!(lags, [(Some(4), None), (Some(8), Some(4))]);
}

/// Scenario: a partition's commit lies beyond the end of its log; another one's worker may not begin with it. Guarantee: the first has no lag, and a
/// reason; the second one's lag is what is in Kafka.
#[test]
fn what_cannot_be_told_is_not_nothing() {
    let lost = Failure::halt(Reason::LedgerForeign, "beyond the end");
    let broken = PartitionView { backlog: Err(lost), ..seen(0, 50, 0) };
    let halted = Detail { state: "halted".to_owned(), ..told(1, 0, 0) };
    let answers = HashMap::from([(address("10.0.0.1"), page(ID, vec![told(0, 50, 0), halted]))]);
    let mut view = merged(vec![member(ID, "10.0.0.1", &[0, 1])], vec![broken, seen(1, 50, 30)], answers);
    assert_eq!(view.partitions[1].lag, Some(30));
    assert_eq!(view.partitions[1].seconds_behind, None);
    let first = view.partitions.swap_remove(0);
    assert!(first.held.is_some_and(|why| why.contains("beyond the end")));
}

/// Guarantee: only members that say what a worker says are asked, and only at an address.
#[test]
fn only_workers_are_asked() {
    let members = [
        member(ID, "10.0.0.1", &[]),
        member("longshore", "10.0.0.2", &[]),
        member("longshore.http.22/x", "10.0.0.3", &[]),
        member(ID, "metadata.internal", &[]),
        member("billing.longshore.http.9000", "::1", &[]),
    ];
    assert_eq!(addresses(&members), ["10.0.0.1:8080".parse().unwrap(), "[::1]:9000".parse().unwrap()]);
}
