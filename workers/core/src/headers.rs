//! The header contract of letters and retries (`schemas/headers.md`): names, values, and how they are read back.
//!
//! Every value is ASCII and bounded, and a record's former `longshore.*` headers are replaced, never added to: a record
//! has the same size after a hundred hops. On an input topic these headers mean nothing and are stripped, since a
//! forged origin would suppress a real record.

use std::borrow::Cow;
use std::fmt::Write;

use crate::format::{FormatError, HEADERS, Newer};
use crate::letter::Place;
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
/// The bytes of key and own headers that were left out as well, since they alone are too large; absent when they are there.
pub const OMITTED_REST: &str = "longshore.omitted-rest";
/// On records that the `topic` sink writes: the origin they were made from. Never counts as an origin itself.
pub const SOURCE: &str = "longshore.source";
/// On records that a replay published anew: the origin of the letter they were made from. Never counts as an origin itself.
pub const REPLAY_OF: &str = "longshore.replay-of";
/// On records that a replay published anew, and on the copies and letters that they become: how often their content was replayed before.
/// Only whoever replays goes by it, so that a record that fails again and again is not sent round for ever.
pub const REPLAYED: &str = "longshore.replayed";
/// On every record that a replay sent: the replay's id.
pub const REPLAY_ID: &str = "longshore.replay-id";

/// On every record that a replay sent: where the letter stands, `topic/partition/offset`.
pub const REPLAY_LETTER: &str = "longshore.replay-letter";

/// The version of this contract that a reader has to know; absent = 1, which is the only one so far.
pub const CONTRACT: &str = "longshore.contract";

/// The most bytes of a step's or sink's name, or of the pipeline's name and version, that are kept.
pub const NAME_BYTES: usize = 128;

/// The most digits of [`REPLAYED`], so that whoever finds a forged one can raise the cap on replays above it.
const REPLAYED_DIGITS: usize = 7;

/// Whether a header is one of ours by its name, and so to be stripped from what others send.
pub fn is_ours(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes())
}

/// Whether a record's header stays on its copies and letters: all but ours, and of ours [`REPLAYED`] alone. Anybody may have written
/// that one on an input; it says nothing of identity, and the most that a forged one does is that a replay refuses the letter and says why.
pub fn is_kept(name: &[u8], value: Option<&[u8]>) -> bool {
    !is_ours(name) || (name == REPLAYED.as_bytes() && value.and_then(replayed).is_some())
}

/// The value of [`REPLAYED`]; none when it is no number that a replay writes.
pub fn replayed(value: &[u8]) -> Option<u32> {
    let fits = (1..=REPLAYED_DIGITS).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| fits)?.parse().ok()
}

/// What a replay writes as [`REPLAYED`] on a record whose content was replayed so often.
pub fn replayed_text(times: u32) -> String {
    times.min(10_u32.pow(REPLAYED_DIGITS as u32) - 1).to_string()
}

/// What the headers of a letter or a retry say. Where many are written, their words are borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterHeaders<Words = String> {
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
    pub reason: Words,
    /// The step or sink, empty if neither.
    pub at: Words,
    /// What happened.
    pub detail: Words,
    /// Name and version of the pipeline.
    pub pipeline: Words,
    /// When it failed first, milliseconds.
    pub first_failed_ms: i64,
    /// When it failed last, milliseconds.
    pub last_failed_ms: i64,
    /// The bytes of a payload that was left out.
    pub omitted: Option<u64>,
}

impl<'a> LetterHeaders<&'a str> {
    /// Headers for a first failure at `now_ms`.
    pub fn of_failure(
        origin: Origin,
        origin_timestamp_ms: i64,
        failure: &'a Failure,
        pipeline: &'a str,
        now_ms: i64,
    ) -> Self {
        Self {
            origin,
            origin_timestamp_ms,
            attempt: 1,
            replays: 0,
            not_before_ms: None,
            reason: failure.reason.code(),
            at: &failure.at,
            detail: failure.detail(),
            pipeline,
            first_failed_ms: now_ms,
            last_failed_ms: now_ms,
            omitted: None,
        }
    }
}

