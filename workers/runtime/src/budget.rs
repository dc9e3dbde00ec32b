//! How `limits.memory` is shared out (I5): one figure from the user, one split, told to everyone who allocates.

use std::sync::Arc;

use longshore_core::Budget;
use longshore_core::pair::Window;

const MIB: u64 = 1024 * 1024;

/// The shares of `limits.memory`, in bytes.
///
/// | share | part | who keeps to it |
/// |---|---|---|
/// | base: code, stacks, allocator slack | 32 MiB, at most a quarter | nobody; measured |
/// | consumer queue of the Kafka client | an eighth, 2 to 64 MiB | `queued.max.messages.kbytes` |
/// | producer queue of the Kafka client | an eighth, 2 to 64 MiB | `queue.buffering.max.kbytes` |
/// | spool and compression buffers of the sinks | an eighth | the sinks' buffer sizes |
/// | intake: chunks between the poll thread and finish | half of the rest | [`Budget`], the pairs' windows |
/// | rows: encoded blocks on their way to a writer | the other half | [`Budget`], the pairs' windows |
///
/// A pair's window counts chunks and waiting rows together, but a unit in the steps holds both at once, and rows may be
/// as large as their records: hence the halves.
///
/// The client has three answers to fetches at once at the most: one whose last records are not taken yet, one that waits and one that comes, each
/// a quarter of its share. What is packed in them is larger than what was fetched, and a record larger than a pair's window is let in
/// alone; that is what the 15 % of tolerance in the promise is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShares {
    /// Code (20 MiB of it were resident in a worker), stacks, allocator slack.
    pub base: u64,
    /// Prefetched messages in the Kafka client.
    pub consumer_queue: u64,
    /// Unacknowledged messages in the Kafka client.
    pub producer_queue: u64,
    /// Spool and compression buffers of all sinks together.
    pub sink_buffers: u64,
    /// Chunks from the poll thread until every record of them is finished.
    pub intake: u64,
    /// Encoded blocks.
    pub rows: u64,
}

impl MemoryShares {
    /// Splits `limits.memory`.
    pub fn of(memory_bytes: u64) -> Self {
        let base = (32 * MIB).min(memory_bytes / 4);
        let queue = (memory_bytes / 8).clamp(2 * MIB, 64 * MIB);
        let sink_buffers = memory_bytes / 8;
        let rest = memory_bytes.saturating_sub(base + 2 * queue + sink_buffers).max(MIB);
        let rows = rest / 2;
        Self { base, consumer_queue: queue, producer_queue: queue, sink_buffers, intake: rest - rows, rows }
    }

    /// The budget that chunks and blocks are charged to.
    pub fn budget(&self) -> Arc<Budget> {
        Budget::new(self.intake + self.rows)
    }

    /// One pair's window when so many pairs share the intake. Counted for all partitions of the inputs, also those
    /// that other workers own now: a rebalance may bring them all here, and a window is told to a pair once.
    ///
    /// The bound on records is one for each 512 bytes: below that size what we keep for a record outweighs it.
    pub fn window(&self, pairs: u32) -> Window {
        let bytes = (self.intake / u64::from(pairs.max(1))).max(64 * 1024);
        Window { records: (bytes / 512).clamp(256, 32_768), bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_limit_from_32_mib_on() {
        for mib in [32, 64, 128, 256, 1024, 16_384] {
            let s = MemoryShares::of(mib * MIB);
            let sum = s.base + s.consumer_queue + s.producer_queue + s.sink_buffers + s.intake + s.rows;
            assert!(sum <= mib * MIB, "{mib}: {s:?}");
            assert!(64 * s.window(64).bytes <= s.intake.max(64 * 64 * 1024), "{mib}: {s:?}");
        }
    }
}
