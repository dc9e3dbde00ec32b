//! The confirmed producer: idempotent, `acks=all`, and every record answered for.
//!
//! Records go out in batches of the caller's; one answer comes for each batch. Back-pressure is a bound in bytes that
//! [`Producer::send_batch`] waits for. After a fatal idempotence error the client is built anew and everything
//! unacknowledged is sent again, from the bytes that librdkafka hands back, in the order it hands them back (trap 16).
//!
//! The broker takes or refuses a batch as a whole, so a record that is too large or invalid would take innocent ones
//! with it (I1). Records that were refused together are therefore sent again by a second client, each alone; only what
//! is refused alone counts as refused. Those that pass come behind records that were sent after them. Of size alone this
//! happens only where the topic's `max.message.bytes` is below [`ProducerTuning::batch_bytes`]: a larger record never
//! shares its batch.

mod answers;
mod buffer;
mod record;
mod tuning;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use longshore_core::{Failure, Reason, RecordRef};
use tokio::sync::Semaphore;

pub use answers::{BatchTicket, FailedRecord};
pub use buffer::{BufferedHeader, RecordBuffer};
pub use record::{OwnedRecord, ProducerRecord};
pub use tuning::ProducerTuning;

use crate::errors::failure;
use crate::ffi::{Client, Code, Kind, Outgoing, Topic};
use crate::memory::ClientMemory;
use crate::options::KafkaOptions;
use crate::settings::{Role, settings};
use answers::{Answers, Way};

/// One poll of the producer's thread.
const POLL: Duration = Duration::from_millis(100);
/// One poll of the client for records that go alone, while it has some.
const POLL_ALONE: Duration = Duration::from_millis(2);
/// How long the thread waits at its end for answers.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
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

/// How records are given to a producer.
#[derive(Clone, Copy, Default)]
pub(crate) struct Handling<'a> {
    /// Those that failed come back. Their bytes are in no budget, and in the producer's room no more (I5).
    pub(crate) keeps: bool,
    /// Their topic's batches are not compressed.
    pub(crate) plain: bool,
    /// Whose values they are, by their places: a value that is a record's own is not copied, and the record held until it is answered
    /// for. Where none stands the value is copied.
    pub(crate) lenders: &'a [Option<&'a RecordRef>],
}

