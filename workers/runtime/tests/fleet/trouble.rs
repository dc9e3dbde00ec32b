//! Sinks, letters and pairs that cannot go on, for a while or for good.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use longshore_core::item::Flow;
use longshore_core::source::SourceEvent;
use longshore_core::{Failure, PairId, Reason};
use longshore_runtime::FleetEnd;
use longshore_runtime::fleet::Limits;
use longshore_telemetry::metrics::PairState;

use crate::world::{Setup, World, assert_key_order, numbered, pure, sorted, until};

/// Scenario: the sink refuses everything for a while, with a backlog far above the memory budget.
/// Guarantees: I5 (the budget is kept, intake stops), the pair says why (I6), and goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_sink_stops_intake_within_the_budget_and_resumes() {
    const COUNT: usize = 4000;
    let world = World::start(Setup { memory: 32 * 1024 * 1024, ..Setup::default() });
    world.store().set_trouble(Some(Failure::target(Reason::SinkUnavailable, "503")));
    let padding = "x".repeat(10_000);
    let records = numbered(COUNT, 20).map(|(key, _)| (key, padding.clone().into_bytes()));
    let pair = world.feed(records);
    until("the pair is held", || world.status.pairs().iter().any(|told| told.state == PairState::Held)).await;
    let told = world.status.pairs().remove(0);
    assert_eq!(told.reason.map(|failure| failure.reason), Some(Reason::SinkUnavailable));
    let mut last = (0, 0);
    until("intake stops", || {
        let now = world.source.read(&pair, |log| log.delivered);
        std::mem::replace(&mut last, now) == now
    })
    .await;
    assert!(last.0 < COUNT as u64, "intake went on: {last:?}");
    assert!(world.budget.used() <= world.budget.limit(), "{} used", world.budget.used());
    world.store().set_trouble(None);
    until("everything is committed", || world.source.committed(&pair) == COUNT as i64).await;
    let most = *world.source.most_used.lock().unwrap();
    assert!(most <= world.budget.limit() + 200 * 10_020, "{most} used at most");
    assert_eq!(sorted(world.store().offsets(&pair)), (0..COUNT as i64).collect::<Vec<_>>());
    until("memory is given back", || world.budget.used() == 0).await;
    assert!(world.stop().await.is_ok());
}

/// Scenario: the dead-letter topic refuses the first five tries.
/// Guarantees: trap 4 (no record counts as done before its letter is acknowledged), and the letters arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_repeated_until_they_are_acknowledged() {
    let step = pure("parse", |item| match item.source.offset().0 {
        10 | 20 => Err(Failure::reject(Reason::DecodeJson, "not JSON")),
        _ => Ok(Flow::Keep),
    });
    let world = World::start(Setup { steps: vec![step], ..Setup::default() });
    let refusal = Failure::target(Reason::BrokerUnavailable, "no broker");
    world.letters.refusals.lock().unwrap().extend(std::iter::repeat_n(refusal, 5));
    let pair = world.feed(numbered(100, 10));
    until("everything is committed", || world.source.committed(&pair) == 100).await;
    let mut reasons = world.letters.reasons();
    reasons.sort_unstable();
    assert_eq!(reasons, [(10, "decode.json"), (20, "decode.json")]);
    let text = world.metrics.render();
    assert!(
        text.contains("longshore_letter_retries_total{topic=\"logs\",reason=\"broker.unavailable\"} 5"),
        "{text}"
    );
    assert!(world.stop().await.is_ok());
}

/// Scenario: the broker is away for much longer than the watchdog allows a stall: a letter gets no answer at all, while
/// another pair has nothing to do.
/// Guarantees: I6: the pair says why it waits and is neither begun anew nor given up, the letter is not sent a second
/// time meanwhile, and when the broker is back everything goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_without_an_answer_is_an_outage_and_no_stall() {
    let limits =
        Limits { stalled: Duration::from_millis(200), halt: Duration::from_millis(200), ..Limits::default() };
    let world = World::start(Setup { steps: vec![broken_at(10)], limits, ..Setup::default() });
    let idle = PairId::new("logs", 1);
    world.source.fill(&idle, []);
    world.source.assign(&idle);
    world.letters.silent.store(true, Ordering::SeqCst);
    let pair = world.feed(numbered(100, 10));
    let is_held = || {
        let told = world.status.pairs().into_iter().find(|told| told.pair == pair);
        told.is_some_and(|told| told.state == PairState::Held && told.for_long > Duration::from_secs(1))
    };
    until("the pair is held for five times the limit", is_held).await;
    let told = world.status.pairs().into_iter().find(|told| told.pair == pair).unwrap();
    assert_eq!(told.reason.map(|failure| failure.reason), Some(Reason::BrokerUnavailable));
    assert!(!world.fleet.is_finished());
    assert_eq!(world.source.read(&pair, |log| log.reassigned), 0);
    assert_eq!(world.letters.asked.load(Ordering::SeqCst), 1);
    world.letters.silent.store(false, Ordering::SeqCst);
    until("everything is committed", || world.source.committed(&pair) == 100).await;
    assert_eq!(world.letters.reasons(), [(10, "decode.json")]);
    assert!(world.status.pairs().iter().all(|told| told.state == PairState::Running));
    assert!(world.stop().await.is_ok());
}

