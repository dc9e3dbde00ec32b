//! Dead letters: a failed record goes to its pipeline's dead-letter topic, to the partition of its origin, with its
//! payload, key and own headers byte for byte, and is settled only when the broker has acknowledged it (I4).

use std::time::{SystemTime, UNIX_EPOCH};

use longshore_core::headers::{LetterHeaders, is_ours};
use longshore_core::pair::Letter;
use longshore_core::{Class, Failure, Origin, Reason};

use crate::names::dead_letter_topic;
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

    /// Sends a letter; ready when the broker has acknowledged it. A payload that the topic does not accept is left out
    /// and `longshore.omitted` says so; the record stays findable by its origin.
    ///
    /// Dropped before it is ready, the letter may or may not be there; sent again it is the same letter (I1).
    ///
    /// # Errors
    /// What the broker said; the offset must not be settled then.
    pub async fn send(&self, letter: &Letter) -> Result<(), Failure> {
        let mut headers = self.headers(letter, now_ms());
        match self.produce(letter, &headers, letter.record.value()).await {
            Err(failure) if failure.class == Class::Reject && failure.reason == Reason::SinkTooLarge => {
                headers.omitted = Some(letter.record.value().map_or(0, <[u8]>::len) as u64);
                // Refused without its payload as well, it is not the record's fault any more.
                self.produce(letter, &headers, None).await.map_err(|failure| match failure.class {
                    Class::Reject => Failure::halt(Reason::BrokerTopicUnfit, failure.detail()),
                    Class::Retry { .. } | Class::Halt => failure,
                })
            }
            other => other,
        }
    }

    fn headers(&self, letter: &Letter, now_ms: i64) -> LetterHeaders {
        let pair = letter.record.pair();
        let origin = Origin {
            topic: pair.topic.clone(),
            partition: pair.partition,
            offset: letter.record.offset(),
            index: 0,
        };
        let pipeline = format!("{} {}", self.pipeline, self.version);
        let mut headers =
            LetterHeaders::failed(origin, letter.record.timestamp_ms(), &letter.failure, &pipeline, now_ms);
        headers.attempt = letter.attempts;
        headers.replays = letter.replays;
        headers
    }

    async fn produce(
        &self,
        letter: &Letter,
        headers: &LetterHeaders,
        value: Option<&[u8]>,
    ) -> Result<(), Failure> {
        let ours = headers.encode();
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
        let topic = self.topic(pair.topic.as_str());
        let failed = self.producer.send_batch(&topic, &[record]).await?.await?;
        failed.into_iter().next().map_or(Ok(()), |failed| Err(failed.failure))
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
