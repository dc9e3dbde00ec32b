//! Who waits for which answers: one slot for each batch, counted down by delivery reports.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll};

use futures::channel::oneshot;
use longshore_core::{Class, Failure, Reason};
use tokio::sync::Semaphore;

use super::delivery_failure;
use super::record::OwnedRecord;
use crate::context::Context;
use crate::errors::{Meaning, failure, meaning};
use crate::ffi::{Callbacks, Change, Code, Delivery, Entry, OK, Token};
use crate::options::KafkaOptions;

/// A record that was not taken, by its place in the batch.
#[derive(Clone, Debug)]
pub struct FailedRecord {
    /// Its place in the batch, from 0.
    pub row: usize,
    /// Why. [`Class::Reject`] is about this record alone; everything else is worth another try.
    pub failure: Failure,
    /// The record, to send it again; none unless it was given by [`Producer::send_to_keep`](super::Producer::send_to_keep).
    pub record: Option<OwnedRecord>,
}

/// Resolves when every record of a batch is answered for: to those that failed, so to nothing when all is well.
#[derive(Debug)]
pub struct BatchTicket {
    done: oneshot::Receiver<Vec<FailedRecord>>,
}

impl Future for BatchTicket {
    type Output = Result<Vec<FailedRecord>, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.done).poll(context).map(|answer| {
            answer.map_err(|_| {
                Failure::target(Reason::BrokerUnavailable, "the producer ended before the answer came")
            })
        })
    }
}

/// A batch that is not answered for.
struct Batch {
    waiting: usize,
    room_units: u32,
    /// Failed records are given back with their bytes.
    keeps: bool,
    failed: Vec<FailedRecord>,
    done: oneshot::Sender<Vec<FailedRecord>>,
}

#[derive(Default)]
struct Slots {
    batches: Vec<Option<Batch>>,
    free: Vec<u32>,
}

/// Which of the producer's clients a record goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// With others in one batch, which the broker takes or refuses as a whole.
    Batched,
    /// Alone in its batch, so that the broker's refusal is about this record.
    Alone,
}

/// What is to be sent by one of the clients again, and whether that client failed for good.
#[derive(Default)]
struct Returns {
    fatal: AtomicBool,
    records: Mutex<Vec<(u64, OwnedRecord)>>,
}

impl Returns {
    fn put(&self, tag: u64, record: OwnedRecord) {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).push((tag, record));
    }
}

/// All batches on their way.
pub(super) struct Answers {
    slots: Mutex<Slots>,
    room: Arc<Semaphore>,
    batched: Returns,
    alone: Returns,
    troubled: AtomicBool,
    trouble: Mutex<Option<Failure>>,
    context: Context,
}

/// Slot and row in librdkafka's one pointer.
pub(super) fn tag(slot: u32, row: u32) -> u64 {
    u64::from(slot) << 32 | u64::from(row)
}

/// The reverse of [`tag`].
pub(super) fn untag(tag: u64) -> (u32, u32) {
    ((tag >> 32) as u32, tag as u32)
}

impl Answers {
    pub(super) fn new(options: &KafkaOptions, room: Arc<Semaphore>) -> Self {
        Self {
            slots: Mutex::default(),
            room,
            batched: Returns::default(),
            alone: Returns::default(),
            troubled: AtomicBool::new(false),
            trouble: Mutex::default(),
            context: Context::new(options),
        }
    }

