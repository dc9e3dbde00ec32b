//! Letters: a failed record goes to its pipeline's dead-letter topic, or as a copy to its retry topic, to the partition of
//! its origin, with its payload, key and own headers byte for byte; only the trace of a record that is traced is added where its
//! headers name none (`schemas/headers.md`). It is settled only when the broker has acknowledged it
//! (I4).

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longshore_core::headers::{CopyHeaders, HeaderText, LetterHeaders, OMITTED, OMITTED_REST, is_kept};
use longshore_core::pair::{Destination, Letter};
use longshore_core::trace::{Carried, TRACEPARENT, carried_by};
use longshore_core::{Class, Failure, Lane, Origin, Reason, RecordRef, TopicName};

use crate::names::{dead_letter_topic, retry_topic};
use crate::producer::{BatchTicket, Handling, Producer, ProducerRecord};

/// The dead-letter producer of a pipeline.
#[derive(Clone, Debug)]
pub struct Letters {
    producer: Producer,
    pipeline: String,
    /// Name and version of the pipeline, as the letters say it.
    sender: String,
    without_payload: Arc<AtomicU64>,
}

impl Letters {
    /// For a pipeline's name and the version of its file.
    pub fn new(producer: Producer, pipeline: impl Into<String>, version: impl Into<String>) -> Self {
        let pipeline = pipeline.into();
        let sender = format!("{pipeline} {}", version.into());
        Self { producer, pipeline, sender, without_payload: Arc::default() }
    }

    /// How many letters were acknowledged without their payload, which was too large for their topic.
    pub fn without_payload(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.without_payload)
    }

    /// The dead-letter topic of an input topic.
    pub fn topic(&self, input: &str) -> String {
        dead_letter_topic(input, &self.pipeline)
    }

    /// Sends letters, of one topic in one batch, whose headers say that it is `now_ms` (milliseconds since 1970); ready when the broker has answered for all of them, to the answers in their order. A
    /// payload that the dead-letter topic does not accept is left out and `longshore.omitted` says so, and so are key and own headers that are
    /// too large by themselves, or one record could stop its partition (I9); the record stays findable by its origin.
    ///
    /// Dropped before it is ready, the letters may or may not be there; sent again they are the same letters (I1).
    ///
    /// A failure is what the broker said; the offset must not be settled then. Class Reject says that the retry topic does not
    /// accept the record.
    pub async fn send(&self, letters: &[Letter], now_ms: i64) -> Vec<Result<(), Failure>> {
        let mut answers: Vec<Result<(), Failure>> = letters.iter().map(|_| Ok(())).collect();
        let all: Vec<usize> = (0..letters.len()).collect();
        self.send_some(letters, &all, Form::Whole, now_ms, &mut answers).await;
        let large = |place: &usize, answers: &[_]| is_too_large(&letters[*place], &answers[*place]);
        let too_large: Vec<usize> = all.into_iter().filter(|place| large(place, &answers)).collect();
        let mut left = too_large.clone();
        for form in [Form::WithoutPayload, Form::Bare] {
            left.iter().for_each(|place| answers[*place] = Ok(()));
            self.send_some(letters, &left, form, now_ms, &mut answers).await;
            let sent = left.iter().filter(|place| answers[**place].is_ok()).count();
            self.without_payload.fetch_add(sent as u64, Ordering::Relaxed);
            left.retain(|place| large(place, &answers));
        }
        for place in too_large {
            if let Err(failure) = &mut answers[place]
                && failure.class == Class::Reject
            {
                // Refused with nothing of the record's own, it is not the record's fault any more.
                *failure = Failure::halt(Reason::BrokerTopicUnfit, failure.detail());
            }
        }
        answers
    }

    /// Sends the letters at some places and notes their answers there.
    async fn send_some(
        &self,
        letters: &[Letter],
        places: &[usize],
        form: Form,
        now_ms: i64,
        answers: &mut [Result<(), Failure>],
    ) {
        let (mut topics, mut given) = (Topics::default(), Vec::new());
        for some in places.chunks(WRITTEN_AHEAD) {
            let some: Vec<(usize, &Letter)> = some.iter().map(|place| (*place, &letters[*place])).collect();
            let some = self.outgoing(some, form, now_ms, &mut topics);
            self.give(&some, &topics, &mut given).await;
        }
        answered(given, answers).await;
    }

    /// Writes the headers of letters.
    fn outgoing<'a>(
        &self,
        letters: Vec<(usize, &'a Letter)>,
        form: Form,
        now_ms: i64,
        topics: &mut Topics<'a>,
    ) -> Outgoing<'a> {
        let mut text = HeaderText::default();
        let written = letters
            .iter()
            .map(|(_, letter)| (topics.place(self, letter), self.write_headers(letter, now_ms, &mut text)));
        let written = written.collect();
        let omitted = letters.iter().map(|(_, letter)| Omitted::of(&letter.record, form)).collect();
        let traces = letters.iter().map(|(_, letter)| added_trace(letter, form)).collect();
        Outgoing { written, omitted, traces, letters, text }
    }

    /// Gives letters to the producer as soon as it has room, those of one topic together.
    async fn give(&self, letters: &Outgoing<'_>, topics: &Topics<'_>, given: &mut Vec<Given>) {
        let (headers, places) = letters.headers();
        for (number, topic) in topics.names.iter().enumerate() {
            let rows: Vec<usize> =
                (0..letters.letters.len()).filter(|row| letters.written[*row].0 == number).collect();
            let records: Vec<ProducerRecord<'_>> =
                rows.iter().map(|row| letters.record(*row, &headers[places[*row].clone()])).collect();
            let mut from = 0;
            while from < records.len() {
                let end = from + self.producer.fitting(&records[from..]);
                let lenders: Vec<Option<&RecordRef>> =
                    rows[from..end].iter().map(|row| Some(&letters.letters[*row].1.record)).collect();
                let handling =
                    Handling { plain: topics.is_plain(number), lenders: &lenders, ..Handling::default() };
                let ticket = self.producer.give(topic, &records[from..end], handling).await;
                given.push((rows[from..end].iter().map(|row| letters.letters[*row].0).collect(), ticket));
                from = end;
            }
        }
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
}

