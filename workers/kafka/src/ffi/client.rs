//! A librdkafka client with its callbacks, and its queues.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::bindings as sys;

use super::{Change, Code, Delivery, OK, PartitionList, c_string, code_of, millis, take_error, text};

/// What librdkafka calls. `log`, `error` and `token` may come from any thread; the others come from the thread that
/// polls. None may panic (a panic in a C callback aborts the process), so they only note what happened.
pub(crate) trait Callbacks: Send + Sync + 'static {
    /// A log line; level as in syslog (3 error, 4 warning, 6 info, 7 debug).
    fn log(&self, level: i32, facility: &str, line: &str);
    /// An error of the connection as a whole.
    fn error(&self, code: Code, reason: &str);
    /// A token for OAUTHBEARER.
    fn token(&self) -> Result<Token, String>;
    /// The group gave or took partitions.
    fn rebalance(&self, change: Change);
    /// The broker answered a commit.
    fn committed(&self, entries: Vec<super::Entry>, code: Code);
    /// A produced record was acknowledged or failed.
    fn delivered(&self, delivery: Delivery<'_>);
}

/// A token for OAUTHBEARER.
pub(crate) struct Token {
    pub(crate) value: String,
    pub(crate) principal: String,
    /// Milliseconds since 1970.
    pub(crate) expires_ms: i64,
}

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Consumer,
    Producer,
}

/// A librdkafka client. Dropping it destroys it, which may take long (librdkafka #4527 and others): drop it where that
/// does no harm.
pub(crate) struct Client {
    rk: NonNull<sys::rd_kafka_t>,
    /// What the callbacks' opaque pointer points to; freed after the client is destroyed.
    callbacks: NonNull<Arc<dyn Callbacks>>,
    /// User and password as configured, empty without; for [`Client::wake_brokers`].
    credentials: (CString, CString),
    /// How many brokers before the first one of the list did not answer; for [`Client::ask_any`].
    answers: AtomicUsize,
}

/// So many brokers are asked in turn for what any of them knows.
const ASKED_MOST: usize = 3;

