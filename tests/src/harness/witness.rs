//! What a broker holds, told by librdkafka alone: nothing of Longshore's own readers or producers is used here, so that a
//! mistake there cannot hide itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::wait::{pass_time, wait_until};

/// How long the broker may take for anything asked of it here.
const PATIENCE: Duration = Duration::from_secs(30);

/// A record to publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// None leaves the choice to the key, as Java's clients choose.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// None is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Milliseconds since 1970; none is now.
    pub timestamp_ms: Option<i64>,
}

/// The time, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

impl Record {
    /// A record with key and value.
    #[must_use]
    pub fn new(key: &str, value: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), value: Some(value.into()), ..Self::default() }
    }

    /// The same record for a partition.
    #[must_use]
    pub fn to(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The same record of another time, milliseconds since 1970.
    #[must_use]
    pub fn at(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// The copy of this record that a worker writes into the retry topic after the first try, for the record's coordinate
    /// there (`topic/partition/offset/0`) and its time: a copy of another time is a stray.
    #[must_use]
    pub fn copy_of(self, origin: &str, timestamp_ms: i64) -> Self {
        self.header("longshore.origin", origin)
            .header("longshore.origin-timestamp", &timestamp_ms.to_string())
            .header("longshore.attempt", "1")
    }

    /// The same record with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }
}

/// A record as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Names and values.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970, as its topic keeps time; -1 for none.
    pub timestamp_ms: i64,
}

impl Seen {
    /// The last value of a header, as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let value = self.headers.iter().rev().find(|(known, _)| known == name)?.1.as_ref()?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

/// A committed position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The offset.
    pub offset: i64,
    /// The metadata.
    pub metadata: String,
}

/// Asks and tells a broker.
#[derive(Clone, Debug)]
pub struct Witness {
    config: ClientConfig,
}

