//! The identity of a record: where it first stood on this pipeline's input.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Offset, Partition, TopicName};

/// `topic/partition/offset/index`. The index is 0 unless a step made several records of one; then it is the child's
/// place among them, which must be the same whenever the steps run again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The input topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: Partition,
    /// The record's offset there.
    pub offset: Offset,
    /// The child's place, from 0.
    pub index: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.topic, self.partition, self.offset, self.index)
    }
}

/// What was read is not `topic/partition/offset/index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an origin: expected topic/partition/offset/index")]
pub struct OriginError;

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let mut parts = text.split('/');
        let mut part = || parts.next().filter(|p| !p.is_empty()).ok_or(OriginError);
        let topic = Some(part()?).filter(|topic| TopicName::is_possible(topic)).ok_or(OriginError)?;
        let topic = TopicName::new(topic);
        let partition = part()?.parse().ok().filter(|n| *n >= 0).map(Partition).ok_or(OriginError)?;
        let offset = part()?.parse().ok().filter(|n| *n >= 0).map(Offset).ok_or(OriginError)?;
        let index = part()?.parse().map_err(|_| OriginError)?;
        if parts.next().is_some() {
            return Err(OriginError);
        }
        Ok(Self { topic, partition, offset, index })
    }
}

impl Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bad input: parts that are missing, empty, below zero or too many. Guarantee: refused; what is written is read back.
    #[test]
    fn an_origin_has_four_parts() {
        let origin: Origin = "in.a/3/42/7".parse().unwrap();
        assert_eq!((origin.partition, origin.offset, origin.index), (Partition(3), Offset(42), 7));
        assert_eq!((origin.topic.as_str(), origin.to_string().as_str()), ("in.a", "in.a/3/42/7"));
        assert!("t/0/0/0".parse::<Origin>().is_ok());
        for text in
            ["", "t", "t/0", "t/0/0", "/0/0/0", "t//0/0", "t/-1/0/0", "t/0/-1/0", "t/0/0/-1", "t/0/0/0/0"]
        {
            assert_eq!(text.parse::<Origin>(), Err(OriginError), "{text}");
        }
    }
}
