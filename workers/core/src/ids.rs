//! Newtypes for every number that must not be mistaken for another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A topic's name, shared by every record of it. Kafka allows `[a-zA-Z0-9._-]{1,249}`, so a name never holds a slash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicName(pub Arc<str>);

impl TopicName {
    /// The longest name, bytes (Kafka's own bound, `Topic.MAX_NAME_LENGTH`).
    pub const MOST_BYTES: usize = 249;

    /// Whether a topic can have this name. Texts that came from elsewhere are asked, so that nobody has to remember or to show what is none.
    pub fn is_possible(name: &str) -> bool {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        (1..=Self::MOST_BYTES).contains(&name.len()) && name.bytes().all(fits)
    }

    /// Wraps a name as it is; the broker judges its letters.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A partition number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub i32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of a record in its partition, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub i64);

impl Offset {
    /// The place behind this one; the only `+ 1` on offsets.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One ownership of a pair by one worker. It rises at every assignment and every new beginning, never within a
/// process's life falls, and whatever carries an old one is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Names the writer of a segment: 128 random bits, new at every assignment and at every recovery, so that a name
/// taken "by us" can only be our own unanswered try.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct WriterId(pub u128);

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for WriterId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WriterId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A sink generation: 1 at first; going back on purpose begins the next one in a new folder or table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl Generation {
    /// The generation every sink starts with.
    pub const FIRST: Self = Self(1);
}

/// The number of a segment within its pair, sink and generation, from 0 without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The number behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The sink's place in the pipeline file, from 0; at most [`crate::SinkMask::CAPACITY`] sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SinkIndex(pub u8);

/// XXH3-64 of a record's key. A collision delays, it never reorders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

impl KeyHash {
    /// The hash of a key's bytes. An empty key is a key; a null key has no hash.
    pub fn of(key: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64(key))
    }
}

/// One dispatch of records to the steps, unique within a pair's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub u64);

/// Monotonic time since an arbitrary start, handed in by whoever has a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Duration);

impl Moment {
    /// This moment plus a span.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// The first multiple of `step` that is not before this moment. With a step of zero it is this moment.
    #[must_use]
    pub fn rounded_up(self, step: Duration) -> Self {
        let past = self.0.as_nanos().checked_rem(step.as_nanos()).unwrap_or(0);
        if past == 0 { self } else { self.after(step.saturating_sub(Duration::from_nanos(past as u64))) }
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Input partition p together with its retry partition p; one owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairId {
    /// The input topic.
    pub topic: TopicName,
    /// The partition, in the input and in the retry topic alike.
    pub partition: Partition,
}

impl PairId {
    /// The pair of a topic's partition.
    pub fn new(topic: &str, partition: i32) -> Self {
        Self { topic: TopicName::new(topic), partition: Partition(partition) }
    }
}

impl fmt::Display for PairId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// The two ways into a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// The input topic.
    Input,
    /// The pipeline's retry topic.
    Retry,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_round_up_to_a_step() {
        let at = |ms| Moment(Duration::from_millis(ms));
        let step = Duration::from_millis(10);
        assert_eq!(at(0).rounded_up(step), at(0));
        assert_eq!(at(20).rounded_up(step), at(20));
        assert_eq!(at(21).rounded_up(step), at(30));
        assert_eq!(Moment(Duration::from_nanos(1)).rounded_up(step), at(10));
        assert_eq!(at(21).rounded_up(Duration::ZERO), at(21));
        assert_eq!(Moment(Duration::MAX).rounded_up(step), Moment(Duration::MAX));
    }

    /// Guarantee: names of segments and what logs say of their writers have one form.
    #[test]
    fn numbers_are_written_in_one_form() {
        let writer = WriterId(0xab << 8);
        assert_eq!(writer.to_string(), "0000000000000000000000000000ab00");
        assert_eq!((format!("{writer:?}"), Sequence(7).to_string()), (writer.to_string(), "7".to_owned()));
    }
}
