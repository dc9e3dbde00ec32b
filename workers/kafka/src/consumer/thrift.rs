//! While large records are about, the allocator gives freed pages back at once (I5).
//!
//! Mimalloc keeps what is freed for 10 ms, since fresh pages cost more than warm ones. That is a few MiB of small records and worth a
//! seventh of the CPU and more; but where records of 20 MB go through among small ones, it was up to 25 MiB, more than the promise tolerates.
//! There the copies of the large ones cost far more than the pages do.

use std::time::{Duration, Instant};

use crate::ffi::purge_at_once;

/// How long after the last large record.
const LASTS: Duration = Duration::from_secs(5);

/// Whether freed pages go back at once. The poll thread alone holds it.
#[derive(Debug, Default)]
pub(super) struct Thrift {
    until: Option<Instant>,
}

impl Thrift {
    /// A large record came, or waits.
    pub(super) fn large(&mut self, now: Instant) {
        if self.until.replace(now + LASTS).is_none() {
            purge_at_once(true);
        }
    }

    /// Call it in every turn of the loop.
    pub(super) fn turn(&mut self, now: Instant) {
        if self.until.is_some_and(|until| now >= until) {
            self.end();
        }
    }

    fn end(&mut self) {
        if self.until.take().is_some() {
            purge_at_once(false);
        }
    }
}

impl Drop for Thrift {
    fn drop(&mut self) {
        self.end();
    }
}
