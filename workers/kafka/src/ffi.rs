//! The one place with `unsafe`: what rdkafka's safe interface cannot do, or does too slowly.
//!
//! The safe interface hands records out one by one, panics on a header name that is not UTF-8, never reports an
//! asynchronous commit, and has no topic ids. So the consumer and the producer drive librdkafka through its bindings,
//! wrapped here into types that are safe to use. Everything handed out borrows from, or counts a reference on, the
//! [`Client`]; librdkafka's handles are thread-safe (`INTRODUCTION.md`, "Threads and callbacks").
//!
//! The process's allocator for large blocks ([`Allocator`]) lives here as well, for the same reason.
#![expect(unsafe_code, reason = "the bindings are C; every block states why it is sound")]

mod admin;
mod client;
mod consume;
mod describe;
mod list;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod malloc;
mod offsets;
mod pages;
mod produce;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod steady;

pub(crate) use admin::NewTopic;
pub(crate) use client::{Callbacks, Client, Kind, Queue, Token, TopicFound};
pub(crate) use consume::{Change, MessageView, Messages};
pub(crate) use describe::{BrokerFound, GroupFound, GroupKind, GroupState, MemberFound, Operation, Rule};
pub(crate) use list::{Entry, PartitionList};
pub use pages::{ALLOCATOR, Allocator, keep_freed};
pub(crate) use pages::{bound_freed, purge_at_once};
#[cfg(test)]
pub(crate) use produce::murmur2_partition;
pub(crate) use produce::{Delivery, Outgoing, Topic};

use rdkafka::bindings as sys;

/// librdkafka's error codes, its own (negative) and the protocol's.
pub(crate) use sys::rd_kafka_resp_err_t as Code;

/// No error.
pub(crate) const OK: Code = Code::RD_KAFKA_RESP_ERR_NO_ERROR;

/// Reads a code from memory that C wrote. A broker newer than librdkafka may send a number that the enum does not
/// know, and an enum with an unknown value is undefined behaviour; so it is read as a number first.
fn code_of(number: i32) -> Code {
    Code::try_from(number).unwrap_or(Code::RD_KAFKA_RESP_ERR_UNKNOWN)
}

/// The code's text, as librdkafka has it.
pub(crate) fn describe(code: Code) -> String {
    // SAFETY: the function returns a string with static lifetime, or one in a thread-local buffer that lives until the
    // next call on this thread; it is copied at once.
    unsafe { text(sys::rd_kafka_err2str(code)) }
}

/// Every code librdkafka knows, with its name.
#[cfg(test)]
pub(crate) fn all_codes() -> Vec<(Code, String)> {
    let mut first = std::ptr::null();
    let mut count = 0;
    let mut codes = Vec::new();
    // SAFETY: the function stores a pointer to a static array and its length.
    unsafe {
        sys::rd_kafka_get_err_descs(&mut first, &mut count);
        for index in 0..count {
            let entry = first.add(index);
            let number = std::ptr::addr_of!((*entry).code).cast::<i32>().read();
            // The array is indexed by code and has holes: a hole has no name.
            if !(*entry).name.is_null() {
                codes.push((code_of(number), text((*entry).name)));
            }
        }
    }
    codes
}

/// Copies a C string; empty for null.
///
/// # Safety
/// `pointer` is null or points to a string that ends with NUL.
unsafe fn text(pointer: *const std::ffi::c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: by this function's contract.
    unsafe { std::ffi::CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// Borrows C memory as bytes; none for null, empty for a length of zero.
///
/// # Safety
/// `pointer` is null or points to `length` readable bytes that live for `'a`.
unsafe fn bytes<'a>(pointer: *const std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    if pointer.is_null() {
        return None;
    }
    if length == 0 {
        return Some(&[]);
    }
    // SAFETY: by this function's contract.
    Some(unsafe { std::slice::from_raw_parts(pointer.cast(), length) })
}

/// Takes an error object: its code and text, none when there is no error.
///
/// # Safety
/// `error` is null or an error object that nobody else owns.
unsafe fn take_error(error: *mut sys::rd_kafka_error_t) -> Option<(Code, String)> {
    if error.is_null() {
        return None;
    }
    // SAFETY: the object is valid until destroyed, which happens here alone.
    unsafe {
        let found = (sys::rd_kafka_error_code(error), text(sys::rd_kafka_error_string(error)));
        sys::rd_kafka_error_destroy(error);
        Some(found)
    }
}

/// Librdkafka's milliseconds.
fn millis(duration: std::time::Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// A name for C; a NUL inside ends it there, which no topic or setting has.
fn c_string(name: &str) -> std::ffi::CString {
    let bytes = name.bytes().take_while(|byte| *byte != 0).collect::<Vec<_>>();
    std::ffi::CString::new(bytes).unwrap_or_default()
}