    /// The callbacks of a client.
    pub(super) fn listener(self: &Arc<Self>, way: Way) -> Arc<dyn Callbacks> {
        Arc::new(Listener { answers: Arc::clone(self), way })
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn returns(&self, way: Way) -> &Returns {
        match way {
            Way::Batched => &self.batched,
            Way::Alone => &self.alone,
        }
    }

    /// A slot for a batch of so many records; an empty batch is answered at once.
    pub(super) fn open(&self, records: usize, room_units: u32, keeps: bool) -> (u32, BatchTicket) {
        let (done, receiver) = oneshot::channel();
        let mut slots = self.slots();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.batches.push(None);
            slots.batches.len() as u32 - 1
        });
        slots.batches[slot as usize] =
            Some(Batch { waiting: records, room_units, keeps, failed: Vec::new(), done });
        if records == 0 {
            self.finish(&mut slots, slot);
        }
        (slot, BatchTicket { done: receiver })
    }

    /// A record that librdkafka did not take. A full queue cannot be: room is counted before.
    pub(super) fn refused(&self, way: Way, tag: u64, record: OwnedRecord, code: Code) {
        if comes_back(code) {
            // A client that failed for good takes nothing; its successor will.
            self.returns(way).fatal.store(true, Ordering::Release);
            return self.returns(way).put(tag, record);
        }
        self.fail(tag, record, code);
    }

    fn fail(&self, tag: u64, record: OwnedRecord, code: Code) {
        let (slot, row) = untag(tag);
        let failure = delivery_failure(code, &record.topic);
        let mut slots = self.slots();
        self.answer(
            &mut slots,
            slot,
            Some(FailedRecord { row: row as usize, failure, record: Some(record) }),
        );
    }

    fn answer(&self, slots: &mut Slots, slot: u32, mut failed: Option<FailedRecord>) {
        let Some(batch) = slots.batches.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        if let Some(failed) = failed.as_mut().filter(|_| !batch.keeps) {
            failed.record = None;
        }
        batch.failed.extend(failed);
        batch.waiting = batch.waiting.saturating_sub(1);
        if batch.waiting == 0 {
            self.finish(slots, slot);
        }
    }

    fn finish(&self, slots: &mut Slots, slot: u32) {
        let Some(batch) = slots.batches.get_mut(slot as usize).and_then(Option::take) else { return };
        slots.free.push(slot);
        self.room.add_permits(batch.room_units as usize);
        // Whoever dropped the ticket does not want to know.
        let _unwanted = batch.done.send(batch.failed);
    }

    pub(super) fn waiting(&self) -> usize {
        self.slots().batches.iter().flatten().map(|batch| batch.waiting).sum()
    }

    pub(super) fn failed_for_good(&self, way: Way) -> bool {
        self.returns(way).fatal.load(Ordering::Acquire)
    }

    pub(super) fn renewed(&self, way: Way) {
        self.returns(way).fatal.store(false, Ordering::Release);
    }

    pub(super) fn has_returns(&self, way: Way) -> bool {
        !self.returns(way).records.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// What is to be sent this way again, in the order in which it came back.
    pub(super) fn take_back(&self, way: Way) -> Vec<(u64, OwnedRecord)> {
        std::mem::take(&mut self.returns(way).records.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Nobody will answer any more: every ticket fails.
    pub(super) fn abandon(&self) {
        self.slots().batches.clear();
    }

    pub(super) fn trouble(&self) -> Option<Failure> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes why a client failed for good, when that is for a person to mend: a broker that refuses the rights to write makes
    /// an idempotent client fail, and its successor will fail the same way.
    pub(super) fn note_cause(&self, fatal: Code) {
        match meaning(fatal) {
            Meaning::Error(_, Reason::BrokerFatal) | Meaning::Control | Meaning::Fenced => {}
            Meaning::Error(Class::Halt, _) => self.note_trouble(failure(fatal, "producer")),
            Meaning::Error(Class::Retry { .. } | Class::Reject, _) => {}
        }
    }

    fn note_trouble(&self, failure: Failure) {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // A cause that a person must mend is not covered up by what follows from it.
        if known.as_ref().is_none_or(|known| known.class != Class::Halt) {
            *known = Some(failure);
            self.troubled.store(true, Ordering::Release);
        }
    }
}

/// Whether a record with this answer is sent again by ourselves.
fn comes_back(code: Code) -> bool {
    matches!(
        code,
        Code::RD_KAFKA_RESP_ERR__PURGE_QUEUE
            | Code::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT
            | Code::RD_KAFKA_RESP_ERR__DESTROY
    ) || matches!(meaning(code), Meaning::Error(_, Reason::BrokerFatal))
}

/// Whether the broker may have meant another record of the same batch: it refuses a batch as a whole for one record that is
/// too large or invalid.
fn may_be_innocent(code: Code) -> bool {
    matches!(meaning(code), Meaning::Error(Class::Reject, _))
}

/// The callbacks of one client.
struct Listener {
    answers: Arc<Answers>,
    way: Way,
}

impl Callbacks for Listener {
    fn log(&self, level: i32, facility: &str, line: &str) {
        Context::log(level, facility, line);
    }

    fn error(&self, code: Code, reason: &str) {
        tracing::debug!(target: "librdkafka", ?code, "{reason}");
        match meaning(code) {
            Meaning::Error(_, Reason::BrokerFatal) => {
                self.answers.returns(self.way).fatal.store(true, Ordering::Release);
            }
            Meaning::Error(Class::Halt, _) => self.answers.note_trouble(failure(code, "producer")),
            Meaning::Error(..) if code == Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN => {
                self.answers.note_trouble(failure(code, "producer"));
            }
            Meaning::Error(..) | Meaning::Control | Meaning::Fenced => {}
        }
    }

    fn token(&self) -> Result<Token, String> {
        self.answers.context.token()
    }

    fn rebalance(&self, _: Change) {}

    fn committed(&self, _: Vec<Entry>, _: Code) {}

    fn delivered(&self, delivery: Delivery<'_>) {
        let answers = &self.answers;
        let code = delivery.message.code();
        if code == OK {
            if answers.troubled.swap(false, Ordering::AcqRel) {
                answers.trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
            let (slot, _) = untag(delivery.tag);
            let mut slots = answers.slots();
            return answers.answer(&mut slots, slot, None);
        }
        let record = OwnedRecord::of_delivery(&delivery.message);
        if comes_back(code) {
            // Purged records come only while the client is being replaced, or after it failed.
            answers.returns(self.way).fatal.store(true, Ordering::Release);
            answers.returns(self.way).put(delivery.tag, record);
        } else if self.way == Way::Batched && may_be_innocent(code) {
            answers.returns(Way::Alone).put(delivery.tag, record);
        } else {
            answers.fail(delivery.tag, record, code);
        }
    }
}
