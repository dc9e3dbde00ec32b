//! The confirmed producer: idempotent, `acks=all`, and every record answered for.
//!
//! Records go out in batches of the caller's; one answer comes for each batch. Back-pressure is a bound in bytes that
//! [`Producer::send_batch`] waits for. After a fatal idempotence error the client is built anew and everything
//! unacknowledged is sent again, from the bytes that librdkafka hands back, in the order it hands them back (trap 16).

mod answers;
mod record;
mod tuning;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use longshore_core::{Failure, Reason};
use tokio::sync::Semaphore;

pub use answers::{BatchTicket, FailedRecord};
pub use record::{OwnedRecord, ProducerRecord};
pub use tuning::{Compression, ProducerTuning};

use crate::errors::failure;
use crate::ffi::{Client, Code, Kind, Topic};
use crate::memory::ClientMemory;
use crate::options::KafkaOptions;
use crate::settings::{Role, settings};
use answers::Answers;

/// One poll of the producer's thread.
const POLL: Duration = Duration::from_millis(100);
/// How long a failed client may take to hand its records back.
const PURGE_DEADLINE: Duration = Duration::from_secs(5);
/// The unit in which room is counted.
const ROOM_UNIT_BYTES: u64 = 1024;
/// What a record costs in librdkafka's queue beside its bytes.
const RECORD_OVERHEAD_BYTES: u64 = 128;

/// A producer for a whole process; clone it freely.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    /// Ends the thread when the last clone is gone.
    _life: Arc<Life>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

/// One client; replaced as a whole after a fatal error.
struct Generation {
    client: Arc<Client>,
    topics: HashMap<String, Topic>,
}

struct Shared {
    settings: Vec<(String, String)>,
    generation: RwLock<Generation>,
    answers: Arc<Answers>,
    room: Arc<Semaphore>,
    room_units: u32,
    stop: AtomicBool,
}

struct Life(Arc<Shared>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
    }
}

impl Producer {
    /// Makes a producer and its thread. Connects when the first record is sent.
    ///
    /// # Errors
    /// [`Reason::BrokerConfiguration`] when librdkafka refuses the settings.
    pub fn new(
        options: &KafkaOptions,
        memory: &ClientMemory,
        tuning: &ProducerTuning,
    ) -> Result<Self, Failure> {
        let settings = settings(options, memory, Role::Producer(tuning))?;
        let room_units = u32::try_from(memory.produce_bytes / ROOM_UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        let room = Arc::new(Semaphore::new(room_units as usize));
        let answers = Arc::new(Answers::new(options, Arc::clone(&room)));
        let generation = RwLock::new(Generation::new(&settings, &answers)?);
        let stop = AtomicBool::new(false);
        let shared = Arc::new(Shared { settings, generation, answers, room, room_units, stop });
        let own = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("longshore-produce".to_owned())
            .spawn(move || own.serve())
            .map_err(|error| Failure::halt(Reason::Internal, format!("no thread for producing: {error}")))?;
        Ok(Self { _life: Arc::new(Life(Arc::clone(&shared))), shared })
    }

    /// Gives records to the client, as soon as there is room for them. The ticket tells when all are answered for.
    ///
    /// Cancel-safe: dropped before it is ready, nothing was sent. A dropped ticket takes nothing back.
    ///
    /// # Errors
    /// [`Reason::BrokerConfiguration`] for a topic's name that cannot be one. What becomes of single records is told by
    /// the ticket.
    pub async fn send_batch(
        &self,
        topic: &str,
        records: &[ProducerRecord<'_>],
    ) -> Result<BatchTicket, Failure> {
        let bytes: u64 = records.iter().map(|record| record.bytes() + RECORD_OVERHEAD_BYTES).sum();
        let units = u32::try_from(bytes.div_ceil(ROOM_UNIT_BYTES))
            .unwrap_or(u32::MAX)
            .clamp(1, self.shared.room_units);
        let room = self.shared.room.acquire_many(units).await;
        room.map_err(|_| closed())?.forget();
        self.shared.send(topic, records, units)
    }

    /// What keeps records from being acknowledged at present, if anything is known.
    pub fn trouble(&self) -> Option<Failure> {
        self.shared.answers.trouble()
    }

    /// Records given and not answered for.
    pub fn unanswered(&self) -> usize {
        self.shared.answers.waiting()
    }

    /// Sends what lingers and waits for the answers, at most so long; blocks. True when nothing is left.
    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let client =
                Arc::clone(&self.shared.generation.read().unwrap_or_else(PoisonError::into_inner).client);
            let left = deadline.saturating_duration_since(Instant::now());
            client.flush(left.min(POLL));
            if self.unanswered() == 0 {
                return true;
            }
            if left.is_zero() {
                return false;
            }
        }
    }
}

