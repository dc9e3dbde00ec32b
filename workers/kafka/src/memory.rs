//! How much of the memory budget librdkafka's own buffers get (I5).

/// Bounds of librdkafka's buffers, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientMemory {
    /// Records fetched ahead and not yet taken by the poll thread.
    pub prefetch_bytes: u64,
    /// One answer to a fetch. A record larger than this still comes, alone.
    pub fetch_bytes: u64,
    /// Records given to the producer and not yet acknowledged.
    pub produce_bytes: u64,
}

const MIB: u64 = 1024 * 1024;

impl ClientMemory {
    /// Shares of a budget for all of the process. Beyond 16 MiB of prefetch nothing gets faster (measured with
    /// `fetch.queue.backoff.ms=50`); below 1 MiB every fetch waits for the one before.
    pub fn derive(budget_bytes: u64) -> Self {
        Self {
            prefetch_bytes: (budget_bytes / 8).clamp(MIB, 16 * MIB),
            fetch_bytes: (budget_bytes / 16).clamp(MIB, 16 * MIB),
            produce_bytes: (budget_bytes / 8).clamp(2 * MIB, 32 * MIB),
        }
    }

    /// What the buffers may hold in all; take it off the budget for records.
    pub fn total(&self) -> u64 {
        self.prefetch_bytes + self.fetch_bytes + self.produce_bytes
    }
}

impl Default for ClientMemory {
    fn default() -> Self {
        Self::derive(256 * MIB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_take_less_than_a_third() {
        for budget in [32 * MIB, 128 * MIB, 256 * MIB, 4096 * MIB] {
            assert!(ClientMemory::derive(budget).total() * 3 <= budget, "{budget}");
        }
    }
}
