//! Requests of an administrator. Each waits for its answer on a queue of its own.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;

use super::{Client, Code, OK, Queue, c_string, millis, text};

/// An event, destroyed when dropped.
struct Event(*mut sys::rd_kafka_event_t);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours and destroyed once; null is allowed.
        unsafe { sys::rd_kafka_event_destroy(self.0) }
    }
}

/// Options of one request: how long it may take.
struct Options(*mut sys::rd_kafka_AdminOptions_t);

impl Options {
    fn new(client: &Client, operation: sys::rd_kafka_admin_op_t, timeout: Duration) -> Self {
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
    fn ask(&self, broker: i32) {
        // SAFETY: as above.
        unsafe {
            sys::rd_kafka_AdminOptions_set_broker(self.0, broker, std::ptr::null_mut::<c_char>(), 0);
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
fn answer(queue: &Queue, timeout: Duration) -> Result<Event, (Code, String)> {
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

fn queue(client: &Arc<Client>) -> Result<Queue, (Code, String)> {
    Queue::new(client).ok_or_else(|| (Code::RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, "no queue".to_owned()))
}

impl Client {
    /// The topic's id in Kafka's base64 spelling; none when the broker has no ids or no such topic.
    ///
    /// # Errors
    /// Code and text of what went wrong.
    pub(crate) fn topic_id(
        self: &Arc<Self>,
        topic: &str,
        timeout: Duration,
    ) -> Result<Option<String>, (Code, String)> {
        let queue = queue(self)?;
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout);
        // Any broker knows; the mock cluster has no controller, which would be asked otherwise.
        options.ask(self.any_broker(timeout).map_err(|code| (code, String::new()))?);
        let name = c_string(topic);
        // SAFETY: all handles are alive through the calls; what the result points to lives as long as the event.
        unsafe {
            let mut names = [name.as_ptr()];
            let collection = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
            sys::rd_kafka_DescribeTopics(self.raw(), collection, options.0, queue.raw());
            sys::rd_kafka_TopicCollection_destroy(collection);
            let event = answer(&queue, timeout)?;
            let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
            let mut count = 0;
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            if count == 0 {
                return Ok(None);
            }
            let description = *topics;
            let error = sys::rd_kafka_TopicDescription_error(description);
            if !error.is_null() && sys::rd_kafka_error_code(error) != OK {
                return Err((sys::rd_kafka_error_code(error), text(sys::rd_kafka_error_string(error))));
            }
            let id = sys::rd_kafka_TopicDescription_topic_id(description);
            if id.is_null() {
                return Ok(None);
            }
            let spelled = text(sys::rd_kafka_Uuid_base64str(id));
            // An all-zero id is how a broker without topic ids answers.
            Ok((!spelled.is_empty() && spelled.bytes().any(|byte| byte != b'A')).then_some(spelled))
        }
    }
}