impl<Words: Into<String>> LetterHeaders<Words> {
    /// The same with words of their own.
    pub fn into_owned(self) -> LetterHeaders {
        LetterHeaders {
            origin: self.origin,
            origin_timestamp_ms: self.origin_timestamp_ms,
            attempt: self.attempt,
            replays: self.replays,
            not_before_ms: self.not_before_ms,
            reason: self.reason.into(),
            at: self.at.into(),
            detail: self.detail.into(),
            pipeline: self.pipeline.into(),
            first_failed_ms: self.first_failed_ms,
            last_failed_ms: self.last_failed_ms,
            omitted: self.omitted,
        }
    }
}

impl<Words: AsRef<str>> LetterHeaders<Words> {
    /// Names and values, always in the same order. Add them behind the record's own headers less those that
    /// [`is_ours`] tells.
    pub fn encode(&self) -> Vec<(&'static str, String)> {
        let mut text = HeaderText::default();
        let all = self.encode_to(&mut text);
        text.list(all).map(|(name, value)| (name, value.to_owned())).collect()
    }

    /// The same, behind what `text` holds already; returns where they stand there, for [`HeaderText::list`].
    pub fn encode_to(&self, text: &mut HeaderText) -> std::ops::Range<usize> {
        let first = text.ends.len();
        text.number(ORIGIN, &self.origin);
        text.number(ORIGIN_TIMESTAMP, self.origin_timestamp_ms);
        text.number(ATTEMPT, self.attempt);
        text.number(REPLAYS, self.replays);
        text.words(REASON, self.reason.as_ref(), NAME_BYTES);
        text.words(DETAIL, self.detail.as_ref(), crate::failure::DETAIL_BYTES);
        text.words(PIPELINE, self.pipeline.as_ref(), NAME_BYTES);
        text.number(FIRST_FAILED, self.first_failed_ms);
        text.number(LAST_FAILED, self.last_failed_ms);
        if let Some(not_before) = self.not_before_ms {
            text.number(NOT_BEFORE, not_before);
        }
        if !self.at.as_ref().is_empty() {
            text.words(AT, self.at.as_ref(), NAME_BYTES);
        }
        if let Some(omitted) = self.omitted {
            text.number(OMITTED, omitted);
        }
        first..text.ends.len()
    }
}

/// The headers of many records as text, in one buffer.
#[derive(Debug, Default)]
pub struct HeaderText {
    text: String,
    /// The names, and where each value ends.
    ends: Vec<(&'static str, usize)>,
}

impl HeaderText {
    /// Forgets all headers, and keeps the room.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Names and values of a range that [`LetterHeaders::encode_to`] returned.
    pub fn list(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = (&'static str, &str)> {
        let mut from =
            range.start.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(_, end)| *end);
        self.ends.get(range).unwrap_or_default().iter().map(move |(name, end)| {
            let value = self.text.get(from..*end).unwrap_or_default();
            from = *end;
            (*name, value)
        })
    }

    fn number(&mut self, name: &'static str, value: impl std::fmt::Display) {
        // Writing to a string does not fail.
        let _ = write!(self.text, "{value}");
        self.ends.push((name, self.text.len()));
    }

    fn words(&mut self, name: &'static str, words: &str, most: usize) {
        push_ascii(&mut self.text, words, most);
        self.ends.push((name, self.text.len()));
    }
}

impl LetterHeaders {
    /// Headers for a first failure at `now_ms`, with words of their own.
    pub fn failed(
        origin: Origin,
        origin_timestamp_ms: i64,
        failure: &Failure,
        pipeline: &str,
        now_ms: i64,
    ) -> Self {
        let said = LetterHeaders::of_failure(origin, origin_timestamp_ms, failure, pipeline, now_ms);
        let (at, pipeline) = (ascii(said.at, NAME_BYTES), ascii(said.pipeline, NAME_BYTES));
        Self { at, pipeline, ..said.into_owned() }
    }

