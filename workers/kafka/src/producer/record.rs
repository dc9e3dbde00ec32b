//! Records on their way out.

use crate::ffi::{MessageView, Outgoing};

/// What a header costs in librdkafka's queue beside its bytes: `rd_kafka_header_t` and its place in the list.
const HEADER_OVERHEAD_BYTES: u64 = 56;

/// A record to send, borrowed from the caller.
#[derive(Clone, Copy, Debug)]
pub struct ProducerRecord<'a> {
    /// The partition; none leaves the choice to the key's hash (Java's), or to chance for a null key.
    pub partition: Option<i32>,
    /// The key; none is a null key, empty is a key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since 1970; none is now.
    pub timestamp_ms: Option<i64>,
    /// Names and values, in their order; names need not be UTF-8 but hold no NUL.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

impl ProducerRecord<'_> {
    pub(super) fn bytes(&self) -> u64 {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len) as u64;
        let header = |(name, value): &(&[u8], _)| name.len() as u64 + length(*value) + HEADER_OVERHEAD_BYTES;
        let headers: u64 = self.headers.iter().map(header).sum();
        length(self.key) + length(self.value) + headers
    }

    pub(super) fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            partition: self.partition,
            key: self.key,
            value: self.value,
            timestamp_ms: self.timestamp_ms,
            headers: self.headers,
            lender: None,
        }
    }
}

/// A record that came back, with its own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// The topic.
    pub topic: String,
    /// The partition, none when none was chosen yet.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// Milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Names and values.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl OwnedRecord {
    /// From a delivery that failed. The partition stays the one that was chosen: with another, a key's records could
    /// change their order.
    pub(super) fn of_delivery(message: &MessageView<'_>) -> Self {
        let mut headers = Vec::new();
        message.headers(|name, value| headers.push((name.to_vec(), value.map(<[u8]>::to_vec))));
        Self {
            topic: message.topic(),
            partition: Some(message.partition()).filter(|partition| *partition >= 0),
            key: message.key().map(<[u8]>::to_vec),
            value: message.value().map(<[u8]>::to_vec),
            timestamp_ms: Some(message.timestamp_ms()).filter(|ms| *ms >= 0),
            headers,
        }
    }

    pub(super) fn of_record(topic: &str, record: &ProducerRecord<'_>) -> Self {
        Self {
            topic: topic.to_owned(),
            partition: record.partition,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            timestamp_ms: record.timestamp_ms,
            headers: record
                .headers
                .iter()
                .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }

    /// The headers as [`Self::as_ref`] wants them.
    pub fn header_list(&self) -> Vec<(&[u8], Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())).collect()
    }

    /// The record, to send it again.
    pub fn as_ref<'a>(&'a self, headers: &'a [(&'a [u8], Option<&'a [u8]>)]) -> ProducerRecord<'a> {
        ProducerRecord {
            partition: self.partition,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            timestamp_ms: self.timestamp_ms,
            headers,
        }
    }
}
