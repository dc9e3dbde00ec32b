//! What only a producer does: take records, report deliveries, give unsent ones back.

use std::ffi::{c_char, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

use rdkafka::bindings as sys;

use super::client::callbacks;
use super::pages::give_back;
use super::{Client, Code, MessageView, OK, c_string, take_error};
use longshore_core::RecordRef;

/// A record on its way out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    /// None leaves the choice to the partitioner.
    pub(crate) partition: Option<i32>,
    /// None is a null key.
    pub(crate) key: Option<&'a [u8]>,
    /// None is a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    /// Milliseconds since 1970; none is now.
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) headers: &'a [(&'a [u8], Option<&'a [u8]>)],
    /// Whose value it is, where that is a record of ours: librdkafka reads it where it is, and keeps the record until it has an answer.
    pub(crate) lender: Option<&'a RecordRef>,
}

impl Outgoing<'_> {
    /// The record that the value is of, to the byte.
    fn lent(&self) -> Option<&RecordRef> {
        let value = self.value.filter(|value| !value.is_empty())?;
        self.lender.filter(|lender| lender.value().is_some_and(|own| std::ptr::eq(own, value)))
    }
}

/// A record whose value was lent to librdkafka, behind the message's opaque pointer.
struct Lent {
    tag: u64,
    /// Holds the value where it is.
    _record: RecordRef,
}

/// The opaque pointer of a message is the number that it was sent with, or, with this bit, the place of a [`Lent`]: a number is a place
/// among batches, far below, and no address of a process has the bit.
const LENT: u64 = 1 << 63;

/// The answer to one record.
pub(crate) struct Delivery<'a> {
    /// The record, with its bytes and what the broker said.
    pub(crate) message: MessageView<'a>,
    /// The number it was sent with.
    pub(crate) tag: u64,
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) reason: String,
}

/// A topic to produce to.
pub(crate) struct Topic {
    raw: NonNull<sys::rd_kafka_topic_t>,
    client: Arc<Client>,
}

// SAFETY: librdkafka's topics are thread-safe.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

impl Topic {
    /// The topic by its name, with the client's compression or, when `plain`, without; none when librdkafka refuses the name.
    pub(crate) fn new(client: &Arc<Client>, name: &str, plain: bool) -> Option<Self> {
        let name = c_string(name);
        // SAFETY: the client is alive; a null configuration means the client's own. Another one is a copy of that, which librdkafka takes
        // over when it makes the topic.
        let raw = unsafe {
            let conf = if plain { without_compression(client)? } else { std::ptr::null_mut() };
            let raw = sys::rd_kafka_topic_new(client.raw(), name.as_ptr(), conf);
            if raw.is_null() && !conf.is_null() {
                sys::rd_kafka_topic_conf_destroy(conf);
            }
            raw
        };
        NonNull::new(raw).map(|raw| Self { raw, client: Arc::clone(client) })
    }

    /// Gives a record to librdkafka, which copies it, a lent value excepted, and reports by [`super::Callbacks::delivered`] with `tag`.
    /// Never waits.
    ///
    /// # Errors
    /// Why the record was not taken; then no report follows.
    pub(crate) fn send(&self, record: &Outgoing<'_>, tag: u64) -> Result<(), Refused> {
        let none =
            || Refused { code: Code::RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, reason: "no memory".to_owned() };
        let headers =
            if record.headers.is_empty() { None } else { Some(headers(record.headers).ok_or_else(none)?) };
        let mut values = Values::default();
        values.push(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT, |u| u.rkt = self.raw.as_ptr());
        let lent = record.lent().map(|lender| Box::into_raw(Box::new(Lent { tag, _record: lender.clone() })));
        let flags = if lent.is_some() { 0 } else { sys::RD_KAFKA_MSG_F_COPY };
        let opaque = lent.map_or(tag, |lent| lent.expose_provenance() as u64 | LENT);
        values.push(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS, |u| u.i = flags);
        values.push(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION, |u| {
            u.i32_ = record.partition.unwrap_or(-1)
        });
        values.push(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE, |u| u.mem = memory(record.value));
        values.push(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY, |u| u.mem = memory(record.key));
        values.push(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_OPAQUE, |u| u.ptr = opaque as usize as *mut c_void);
        if let Some(timestamp) = record.timestamp_ms {
            values.push(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP, |u| u.i64_ = timestamp);
        }
        if let Some(headers) = headers {
            values.push(sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS, |u| u.headers = headers.as_ptr());
        }
        // SAFETY: every value matches its type; memory is copied before the call returns (`MSG_F_COPY`), or lives in a record that is
        // held until librdkafka has done with the message; the headers belong to librdkafka on success and stay ours on failure.
        let error = unsafe {
            take_error(sys::rd_kafka_produceva(self.client.raw(), values.list.as_ptr(), values.count))
        };
        let Some((code, reason)) = error else { return Ok(()) };
        if let Some(lent) = lent {
            // SAFETY: made above, and librdkafka did not take the message that had it.
            drop(unsafe { Box::from_raw(lent) });
        }
        if let Some(headers) = headers {
            // SAFETY: still ours, see above.
            unsafe { sys::rd_kafka_headers_destroy(headers.as_ptr()) }
        }
        Err(Refused { code, reason })
    }
}

