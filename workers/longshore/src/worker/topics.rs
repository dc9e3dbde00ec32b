//! What a worker sends to Kafka: topic sinks and dead letters.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longshore_codec::ValueEncoder;
use longshore_core::pair::{Destination, Letter};
use longshore_core::sink::{Block, Encode, Row, Sink};
use longshore_core::{BoxFuture, Failure, Item};
use longshore_kafka as kafka;
use longshore_runtime::LetterSink;
use longshore_settings::{Compression, Latency, Pipeline, SinkEntry, SinkKind};
use longshore_telemetry::Metrics;

use super::plan::TopicSinks;
use crate::commands::topics::own_topics;
use crate::exit::{End, Exit};

/// The producers of a worker: one for each compression in use, since librdkafka sets it for a client as a whole.
pub(crate) struct Topics {
    options: kafka::KafkaOptions,
    memory: kafka::ClientMemory,
    latency: Latency,
    producers: Mutex<HashMap<&'static str, kafka::Producer>>,
}

impl Topics {
    pub(crate) fn new(options: &kafka::KafkaOptions, memory: &kafka::ClientMemory, latency: Latency) -> Self {
        Self { options: options.clone(), memory: *memory, latency, producers: Mutex::default() }
    }

    /// Where dead letters go; they are few and share the default producer.
    pub(crate) fn letters(
        &self,
        pipeline: &Pipeline,
        version: &str,
        metrics: &Metrics,
    ) -> Result<Arc<dyn LetterSink>, End> {
        let producer = self.producer(Compression::default())?;
        let letters = kafka::Letters::new(producer.clone(), &pipeline.pipeline, version);
        metrics.watch_letters(letters.without_payload());
        let (metrics, pipeline) = (metrics.clone(), pipeline.pipeline.clone());
        Ok(Arc::new(Letters { letters, producer, metrics, pipeline }))
    }

    /// Sends what lingers and waits for the answers, at most so long.
    pub(crate) async fn flush(&self, timeout: Duration) {
        let producers: Vec<_> = self.lock().values().cloned().collect();
        for producer in producers {
            let flushed = tokio::task::spawn_blocking(move || producer.flush(timeout)).await;
            if !matches!(flushed, Ok(true)) {
                // Nothing of it was settled, so it is read and sent again.
                tracing::warn!("records were still unacknowledged at the end");
            }
        }
    }

    fn producer(&self, compression: Compression) -> Result<kafka::Producer, End> {
        let mut producers = self.lock();
        if let Some(producer) = producers.get(compression.word()) {
            return Ok(producer.clone());
        }
        let tuning = kafka::ProducerTuning { compression, ..kafka::ProducerTuning::of(self.latency) };
        let producer = kafka::Producer::new(&self.options, &self.memory, &tuning)?;
        producers.insert(compression.word(), producer.clone());
        Ok(producer)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, kafka::Producer>> {
        self.producers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TopicSinks for Topics {
    fn topic(&self, entry: &SinkEntry, encoder: ValueEncoder) -> Result<Arc<dyn Sink>, End> {
        let SinkKind::Topic(options) = &entry.kind else {
            return Err(End::new(Exit::Internal, format!("sink {} is no topic", entry.name)));
        };
        let producer = self.producer(options.compression)?;
        let target = kafka::TopicOptions { name: options.name.clone(), partition: kafka::PartitionBy::Key };
        Ok(Arc::new(kafka::TopicSink::new(&entry.name, target, producer, Arc::new(Value(encoder)))))
    }
}

/// A row of the value alone; the sink adds key and headers.
struct Value(ValueEncoder);

impl Encode for Value {
    fn encode(&self, item: &Item, block: &mut Block) -> Result<(), Failure> {
        let value = self.0.encode(item, &mut block.bytes)?;
        block.rows.push(Row { offset: item.source.offset(), key: None, value, headers: Vec::new() });
        Ok(())
    }
}

struct Letters {
    letters: kafka::Letters,
    producer: kafka::Producer,
    metrics: Metrics,
    pipeline: String,
}

impl Letters {
    /// Tells what became of a parcel, whose letters go to one topic.
    fn tell(&self, letters: &[Letter], answers: &[Result<(), Failure>], took: Duration) {
        let Some(first) = letters.first() else { return };
        let input = first.record.pair().topic.as_str();
        let topic = match first.to {
            Destination::DeadLetters => kafka::dead_letter_topic(input, &self.pipeline),
            Destination::Retry { .. } | Destination::Tail => kafka::retry_topic(input, &self.pipeline),
        };
        let mut failed = BTreeMap::new();
        for failure in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            *failed.entry(failure.reason.code()).or_default() += 1;
        }
        let sent = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
        self.metrics.sent_letters(&topic, took, sent, &failed);
    }
}

impl LetterSink for Letters {
    fn send<'a>(&'a self, letters: &'a [Letter], wall_ms: i64) -> BoxFuture<'a, Vec<Result<(), Failure>>> {
        Box::pin(async move {
            let began = Instant::now();
            let answers = self.letters.send(letters, wall_ms).await;
            self.tell(letters, &answers, began.elapsed());
            answers
        })
    }

    fn trouble(&self) -> Option<Failure> {
        self.producer.trouble()
    }
}

/// The retry topic of each input topic, none for a pipeline that retries in place.
pub(crate) fn retry_topics(pipeline: &Pipeline) -> BTreeMap<String, String> {
    if !pipeline.has_retry_topics() {
        return BTreeMap::new();
    }
    let name = |topic: &String| (topic.clone(), kafka::retry_topic(topic, &pipeline.pipeline));
    pipeline.input.topics.iter().map(name).collect()
}

/// What must be true of the broker's topics before a worker starts; none of it changes by waiting.
pub(crate) async fn check(pipeline: &Pipeline, options: &kafka::KafkaOptions) -> Result<(), End> {
    let (topics, options) = (own_topics(pipeline), options.clone());
    let checked = tokio::task::spawn_blocking(move || kafka::check_topics(&options, &topics)).await;
    for told in checked.map_err(|_| End::new(Exit::Internal, "the check of topics panicked"))?? {
        tracing::warn!("{told}");
    }
    Ok(())
}
