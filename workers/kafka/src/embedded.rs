//! The embedded broker: librdkafka's mock cluster, for a demo with nothing installed and for quick tests.
//!
//! It is volatile, keeps only 5 MiB or 100,000 messages for each partition and trims silently, speaks the classic
//! protocol alone, and has no CreateTopics (topics are made by [`EmbeddedBroker::create_topic`]), DescribeConfigs,
//! ListGroups, DescribeGroups, DeleteRecords and no offsets by time. Transactions and static membership are fake.

use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;
use longshore_core::{Failure, Reason};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Job = Box<dyn FnOnce(&Cluster) + Send>;

/// The most bytes that a partition keeps before old records vanish.
pub const KEPT_BYTES: u64 = 5 * 1024 * 1024;
/// The most records that a partition keeps before old ones vanish.
pub const KEPT_RECORDS: u64 = 100_000;
/// How the ids of its clusters begin; a real cluster's id is base64 of 16 bytes.
pub(crate) const EMBEDDED_CLUSTER: &str = "mockCluster";
/// Commands that this broker cannot serve.
pub const REFUSED_COMMANDS: &[&str] = &["topics apply"];

/// A running embedded broker; it ends when dropped.
pub struct EmbeddedBroker {
    bootstrap: String,
    /// The cluster lives on its own thread: its handle may not move between threads.
    jobs: Option<Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedBroker").field("bootstrap", &self.bootstrap).finish_non_exhaustive()
    }
}

impl EmbeddedBroker {
    /// Starts one broker with these topics and their partitions, in about 10 ms.
    ///
    /// # Errors
    /// [`Reason::Internal`] when librdkafka refuses.
    pub fn start(topics: &[(&str, i32)]) -> Result<Self, Failure> {
        let (jobs, received) = crossbeam_channel::unbounded::<Job>();
        let (started, result) = crossbeam_channel::bounded(1);
        let thread = std::thread::Builder::new()
            .name("longshore-broker".to_owned())
            .spawn(move || {
                let cluster = MockCluster::new(1);
                // Whoever started it waits for this answer; if gone, there is nobody to serve.
                let answer =
                    cluster.as_ref().map(MockCluster::bootstrap_servers).map_err(ToString::to_string);
                if started.send(answer).is_err() {
                    return;
                }
                if let Ok(cluster) = cluster {
                    while let Ok(job) = received.recv() {
                        job(&cluster);
                    }
                }
            })
            .map_err(internal)?;
        let bootstrap = result.recv().map_err(internal)?.map_err(internal)?;
        let broker = Self { bootstrap, jobs: Some(jobs), thread: Mutex::new(Some(thread)) };
        for (topic, partitions) in topics {
            broker.create_topic(topic, *partitions)?;
        }
        Ok(broker)
    }

    /// The address to give to clients.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// [`Reason::BrokerTopicUnfit`] when librdkafka refuses: the topic is there already, or too many partitions.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), Failure> {
        let name = topic.to_owned();
        self.ask(move |cluster| {
            cluster.create_topic(&name, partitions, 1).map_err(|error| error.to_string())
        })?
        .map_err(|error| Failure::halt(Reason::BrokerTopicUnfit, format!("topic {topic}: {error}")))
    }

    /// Answers the next requests of a kind with these errors, one after the other; for tests.
    ///
    /// # Errors
    /// [`Reason::Internal`] when the broker has ended.
    pub fn fail_requests(&self, kind: RDKafkaApiKey, errors: &[RDKafkaRespErr]) -> Result<(), Failure> {
        let errors = errors.to_vec();
        self.ask(move |cluster| cluster.request_errors(kind, &errors))
    }

    /// Answers metadata requests for a topic with an error; `NO_ERROR` ends it. For tests.
    ///
    /// # Errors
    /// [`Reason::Internal`] when the broker has ended or refuses.
    pub fn fail_topic(&self, topic: &str, error: RDKafkaRespErr) -> Result<(), Failure> {
        let topic = topic.to_owned();
        self.ask(move |cluster| cluster.topic_error(&topic, error).map_err(|error| error.to_string()))?
            .map_err(internal)
    }

    /// Cuts all connections and takes no new ones, or takes them again; for tests.
    ///
    /// # Errors
    /// [`Reason::Internal`] when the broker has ended or refuses.
    pub fn set_down(&self, down: bool) -> Result<(), Failure> {
        self.ask(move |cluster| if down { cluster.broker_down(-1) } else { cluster.broker_up(-1) })?
            .map_err(internal)
    }

    /// How long every answer takes; for tests.
    ///
    /// # Errors
    /// [`Reason::Internal`] when the broker has ended or refuses.
    pub fn set_delay(&self, delay: Duration) -> Result<(), Failure> {
        self.ask(move |cluster| cluster.broker_round_trip_time(-1, delay))?.map_err(internal)
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Cluster) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, answered) = crossbeam_channel::bounded(1);
        let job = Box::new(move |cluster: &Cluster| {
            // The asker waits below; if its thread died, nobody misses the answer.
            let _unheard = answer.send(question(cluster));
        });
        let jobs = self.jobs.as_ref().ok_or_else(|| internal("the embedded broker has ended"))?;
        jobs.send(job).map_err(|_| internal("the embedded broker has ended"))?;
        answered.recv().map_err(internal)
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.jobs = None;
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the embedded broker ended with a panic");
        }
    }
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::halt(Reason::Internal, format!("embedded broker: {error}"))
}
