//! Faults at named points and in storms, on a real Apache Kafka. The short form runs with every `make test`;
//! `LONGSHORE_FAULTS=full` (`make faults`) hits each named point at least 20 times and storms for ten minutes.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests; clippy spares only test functions")]

#[path = "faults/failing.rs"]
mod failing;
#[path = "faults/lane_points.rs"]
mod lane_points;
#[path = "faults/letters.rs"]
mod letters;
#[path = "faults/memory.rs"]
mod memory;
#[path = "faults/points.rs"]
mod points;
#[path = "faults/replay_points.rs"]
mod replay_points;
#[path = "faults/retry_storm.rs"]
mod retry_storm;
#[path = "faults/soak.rs"]
mod soak;
#[path = "faults/storm.rs"]
mod storm;

use std::sync::OnceLock;

use longshore_broker::{BrokerOptions, JvmBroker};
use longshore_tests::harness::{soon_missed, start_broker};

/// Whether the long form is asked for.
fn is_full() -> bool {
    std::env::var("LONGSHORE_FAULTS").is_ok_and(|value| value == "full")
}

/// One broker for the suite; its groups notice a dead member within a second.
fn broker() -> Option<&'static JvmBroker> {
    static BROKER: OnceLock<Option<JvmBroker>> = OnceLock::new();
    let options = BrokerOptions { heap_mib: 768, properties: soon_missed(), ..BrokerOptions::default() };
    let start = || start_broker(options);
    BROKER.get_or_init(start).as_ref()
}
