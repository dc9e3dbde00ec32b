//! What must become of a published record, judged from its bytes by rules of its own: plain serde_json and a few
//! comparisons, none of the workers' code. So the account does not ask the accused.

use longshore_core::Origin;
use serde::{Deserialize, Serialize};

use super::generate::SplitMix;

/// The final place of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// A row in the files.
    File,
    /// Filtered, with the reason.
    Filtered(String),
    /// A dead letter, with the reason code.
    Dead(String),
}

/// The demo's pipelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Demo {
    /// Log lines.
    Logs,
    /// Documents.
    Documents,
}

/// Documents shorter than this many characters are filtered by the demo's pipeline.
pub(crate) const SHORT_DOCUMENT_CHARS: usize = 200;
/// The name that the demo's filter of quiet levels counts under.
pub(crate) const QUIET: &str = "quiet";

/// Which records a rehearsal fails: shares in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rehearsal {
    /// Fail some times and then go through.
    pub(crate) retry: u32,
    /// Are dead letters at once.
    pub(crate) reject: u32,
}

/// The seed of the step whose failures pass, and of the one that rejects.
pub(crate) const RETRY_SEED: u64 = 1;
pub(crate) const REJECT_SEED: u64 = 2;
/// The reason code of both.
pub(crate) const REHEARSED: &str = "step.failed";
/// The reason code of the step that rejects everything for a while.
pub(crate) const FLOODED: &str = "step.expression";

impl Rehearsal {
    /// One in ten of those that fail is rejected.
    pub(crate) fn of(millionths: u32) -> Self {
        let reject = millionths / 10;
        Self { retry: millionths - reject, reject }
    }

    /// Whether this record has to go through the retry topic.
    pub(crate) fn retries(self, origin: &Origin) -> bool {
        draw(origin, RETRY_SEED) < self.retry
    }

    /// Whether this record has to become a letter.
    pub(crate) fn rejects(self, origin: &Origin) -> bool {
        draw(origin, REJECT_SEED) < self.reject
    }
}

/// The number below a million that decides about a record: FNV-1a of the topic, then SplitMix64 over partition and offset, as the
/// step `fail` is documented to draw.
fn draw(origin: &Origin, seed: u64) -> u32 {
    let mut topic = 0xcbf2_9ce4_8422_2325_u64;
    for byte in origin.topic.as_str().bytes() {
        topic = (topic ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    let place = SplitMix(topic ^ seed).next().wrapping_add(origin.partition.0 as u64);
    let record = SplitMix(place).next() ^ origin.offset.0 as u64;
    (SplitMix(record).next() % 1_000_000) as u32
}

impl Demo {
    /// Where a record with this value must end, and what its row's text must say (none where a step may change it).
    pub(crate) fn expect(self, value: Option<&[u8]>) -> (Place, Option<String>) {
        let Some(value) = value else { return (Place::Filtered("tombstone".to_owned()), None) };
        if value.iter().all(u8::is_ascii_whitespace) {
            return (Place::Dead("decode.empty".to_owned()), None);
        }
        let Ok(text) = std::str::from_utf8(value) else {
            return (Place::Dead("decode.utf8".to_owned()), None);
        };
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
        let Some(Ok(first)) = values.next() else { return (Place::Dead("decode.json".to_owned()), None) };
        if values.next().is_some() {
            return (Place::Dead("decode.trailing".to_owned()), None);
        }
        match self {
            Self::Logs => log(&first),
            Self::Documents => document(&first),
        }
    }
}

fn log(line: &serde_json::Value) -> (Place, Option<String>) {
    if line["level"] == "debug" {
        return (Place::Filtered(QUIET.to_owned()), None);
    }
    (Place::File, line["message"].as_str().map(str::to_owned))
}

fn document(document: &serde_json::Value) -> (Place, Option<String>) {
    let Some(text) = document["text"].as_str() else { return (Place::Dead("decode.shape".to_owned()), None) };
    // Text outside ASCII may be changed by normalisation, in content and in length; the demo leaves documents near
    // the limit to the ASCII case.
    if text.is_ascii() && text.len() < SHORT_DOCUMENT_CHARS || text.chars().count() < SHORT_DOCUMENT_CHARS {
        return (Place::Filtered("length.short".to_owned()), None);
    }
    (Place::File, text.is_ascii().then(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same three records of `logs/0` as the step's own test names, and the same share.
    #[test]
    fn the_account_draws_as_the_step_does() {
        let at = |offset| format!("logs/0/{offset}/0").parse::<Origin>().unwrap();
        let chosen: Vec<i64> = (0..100_000).filter(|offset| draw(&at(*offset), 0) < 50_000).collect();
        assert_eq!((&chosen[..3], chosen.len()), (&[5, 10, 20][..], 5_100));
    }

    #[test]
    fn each_kind_of_line_has_its_place() {
        let place = |bytes: &[u8]| Demo::Logs.expect(Some(bytes)).0;
        assert_eq!(place(br#"{"level":"info","message":"m"}"#), Place::File);
        assert_eq!(place(br#"{"level":"debug"}"#), Place::Filtered(QUIET.to_owned()));
        assert_eq!(place(b""), Place::Dead("decode.empty".to_owned()));
        assert_eq!(place(br#"{"level":"#), Place::Dead("decode.json".to_owned()));
        assert_eq!(place(b"{} and then some"), Place::Dead("decode.trailing".to_owned()));
        assert_eq!(place(b"{\"a\":\"\xff\"}"), Place::Dead("decode.utf8".to_owned()));
    }
}
