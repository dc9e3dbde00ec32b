//! One file of the spool, and the room that chunks take in it.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::retry_on_intr;

use crate::Counts;

/// Holes are punched in whole blocks, so chunks begin at one.
const BLOCK_BYTES: u64 = 4096;

/// So many bytes in whole blocks.
pub(crate) fn rounded(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES)
}

/// A file without a name. It is gone when nobody has a chunk in it.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) file: File,
    end: AtomicU64,
    /// Bytes that were freed and could not be given back.
    dead_bytes: AtomicU64,
    /// The file system cannot punch holes.
    solid: AtomicBool,
    counts: Arc<Counts>,
}

impl Segment {
    pub(crate) fn new(file: File, counts: Arc<Counts>) -> Self {
        let (end, dead_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { file, end, dead_bytes, solid: AtomicBool::new(false), counts }
    }

    /// Where the next chunk goes.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Room for so many bytes, whole blocks, at the end.
    pub(crate) fn take_extent(segment: &Arc<Self>, bytes: u64) -> Extent {
        let start = segment.end.fetch_add(bytes, Ordering::Relaxed);
        segment.counts.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        Extent { segment: Arc::clone(segment), start, bytes }
    }

    fn free(&self, start: u64, bytes: u64) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if !self.solid.load(Ordering::Relaxed) {
            // A signal says nothing about the file system.
            if retry_on_intr(|| fallocate(&self.file, flags, start, bytes)).is_ok() {
                self.counts.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
                return;
            }
            self.solid.store(true, Ordering::Relaxed);
        }
        self.dead_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.counts.used_bytes.fetch_sub(self.dead_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// The room of one chunk; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Extent {
    segment: Arc<Segment>,
    start: u64,
    bytes: u64,
}

impl Extent {
    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        self.segment.free(self.start, self.bytes);
    }
}