    /// Reads the headers of a record on one of the pipeline's own topics. None when it has no origin, so is no letter
    /// of ours. Of a name that stands twice the last value counts, as everywhere in Kafka.
    ///
    /// # Errors
    /// [`HeaderError`] names the header whose value cannot be read.
    pub fn decode<'a>(
        headers: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<Option<Self>, HeaderError> {
        let found = Found::of(headers)?;
        let Some(origin) = found.origin else { return Ok(None) };
        let first_failed_ms = found.first_failed_ms.unwrap_or(0);
        Ok(Some(Self {
            origin: origin.to_origin(),
            origin_timestamp_ms: found.origin_timestamp_ms.unwrap_or(-1),
            attempt: found.attempt.unwrap_or(0),
            replays: found.replays.unwrap_or(0),
            not_before_ms: found.not_before_ms,
            reason: words(found.reason, NAME_BYTES),
            at: words(found.at, NAME_BYTES),
            detail: words(found.detail, crate::failure::DETAIL_BYTES),
            pipeline: words(found.pipeline, NAME_BYTES),
            first_failed_ms,
            last_failed_ms: found.last_failed_ms.unwrap_or(first_failed_ms),
            omitted: found.omitted,
        }))
    }
}

/// Of the headers of a copy what a worker goes by, without the words that are for people: nothing is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyHeaders<'a> {
    /// Where the record first stood.
    pub origin: Place<'a>,
    /// The broker timestamp there, milliseconds; -1 when the broker gave none.
    pub origin_timestamp_ms: i64,
    /// Attempts so far in this replay.
    pub attempt: u32,
    /// The replay number.
    pub replays: u32,
    /// When it may be tried again, milliseconds; none = now.
    pub not_before_ms: Option<i64>,
    /// When it failed first, milliseconds.
    pub first_failed_ms: i64,
    /// When it failed last, milliseconds, by the same clock as `not_before_ms`.
    pub last_failed_ms: i64,
}

