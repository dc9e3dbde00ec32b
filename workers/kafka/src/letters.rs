//! Letters: a failed record goes to its pipeline's dead-letter topic, or as a copy to its retry topic, to the partition of
//! its origin, with its payload, key and own headers byte for byte. It is settled only when the broker has acknowledged it
//! (I4).

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use longshore_core::headers::{CopyHeaders, HeaderText, LetterHeaders, OMITTED, is_ours};
use longshore_core::pair::{Destination, Letter};
use longshore_core::{Class, Failure, Lane, Origin, Reason, TopicName};

use crate::names::{dead_letter_topic, retry_topic};
use crate::producer::{Producer, ProducerRecord};

/// The dead-letter producer of a pipeline.
#[derive(Clone, Debug)]
pub struct Letters {
    producer: Producer,
    pipeline: String,
    /// Name and version of the pipeline, as the letters say it.
    sender: String,
}

impl Letters {
    /// For a pipeline's name and the version of its file.
    pub fn new(producer: Producer, pipeline: impl Into<String>, version: impl Into<String>) -> Self {
        let pipeline = pipeline.into();
        let sender = format!("{pipeline} {}", version.into());
        Self { producer, pipeline, sender }
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
        let (mut text, mut topics) = (HeaderText::default(), Topics::default());
        let outgoing: Vec<Outgoing<'_>> = letters
            .iter()
            .map(|letter| Outgoing {
                letter,
                topic: topics.place(self, letter),
                ours: self.write_headers(letter, now_ms, &mut text),
                omitted: None,
            })
            .collect();
        let mut answers = self.produce(&outgoing, &topics, &text).await;
        for (letter, answer) in outgoing.into_iter().zip(&mut answers) {
            if letter.is_too_large(answer) {
                *answer = self.send_without_payload(letter, &topics, &text).await;
            }
        }
        answers
    }

    async fn send_without_payload(
        &self,
        letter: Outgoing<'_>,
        topics: &Topics<'_>,
        text: &HeaderText,
    ) -> Result<(), Failure> {
        let bytes = letter.letter.record.value().map_or(0, <[u8]>::len);
        let letter = Outgoing { omitted: Some(bytes.to_string()), ..letter };
        let answers = self.produce(&[letter], topics, text).await;
        // Refused without its payload as well, it is not the record's fault any more.
        answers.into_iter().next().unwrap_or(Ok(())).map_err(|failure| match failure.class {
            Class::Reject => Failure::halt(Reason::BrokerTopicUnfit, failure.detail()),
            Class::Retry { .. } | Class::Halt => failure,
        })
    }

    /// Our headers of a letter; where they stand in the text.
    fn write_headers(&self, letter: &Letter, now_ms: i64, text: &mut HeaderText) -> Range<usize> {
        match letter.to {
            Destination::DeadLetters => self.headers(letter, now_ms).encode_to(text),
            Destination::Retry { delay } => self.copy_headers(letter, delay, now_ms).encode_to(text),
            Destination::Tail => match own_headers(letter).map(LetterHeaders::decode) {
                Some(Ok(Some(former))) => former.encode_to(text),
                Some(Ok(None) | Err(_)) | None => 0..0,
            },
        }
    }

    fn headers<'a>(&'a self, letter: &'a Letter, now_ms: i64) -> LetterHeaders<&'a str> {
        let (origin, timestamp_ms) = (self.origin(letter), letter.record.timestamp_ms());
        let mut headers =
            LetterHeaders::of_failure(origin, timestamp_ms, &letter.failure, &self.sender, now_ms);
        // Where it failed first stays, however often it fails since.
        if let Some(Ok(Some(former))) = own_headers(letter).map(CopyHeaders::decode)
            && former.first_failed_ms > 0
        {
            headers.first_failed_ms = former.first_failed_ms;
        }
        headers.attempt = letter.attempts;
        headers.replays = letter.replays;
        headers
    }

