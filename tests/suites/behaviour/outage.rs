//! Targets that are away, and requests and answers that get lost.

use longshore_core::Class;

use super::fixture::{Fixture, Open, judge};
use super::owner::{Owner, is_held};

/// Requests of one take-over and one segment at the most; a sink that needs more would never come to the end of
/// [`a_lost_request_or_answer_is_found_out`].
const MOST_REQUESTS: usize = 60;

/// Scenario: the target goes away with an open segment, the worker appends, seals and publishes meanwhile and tries again; then the target
/// is back.
/// Guarantee (I1, I2): nothing is said to be held before it is, the very same segment is published then, and nothing is visible by half.
pub(crate) async fn a_target_that_is_away_takes_nothing_by_half<F: Fixture>(fixture: F) {
    let mut owner = Owner::take_over(&fixture.sink(), 1).await;
    owner.write(0..10).await;
    let block = owner.block(&[(10, 0), (11, 0)], 20_000);
    owner.take(&block).await.unwrap();
    fixture.take_away();
    let large = owner.block(&[(12, 0), (13, 0)], 200_000);
    let taken = owner.take(&large).await;
    if let Err(failure) = &taken {
        assert_ne!(failure.class, Class::Reject, "{failure}");
        fixture.bring_back();
        owner.take(&large).await.unwrap();
        fixture.take_away();
    }
    let trailer = owner.seal(10..14);
    for _ in 0..2 {
        let failure = owner.try_publish(&trailer).await.unwrap_err();
        assert_ne!(failure.class, Class::Reject, "{failure}");
    }
    assert!(
        Owner::try_take_over(&fixture.sink(), 2).await.is_err(),
        "a ledger that cannot be read is not empty"
    );
    fixture.bring_back();
    assert!(is_held(&owner.publish(&trailer).await));
    judge(&fixture, 14, &[], &[]).await;
}

/// Scenario: records go to two sinks, one of which is away; the worker dies, and the next one reads all again and gives each sink what
/// it does not hold.
/// Guarantee (I2): each sink holds each record once.
pub(crate) async fn one_of_two_sinks_is_away<F: Fixture>(healthy: F) {
    let Some(failing) = F::fresh(&format!("{}-b", short_name())) else { return };
    let sinks = [healthy.sink(), failing.sink()];
    for sink in &sinks {
        Owner::take_over(sink, 1).await.write(0..10).await;
    }
    let mut owners = [Owner::take_over(&sinks[0], 2).await, Owner::take_over(&sinks[1], 2).await];
    let mut trailers = Vec::new();
    for owner in &mut owners {
        trailers.push(owner.fill(10..30).await);
    }
    failing.take_away();
    assert!(is_held(&owners[0].publish(&trailers[0]).await));
    owners[1].try_publish(&trailers[1]).await.unwrap_err();
    drop(owners);
    failing.bring_back();
    for sink in &sinks {
        Owner::take_over(sink, 3).await.write(0..40).await;
    }
    judge(&healthy, 40, &[], &[]).await;
    judge(&failing, 40, &[], &[]).await;
}

fn short_name() -> String {
    let thread = std::thread::current();
    thread.name().unwrap_or("test").replace("::", "-").replace('_', "-").chars().take(50).collect()
}

/// Scenario: the connection breaks at the first request of a take-over and a segment, at the second, and so on to the last, each time before
/// the request arrives and again before its answer does. The worker dies of it, and the next one takes over; or the worker lives, and
/// publishes the same segment again.
/// Guarantee (I1, I2): whatever was done of it, each record has one row in the end and the ledger agrees.
pub(crate) async fn a_lost_request_or_answer_is_found_out<F: Fixture>(fixture: F) {
    if fixture.wire().is_none() {
        return;
    }
    let name = short_name();
    let mut all = tokio::task::JoinSet::new();
    for (done, dies) in [(false, true), (true, true), (false, false), (true, false)] {
        let name = format!("{name}-{}{}", u8::from(done), u8::from(dies));
        all.spawn(async move { break_each_request::<F>(&name, done, dies, 60).await });
    }
    while let Some(one) = all.join_next().await {
        one.unwrap();
    }
}

/// The scenario of [`a_lost_request_or_answer_is_found_out`] with texts of this length; the places that it was played in.
pub(crate) async fn break_each_request<F: Fixture>(
    name: &str,
    done: bool,
    dies: bool,
    bytes: usize,
) -> Vec<F> {
    let mut places = Vec::new();
    for requests in 0..MOST_REQUESTS {
        let Some(fixture) = F::fresh(&format!("{name}-{requests}")) else { return places };
        Owner::take_over(&fixture.sink(), 1).await.write(0..5).await;
        let broken = break_one_request(&fixture, requests, done, dies, bytes).await;
        judge(&fixture, 10, &[], &[]).await;
        places.push(fixture);
        if !broken {
            return places;
        }
    }
    panic!("a take-over and a segment take more than {MOST_REQUESTS} requests");
}

/// Whether that many requests were made at all.
async fn break_one_request<F: Fixture>(
    fixture: &F,
    requests: usize,
    done: bool,
    dies: bool,
    bytes: usize,
) -> bool {
    let Some(wire) = fixture.wire() else { return false };
    // Another worker has a connection of its own.
    let sink = fixture.sink();
    wire.break_after(requests, done);
    if let Ok(mut owner) = Owner::try_take_over(&sink, 2).await {
        let trailer = owner.fill_with(0..10, bytes).await;
        let published = owner.try_publish(&trailer).await;
        let broken = wire.is_broken();
        wire.mend();
        match published {
            Ok(published) => assert!(is_held(&published), "{published:?}"),
            Err(failure) => {
                assert_ne!(failure.class, Class::Reject, "{failure}");
                if !dies {
                    assert!(is_held(&owner.publish(&trailer).await));
                }
            }
        }
        if !broken {
            return false;
        }
    }
    wire.mend();
    Owner::take_over(&fixture.sink(), 3).await.write(0..10).await;
    true
}
