//! Letters: a failed record goes to its pipeline's dead-letter topic, or as a copy to its retry topic, to the partition of
//! its origin, with its payload, key and own headers byte for byte. It is settled only when the broker has acknowledged it
//! (I4).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use longshore_core::headers::{LetterHeaders, is_ours};
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

    /// Sends a letter; ready when the broker has acknowledged it. A payload that the dead-letter topic does not accept is
    /// left out and `longshore.omitted` says so; the record stays findable by its origin.
    ///
    /// Dropped before it is ready, the letter may or may not be there; sent again it is the same letter (I1).
    ///
    /// # Errors
    /// What the broker said; the offset must not be settled then. Class Reject says that the retry topic does not accept
    /// the record.
    pub async fn send(&self, letter: &Letter) -> Result<(), Failure> {
        let input = letter.record.pair().topic.as_str();
        match letter.to {
            Destination::DeadLetters => self.send_dead(letter, &self.topic(input)).await,
            Destination::Retry { delay } => {
                let topic = retry_topic(input, &self.pipeline);
                let headers = self.copy_headers(letter, delay, now_ms());
                self.produce(&topic, letter, &headers.encode(), letter.record.value()).await
            }
            Destination::Tail => {
                let topic = retry_topic(input, &self.pipeline);
                let headers = self.former_headers(letter).map_or_else(Vec::new, |headers| headers.encode());
                self.produce(&topic, letter, &headers, letter.record.value()).await
            }
        }
    }

    async fn send_dead(&self, letter: &Letter, topic: &str) -> Result<(), Failure> {
        let mut headers = self.headers(letter, now_ms());
        match self.produce(topic, letter, &headers.encode(), letter.record.value()).await {
            Err(failure) if failure.class == Class::Reject && failure.reason == Reason::SinkTooLarge => {
                headers.omitted = Some(letter.record.value().map_or(0, <[u8]>::len) as u64);
                // Refused without its payload as well, it is not the record's fault any more.
                let again = self.produce(topic, letter, &headers.encode(), None).await;
                again.map_err(|failure| match failure.class {
                    Class::Reject => Failure::halt(Reason::BrokerTopicUnfit, failure.detail()),
                    Class::Retry { .. } | Class::Halt => failure,
                })
            }
            other => other,
        }
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

    async fn produce(
        &self,
        topic: &str,
        letter: &Letter,
        ours: &[(&'static str, String)],
        value: Option<&[u8]>,
    ) -> Result<(), Failure> {
        let own = letter.record.headers().filter(|header| !is_ours(header.name));
        let mut list: Vec<(&[u8], Option<&[u8]>)> = own.map(|header| (header.name, header.value)).collect();
        list.extend(ours.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))));
        let pair = letter.record.pair();
        let record = ProducerRecord {
            partition: Some(pair.partition.0),
            key: letter.record.key(),
            value,
            timestamp_ms: None,
            headers: &list,
        };
        let failed = self.producer.send_batch(topic, &[record]).await?.await?;
        failed.into_iter().next().map_or(Ok(()), |failed| Err(until_made_again(failed.failure)))
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
