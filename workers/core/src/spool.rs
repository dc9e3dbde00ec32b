//! What waits outside of memory: payloads of copies that are not tried before long. It is no store: nothing of it outlives the
//! worker, and whatever it cannot take or give back is read from the retry topic again.

use std::fmt;
use std::sync::Arc;

use crate::{Chunk, ChunkBuilder};

/// Keeps chunks outside of memory. Calls may block.
pub trait Spool: fmt::Debug + Send + Sync {
    /// Takes a chunk.
    ///
    /// # Errors
    /// Why it cannot be taken now.
    fn take(&self, chunk: &Arc<Chunk>) -> Result<Box<dyn Spooled>, SpoolError>;

    /// How much there is and how it went, for the metrics.
    fn usage(&self) -> SpoolUsage;
}

/// A chunk that a spool has; dropping it frees its place.
pub trait Spooled: fmt::Debug + Send + Sync {
    /// Adds the record at this place of the chunk, as it was.
    ///
    /// # Errors
    /// Why it cannot be read; nothing was added then.
    fn give(&self, index: u32, to: &mut ChunkBuilder) -> Result<(), SpoolError>;

    /// Bytes of its largest record at most: so much memory may one be when it is given.
    fn largest_bytes(&self) -> u64;
}

/// Why a spool did not do what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Its bound is reached.
    #[error("the spool is full")]
    Full,
    /// The disk has failed, and is left alone for a while.
    #[error("the spool's disk has failed a moment ago")]
    Rests,
    /// The disk did not do what it was told.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// What was read is not what was written.
    #[error("the spool is damaged")]
    Damaged,
}

/// The state of a spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolUsage {
    /// Bytes on the disk now.
    pub used_bytes: u64,
    /// The bound.
    pub limit_bytes: u64,
    /// Chunks that were not taken, since the worker began.
    pub refused: u64,
    /// Chunks that could not be read, since the worker began.
    pub lost: u64,
}
