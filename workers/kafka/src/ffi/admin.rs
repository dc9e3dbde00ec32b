//! Requests of an administrator. Each waits for its answer on a queue of its own.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;

use super::{Client, Code, Entry, OK, PartitionList, Queue, c_string, millis, text};

/// An event, destroyed when dropped.
pub(super) struct Event(pub(super) *mut sys::rd_kafka_event_t);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours and destroyed once; null is allowed.
        unsafe { sys::rd_kafka_event_destroy(self.0) }
    }
}

/// Options of one request: how long it may take.
pub(super) struct Options(pub(super) *mut sys::rd_kafka_AdminOptions_t);

impl Options {
    pub(super) fn new(client: &Client, operation: sys::rd_kafka_admin_op_t, timeout: Duration) -> Self {
        // SAFETY: the options are ours until `drop`; the text buffer may be null when its size is zero.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client.raw(), operation);
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options,
                millis(timeout),
                std::ptr::null_mut::<c_char>(),
                0,
            );
            Self(options)
        }
    }

    /// Asks this broker instead of the controller.
    pub(super) fn ask(&self, broker: i32) {
        // SAFETY: as above.
        unsafe {
            sys::rd_kafka_AdminOptions_set_broker(self.0, broker, std::ptr::null_mut::<c_char>(), 0);
        }
    }

    /// Asks for what we may do as well. A broker that cannot tell fails the whole request.
    pub(super) fn with_rights(&self) {
        // SAFETY: as above; an error is ours and taken.
        unsafe {
            super::take_error(sys::rd_kafka_AdminOptions_set_include_authorized_operations(self.0, 1));
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: the options are ours and destroyed once.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0) }
    }
}

/// Waits for the answer to the one request whose queue this is.
pub(super) fn answer(queue: &Queue, timeout: Duration) -> Result<Event, (Code, String)> {
    // SAFETY: the queue is alive; the event is ours; its error string lives as long as it.
    unsafe {
        // A little longer than the request itself may take, so that its own words arrive.
        let event =
            Event(sys::rd_kafka_queue_poll(queue.raw(), millis(timeout + Duration::from_millis(500))));
        if event.0.is_null() {
            return Err((Code::RD_KAFKA_RESP_ERR__TIMED_OUT, "no answer".to_owned()));
        }
        match sys::rd_kafka_event_error(event.0) {
            OK => Ok(event),
            code => Err((code, text(sys::rd_kafka_event_error_string(event.0)))),
        }
    }
}

pub(super) fn queue(client: &Arc<Client>) -> Result<Queue, (Code, String)> {
    Queue::new(client).ok_or_else(|| (Code::RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, "no queue".to_owned()))
}

/// A topic to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewTopic<'a> {
    pub(crate) name: &'a str,
    pub(crate) partitions: i32,
    /// -1 is the broker's default.
    pub(crate) replication: i32,
    pub(crate) configs: &'a [(String, String)],
}

/// One setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigEntry {
    pub(crate) name: String,
    /// None for what the broker keeps secret.
    pub(crate) value: Option<String>,
    pub(crate) is_default: bool,
}

/// The first error among topic results.
///
/// # Safety
/// `results` points to `count` results that are alive.
unsafe fn topic_results(
    results: *mut *const sys::rd_kafka_topic_result_t,
    count: usize,
) -> Result<(), (Code, String)> {
    for index in 0..count {
        // SAFETY: by this function's contract.
        unsafe {
            let result = *results.add(index);
            let code = sys::rd_kafka_topic_result_error(result);
            if code != OK {
                return Err((code, text(sys::rd_kafka_topic_result_error_string(result))));
            }
        }
    }
    Ok(())
}

