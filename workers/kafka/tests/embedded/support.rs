//! A source under test, and records to feed it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use longshore_core::pair::Position;
use longshore_core::source::{Assignment, SourceCommand, SourceControl, SourceEvent};
use longshore_core::{Budget, Chunk, Epoch, Lane, Offset, PairId};
use longshore_kafka::{
    ClientMemory, EmbeddedBroker, KafkaOptions, PollThread, Producer, ProducerRecord, ProducerTuning,
    SourceHandle, SourceOptions, StartPolicy,
};

/// Nothing on a mock cluster takes so long.
pub const DEADLINE: Duration = Duration::from_secs(15);

pub fn kafka(broker: &EmbeddedBroker) -> KafkaOptions {
    let mut options = KafkaOptions::plain(broker.bootstrap());
    // The mock cluster waits almost this long for a member that has left. It must be longer than the three seconds that the first
    // member of a group waits for others: who waits sends no heartbeats, and at three seconds a moment's delay of the timers
    // decides whether the member is thrown out, with the answer to its join, before it is let in.
    options.client.insert("session.timeout.ms".into(), longshore_kafka::Scalar::Number(4_500));
    options.client.insert("heartbeat.interval.ms".into(), longshore_kafka::Scalar::Number(300));
    options
}

pub fn producer(broker: &EmbeddedBroker) -> Producer {
    Producer::new(&kafka(broker), &ClientMemory::default(), &ProducerTuning::default()).unwrap()
}

/// Sends records to one partition and waits until they are acknowledged.
pub fn publish(broker: &EmbeddedBroker, topic: &str, partition: i32, values: &[&str]) {
    let producer = producer(broker);
    let records: Vec<_> = values
        .iter()
        .map(|value| ProducerRecord {
            partition: Some(partition),
            key: None,
            value: Some(value.as_bytes()),
            timestamp_ms: None,
            headers: &[],
        })
        .collect();
    let failed = futures_wait(async { producer.send_batch(topic, &records).await.unwrap().await.unwrap() });
    assert!(failed.is_empty(), "{failed:?}");
}

/// Runs a future on a small runtime of its own.
pub fn futures_wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

pub struct Source {
    pub handle: SourceHandle,
    pub events: Receiver<SourceEvent>,
    pub budget: Arc<Budget>,
}

impl Source {
    pub fn join(broker: &EmbeddedBroker, topic: &str) -> Self {
        Self::with(kafka(broker), topic, Duration::from_secs(1), 64 << 20)
    }

    pub fn with(kafka: KafkaOptions, topic: &str, revoke: Duration, budget: u64) -> Self {
        Self::spawn(kafka, topic, None, revoke, budget)
    }

    /// A member that reads a retry topic beside its input.
    pub fn join_lanes(broker: &EmbeddedBroker, topic: &str, retry: &str) -> Self {
        Self::spawn(kafka(broker), topic, Some(retry), Duration::from_secs(1), 64 << 20)
    }

    fn spawn(kafka: KafkaOptions, topic: &str, retry: Option<&str>, revoke: Duration, budget: u64) -> Self {
        let budget = Budget::new(budget);
        let (sender, events) = crossbeam_channel::unbounded();
        let options = SourceOptions {
            kafka,
            topics: vec![topic.to_owned()],
            retry_topics: retry.map(|retry| (topic.to_owned(), retry.to_owned())).into_iter().collect(),
            recommit: SourceOptions::RECOMMIT,
            http_port: None,
            group: "group".to_owned(),
            start: StartPolicy::Earliest,
            revoke,
            budget: Arc::clone(&budget),
            memory: ClientMemory::derive(64 << 20),
        };
        let handle = PollThread::spawn(options, move |event| {
            // A test that has seen enough drops the receiver.
            let _unheard = sender.send(event);
        })
        .unwrap();
        Self { handle, events, budget }
    }

    /// The first event that `pick` takes; others are passed over.
    pub fn wait<T>(&self, what: &str, mut pick: impl FnMut(SourceEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            match self.events.recv_deadline(deadline) {
                Ok(event) => {
                    let text = format!("{event:.120?}").chars().take(160).collect::<String>();
                    if let Some(found) = pick(event) {
                        return found;
                    }
                    seen.push(text);
                }
                Err(error) => panic!("waiting for {what}: {error}; passed over {seen:#?}"),
            }
        }
    }

    pub fn assigned(&self) -> Assignment {
        self.wait("an assignment", |event| match event {
            SourceEvent::Assigned(assignment) => Some(assignment),
            _ => None,
        })
    }

    pub fn received(&self) -> Arc<Chunk> {
        self.wait("records", |event| match event {
            SourceEvent::Received(chunk) => Some(chunk),
            _ => None,
        })
    }

    /// Values of the next `count` records, with their offsets.
    pub fn values(&self, count: usize) -> Vec<(i64, String)> {
        let mut values = Vec::new();
        while values.len() < count {
            let chunk = self.received();
            for index in 0..chunk.len() as u32 {
                let record = longshore_core::RecordRef::new(&chunk, index).unwrap();
                let value = String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned();
                values.push((record.offset().0, value));
            }
        }
        values
    }

    pub fn start(&self, pair: &PairId, epoch: Epoch, offset: i64, records: u64) {
        self.handle.send(SourceCommand::Start {
            pair: pair.clone(),
            epoch,
            lane: Lane::Input,
            offset: Offset(offset),
        });
        self.grant(pair, epoch, records);
    }

    pub fn grant(&self, pair: &PairId, epoch: Epoch, records: u64) {
        self.handle.send(SourceCommand::Grant {
            pair: pair.clone(),
            epoch,
            lane: Lane::Input,
            records,
            bytes: 1 << 30,
        });
    }

    pub fn commit(&self, pair: &PairId, epoch: Epoch, offset: i64, metadata: &str) {
        self.handle.send(SourceCommand::Commit {
            pair: pair.clone(),
            epoch,
            lane: Lane::Input,
            position: position(offset, metadata),
        });
    }

    pub fn release(&self, pair: &PairId, epoch: Epoch, position: Option<Position>) {
        self.handle.send(SourceCommand::Release { pair: pair.clone(), epoch, position, retry: None });
    }

    /// Ends the source and returns how it ended.
    pub fn shut_down(self) -> Result<(), longshore_core::Failure> {
        self.handle.send(SourceCommand::Shutdown);
        let result = self.wait("the end", |event| match event {
            SourceEvent::Ended(result) => Some(result),
            _ => None,
        });
        self.handle.join();
        result
    }
}

pub fn position(offset: i64, metadata: &str) -> Position {
    Position { offset: Offset(offset), metadata: metadata.to_owned() }
}
