//! Sinks that write outside Kafka: [`files`] and `postgres` keep a ledger and hold each record once, [`stdout`] does not.
//!
//! **Architecture invariant:** nothing here knows Kafka, the runtime or the settings file. A sink is given its options
//! and implements `longshore_core::sink`; when to seal is the pair's business. [`verify`] judges what lies in a folder
//! by the formats alone and calls nothing of the writer.

mod blocking;
#[cfg(feature = "files")]
mod compress;
mod extract;
#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "objects")]
mod hand;
#[cfg(feature = "files")]
pub mod inspect;
pub mod io;
pub mod jsonl;
#[cfg(feature = "objects")]
pub mod objects;
#[cfg(feature = "files")]
mod pair_ledger;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod stdout;
#[cfg(feature = "files")]
pub mod verify;

pub use extract::Extract;
#[cfg(feature = "files")]
pub use files::{FilesOptions, FilesSink};
pub use stdout::{StdoutOptions, StdoutSink};
