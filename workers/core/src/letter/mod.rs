//! Dead letters as they lie in a topic: ours, Spring Kafka's and Kafka Connect's, told apart by their headers and brought
//! into one view. Nothing is copied until somebody asks for the whole ([`LetterRef::headers`]), so that a million of them
//! can be counted quickly.
//!
//! Sources: `schemas/headers.md`; `org.springframework.kafka.support.KafkaHeaders` and `DeadLetterPublishingRecoverer`
//! (Spring Kafka 3); `org.apache.kafka.connect.runtime.errors.DeadLetterQueueReporter` (Apache Kafka 4).

mod foreign;
mod seen;

use std::borrow::Cow;

use crate::headers::{self, HeaderError, LetterHeaders};
use crate::{Offset, Origin, Partition, TopicName};

pub use foreign::{CONNECT_PREFIX, SPRING_PREFIX, is_foreign};
use foreign::{Connect, Spring};
pub use seen::Seen;

/// Who wrote a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LetterKind {
    /// A pipeline of ours.
    Longshore,
    /// Spring Kafka's `DeadLetterPublishingRecoverer`.
    Spring,
    /// Kafka Connect's dead letter queue reporter.
    Connect,
    /// Nobody that we know: a record without such headers.
    Unknown,
}

impl LetterKind {
    /// The word that people and programs see.
    pub fn word(self) -> &'static str {
        match self {
            Self::Longshore => "longshore",
            Self::Spring => "spring",
            Self::Connect => "connect",
            Self::Unknown => "unknown",
        }
    }
}

/// Where a record first stood, borrowed: an [`Origin`] without its allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The child's place, 0 for a record that no step split.
    pub index: u32,
}

impl<'a> Place<'a> {
    /// `topic/partition/offset/index` as [`Origin`] reads it.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split('/');
        let topic = parts.next().filter(|topic| TopicName::is_possible(topic))?;
        let partition = parts.next()?.parse().ok().filter(|partition: &i32| *partition >= 0)?;
        let offset = parts.next()?.parse().ok().filter(|offset: &i64| *offset >= 0)?;
        let index = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Place { topic, partition, offset, index })
    }
}

impl Place<'_> {
    /// The same, owned.
    pub fn to_origin(self) -> Origin {
        Origin {
            topic: TopicName::new(self.topic),
            partition: Partition(self.partition),
            offset: Offset(self.offset),
            index: self.index,
        }
    }
}

/// The headers of one record that say something about its failure, borrowed from it. Of a name that stands twice the last
/// value counts, as everywhere in Kafka.
#[derive(Clone, Copy, Debug, Default)]
pub struct LetterRef<'a> {
    origin: Option<&'a [u8]>,
    origin_timestamp: Option<&'a [u8]>,
    attempt: Option<&'a [u8]>,
    replays: Option<&'a [u8]>,
    not_before: Option<&'a [u8]>,
    reason: Option<&'a [u8]>,
    at: Option<&'a [u8]>,
    detail: Option<&'a [u8]>,
    pipeline: Option<&'a [u8]>,
    first_failed: Option<&'a [u8]>,
    last_failed: Option<&'a [u8]>,
    omitted: Option<&'a [u8]>,
    omitted_rest: Option<&'a [u8]>,
    replayed: Option<&'a [u8]>,
    contract: Option<&'a [u8]>,
    spring: Spring<'a>,
    connect: Connect<'a>,
}

