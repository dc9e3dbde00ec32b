//! Faults at named points and in storms, on a real Apache Kafka. The short form runs with every `make test`;
//! `LONGSHORE_FAULTS=full` (`make faults`) hits each named point at least 20 times and storms for ten minutes.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests; clippy spares only test functions")]

#[path = "faults/clocks.rs"]
mod clocks;
#[path = "faults/codes.rs"]
mod codes;
#[path = "faults/failing.rs"]
mod failing;
#[path = "faults/kills.rs"]
mod kills;
#[path = "faults/lane_points.rs"]
mod lane_points;
#[path = "faults/leaderless.rs"]
mod leaderless;
#[path = "faults/leaders.rs"]
mod leaders;
#[path = "faults/letters.rs"]
mod letters;
#[path = "faults/limits.rs"]
mod limits;
#[path = "faults/memory.rs"]
mod memory;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/place.rs"]
mod place;
#[path = "faults/points.rs"]
mod points;
#[path = "faults/progress.rs"]
mod progress;
#[path = "faults/replay_points.rs"]
mod replay_points;
#[path = "faults/retry_storm.rs"]
mod retry_storm;
#[path = "faults/soak.rs"]
mod soak;
#[path = "faults/storm.rs"]
mod storm;
#[path = "faults/terms.rs"]
mod terms;
#[path = "faults/three.rs"]
mod three;

use std::sync::OnceLock;

use longshore_broker::{BrokerOptions, JvmBroker, Listener};
use longshore_tests::harness::{Wire, soon_missed, start_broker};

/// Whether the long form is asked for.
fn is_full() -> bool {
    std::env::var("LONGSHORE_FAULTS").is_ok_and(|value| value == "full")
}

/// One broker for the suite; its groups notice a dead member within a second.
fn broker() -> Option<&'static JvmBroker> {
    static BROKER: OnceLock<Option<JvmBroker>> = OnceLock::new();
    let listeners = vec![Listener::Detour(wire().port())];
    let options =
        BrokerOptions { heap_mib: 768, listeners, properties: soon_missed(), ..BrokerOptions::default() };
    let start = || {
        let broker = start_broker(options)?;
        let address = broker.bootstrap_of(Listener::Detour(wire().port()));
        wire().lead_to(address.rsplit(':').next()?.parse().ok()?);
        Some(broker)
    };
    BROKER.get_or_init(start).as_ref()
}

/// The way to the suite's broker on which a network's faults are played; only one test goes by it.
fn wire() -> &'static Wire {
    static WIRE: OnceLock<Wire> = OnceLock::new();
    WIRE.get_or_init(Wire::new)
}