// SAFETY: librdkafka's client is thread-safe, and the callbacks are `Send + Sync`.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Makes a client.
    ///
    /// # Errors
    /// The setting that was refused, or why the client could not be made.
    pub(crate) fn new(
        kind: Kind,
        settings: &[(String, String)],
        callbacks: Arc<dyn Callbacks>,
    ) -> Result<Arc<Self>, String> {
        #[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
        {
            super::steady::hold();
            super::malloc::hold();
        }
        let callbacks = NonNull::from(Box::leak(Box::new(callbacks)));
        // SAFETY: the conf is made here and used by this thread alone. `rd_kafka_new` takes it over only on success;
        // otherwise it is destroyed here. The callbacks' pointer outlives the client: it is freed in `drop` after
        // `rd_kafka_destroy_flags` returned, or here when there is no client.
        unsafe {
            match Self::make(kind, settings, callbacks) {
                Ok(rk) => {
                    let (credentials, answers) = (credentials(settings), AtomicUsize::new(0));
                    Ok(Arc::new(Self { rk, callbacks, credentials, answers }))
                }
                Err(reason) => {
                    drop(Box::from_raw(callbacks.as_ptr()));
                    Err(reason)
                }
            }
        }
    }

    unsafe fn make(
        kind: Kind,
        settings: &[(String, String)],
        callbacks: NonNull<Arc<dyn Callbacks>>,
    ) -> Result<NonNull<sys::rd_kafka_t>, String> {
        let mut buffer = [0 as c_char; 512];
        // SAFETY: see the caller.
        unsafe {
            let conf = sys::rd_kafka_conf_new();
            for (name, value) in settings {
                let (name, value) = (c_string(name), c_string(value));
                let result = sys::rd_kafka_conf_set(
                    conf,
                    name.as_ptr(),
                    value.as_ptr(),
                    buffer.as_mut_ptr(),
                    buffer.len(),
                );
                if result != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                    sys::rd_kafka_conf_destroy(conf);
                    return Err(refused_setting(&name.to_string_lossy(), &text(buffer.as_ptr())));
                }
            }
            sys::rd_kafka_conf_set_opaque(conf, callbacks.as_ptr().cast());
            super::pages::tidy_up(conf);
            sys::rd_kafka_conf_set_log_cb(conf, Some(on_log));
            sys::rd_kafka_conf_set_error_cb(conf, Some(on_error));
            sys::rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, Some(on_token));
            // Tokens are asked for on librdkafka's own background thread: a blocking call (metadata, offsets) made
            // before the first poll would otherwise wait for a token that nobody gives.
            sys::rd_kafka_conf_enable_sasl_queue(conf, 1);
            let native_kind = match kind {
                Kind::Consumer => {
                    sys::rd_kafka_conf_set_rebalance_cb(conf, Some(on_rebalance));
                    sys::rd_kafka_type_t::RD_KAFKA_CONSUMER
                }
                Kind::Producer => {
                    sys::rd_kafka_conf_set_dr_msg_cb(conf, Some(super::produce::on_delivery));
                    sys::rd_kafka_type_t::RD_KAFKA_PRODUCER
                }
            };
            let rk = sys::rd_kafka_new(native_kind, conf, buffer.as_mut_ptr(), buffer.len());
            let Some(rk) = NonNull::new(rk) else {
                sys::rd_kafka_conf_destroy(conf);
                return Err(text(buffer.as_ptr()));
            };
            let tokens =
                settings.iter().any(|(name, value)| name == "sasl.mechanism" && value == "OAUTHBEARER");
            if tokens
                && let Some((_, reason)) =
                    take_error(sys::rd_kafka_sasl_background_callbacks_enable(rk.as_ptr()))
            {
                sys::rd_kafka_destroy(rk.as_ptr());
                return Err(reason);
            }
            Ok(rk)
        }
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_t {
        self.rk.as_ptr()
    }

    /// Makes librdkafka's broker threads look what there is to fetch. A partition that is resumed does not wake its
    /// broker's thread, which may sleep for a second (`rd_kafka_max_block_ms`) when it fetches nothing else; of the
    /// public functions only this one wakes all of them. The credentials stay what they are.
    pub(crate) fn wake_brokers(&self) {
        let (user, password) = &self.credentials;
        // SAFETY: the client is alive; the strings are copied; an error object, if any, is taken.
        unsafe {
            let error = sys::rd_kafka_sasl_set_credentials(self.raw(), user.as_ptr(), password.as_ptr());
            drop(take_error(error));
        }
    }

    /// Serves callbacks of the main queue; used by producers and by clients without a group.
    pub(crate) fn poll(&self, timeout: Duration) -> usize {
        // SAFETY: the client is alive.
        let served = unsafe { sys::rd_kafka_poll(self.raw(), millis(timeout)) };
        usize::try_from(served).unwrap_or(0)
    }

    /// The error that ended this client for good.
    pub(crate) fn fatal(&self) -> Option<(Code, String)> {
        let mut buffer = [0 as c_char; 512];
        // SAFETY: the client is alive, the buffer is as long as said.
        let code = unsafe { sys::rd_kafka_fatal_error(self.raw(), buffer.as_mut_ptr(), buffer.len()) };
        // SAFETY: librdkafka ended the buffer with NUL.
        (code != OK).then(|| (code, unsafe { text(buffer.as_ptr()) }))
    }

    /// The cluster's id; none within the timeout.
    pub(crate) fn cluster_id(&self, timeout: Duration) -> Option<String> {
        // SAFETY: the returned string is ours and freed by librdkafka's own function after it was copied.
        unsafe {
            let id = sys::rd_kafka_clusterid(self.raw(), millis(timeout));
            if id.is_null() {
                return None;
            }
            let copy = text(id);
            sys::rd_kafka_mem_free(self.raw(), id.cast());
            Some(copy)
        }
    }

    /// What the group has committed, filled into the list.
    ///
    /// # Errors
    /// The code of what went wrong.
    pub(crate) fn committed(&self, list: &mut PartitionList, timeout: Duration) -> Result<(), Code> {
        // SAFETY: client and list are alive.
        let code = unsafe { sys::rd_kafka_committed(self.raw(), list.raw(), millis(timeout)) };
        if code == OK { Ok(()) } else { Err(code) }
    }

    /// Commits offsets with their metadata for the client's group, which nobody may be a member of, and waits for the answer.
    /// What became of each partition stands in the list.
    ///
    /// # Errors
    /// The code of what went wrong.
    pub(crate) fn commit_now(&self, list: &PartitionList) -> Result<(), Code> {
        // SAFETY: client and list are alive; 0 waits for the answer.
        let code = unsafe { sys::rd_kafka_commit(self.raw(), list.raw(), 0) };
        if code == OK { Ok(()) } else { Err(code) }
    }

    /// Fills the list with the offsets behind what was handed out of each partition last, markers of transactions
    /// included; a logical offset where there was nothing yet. Asks nobody.
    ///
    /// # Errors
    /// The code of what went wrong.
    pub(crate) fn positions(&self, list: &mut PartitionList) -> Result<(), Code> {
        // SAFETY: client and list are alive.
        let code = unsafe { sys::rd_kafka_position(self.raw(), list.raw()) };
        if code == OK { Ok(()) } else { Err(code) }
    }

    /// Where a partition ends by the last answer to a fetch of it, open transactions included; negative when that was an error, or when there
    /// was none. Asks nobody.
    pub(crate) fn fetched_end(&self, topic: &str, partition: i32) -> i64 {
        let (topic, mut low, mut high) = (c_string(topic), 0, -1);
        // SAFETY: the client is alive, and so are the name and both numbers through the call.
        let code = unsafe {
            sys::rd_kafka_get_watermark_offsets(self.raw(), topic.as_ptr(), partition, &mut low, &mut high)
        };
        if code == OK { high } else { -1 }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A consumer was closed before, within a deadline, or is beyond hope: closing it again here could block.
        // SAFETY: every queue, topic, message and list holds the client by reference count or borrow, so none is
        // left; the callbacks are freed after the last of librdkafka's threads has ended.
        unsafe {
            sys::rd_kafka_destroy_flags(self.raw(), sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
            drop(Box::from_raw(self.callbacks.as_ptr()));
        }
    }
}

