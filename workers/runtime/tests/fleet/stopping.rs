//! Rebalances and shutdowns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use longshore_core::item::Flow;
use longshore_core::metadata::Metadata;
use longshore_core::{Failure, Offset, Reason};
use longshore_runtime::FleetEnd;
use longshore_runtime::fleet::Limits;

use crate::world::{Setup, World, numbered, sorted, until, waiting};

/// Counts futures dropped before their end.
struct Dropped(Arc<AtomicU64>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Scenario: a pair is revoked while a waiting step hangs on one record; later it comes back.
/// Guarantees: the step is dropped, the pair is released by the revoke's deadline and not by the much longer one of a drain or
/// a step, the commit does not pass the record (I4), nothing is held twice after it came back (I2) and nothing is missing (I1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoke_cancels_what_is_unfinished() {
    let (dropped, calls) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (told, counted) = (Arc::clone(&dropped), Arc::clone(&calls));
    let step = waiting("ask", move |value| {
        let (told, counted) = (Arc::clone(&told), Arc::clone(&counted));
        async move {
            if value == b"k3/3" && counted.fetch_add(1, Ordering::SeqCst) == 0 {
                let _guard = Dropped(told);
                std::future::pending::<()>().await;
            }
            Ok(Flow::Keep)
        }
    });
    let limits =
        Limits { revoke: Duration::from_millis(300), drain: Duration::from_secs(30), ..Limits::default() };
    let world = World::start(Setup { steps: vec![step], limits, ..Setup::default() });
    let pair = world.feed(numbered(200, 20));
    until("all other keys are held", || world.store().offsets(&pair).len() == 190).await;
    world.source.revoke(&pair);
    // Nothing else ends within the ten seconds that this waits.
    until("the pair is released", || world.source.read(&pair, |log| log.released == 1)).await;
    until("the step is dropped", || dropped.load(Ordering::SeqCst) == 1).await;
    assert_eq!(world.source.committed(&pair), 3);
    until("the pair is off the list", || world.status.pairs().is_empty()).await;

    world.source.assign(&pair);
    until("everything is committed", || world.source.committed(&pair) == 200).await;
    assert_eq!(sorted(world.store().offsets(&pair)), (0..200).collect::<Vec<_>>());
    assert!(world.stop().await.is_ok());
}

/// Scenario: a pair is lost in the middle and comes back.
/// Guarantees: nothing is committed for it meanwhile (I8), nothing is missing or doubled in the end (I1, I2).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_pair_commits_nothing_more() {
    let world = World::start(Setup::default());
    *world.store().publish_time.lock().unwrap() = Duration::from_millis(5);
    let pair = world.feed(numbered(20_000, 20));
    until("something is committed", || world.source.committed(&pair) > 0).await;
    world.source.lose(&pair);
    let at = world.source.committed(&pair);
    until("the pair is off the list", || world.status.pairs().is_empty()).await;
    assert_eq!(world.source.committed(&pair), at);
    world.source.assign(&pair);
    until("everything is committed", || world.source.committed(&pair) == 20_000).await;
    assert_eq!(sorted(world.store().offsets(&pair)), (0..20_000).collect::<Vec<_>>());
    assert!(world.stop().await.is_ok());
}

/// Scenario: SIGTERM in the middle, the sink takes its time for each publish.
/// Guarantees: what the pair took is finished, published and committed within the deadline, so that nothing that took
/// effect will be read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_finishes_what_was_received() {
    let world = World::start(Setup::default());
    *world.store().publish_time.lock().unwrap() = Duration::from_millis(50);
    let pair = world.feed(numbered(50_000, 20));
    // What the pair itself says that it took: what the source has sent may still be on its way to it.
    let taken = || world.status.pairs().iter().map(|told| told.received).sum::<u64>();
    until("the pair has taken records", || taken() > 1000).await;
    let taken = taken() as i64;
    let (source, store) = (Arc::clone(&world.source), Arc::clone(&world.stores[0]));
    assert_eq!(world.stop().await, Ok(FleetEnd::Stopped { overran: false }));
    let committed = source.committed(&pair);
    assert!(committed >= taken, "{committed} of {taken} are committed");
    assert_eq!(sorted(store.offsets(&pair)), (0..committed).collect::<Vec<_>>());
}

/// Scenario: SIGTERM while the sink refuses everything.
/// Guarantees: the worker ends by its drain deadline, says that it overran, and committed nothing unsettled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_against_a_dead_sink_ends_by_its_deadline() {
    let limits = Limits { drain: Duration::from_millis(300), ..Limits::default() };
    let world = World::start(Setup { limits, ..Setup::default() });
    world.store().set_trouble(Some(Failure::target(Reason::SinkUnavailable, "503")));
    let pair = world.feed(numbered(100, 10));
    until("records arrive", || world.source.read(&pair, |log| log.delivered.0 > 0)).await;
    let source = Arc::clone(&world.source);
    // Without the deadline it would never end: the sink does not mend.
    assert_eq!(world.stop().await, Ok(FleetEnd::Stopped { overran: true }));
    assert!(source.committed(&pair) <= 0);
}

/// Scenario: SIGTERM while a step hangs on one record, longer than the drain may take; all others are done.
/// Guarantees: when its time is over the pair lets go by itself: what is done by then is committed, and the commit says that its owner left in
/// good order, so that nothing of it is done again and no later owner takes it for a crash (I6).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_without_time_left_commits_what_is_done() {
    let step = waiting("ask", |value| async move {
        if value == b"k3/3" {
            std::future::pending::<()>().await;
        }
        Ok(Flow::Keep)
    });
    let limits = Limits { drain: Duration::from_millis(300), ..Limits::default() };
    let mut world = World::start(Setup { steps: vec![step], limits, ..Setup::default() });
    let pair = world.feed(numbered(200, 20));
    until("all other keys are held", || world.store().offsets(&pair).len() == 190).await;
    world.signal();
    let source = Arc::clone(&world.source);
    assert_eq!(world.end().await, Ok(FleetEnd::Stopped { overran: true }));
    let (released, committed) = source.read(&pair, |log| (log.released, log.committed.clone()));
    let committed = committed.expect("the pair has committed");
    let told =
        Metadata::decode(&committed.metadata, committed.offset, Offset(200)).expect("its own metadata");
    assert_eq!((released, committed.offset, told.clean), (1, Offset(3), true));
    let left: Vec<_> = (3..200).filter(|offset| !told.settled.contains(Offset(*offset))).collect();
    assert_eq!(left, (3..200).step_by(20).collect::<Vec<_>>());
}

/// Scenario: SIGTERM before anything was assigned.
/// Guarantees: the worker ends at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_without_pairs_ends_at_once() {
    let world = World::start(Setup::default());
    let began = Instant::now();
    assert_eq!(world.stop().await, Ok(FleetEnd::Stopped { overran: false }));
    assert!(began.elapsed() < Duration::from_secs(1));
}
