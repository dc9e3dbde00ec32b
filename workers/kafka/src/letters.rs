//! Letters: a failed record goes to its pipeline's dead-letter topic, or as a copy to its retry topic, to the partition of
//! its origin, with its payload, key and own headers byte for byte. It is settled only when the broker has acknowledged it
//! (I4).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use longshore_core::headers::{LetterHeaders, OMITTED, is_ours};
use longshore_core::pair::{Destination, Letter};
use longshore_core::{Class, Failure, Lane, Origin, Reason, TopicName};

use crate::names::{dead_letter_topic, retry_topic};
use crate::producer::{Producer, ProducerRecord};

/// The dead-letter producer of a pipeline.
#[derive(Clone, Debug)]
pub struct Letters {
    producer: Producer,
    pipeline: String,
    version: String,
}

impl Letters {
    /// For a pipeline's name and the version of its file.
    pub fn new(producer: Producer, pipeline: impl Into<String>, version: impl Into<String>) -> Self {
        Self { producer, pipeline: pipeline.into(), version: version.into() }
    }

    /// The dead-letter topic of an input topic.
    pub fn topic(&self, input: &str) -> String {
        dead_letter_topic(input, &self.pipeline)
    }

    /// Sends letters, of one topic in one batch; ready when the broker has answered for all of them, to the answers in their order. A
    /// payload that the dead-letter topic does not accept is left out and `longshore.omitted` says so; the record stays findable
    /// by its origin.
    ///
    /// Dropped before it is ready, the letters may or may not be there; sent again they are the same letters (I1).
    ///
    /// A failure is what the broker said; the offset must not be settled then. Class Reject says that the retry topic does not
    /// accept the record.
    pub async fn send(&self, letters: &[Letter]) -> Vec<Result<(), Failure>> {
        let now_ms = now_ms();
        let mut outgoing: Vec<Outgoing<'_>> =
            letters.iter().map(|letter| self.outgoing(letter, now_ms)).collect();
        let mut answers = self.produce(&outgoing).await;
        for (letter, answer) in outgoing.iter_mut().zip(&mut answers) {
            if letter.is_too_large(answer) {
                *answer = self.send_without_payload(letter).await;
            }
        }
        answers
    }

    async fn send_without_payload(&self, letter: &mut Outgoing<'_>) -> Result<(), Failure> {
        let bytes = letter.value.take().map_or(0, <[u8]>::len);
        letter.ours.push((OMITTED, bytes.to_string()));
        let answers = self.produce(std::slice::from_ref(letter)).await;
        // Refused without its payload as well, it is not the record's fault any more.
        answers.into_iter().next().unwrap_or(Ok(())).map_err(|failure| match failure.class {
            Class::Reject => Failure::halt(Reason::BrokerTopicUnfit, failure.detail()),
            Class::Retry { .. } | Class::Halt => failure,
        })
    }

