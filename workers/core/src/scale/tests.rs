//! Looks at invented groups.

use std::time::Duration;

use super::*;

const PARTITIONS: i32 = 8;

/// A fleet that is moved by hand: what arrives, what each pod does, and which partitions stand.
struct Group {
    now: u64,
    members: u32,
    ends: Vec<i64>,
    done: Vec<i64>,
    waiting: u64,
    rebalancing: bool,
    held: bool,
    scaler: Scaler,
}

const POLICY: Policy =
    Policy { drain: Duration::from_secs(60), min: 0, max: None, down_after: Duration::from_secs(120) };

impl Group {
    fn new(policy: Policy, members: u32) -> Self {
        let (ends, done) = (vec![0; PARTITIONS as usize], vec![0; PARTITIONS as usize]);
        let scaler = Scaler::new(policy);
        Self { now: 0, members, ends, done, waiting: 0, rebalancing: false, held: false, scaler }
    }

    fn publish(&mut self, partition: usize, records: i64) {
        self.ends[partition] += records;
    }

    /// Five seconds in which all partitions take `arrive` and work `work` off, those in `stand` nothing.
    fn turn(&mut self, arrive: i64, work: i64, stand: &[usize]) -> Result<Answer, TooEarly> {
        self.now += 5;
        for partition in 0..self.ends.len() {
            self.ends[partition] += arrive;
            if !stand.contains(&partition) {
                self.done[partition] = (self.done[partition] + work).min(self.ends[partition]);
            }
        }
        let partitions = (0..PARTITIONS)
            .map(|partition| PartitionLook {
                pair: PairId::new("in", partition),
                end: self.ends[partition as usize],
                backlog: (self.ends[partition as usize] - self.done[partition as usize]) as u64,
                waiting: self.waiting,
                held: self.held,
            })
            .collect();
        let at = Moment(Duration::from_secs(self.now));
        self.scaler.look(&Look { at, members: self.members, rebalancing: self.rebalancing, partitions })
    }

    fn turns(&mut self, count: u32, arrive: i64, work: i64, stand: &[usize]) -> Answer {
        (0..count).map(|_| self.turn(arrive, work, stand)).last().unwrap().unwrap()
    }
}

/// Guarantee: nothing is said before there are rates, and again after a time without looks; never a zero.
#[test]
fn too_early_is_no_answer() {
    let mut group = Group::new(POLICY, 2);
    assert!(group.turn(0, 0, &[]).is_err());
    assert!(group.turn(0, 0, &[]).is_err());
    assert!(group.turns(10, 0, 0, &[]).pods > 0, "two are there, and nobody watched for long enough");
    group.now += 100;
    assert!(group.turn(0, 0, &[]).is_err());
}

/// Scenario: a backlog for one pod that does 100/s, then nothing. Guarantee: first twice as many, more when these have helped; down again after
/// a while, and to nothing.
#[test]
fn a_backlog_calls_pods_and_its_end_sends_them_home() {
    let mut group = Group::new(POLICY, 0);
    (0..8).for_each(|partition| group.publish(partition, 6_000));
    let fresh = group.turns(4, 0, 0, &[]);
    assert_eq!((fresh.pods, fresh.cause, fresh.rate_per_pod), (1, Cause::Fresh, None));
    group.members = 1;
    let first = group.turns(6, 0, 62, &[]);
    assert_eq!((first.pods, first.cause), (2, Cause::Step), "{first:?}");
    assert!(
        (first.rate_per_pod.unwrap() - 99.0).abs() < 5.0 && first.reason.contains("2 first"),
        "{first:?}"
    );
    group.members = 2;
    assert_eq!(group.turns(6, 0, 125, &[]).pods, 4);
    group.members = 4;
    let enough = group.turns(6, 0, 250, &[]);
    assert_eq!((enough.pods, enough.cause), (8, Cause::Partitions), "{enough:?}");
    group.members = 8;
    let done = group.turns(20, 0, 500, &[]);
    assert_eq!((done.pods, done.cause, done.lag), (8, Cause::Cooling, 0), "{done:?}");
    let idle = group.turns(30, 0, 0, &[]);
    assert_eq!((idle.pods, idle.cause, idle.drain_seconds), (0, Cause::Idle, Some(0.0)), "{idle:?}");
    group.members = 0;
    (0..8).for_each(|partition| group.publish(partition, 3_000));
    let again = group.turns(1, 0, 0, &[]);
    assert!(again.pods >= 4, "what a pod can do is remembered: {again:?}");
}

