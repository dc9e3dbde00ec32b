//! The Kafka crate against librdkafka's mock cluster. What only a real broker shows is tested in the workspace's
//! end-to-end suite.
#![expect(unreachable_pub, reason = "a test binary has no outside")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod lanes;
mod leaders;
mod producing;
mod reading;
mod source;
mod support;
mod troubles;