/// One client; replaced as a whole after a fatal error.
struct Generation {
    client: Arc<Client>,
    topics: HashMap<String, Topic>,
    /// Topics whose batches are not compressed.
    plain: HashSet<String>,
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
        let generation = RwLock::new(Generation::new(&settings, &answers, Way::Batched, HashSet::new())?);
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
        self.give(topic, records, Handling::default()).await
    }

    /// The same for a caller who does not keep the records: those that failed come back with their failures. Their bytes are in no
    /// budget, and in the producer's room no more (I5).
    ///
    /// # Errors
    /// Those of [`Self::send_batch`].
    pub async fn send_to_keep(
        &self,
        topic: &str,
        records: &[ProducerRecord<'_>],
    ) -> Result<BatchTicket, Failure> {
        self.give(topic, records, Handling { keeps: true, ..Handling::default() }).await
    }

    /// The same, in a way that is told.
    ///
    /// # Errors
    /// Those of [`Self::send_batch`].
    pub(crate) async fn give(
        &self,
        topic: &str,
        records: &[ProducerRecord<'_>],
        handling: Handling<'_>,
    ) -> Result<BatchTicket, Failure> {
        let bytes: u64 = records.iter().map(|record| record.bytes() + RECORD_OVERHEAD_BYTES).sum();
        let units = u32::try_from(bytes.div_ceil(ROOM_UNIT_BYTES))
            .unwrap_or(u32::MAX)
            .clamp(1, self.shared.room_units);
        let room = self.shared.room.acquire_many(units).await;
        room.map_err(|_| closed())?.forget();
        self.shared.send(topic, records, units, handling)
    }

    /// How many of these records to give to one [`Self::send_batch`]: as many as fit half of the producer's room, at least
    /// one. More at once would break the bound in bytes (I5), since room is only ever waited for as a whole.
    pub fn fitting(&self, records: &[ProducerRecord<'_>]) -> usize {
        let most = u64::from(self.shared.room_units) * ROOM_UNIT_BYTES / 2;
        let mut bytes = 0;
        let fits = |record: &&ProducerRecord<'_>| {
            bytes += record.bytes() + RECORD_OVERHEAD_BYTES;
            bytes <= most
        };
        records.iter().take_while(fits).count().max(1).min(records.len())
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
            let client = self.shared.client();
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
    fn new(
        settings: &[(String, String)],
        answers: &Arc<Answers>,
        way: Way,
        plain: HashSet<String>,
    ) -> Result<Self, Failure> {
        let mut settings = settings.to_vec();
        if way == Way::Alone {
            let single = [("batch.num.messages", "1"), ("linger.ms", "0")];
            settings.extend(single.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        let client = Client::new(Kind::Producer, &settings, answers.listener(way))
            .map_err(|reason| Failure::halt(Reason::BrokerConfiguration, reason))?;
        Ok(Self { client, topics: HashMap::new(), plain })
    }

    /// The handle of a topic; none for a name that cannot be a topic's.
    fn topic(&mut self, name: &str) -> Option<&Topic> {
        if !self.topics.contains_key(name) {
            let topic = Topic::new(&self.client, name, self.plain.contains(name))?;
            self.topics.insert(name.to_owned(), topic);
        }
        self.topics.get(name)
    }

    /// Takes everything back from a client that failed for good; it comes as failed deliveries.
    fn empty(&self) {
        self.client.purge();
        let deadline = Instant::now() + PURGE_DEADLINE;
        while self.client.waiting() > 0 && Instant::now() < deadline {
            self.client.poll(Duration::from_millis(10));
        }
    }

    /// Sends what came back.
    fn send_again(&mut self, answers: &Answers, way: Way) {
        for (tag, record) in answers.take_back(way) {
            let sent = match self.topic(&record.topic) {
                Some(topic) => {
                    let headers = record.header_list();
                    topic.send(&record.as_ref(&headers).outgoing(), tag).map_err(|refused| refused.code)
                }
                None => Err(Code::RD_KAFKA_RESP_ERR__INVALID_ARG),
            };
            if let Err(code) = sent {
                answers.refused(way, tag, record, code);
            }
        }
    }
}

impl Shared {
    fn send(
        &self,
        topic: &str,
        records: &[ProducerRecord<'_>],
        units: u32,
        handling: Handling<'_>,
    ) -> Result<BatchTicket, Failure> {
        if !self.know(topic, handling.plain) {
            self.room.add_permits(units as usize);
            return Err(Failure::halt(
                Reason::BrokerConfiguration,
                format!("\"{topic}\" is no name of a topic"),
            ));
        }
        // Held until all are sent, so that no record goes to a client that was just emptied and is polled no more.
        let generation = self.generation.read().unwrap_or_else(PoisonError::into_inner);
        let (slot, ticket) = self.answers.open(records.len(), units, handling.keeps);
        for (row, record) in (0_u32..).zip(records) {
            let lender = handling.lenders.get(row as usize).copied().flatten();
            let outgoing = Outgoing { lender, ..record.outgoing() };
            let sent = match generation.topics.get(topic) {
                Some(handle) => {
                    handle.send(&outgoing, answers::tag(slot, row)).map_err(|refused| refused.code)
                }
                // Replaced between the two locks: the new client comes to know the topic when it takes records back.
                None => Err(Code::RD_KAFKA_RESP_ERR__FATAL),
            };
            if let Err(code) = sent {
                let record = OwnedRecord::of_record(topic, record);
                self.answers.refused(Way::Batched, answers::tag(slot, row), record, code);
            }
        }
        Ok(ticket)
    }

    /// Makes a handle for the topic unless there is one; false for a name that cannot be a topic's.
    fn know(&self, name: &str, plain: bool) -> bool {
        if self.generation.read().unwrap_or_else(PoisonError::into_inner).topics.contains_key(name) {
            return true;
        }
        let mut generation = self.generation.write().unwrap_or_else(PoisonError::into_inner);
        if plain {
            generation.plain.insert(name.to_owned());
        }
        generation.topic(name).is_some()
    }

    /// The producer's thread: serves answers until the last clone is gone, and rebuilds a client that failed for good.
    fn serve(&self) {
        let mut alone = None;
        while !self.stop.load(Ordering::Acquire) {
            self.turn(&mut alone);
        }
        let deadline = Instant::now() + LAST_ANSWERS;
        while self.answers.waiting() > 0 && Instant::now() < deadline {
            self.client().flush(POLL_ALONE);
            self.turn(&mut alone);
        }
        self.room.close();
        self.answers.abandon();
    }

    fn client(&self) -> Arc<Client> {
        Arc::clone(&self.generation.read().unwrap_or_else(PoisonError::into_inner).client)
    }

    /// One turn of the thread. `alone` is made when it is first needed, which mostly is never.
    fn turn(&self, alone: &mut Option<Generation>) {
        let busy = alone.as_ref().filter(|generation| generation.client.waiting() > 0);
        if let Some(generation) = busy {
            generation.client.poll(POLL_ALONE);
        }
        self.client().poll(if busy.is_some() { POLL_ALONE } else { POLL });
        if self.answers.failed_for_good(Way::Batched) {
            self.rebuild();
        }
        self.send_alone(alone);
    }

    /// Takes everything back from the failed client and gives it to a new one. Senders wait meanwhile.
    fn rebuild(&self) {
        let mut generation = self.generation.write().unwrap_or_else(PoisonError::into_inner);
        let fatal = generation.client.fatal().map_or(Code::RD_KAFKA_RESP_ERR__FATAL, |(code, _)| code);
        tracing::warn!(code = ?fatal, "the producer failed for good and is built anew");
        self.answers.note_cause(fatal);
        generation.empty();
        match Generation::new(&self.settings, &self.answers, Way::Batched, generation.plain.clone()) {
            Ok(fresh) => *generation = fresh,
            Err(failure) => {
                return tracing::error!(%failure, "the producer cannot be built anew; trying again");
            }
        }
        self.answers.renewed(Way::Batched);
        generation.send_again(&self.answers, Way::Batched);
    }

    /// Sends what was refused with others again, each alone.
    fn send_alone(&self, alone: &mut Option<Generation>) {
        if self.answers.failed_for_good(Way::Alone) {
            if let Some(failed) = alone.take() {
                tracing::warn!("the producer for single records failed for good and is built anew");
                failed.empty();
            }
            self.answers.renewed(Way::Alone);
        }
        if !self.answers.has_returns(Way::Alone) {
            return;
        }
        if alone.is_none() {
            match Generation::new(&self.settings, &self.answers, Way::Alone, HashSet::new()) {
                Ok(fresh) => *alone = Some(fresh),
                // What came back stays where it is until the next turn.
                Err(failure) => tracing::error!(%failure, "no producer for single records; trying again"),
            }
        }
        if let Some(generation) = alone {
            generation.send_again(&self.answers, Way::Alone);
        }
    }
}

/// The failure of a code, as the sink's or the letter's user sees it.
pub(crate) fn delivery_failure(code: Code, topic: &str) -> Failure {
    failure(code, &format!("topic {topic}"))
}
