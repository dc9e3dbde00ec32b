//! Steps that end when nobody wants their answer any more: the source has begun the pair anew meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use longshore_core::PairId;
use longshore_core::item::Flow;

use crate::source::Record;
use crate::world::{Setup, World, pure, sorted, until, waiting};

/// Holds whoever comes until it is opened; a test that has failed keeps nobody for ever.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    reached: AtomicBool,
}

impl Gate {
    fn pass(&self) {
        self.reached.store(true, Ordering::SeqCst);
        let open = self.open.lock().unwrap();
        let waited = self.opened.wait_timeout_while(open, Duration::from_secs(20), |open| !*open).unwrap();
        assert!(!waited.1.timed_out(), "nobody opened the gate");
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    async fn is_reached(&self, what: &str) {
        until(what, || self.reached.load(Ordering::SeqCst)).await;
    }
}

/// Tells that it was dropped.
struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn record(value: &str) -> Record {
    (Some(value.as_bytes().to_vec()), value.as_bytes().to_vec())
}

fn fill(world: &World, pair: &PairId, value: &str) {
    world.source.fill(pair, [record(value)]);
}

/// Scenario: the second unit of a pair is with the CPU pool when the source begins the pair anew behind the first one, and it ends when
/// the second unit of the new ownership, which is of another record, is at work as well.
/// Guarantees: the answer of the old unit is not taken for the new one's: no record is held twice (I2), none counts as held that no sink
/// has (I1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_pool_was_at_before_is_no_answer_now() {
    let (old, new, other) = (Arc::<Gate>::default(), Arc::<Gate>::default(), Arc::<AtomicBool>::default());
    let tries = AtomicU32::new(0);
    let (slow, next, free) = (Arc::clone(&old), Arc::clone(&new), Arc::clone(&other));
    let step = pure("gates", move |item| {
        match item.raw().unwrap_or_default() {
            b"slow" if tries.fetch_add(1, Ordering::SeqCst) == 0 => slow.pass(),
            b"next" => next.pass(),
            b"other" => free.store(true, Ordering::SeqCst),
            _ => {}
        }
        Ok(Flow::Keep)
    });
    let world = World::start(Setup { steps: vec![step], ..Setup::default() });
    let pair = world.feed([record("first")]);
    until("the first record is committed", || world.source.committed(&pair) == 1).await;
    fill(&world, &pair, "slow");
    old.is_reached("the old unit is at work").await;

    world.source.assign(&pair);
    until("the record is done by the new ownership", || world.source.committed(&pair) == 2).await;
    fill(&world, &pair, "next");
    new.is_reached("the new unit is at work").await;
    old.open();
    // The pool has two threads, and one of them holds the new unit: the other one gives its answer before it takes anything else.
    let beside = PairId::new("logs", 1);
    world.source.fill(&beside, [record("other")]);
    world.source.assign(&beside);
    until("the old unit's answer is given", || other.load(Ordering::SeqCst)).await;
    new.open();

    until("everything is committed", || world.source.committed(&pair) == 3).await;
    assert_eq!(sorted(world.store().offsets(&pair)), [0, 1, 2]);
    assert!(world.stop().await.is_ok());
}

/// Scenario: the same with a waiting step, which holds its thread so that it cannot be cancelled before its end.
/// Guarantees: the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_waiting_step_was_at_before_is_no_answer_now() {
    let (old, new, gone) = (Arc::<Gate>::default(), Arc::<Gate>::default(), Arc::<AtomicBool>::default());
    let tries = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let (slow, next, told) = (Arc::clone(&old), Arc::clone(&new), Arc::clone(&gone));
    let begun = Arc::clone(&tries);
    let step = waiting("gates", move |value| {
        let (slow, next, told, tries) =
            (Arc::clone(&slow), Arc::clone(&next), Arc::clone(&told), Arc::clone(&tries));
        async move {
            match value.as_slice() {
                b"pending" if tries[0].fetch_add(1, Ordering::SeqCst) == 0 => {
                    let _guard = Guard(told);
                    std::future::pending::<()>().await;
                }
                b"slow" if tries[1].fetch_add(1, Ordering::SeqCst) == 0 => {
                    tokio::task::block_in_place(|| slow.pass());
                }
                b"next" => tokio::task::block_in_place(|| next.pass()),
                _ => {}
            }
            Ok(Flow::Keep)
        }
    });
    let world = World::start(Setup { steps: vec![step], ..Setup::default() });
    let pair = world.feed([record("first")]);
    until("the first record is committed", || world.source.committed(&pair) == 1).await;
    fill(&world, &pair, "pending");
    until("a step waits beside it", || begun[0].load(Ordering::SeqCst) == 1).await;
    fill(&world, &pair, "slow");
    old.is_reached("the old unit is at work").await;

    world.source.assign(&pair);
    until("both records are done by the new ownership", || world.source.committed(&pair) == 3).await;
    fill(&world, &pair, "next");
    new.is_reached("the new unit is at work").await;
    assert!(!gone.load(Ordering::SeqCst), "the old step was cancelled before it ended");
    old.open();
    // Who drives the old units gives its answer and then hears that it is cancelled.
    until("the old unit's answer is given", || gone.load(Ordering::SeqCst)).await;
    new.open();

    until("everything is committed", || world.source.committed(&pair) == 4).await;
    assert_eq!(sorted(world.store().offsets(&pair)), [0, 1, 2, 3]);
    assert!(world.stop().await.is_ok());
}
