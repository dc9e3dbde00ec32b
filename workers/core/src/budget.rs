//! The memory budget (I5): bytes that records and rows hold, counted where they are allocated and given back on drop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A bound on bytes, shared by everyone who holds records. Charging never fails and never waits: intake asks
/// [`Budget::available`] before it takes more, so the overshoot is at most one chunk.
#[derive(Debug)]
pub struct Budget {
    limit_bytes: u64,
    used_bytes: AtomicU64,
    waiting_bytes: AtomicU64,
    full: AtomicBool,
    pauses: AtomicU64,
    large_waiting: AtomicU64,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            limit_bytes,
            used_bytes: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
            full: AtomicBool::new(false),
            pauses: AtomicU64::new(0),
            large_waiting: AtomicU64::new(0),
        })
    }

    /// The bound in bytes.
    pub fn limit(&self) -> u64 {
        self.limit_bytes
    }

    /// The bytes held now.
    pub fn used(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// The bytes that may still be taken; zero when over the limit.
    pub fn available(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.used())
    }

    /// Takes bytes until the returned guard is dropped.
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Charge {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        Charge { budget: Arc::clone(self), bytes, waits: false }
    }

    /// The same for what may wait for hours: copies in the retry lane and their entries.
    pub fn charge_waiting(self: &Arc<Self>, bytes: u64) -> Charge {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        Charge { budget: Arc::clone(self), bytes, waits: true }
    }

    /// The bytes held now by what is given back before long, as far as that can be told.
    pub fn moving(&self) -> u64 {
        self.used().saturating_sub(self.waiting_bytes.load(Ordering::Relaxed))
    }

    /// Notes whether intake stands still because the budget is used up, so that the metrics can tell (I6).
    pub fn note_full(&self, full: bool) {
        if self.full.swap(full, Ordering::Relaxed) != full && full {
            self.pauses.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether intake stands still because the budget is used up.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// How often intake came to stand still.
    pub fn pauses(&self) -> u64 {
        self.pauses.load(Ordering::Relaxed)
    }

    /// Notes how many partitions wait for room for a large record.
    pub fn note_waiting(&self, partitions: u64) {
        self.large_waiting.store(partitions, Ordering::Relaxed);
    }

    /// How many partitions wait for room for a large record.
    pub fn large_waiting(&self) -> u64 {
        self.large_waiting.load(Ordering::Relaxed)
    }
}

/// Bytes taken from a [`Budget`]; dropping it gives them back.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
    waits: bool,
}

impl Charge {
    /// The bytes held by this guard.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes so many bytes more for the same purpose, from the same budget.
    pub fn another(&self, bytes: u64) -> Self {
        if self.waits { self.budget.charge_waiting(bytes) } else { self.budget.charge(bytes) }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if self.waits {
            self.budget.waiting_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: what is taken counts until it is dropped, what waits apart from what moves; more than the limit leaves nothing, and never less than that (I5).
    #[test]
    fn what_is_taken_counts_until_it_is_dropped() {
        let budget = Budget::new(100);
        let told = |budget: &Budget| (budget.used(), budget.available(), budget.moving());
        assert_eq!((budget.limit(), told(&budget)), (100, (0, 100, 0)));
        let moves = budget.charge(30);
        let waits = budget.charge_waiting(50);
        assert_eq!((told(&budget), moves.bytes(), waits.bytes()), ((80, 20, 30), 30, 50));
        let more = (moves.another(5), waits.another(40));
        assert_eq!(told(&budget), (125, 0, 35));
        drop((more, moves));
        assert_eq!(told(&budget), (50, 50, 0));
        drop(waits);
        assert_eq!(told(&budget), (0, 100, 0));
    }

    /// Guarantee: a pause is counted when intake comes to stand still, once, however often that is noted.
    #[test]
    fn pauses_are_counted_when_they_begin() {
        let budget = Budget::new(1);
        let told = [false, true, true, false, false, true].map(|full| {
            budget.note_full(full);
            (budget.is_full(), budget.pauses())
        });
        assert_eq!(told, [(false, 0), (true, 1), (true, 1), (false, 1), (false, 1), (true, 2)]);
        assert_eq!(budget.large_waiting(), 0);
        budget.note_waiting(3);
        assert_eq!(budget.large_waiting(), 3);
    }
}
