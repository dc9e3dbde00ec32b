//! Workers that die, and calls that are dropped.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use longshore_testkit::Random;
use longshore_tests::harness::wait::pass_time;

use super::fixture::{Fixture, Open, judge};
use super::owner::{Owner, is_held};

/// The address of the place that a child writes to.
const ADDRESS: &str = "LONGSHORE_TEST_ADDRESS";
/// What a child does: `write` or `hold`.
pub(crate) const WORK: &str = "LONGSHORE_TEST_WORK";
/// The first of a child's writer ids.
const ID: &str = "LONGSHORE_TEST_ID";

/// The running test's fixture in a process of its own.
pub(crate) fn start_child<F: Fixture>(fixture: &F, work: &str, id: u128) -> Child {
    start_child_at(&fixture.address(), work, id)
}

/// The test `child` of the running test's module in a process of its own.
pub(crate) fn start_child_at(address: &str, work: &str, id: u128) -> Child {
    let thread = std::thread::current();
    let (module, _) = thread.name().unwrap_or_default().rsplit_once("::").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("{module}::child"), "--nocapture", "--test-threads=1"]);
    command.env(ADDRESS, address).env(WORK, work).env(ID, id.to_string());
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// The broker, the topic and the first offset of a child that writes to a topic; none when this process is no child.
pub(crate) fn address() -> Option<(String, String, i64)> {
    let address = std::env::var(ADDRESS).ok()?;
    let parts: Vec<&str> = address.split(' ').collect();
    let [bootstrap, topic, from] = parts[..] else { return None };
    Some((bootstrap.to_owned(), topic.to_owned(), from.parse().ok()?))
}

/// What a child does; nothing when this process is none.
pub(crate) async fn child<F: Fixture>() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let sink = F::sink_at(&address);
    let id = std::env::var(ID).unwrap().parse().unwrap();
    let mut owner = Owner::take_over(&sink, id).await;
    if std::env::var(WORK).unwrap() == "hold" {
        super::size::hold(owner).await;
        return;
    }
    let mut end = owner.view.end().map_or(0, |end| end.0);
    loop {
        // Also the last ones that are held, as if Kafka had not heard of their commit.
        owner.write((end - 20).max(0)..end + 20).await;
        end += 20;
    }
}

/// Scenario: a worker that publishes all the time is killed (SIGKILL) at a moment of chance, eight times, each time the next one takes over.
/// Guarantee (I1, I2): no row is lost, doubled or cut, and the ledger says of each record what the rows say.
pub(crate) async fn a_worker_dies_at_any_moment<F: Fixture>(fixture: F) {
    let mut random = Random::new(0x6b69_6c6c);
    let mut end = 0;
    for round in 0..8 {
        let mut child = start_child(&fixture, "write", 100 + round);
        // Long enough that one has work to do, however busy the machine is; the others die while they start, recover or publish.
        let span = if round == 0 { 500 } else { 20 + random.below(200) as u64 };
        pass_time(Duration::from_millis(span));
        child.kill().unwrap();
        child.wait().unwrap();
        let owner = Owner::take_over(&fixture.sink(), 200 + round).await;
        let held = owner.view.end().map_or(0, |end| end.0);
        assert!(held >= end, "what was held is held for ever");
        end = held;
    }
    judge(&fixture, end, &[], &[]).await;
    Owner::take_over(&fixture.sink(), 300).await.write(0..end + 7).await;
    judge(&fixture, end + 7, &[], &[]).await;
}

/// Polls a call until so much time is over, and drops it then. Says whether it was done by then, with success.
async fn drop_after<T, E>(span: Duration, call: impl Future<Output = Result<T, E>>) -> bool {
    matches!(tokio::time::timeout(span, call).await, Ok(Ok(_)))
}

/// Scenario: appends and publishes are dropped in the middle at moments of chance; the writer goes with them and another worker takes
/// over, or, of publishes, the same one is asked again.
/// Guarantee (I1, I2): each record has one row.
pub(crate) async fn a_dropped_call_leaves_nothing<F: Fixture>(fixture: F) {
    let mut random = Random::new(0x6472_6f70);
    let mut owner = Owner::take_over(&fixture.sink(), 1).await;
    let mut end = 0;
    for round in 0..30 {
        let mut span = || Duration::from_micros(random.below(4_000) as u64);
        let records: Vec<_> = (end..end + 10).map(|offset| (offset, 0)).collect();
        let block = owner.block(&records, 30_000);
        end += 10;
        let appended = drop_after(span(), owner.take(&block)).await;
        if appended {
            let trailer = owner.seal(end - 10..end);
            let published = drop_after(span(), owner.try_publish(&trailer)).await;
            if published || round % 2 == 0 && is_held(&owner.publish(&trailer).await) {
                continue;
            }
        }
        // What was dropped may still be at work and take the next number, as any zombie may; then the pair begins anew.
        for again in 0.. {
            owner = Owner::take_over(&fixture.sink(), 2 + round * 100 + again).await;
            let trailer = owner.fill(0..end).await;
            if is_held(&owner.publish(&trailer).await) {
                break;
            }
        }
    }
    judge(&fixture, end, &[], &[]).await;
}
