//! Failure classes, scopes and the stable reason codes.
//!
//! Every error that can end a record's way becomes a [`Failure`] in an exhaustive match at the place where it is
//! handled: `Retry` (outside, temporary, or unknown), `Reject` (this record's fault), `Halt` (our deployment's fault).

use std::fmt;
use std::time::Duration;

/// What is to be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Outside, temporary, or unknown: try again.
    Retry {
        /// Who else is affected.
        scope: Scope,
        /// A server's own wish; it wins over the schedule.
        after: Option<Duration>,
    },
    /// This record's fault: to the dead letter.
    Reject,
    /// Our deployment's fault: stop the pair, say so, never skip.
    Halt,
}

/// Who else is affected by a failure worth a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This record alone; others may succeed.
    Record,
    /// Everything that goes to the same place (refused, 503, no space): pause and probe, count no attempt.
    Target,
}

/// Declares the reason codes once: variant, code, what it means in words.
macro_rules! reasons {
    ($($variant:ident = $code:literal, $words:literal;)+) => {
        /// Why a record or a pair failed: stable codes, documented, safe as a metric label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $words] $variant,)+
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable code, as in headers and metrics.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// What the code means, one sentence.
            pub fn words(self) -> &'static str {
                match self { $(Self::$variant => $words,)+ }
            }

            /// The reason of a code; none for a code that is not ours.
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

reasons! {
    DecodeJson = "decode.json", "The payload is not valid JSON.";
    DecodeUtf8 = "decode.utf8", "The payload is not valid UTF-8.";
    DecodeEmpty = "decode.empty", "The payload is empty.";
    DecodeTombstone = "decode.tombstone", "The payload is null where a value is needed.";
    DecodeDepth = "decode.depth", "The payload nests deeper than the limit.";
    DecodeTrailing = "decode.trailing", "Something stands after the payload's value.";
    DecodeTooLarge = "decode.too-large", "The payload is larger than the limit, packed or unpacked.";
    DecodeShape = "decode.shape", "The payload is well formed but not of the shape this step accepts.";
    DecodeCompression = "decode.compression", "The payload cannot be unpacked.";
    DecodeAvro = "decode.avro", "The payload is not valid Avro for its schema.";
    DecodeSchemaUnknown = "decode.schema-unknown", "The payload names a schema id that the store does not hold.";
    DecodeHeader = "decode.header", "A header's name or value cannot be represented.";
    StepExpression = "step.expression", "A condition or expression failed on this record.";
    StepFailed = "step.failed", "A step failed on this record.";
    StepPanic = "step.panic", "A step panicked on this record.";
    StepDeadline = "step.deadline", "A step did not finish within its deadline.";
    EncodeAvro = "encode.avro", "The record does not fit the Avro schema it is written with.";
    EncodeValue = "encode.value", "The record holds a value that the sink's format cannot express.";
    SinkRejected = "sink.rejected", "The sink refused this record.";
    SinkKeyMoved = "sink.key-moved", "The row of this record's key was written from another partition.";
    SinkTooLarge = "sink.too-large", "The record is larger than the sink accepts.";
    SinkUnavailable = "sink.unavailable", "The sink cannot be reached or is overloaded.";
    SinkNoSpace = "sink.no-space", "The sink has no space left.";
    SinkMissing = "sink.missing", "The sink's target does not exist.";
    SinkUnfit = "sink.unfit", "The sink's target does not fit what is written to it.";
    SinkDenied = "sink.denied", "The sink refuses our rights or credentials.";
    LedgerMissing = "ledger.missing", "The sink holds fewer segments than were committed.";
    LedgerForeign = "ledger.foreign", "The sink's ledger belongs to another topic, cluster or pipeline, or its rows have another form.";
    LedgerGeneration = "ledger.generation", "The commits were made for a later sink generation than the pipeline file names.";
    LedgerBroken = "ledger.broken", "The sink's ledger cannot be read.";
    OffsetOutOfRange = "offset.out-of-range", "The committed offset no longer exists on the broker.";
    MetadataBroken = "offset.metadata", "The commit metadata does not fit its offset.";
    FormatNewer = "format.newer", "A commit, a ledger, the journal or a copy was written by a newer version of Longshore.";
    BrokerUnavailable = "broker.unavailable", "No broker answers.";
    BrokerGroup = "broker.group", "The worker has no place in its consumer group.";
    BrokerCommits = "broker.commits", "No commit of a partition is acknowledged.";
    BrokerFetches = "broker.fetches", "A partition cannot be read: its leader answers with errors or not at all, or it has none.";
    BrokerAuthentication = "broker.authentication", "The broker refused the credentials.";
    BrokerAuthorization = "broker.authorization", "The broker refused the rights.";
    BrokerTopicMissing = "broker.topic-missing", "The topic does not exist.";
    BrokerTopicUnfit = "broker.topic-unfit", "A topic's partitions or settings do not fit the pipeline.";
    BrokerFatal = "broker.fatal", "The Kafka client failed for good and must be built anew.";
    BrokerDamaged = "broker.damaged", "The partition's log holds a batch that cannot be read.";
    BrokerConfiguration = "broker.configuration", "The Kafka client refused its configuration.";
    RetryParked = "retry.parked", "An earlier record of its key waits for its retry, so it waits behind it.";
    RetryStray = "retry.stray", "The record of the retry topic is no copy of a record of this pipeline.";
    RejectFlood = "reject.flood", "Nearly all records are rejected, which is an outage and no longer poison: the pair probes.";
    CrashLoop = "crash.loop", "The record took the worker down several times.";
    Internal = "internal", "A defect of Longshore.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The most bytes of detail a failure keeps.
pub const DETAIL_BYTES: usize = 512;

/// What went wrong with a record or a pair, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What to do.
    pub class: Class,
    /// The stable code.
    pub reason: Reason,
    /// Where it happened: the step's or sink's name in the pipeline file, empty if neither.
    pub at: String,
    detail: String,
}

impl Failure {
    /// A failure of this record alone that may pass.
    pub fn retry(reason: Reason, detail: impl fmt::Display) -> Self {
        Self::new(Class::Retry { scope: Scope::Record, after: None }, reason, detail)
    }

    /// A failure of the place everything goes to.
    pub fn target(reason: Reason, detail: impl fmt::Display) -> Self {
        Self::new(Class::Retry { scope: Scope::Target, after: None }, reason, detail)
    }

    /// A failure that is this record's fault.
    pub fn reject(reason: Reason, detail: impl fmt::Display) -> Self {
        Self::new(Class::Reject, reason, detail)
    }

    /// A failure that only a person can mend.
    pub fn halt(reason: Reason, detail: impl fmt::Display) -> Self {
        Self::new(Class::Halt, reason, detail)
    }

    /// A failure of any class. The detail must hold no payload and no secret (I9, I10); it is escaped to ASCII and cut
    /// to [`DETAIL_BYTES`].
    pub fn new(class: Class, reason: Reason, detail: impl fmt::Display) -> Self {
        Self { class, reason, at: String::new(), detail: escape(&detail.to_string()) }
    }

    /// The same failure with the place it happened at.
    #[must_use]
    pub fn at(mut self, place: &str) -> Self {
        self.at = place.to_owned();
        self
    }

    /// What happened, printable ASCII, at most [`DETAIL_BYTES`].
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason.code())?;
        if !self.at.is_empty() {
            write!(f, " at {}", self.at)?;
        }
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl std::error::Error for Failure {}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(DETAIL_BYTES));
    for letter in text.chars().flat_map(char::escape_default_printable) {
        if out.len() >= DETAIL_BYTES {
            break;
        }
        out.push(letter);
    }
    out
}

