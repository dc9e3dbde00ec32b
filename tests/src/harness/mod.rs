//! Starting real parts, waiting for conditions, watching child processes.

pub mod broker;
pub mod longshore;
pub mod ports;
mod report;
pub mod wait;

pub use broker::{shared_broker, start_broker};
pub use longshore::{Longshore, binary};
pub use ports::free_port;
pub use wait::wait_until;
