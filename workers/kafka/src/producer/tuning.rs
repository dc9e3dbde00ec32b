//! How records are gathered before they are sent.

use std::time::Duration;

/// Codecs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    None,
    /// Slow and small.
    Gzip,
    /// Quick.
    Snappy,
    /// Quick; the default.
    #[default]
    Lz4,
    /// Small.
    Zstd,
}

impl Compression {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

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

impl Default for ProducerTuning {
    /// 10 ms, 256 KiB, lz4: inside the range that was measured to be fast.
    fn default() -> Self {
        Self { linger: Duration::from_millis(10), batch_bytes: 256 * 1024, compression: Compression::Lz4 }
    }
}