    fn copy_headers<'a>(
        &'a self,
        letter: &'a Letter,
        delay: Duration,
        now_ms: i64,
    ) -> LetterHeaders<&'a str> {
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
    async fn produce(
        &self,
        letters: &[Outgoing<'_>],
        topics: &Topics<'_>,
        text: &HeaderText,
    ) -> Vec<Result<(), Failure>> {
        let mut headers = Vec::with_capacity(letters.len() * 12);
        let places: Vec<Range<usize>> =
            letters.iter().map(|letter| letter.list_headers(text, &mut headers)).collect();
        let mut answers: Vec<Result<(), Failure>> = letters.iter().map(|_| Ok(())).collect();
        let mut tickets = Vec::new();
        for (number, topic) in topics.names.iter().enumerate() {
            let rows: Vec<usize> = (0..letters.len()).filter(|row| letters[*row].topic == number).collect();
            let records: Vec<ProducerRecord<'_>> =
                rows.iter().map(|row| letters[*row].record(&headers[places[*row].clone()])).collect();
            let mut from = 0;
            while from < records.len() {
                let end = from + self.producer.fitting(&records[from..]);
                let ticket = self.producer.send_batch(topic, &records[from..end]).await;
                tickets.push((rows[from..end].to_vec(), ticket));
                from = end;
            }
        }
        for (rows, ticket) in tickets {
            let answered = match ticket {
                Ok(ticket) => ticket.await,
                Err(failure) => Err(failure),
            };
            match answered {
                Ok(failed) => failed.into_iter().for_each(|failed| {
                    answers[rows[failed.row]] = Err(until_made_again(failed.failure));
                }),
                Err(failure) => rows.iter().for_each(|row| answers[*row] = Err(failure.clone())),
            }
        }
        answers
    }
}

/// The headers of the copy that was read; none of a record of the input, where ours mean nothing.
fn own_headers(letter: &Letter) -> Option<impl Iterator<Item = (&[u8], Option<&[u8]>)>> {
    let copy = letter.record.chunk().lane() == Lane::Retry && letter.origin.is_some();
    copy.then(|| letter.record.headers().map(|header| (header.name, header.value)))
}

/// The topics that some letters go to, each name made once.
#[derive(Default)]
struct Topics<'a> {
    names: Vec<String>,
    known: Vec<(&'a str, bool)>,
}

impl<'a> Topics<'a> {
    /// The number of a letter's topic.
    fn place(&mut self, letters: &Letters, letter: &'a Letter) -> usize {
        let (input, dead) = (letter.record.pair().topic.as_str(), letter.to == Destination::DeadLetters);
        if let Some(place) = self.known.iter().position(|known| *known == (input, dead)) {
            return place;
        }
        self.known.push((input, dead));
        self.names.push(if dead { letters.topic(input) } else { retry_topic(input, &letters.pipeline) });
        self.names.len() - 1
    }
}

/// A letter as it goes out.
struct Outgoing<'a> {
    letter: &'a Letter,
    /// The number of its topic.
    topic: usize,
    /// Where our headers stand.
    ours: Range<usize>,
    /// The size of the payload, where that is left out.
    omitted: Option<String>,
}

/// Name and value of a header.
type Header<'a> = (&'a [u8], Option<&'a [u8]>);

impl Outgoing<'_> {
    /// Appends the record's own headers and ours; where they stand.
    fn list_headers<'t>(&'t self, text: &'t HeaderText, list: &mut Vec<Header<'t>>) -> Range<usize> {
        let first = list.len();
        let own = self.letter.record.headers().filter(|header| !is_ours(header.name));
        list.extend(own.map(|header| (header.name, header.value)));
        let ours = text.list(self.ours.clone());
        list.extend(ours.map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))));
        list.extend(self.omitted.iter().map(|bytes| (OMITTED.as_bytes(), Some(bytes.as_bytes()))));
        first..list.len()
    }

    fn record<'r>(&'r self, headers: &'r [Header<'r>]) -> ProducerRecord<'r> {
        ProducerRecord {
            partition: Some(self.letter.record.pair().partition.0),
            key: self.letter.record.key(),
            value: self.letter.record.value().filter(|_| self.omitted.is_none()),
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