fn credentials(settings: &[(String, String)]) -> (CString, CString) {
    let of = |name: &str| {
        let found = settings.iter().rev().find(|(setting, _)| setting == name);
        c_string(found.map_or("", |(_, value)| value.as_str()))
    };
    (of("sasl.username"), of("sasl.password"))
}

/// Names the setting, never its value: it may be a secret (I10). Librdkafka's text quotes values.
fn refused_setting(name: &str, reason: &str) -> String {
    if reason.starts_with("No such configuration property") {
        format!("librdkafka knows no setting \"{name}\"")
    } else if reason.contains("not supported")
        || reason.contains("not available")
        || reason.contains("not built")
    {
        format!("librdkafka was built without what the setting \"{name}\" asks for")
    } else {
        format!("librdkafka refuses the value of the setting \"{name}\"")
    }
}

/// A queue of a client.
pub(crate) struct Queue {
    raw: NonNull<sys::rd_kafka_queue_t>,
    /// Declared after `raw`, and the queue is destroyed in `drop`, so before the client can go.
    client: Arc<Client>,
}

// SAFETY: librdkafka's queues are thread-safe.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// A consumer's queue: records, errors, rebalances and answers to commits.
    pub(crate) fn of_consumer(client: &Arc<Client>) -> Option<Self> {
        // SAFETY: the client is alive; the queue counts as a reference that `drop` gives back.
        let raw = unsafe {
            // The main queue's events (errors, logs) come by the consumer's queue too: one queue to poll.
            sys::rd_kafka_poll_set_consumer(client.raw());
            sys::rd_kafka_queue_get_consumer(client.raw())
        };
        NonNull::new(raw).map(|raw| Self { raw, client: Arc::clone(client) })
    }

    /// A new queue, for answers to admin requests.
    pub(crate) fn new(client: &Arc<Client>) -> Option<Self> {
        // SAFETY: the client is alive.
        let raw = unsafe { sys::rd_kafka_queue_new(client.raw()) };
        NonNull::new(raw).map(|raw| Self { raw, client: Arc::clone(client) })
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_queue_t {
        self.raw.as_ptr()
    }

    /// The client the queue belongs to.
    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Ends a poll that waits on this queue, from any thread.
    pub(crate) fn wake(&self) {
        // SAFETY: the queue is alive.
        unsafe { sys::rd_kafka_queue_yield(self.raw()) }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the reference taken when it was made is given back once.
        unsafe { sys::rd_kafka_queue_destroy(self.raw()) }
    }
}

