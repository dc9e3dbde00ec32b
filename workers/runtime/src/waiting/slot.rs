//! What a runner and the waker of one record share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use futures::task::AtomicWaker;

/// Which records may go on, and how late it is.
#[derive(Default)]
pub(super) struct Ready {
    woken: Mutex<Vec<usize>>,
    runner: AtomicWaker,
    /// The runner's own coarse clock, from 1: a wait is measured in its ticks, so that it costs no timer.
    ticks: AtomicU64,
}

impl Ready {
    /// Wakes the runner from now on when a record may go on.
    pub(super) fn register(&self, runner: &Waker) {
        self.runner.register(runner);
    }

    /// Swaps the records that may go on for an empty list.
    pub(super) fn take(&self, woken: &mut Vec<usize>) {
        let mut list = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *list, woken);
    }

    /// One tick later; gives how many there were.
    pub(super) fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// One place for a record; its waker. Kept from record to record.
pub(super) struct Slot {
    ready: Arc<Ready>,
    place: usize,
    queued: AtomicBool,
    /// The tick at which the present step began to wait; 0 when none waits.
    since: AtomicU64,
    overdue: AtomicBool,
    step: AtomicUsize,
}

impl Slot {
    pub(super) fn new(ready: &Arc<Ready>, place: usize) -> Arc<Self> {
        Arc::new(Self {
            ready: Arc::clone(ready),
            place,
            queued: AtomicBool::new(false),
            since: AtomicU64::new(0),
            overdue: AtomicBool::new(false),
            step: AtomicUsize::new(0),
        })
    }

    /// A wake from now on is for the next poll.
    pub(super) fn polled(&self) {
        // Acquire: what was done before the wake is seen by the poll.
        self.queued.swap(false, Ordering::AcqRel);
    }

    /// The present step waits, from this tick on unless it did before.
    pub(super) fn wait(&self) {
        if self.since.load(Ordering::Relaxed) == 0 {
            self.since.store(self.ready.ticks.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// No step waits.
    pub(super) fn rest(&self) {
        self.since.store(0, Ordering::Relaxed);
        self.overdue.store(false, Ordering::Relaxed);
    }

    /// Whether the present step has waited more than `most` whole ticks, and says so to it.
    pub(super) fn expire(&self, now: u64, most: u64) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        let expired = since > 0 && now > since + most;
        if expired {
            self.overdue.store(true, Ordering::Relaxed);
        }
        expired
    }

    /// Whether the present step has waited too long.
    pub(super) fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }

    /// Which step of the plan is at work, for the words about a panic.
    pub(super) fn set_step(&self, at: usize) {
        self.step.store(at, Ordering::Relaxed);
    }

    /// The step that was at work last.
    pub(super) fn step(&self) -> usize {
        self.step.load(Ordering::Relaxed)
    }
}

impl Wake for Slot {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.ready.woken.lock().unwrap_or_else(PoisonError::into_inner).push(self.place);
        self.ready.runner.wake();
    }
}