impl<'a> CopyHeaders<'a> {
    /// Reads the headers of a record on the pipeline's own retry topic, as [`LetterHeaders::decode`] does.
    ///
    /// # Errors
    /// [`HeaderError`] names the header whose value cannot be read.
    pub fn decode(
        headers: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<Option<Self>, HeaderError> {
        let found = Found::of(headers)?;
        let first_failed_ms = found.first_failed_ms.unwrap_or(0);
        Ok(found.origin.map(|origin| Self {
            origin,
            origin_timestamp_ms: found.origin_timestamp_ms.unwrap_or(-1),
            attempt: found.attempt.unwrap_or(0),
            replays: found.replays.unwrap_or(0),
            not_before_ms: found.not_before_ms,
            first_failed_ms,
            last_failed_ms: found.last_failed_ms.unwrap_or(first_failed_ms),
        }))
    }
}

/// Why headers of ours cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The value of this one.
    #[error("the value of header {0} cannot be read")]
    Value(&'static str),
    /// They follow a contract of a later version.
    #[error(transparent)]
    Newer(#[from] Newer),
}

#[derive(Default)]
struct Found<'a> {
    origin: Option<Place<'a>>,
    origin_timestamp_ms: Option<i64>,
    attempt: Option<u32>,
    replays: Option<u32>,
    not_before_ms: Option<i64>,
    reason: Option<&'a [u8]>,
    at: Option<&'a [u8]>,
    detail: Option<&'a [u8]>,
    pipeline: Option<&'a [u8]>,
    first_failed_ms: Option<i64>,
    last_failed_ms: Option<i64>,
    omitted: Option<u64>,
}

impl<'a> Found<'a> {
    fn of(headers: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Result<Self, HeaderError> {
        let mut found = Self::default();
        let mut unreadable = None;
        for (name, value) in headers {
            match found.take(name, value) {
                Ok(()) => {}
                Err(newer @ HeaderError::Newer(_)) => return Err(newer),
                // A newer contract may be why, and stand behind it.
                Err(error) => unreadable = unreadable.or(Some(error)),
            }
        }
        unreadable.map_or(Ok(found), Err)
    }

    fn take(&mut self, name: &[u8], value: Option<&'a [u8]>) -> Result<(), HeaderError> {
        let name = match name {
            name if !is_ours(name) => return Ok(()),
            name => std::str::from_utf8(name).unwrap_or_default(),
        };
        match name {
            ORIGIN => {
                let text = value.and_then(|value| std::str::from_utf8(value).ok());
                self.origin = Some(text.and_then(Place::parse).ok_or(HeaderError::Value(ORIGIN))?);
            }
            ORIGIN_TIMESTAMP => self.origin_timestamp_ms = Some(parsed(ORIGIN_TIMESTAMP, value)?),
            ATTEMPT => self.attempt = Some(parsed(ATTEMPT, value)?),
            REPLAYS => self.replays = Some(parsed(REPLAYS, value)?),
            NOT_BEFORE => self.not_before_ms = Some(parsed(NOT_BEFORE, value)?),
            FIRST_FAILED => self.first_failed_ms = Some(parsed(FIRST_FAILED, value)?),
            LAST_FAILED => self.last_failed_ms = Some(parsed(LAST_FAILED, value)?),
            OMITTED => self.omitted = Some(parsed(OMITTED, value)?),
            REASON => self.reason = value,
            AT => self.at = value,
            DETAIL => self.detail = value,
            PIPELINE => self.pipeline = value,
            CONTRACT => refuse_newer(value)?,
            // A later version's header says nothing to this one.
            _ => {}
        }
        Ok(())
    }
}

/// Whether headers that say so follow the contract as it is known here. A later version that only adds names does not say so.
pub(crate) fn refuse_newer(contract: Option<&[u8]>) -> Result<(), HeaderError> {
    match HEADERS.check(parsed(CONTRACT, contract)?) {
        Ok(()) => Ok(()),
        Err(FormatError::Newer(newer)) => Err(newer.into()),
        Err(FormatError::Unreadable(_)) => Err(HeaderError::Value(CONTRACT)),
    }
}

fn parsed<T: std::str::FromStr>(name: &'static str, value: Option<&[u8]>) -> Result<T, HeaderError> {
    let text = value.and_then(|value| std::str::from_utf8(value).ok()).ok_or(HeaderError::Value(name))?;
    text.parse().map_err(|_| HeaderError::Value(name))
}

pub(crate) fn words(value: Option<&[u8]>, most: usize) -> String {
    borrowed_words(value.unwrap_or_default(), most).into_owned()
}

/// The same, without a copy where the value is as it should be.
pub(crate) fn borrowed_words(value: &[u8], most: usize) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) if is_printable(text, most) => Cow::Borrowed(text),
        _ => Cow::Owned(ascii(&String::from_utf8_lossy(value), most)),
    }
}

/// Printable ASCII, at most so many bytes.
fn ascii(text: &str, most: usize) -> String {
    let mut printable = String::with_capacity(text.len().min(most));
    push_ascii(&mut printable, text, most);
    printable
}

/// Whether a value is printable ASCII and short enough as it is.
fn is_printable(text: &str, most: usize) -> bool {
    text.len() <= most && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

fn push_ascii(to: &mut String, text: &str, most: usize) {
    if is_printable(text, most) {
        return to.push_str(text);
    }
    let printable = |letter: char| if letter == ' ' || letter.is_ascii_graphic() { letter } else { '?' };
    to.extend(text.chars().map(printable).take(most));
}

#[cfg(test)]
mod tests;
