//! What a pair's task receives. The channel has no bound of its own: chunks are bounded by the credit the pair gave,
//! units by `units_in_flight`, answers of writers by the blocks asked for, and the poll thread must never wait.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::pair::{Event, SpoolId, UnitResult};
use longshore_core::{Charge, Epoch, Failure, Offset, Spooled};
use tokio::time::Instant;

use crate::stories::Traced;

/// One message to a pair's task.
pub(crate) enum Input {
    /// For the machine as it is.
    Event(Event),
    /// The CPU pool is through with a unit of this flight; units of an older flight were cancelled.
    Unit {
        /// Which flight it belonged to.
        flight: u64,
        /// What it gave.
        result: UnitResult,
        /// The traced ones of its records.
        traced: Vec<Traced>,
        /// The bytes of its blocks, until the writers' queues charge them.
        charge: Charge,
    },
    /// Units with waiting steps are through; those of an older flight were cancelled.
    Waited {
        /// Which flight they belonged to.
        flight: u64,
        /// What they gave.
        result: UnitResult,
        /// The traced ones of their records.
        traced: Vec<Traced>,
        /// The time each took, waits included.
        took: Vec<Duration>,
        /// The bytes of their blocks, until the writers' queues charge them.
        charge: Charge,
    },
    /// A writer is at a long publish and gets on.
    Publishing(Epoch),
    /// The spool has a chunk of an ownership, or did not take it.
    Spooled {
        /// The ownership.
        epoch: Epoch,
        /// The chunk.
        id: SpoolId,
        /// The chunk there.
        taken: Option<Arc<dyn Spooled>>,
    },
    /// The letter sink did not take a letter and is tried again.
    LetterRetried(Failure),
    /// A parcel of letters has trouble: one was not taken, or has no answer for long. Said when its trouble begins, and again when it is
    /// another one.
    LetterTrouble {
        /// Which round of letters it belongs to; those of an older one were dropped.
        round: u64,
        /// What is known of it.
        failure: Failure,
        /// It begins.
        first: bool,
    },
    /// A parcel that had trouble came through.
    LetterWell {
        /// Which round of letters it belongs to.
        round: u64,
    },
    /// Where the log ends by now.
    LogEnd {
        /// The ownership.
        epoch: Epoch,
        /// The offset behind the last record.
        end: Offset,
    },
    /// Stop by SIGTERM.
    Drain {
        /// When to let go of what is not finished.
        until: Instant,
    },
    /// Stop by rebalance.
    Revoke {
        /// The ownership that ends.
        epoch: Epoch,
        /// When to let go of what is not finished.
        until: Instant,
    },
    /// The source cannot start the pair.
    Refused(Failure),
    /// The watchdog saw no progress: throw the machine away and begin the pair anew.
    Rebuild,
}
