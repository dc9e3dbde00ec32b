//! The header contract of letters and retries (`schemas/headers.md`): names, values, and how they are read back.
//!
//! Every value is ASCII and bounded, and a record's former `longshore.*` headers are replaced, never added to: a record
//! has the same size after a hundred hops. On an input topic these headers mean nothing and are stripped, since a
//! forged origin would suppress a real record.

use crate::{Failure, Origin};

/// What all our header names begin with.
pub const PREFIX: &str = "longshore.";

/// `topic/partition/offset/index` of the first delivery.
pub const ORIGIN: &str = "longshore.origin";
/// The broker timestamp of the first delivery, milliseconds.
pub const ORIGIN_TIMESTAMP: &str = "longshore.origin-timestamp";
/// Attempts so far in this replay.
pub const ATTEMPT: &str = "longshore.attempt";
/// The replay number, 0 at first.
pub const REPLAYS: &str = "longshore.replays";
/// Milliseconds since 1970 before which it must not be tried; absent = now.
pub const NOT_BEFORE: &str = "longshore.not-before";
/// The stable reason code.
pub const REASON: &str = "longshore.reason";
/// The step or sink that failed, as the pipeline file names it; absent when it was neither.
pub const AT: &str = "longshore.at";
/// What happened, without payload and secrets.
pub const DETAIL: &str = "longshore.detail";
/// Name and version of the pipeline that failed it.
pub const PIPELINE: &str = "longshore.pipeline";
/// When it failed first, milliseconds.
pub const FIRST_FAILED: &str = "longshore.first-failed";
/// When it failed last, milliseconds.
pub const LAST_FAILED: &str = "longshore.last-failed";
/// The bytes of a payload that was too large for the dead-letter topic and was left out; absent when it is there.
pub const OMITTED: &str = "longshore.omitted";
/// On records that the `topic` sink writes: the origin they were made from. Never counts as an origin itself.
pub const SOURCE: &str = "longshore.source";
/// On records that a replay published anew: the origin of the letter they were made from. Never counts as an origin itself.
pub const REPLAY_OF: &str = "longshore.replay-of";
/// On every record that a replay sent: the replay's id.
pub const REPLAY_ID: &str = "longshore.replay-id";

/// On every record that a replay sent: where the letter stands, `topic/partition/offset`.
pub const REPLAY_LETTER: &str = "longshore.replay-letter";

/// The most bytes of a step's or sink's name, or of the pipeline's name and version, that are kept.
pub const NAME_BYTES: usize = 128;

/// Whether a header is one of ours by its name, and so to be stripped from what others send.
pub fn is_ours(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes())
}

/// What the headers of a letter or a retry say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterHeaders {
    /// Where the record first stood.
    pub origin: Origin,
    /// The broker timestamp there, milliseconds; -1 when the broker gave none.
    pub origin_timestamp_ms: i64,
    /// Attempts so far in this replay.
    pub attempt: u32,
    /// The replay number.
    pub replays: u32,
    /// When it may be tried again, milliseconds; none = now.
    pub not_before_ms: Option<i64>,
    /// The reason code; of another version it may be one we do not know.
    pub reason: String,
    /// The step or sink, empty if neither.
    pub at: String,
    /// What happened.
    pub detail: String,
    /// Name and version of the pipeline.
    pub pipeline: String,
    /// When it failed first, milliseconds.
    pub first_failed_ms: i64,
    /// When it failed last, milliseconds.
    pub last_failed_ms: i64,
    /// The bytes of a payload that was left out.
    pub omitted: Option<u64>,
}

impl LetterHeaders {
    /// Headers for a first failure at `now_ms`.
    pub fn failed(
        origin: Origin,
        origin_timestamp_ms: i64,
        failure: &Failure,
        pipeline: &str,
        now_ms: i64,
    ) -> Self {
        Self {
            origin,
            origin_timestamp_ms,
            attempt: 1,
            replays: 0,
            not_before_ms: None,
            reason: failure.reason.code().to_owned(),
            at: ascii(&failure.at, NAME_BYTES),
            detail: failure.detail().to_owned(),
            pipeline: ascii(pipeline, NAME_BYTES),
            first_failed_ms: now_ms,
            last_failed_ms: now_ms,
            omitted: None,
        }
    }