/// The callbacks behind an opaque pointer.
///
/// # Safety
/// `opaque` is the pointer given to `rd_kafka_conf_set_opaque` by [`Client::new`], and the client is alive.
pub(super) unsafe fn callbacks<'a>(opaque: *mut c_void) -> &'a Arc<dyn Callbacks> {
    // SAFETY: by this function's contract.
    unsafe { &*opaque.cast::<Arc<dyn Callbacks>>() }
}

unsafe extern "C" fn on_log(
    rk: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: librdkafka calls with a live client (perhaps still being made, with its opaque already set) and strings.
    unsafe {
        let opaque = sys::rd_kafka_opaque(rk);
        if !opaque.is_null() {
            callbacks(opaque).log(level, &text(facility), &text(line));
        }
    }
}

unsafe extern "C" fn on_error(
    _: *mut sys::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: librdkafka calls with a live client's opaque and a string.
    unsafe {
        let reason = text(reason);
        callbacks(opaque).error(crate::errors::refined(code_of(code), &reason), &reason);
    }
}

unsafe extern "C" fn on_token(rk: *mut sys::rd_kafka_t, _: *const c_char, opaque: *mut c_void) {
    // SAFETY: librdkafka calls with a live client and its opaque; strings and buffer live through the calls.
    unsafe {
        let mut buffer = [0 as c_char; 512];
        match callbacks(opaque).token() {
            Ok(token) => {
                let (value, principal) = (c_string(&token.value), c_string(&token.principal));
                let code = sys::rd_kafka_oauthbearer_set_token(
                    rk,
                    value.as_ptr(),
                    token.expires_ms,
                    principal.as_ptr(),
                    std::ptr::null_mut(),
                    0,
                    buffer.as_mut_ptr(),
                    buffer.len(),
                );
                if code != OK {
                    sys::rd_kafka_oauthbearer_set_token_failure(rk, buffer.as_ptr());
                }
            }
            Err(reason) => {
                sys::rd_kafka_oauthbearer_set_token_failure(rk, c_string(&reason).as_ptr());
            }
        }
    }
}

/// Ends the poll that serves a callback, so that the loop acts on it now: librdkafka would go on waiting for a record.
///
/// # Safety
/// `rk` is a live consumer.
unsafe fn end_poll(rk: *mut sys::rd_kafka_t) {
    // SAFETY: the reference to the queue is given back at once.
    unsafe {
        let queue = sys::rd_kafka_queue_get_consumer(rk);
        if !queue.is_null() {
            sys::rd_kafka_queue_yield(queue);
            sys::rd_kafka_queue_destroy(queue);
        }
    }
}

unsafe extern "C" fn on_rebalance(
    rk: *mut sys::rd_kafka_t,
    code: Code,
    partitions: *mut sys::rd_kafka_topic_partition_list_t,
    opaque: *mut c_void,
) {
    // SAFETY: librdkafka calls with a live client's opaque and a list that lives through the call.
    unsafe {
        let entries = super::list::entries(partitions);
        let change = match code {
            Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Change::Assign(entries),
            Code::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => Change::Revoke(entries),
            other => Change::Failed(other),
        };
        callbacks(opaque).rebalance(change);
        end_poll(rk);
    }
}

pub(super) unsafe extern "C" fn on_commit(
    rk: *mut sys::rd_kafka_t,
    code: Code,
    partitions: *mut sys::rd_kafka_topic_partition_list_t,
    opaque: *mut c_void,
) {
    // SAFETY: the opaque given to `rd_kafka_commit_queue` is the callbacks' pointer of a live client; the list is null
    // or lives through the call.
    unsafe {
        callbacks(opaque).committed(super::list::entries(partitions), code);
        end_poll(rk);
    }
}

impl Client {
    pub(super) fn opaque(&self) -> *mut c_void {
        self.callbacks.as_ptr().cast()
    }
}

impl Client {
    /// How many partitions a topic has, asked of a broker.
    ///
    /// # Errors
    /// The code of what went wrong, with the topic or with asking.
    pub(crate) fn partition_count(&self, topic: &str, timeout: Duration) -> Result<i32, Code> {
        let topics = self.topics(Some(topic), timeout)?;
        let found = topics.into_iter().find(|found| found.name == topic);
        let found = found.ok_or(Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)?;
        if found.code == OK { Ok(found.partitions) } else { Err(found.code) }
    }