/// Scenario: a letter gets no answer, and no other pair is at work.
/// Guarantees: I6: after `limits.halt` the worker ends with the broker's reason, not as a stall of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_letters_without_other_work_ends_as_an_outage() {
    let limits = Limits {
        stalled: Duration::from_millis(200),
        halt: Duration::from_millis(600),
        drain: Duration::from_millis(100),
        ..Limits::default()
    };
    let world = World::start(Setup { steps: vec![broken_at(10)], limits, ..Setup::default() });
    world.letters.silent.store(true, Ordering::SeqCst);
    let pair = world.feed(numbered(100, 10));
    let source = Arc::clone(&world.source);
    let end = world.end().await;
    let Ok(FleetEnd::Halted(failure)) = end else { panic!("{end:?}") };
    assert_eq!(failure.reason, Reason::BrokerUnavailable);
    assert!(source.committed(&pair) <= 10, "nothing is committed past the letter (I4)");
}

fn broken_at(offset: i64) -> longshore_runtime::AnyStep {
    pure("parse", move |item| match item.source.offset().0 {
        at if at == offset => Err(Failure::reject(Reason::DecodeJson, "not JSON")),
        _ => Ok(Flow::Keep),
    })
}

/// Scenario: the sink's ledger is foreign, and no other pair is at work.
/// Guarantees: the pair halts, takes nothing, and the worker ends with that reason after `limits.halt`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halted_worker_ends_with_its_reason() {
    let limits = Limits { halt: Duration::from_millis(150), ..Limits::default() };
    let world = World::start(Setup { limits, ..Setup::default() });
    let foreign = Failure::halt(Reason::LedgerForeign, "another topic");
    *world.store().recovery_trouble.lock().unwrap() = Some(foreign);
    let pair = world.feed(numbered(100, 10));
    let source = Arc::clone(&world.source);
    let end = world.end().await;
    let Ok(FleetEnd::Halted(failure)) = end else { panic!("{end:?}") };
    assert_eq!((failure.reason, failure.at.as_str()), (Reason::LedgerForeign, "memory.0"));
    assert_eq!(source.read(&pair, |log| log.delivered.0), 0);
}

/// Scenario: recovery fails for a while with a temporary failure.
/// Guarantees: the pair is told as held meanwhile and starts by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_cannot_be_read_yet_is_read_later() {
    let world = World::start(Setup::default());
    let away = Failure::target(Reason::SinkUnavailable, "starting up");
    *world.store().recovery_trouble.lock().unwrap() = Some(away);
    let pair = world.feed(numbered(100, 10));
    until("the pair is held", || world.status.pairs().iter().any(|told| told.state == PairState::Held)).await;
    *world.store().recovery_trouble.lock().unwrap() = None;
    until("everything is committed", || world.source.committed(&pair) == 100).await;
    assert_eq!(world.status.pairs()[0].state, PairState::Running);
    assert!(world.stop().await.is_ok());
}

/// Scenario: one pair cannot be started by the source, another is well.
/// Guarantees: the first is told as halted, the second works, and the worker goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_pair_does_not_stop_the_others() {
    let limits = Limits { halt: Duration::from_millis(50), ..Limits::default() };
    let world = World::start(Setup { limits, ..Setup::default() });
    let refused = PairId::new("logs", 1);
    world.source.fill(&refused, []);
    world.source.refuse(&refused, Failure::halt(Reason::OffsetOutOfRange, "gone"));
    let pair = world.feed(numbered(1000, 10));
    until("everything is committed", || world.source.committed(&pair) == 1000).await;
    until("the other is halted", || {
        world.status.pairs().iter().any(|told| told.pair == refused && told.state == PairState::Halted)
    })
    .await;
    assert_eq!(world.stop().await, Ok(FleetEnd::Stopped { overran: false }));
}

/// Scenario: a pure step hangs for ever.
/// Guarantees: I6: the pair is begun anew once, and as that does not help the worker ends and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_pair_is_begun_anew_and_then_given_up() {
    let step = pure("spin", |item| {
        while item.source.offset().0 == 5 {
            std::thread::park_timeout(Duration::from_secs(60));
        }
        Ok(Flow::Keep)
    });
    let limits = Limits {
        stalled: Duration::from_millis(200),
        drain: Duration::from_millis(100),
        ..Limits::default()
    };
    let world = World::start(Setup { steps: vec![step], limits, ..Setup::default() });
    let pair = world.feed(numbered(100, 10));
    let source = Arc::clone(&world.source);
    let end = world.end().await;
    let Ok(FleetEnd::Stalled(failure)) = end else { panic!("{end:?}") };
    assert_eq!(failure.reason, Reason::Internal);
    assert_eq!(source.read(&pair, |log| log.reassigned), 1);
}

