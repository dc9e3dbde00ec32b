//! The Kafka crate alone on a real broker: what the mock cluster cannot show of groups, offsets, topics and refusals.
#![expect(unreachable_pub, reason = "a test binary has no outside")]
#![expect(clippy::unwrap_used, reason = "tests; clippy spares only test functions")]

#[path = "group/batches.rs"]
mod batches;
#[path = "group/damaged.rs"]
mod damaged;
#[path = "group/held.rs"]
mod held;
#[path = "group/joining.rs"]
mod joining;
#[path = "group/lanes.rs"]
mod lanes;
#[path = "group/made_again.rs"]
mod made_again;
#[path = "group/many_partitions.rs"]
mod many_partitions;
#[path = "group/member.rs"]
mod member;
#[path = "group/refusals.rs"]
mod refusals;
#[path = "group/storm.rs"]
#[expect(
    clippy::print_stdout,
    reason = "a member is a child process and tells the test on standard output what it does"
)]
mod storm;
