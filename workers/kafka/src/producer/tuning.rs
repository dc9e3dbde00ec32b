//! How records are gathered before they are sent.

use std::time::Duration;

use longshore_core::client::{Compression, Latency};

/// How records are gathered before they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerTuning {
    /// How long a record may wait for others.
    pub linger: Duration,
    /// The most bytes sent as one.
    pub batch_bytes: u32,
    /// How a batch is packed.
    pub compression: Compression,
}

impl ProducerTuning {
    /// That of a worker whose pipeline file says `kafka.latency`. Without linger what comes while a request is on its way still goes out
    /// together, so that batches grow with the rate.
    pub fn of(latency: Latency) -> Self {
        let usual = Self::default();
        match latency {
            Latency::Normal => usual,
            Latency::Low => Self { linger: Duration::ZERO, ..usual },
        }
    }
}

impl Default for ProducerTuning {
    /// 10 ms, 256 KiB, lz4: inside the range that was measured to be fast.
    fn default() -> Self {
        Self { linger: Duration::from_millis(10), batch_bytes: 256 * 1024, compression: Compression::Lz4 }
    }
}
