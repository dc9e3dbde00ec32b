//! Where to begin when the group has committed nothing.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `input.start`: `earliest`, `latest`, or a time (RFC 3339).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum StartPolicy {
    /// The log's first record.
    #[default]
    Earliest,
    /// Behind the log's last record.
    Latest,
    /// The first record with this timestamp or a later one; milliseconds since 1970.
    Time(i64),
}

/// What was read is no start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected earliest, latest, or a time such as 2026-01-31T12:00:00Z")]
pub struct StartError;

impl FromStr for StartPolicy {
    type Err = StartError;

    fn from_str(text: &str) -> Result<Self, StartError> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            time => time
                .parse()
                .map(|time: jiff::Timestamp| Self::Time(time.as_millisecond()))
                .map_err(|_| StartError),
        }
    }
}

impl TryFrom<String> for StartPolicy {
    type Error = StartError;

    fn try_from(text: String) -> Result<Self, StartError> {
        text.parse()
    }
}

impl From<StartPolicy> for String {
    fn from(policy: StartPolicy) -> Self {
        match policy {
            StartPolicy::Earliest => "earliest".to_owned(),
            StartPolicy::Latest => "latest".to_owned(),
            StartPolicy::Time(ms) => {
                jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_times_are_read_and_written() {
        for text in ["earliest", "latest", "2026-01-31T12:00:00Z"] {
            assert_eq!(String::from(text.parse::<StartPolicy>().unwrap()), text);
        }
        assert_eq!("yesterday".parse::<StartPolicy>(), Err(StartError));
    }
}
