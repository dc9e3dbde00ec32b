//! What only a consumer does: subscribe, assign, pause, seek, commit, take records by the batch, close.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;

use super::client::on_commit;
use super::pages::give_back;
use super::{Client, Code, Entry, OK, PartitionList, Queue, bytes, code_of, millis, take_error, text};

/// What the group decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// These partitions are given.
    Assign(Vec<Entry>),
    /// These are taken.
    Revoke(Vec<Entry>),
    /// The rebalance failed.
    Failed(Code),
}

impl Client {
    /// Joins the group for these topics.
    ///
    /// # Errors
    /// The code of what went wrong.
    pub(crate) fn subscribe(&self, topics: &PartitionList) -> Result<(), Code> {
        // SAFETY: client and list are alive; the list is copied.
        checked(unsafe { sys::rd_kafka_subscribe(self.raw(), topics.raw()) })
    }

    /// Sets the assignment by hand, without a group's say.
    ///
    /// # Errors
    /// The code of what went wrong.
    pub(crate) fn assign(&self, list: &PartitionList) -> Result<(), Code> {
        // SAFETY: client and list are alive; the list is copied.
        checked(unsafe { sys::rd_kafka_assign(self.raw(), list.raw()) })
    }

    /// Adds to the assignment (cooperative protocol).
    ///
    /// # Errors
    /// Code and text of what went wrong.
    pub(crate) fn incremental_assign(&self, list: &PartitionList) -> Result<(), (Code, String)> {
        // SAFETY: client and list are alive; the error object is ours.
        unsafe { take_error(sys::rd_kafka_incremental_assign(self.raw(), list.raw())) }.map_or(Ok(()), Err)
    }

    /// Takes from the assignment (cooperative protocol).
    ///
    /// # Errors
    /// Code and text of what went wrong.
    pub(crate) fn incremental_unassign(&self, list: &PartitionList) -> Result<(), (Code, String)> {
        // SAFETY: client and list are alive; the error object is ours.
        unsafe { take_error(sys::rd_kafka_incremental_unassign(self.raw(), list.raw())) }.map_or(Ok(()), Err)
    }

    /// The present assignment.
    ///
    /// # Errors
    /// The code of what went wrong.
    pub(crate) fn assignment(&self) -> Result<Vec<Entry>, Code> {
        let mut list = std::ptr::null_mut();
        // SAFETY: the function stores a list that is ours.
        unsafe {
            checked(sys::rd_kafka_assignment(self.raw(), &mut list))?;
            Ok(PartitionList::take(list).map(|list| list.entries()).unwrap_or_default())
        }
    }

    /// Whether the partitions being revoked are no longer ours already.
    pub(crate) fn assignment_lost(&self) -> bool {
        // SAFETY: the client is alive.
        unsafe { sys::rd_kafka_assignment_lost(self.raw()) != 0 }
    }

    /// Stops fetching; what was fetched ahead is thrown away.
    pub(crate) fn pause(&self, list: &PartitionList) -> Result<(), Code> {
        // SAFETY: client and list are alive.
        checked(unsafe { sys::rd_kafka_pause_partitions(self.raw(), list.raw()) })
    }

    /// Fetches again.
    pub(crate) fn resume(&self, list: &PartitionList) -> Result<(), Code> {
        // SAFETY: client and list are alive.
        checked(unsafe { sys::rd_kafka_resume_partitions(self.raw(), list.raw()) })
    }

    /// Goes to the offsets in the list and waits until librdkafka has begun to; the entries carry each one's code.
    ///
    /// # Errors
    /// Code and text of what went wrong with all of them.
    pub(crate) fn seek(&self, list: &mut PartitionList, timeout: Duration) -> Result<(), (Code, String)> {
        // SAFETY: client and list are alive; the error object is ours.
        unsafe { take_error(sys::rd_kafka_seek_partitions(self.raw(), list.raw(), millis(timeout))) }
            .map_or(Ok(()), Err)
    }

