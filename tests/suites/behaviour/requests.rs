//! What an `objects` sink asks of a store: nothing is left behind, and no more than it must.

use super::fixture::{Open, fresh, judge};
use super::objects::Bucket;
use super::outage::break_each_request;
use super::owner::{Owner, is_held};

/// Longer than what goes up in one request, with five of them in a segment.
const LARGE: usize = 3 << 20;

/// Scenario: a segment that goes up in parts; the connection breaks at each request of it in turn, and the worker dies of it.
/// Guarantee (I1, I2): each record has one row in the end, and no part of an upload that nobody ends is left in the store, where no
/// listing shows it and it costs money.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_in_parts_are_ended_or_given_up() {
    for place in break_each_request::<Bucket<true>>("uploads-in-parts", false, true, LARGE).await {
        assert_eq!(place.left_behind(), Vec::<String>::new());
    }
}

/// Scenario: the store puts an upload's parts together, and its answers to that are lost as often as the client asks for it.
/// Guarantee: the segment is published all the same, and no part goes up twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_does_not_upload_anew() {
    let Some(fixture) = fresh::<Bucket<true>>() else { return };
    let mut owner = Owner::take_over(&fixture.sink(), 1).await;
    let records: Vec<_> = (0..8).map(|offset| (offset, 0)).collect();
    let block = owner.block(&records, LARGE);
    owner.take(&block).await.unwrap();
    drop(fixture.requests());
    // The client tries each request three times.
    fixture.lose_answers("POST", "uploadId=", 3);
    let trailer = owner.seal(0..8);
    assert!(is_held(&owner.publish(&trailer).await));
    let requests = fixture.requests();
    assert!(requests.iter().any(|request| request.fault.is_some()), "no answer was lost: {requests:?}");
    // Without the upload's id, which differs when the same part goes up again.
    let numbers = requests.iter().filter_map(|request| request.target.split("partNumber=").nth(1));
    let mut parts: Vec<&str> = numbers.filter_map(|part| part.split('&').next()).collect();
    let count = parts.len();
    parts.sort_unstable();
    parts.dedup();
    assert!(count == parts.len() && count > 0, "{requests:?}");
    assert_eq!(fixture.left_behind(), Vec::<String>::new());
    judge(&fixture, 8, &[], &[]).await;
}

/// Scenario: a worker takes over, publishes a hundred segments, and another one takes over.
/// Guarantee: a segment costs five requests at the most, and a take-over one for each entry since the last checkpoint and ten besides; a
/// hundred segments leave nothing where objects are staged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_cost_few_requests() {
    let Some(fixture) = fresh::<Bucket<false>>() else { return };
    let mut owner = Owner::take_over(&fixture.sink(), 1).await;
    drop(fixture.requests());
    for segment in 0..100 {
        let trailer = owner.fill(segment * 3..segment * 3 + 3).await;
        assert!(is_held(&owner.publish(&trailer).await));
    }
    let publishing = fixture.requests();
    // One checkpoint is among them, and before the first objects it is noted what form they have.
    assert!(
        publishing.len() <= 500 + 5,
        "{} requests, the last ones {:?}",
        publishing.len(),
        &publishing[490..]
    );
    let created = publishing.iter().filter(|request| request.field("if-none-match") == Some("*")).count();
    assert_eq!(created, 100 + 2, "every number is taken by a conditional PUT");
    drop(Owner::take_over(&fixture.sink(), 2).await);
    let recovering = fixture.requests();
    assert!(recovering.len() <= 36 + 10, "{} requests: {recovering:?}", recovering.len());
    assert_eq!(fixture.left_behind(), Vec::<String>::new());
    judge(&fixture, 300, &[], &[]).await;
}
