//! End to end: real `longshore run` processes on a real Apache Kafka, judged from the outside.
//!
//! Tests share one broker where they can, each with topics, a group and a folder of its own.
#![expect(clippy::unwrap_used, reason = "tests; clippy spares only test functions")]

#[path = "e2e/bad_input.rs"]
mod bad_input;
#[path = "e2e/check.rs"]
mod check;
#[path = "e2e/crash_loop.rs"]
mod crash_loop;
#[path = "e2e/dlq.rs"]
mod dlq;
#[path = "e2e/failing.rs"]
mod failing;
#[path = "e2e/joining.rs"]
mod joining;
#[path = "e2e/killing.rs"]
mod killing;
#[path = "e2e/lag.rs"]
mod lag;
#[path = "e2e/latency.rs"]
mod latency;
#[path = "e2e/ledger.rs"]
mod ledger;
#[path = "e2e/log_shapes.rs"]
mod log_shapes;
#[path = "e2e/newer.rs"]
mod newer;
#[path = "e2e/own_topics.rs"]
mod own_topics;
#[path = "e2e/partitions.rs"]
mod partitions;
#[path = "e2e/publish.rs"]
mod publish;
#[path = "e2e/restart.rs"]
mod restart;
#[path = "e2e/retry.rs"]
mod retry;
#[path = "e2e/retry_commands.rs"]
mod retry_commands;
#[path = "e2e/rewind.rs"]
mod rewind;
#[path = "e2e/said.rs"]
mod said;
#[path = "e2e/scale.rs"]
mod scale;
#[path = "e2e/scaler.rs"]
mod scaler;
#[path = "e2e/scaler_tls.rs"]
mod scaler_tls;
#[path = "e2e/security.rs"]
mod security;
#[path = "e2e/service.rs"]
mod service;
#[path = "e2e/sinks.rs"]
mod sinks;
#[path = "e2e/slow.rs"]
mod slow;
#[path = "e2e/stopping.rs"]
mod stopping;
#[path = "e2e/troubles.rs"]
mod troubles;
#[path = "e2e/why.rs"]
mod why;
#[path = "e2e/written.rs"]
mod written;
#[path = "e2e/zombie.rs"]
mod zombie;