/// Escaping that keeps printable ASCII as it is.
trait EscapePrintable {
    fn escape_default_printable(self) -> Printable;
}

enum Printable {
    Plain(std::iter::Once<char>),
    Escaped(std::char::EscapeDefault),
}

impl Iterator for Printable {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Self::Plain(letter) => letter.next(),
            Self::Escaped(letters) => letters.next(),
        }
    }
}

impl EscapePrintable for char {
    fn escape_default_printable(self) -> Printable {
        if self == ' ' || self.is_ascii_graphic() {
            Printable::Plain(std::iter::once(self))
        } else {
            Printable::Escaped(self.escape_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_found_again() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
        }
        assert_eq!(Reason::from_code("no.such"), None);
    }

    #[test]
    fn detail_is_printable_ascii_and_bounded() {
        let failure = Failure::reject(Reason::DecodeJson, format!("a\nb\u{e9}{}", "x".repeat(1000)));
        assert!(failure.detail().starts_with("a\\nb\\u{e9}xxx"));
        assert_eq!(failure.detail().len(), DETAIL_BYTES);
    }

    /// Guarantee: a failure is told by its code, its place where there is one, and its detail, in printable letters.
    #[test]
    fn a_failure_is_told_in_one_line() {
        let failure = Failure::reject(Reason::DecodeJson, "at byte\t7");
        assert_eq!(failure.to_string(), r"decode.json: at byte\t7");
        assert_eq!(failure.at("parse").to_string(), r"decode.json at parse: at byte\t7");
        assert_eq!(Failure::reject(Reason::DecodeJson, "").to_string(), Reason::DecodeJson.to_string());
        assert_eq!(
            Failure::reject(Reason::DecodeJson, r#"it's "x""#).to_string(),
            r#"decode.json: it's "x""#
        );
        assert_eq!(Reason::DecodeJson.to_string(), "decode.json");
    }
}