impl Client {
    /// Makes a topic and waits until the controller has it.
    ///
    /// # Errors
    /// Code and text of what went wrong.
    pub(crate) fn create_topic(
        self: &Arc<Self>,
        topic: &NewTopic<'_>,
        timeout: Duration,
    ) -> Result<(), (Code, String)> {
        let queue = queue(self)?;
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout);
        let name = c_string(topic.name);
        let mut buffer = [0 as c_char; 256];
        // SAFETY: all handles are alive through the calls; the new topic is copied by the request and destroyed here; the
        // results live as long as the event.
        unsafe {
            sys::rd_kafka_AdminOptions_set_operation_timeout(
                options.0,
                millis(timeout / 2),
                std::ptr::null_mut::<c_char>(),
                0,
            );
            let mut new = sys::rd_kafka_NewTopic_new(
                name.as_ptr(),
                topic.partitions,
                topic.replication,
                buffer.as_mut_ptr(),
                buffer.len(),
            );
            if new.is_null() {
                return Err((Code::RD_KAFKA_RESP_ERR__INVALID_ARG, text(buffer.as_ptr())));
            }
            for (name, value) in topic.configs {
                sys::rd_kafka_NewTopic_set_config(new, c_string(name).as_ptr(), c_string(value).as_ptr());
            }
            sys::rd_kafka_CreateTopics(self.raw(), &mut new, 1, options.0, queue.raw());
            sys::rd_kafka_NewTopic_destroy(new);
            let event = answer(&queue, timeout)?;
            let mut count = 0;
            let result = sys::rd_kafka_event_CreateTopics_result(event.0);
            topic_results(sys::rd_kafka_CreateTopics_result_topics(result, &mut count), count)
        }
    }

    /// Grows a topic to so many partitions in all.
    ///
    /// # Errors
    /// Code and text of what went wrong.
    pub(crate) fn grow_topic(
        self: &Arc<Self>,
        topic: &str,
        total: usize,
        timeout: Duration,
    ) -> Result<(), (Code, String)> {
        let queue = queue(self)?;
        let options =
            Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, timeout);
        let name = c_string(topic);
        let mut buffer = [0 as c_char; 256];
        // SAFETY: as in `create_topic`.
        unsafe {
            let mut new =
                sys::rd_kafka_NewPartitions_new(name.as_ptr(), total, buffer.as_mut_ptr(), buffer.len());
            if new.is_null() {
                return Err((Code::RD_KAFKA_RESP_ERR__INVALID_ARG, text(buffer.as_ptr())));
            }
            sys::rd_kafka_CreatePartitions(self.raw(), &mut new, 1, options.0, queue.raw());
            sys::rd_kafka_NewPartitions_destroy(new);
            let event = answer(&queue, timeout)?;
            let mut count = 0;
            let result = sys::rd_kafka_event_CreatePartitions_result(event.0);
            topic_results(sys::rd_kafka_CreatePartitions_result_topics(result, &mut count), count)
        }
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// Code and text of what went wrong.
    pub(crate) fn delete_topic(
        self: &Arc<Self>,
        topic: &str,
        timeout: Duration,
    ) -> Result<(), (Code, String)> {
        let queue = queue(self)?;
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETETOPICS, timeout);
        let name = c_string(topic);
        // SAFETY: as in `create_topic`.
        unsafe {
            let mut old = sys::rd_kafka_DeleteTopic_new(name.as_ptr());
            sys::rd_kafka_DeleteTopics(self.raw(), &mut old, 1, options.0, queue.raw());
            sys::rd_kafka_DeleteTopic_destroy(old);
            let event = answer(&queue, timeout)?;
            let mut count = 0;
            let result = sys::rd_kafka_event_DeleteTopics_result(event.0);
            topic_results(sys::rd_kafka_DeleteTopics_result_topics(result, &mut count), count)
        }
    }

    /// A topic's settings.
    ///
    /// # Errors
    /// Code and text of what went wrong.
    pub(crate) fn topic_configs(
        self: &Arc<Self>,
        topic: &str,
        timeout: Duration,
    ) -> Result<Vec<ConfigEntry>, (Code, String)> {
        // Any broker knows; the mock cluster has no controller, which would be asked otherwise.
        self.ask_any(timeout, |broker, timeout| self.topic_configs_of(broker, topic, timeout))
    }

    fn topic_configs_of(
        self: &Arc<Self>,
        broker: i32,
        topic: &str,
        timeout: Duration,
    ) -> Result<Vec<ConfigEntry>, (Code, String)> {
        let queue = queue(self)?;
        let options =
            Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout);
        options.ask(broker);
        let name = c_string(topic);
        // SAFETY: all handles are alive through the calls; what the result points to lives as long as the event.
        unsafe {
            let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
            let mut resource = sys::rd_kafka_ConfigResource_new(kind, name.as_ptr());
            sys::rd_kafka_DescribeConfigs(self.raw(), &mut resource, 1, options.0, queue.raw());
            sys::rd_kafka_ConfigResource_destroy(resource);
            let event = answer(&queue, timeout)?;
            let result = sys::rd_kafka_event_DescribeConfigs_result(event.0);
            let mut count = 0;
            let resources = sys::rd_kafka_DescribeConfigs_result_resources(result, &mut count);
            if count == 0 {
                return Ok(Vec::new());
            }
            let found = *resources;
            let code = sys::rd_kafka_ConfigResource_error(found);
            if code != OK {
                return Err((code, text(sys::rd_kafka_ConfigResource_error_string(found))));
            }
            let mut count = 0;
            let entries = sys::rd_kafka_ConfigResource_configs(found, &mut count);
            Ok((0..count)
                .map(|index| {
                    let entry = *entries.add(index);
                    let value = sys::rd_kafka_ConfigEntry_value(entry);
                    ConfigEntry {
                        name: text(sys::rd_kafka_ConfigEntry_name(entry)),
                        value: (!value.is_null()).then(|| text(value)),
                        is_default: sys::rd_kafka_ConfigEntry_is_default(entry) != 0,
                    }
                })
                .collect())
        }
    }

    /// Sets settings of a topic and leaves its others alone.
    ///
    /// # Errors
    /// Code and text of what went wrong.
    pub(crate) fn alter_topic(
        self: &Arc<Self>,
        topic: &str,
        settings: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<(), (Code, String)> {
        let queue = queue(self)?;
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS;
        let options = Options::new(self, operation, timeout);
        let name = c_string(topic);
        // SAFETY: all handles are alive through the calls; the resource is copied by the request and destroyed here, an
        // error too; what the result points to lives as long as the event.
        unsafe {
            let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
            let mut resource = sys::rd_kafka_ConfigResource_new(kind, name.as_ptr());
            for (name, value) in settings {
                let error = sys::rd_kafka_ConfigResource_add_incremental_config(
                    resource,
                    c_string(name).as_ptr(),
                    sys::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET,
                    c_string(value).as_ptr(),
                );
                if !error.is_null() {
                    let failed = (sys::rd_kafka_error_code(error), text(sys::rd_kafka_error_string(error)));
                    sys::rd_kafka_error_destroy(error);
                    sys::rd_kafka_ConfigResource_destroy(resource);
                    return Err(failed);
                }
            }
            sys::rd_kafka_IncrementalAlterConfigs(self.raw(), &mut resource, 1, options.0, queue.raw());
            sys::rd_kafka_ConfigResource_destroy(resource);
            let event = answer(&queue, timeout)?;
            let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event.0);
            let mut count = 0;
            let resources = sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &mut count);
            for index in 0..count {
                let found = *resources.add(index);
                let code = sys::rd_kafka_ConfigResource_error(found);
                if code != OK {
                    return Err((code, text(sys::rd_kafka_ConfigResource_error_string(found))));
                }
            }
            Ok(())
        }
    }

    /// The names of all consumer groups.
    ///
    /// # Errors
    /// Code and text of what went wrong.
    pub(crate) fn groups(self: &Arc<Self>, timeout: Duration) -> Result<Vec<String>, (Code, String)> {
        let queue = queue(self)?;
        let options =
            Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, timeout);
        // SAFETY: as in `topic_configs`.
        unsafe {
            sys::rd_kafka_ListConsumerGroups(self.raw(), options.0, queue.raw());
            let event = answer(&queue, timeout)?;
            let result = sys::rd_kafka_event_ListConsumerGroups_result(event.0);
            let mut count = 0;
            let groups = sys::rd_kafka_ListConsumerGroups_result_valid(result, &mut count);
            Ok((0..count)
                .map(|index| text(sys::rd_kafka_ConsumerGroupListing_group_id(*groups.add(index))))
                .collect())
        }
    }
}

impl Client {
    /// Deletes the records below an offset in each of these partitions; the new first offsets, each or its error.
    ///
    /// # Errors
    /// Code and text of what went wrong with the request as a whole.
    pub(crate) fn delete_records(
        self: &Arc<Self>,
        below: &PartitionList,
        timeout: Duration,
    ) -> Result<Vec<Entry>, (Code, String)> {
        let queue = queue(self)?;
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETERECORDS, timeout);
        // SAFETY: all handles are alive through the calls; the list is copied into the request, which is destroyed here;
        // what the result points to lives as long as the event and is copied out.
        unsafe {
            let mut request = sys::rd_kafka_DeleteRecords_new(below.raw());
            sys::rd_kafka_DeleteRecords(self.raw(), &mut request, 1, options.0, queue.raw());
            sys::rd_kafka_DeleteRecords_destroy(request);
            let event = answer(&queue, timeout)?;
            let result = sys::rd_kafka_event_DeleteRecords_result(event.0);
            Ok(super::list::entries(sys::rd_kafka_DeleteRecords_result_offsets(result)))
        }
    }
}