    /// The generation in which the group has taken us in, none when it has not or has let us go: librdkafka empties the member's id when a session ends (classic protocol), and
    /// the generation, with KIP-848 the member's epoch, is positive from the first answer to a join on. A member that waits for the
    /// end of its first rebalance is not in yet. Never ask while the group is being left: it may go without an answer.
    pub(crate) fn generation(&self) -> Option<i32> {
        // SAFETY: the client is alive; the object is ours, its strings live as long as it, and it is destroyed once.
        unsafe {
            let place = sys::rd_kafka_consumer_group_metadata(self.raw());
            if place.is_null() {
                return None;
            }
            let id = sys::rd_kafka_consumer_group_metadata_member_id(place);
            let is_member = !id.is_null() && *id != 0;
            let generation = sys::rd_kafka_consumer_group_metadata_generation_id(place);
            sys::rd_kafka_consumer_group_metadata_destroy(place);
            (is_member && generation > 0).then_some(generation)
        }
    }

    /// Whether a close has come to its end.
    pub(crate) fn closed(&self) -> bool {
        // SAFETY: the client is alive.
        unsafe { sys::rd_kafka_consumer_closed(self.raw()) != 0 }
    }
}

fn checked(code: Code) -> Result<(), Code> {
    if code == OK { Ok(()) } else { Err(code) }
}

impl Queue {
    /// Commits without waiting; the answer comes as [`super::Callbacks::committed`] while this queue is polled. In
    /// rdkafka 0.39 an asynchronous commit through the safe interface never reports.
    ///
    /// # Errors
    /// The code of what went wrong at once.
    pub(crate) fn commit(&self, list: &PartitionList) -> Result<(), Code> {
        let client = self.client();
        // SAFETY: all handles are alive; the opaque pointer lives as long as the client, and with it every answer.
        checked(unsafe {
            sys::rd_kafka_commit_queue(client.raw(), list.raw(), self.raw(), Some(on_commit), client.opaque())
        })
    }

    /// Begins to leave the group; keep polling this queue until [`Client::closed`].
    ///
    /// # Errors
    /// Code and text of what went wrong.
    pub(crate) fn close_consumer(&self) -> Result<(), (Code, String)> {
        // SAFETY: client and queue are alive; the error object is ours.
        unsafe { take_error(sys::rd_kafka_consumer_close_queue(self.client().raw(), self.raw())) }
            .map_or(Ok(()), Err)
    }
}

/// About so many bytes are taken at once: what was taken is beside the bound of librdkafka's queue, which fills up behind it (I5).
const LOT_BYTES: usize = 1024 * 1024;
/// The first records, whose size nobody knows.
const FIRST_LOT: usize = 64;

/// Room for a batch of records, used again and again.
pub(crate) struct Messages {
    pointers: Vec<*mut sys::rd_kafka_message_t>,
    /// How many to take next, by the size of those taken last.
    lot: usize,
    /// Keeps the client alive as long as its messages.
    queue: Arc<Queue>,
}

// SAFETY: messages may be read and destroyed on any thread.
unsafe impl Send for Messages {}

impl Messages {
    /// Room for `capacity` records from this queue.
    pub(crate) fn new(queue: Arc<Queue>, capacity: usize) -> Self {
        Self { pointers: Vec::with_capacity(capacity), lot: capacity.min(FIRST_LOT), queue }
    }

    /// Lets the last batch go and takes the next: waits at most `timeout` for the first record and not at all for the
    /// others (librdkafka's own call would wait until the batch is full). Serves callbacks on the way.
    pub(crate) fn poll(&mut self, timeout: Duration) -> usize {
        self.clear();
        let capacity = self.lot.clamp(1, self.pointers.capacity());
        self.take(Duration::ZERO, capacity);
        if self.pointers.is_empty() && !timeout.is_zero() {
            self.take(timeout, 1);
            if !self.pointers.is_empty() {
                self.take(Duration::ZERO, capacity - 1);
            }
        }
        self.pointers.len()
    }

    fn take(&mut self, timeout: Duration, most: usize) {
        let start = self.pointers.len();
        debug_assert!(start + most <= self.pointers.capacity());
        // SAFETY: behind `start` there is room for `most` pointers; librdkafka writes as many as it returns, and each
        // message is ours to destroy. -1 says that nothing was written.
        unsafe {
            let room = self.pointers.as_mut_ptr().add(start);
            let count = sys::rd_kafka_consume_batch_queue(self.queue.raw(), millis(timeout), room, most);
            self.pointers.set_len(start + usize::try_from(count).unwrap_or(0));
        }
    }

