//! Whether a topic that is there is as the pipeline needs it.

use std::collections::BTreeMap;

use longshore_kafka::DEAD_LETTER_SETTINGS;

use super::wanted::{Purpose, RECORD_BYTES, Wanted};
use crate::commands::topic_settings::letter_settings;

const RETENTION: &str = "retention.ms";
const DAY_MS: i64 = 86_400_000;

/// A topic as the broker has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) partitions: u32,
    /// None when the broker cannot tell.
    pub(super) settings: Option<BTreeMap<String, String>>,
}

impl Found {
    fn setting(&self, name: &str) -> Option<&str> {
        self.settings.as_ref()?.get(name).map(String::as_str)
    }

    /// A setting that is a count.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.setting(name)?.parse().ok()
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does not exist.
    Missing,
    /// It will do.
    Ok,
    /// It is there and will not do, with all reasons.
    Differs(Vec<String>),
}

impl Verdict {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Ok => "ok",
            Self::Differs(_) => "differs",
        }
    }
}

/// Compares. An input or a sink may be set as its owner likes.
pub(super) fn judge(wanted: &Wanted, found: Option<&Found>) -> Verdict {
    let Some(found) = found else { return Verdict::Missing };
    let differences = match wanted.purpose {
        Purpose::Input | Purpose::Sink => Vec::new(),
        Purpose::Letters { record_bytes } => letters(wanted, record_bytes, found),
    };
    if differences.is_empty() { Verdict::Ok } else { Verdict::Differs(differences) }
}

fn letters(wanted: &Wanted, record_bytes: u64, found: &Found) -> Vec<String> {
    let mut differences = Vec::new();
    if found.partitions < wanted.partitions {
        let (has, needs) = (found.partitions, wanted.partitions);
        differences.push(format!(
            "has {has} partitions; its input has {needs}, and a letter goes to its record's own"
        ));
    }
    for (name, needed) in DEAD_LETTER_SETTINGS {
        if let Some(value) = found.setting(name)
            && value != *needed
        {
            differences.push(format!("{name} is {value}; wanted: {needed}"));
        }
    }
    if let Some(bytes) = found.number(RECORD_BYTES)
        && bytes < record_bytes
    {
        differences.push(format!(
            "{RECORD_BYTES} is {bytes}; wanted: {record_bytes} or more, the input's with our headers"
        ));
    }
    if let Some(kept) = found.setting(RETENTION).and_then(|value| value.parse::<i64>().ok())
        && kept >= 0
        && kept < retention_ms()
    {
        differences.push(format!(
            "{RETENTION} is {kept}; wanted: {} ({} days) or more",
            retention_ms(),
            retention_ms() / DAY_MS
        ));
    }
    differences
}

/// How long letters are kept, as they are made.
fn retention_ms() -> i64 {
    let settings = letter_settings();
    settings.iter().find(|(name, _)| name == RETENTION).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        let purpose = Purpose::Letters { record_bytes: 2_000 };
        Wanted { name: "in.p.dlq".to_owned(), purpose, partitions: 4 }
    }

    fn found(partitions: u32, settings: &[(String, String)]) -> Found {
        Found { partitions, settings: Some(settings.iter().cloned().collect()) }
    }

    /// Guarantee: what `apply` makes is what `plan` calls well.
    #[test]
    fn what_is_made_is_ok() {
        assert_eq!(judge(&wanted(), Some(&found(4, &wanted().settings()))), Verdict::Ok);
        assert_eq!(judge(&wanted(), None), Verdict::Missing);
    }

    #[test]
    fn every_difference_is_told() {
        let settings = [
            ("message.timestamp.type", "CreateTime"),
            ("cleanup.policy", "compact"),
            ("retention.ms", "604800000"),
            (RECORD_BYTES, "1000"),
        ];
        let settings: Vec<_> = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let Verdict::Differs(differences) = judge(&wanted(), Some(&found(3, &settings))) else {
            panic!("it differs");
        };
        assert_eq!(differences.len(), 5, "{differences:?}");
        assert_eq!(differences[1], "message.timestamp.type is CreateTime; wanted: LogAppendTime");
    }

    /// Longer is no fault, nor for ever, nor a broker that cannot tell.
    #[test]
    fn more_is_ok() {
        let mut settings = wanted().settings();
        for (name, value) in &mut settings {
            if name == RETENTION {
                *value = "-1".to_owned();
            }
            if name == RECORD_BYTES {
                *value = "9000".to_owned();
            }
        }
        assert_eq!(judge(&wanted(), Some(&found(9, &settings))), Verdict::Ok);
        assert_eq!(judge(&wanted(), Some(&Found { partitions: 4, settings: None })), Verdict::Ok);
    }
}
