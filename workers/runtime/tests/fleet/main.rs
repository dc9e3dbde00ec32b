//! The runtime against a source, steps and sinks in memory: every test states its scenario and what it guarantees.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may end with a panic")]

mod flow;
mod late;
mod sink;
mod source;
mod stopping;
mod trouble;
mod waits;
mod world;
