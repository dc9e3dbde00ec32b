//! Scratch space for compression, shared by all writers of a sink.
//!
//! A zstd stream held open for every pair would cost megabytes each, whatever the pairs do. So appends are compressed
//! as frames of their own, and contexts and buffers exist only as many times as there are CPUs (I5).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use longshore_core::{Failure, Reason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most bytes that go into one frame; what a writer holds in memory while it appends is bounded by it.
pub(crate) const PIECE_BYTES: usize = 1024 * 1024;

/// Rows of one open segment wait in memory up to this many bytes, so 64 open segments hold 4 MiB. Beside one stream over the whole file,
/// logs then compress better (12.5 against 11.1) and Markdown 15 % worse; the 1 MiB frames that large blocks make
/// cost 3 %.
pub(crate) const GATHER_BYTES: usize = 64 * 1024;

/// Rows that wait in memory in all open segments of a sink together, in bytes: what 64 segments may gather. With more
/// partitions some rows are written at once, in smaller frames, since memory must not grow with the partitions (I5).
pub(crate) const GATHERED_BYTES: usize = 64 * GATHER_BYTES;

/// Contexts and buffers for as many frames at once as there are CPUs, and the count of what waits for a frame.
#[derive(Debug)]
pub(crate) struct Pool {
    level: i32,
    gathered: AtomicUsize,
    permits: Arc<Semaphore>,
    free: Mutex<Vec<Tools>>,
}

#[derive(Default)]
struct Tools {
    compressor: Option<zstd::bulk::Compressor<'static>>,
    input: Vec<u8>,
    output: Vec<u8>,
    rows: Vec<u8>,
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools").finish_non_exhaustive()
    }
}

/// One set of scratch space, given back when dropped.
pub(crate) struct Scratch {
    pool: Arc<Pool>,
    tools: Tools,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    /// Scratch space for frames of this level.
    pub(crate) fn new(level: i32) -> Arc<Self> {
        Self::with_room(level, std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// The same for so many at once.
    pub(crate) fn with_room(level: i32, at_once: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(at_once));
        Arc::new(Self { level, gathered: AtomicUsize::new(0), permits, free: Mutex::default() })
    }

    /// Waits for scratch space, its input empty. Cancel-safe.
    pub(crate) async fn take(self: &Arc<Self>) -> Result<Scratch, Failure> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| Failure::halt(Reason::Internal, "the compression pool is closed"))?;
        let mut tools = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        tools.input.clear();
        Ok(Scratch { pool: Arc::clone(self), tools, _permit: permit })
    }
}

/// What one open segment holds in memory, counted in its pool until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pool: Option<Arc<Pool>>,
    bytes: usize,
}

impl Gathered {
    /// Whether the segment may hold so many bytes in all.
    pub(crate) fn may_hold(&self, bytes: usize, pool: &Pool) -> bool {
        pool.gathered.load(Ordering::Relaxed) - self.bytes + bytes <= GATHERED_BYTES
    }

    /// Notes how many bytes the segment holds now.
    pub(crate) fn hold(&mut self, bytes: usize, pool: &Arc<Pool>) {
        pool.gathered.fetch_add(bytes, Ordering::Relaxed);
        pool.gathered.fetch_sub(self.bytes, Ordering::Relaxed);
        self.pool.get_or_insert_with(|| Arc::clone(pool));
        self.bytes = bytes;
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.gathered.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

impl Scratch {
    /// What is to be written.
    pub(crate) fn input(&mut self) -> &mut Vec<u8> {
        &mut self.tools.input
    }

    /// Room for so many bytes of rows, whatever is in it.
    pub(crate) fn rows(&mut self, bytes: usize) -> Vec<u8> {
        let mut rows = std::mem::take(&mut self.tools.rows);
        if rows.len() < bytes {
            rows.reserve_exact(bytes - rows.len());
            rows.resize(bytes, 0);
        }
        rows
    }

    /// Keeps such room for the next who asks, unless a row of unusual size has made it larger than `most`: pages that are had anew for each row
    /// group cost as much as reading it.
    pub(crate) fn keep(&mut self, rows: Vec<u8>, most: usize) {
        if rows.capacity() <= most {
            self.tools.rows = rows;
        }
    }

    /// The input as one zstd frame with a checksum.
    pub(crate) fn frame(&mut self) -> Result<&[u8], Failure> {
        let defect = |error: std::io::Error| Failure::halt(Reason::Internal, format!("zstd: {error}"));
        let tools = &mut self.tools;
        let mut compressor = match tools.compressor.take() {
            Some(compressor) => compressor,
            None => {
                let mut fresh = zstd::bulk::Compressor::new(self.pool.level).map_err(defect)?;
                fresh.include_checksum(true).map_err(defect)?;
                fresh
            }
        };
        tools.output.clear();
        tools.output.reserve(zstd::zstd_safe::compress_bound(tools.input.len()));
        compressor.compress_to_buffer(&tools.input, &mut tools.output).map_err(defect)?;
        tools.compressor = Some(compressor);
        Ok(&tools.output)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let tools = std::mem::take(&mut self.tools);
        self.pool.free.lock().unwrap_or_else(PoisonError::into_inner).push(tools);
    }
}