impl Witness {
    /// A witness of the plaintext listener at these addresses.
    #[must_use]
    pub fn new(bootstrap: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap);
        // Errors are told by the calls; a broker that a test stops is no news.
        config.set("log_level", "0");
        Self { config }
    }

    /// The addresses.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        self.config.get("bootstrap.servers").unwrap_or_default()
    }

    /// Makes a topic and waits until it can be written to.
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let made = block_on(self.admin().create_topics([&topic], &options()));
        assert!(matches!(made.as_deref(), Ok([Ok(_)])), "cannot make topic {name}: {made:?}");
        self.wait_for_partitions(name, partitions);
    }

    /// Deletes a topic and waits until it is gone.
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn delete_topic(&self, name: &str) {
        let gone = block_on(self.admin().delete_topics(&[name], &options()));
        assert!(matches!(gone.as_deref(), Ok([Ok(_)])), "cannot delete topic {name}: {gone:?}");
        wait_until("the topic is gone", PATIENCE, || self.partitions(name) == 0);
    }

    /// Gives a topic these settings, and no others.
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn alter_topic(&self, name: &str, settings: &[(&str, &str)]) {
        let mut wanted = AlterConfig::new(ResourceSpecifier::Topic(name));
        for (key, value) in settings {
            wanted = wanted.set(key, value);
        }
        let altered = block_on(self.admin().alter_configs([&wanted], &options()));
        assert!(matches!(altered.as_deref(), Ok([Ok(_)])), "cannot alter topic {name}: {altered:?}");
    }

    /// Adds partitions.
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn grow(&self, name: &str, partitions: i32) {
        let count = usize::try_from(partitions).unwrap_or_default();
        let wanted = NewPartitions::new(name, count);
        let grown = block_on(self.admin().create_partitions([&wanted], &options()));
        assert!(matches!(grown.as_deref(), Ok([Ok(_)])), "cannot grow topic {name}: {grown:?}");
        self.wait_for_partitions(name, partitions);
    }

    /// How many partitions a topic has; 0 when there is none.
    ///
    /// # Panics
    /// When the broker does not answer.
    #[must_use]
    pub fn partitions(&self, topic: &str) -> i32 {
        let consumer = self.consumer("witness");
        let metadata =
            consumer.fetch_metadata(Some(topic), PATIENCE).unwrap_or_else(|e| panic!("metadata: {e}"));
        let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
        found.map_or(0, |found| found.partitions().len() as i32)
    }

    /// Of all partitions of a topic the least number of replicas that are in sync; none while nobody can tell.
    #[must_use]
    pub fn least_in_sync(&self, topic: &str) -> Option<usize> {
        let metadata = self.consumer("witness").fetch_metadata(Some(topic), PATIENCE).ok()?;
        let found =
            metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none())?;
        found.partitions().iter().map(|partition| partition.isr().len()).min()
    }

    /// The node that leads a partition; none while nobody does.
    #[must_use]
    pub fn leader(&self, topic: &str, partition: i32) -> Option<u32> {
        let metadata = self.consumer("witness").fetch_metadata(Some(topic), PATIENCE).ok()?;
        let found = metadata.topics().iter().find(|found| found.name() == topic)?;
        let partition = found.partitions().iter().find(|found| found.id() == partition)?;
        u32::try_from(partition.leader()).ok()
    }

    /// The offset behind the last one of each partition, transaction markers included.
    ///
    /// # Panics
    /// When the broker does not answer.
    #[must_use]
    pub fn ends(&self, topic: &str) -> Vec<i64> {
        let consumer = self.consumer("witness");
        let end = |partition| {
            let marks = consumer.fetch_watermarks(topic, partition, PATIENCE);
            marks.unwrap_or_else(|error| panic!("end of {topic}/{partition}: {error}")).1
        };
        (0..self.partitions(topic)).map(end).collect()
    }

    /// What the group has committed, by partition. Asked again while its coordinator moves, as it does when a broker ends.
    ///
    /// # Panics
    /// When no broker answers in time.
    #[must_use]
    pub fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, Committed> {
        let began = Instant::now();
        loop {
            match self.ask_committed(group, topic, self.partitions(topic)) {
                Ok(found) => return found,
                Err(_) if began.elapsed() < PATIENCE => pass_time(Duration::from_millis(100)),
                Err(error) => panic!("committed offsets of {group}: {error}"),
            }
        }
    }

    /// The same of so many partitions; none while the group's coordinator cannot be asked.
    #[must_use]
    pub fn try_committed(
        &self,
        group: &str,
        topic: &str,
        partitions: usize,
    ) -> Option<BTreeMap<i32, Committed>> {
        self.ask_committed(group, topic, i32::try_from(partitions).unwrap_or(i32::MAX)).ok()
    }

    fn ask_committed(
        &self,
        group: &str,
        topic: &str,
        partitions: i32,
    ) -> Result<BTreeMap<i32, Committed>, KafkaError> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(topic, 0, partitions - 1);
        let found = self.consumer(group).committed_offsets(asked, PATIENCE)?;
        let of = |entry: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match entry.offset() {
            Offset::Offset(offset) => {
                Some((entry.partition(), Committed { offset, metadata: entry.metadata().to_owned() }))
            }
            _ => None,
        };
        Ok(found.elements().iter().filter_map(of).collect())
    }

    /// Commits for a group without members, as another tool would.
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64, metadata: &str) {
        let committed = self.try_commit(group, topic, partition, offset, metadata);
        committed.unwrap_or_else(|error| panic!("commit: {error}"));
    }

    /// The same, and whether the broker took it; it refuses what comes from outside of a group with members.
    ///
    /// # Errors
    /// What the broker said.
    ///
    /// # Panics
    /// When the offset is none.
    pub fn try_commit(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
        offset: i64,
        metadata: &str,
    ) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        let mut entry = list.add_partition(topic, partition);
        entry.set_offset(Offset::Offset(offset)).unwrap_or_else(|error| panic!("offset: {error}"));
        entry.set_metadata(metadata);
        self.consumer(group).commit(&list, CommitMode::Sync)
    }

    /// Every committed record of a topic, partition after partition.
    ///
    /// # Panics
    /// When it cannot be read to its end.
    #[must_use]
    pub fn read(&self, topic: &str) -> Vec<Seen> {
        let partitions = self.partitions(topic);
        let consumer = self.consumer("witness");
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            let added = list.add_partition_offset(topic, partition, Offset::Beginning);
            added.unwrap_or_else(|error| panic!("{topic}/{partition}: {error}"));
        }
        consumer.assign(&list).unwrap_or_else(|error| panic!("assign {topic}: {error}"));
        let (mut seen, mut open, started) = (Vec::new(), partitions, Instant::now());
        while open > 0 {
            assert!(started.elapsed() < PATIENCE, "{topic} cannot be read to its end");
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => seen.push(found(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                // A broker that a test took away: the others are asked.
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
                ))) => {}
                Some(Err(error)) => panic!("reading {topic}: {error}"),
                None => {}
            }
        }
        seen.sort_by_key(|record: &Seen| (record.partition, record.offset));
        seen
    }

    /// Reads a topic to its end and keeps nothing: how many records there are, and how long librdkafka took. The measure for
    /// whatever reads a topic.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn consume(&self, topic: &str) -> (u64, Duration) {
        let started = Instant::now();
        let mut config = self.config.clone();
        // The default of a second makes the fetcher sleep whenever its queue is full.
        config.set("fetch.queue.backoff.ms", "50").set("fetch.wait.max.ms", "100");
        let consumer = Self { config }.consumer("witness");
        let mut list = TopicPartitionList::new();
        let mut open = self.partitions(topic);
        for partition in 0..open {
            let added = list.add_partition_offset(topic, partition, Offset::Beginning);
            added.unwrap_or_else(|error| panic!("{topic}/{partition}: {error}"));
        }
        consumer.assign(&list).unwrap_or_else(|error| panic!("assign {topic}: {error}"));
        let mut count = 0;
        while open > 0 {
            match consumer.poll(PATIENCE) {
                Some(Ok(_)) => count += 1,
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(error)) => panic!("reading {topic}: {error}"),
                None => panic!("{topic} cannot be read to its end"),
            }
        }
        (count, started.elapsed())
    }

    /// A producer; records go out at once.
    ///
    /// # Panics
    /// When its settings are refused.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher_with(&[])
    }

    /// As [`Witness::publisher`], with further settings.
    ///
    /// # Panics
    /// When its settings are refused.
    #[must_use]
    pub fn publisher_with(&self, settings: &[(&str, &str)]) -> Publisher {
        let mut config = self.config.clone();
        config.set("enable.idempotence", "true").set("acks", "all").set("partitioner", "murmur2_random");
        config.set("linger.ms", "2").set("message.max.bytes", "100000000");
        config.set("queue.buffering.max.kbytes", "400000");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let delivered = Delivered::default();
        let producer = config.create_with_context(delivered.clone());
        Publisher { producer: producer.unwrap_or_else(|error| panic!("producer: {error}")), delivered }
    }

    /// Publishes and waits for the acknowledgements; gives partition and offset of each, in the order of `records`.
    ///
    /// # Panics
    /// When one is refused.
    pub fn publish(&self, topic: &str, records: &[Record]) -> Vec<(i32, i64)> {
        self.publisher().publish(topic, records)
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config.create().unwrap_or_else(|error| panic!("admin client: {error}"))
    }

    fn consumer(&self, group: &str) -> BaseConsumer {
        let mut config = self.config.clone();
        config.set("group.id", group).set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        config.set("isolation.level", "read_committed").set("fetch.wait.max.ms", "10");
        config.set("receive.message.max.bytes", "400000000").set("auto.offset.reset", "earliest");
        config.create().unwrap_or_else(|error| panic!("consumer: {error}"))
    }

    fn wait_for_partitions(&self, topic: &str, partitions: i32) {
        let consumer = self.consumer("witness");
        let led =
            || (0..partitions).all(|partition| consumer.fetch_watermarks(topic, partition, PATIENCE).is_ok());
        wait_until("every partition has a leader", PATIENCE, || {
            self.partitions(topic) == partitions && led()
        });
    }
}

