//! End to end: real `longshore run` processes on a real Apache Kafka, judged from the outside.
//!
//! Tests share one broker where they can, each with topics, a group and a folder of its own.

#[path = "e2e/joining.rs"]
mod joining;
#[path = "e2e/killing.rs"]
mod killing;
#[path = "e2e/slow.rs"]
mod slow;
#[path = "e2e/stopping.rs"]
mod stopping;
#[path = "e2e/zombie.rs"]
mod zombie;
