//! The pair: input partition p (and, from the next issue on, its retry partition p) as one pure state machine.
//!
//! `handle(event, now)` returns actions; the runtime performs them and reports back with events. The offset tracker,
//! the key scheduler, the open segments and the ledger views live here and nowhere else.

mod action;
mod event;
mod options;

pub use action::{Action, Letter, LetterId, Tally, Unit, UnitEntry};
pub use event::{CommitResult, Event, Position, UnitResult, Verdict};
pub use options::{CommitPolicy, Grain, Order, PairOptions, SealPolicy, SinkSpec, Window};