fn found(message: &rdkafka::message::BorrowedMessage<'_>) -> Seen {
    let headers = message.headers().map(|headers| {
        let own = |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.map(<[u8]>::to_vec));
        headers.iter().map(own).collect()
    });
    Seen {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
    }
}

/// Partition and offset of a record, or why it was refused.
type Answer = Result<(i32, i64), String>;

/// Where records went, by the number they were sent under.
#[derive(Clone, Debug, Default)]
struct Delivered(Arc<Mutex<BTreeMap<usize, Answer>>>);

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        let result = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.to_string()),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(*number, result);
    }
}

/// A producer that tells where each record went.
pub struct Publisher {
    producer: BaseProducer<Delivered>,
    delivered: Delivered,
}

impl Publisher {
    /// As [`Witness::publish`].
    ///
    /// # Panics
    /// When one is refused.
    pub fn publish(&self, topic: &str, records: &[Record]) -> Vec<(i32, i64)> {
        for (number, record) in records.iter().enumerate() {
            self.send(topic, record, number);
        }
        self.flush();
        let delivered = std::mem::take(&mut *self.delivered.0.lock().unwrap_or_else(PoisonError::into_inner));
        assert_eq!(delivered.len(), records.len(), "some records of {topic} were not answered for");
        let places = delivered.into_values().collect::<Result<_, _>>();
        places.unwrap_or_else(|error| panic!("publishing to {topic}: {error}"))
    }

    /// Publishes in a transaction of its own, which is committed or aborted. Needs `transactional.id`.
    ///
    /// # Panics
    /// When a step of the transaction fails.
    pub fn transaction(&self, topic: &str, records: &[Record], commit: bool) {
        let check = |what: &str, result: Result<(), KafkaError>| {
            result.unwrap_or_else(|error| panic!("{what}: {error}"));
        };
        check("begin", self.producer.begin_transaction());
        self.publish(topic, records);
        if commit {
            check("commit", self.producer.commit_transaction(PATIENCE));
        } else {
            check("abort", self.producer.abort_transaction(PATIENCE));
        }
    }

    /// Makes the producer ready for transactions.
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn init_transactions(&self) {
        self.producer.init_transactions(PATIENCE).unwrap_or_else(|error| panic!("transactions: {error}"));
    }

    fn send(&self, topic: &str, record: &Record, number: usize) {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let mut out: BaseRecord<'_, [u8], [u8], Box<usize>> =
            BaseRecord::with_opaque_to(topic, Box::new(number)).headers(headers);
        out.partition = record.partition;
        out.key = record.key.as_deref();
        out.payload = record.value.as_deref();
        out.timestamp = record.timestamp_ms;
        loop {
            match self.producer.send(out) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.producer.poll(Duration::from_millis(20));
                    out = back;
                }
                Err((error, _)) => panic!("publishing to {topic}: {error}"),
            }
        }
    }

    fn flush(&self) {
        let flushed = self.producer.flush(Timeout::After(Duration::from_secs(60)));
        flushed.unwrap_or_else(|error| panic!("flush: {error}"));
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap_or_else(|error| panic!("runtime: {error}")).block_on(future)
}
