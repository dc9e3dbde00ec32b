//! The tokio shell around the pure pair machine: it performs the pair's actions and reports back with events.
//!
//! The way of a record here: the source's poll thread sends a chunk (`fleet`) -> the pair's task (`pair_task`) asks
//! the machine what to do -> a unit goes to the CPU pool (`pool`, `execute`) or, with waiting steps, to a
//! task that drives many records' futures (`waiting`) -> encoded blocks go to one writer task for each sink (`writer`) -> letters go to the
//! [`letters::LetterSink`] -> commits go back to the source.
//!
//! **Architecture invariants:** nothing here knows Kafka, a file or a format: sources, steps and sinks are the traits
//! of `longshore-core`. Nothing here decides what becomes of a record: that is the machine's alone. The poll thread
//! is never waited for and never made to wait.

pub mod budget;
mod clock;
pub mod crash;
mod entropy;
mod execute;
pub mod fleet;
pub mod letters;
mod mailbox;
mod pace;
mod pair_task;
pub mod plan;
mod pool;
mod spool;
pub mod status;
mod stories;
mod trouble;
mod waiting;
mod watchdog;
mod writer;

pub use budget::MemoryShares;
pub use fleet::{Fleet, FleetEnd, FleetOptions, FleetParts, Limits};
pub use letters::LetterSink;
pub use plan::{AnyStep, Plan, Predicate, Route};
pub use status::{Lag, Outcomes, PairState, PairStatus, Phase, Status};