/// Scenario: copies wait for their retry and records in open segments. Guarantee: they are no lag, and one pod stays for them.
#[test]
fn what_waits_for_time_is_no_backlog() {
    let mut group = Group::new(POLICY, 1);
    group.waiting = 40;
    let answer = group.turns(60, 0, 0, &[]);
    assert_eq!((answer.pods, answer.cause, answer.lag), (1, Cause::Waiting, 0), "{answer:?}");
}

/// Scenario: one partition stands while the others keep up. Guarantee: it calls nobody, and the reason says so.
#[test]
fn a_partition_that_stands_calls_nobody() {
    let mut group = Group::new(POLICY, 2);
    group.turns(20, 100, 100, &[]);
    let most = (0..120).map(|_| group.turn(100, 100, &[3]).unwrap()).map(|answer| answer.pods).max();
    assert!(most <= Some(3), "{most:?}");
    let later = group.turns(1, 100, 100, &[3]);
    assert!(later.pods <= 2 && later.reason.contains("1 partition stands still"), "{later:?}");
}

/// Scenario: everything is held, or stands. Guarantee: nobody is called and nobody sent home.
#[test]
fn what_is_held_keeps_its_pods() {
    let mut group = Group::new(POLICY, 3);
    group.turns(30, 100, 100, &[]);
    group.held = true;
    let held = group.turns(60, 100, 0, &[]);
    assert_eq!((held.pods, held.cause), (3, Cause::Held), "{held:?}");
    group.held = false;
    let stuck = group.turns(60, 100, 0, &[]);
    assert_eq!((stuck.pods, stuck.cause), (3, Cause::Stuck), "{stuck:?}");
}

/// Scenario: two pods do no more than one did. Guarantee: it stays at one, says why, and asks again later.
#[test]
fn a_sink_that_is_the_limit_is_found() {
    let mut group = Group::new(POLICY, 1);
    (0..8).for_each(|partition| group.publish(partition, 1_000_000));
    assert_eq!(group.turns(6, 0, 100, &[]).pods, 2);
    group.members = 2;
    let limit = group.turns(6, 0, 101, &[]);
    assert_eq!((limit.pods, limit.cause), (1, Cause::Sink), "{limit:?}");
    group.members = 1;
    assert_eq!(group.turns(60, 0, 100, &[]).cause, Cause::Sink);
    assert!(group.turns(70, 0, 100, &[]).pods > 1, "it is asked again");
}

/// Scenario: all the backlog is in one partition. Guarantee: one pod, and the reason says that more do not help.
#[test]
fn a_backlog_in_one_partition_needs_one_pod() {
    let mut group = Group::new(POLICY, 1);
    group.publish(0, 1_000_000);
    let answer = group.turns(60, 0, 500, &[]);
    assert_eq!((answer.pods, answer.cause), (1, Cause::Skew), "{answer:?}");
}

/// Guarantee: nothing changes while the group deals out, for a minute at most; the file's bounds hold.
#[test]
fn rebalances_and_bounds_hold_the_answer() {
    let mut group = Group::new(Policy { min: 2, max: Some(3), ..POLICY }, 2);
    let idle = group.turns(60, 0, 0, &[]);
    assert_eq!((idle.pods, idle.cause), (2, Cause::Min), "{idle:?}");
    group.turns(8, 500, 500, &[]);
    group.rebalancing = true;
    (0..8).for_each(|partition| group.publish(partition, 100_000));
    let held = group.turns(6, 0, 0, &[]);
    assert_eq!((held.pods, held.cause), (2, Cause::Rebalance), "{held:?}");
    let patience = group.turns(12, 0, 0, &[]);
    assert_eq!((patience.pods, patience.cause), (3, Cause::Max), "{patience:?}");
}

/// Guarantee: each cause has a word of its own, in small letters, since machines go by it.
#[test]
fn each_cause_has_its_word() {
    let words: std::collections::BTreeSet<&str> = Cause::ALL.iter().map(|cause| cause.word()).collect();
    assert_eq!(words.len(), Cause::ALL.len());
    let lower = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    assert!(words.iter().all(lower), "{words:?}");
}
