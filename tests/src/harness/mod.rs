//! Starting real parts, waiting for conditions, watching child processes, and judging what workers did.

pub mod account;
pub mod azurite;
pub mod broker;
pub mod cage;
pub mod collector;
pub mod faulty;
pub mod files;
pub mod flow;
pub mod http;
pub mod line;
pub mod longshore;
pub mod ports;
pub mod postgres;
pub mod readback;
pub mod refuser;
pub mod report;
pub mod rig;
pub mod store;
mod tools;
pub mod wait;
pub mod wire;
pub mod witness;

pub use account::Account;
pub use broker::{shared_broker, soon_missed, start_broker};
pub use collector::Collector;
pub use files::packed_files;
pub use flow::Flow;
pub use longshore::{Longshore, binary};
pub use ports::free_port;
pub use refuser::{Refusal, Refuser};
pub use rig::{Rig, Worker};
pub use tools::tool;
pub use wait::{wait_for, wait_until};
pub use wire::Wire;
pub use witness::{Record, Seen, Witness};
