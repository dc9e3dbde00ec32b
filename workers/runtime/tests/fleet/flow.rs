//! Records going their straight way, and slow ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longshore_core::item::{FilterReason, Flow};
use longshore_core::pair::Order;
use longshore_core::{Failure, PairId, Reason};
use longshore_runtime::FleetEnd;
use longshore_telemetry::metrics::PairState;
use tokio::sync::Semaphore;

use crate::world::{FnPredicate, Setup, World, assert_key_order, numbered, pure, sorted, until, waiting};

/// Scenario: three pairs, a filter, a reject, two sinks of which one has a condition.
/// Guarantees: I1 (every offset in exactly one place), I3 (order per key), I4 (committed = end), counts are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_ends_in_one_counted_place() {
    const COUNT: i64 = 3000;
    let odd = FilterReason::new("filter.0");
    let filter = pure("filter", move |item| {
        let drop = item.source.offset().0 % 3 == 0;
        Ok(if drop { Flow::Drop(odd.clone()) } else { Flow::Keep })
    });
    let reject = pure("parse", |item| match item.source.offset().0 % 100 {
        1 => Err(Failure::reject(Reason::DecodeJson, "not JSON")),
        _ => Ok(Flow::Keep),
    });
    let tens: Option<Box<dyn longshore_runtime::Predicate>> =
        Some(Box::new(FnPredicate(|item| Ok(item.source.offset().0 % 10 == 0))));
    let world =
        World::start(Setup { steps: vec![filter, reject], whens: vec![None, tens], ..Setup::default() });
    let pairs: Vec<_> = (0..3).map(|partition| PairId::new("logs", partition)).collect();
    for pair in &pairs {
        world.source.fill(pair, numbered(COUNT as usize, 50));
    }
    pairs.iter().for_each(|pair| world.source.assign(pair));
    for pair in &pairs {
        until("everything is committed", || world.source.committed(pair) == COUNT).await;
    }
    let expected: Vec<i64> = (0..COUNT).filter(|n| n % 3 != 0 && n % 100 != 1).collect();
    for pair in &pairs {
        assert_eq!(sorted(world.stores[0].offsets(pair)), expected);
        let tens: Vec<i64> = expected.iter().copied().filter(|n| n % 10 == 0).collect();
        assert_eq!(sorted(world.stores[1].offsets(pair)), tens);
        assert_key_order(&world.stores[0].rows(pair));
        assert_eq!(world.stores[0].filtered(pair), (COUNT as u64).div_ceil(3));
    }
    let lettered = (0..COUNT).filter(|n| n % 3 != 0 && n % 100 == 1).count();
    let reasons = world.letters.reasons();
    assert_eq!(reasons.len(), 3 * lettered);
    assert!(reasons.iter().all(|(_, code)| *code == "decode.json"));
    assert_eq!(world.letters.kept.lock().unwrap()[0].failure.at, "parse");
    let metrics = world.metrics.clone();
    assert_eq!(world.stop().await, Ok(FleetEnd::Stopped { overran: false }));
    let text = metrics.render();
    let sunk = expected.len();
    assert!(text.contains(&format!("partition=\"2\",place=\"sunk\"}} {sunk}")), "{text}");
    assert!(
        text.contains(&format!(
            "longshore_records_dead_total{{topic=\"logs\",reason=\"decode.json\"}} {}",
            3 * lettered
        )),
        "{text}"
    );
}

/// Scenario: a waiting step hangs on one record of one key.
/// Guarantees: only its own key waits; the commit does not pass it; everything finishes when it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_record_holds_only_its_own_key() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let step = waiting("enrich", move |value| {
        let gate = Arc::clone(&held);
        async move {
            if value == b"k7/107" {
                let _permit = gate.acquire().await;
            }
            Ok(Flow::Keep)
        }
    });
    let world = World::start(Setup { steps: vec![step], ..Setup::default() });
    let pair = world.feed(numbered(1000, 100));
    let behind: Vec<i64> = (0..1000).filter(|n| n % 100 == 7 && *n >= 107).collect();
    until("all but the slow key are in the sink", || {
        world.store().offsets(&pair).len() == 1000 - behind.len()
    })
    .await;
    assert!(world.store().offsets(&pair).iter().all(|offset| !behind.contains(offset)));
    until("the commit comes as far as it may", || world.source.committed(&pair) == 107).await;
    gate.add_permits(1);
    until("everything is committed", || world.source.committed(&pair) == 1000).await;
    assert_eq!(sorted(world.store().offsets(&pair)), (0..1000).collect::<Vec<_>>());
    assert_key_order(&world.store().rows(&pair));
    assert_eq!(world.stop().await, Ok(FleetEnd::Stopped { overran: false }));
}

/// Scenario: a waiting step never answers for one record.
/// Guarantees: the deadline ends each try, and after the last one the record is a letter with `step.deadline`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_without_an_answer_ends_by_its_deadline() {
    let tries = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&tries);
    let step = waiting("ask", move |value| {
        let tries = Arc::clone(&counted);
        async move {
            if value == b"k5/5" {
                tries.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<()>().await;
            }
            Ok(Flow::Keep)
        }
    });
    let deadline = Some(Duration::from_millis(20));
    let world =
        World::start(Setup { steps: vec![step], step_deadline: deadline, attempts: 2, ..Setup::default() });
    let pair = world.feed(numbered(50, 10));
    until("everything is committed", || world.source.committed(&pair) == 50).await;
    assert_eq!(world.letters.reasons(), [(5, "step.deadline")]);
    assert_eq!(tries.load(Ordering::Relaxed), 2);
    assert_key_order(&world.store().rows(&pair));
    assert!(world.stop().await.is_ok());
}