impl<'a> LetterRef<'a> {
    /// Looks through a record's headers.
    pub fn of(headers: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Self {
        let mut letter = Self::default();
        for (name, value) in headers {
            letter.take(name, value);
        }
        letter
    }

    /// Notes one header.
    pub fn take(&mut self, name: &[u8], value: Option<&'a [u8]>) {
        // Most headers are somebody's own; the first letter tells nearly all of them.
        match name.first() {
            Some(b'l') if headers::is_ours(name) => self.take_ours(name, value),
            Some(b'k') => self.spring.take(name, value),
            Some(b'_') => self.connect.take(name, value),
            _ => {}
        }
    }

    fn take_ours(&mut self, name: &[u8], value: Option<&'a [u8]>) {
        let Ok(name) = std::str::from_utf8(name) else { return };
        let place = match name {
            headers::ORIGIN => &mut self.origin,
            headers::ORIGIN_TIMESTAMP => &mut self.origin_timestamp,
            headers::ATTEMPT => &mut self.attempt,
            headers::REPLAYS => &mut self.replays,
            headers::NOT_BEFORE => &mut self.not_before,
            headers::REASON => &mut self.reason,
            headers::AT => &mut self.at,
            headers::DETAIL => &mut self.detail,
            headers::PIPELINE => &mut self.pipeline,
            headers::FIRST_FAILED => &mut self.first_failed,
            headers::LAST_FAILED => &mut self.last_failed,
            headers::OMITTED => &mut self.omitted,
            headers::OMITTED_REST => &mut self.omitted_rest,
            headers::REPLAYED => &mut self.replayed,
            headers::CONTRACT => &mut self.contract,
            _ => return,
        };
        // A null value is a value that cannot be read, not an absent header.
        *place = Some(value.unwrap_or_default());
    }

    /// Who wrote it. Ours goes before what others wrote earlier on the record's way.
    pub fn kind(&self) -> LetterKind {
        if self.origin.is_some() {
            LetterKind::Longshore
        } else if self.spring.is_there() {
            LetterKind::Spring
        } else if self.connect.is_there() {
            LetterKind::Connect
        } else {
            LetterKind::Unknown
        }
    }

    /// Where the record first stood, none when no header says so.
    ///
    /// # Errors
    /// [`HeaderError`] names the header that cannot be read; the record has no identity but its own place then.
    pub fn place(&self) -> Result<Option<Place<'a>>, HeaderError> {
        match self.kind() {
            LetterKind::Longshore => {
                self.contract.map_or(Ok(()), |contract| headers::refuse_newer(Some(contract)))?;
                let text = self.origin.and_then(|value| std::str::from_utf8(value).ok());
                text.and_then(Place::parse).ok_or(HeaderError::Value(headers::ORIGIN)).map(Some)
            }
            LetterKind::Spring => self.spring.place(),
            LetterKind::Connect => self.connect.place(),
            LetterKind::Unknown => Ok(None),
        }
    }

    /// The replay number; 0 for what is not ours.
    ///
    /// # Errors
    /// [`HeaderError`] when the header cannot be read.
    pub fn replays(&self) -> Result<u32, HeaderError> {
        match (self.kind(), self.replays) {
            (LetterKind::Longshore, Some(value)) => number(value).ok_or(HeaderError::Value(headers::REPLAYS)),
            _ => Ok(0),
        }
    }

    /// How often its content was replayed before it was published anew as this record; 0 when no header says so. Another tool's letter
    /// has it of the record that failed there.
    pub fn replayed(&self) -> u32 {
        self.replayed.and_then(headers::replayed).unwrap_or(0)
    }

