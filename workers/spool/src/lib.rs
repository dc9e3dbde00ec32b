//! The spool on disk: payloads of copies that wait for their retry.
//!
//! It is a row of files that have no name: each is unlinked before the first byte is written, so that nothing is left behind however the
//! worker ends. Chunks are appended and never overwritten. The room of a chunk that nobody needs any more is given back by
//! punching a hole, or, on a file system that cannot do that, with the whole file; a file holds [`SEGMENT_BYTES`].
//!
//! A chunk is written as a table of the positions of its records and then the records, each with a checksum. What was written is
//! read by this very process or by nobody, so the form may change at any time.

mod form;
mod segment;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longshore_core::{Chunk, ChunkBuilder, Spool, SpoolError, SpoolUsage, Spooled};

use segment::{Extent, Segment};

/// A file holds so much, or an eighth of a smaller bound.
pub const SEGMENT_BYTES: u64 = 256 * 1024 * 1024;
/// After the disk has failed it is left alone for so long.
const REST: Duration = Duration::from_secs(5);
/// What goes wrong is said at most so often.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Linux's number for tmpfs.
const TMPFS: i128 = 0x0102_1994;

/// Whether what is written to a folder stays in memory, so that a spool there would spare none.
///
/// # Errors
/// The folder cannot be looked at.
pub fn is_in_memory(folder: &Path) -> io::Result<bool> {
    // Its width depends on the platform.
    Ok(i128::from(rustix::fs::statfs(folder)?.f_type) == TMPFS)
}

/// A spool in a folder.
#[derive(Debug)]
pub struct FileSpool {
    folder: PathBuf,
    limit_bytes: u64,
    segment_bytes: u64,
    counts: Arc<Counts>,
    state: Mutex<State>,
}

/// What the metrics tell.
#[derive(Debug, Default)]
struct Counts {
    used_bytes: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Where the next chunk goes.
    segment: Option<Arc<Segment>>,
    rests_until: Option<Instant>,
    said: Option<Instant>,
}

impl FileSpool {
    /// A spool of at most so many bytes in a folder that is there. A file is made and removed to see that it can be.
    ///
    /// # Errors
    /// The folder is none, or cannot be written to.
    pub fn open(folder: &Path, limit_bytes: u64) -> io::Result<Self> {
        tempfile::tempfile_in(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            limit_bytes,
            segment_bytes: SEGMENT_BYTES.min(limit_bytes / 8).max(1),
            counts: Arc::default(),
            state: Mutex::default(),
        })
    }

    fn put(&self, state: &mut State, chunk: &Arc<Chunk>) -> Result<OnDisk, SpoolError> {
        if state.rests_until.is_some_and(|until| Instant::now() < until) {
            return Err(SpoolError::Rests);
        }
        let layout = form::Layout::of(chunk);
        let bytes = segment::rounded(layout.bytes());
        if self.counts.used_bytes.load(Ordering::Relaxed) + bytes > self.limit_bytes {
            return Err(SpoolError::Full);
        }
        let segment = match state.segment.take().filter(|segment| segment.end() < self.segment_bytes) {
            Some(segment) => segment,
            None => {
                let counts = Arc::clone(&self.counts);
                Arc::new(Segment::new(tempfile::tempfile_in(&self.folder)?, counts))
            }
        };
        state.segment = Some(Arc::clone(&segment));
        let extent = Segment::take_extent(&segment, bytes);
        layout.write(chunk, &segment.file, extent.start())?;
        Ok(OnDisk { extent, largest_bytes: layout.largest(), counts: Arc::clone(&self.counts) })
    }

    /// Says that something went wrong, now and then.
    fn say(&self, state: &mut State, error: &SpoolError) {
        let now = Instant::now();
        if let SpoolError::Io(_) = error {
            state.rests_until = Some(now + REST);
        }
        if state.said.is_some_and(|said| now.duration_since(said) < SAY_EVERY) {
            return;
        }
        state.said = Some(now);
        let (folder, limit_bytes) = (self.folder.display(), self.limit_bytes);
        let used_bytes = self.counts.used_bytes.load(Ordering::Relaxed);
        let remedy = match error {
            SpoolError::Full => "limits.spool is the bound",
            SpoolError::Io(_) | SpoolError::Rests => {
                "give the folder's disk room, or name another one in limits.spool_folder"
            }
            SpoolError::Damaged => "look after the folder's disk",
        };
        tracing::warn!(
            %error,
            %folder,
            used_bytes,
            limit_bytes,
            "the spool takes no more: records that wait for their retry are read from the retry topic again when they are due; {remedy}"
        );
    }
}

impl Spool for FileSpool {
    fn take(&self, chunk: &Arc<Chunk>) -> Result<Box<dyn Spooled>, SpoolError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match self.put(&mut state, chunk) {
            Ok(kept) => Ok(Box::new(kept)),
            Err(error) => {
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                self.say(&mut state, &error);
                Err(error)
            }
        }
    }

    fn usage(&self) -> SpoolUsage {
        SpoolUsage {
            used_bytes: self.counts.used_bytes.load(Ordering::Relaxed),
            limit_bytes: self.limit_bytes,
            refused: self.counts.refused.load(Ordering::Relaxed),
            lost: self.counts.lost.load(Ordering::Relaxed),
        }
    }
}

/// A chunk on the disk.
#[derive(Debug)]
struct OnDisk {
    extent: Extent,
    largest_bytes: u64,
    counts: Arc<Counts>,
}

impl Spooled for OnDisk {
    fn give(&self, index: u32, to: &mut ChunkBuilder) -> Result<(), SpoolError> {
        let given = form::read(&self.extent.segment().file, self.extent.start(), index, to);
        given.inspect_err(|error| {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, "the spool cannot be read: the record is read from the retry topic again");
        })
    }

    fn largest_bytes(&self) -> u64 {
        self.largest_bytes
    }
}

#[cfg(test)]
mod tests;
