//! Many records in waiting steps at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longshore_core::item::Flow;
use longshore_runtime::fleet::Limits;

use crate::world::{Setup, World, assert_key_order, numbered, pure, sorted, until, waiting};

/// Scenario: two waiting steps with a pure one between them, whose answers come from other threads.
/// Guarantees: every record gets through both, each is held once, and those of one key in their order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_from_other_threads_wake_the_right_record() {
    let ask = |name| {
        waiting(name, |value: Vec<u8>| async move {
            let (answer, told) = tokio::sync::oneshot::channel();
            std::thread::spawn(move || answer.send(value.len()));
            Ok(if told.await.is_ok() { Flow::Keep } else { Flow::Split(Vec::new()) })
        })
    };
    let steps = vec![ask("first"), pure("between", |_| Ok(Flow::Keep)), ask("second")];
    let world = World::start(Setup { steps, ..Setup::default() });
    let pair = world.feed(numbered(2_000, 200));
    until("everything is committed", || world.source.committed(&pair) == 2_000).await;
    assert_eq!(sorted(world.store().offsets(&pair)), (0..2_000).collect::<Vec<_>>());
    assert_key_order(&world.store().rows(&pair));
    assert!(world.letters.reasons().is_empty());
    assert!(world.stop().await.is_ok());
}

/// Scenario: a waiting step panics on one record before it waits, always, and on another after it waited, once.
/// Guarantees: the first is a letter with `step.panic` that names the step, the second is held, and nothing else is touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_waiting_step_is_its_records_alone() {
    let tries = std::sync::Arc::new(AtomicU64::new(0));
    let step = waiting("ask", move |value| {
        assert!(value != b"k2/22", "always");
        let tries = std::sync::Arc::clone(&tries);
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(value != b"k1/11" || tries.fetch_add(1, Ordering::Relaxed) > 0, "first try");
            Ok(Flow::Keep)
        }
    });
    let world = World::start(Setup { steps: vec![step], ..Setup::default() });
    let pair = world.feed(numbered(300, 10));
    until("everything is committed", || world.source.committed(&pair) == 300).await;
    assert_eq!(world.letters.reasons(), [(22, "step.panic")]);
    assert_eq!(world.letters.kept.lock().unwrap()[0].failure.at, "ask");
    let expected: Vec<i64> = (0..300).filter(|n| *n != 22).collect();
    assert_eq!(sorted(world.store().offsets(&pair)), expected);
    assert_key_order(&world.store().rows(&pair));
    assert!(world.stop().await.is_ok());
}

/// Scenario: hundreds of records come out of a waiting step at once into one that computes; meanwhile the pair is revoked.
/// Guarantees: the pair lets go without waiting for what is still to be computed, and what it committed is settled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_that_compute_do_not_hold_up_a_revoke() {
    let computed = std::sync::Arc::new(AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&computed);
    let steps = vec![
        waiting("ask", |_| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(Flow::Keep)
        }),
        pure("compute", move |_| {
            std::thread::sleep(Duration::from_millis(4));
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(Flow::Keep)
        }),
    ];
    let limits = Limits { revoke: Duration::from_millis(300), ..Limits::default() };
    let world = World::start(Setup { steps, limits, ..Setup::default() });
    let pair = world.feed(numbered(1_000, 1_000));
    until("the step computes", || computed.load(Ordering::Relaxed) > 0).await;
    world.source.revoke(&pair);
    until("the pair is released", || world.source.read(&pair, |log| log.released == 1)).await;
    let computed = computed.load(Ordering::Relaxed);
    assert!(computed < 1_000, "it let go when all {computed} were computed");
    let held = sorted(world.store().offsets(&pair));
    let committed = world.source.committed(&pair);
    assert!((0..committed).all(|offset| held.contains(&offset)), "committed {committed}, held {held:?}");
    assert!(world.stop().await.is_ok());
}