/// Scenario: the broker refuses a commit once, but the group leaves the pair where it is.
/// Guarantees: I6: the pair does not wait for ever for somebody to take it away; begun anew, it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_commit_without_a_loss_is_a_stall() {
    let limits = Limits { stalled: Duration::from_millis(300), ..Limits::default() };
    let world = World::start(Setup { limits, ..Setup::default() });
    *world.source.refusals.lock().unwrap() = 1;
    let pair = world.feed(numbered(1000, 10));
    until("everything is committed", || world.source.committed(&pair) == 1000).await;
    assert_eq!(world.source.read(&pair, |log| log.reassigned), 1);
    assert_eq!(sorted(world.store().offsets(&pair)), (0..1000).collect::<Vec<_>>());
    assert!(world.stop().await.is_ok());
}

/// Scenario: the pair is begun anew by the watchdog because a step hung once.
/// Guarantees: after the new beginning everything is held once, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_beginning_loses_and_doubles_nothing() {
    let hung = std::sync::atomic::AtomicBool::new(false);
    let step = pure("spin", move |item| {
        if item.source.offset().0 == 500 && !hung.swap(true, std::sync::atomic::Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(900));
        }
        Ok(Flow::Keep)
    });
    let limits = Limits { stalled: Duration::from_millis(300), ..Limits::default() };
    let world = World::start(Setup { steps: vec![step], limits, ..Setup::default() });
    let pair = world.feed(numbered(1000, 10));
    until("everything is committed", || world.source.committed(&pair) == 1000).await;
    assert_eq!(world.source.read(&pair, |log| log.reassigned), 1);
    assert_eq!(sorted(world.store().offsets(&pair)), (0..1000).collect::<Vec<_>>());
    assert_key_order(&world.store().rows(&pair));
    assert!(world.stop().await.is_ok());
}

/// Scenario: a letter is under way and gets no answer when the pair is assigned anew, and later when it is lost and comes back.
/// Guarantees: what was under way is dropped and its late answer settles nothing; the new ownership sends its own letter, and everything is
/// committed (I4, I8).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_under_way_ends_with_its_ownership() {
    let world = World::start(Setup { steps: vec![broken_at(10)], ..Setup::default() });
    world.letters.silent.store(true, Ordering::SeqCst);
    let asked = || world.letters.asked.load(Ordering::SeqCst);
    let pair = world.feed(numbered(100, 10));
    until("the letter is under way", || asked() == 1).await;
    world.source.assign(&pair);
    until("the new ownership has sent it again", || asked() == 2).await;
    world.source.lose(&pair);
    until("the pair is off the list", || world.status.pairs().is_empty()).await;
    assert!(world.source.committed(&pair) <= 10, "nothing is committed past the letter");
    world.source.assign(&pair);
    until("the third ownership has sent it again", || asked() == 3).await;
    assert!(world.letters.reasons().is_empty(), "no dropped letter is kept");
    world.letters.silent.store(false, Ordering::SeqCst);
    until("everything is committed", || world.source.committed(&pair) == 100).await;
    assert_eq!(world.letters.reasons(), [(10, "decode.json")]);
    until("the pair runs", || world.status.pairs().iter().all(|told| told.state == PairState::Running)).await;
    assert!(world.stop().await.is_ok());
}

/// Scenario: a worker has no place in its group, then rights are refused as well, which covers that; the rights come back, then the place.
/// Guarantees: I6: each gauge tells its own, whichever trouble is told; the worker is not ready until both are over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_place_is_told_beside_another_trouble() {
    let world = World::start(Setup::default());
    let gauges = |member: u8, reason: Option<&str>| {
        let page = world.metrics.render();
        let told = page.lines().filter(|line| line.starts_with("longshore_broker_trouble{"));
        let wanted = reason.map(|reason| format!("longshore_broker_trouble{{reason=\"{reason}\"}} 1"));
        let is_member = page.lines().any(|line| line == format!("longshore_group_member {member}"));
        is_member && told.eq(wanted.as_deref())
    };
    until("it is ready", || world.status.ready().is_ok()).await;
    assert!(gauges(1, None), "{}", world.metrics.render());
    let no_place = || SourceEvent::Trouble(Failure::target(Reason::BrokerGroup, "no place"));
    world.source.tell(SourceEvent::Member(false));
    world.source.tell(no_place());
    until("no place", || gauges(0, Some("broker.group"))).await;
    world.source.tell(SourceEvent::Trouble(Failure::halt(Reason::BrokerAuthorization, "no rights")));
    until("no rights either", || gauges(0, Some("broker.authorization"))).await;
    assert!(world.status.ready().is_err());
    world.source.tell(no_place());
    until("no place again", || gauges(0, Some("broker.group"))).await;
    assert!(world.status.ready().is_err());
    for reason in [Reason::BrokerCommits, Reason::BrokerFetches] {
        world.source.tell(SourceEvent::Trouble(Failure::target(reason, "errors")));
        until("the other trouble", || gauges(0, Some(reason.code()))).await;
        assert!(world.status.ready().is_err());
    }
    world.source.tell(SourceEvent::Member(true));
    world.source.tell(SourceEvent::Well);
    until("all is well", || gauges(1, None) && world.status.ready().is_ok()).await;
    assert!(world.stop().await.is_ok());
}