/// Scenario: a pure step panics once on one record, always on another.
/// Guarantees: the first is tried again and held, the second is a letter with `step.panic`; order per key holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_tried_once_more_and_then_a_letter() {
    let once = AtomicU64::new(0);
    let step = pure("score", move |item| {
        match item.source.offset().0 {
            11 => assert!(once.fetch_add(1, Ordering::Relaxed) > 0, "first try"),
            22 => panic!("always"),
            _ => {}
        }
        Ok(Flow::Keep)
    });
    let world = World::start(Setup { steps: vec![step], ..Setup::default() });
    let pair = world.feed(numbered(300, 10));
    until("everything is committed", || world.source.committed(&pair) == 300).await;
    assert_eq!(world.letters.reasons(), [(22, "step.panic")]);
    assert_eq!(world.letters.kept.lock().unwrap()[0].failure.at, "score");
    let expected: Vec<i64> = (0..300).filter(|n| *n != 22).collect();
    assert_eq!(sorted(world.store().offsets(&pair)), expected);
    assert_key_order(&world.store().rows(&pair));
    assert!(world.stop().await.is_ok());
}

/// Scenario: no order, one record fails for a while.
/// Guarantees: nobody waits for it, and it is held in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_order_a_retry_holds_up_nobody() {
    let tries = AtomicU64::new(0);
    let step = pure("flaky", move |item| {
        let again = item.source.offset().0 == 0 && tries.fetch_add(1, Ordering::Relaxed) < 2;
        if again { Err(Failure::retry(Reason::StepFailed, "not yet")) } else { Ok(Flow::Keep) }
    });
    let world = World::start(Setup { steps: vec![step], order: Order::None, ..Setup::default() });
    let pair = world.feed(numbered(500, 1));
    until("everything is committed", || world.source.committed(&pair) == 500).await;
    assert_eq!(sorted(world.store().offsets(&pair)), (0..500).collect::<Vec<_>>());
    assert!(world.letters.reasons().is_empty());
    assert!(world.stop().await.is_ok());
}

/// Scenario: an idle worker with an assigned pair, then records.
/// Guarantees: `/readyz` and the figures tell what is going on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_tells_what_is_going_on() {
    let world = World::start(Setup::default());
    let pair = world.feed(numbered(10, 2));
    until("everything is committed", || world.source.committed(&pair) == 10).await;
    assert_eq!(world.status.ready(), Ok(()));
    until("the figures are told", || {
        world.status.pairs().iter().any(|told| told.committed.map(|o| o.0) == Some(10))
    })
    .await;
    let told = world.status.pairs().remove(0);
    assert_eq!((told.state, told.received, told.in_flight, told.lag.records), (PairState::Running, 10, 0, 0));
    let status = Arc::clone(&world.status);
    assert!(world.stop().await.is_ok());
    assert_eq!(status.ready(), Err("ended".to_owned()));
    assert!(status.pairs().is_empty());
}

/// Scenario: four pairs with a sink without a ledger that acknowledges nothing; then one of them is lost. Guarantee: each gives it a quarter of what the worker may
/// repeat and no more, and a third of it afterwards; a pair waits where less than half of its share is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_repeat_is_shared_out_among_the_pairs() {
    const REPEATS: u64 = 80;
    let ran: Arc<[AtomicU64; 4]> = Arc::default();
    let counted = Arc::clone(&ran);
    let count = pure("count", move |item| {
        counted[item.source.pair().partition.0 as usize].fetch_add(1, Ordering::SeqCst);
        Ok(Flow::Keep)
    });
    let world = World::start(Setup { steps: vec![count], repeats: Some(REPEATS), ..Setup::default() });
    *world.store().publish_time.lock().unwrap() = Duration::from_secs(1000);
    let pairs: Vec<_> = (0..4).map(|partition| PairId::new("logs", partition)).collect();
    pairs.iter().for_each(|pair| world.source.fill(pair, []));
    pairs.iter().for_each(|pair| world.source.assign(pair));
    until("all have begun", || pairs.iter().all(|pair| world.source.read(pair, |log| log.started))).await;
    pairs.iter().for_each(|pair| world.source.fill(pair, numbered(1000, 50)));
    let now = || ran.each_ref().map(|count| count.load(Ordering::SeqCst));
    until("each has given its share", || now().iter().all(|count| *count >= REPEATS / 8)).await;
    world.source.lose(&pairs[3]);
    until("the others have given more", || now()[..3].iter().all(|count| *count > REPEATS / 4)).await;
    let [others @ .., lost] = now();
    assert!(lost <= REPEATS / 4 && others.iter().all(|count| *count <= REPEATS / 3), "{others:?}, {lost}");
}

/// Scenario: somebody counts what was received, again and again, and looks each time where the pair stands then. Guarantee: it stands behind all that was counted: else
/// what a worker that dies leaves to be read again would be more than its page said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_has_all_that_was_counted() {
    const COUNT: i64 = 200_000;
    let world = World::start(Setup::default());
    let pair = world.feed(numbered(COUNT as usize, 50));
    let counted = || {
        let text = world.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix("longshore_records_received_total{"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<i64>().ok()).unwrap_or_default()
    };
    let mut looks = 0;
    until("all is committed", || {
        let counted = counted();
        let position = world.status.pairs().first().map_or(0, |told| told.position.0);
        assert!(position >= counted, "{counted} were counted, and the page says {position}");
        looks += i32::from(0 < counted && counted < COUNT);
        world.source.committed(&pair) == COUNT
    })
    .await;
    assert!(looks > 0, "it was over before anybody looked");
    assert_eq!(world.stop().await, Ok(FleetEnd::Stopped { overran: false }));
}