/// The client's settings of topics, but for the compression; none when there is no memory.
///
/// # Safety
/// None beyond that the client is alive, which its reference says. The copy is the caller's.
unsafe fn without_compression(client: &Client) -> Option<*mut sys::rd_kafka_topic_conf_t> {
    let mut buffer = [0 as c_char; 512];
    // SAFETY: the client is alive; the copy is ours; name and value are C strings, the buffer is as long as said.
    unsafe {
        let conf = NonNull::new(sys::rd_kafka_default_topic_conf_dup(client.raw()))?.as_ptr();
        // It is refused for nothing: name and value are librdkafka's own.
        let _set = sys::rd_kafka_topic_conf_set(
            conf,
            c"compression.codec".as_ptr(),
            c"none".as_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
        );
        Some(conf)
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the reference taken in `new` is given back once.
        unsafe { sys::rd_kafka_topic_destroy(self.raw.as_ptr()) }
    }
}

/// The arguments of one `rd_kafka_produceva`, on the stack.
struct Values {
    list: [sys::rd_kafka_vu_t; 8],
    count: usize,
}

impl Default for Values {
    fn default() -> Self {
        let end = sys::rd_kafka_vu_t {
            vtype: sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
            u: sys::rd_kafka_vu_s__bindgen_ty_1 { _pad: [0 as c_char; 64] },
        };
        Self { list: [end; 8], count: 0 }
    }
}

impl Values {
    fn push(&mut self, kind: sys::rd_kafka_vtype_t, set: impl FnOnce(&mut sys::rd_kafka_vu_s__bindgen_ty_1)) {
        let value = &mut self.list[self.count];
        value.vtype = kind;
        set(&mut value.u);
        self.count += 1;
    }
}

fn memory(bytes: Option<&[u8]>) -> sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
    match bytes {
        // An empty slice has a pointer that is not null, so an empty key stays a key.
        Some(bytes) => sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
            ptr: bytes.as_ptr().cast_mut().cast(),
            size: bytes.len(),
        },
        None => sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: std::ptr::null_mut(), size: 0 },
    }
}

fn headers(list: &[(&[u8], Option<&[u8]>)]) -> Option<NonNull<sys::rd_kafka_headers_t>> {
    // SAFETY: the headers are ours; names and values are copied, with their lengths given.
    unsafe {
        let headers = NonNull::new(sys::rd_kafka_headers_new(list.len()))?;
        for (name, value) in list {
            let (pointer, length) =
                value.map_or((std::ptr::null(), 0), |value| (value.as_ptr(), value.len()));
            let code = sys::rd_kafka_header_add(
                headers.as_ptr(),
                name.as_ptr().cast(),
                isize::try_from(name.len()).unwrap_or(0),
                pointer.cast(),
                isize::try_from(length).unwrap_or(0),
            );
            if code != OK {
                sys::rd_kafka_headers_destroy(headers.as_ptr());
                return None;
            }
        }
        Some(headers)
    }
}

pub(super) unsafe extern "C" fn on_delivery(
    _: *mut sys::rd_kafka_t,
    message: *const sys::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: librdkafka calls with a live client's opaque and a message that lives through the call.
    unsafe {
        let mark = (*message)._private as usize as u64;
        let view = MessageView::of(&*message);
        if mark & LENT != 0 {
            // Made in `send`, and this is the message's one report. Librdkafka looks at the value no more: a copy it would free now.
            let lent: *mut Lent = std::ptr::with_exposed_provenance_mut((mark & !LENT) as usize);
            let lent = Box::from_raw(lent);
            return callbacks(opaque).delivered(Delivery { message: view, tag: lent.tag });
        }
        callbacks(opaque).delivered(Delivery { message: view, tag: mark });
        // Librdkafka's own copy (`MSG_F_COPY`), which it frees unread right after this callback.
        give_back((*message).payload, (*message).len);
    }
}

impl Client {
    /// Gives every record that is queued or in flight back, as failed deliveries.
    pub(crate) fn purge(&self) {
        // SAFETY: the client is alive.
        unsafe {
            sys::rd_kafka_purge(self.raw(), sys::RD_KAFKA_PURGE_F_QUEUE | sys::RD_KAFKA_PURGE_F_INFLIGHT);
        }
    }

    /// Records and requests that wait for an answer, and callbacks that wait for a poll.
    pub(crate) fn waiting(&self) -> usize {
        // SAFETY: the client is alive.
        usize::try_from(unsafe { sys::rd_kafka_outq_len(self.raw()) }).unwrap_or(0)
    }

    /// Sends what lingers, waiting at most so long. Serves callbacks.
    pub(crate) fn flush(&self, timeout: std::time::Duration) -> bool {
        // SAFETY: the client is alive.
        unsafe { sys::rd_kafka_flush(self.raw(), super::millis(timeout)) == OK }
    }
}

/// Where librdkafka puts a key.
#[cfg(test)]
pub(crate) fn murmur2_partition(key: &[u8], partitions: i32) -> i32 {
    // SAFETY: the function only reads the key; topic and opaques are unused by it (`rdkafka_msg.c`).
    unsafe {
        sys::rd_kafka_msg_partitioner_murmur2(
            std::ptr::null(),
            key.as_ptr().cast(),
            key.len(),
            partitions,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    }
}