    /// Why it failed: our code, or the other's exception class. Empty when it does not say.
    pub fn reason(&self) -> &'a [u8] {
        match self.kind() {
            LetterKind::Longshore => self.reason.unwrap_or_default(),
            LetterKind::Spring => self.spring.exception(),
            LetterKind::Connect => self.connect.exception.unwrap_or_default(),
            LetterKind::Unknown => &[],
        }
    }

    /// What failed: our step or sink, Connect's stage. Empty when it does not say.
    pub fn at(&self) -> &'a [u8] {
        match self.kind() {
            LetterKind::Longshore => self.at.unwrap_or_default(),
            LetterKind::Connect => self.connect.stage.unwrap_or_default(),
            LetterKind::Spring | LetterKind::Unknown => &[],
        }
    }

    /// Who failed it: our pipeline and its version, Spring's consumer group, Connect's connector. Empty when it does not
    /// say.
    pub fn pipeline(&self) -> &'a [u8] {
        match self.kind() {
            LetterKind::Longshore => self.pipeline.unwrap_or_default(),
            LetterKind::Spring => self.spring.group.unwrap_or_default(),
            LetterKind::Connect => self.connect.connector.unwrap_or_default(),
            LetterKind::Unknown => &[],
        }
    }

    /// What happened. Ours holds no payload; others' messages often quote it.
    pub fn detail(&self) -> &'a [u8] {
        match self.kind() {
            LetterKind::Longshore => self.detail.unwrap_or_default(),
            LetterKind::Spring => self.spring.message.unwrap_or_default(),
            LetterKind::Connect => self.connect.message.unwrap_or_default(),
            LetterKind::Unknown => &[],
        }
    }

    /// The topic that the origin names, without reading the rest of it; empty when it names none.
    pub fn origin_topic(&self) -> &'a [u8] {
        match self.kind() {
            LetterKind::Longshore => {
                self.origin.and_then(|value| value.split(|byte| *byte == b'/').next()).unwrap_or_default()
            }
            LetterKind::Spring => self.spring.topic.unwrap_or_default(),
            LetterKind::Connect => self.connect.topic.unwrap_or_default(),
            LetterKind::Unknown => &[],
        }
    }

    /// Whether the payload was too large for the dead-letter topic and is not here.
    pub fn is_without_payload(&self) -> bool {
        self.kind() == LetterKind::Longshore && self.omitted.is_some()
    }

    /// Whether key and own headers are not here either.
    pub fn is_bare(&self) -> bool {
        self.kind() == LetterKind::Longshore && self.omitted_rest.is_some()
    }

    /// All of it in the form of our own letters; none when no header says where the record stood.
    ///
    /// # Errors
    /// [`HeaderError`] names the header that cannot be read.
    pub fn headers(&self) -> Result<Option<LetterHeaders>, HeaderError> {
        self.said().map(|said| said.map(LetterHeaders::into_owned))
    }

    /// The same, borrowed.
    ///
    /// # Errors
    /// As [`Self::headers`].
    pub fn said(&self) -> Result<Option<LetterHeaders<Cow<'a, str>>>, HeaderError> {
        let Some(place) = self.place()? else { return Ok(None) };
        let ours = self.kind() == LetterKind::Longshore;
        let own = |value: Option<&'a [u8]>| value.filter(|_| ours);
        let first_failed_ms = read(headers::FIRST_FAILED, own(self.first_failed))?.unwrap_or(0);
        Ok(Some(LetterHeaders {
            origin: place.to_origin(),
            origin_timestamp_ms: match self.kind() {
                LetterKind::Spring => self.spring.timestamp_ms(),
                _ => read(headers::ORIGIN_TIMESTAMP, own(self.origin_timestamp))?.unwrap_or(-1),
            },
            attempt: read(headers::ATTEMPT, own(self.attempt))?.unwrap_or(0),
            replays: self.replays()?,
            not_before_ms: read(headers::NOT_BEFORE, own(self.not_before))?,
            reason: headers::borrowed_words(self.reason(), headers::NAME_BYTES),
            at: headers::borrowed_words(self.at(), headers::NAME_BYTES),
            detail: headers::borrowed_words(self.detail(), crate::failure::DETAIL_BYTES),
            pipeline: headers::borrowed_words(self.pipeline(), headers::NAME_BYTES),
            first_failed_ms,
            last_failed_ms: read(headers::LAST_FAILED, own(self.last_failed))?.unwrap_or(first_failed_ms),
            omitted: read(headers::OMITTED, own(self.omitted))?,
        }))
    }
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn read<T: std::str::FromStr>(name: &'static str, value: Option<&[u8]>) -> Result<Option<T>, HeaderError> {
    value.map(|value| number(value).ok_or(HeaderError::Value(name))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Failure, Reason};

    type Header = (Vec<u8>, Option<Vec<u8>>);

    fn header(name: &str, value: &[u8]) -> Header {
        (name.as_bytes().to_vec(), Some(value.to_vec()))
    }

    fn letter(list: &[Header]) -> LetterRef<'_> {
        LetterRef::of(list.iter().map(|(name, value)| (name.as_slice(), value.as_deref())))
    }

    fn ours() -> (LetterHeaders, Vec<Header>) {
        let origin = Place { topic: "in", partition: 3, offset: 42, index: 0 }.to_origin();
        let failure = Failure::reject(Reason::DecodeJson, "at byte 7").at("parse");
        let mut headers = LetterHeaders::failed(origin, 1000, &failure, "logs 1a2b", 2000);
        headers.replays = 2;
        headers.not_before_ms = Some(3000);
        headers.last_failed_ms = 2500;
        let list = headers.encode().into_iter().map(|(name, value)| header(name, value.as_bytes())).collect();
        (headers, list)
    }

    /// Guarantee: the quick view and the contract's own reader say the same.
    #[test]
    fn our_letters_are_read_as_the_contract_reads_them() {
        let (headers, list) = ours();
        let view = letter(&list);
        assert_eq!(view.kind(), LetterKind::Longshore);
        assert_eq!(view.headers(), Ok(Some(headers)));
        assert_eq!(view.place().unwrap().unwrap().to_origin().to_string(), "in/3/42/0");
        assert_eq!((view.reason(), view.at()), (&b"decode.json"[..], &b"parse"[..]));
        assert_eq!((view.origin_topic(), view.kind().word()), (&b"in"[..], "longshore"));
        assert_eq!((view.is_without_payload(), view.is_bare(), view.replayed()), (false, false, 0));
    }

    /// Bad input: doubled and broken headers. Guarantee: the last counts; a broken one is named, and nothing panics.
    #[test]
    fn doubled_and_broken_headers_have_a_defined_end() {
        let (_, mut list) = ours();
        list.push(header(headers::ORIGIN, b"in/3/43/0"));
        assert_eq!(letter(&list).place().unwrap().unwrap().offset, 43);
        let long = format!("{}/1/4/0", "t".repeat(TopicName::MOST_BYTES + 1));
        assert!(Place::parse(&long[1..]).is_some());
        for (name, value) in [
            (headers::ORIGIN, &b"in/3"[..]),
            (headers::ORIGIN, b"in/-1/4/0"),
            (headers::ORIGIN, b"in/1/4/0/0"),
            (headers::ORIGIN, b"/1/4/0"),
            (headers::ORIGIN, long.as_bytes()),
            (headers::ORIGIN, b"\xff\xfe"),
            (headers::REPLAYS, b"many"),
            (headers::ATTEMPT, b"-1"),
            (headers::OMITTED, b""),
        ] {
            let (_, mut list) = ours();
            list.push(header(name, value));
            assert_eq!(letter(&list).headers(), Err(HeaderError::Value(name)), "{name} {value:?}");
        }
        let (_, mut list) = ours();
        list.push((headers::REPLAYS.as_bytes().to_vec(), None));
        assert_eq!(letter(&list).replays(), Err(HeaderError::Value(headers::REPLAYS)));
    }

    #[test]
    fn springs_letters_are_read() {
        let list = [
            header("kafka_dlt-original-topic", b"orders"),
            header("kafka_dlt-original-partition", &3_i32.to_be_bytes()),
            header("kafka_dlt-original-offset", &42_i64.to_be_bytes()),
            header("kafka_dlt-original-timestamp", &1_700_000_000_000_i64.to_be_bytes()),
            header("kafka_dlt-original-consumer-group", b"billing"),
            header("kafka_dlt-exception-fqcn", b"org.springframework.kafka.ListenerExecutionFailedException"),
            header("kafka_dlt-exception-cause-fqcn", b"com.acme.BadOrder"),
            header("kafka_dlt-exception-message", b"total is missing in {...}"),
        ];
        let view = letter(&list);
        let headers = view.headers().unwrap().unwrap();
        assert_eq!(view.kind(), LetterKind::Spring);
        assert_eq!(headers.origin.to_string(), "orders/3/42/0");
        assert_eq!((headers.reason.as_str(), headers.pipeline.as_str()), ("com.acme.BadOrder", "billing"));
        assert_eq!((headers.origin_timestamp_ms, headers.replays), (1_700_000_000_000, 0));
        assert_eq!((headers.detail.as_str(), view.kind().word()), ("total is missing in {...}", "spring"));
        let list = [&list[..3], &list[5..6]].concat();
        let headers = letter(&list).headers().unwrap().unwrap();
        assert_eq!(headers.reason, "org.springframework.kafka.ListenerExecutionFailedException", "no cause");
        assert_eq!(headers.origin_timestamp_ms, -1, "no time");
    }

    /// Scenario: letters whose payload was too large for their topic, or key and headers as well; others' with the same headers, from an earlier failure in a
    /// pipeline of ours. Guarantee: of ours it is told, and how often the content was replayed is told of all.
    #[test]
    fn what_is_not_there_is_told_of_our_letters() {
        let omitted = [header(headers::OMITTED, b"70000"), header(headers::OMITTED_REST, b"300")];
        let told = |list: &[Header]| (letter(list).is_without_payload(), letter(list).is_bare());
        let (_, ours) = ours();
        assert_eq!(told(&[&ours[..], &omitted[..1]].concat()), (true, false));
        assert_eq!(told(&[&ours[..], &omitted].concat()), (true, true));
        let spring = header("kafka_dlt-original-topic", b"orders");
        let list = [&omitted[..], &[spring, header(headers::REPLAYED, b"3")]].concat();
        assert_eq!((told(&list), letter(&list).replayed()), ((false, false), 3));
        assert_eq!(letter(&[header("own", b"v")]).kind().word(), "unknown");
    }

    #[test]
    fn connects_letters_are_read() {
        let list = [
            header("__connect.errors.topic", b"orders"),
            header("__connect.errors.partition", b"3"),
            header("__connect.errors.offset", b"42"),
            header("__connect.errors.connector.name", b"pg-sink"),
            header("__connect.errors.stage", b"VALUE_CONVERTER"),
            header("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
            header("__connect.errors.exception.message", b"no schema"),
        ];
        let view = letter(&list);
        let headers = view.headers().unwrap().unwrap();
        assert_eq!(view.kind(), LetterKind::Connect);
        assert_eq!(headers.origin.to_string(), "orders/3/42/0");
        assert_eq!((headers.at.as_str(), headers.pipeline.as_str()), ("VALUE_CONVERTER", "pg-sink"));
        assert_eq!(headers.reason, "org.apache.kafka.connect.errors.DataException");
        assert_eq!((headers.detail.as_str(), view.kind().word()), ("no schema", "connect"));
        assert_eq!(headers.origin_timestamp_ms, -1);
    }

    /// Bad input: foreign headers that are cut or contradict themselves. Guarantee: named, never a wrong place.
    #[test]
    fn broken_foreign_letters_have_no_place() {
        let spring = |partition: &[u8]| {
            [
                header("kafka_dlt-original-topic", b"orders"),
                header("kafka_dlt-original-partition", partition),
                header("kafka_dlt-original-offset", &42_i64.to_be_bytes()),
            ]
        };
        for partition in [&b"3"[..], &(-1_i32).to_be_bytes(), b""] {
            let list = spring(partition);
            assert!(letter(&list).place().is_err(), "{partition:?}");
        }
        let mut list = spring(&3_i32.to_be_bytes());
        assert!(letter(&list).place().is_ok());
        list[0] = header("kafka_dlt-original-topic", &[b't'; TopicName::MOST_BYTES + 1]);
        assert!(letter(&list).place().is_err());
        for topic in ["a/b", "\u{1b}[2J", "caf\u{e9}", ""] {
            list[0] = header("kafka_dlt-original-topic", topic.as_bytes());
            assert!(letter(&list).place().is_err(), "{topic:?}");
            let ours = [header(headers::ORIGIN, format!("{topic}/3/42/0").as_bytes())];
            assert!(letter(&ours).place().is_err(), "{topic:?}");
            assert!(format!("{topic}/3/42/0").parse::<Origin>().is_err(), "{topic:?}");
        }
        let only_reason = [header("kafka_dlt-exception-fqcn", b"X")];
        assert_eq!(letter(&only_reason).place(), Ok(None));
        let connect = [header("__connect.errors.topic", b"t"), header("__connect.errors.partition", b"x")];
        assert!(letter(&connect).place().is_err());
        assert_eq!(letter(&[header("own", b"v")]).kind(), LetterKind::Unknown);
        assert_eq!(letter(&[(b"longshore.\xff".to_vec(), None)]).kind(), LetterKind::Unknown);
    }

    #[test]
    fn what_another_tool_added_is_known_by_its_name() {
        assert!(is_foreign(b"kafka_dlt-original-topic") && is_foreign(b"__connect.errors.topic"));
        assert!(!is_foreign(b"kafka_messageKey") && !is_foreign(b"own") && !is_foreign(b"longshore.origin"));
    }
}
