//! Offsets that only the leaders of partitions know.
//!
//! Leaders are asked through the admin interface, not by `rd_kafka_offsets_for_times`: when one of them does not answer, that function keeps
//! the answers of all others to itself.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;

use super::admin::{Event, Options, answer, queue};
use super::{Client, Code, Entry, OK, PartitionList, Queue, take_error};

/// First offset and end of a partition, or why it cannot tell.
pub(crate) type Watermarks = Result<(i64, i64), Code>;

/// A request to each leader that is on its way; several may be at once.
struct Question<'a> {
    queue: Queue,
    partitions: &'a [(&'a str, i32)],
    timeout: Duration,
}

impl<'a> Question<'a> {
    fn ask(
        client: &Arc<Client>,
        partitions: &'a [(&'a str, i32)],
        time: i64,
        timeout: Duration,
    ) -> Result<Self, Code> {
        let no_memory = Code::RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
        let queue = queue(client).map_err(|(code, _)| code)?;
        let mut list = PartitionList::empty().ok_or(no_memory)?;
        for (topic, partition) in partitions {
            list.add(topic, *partition, time, None);
        }
        let options = Options::new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout);
        // SAFETY: all handles are alive through the calls; an error is ours and taken; the request copies the list.
        unsafe {
            // As readers see it: an open transaction ends the partition.
            let level = sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
            take_error(sys::rd_kafka_AdminOptions_set_isolation_level(options.0, level));
            sys::rd_kafka_ListOffsets(client.raw(), list.raw(), options.0, queue.raw());
        }
        Ok(Self { queue, partitions, timeout })
    }

    /// What each partition's leader answered, in their order.
    fn answers(self) -> Result<Vec<Result<i64, Code>>, Code> {
        match answer(&self.queue, self.timeout) {
            Ok(event) => {
                let told = told(&event);
                let answers = self.partitions.iter().enumerate();
                Ok(answers.map(|(at, place)| known(told.get(at), place)).collect())
            }
            // What librdkafka says when it has asked nobody.
            Err((Code::RD_KAFKA_RESP_ERR__NOENT, _)) => {
                Ok(vec![Err(Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE); self.partitions.len()])
            }
            Err((code, _)) => Err(code),
        }
    }
}

/// A leader that failed to answer leaves no error, and no offset.
fn known(told: Option<&Entry>, (topic, partition): &(&str, i32)) -> Result<i64, Code> {
    match told {
        Some(entry) if (entry.topic.as_str(), entry.partition) != (*topic, *partition) => {
            Err(Code::RD_KAFKA_RESP_ERR__FAIL)
        }
        Some(entry) if entry.code != OK => Err(entry.code),
        Some(entry) if entry.offset != i64::from(sys::RD_KAFKA_OFFSET_INVALID) => Ok(entry.offset),
        Some(_) | None => Err(Code::RD_KAFKA_RESP_ERR__TIMED_OUT),
    }
}

fn told(event: &Event) -> Vec<Entry> {
    // SAFETY: the event is alive, and with it the result and its array, which is as long as it says; entries are copied out.
    unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(event.0);
        if result.is_null() {
            return Vec::new();
        }
        let mut count = 0;
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
        let entry =
            |at| super::list::entry(sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(at)));
        (0..count).map(entry).collect()
    }
}

impl Client {
    /// First offset and the offset behind the last record that can be read, of each of these partitions in their order:
    /// two requests for each leader, however many partitions it has. What goes wrong with a partition stands in its place, such as that its
    /// leader does not answer in time.
    ///
    /// # Errors
    /// The code of what went wrong with asking at all.
    pub(crate) fn watermarks(
        self: &Arc<Self>,
        partitions: &[(&str, i32)],
        timeout: Duration,
    ) -> Result<Vec<Watermarks>, Code> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        // The logical offsets stand for times in the protocol as well.
        let starts = Question::ask(self, partitions, i64::from(sys::RD_KAFKA_OFFSET_BEGINNING), timeout)?;
        let ends = Question::ask(self, partitions, i64::from(sys::RD_KAFKA_OFFSET_END), timeout)?;
        let (starts, ends) = (starts.answers()?, ends.answers()?);
        let both = |(start, end): (Result<i64, Code>, Result<i64, Code>)| Ok((there(start?)?, there(end?)?));
        Ok(starts.into_iter().zip(ends).map(both).collect())
    }

    /// The offset behind the last record that can be read, as [`Client::watermarks`] gives it, by one request for each leader.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn ends(
        self: &Arc<Self>,
        partitions: &[(&str, i32)],
        timeout: Duration,
    ) -> Result<Vec<Result<i64, Code>>, Code> {
        let ends = self.offsets_by_time(partitions, i64::from(sys::RD_KAFKA_OFFSET_END), timeout)?;
        Ok(ends.into_iter().map(|end| end.and_then(there)).collect())
    }

    /// The first offset of each partition whose timestamp is not below this (milliseconds since 1970), negative when there
    /// is none; in their order, by one request for each leader, with what goes wrong as in [`Client::watermarks`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn offsets_by_time(
        self: &Arc<Self>,
        partitions: &[(&str, i32)],
        time: i64,
        timeout: Duration,
    ) -> Result<Vec<Result<i64, Code>>, Code> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        Question::ask(self, partitions, time, timeout)?.answers()
    }
}

/// The first offset or the end, which a partition always has.
fn there(offset: i64) -> Result<i64, Code> {
    if offset >= 0 { Ok(offset) } else { Err(Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) }
}