    /// The ids of the brokers that are there.
    ///
    /// # Errors
    /// The code of what went wrong with asking; there is at least one otherwise.
    pub(crate) fn broker_ids(&self, timeout: Duration) -> Result<Vec<i32>, Code> {
        let mut metadata = std::ptr::null();
        // SAFETY: the client is alive; the metadata is ours until it is destroyed, and has as many brokers as it says.
        unsafe {
            let code =
                sys::rd_kafka_metadata(self.raw(), 0, std::ptr::null_mut(), &mut metadata, millis(timeout));
            if code != OK {
                return Err(code);
            }
            let brokers = std::slice::from_raw_parts(
                (*metadata).brokers,
                usize::try_from((*metadata).broker_cnt).unwrap_or(0),
            );
            let found: Vec<_> = brokers.iter().map(|broker| broker.id).collect();
            sys::rd_kafka_metadata_destroy(metadata);
            if found.is_empty() { Err(Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) } else { Ok(found) }
        }
    }

    /// Asks what any broker knows, of one after the other, since one that is there need not answer; first of the one that answered last.
    /// Each has an equal part of the time.
    ///
    /// # Errors
    /// Those of the last one that was asked.
    pub(super) fn ask_any<T>(
        &self,
        timeout: Duration,
        ask: impl Fn(i32, Duration) -> Result<T, (Code, String)>,
    ) -> Result<T, (Code, String)> {
        let mut brokers = self.broker_ids(timeout).map_err(|code| (code, String::new()))?;
        let count = brokers.len();
        brokers.rotate_left(self.answers.load(Ordering::Relaxed) % count);
        brokers.truncate(ASKED_MOST);
        let part = timeout / u32::try_from(brokers.len()).unwrap_or(1);
        let mut answer = Err((Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, String::new()));
        for broker in brokers {
            answer = ask(broker, part);
            if !matches!(
                answer,
                Err((Code::RD_KAFKA_RESP_ERR__TIMED_OUT | Code::RD_KAFKA_RESP_ERR__TRANSPORT, _))
            ) {
                break;
            }
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    /// One topic, or all.
    ///
    /// # Errors
    /// The code of what went wrong with asking.
    pub(crate) fn topics(&self, topic: Option<&str>, timeout: Duration) -> Result<Vec<TopicFound>, Code> {
        let mut metadata = std::ptr::null();
        // SAFETY: the client is alive; a topic handle made here is destroyed here; the metadata is ours until it is
        // destroyed after it was copied, and its arrays are as long as it says.
        unsafe {
            let handle = match topic {
                Some(topic) => {
                    sys::rd_kafka_topic_new(self.raw(), c_string(topic).as_ptr(), std::ptr::null_mut())
                }
                None => std::ptr::null_mut(),
            };
            if topic.is_some() && handle.is_null() {
                return Err(Code::RD_KAFKA_RESP_ERR__INVALID_ARG);
            }
            let all = c_int::from(topic.is_none());
            let code = sys::rd_kafka_metadata(self.raw(), all, handle, &mut metadata, millis(timeout));
            if !handle.is_null() {
                sys::rd_kafka_topic_destroy(handle);
            }
            if code != OK {
                return Err(code);
            }
            let count = usize::try_from((*metadata).topic_cnt).unwrap_or(0);
            let found = (0..count)
                .map(|index| {
                    let topic = (*metadata).topics.add(index);
                    let partitions = usize::try_from((*topic).partition_cnt).unwrap_or(0);
                    let copies = (0..partitions).map(|index| (*(*topic).partitions.add(index)).replica_cnt);
                    TopicFound {
                        name: text((*topic).topic),
                        partitions: (*topic).partition_cnt,
                        replicas: copies.min().unwrap_or(0),
                        code: code_of(std::ptr::addr_of!((*topic).err).cast::<i32>().read()),
                    }
                })
                .collect();
            sys::rd_kafka_metadata_destroy(metadata);
            Ok(found)
        }
    }
}

/// A topic as the metadata has it.
#[derive(Clone, Debug)]
pub(crate) struct TopicFound {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    /// The fewest copies that one of its partitions has.
    pub(crate) replicas: i32,
    pub(crate) code: Code,
}
