//! What Spring Kafka and Kafka Connect write on the records they give up.

use super::Place;
use crate::TopicName;
use crate::headers::HeaderError;

/// What the names of Spring Kafka's dead-letter headers begin with. Numbers are big-endian bytes, not text.
pub const SPRING_PREFIX: &str = "kafka_dlt-";
/// What the names of Kafka Connect's error headers begin with. Numbers are text.
pub const CONNECT_PREFIX: &str = "__connect.errors.";

const SPRING_PLACE: &str = "kafka_dlt-original-*";
const CONNECT_PLACE: &str = "__connect.errors.*";

/// Whether a header was put on a record by another tool's dead-letter handling, and so is to be taken off before the
/// record is sent again: it is no part of the record, and would grow with every round.
pub fn is_foreign(name: &[u8]) -> bool {
    name.starts_with(SPRING_PREFIX.as_bytes()) || name.starts_with(CONNECT_PREFIX.as_bytes())
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spring<'a> {
    pub(super) topic: Option<&'a [u8]>,
    partition: Option<&'a [u8]>,
    offset: Option<&'a [u8]>,
    timestamp: Option<&'a [u8]>,
    pub(super) group: Option<&'a [u8]>,
    exception: Option<&'a [u8]>,
    cause: Option<&'a [u8]>,
    pub(super) message: Option<&'a [u8]>,
}

impl<'a> Spring<'a> {
    pub(super) fn take(&mut self, name: &[u8], value: Option<&'a [u8]>) {
        let Some(name) = name.strip_prefix(SPRING_PREFIX.as_bytes()) else { return };
        let place = match name {
            b"original-topic" => &mut self.topic,
            b"original-partition" => &mut self.partition,
            b"original-offset" => &mut self.offset,
            b"original-timestamp" => &mut self.timestamp,
            b"original-consumer-group" => &mut self.group,
            b"exception-fqcn" => &mut self.exception,
            b"exception-cause-fqcn" => &mut self.cause,
            b"exception-message" => &mut self.message,
            _ => return,
        };
        *place = Some(value.unwrap_or_default());
    }

    pub(super) fn is_there(&self) -> bool {
        self.topic.is_some() || self.exception.is_some()
    }

    /// The cause says more: what wraps it is nearly always the listener's own exception.
    pub(super) fn exception(&self) -> &'a [u8] {
        self.cause.or(self.exception).unwrap_or_default()
    }

    pub(super) fn timestamp_ms(&self) -> i64 {
        let bytes = self.timestamp.and_then(|value| value.try_into().ok());
        bytes.map_or(-1, i64::from_be_bytes)
    }

    pub(super) fn place(&self) -> Result<Option<Place<'a>>, HeaderError> {
        let Some(topic) = self.topic else { return Ok(None) };
        let partition = self.partition.and_then(|value| value.try_into().ok()).map(i32::from_be_bytes);
        let offset = self.offset.and_then(|value| value.try_into().ok()).map(i64::from_be_bytes);
        place(topic, partition, offset).ok_or(HeaderError::Value(SPRING_PLACE)).map(Some)
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connect<'a> {
    pub(super) topic: Option<&'a [u8]>,
    partition: Option<&'a [u8]>,
    offset: Option<&'a [u8]>,
    pub(super) connector: Option<&'a [u8]>,
    pub(super) stage: Option<&'a [u8]>,
    pub(super) exception: Option<&'a [u8]>,
    pub(super) message: Option<&'a [u8]>,
}

impl<'a> Connect<'a> {
    pub(super) fn take(&mut self, name: &[u8], value: Option<&'a [u8]>) {
        let Some(name) = name.strip_prefix(CONNECT_PREFIX.as_bytes()) else { return };
        let place = match name {
            b"topic" => &mut self.topic,
            b"partition" => &mut self.partition,
            b"offset" => &mut self.offset,
            b"connector.name" => &mut self.connector,
            b"stage" => &mut self.stage,
            b"exception.class.name" => &mut self.exception,
            b"exception.message" => &mut self.message,
            _ => return,
        };
        *place = Some(value.unwrap_or_default());
    }

    pub(super) fn is_there(&self) -> bool {
        self.topic.is_some() || self.exception.is_some()
    }

    pub(super) fn place(&self) -> Result<Option<Place<'a>>, HeaderError> {
        let Some(topic) = self.topic else { return Ok(None) };
        let partition = self.partition.and_then(super::number);
        let offset = self.offset.and_then(super::number);
        place(topic, partition, offset).ok_or(HeaderError::Value(CONNECT_PLACE)).map(Some)
    }
}

fn place(topic: &[u8], partition: Option<i32>, offset: Option<i64>) -> Option<Place<'_>> {
    let topic = std::str::from_utf8(topic).ok().filter(|topic| TopicName::is_possible(topic))?;
    let partition = partition.filter(|partition| *partition >= 0)?;
    let offset = offset.filter(|offset| *offset >= 0)?;
    Some(Place { topic, partition, offset, index: 0 })
}
