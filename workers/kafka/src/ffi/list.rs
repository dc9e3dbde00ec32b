//! Lists of partitions.

use std::ptr::NonNull;

use rdkafka::bindings as sys;

use super::{Code, bytes, c_string, code_of, text};

/// One partition of a list, copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// Negative when there is none (librdkafka's -1001 and others).
    pub(crate) offset: i64,
    pub(crate) metadata: Option<Vec<u8>>,
    pub(crate) code: Code,
}

/// A list of partitions that C understands.
pub(crate) struct PartitionList {
    raw: NonNull<sys::rd_kafka_topic_partition_list_t>,
}

impl PartitionList {
    /// A list of these partitions without offsets.
    pub(crate) fn of<'a>(partitions: impl IntoIterator<Item = (&'a str, i32)>) -> Option<Self> {
        let mut list = Self::empty()?;
        for (topic, partition) in partitions {
            list.add(topic, partition, i64::from(sys::RD_KAFKA_OFFSET_INVALID), None);
        }
        Some(list)
    }

    /// An empty list; none when there is no memory.
    pub(crate) fn empty() -> Option<Self> {
        // SAFETY: makes a list that is ours.
        NonNull::new(unsafe { sys::rd_kafka_topic_partition_list_new(16) }).map(|raw| Self { raw })
    }

    /// Adds a partition.
    pub(crate) fn add(&mut self, topic: &str, partition: i32, offset: i64, metadata: Option<&str>) {
        let topic = c_string(topic);
        // SAFETY: the list is ours. The element stays where it is until the next `add`. librdkafka frees `metadata`
        // with its own allocator, which is libc's, so it is allocated by libc's `malloc` through `rd_kafka_mem_malloc`.
        unsafe {
            let element = sys::rd_kafka_topic_partition_list_add(self.raw(), topic.as_ptr(), partition);
            (*element).offset = offset;
            if let Some(metadata) = metadata.filter(|text| !text.is_empty()) {
                let copy = sys::rd_kafka_mem_malloc(std::ptr::null_mut(), metadata.len());
                if !copy.is_null() {
                    std::ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast(), metadata.len());
                    (*element).metadata = copy;
                    (*element).metadata_size = metadata.len();
                }
            }
        }
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_topic_partition_list_t {
        self.raw.as_ptr()
    }

    /// Takes a list that C made.
    ///
    /// # Safety
    /// Nobody else owns the list.
    pub(super) unsafe fn take(raw: *mut sys::rd_kafka_topic_partition_list_t) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { raw })
    }

    /// The partitions, copied out.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        // SAFETY: the list is alive.
        unsafe { entries(self.raw()) }
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: the list is ours and destroyed once.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.raw()) }
    }
}

/// Copies a list out; empty for null.
///
/// # Safety
/// `list` is null or alive.
pub(super) unsafe fn entries(list: *const sys::rd_kafka_topic_partition_list_t) -> Vec<Entry> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: the list has `cnt` elements.
    unsafe {
        let count = usize::try_from((*list).cnt).unwrap_or(0);
        (0..count).map(|index| entry((*list).elems.add(index))).collect()
    }
}

/// Copies a partition out.
///
/// # Safety
/// `element` is alive.
pub(super) unsafe fn entry(element: *const sys::rd_kafka_topic_partition_t) -> Entry {
    // SAFETY: by this function's contract; topics are C strings, metadata is null or as long as said. The code is read as a number (see
    // `code_of`).
    unsafe {
        Entry {
            topic: text((*element).topic),
            partition: (*element).partition,
            offset: (*element).offset,
            metadata: bytes((*element).metadata, (*element).metadata_size).map(<[u8]>::to_vec),
            code: code_of(std::ptr::addr_of!((*element).err).cast::<i32>().read()),
        }
    }
}