    fn outgoing<'a>(&self, letter: &'a Letter, now_ms: i64) -> Outgoing<'a> {
        let input = letter.record.pair().topic.as_str();
        let (topic, ours) = match letter.to {
            Destination::DeadLetters => (self.topic(input), self.headers(letter, now_ms).encode()),
            Destination::Retry { delay } => {
                (retry_topic(input, &self.pipeline), self.copy_headers(letter, delay, now_ms).encode())
            }
            Destination::Tail => {
                let former = self.former_headers(letter);
                (retry_topic(input, &self.pipeline), former.map_or_else(Vec::new, |former| former.encode()))
            }
        };
        Outgoing { letter, topic, ours, value: letter.record.value() }
    }

    /// What the copy that was read says; none of a record of the input, where these headers mean nothing.
    fn former_headers(&self, letter: &Letter) -> Option<LetterHeaders> {
        if letter.record.chunk().lane() == Lane::Input || letter.origin.is_none() {
            return None;
        }
        let own = letter.record.headers().map(|header| (header.name, header.value));
        LetterHeaders::decode(own).ok().flatten()
    }

    fn headers(&self, letter: &Letter, now_ms: i64) -> LetterHeaders {
        let pipeline = format!("{} {}", self.pipeline, self.version);
        let mut headers = LetterHeaders::failed(
            self.origin(letter),
            letter.record.timestamp_ms(),
            &letter.failure,
            &pipeline,
            now_ms,
        );
        // Where it failed first stays, however often it fails since.
        if let Some(former) = self.former_headers(letter).filter(|former| former.first_failed_ms > 0) {
            headers.first_failed_ms = former.first_failed_ms;
        }
        headers.attempt = letter.attempts;
        headers.replays = letter.replays;
        headers
    }

    fn copy_headers(&self, letter: &Letter, delay: Duration, now_ms: i64) -> LetterHeaders {
        let mut headers = self.headers(letter, now_ms);
        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        headers.not_before_ms = (delay_ms > 0).then(|| now_ms.saturating_add(delay_ms));
        if letter.attempts == 0 && letter.failure.reason == Reason::RetryParked {
            // It stands behind another record and has not failed; its age does not count yet.
            (headers.first_failed_ms, headers.last_failed_ms) = (0, 0);
        }
        headers
    }

    fn origin(&self, letter: &Letter) -> Origin {
        let pair = letter.record.pair();
        let (topic, offset) = match letter.origin {
            Some(offset) => (pair.topic.clone(), offset),
            None => {
                let topic = TopicName::new(&retry_topic(pair.topic.as_str(), &self.pipeline));
                (topic, letter.record.lane_offset())
            }
        };
        Origin { topic, partition: pair.partition, offset, index: 0 }
    }

    /// Produces letters, those of one topic together, and waits for the answers.
    async fn produce(&self, letters: &[Outgoing<'_>]) -> Vec<Result<(), Failure>> {
        let headers: Vec<HeaderList<'_>> = letters.iter().map(Outgoing::headers).collect();
        let mut answers: Vec<Result<(), Failure>> = letters.iter().map(|_| Ok(())).collect();
        let mut tickets = Vec::new();
        let mut topics: Vec<&str> = letters.iter().map(|letter| letter.topic.as_str()).collect();
        topics.sort_unstable();
        topics.dedup();
        for topic in topics {
            let places: Vec<usize> = (0..letters.len()).filter(|at| letters[*at].topic == topic).collect();
            let records: Vec<ProducerRecord<'_>> =
                places.iter().map(|at| letters[*at].record(&headers[*at])).collect();
            let mut from = 0;
            while from < records.len() {
                let end = from + self.producer.fitting(&records[from..]);
                let ticket = self.producer.send_batch(topic, &records[from..end]).await;
                tickets.push((places[from..end].to_vec(), ticket));
                from = end;
            }
        }
        for (places, ticket) in tickets {
            let answered = match ticket {
                Ok(ticket) => ticket.await,
                Err(failure) => Err(failure),
            };
            match answered {
                Ok(failed) => failed.into_iter().for_each(|failed| {
                    answers[places[failed.row]] = Err(until_made_again(failed.failure));
                }),
                Err(failure) => places.iter().for_each(|at| answers[*at] = Err(failure.clone())),
            }
        }
        answers
    }
}

type HeaderList<'a> = Vec<(&'a [u8], Option<&'a [u8]>)>;

/// A letter as it goes out.
struct Outgoing<'a> {
    letter: &'a Letter,
    topic: String,
    /// Our headers.
    ours: Vec<(&'static str, String)>,
    /// None for a tombstone, and where the payload is left out.
    value: Option<&'a [u8]>,
}

impl Outgoing<'_> {
    /// The record's own headers and ours.
    fn headers(&self) -> HeaderList<'_> {
        let own = self.letter.record.headers().filter(|header| !is_ours(header.name));
        let mut list: HeaderList<'_> = Vec::with_capacity(self.ours.len() + 4);
        list.extend(own.map(|header| (header.name, header.value)));
        list.extend(self.ours.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))));
        list
    }

    fn record<'r>(&'r self, headers: &'r HeaderList<'r>) -> ProducerRecord<'r> {
        ProducerRecord {
            partition: Some(self.letter.record.pair().partition.0),
            key: self.letter.record.key(),
            value: self.value,
            timestamp_ms: None,
            headers,
        }
    }

    /// Whether the dead-letter topic refuses it for its size.
    fn is_too_large(&self, answer: &Result<(), Failure>) -> bool {
        let large =
            |failure: &Failure| failure.class == Class::Reject && failure.reason == Reason::SinkTooLarge;
        self.letter.to == Destination::DeadLetters && answer.as_ref().is_err_and(large)
    }
}

/// A letter waits for its topic when that is gone: whoever deleted it in error makes it again, and the worker goes on by itself.
/// Librdkafka looks for a missing topic every second. A pair that waits is held and says why, and a worker that only waits ends with
/// that reason's exit code (I6).
fn until_made_again(failure: Failure) -> Failure {
    match failure.class {
        Class::Halt if failure.reason == Reason::BrokerTopicMissing => {
            Failure::target(failure.reason, failure.detail())
        }
        Class::Halt | Class::Retry { .. } | Class::Reject => failure,
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