fn closed() -> Failure {
    Failure::target(Reason::BrokerUnavailable, "the producer is closed")
}

impl Generation {
    fn new(settings: &[(String, String)], answers: &Arc<Answers>) -> Result<Self, Failure> {
        let client = Client::new(Kind::Producer, settings, Arc::clone(answers) as _)
            .map_err(|reason| Failure::halt(Reason::BrokerConfiguration, reason))?;
        Ok(Self { client, topics: HashMap::new() })
    }
}

impl Shared {
    fn send(&self, topic: &str, records: &[ProducerRecord<'_>], units: u32) -> Result<BatchTicket, Failure> {
        if !self.know(topic) {
            self.room.add_permits(units as usize);
            return Err(Failure::halt(
                Reason::BrokerConfiguration,
                format!("\"{topic}\" is no name of a topic"),
            ));
        }
        // Held until all are sent, so that no record goes to a client that was just emptied and is polled no more.
        let generation = self.generation.read().unwrap_or_else(PoisonError::into_inner);
        let (slot, ticket) = self.answers.open(records.len(), units);
        for (row, record) in (0_u32..).zip(records) {
            let sent = match generation.topics.get(topic) {
                Some(handle) => {
                    handle.send(&record.outgoing(), answers::tag(slot, row)).map_err(|refused| refused.code)
                }
                // Replaced between the two locks: the new client comes to know the topic when it takes records back.
                None => Err(Code::RD_KAFKA_RESP_ERR__FATAL),
            };
            if let Err(code) = sent {
                self.answers.refused(slot, row, topic, record, code);
            }
        }
        Ok(ticket)
    }

    /// Makes a handle for the topic unless there is one; false for a name that cannot be a topic's.
    fn know(&self, name: &str) -> bool {
        if self.generation.read().unwrap_or_else(PoisonError::into_inner).topics.contains_key(name) {
            return true;
        }
        let mut generation = self.generation.write().unwrap_or_else(PoisonError::into_inner);
        let Some(topic) = Topic::new(&generation.client, name) else { return false };
        generation.topics.insert(name.to_owned(), topic);
        true
    }

    /// The producer's thread: serves answers until the last clone is gone, and rebuilds a client that failed for good.
    fn serve(&self) {
        while !self.stop.load(Ordering::Acquire) {
            let client = Arc::clone(&self.generation.read().unwrap_or_else(PoisonError::into_inner).client);
            client.poll(POLL);
            if self.answers.failed_for_good() {
                self.rebuild(&client);
            }
        }
        let client = Arc::clone(&self.generation.read().unwrap_or_else(PoisonError::into_inner).client);
        client.flush(Duration::from_secs(2));
        self.room.close();
        self.answers.abandon();
    }

    /// Takes everything back from the failed client and gives it to a new one. Senders wait meanwhile.
    fn rebuild(&self, failed: &Arc<Client>) {
        let mut generation = self.generation.write().unwrap_or_else(PoisonError::into_inner);
        let fatal = failed.fatal().map_or(Code::RD_KAFKA_RESP_ERR__FATAL, |(code, _)| code);
        tracing::warn!(code = ?fatal, "the producer failed for good and is built anew");
        failed.purge();
        let deadline = Instant::now() + PURGE_DEADLINE;
        while failed.waiting() > 0 && Instant::now() < deadline {
            failed.poll(Duration::from_millis(10));
        }
        match Generation::new(&self.settings, &self.answers) {
            Ok(fresh) => *generation = fresh,
            Err(failure) => {
                return tracing::error!(%failure, "the producer cannot be built anew; trying again");
            }
        }
        self.answers.renewed();
        for (tag, record) in self.answers.take_back() {
            if !generation.topics.contains_key(&record.topic)
                && let Some(topic) = Topic::new(&generation.client, &record.topic)
            {
                generation.topics.insert(record.topic.clone(), topic);
            }
            let Some(handle) = generation.topics.get(&record.topic) else { continue };
            let headers = record.header_list();
            let outgoing = record.as_ref(&headers);
            if let Err(refused) = handle.send(&outgoing.outgoing(), tag) {
                let (slot, row) = answers::untag(tag);
                self.answers.refused(slot, row, &record.topic, &outgoing, refused.code);
            }
        }
    }
}

/// The failure of a code, as the sink's or the letter's user sees it.
pub(crate) fn delivery_failure(code: Code, topic: &str) -> Failure {
    failure(code, &format!("topic {topic}"))
}