/// How many letters have their headers written ahead of the producer's room: what waits for room in an outage must not take several
/// times the memory of the letters themselves (I5).
const WRITTEN_AHEAD: usize = 64;

/// In which form letters go out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    WithoutPayload,
    /// Without key and own headers as well.
    Bare,
}

/// Letters, by their places, that the producer has, or why it does not take them.
type Given = (Vec<usize>, Result<BatchTicket, Failure>);

/// Waits for the answers.
async fn answered(given: Vec<Given>, answers: &mut [Result<(), Failure>]) {
    for (places, ticket) in given {
        let answered = match ticket {
            Ok(ticket) => ticket.await,
            Err(failure) => Err(failure),
        };
        match answered {
            Ok(failed) => failed.into_iter().for_each(|failed| {
                answers[places[failed.row]] = Err(until_made_again(failed.failure));
            }),
            Err(failure) => places.iter().for_each(|place| answers[*place] = Err(failure.clone())),
        }
    }
}

/// Whether the dead-letter topic refuses a letter for its size.
fn is_too_large(letter: &Letter, answer: &Result<(), Failure>) -> bool {
    let large = |failure: &Failure| failure.class == Class::Reject && failure.reason == Reason::SinkTooLarge;
    letter.to == Destination::DeadLetters && answer.as_ref().is_err_and(large)
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
    /// Whether a topic is for copies. A worker that takes over reads all that waits as fast as the broker gives it, and what its client
    /// unpacks then is beside every bound (I5).
    fn is_plain(&self, number: usize) -> bool {
        self.known.get(number).is_some_and(|(_, dead)| !dead)
    }

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

/// Name and value of a header.
type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// Letters as they go out.
struct Outgoing<'a> {
    /// The letters, with their places among all that are sent.
    letters: Vec<(usize, &'a Letter)>,
    /// Of each the number of its topic, and where its headers stand in the text.
    written: Vec<(usize, Range<usize>)>,
    text: HeaderText,
    omitted: Vec<Omitted>,
    /// The traces of those that get one.
    traces: Vec<Option<String>>,
}

/// The trace that a letter gets; never one beside the record's own, be it readable or not. Without the own headers the record's own trace
/// is still told.
fn added_trace(letter: &Letter, form: Form) -> Option<String> {
    if letter.trace.is_none() && form != Form::Bare {
        return None;
    }
    match carried_by(&letter.record) {
        Carried::Nothing => letter.trace.map(|trace| trace.to_string()),
        Carried::Context(own, _) if form == Form::Bare => Some(own.to_string()),
        Carried::Context(..) | Carried::Unreadable => None,
    }
}

/// What of a record is left out of its letter: the sizes, as the headers tell them.
#[derive(Default)]
struct Omitted {
    payload: Option<String>,
    /// Key and own headers.
    rest: Option<String>,
}

impl Omitted {
    fn of(record: &RecordRef, form: Form) -> Self {
        let payload = || Some(record.value().map_or(0, <[u8]>::len).to_string());
        match form {
            Form::Whole => Self::default(),
            Form::WithoutPayload => Self { payload: payload(), rest: None },
            Form::Bare => {
                let own = record.headers().filter(|header| is_kept(header.name, header.value));
                let own = own.map(|header| header.name.len() + header.value.map_or(0, <[u8]>::len));
                let rest = record.key().map_or(0, <[u8]>::len) + own.sum::<usize>();
                Self { payload: payload(), rest: Some(rest.to_string()) }
            }
        }
    }

    fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        let all = [(OMITTED, &self.payload), (OMITTED_REST, &self.rest)].into_iter();
        all.filter_map(|(name, bytes)| Some((name.as_bytes(), Some(bytes.as_ref()?.as_bytes()))))
    }
}

impl Outgoing<'_> {
    /// The records' own headers and ours, and where those of each letter stand.
    fn headers(&self) -> (Vec<Header<'_>>, Vec<Range<usize>>) {
        let mut list = Vec::with_capacity(self.letters.len() * 12);
        let letters = self.letters.iter().zip(&self.written).zip(&self.omitted).zip(&self.traces);
        let places = letters.map(|((((_, letter), (_, ours)), omitted), trace)| {
            let first = list.len();
            let own = letter.record.headers().filter(|_| omitted.rest.is_none());
            let own = own.filter(|header| is_kept(header.name, header.value));
            list.extend(own.map(|header| (header.name, header.value)));
            list.extend(trace.iter().map(|trace| (TRACEPARENT.as_bytes(), Some(trace.as_bytes()))));
            let ours = self.text.list(ours.clone());
            list.extend(ours.map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))));
            list.extend(omitted.headers());
            first..list.len()
        });
        let places = places.collect();
        (list, places)
    }

    fn record<'r>(&'r self, row: usize, headers: &'r [Header<'r>]) -> ProducerRecord<'r> {
        let (record, omitted) = (&self.letters[row].1.record, &self.omitted[row]);
        ProducerRecord {
            partition: Some(record.pair().partition.0),
            key: record.key().filter(|_| omitted.rest.is_none()),
            value: record.value().filter(|_| omitted.payload.is_none()),
            timestamp_ms: None,
            headers,
        }
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