    /// Names and values, always in the same order. Add them behind the record's own headers less those that
    /// [`is_ours`] tells.
    pub fn encode(&self) -> Vec<(&'static str, String)> {
        let mut list = vec![
            (ORIGIN, self.origin.to_string()),
            (ORIGIN_TIMESTAMP, self.origin_timestamp_ms.to_string()),
            (ATTEMPT, self.attempt.to_string()),
            (REPLAYS, self.replays.to_string()),
            (REASON, ascii(&self.reason, NAME_BYTES)),
            (DETAIL, ascii(&self.detail, crate::failure::DETAIL_BYTES)),
            (PIPELINE, ascii(&self.pipeline, NAME_BYTES)),
            (FIRST_FAILED, self.first_failed_ms.to_string()),
            (LAST_FAILED, self.last_failed_ms.to_string()),
        ];
        if let Some(not_before) = self.not_before_ms {
            list.push((NOT_BEFORE, not_before.to_string()));
        }
        if !self.at.is_empty() {
            list.push((AT, ascii(&self.at, NAME_BYTES)));
        }
        if let Some(omitted) = self.omitted {
            list.push((OMITTED, omitted.to_string()));
        }
        list
    }

    /// Reads the headers of a record on one of the pipeline's own topics. None when it has no origin, so is no letter
    /// of ours. Of a name that stands twice the last value counts, as everywhere in Kafka.
    ///
    /// # Errors
    /// [`HeaderError`] names the header whose value cannot be read.
    pub fn decode<'a>(
        headers: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<Option<Self>, HeaderError> {
        let mut found = Found::default();
        for (name, value) in headers {
            found.take(name, value)?;
        }
        let Some(origin) = found.origin else { return Ok(None) };
        let first_failed_ms = found.first_failed_ms.unwrap_or(0);
        Ok(Some(Self {
            origin,
            origin_timestamp_ms: found.origin_timestamp_ms.unwrap_or(-1),
            attempt: found.attempt.unwrap_or(0),
            replays: found.replays.unwrap_or(0),
            not_before_ms: found.not_before_ms,
            reason: found.reason,
            at: found.at,
            detail: found.detail,
            pipeline: found.pipeline,
            first_failed_ms,
            last_failed_ms: found.last_failed_ms.unwrap_or(first_failed_ms),
            omitted: found.omitted,
        }))
    }
}