    /// The batch.
    pub(crate) fn iter(&self) -> impl Iterator<Item = MessageView<'_>> + Clone {
        // SAFETY: the pointers are messages that live until `clear`, which needs `&mut self`.
        self.pointers.iter().map(|pointer| MessageView { message: unsafe { &**pointer } })
    }

    /// Lets the batch go.
    pub(crate) fn clear(&mut self) {
        if !self.pointers.is_empty() {
            let bytes: usize = self.iter().map(|message| message.bytes()).sum();
            self.lot = LOT_BYTES / (bytes / self.pointers.len()).max(1);
        }
        for message in self.pointers.drain(..) {
            // SAFETY: the message is ours and destroyed once. Nobody else reads its payload, a part of the answer to a
            // fetch, whose other messages lie beside it; librdkafka frees it unread.
            unsafe {
                give_back((*message).payload, (*message).len);
                sys::rd_kafka_message_destroy(message);
            }
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.clear();
    }
}

/// One record, or an error in a record's clothes.
#[derive(Clone, Copy)]
pub(crate) struct MessageView<'a> {
    message: &'a sys::rd_kafka_message_t,
}

impl<'a> MessageView<'a> {
    pub(super) fn of(message: &'a sys::rd_kafka_message_t) -> Self {
        Self { message }
    }

    /// [`OK`] for a record; otherwise the other methods tell which partition it is about, if any.
    pub(crate) fn code(&self) -> Code {
        // SAFETY: the field is an `i32` in C (see `code_of`).
        code_of(unsafe { std::ptr::addr_of!(self.message.err).cast::<i32>().read() })
    }

    /// The text of an error.
    pub(crate) fn error_text(&self) -> String {
        // SAFETY: the message is alive; the string lives as long as it.
        unsafe { text(sys::rd_kafka_message_errstr(self.message)) }
    }

    /// A number that tells topics apart within one batch.
    pub(crate) fn topic_mark(&self) -> usize {
        self.message.rkt as usize
    }

    /// The topic's name; empty for an error without a topic.
    pub(crate) fn topic(&self) -> String {
        if self.message.rkt.is_null() {
            return String::new();
        }
        // SAFETY: the message holds its topic.
        unsafe { text(sys::rd_kafka_topic_name(self.message.rkt)) }
    }

    pub(crate) fn partition(&self) -> i32 {
        self.message.partition
    }

    pub(crate) fn offset(&self) -> i64 {
        self.message.offset
    }

    /// None is a null key.
    pub(crate) fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: the message is alive for `'a`.
        unsafe { bytes(self.message.key, self.message.key_len) }
    }

    /// None is a tombstone.
    pub(crate) fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: the message is alive for `'a`.
        unsafe { bytes(self.message.payload, self.message.len) }
    }

    /// The bytes of key and value.
    pub(crate) fn bytes(&self) -> usize {
        self.key().map_or(0, <[u8]>::len) + self.value().map_or(0, <[u8]>::len)
    }

    /// Milliseconds since 1970; -1 when there is none.
    pub(crate) fn timestamp_ms(&self) -> i64 {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        unsafe { sys::rd_kafka_message_timestamp(self.message, &mut kind) }
    }

    /// Hands every header to `each`: name and value as bytes, since Kafka promises no UTF-8 (rdkafka's own reader
    /// panics on such a name).
    pub(crate) fn headers(&self, mut each: impl FnMut(&'a [u8], Option<&'a [u8]>)) {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is alive and owns its headers, names are C strings, values are null or as long as said.
        unsafe {
            if sys::rd_kafka_message_headers(self.message, &mut headers) != OK {
                return;
            }
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            let mut index = 0;
            while sys::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size) == OK {
                each(std::ffi::CStr::from_ptr(name).to_bytes(), bytes(value, size));
                index += 1;
            }
        }
    }
}