/// A header of ours whose value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value of header {0} cannot be read")]
pub struct HeaderError(pub &'static str);

#[derive(Default)]
struct Found {
    origin: Option<Origin>,
    origin_timestamp_ms: Option<i64>,
    attempt: Option<u32>,
    replays: Option<u32>,
    not_before_ms: Option<i64>,
    reason: String,
    at: String,
    detail: String,
    pipeline: String,
    first_failed_ms: Option<i64>,
    last_failed_ms: Option<i64>,
    omitted: Option<u64>,
}

impl Found {
    fn take(&mut self, name: &[u8], value: Option<&[u8]>) -> Result<(), HeaderError> {
        let name = match name {
            name if !is_ours(name) => return Ok(()),
            name => std::str::from_utf8(name).unwrap_or_default(),
        };
        match name {
            ORIGIN => self.origin = Some(parsed(ORIGIN, value)?),
            ORIGIN_TIMESTAMP => self.origin_timestamp_ms = Some(parsed(ORIGIN_TIMESTAMP, value)?),
            ATTEMPT => self.attempt = Some(parsed(ATTEMPT, value)?),
            REPLAYS => self.replays = Some(parsed(REPLAYS, value)?),
            NOT_BEFORE => self.not_before_ms = Some(parsed(NOT_BEFORE, value)?),
            FIRST_FAILED => self.first_failed_ms = Some(parsed(FIRST_FAILED, value)?),
            LAST_FAILED => self.last_failed_ms = Some(parsed(LAST_FAILED, value)?),
            OMITTED => self.omitted = Some(parsed(OMITTED, value)?),
            REASON => self.reason = words(value, NAME_BYTES),
            AT => self.at = words(value, NAME_BYTES),
            DETAIL => self.detail = words(value, crate::failure::DETAIL_BYTES),
            PIPELINE => self.pipeline = words(value, NAME_BYTES),
            // A later version's header says nothing to this one.
            _ => {}
        }
        Ok(())
    }
}

fn parsed<T: std::str::FromStr>(name: &'static str, value: Option<&[u8]>) -> Result<T, HeaderError> {
    let text = value.and_then(|value| std::str::from_utf8(value).ok()).ok_or(HeaderError(name))?;
    text.parse().map_err(|_| HeaderError(name))
}

pub(crate) fn words(value: Option<&[u8]>, most: usize) -> String {
    ascii(&String::from_utf8_lossy(value.unwrap_or_default()), most)
}

/// Printable ASCII, at most so many bytes.
fn ascii(text: &str, most: usize) -> String {
    text.chars()
        .map(|letter| if letter == ' ' || letter.is_ascii_graphic() { letter } else { '?' })
        .take(most)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Offset, Partition, Reason, TopicName};

    fn letter() -> LetterHeaders {
        let origin =
            Origin { topic: TopicName::new("t"), partition: Partition(3), offset: Offset(42), index: 0 };
        let failure = Failure::reject(Reason::DecodeJson, "expected value").at("parse");
        LetterHeaders::failed(origin, 1000, &failure, "logs 1a2b", 2000)
    }

    fn decode(list: &[(&'static str, String)]) -> Result<Option<LetterHeaders>, HeaderError> {
        LetterHeaders::decode(list.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut headers = letter();
        assert_eq!(decode(&headers.encode()), Ok(Some(headers.clone())));
        headers.not_before_ms = Some(3000);
        headers.omitted = Some(5_000_000);
        headers.replays = 2;
        assert_eq!(decode(&headers.encode()), Ok(Some(headers)));
    }

    /// Trap 9: constant size at a hundred hops.
    #[test]
    fn a_hundred_hops_do_not_make_it_larger() {
        let mut own: Vec<(Vec<u8>, Vec<u8>)> = vec![(b"traceparent".to_vec(), b"00-x".to_vec())];
        let mut sizes = Vec::new();
        let mut headers = letter();
        for _ in 0..100 {
            let mut all: Vec<_> = own.iter().filter(|(name, _)| !is_ours(name)).cloned().collect();
            all.extend(
                headers
                    .encode()
                    .into_iter()
                    .map(|(name, value)| (name.as_bytes().to_vec(), value.into_bytes())),
            );
            sizes.push(all.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>());
            let pairs = all.iter().map(|(name, value)| (name.as_slice(), Some(value.as_slice())));
            headers = LetterHeaders::decode(pairs).unwrap().unwrap();
            headers.attempt = (headers.attempt + 1).min(9);
            own = all;
        }
        assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
    }

    #[test]
    fn strangers_are_no_letters_and_nonsense_is_named() {
        assert_eq!(decode(&[("kafka_dlt-exception", "x".into())]), Ok(None));
        assert_eq!(decode(&[(ORIGIN, "t/1".into())]), Err(HeaderError(ORIGIN)));
        assert_eq!(decode(&[(ATTEMPT, "-1".into())]), Err(HeaderError(ATTEMPT)));
        assert_eq!(LetterHeaders::decode([(b"longshore.\xff".as_slice(), None)]), Ok(None));
    }

    #[test]
    fn every_value_is_printable_ascii() {
        let mut headers = letter();
        headers.at = "schritt\u{fc}\n".into();
        for (_, value) in headers.encode() {
            assert!(value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{value:?}");
        }
    }
}
