//! The process's memory, and how it goes back to the operating system (I5).
//!
//! An allocator keeps what is freed for the next allocation of the same thread. Of a block above 128 KiB that one thread has
//! allocated and another frees, mimalloc knows nothing before the first thread has been through 10,000 slow allocations; of
//! blocks above 16 MiB it gives the pages back with `MADV_FREE`, which the resident memory counts until the machine runs short.
//! Payloads wander: librdkafka's thread, the poll thread, a CPU thread and a writer's allocate in turn what another one frees.
//! So the process held several times what was at work. Four things mend that:
//!
//! - Rust's large blocks are mapped apart ([`LargeApart`]), and so are C's ([`super::malloc`]): unmapped or taken again by whichever thread.
//! - The pages of a large payload of librdkafka's go back before librdkafka frees it ([`give_back`]).
//! - The thread that reads answers looks after what others have freed with each large one ([`tidy_up`]).
//! - While records are so large that few of them fit the budget, mimalloc keeps nothing that is free ([`purge_at_once`]).

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::{Mutex, OnceLock, PoisonError};

use rdkafka::bindings as sys;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::{Code, OK};

/// What is as large as this is large: the payloads of a batch, and buffers. Nothing that is made for each small record is.
pub(super) const APART_BYTES: usize = 128 * 1024;
/// The least step between the sizes of mapped blocks.
const STEP_BYTES: usize = 16 * 1024;
/// What every page is aligned to, at least.
const PAGE_ALIGNMENT: usize = 4096;
/// Freed blocks that are kept for the next allocation of the same size, by whichever thread: fresh pages cost more than copying a
/// payload does.
const KEPT_BLOCKS: usize = 128;

/// So many bytes are kept whatever is in use: a few batches' payloads.
const KEPT_BYTES: usize = 4 * 1024 * 1024;
/// The largest block of C's that is kept: an answer to a fetch is no larger, one record's own excepted.
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
const KEPT_ANSWER_BYTES: usize = 18 * 1024 * 1024;

static KEPT: Mutex<Kept> = Mutex::new(Kept::EMPTY);

/// Keeps freed blocks while they and those in use are no more than so many bytes together: what a worker may hold of payloads anyway (I5). Records that
/// settle together free their payloads together, by tens of MiB, and the next batches take the pages.
pub fn keep_freed(bytes: usize) {
    kept(|kept| kept.share_bytes = bytes);
}

/// Keeps no more freed blocks than this, whatever fits the share: what the budget has free, as records that are no large blocks count there alone.
pub(crate) fn bound_freed(bytes: u64) {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let_go(kept(|kept| kept.bound(bytes)));
}

/// The process's allocator; also librdkafka's, by functions in place of C's `malloc`: librdkafka allocates per record, on one
/// thread what another frees.
pub type Allocator = LargeApart<mimalloc::MiMalloc>;

/// See [`Allocator`].
pub const ALLOCATOR: Allocator = LargeApart(mimalloc::MiMalloc);

/// An allocator that maps large blocks apart and unmaps them when they are freed, whichever thread does it; everything else is
/// left to the allocator inside. A large block that grows is moved by its pages, without a copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct LargeApart<A>(pub A);

/// The layout alone decides, so that a block goes back to where it came from.
fn is_apart(layout: Layout) -> bool {
    layout.size() >= APART_BYTES && layout.align() <= PAGE_ALIGNMENT
}

/// The size that is mapped for a block, at most an eighth more than asked for; so few sizes that kept blocks find use.
fn mapped_size(size: usize) -> usize {
    size.next_multiple_of((size.next_power_of_two() / 16).max(STEP_BYTES))
}

// SAFETY: small blocks are the inner allocator's, by its own contract. A large one is a private mapping of its own, at least as
// long as asked for and aligned to pages. Its size follows from the layout's, so that `dealloc` and `realloc` know it; nothing
// but them ends it, and a block is with its user or in `KEPT`, never both.
unsafe impl<A: GlobalAlloc> GlobalAlloc for LargeApart<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_apart(layout) {
            let size = mapped_size(layout.size());
            if let Some(pointer) = kept(|kept| kept.take(size)) {
                return pointer.as_ptr();
            }
            return map(size);
        }
        // SAFETY: the caller's promises are those of the inner allocator.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_apart(layout) {
            return map(mapped_size(layout.size()));
        }
        // SAFETY: as above.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if !is_apart(layout) {
            // SAFETY: as above.
            return unsafe { self.0.dealloc(pointer, layout) };
        }
        let Some(pointer) = NonNull::new(pointer) else { return };
        let block = Block { pointer, size: mapped_size(layout.size()) };
        let_go(kept(|kept| kept.put(block, KEPT_BYTES)));
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size fits a layout of this alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_apart(layout), is_apart(new)) {
            // SAFETY: as above.
            (false, false) => unsafe { self.0.realloc(pointer, layout, size) },
            (true, true) if mapped_size(layout.size()) == mapped_size(size) => pointer,
            // SAFETY: the block was mapped with the old size; on failure it stays as it is.
            #[cfg(target_os = "linux")]
            (true, true) => unsafe { remap(pointer, mapped_size(layout.size()), mapped_size(size)) },
            // SAFETY: both blocks are at least as long as what is copied, and the new one is fresh.
            _ => unsafe {
                let moved = self.alloc(new);
                if !moved.is_null() {
                    std::ptr::copy_nonoverlapping(pointer, moved, layout.size().min(size));
                    self.dealloc(pointer, layout);
                }
                moved
            },
        }
    }
}

/// A mapping that nobody uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) pointer: NonNull<u8>,
    pub(super) size: usize,
}

/// A block of at least so many bytes, for a user who keeps its size in mind; none when there is no memory.
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub(super) fn lend(size: usize) -> Option<Block> {
    let size = mapped_size(size);
    if let Some(block) = kept(|kept| kept.take_about(size)) {
        return Some(block);
    }
    NonNull::new(map(size)).map(|pointer| Block { pointer, size })
}

/// Takes back a block that was lent.
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub(super) fn end(block: Block) {
    let_go(kept(|kept| kept.put(block, KEPT_ANSWER_BYTES)));
}

// SAFETY: memory belongs to no thread.
unsafe impl Send for Block {}

/// Freed blocks, the oldest first.
#[derive(Debug)]
struct Kept {
    blocks: [Option<Block>; KEPT_BLOCKS],
    count: usize,
    bytes: usize,
    /// What users have.
    used_bytes: usize,
    /// See [`keep_freed`].
    share_bytes: usize,
    /// See [`bound_freed`].
    most_bytes: usize,
}

/// The lock is never held while memory is allocated or given back.
fn kept<R>(work: impl FnOnce(&mut Kept) -> R) -> R {
    work(&mut KEPT.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Kept {
    const EMPTY: Self = Self {
        blocks: [None; KEPT_BLOCKS],
        count: 0,
        bytes: 0,
        used_bytes: 0,
        share_bytes: 0,
        most_bytes: usize::MAX,
    };

    /// The block of this very size that was freed last: its pages are the warmest.
    fn take(&mut self, size: usize) -> Option<NonNull<u8>> {
        self.take_if(|block| block.size == size).map(|block| block.pointer)
    }

    /// The block of this size, or up to a quarter more, that was freed last.
    #[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
    fn take_about(&mut self, size: usize) -> Option<Block> {
        self.take_if(|block| block.size >= size && block.size - size <= size / 4)
    }

    fn take_if(&mut self, fits: impl Fn(Block) -> bool) -> Option<Block> {
        let at = self.blocks[..self.count].iter().rposition(|block| block.is_some_and(&fits))?;
        let block = self.remove(at)?;
        self.used_bytes += block.size;
        Some(block)
    }

    /// Keeps a block that its user gives up, of so many bytes at most; returns one that is not to be kept, if any.
    fn put(&mut self, block: Block, most_bytes: usize) -> Option<Block> {
        self.used_bytes -= block.size;
        if block.size > most_bytes {
            return Some(block);
        }
        let oldest = if self.count == KEPT_BLOCKS { self.remove(0) } else { None };
        self.blocks[self.count] = Some(block);
        self.count += 1;
        self.bytes += block.size;
        oldest.or_else(|| self.surplus())
    }

    /// The oldest block while there are too many bytes.
    fn surplus(&mut self) -> Option<Block> {
        let room = self.share_bytes.saturating_sub(self.used_bytes).min(self.most_bytes).max(KEPT_BYTES);
        if self.bytes > room { self.remove(0) } else { None }
    }

    /// Bounds what is kept; returns a block that is no longer to be kept, if any.
    fn bound(&mut self, bytes: usize) -> Option<Block> {
        self.most_bytes = bytes;
        self.surplus()
    }

    /// Counts a fresh block of a user's; returns one that is no longer to be kept, if any.
    fn fresh(&mut self, size: usize) -> Option<Block> {
        self.used_bytes += size;
        self.surplus()
    }

    fn remove(&mut self, at: usize) -> Option<Block> {
        let block = self.blocks[at].take()?;
        self.blocks.copy_within(at + 1..self.count, at);
        self.count -= 1;
        self.blocks[self.count] = None;
        self.bytes -= block.size;
        Some(block)
    }
}

/// A fresh mapping; null when there is no memory.
fn map(size: usize) -> *mut u8 {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the system chooses a place where nothing is mapped.
    let Ok(pointer) = (unsafe { mmap_anonymous(null_mut(), size, access, MapFlags::PRIVATE) }) else {
        return null_mut();
    };
    let_go(kept(|kept| kept.fresh(size)));
    pointer.cast()
}

/// Unmaps what is not kept, and what that leaves too much of.
fn let_go(mut surplus: Option<Block>) {
    while let Some(block) = surplus {
        // SAFETY: the block was kept, or its user gave it up, and now nobody has it.
        unsafe { unmap(block) };
        surplus = kept(Kept::surplus);
    }
}

/// # Safety
/// The block is a mapping that nobody uses any more.
unsafe fn unmap(block: Block) {
    // It fails for nothing that was mapped, and a block that stays does no harm.
    // SAFETY: by this function's contract.
    let _kept = unsafe { munmap(block.pointer.as_ptr().cast(), block.size) };
}

/// # Safety
/// `pointer` and `old` are those of a mapping that the caller owns.
#[cfg(target_os = "linux")]
unsafe fn remap(pointer: *mut u8, old: usize, new: usize) -> *mut u8 {
    use rustix::mm::{MremapFlags, mremap};
    // SAFETY: by this function's contract.
    let Ok(pointer) = (unsafe { mremap(pointer.cast(), old, new, MremapFlags::MAYMOVE) }) else {
        return null_mut();
    };
    kept(|kept| kept.used_bytes -= old);
    let_go(kept(|kept| kept.fresh(new)));
    pointer.cast()
}

/// Gives the whole pages inside a large payload back. They read as zeros afterwards.
///
/// # Safety
/// The bytes lie in ordinary private memory, and nobody reads them any more: whoever frees the block around them does not look
/// at its content.
#[cfg(target_os = "linux")]
pub(super) unsafe fn give_back(pointer: *const c_void, length: usize) {
    use rustix::mm::{Advice, madvise};
    if pointer.is_null() || length < APART_BYTES {
        return;
    }
    let page = rustix::param::page_size();
    let start = pointer.addr().next_multiple_of(page);
    let end = (pointer.addr() + length) / page * page;
    let first = pointer.with_addr(start).cast_mut();
    // SAFETY: by this function's contract; the range lies inside the payload. A failure leaves the pages where they are.
    let _kept = unsafe { madvise(first, end.saturating_sub(start), Advice::LinuxDontNeed) };
}

/// Elsewhere the pages stay until the block around them is used again.
///
/// # Safety
/// None is needed.
#[cfg(not(target_os = "linux"))]
pub(super) unsafe fn give_back(_: *const c_void, _: usize) {}

unsafe extern "C" {
    /// Mimalloc's: frees what other threads have given back to this one. `force` visits everything.
    fn mi_collect(force: bool);
    fn mi_option_get(option: c_int) -> c_long;
    fn mi_option_set(option: c_int, value: c_long);
}

/// `mi_option_purge_delay` in mimalloc's `mimalloc.h` (v2): for how many milliseconds freed pages are kept.
const PURGE_DELAY: c_int = 15;

/// Has the allocator give freed pages back as soon as they are free, or again after the delay that the process began with.
pub(crate) fn purge_at_once(on: bool) {
    static DELAY: OnceLock<c_long> = OnceLock::new();
    // SAFETY: options may be read and set at any time, by any thread.
    unsafe {
        let delay = *DELAY.get_or_init(|| mi_option_get(PURGE_DELAY));
        mi_option_set(PURGE_DELAY, if on { 0 } else { delay });
    }
}

/// Has librdkafka's threads look after what others have freed whenever a large answer has come.
///
/// # Safety
/// `conf` is a configuration that was not used yet.
pub(super) unsafe fn tidy_up(conf: *mut sys::rd_kafka_conf_t) {
    // Without it the client works as well and holds more memory.
    // SAFETY: by this function's contract; the name is a C string, and the callback is one for all clients.
    let _code =
        unsafe { sys::rd_kafka_conf_interceptor_add_on_new(conf, NAME.as_ptr(), Some(on_new), null_mut()) };
}

const NAME: &CStr = c"longshore";

unsafe extern "C" fn on_new(
    client: *mut sys::rd_kafka_t,
    _: *const sys::rd_kafka_conf_t,
    _: *mut c_void,
    _: *mut c_char,
    _: usize,
) -> Code {
    // SAFETY: librdkafka calls with the client that is being made.
    unsafe {
        sys::rd_kafka_interceptor_add_on_response_received(
            client,
            NAME.as_ptr(),
            Some(on_response),
            null_mut(),
        )
    }
}

/// Called by a broker's thread, which has allocated the answer. The code is one of librdkafka's own.
unsafe extern "C" fn on_response(
    _: *mut sys::rd_kafka_t,
    _: c_int,
    _: *const c_char,
    _: i32,
    _: i16,
    _: i16,
    _: i32,
    size: usize,
    _: i64,
    _: Code,
    _: *mut c_void,
) -> Code {
    if size >= APART_BYTES {
        // SAFETY: it may be called at any time, and only looks after this thread's own blocks.
        unsafe { mi_collect(false) }
    }
    OK
}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    /// Scenario: a block grows and shrinks across the border between both allocators. Guarantee: its content stays.
    #[test]
    fn a_block_keeps_its_content_across_the_border() {
        let allocator = LargeApart(System);
        let sizes = [1000, 300_000, 310_000, 5 * MIB, 40 * MIB, 9 * MIB, APART_BYTES, APART_BYTES - 1, 100];
        // SAFETY: every block is used within its size and with its own layout.
        unsafe {
            let mut size = sizes[0];
            let mut block = allocator.alloc(layout(size));
            for (at, next) in sizes.into_iter().skip(1).enumerate() {
                let mark = at as u8 + 1;
                block.write_bytes(mark, size);
                block = allocator.realloc(block, layout(size), next);
                assert!(!block.is_null());
                let same = std::slice::from_raw_parts(block, size.min(next));
                assert!(same.iter().all(|byte| *byte == mark), "{size} to {next}");
                size = next;
            }
            allocator.dealloc(block, layout(size));
        }
    }

    /// Scenario: blocks are freed and allocated again in turn by several threads. Guarantee: no block is with two users at once,
    /// and one that was asked for as zeros is.
    #[test]
    fn no_block_has_two_users() {
        let turns = |mark: u8| {
            let allocator = LargeApart(System);
            for turn in 0..200 {
                let size = APART_BYTES + (turn * 37 + usize::from(mark) * 11) % 7 * 50_000;
                // SAFETY: as above.
                unsafe {
                    let block = allocator.alloc(layout(size));
                    let zeros = allocator.alloc_zeroed(layout(size));
                    assert!(std::slice::from_raw_parts(zeros, size).iter().all(|byte| *byte == 0));
                    block.write_bytes(mark, size);
                    zeros.write_bytes(mark, size);
                    std::thread::yield_now();
                    for block in [block, zeros] {
                        assert!(std::slice::from_raw_parts(block, size).iter().all(|byte| *byte == mark));
                        allocator.dealloc(block, layout(size));
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for mark in 1..5 {
                scope.spawn(move || turns(mark));
            }
        });
    }

    /// A block that nobody maps, and its number again.
    fn block(number: usize, size: usize) -> Block {
        let pointer = std::ptr::without_provenance_mut(number * 64 * MIB);
        Block { pointer: NonNull::new(pointer).unwrap(), size }
    }

    fn number(block: Option<Block>) -> Option<usize> {
        block.map(|block| block.pointer.addr().get() / 64 / MIB)
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let mut kept = Kept { used_bytes: 64 * MIB, ..Kept::EMPTY };
        assert_eq!(
            number(kept.put(block(1, KEPT_BYTES + STEP_BYTES), KEPT_BYTES)),
            Some(1),
            "too large to keep"
        );
        for at in 2..=5 {
            assert_eq!(number(kept.put(block(at, MIB), KEPT_BYTES)), None);
        }
        assert_eq!(number(kept.put(block(6, 2 * MIB), KEPT_BYTES)), Some(2));
        assert_eq!(number(kept.surplus()), Some(3));
        assert_eq!(number(kept.surplus()), None);
        assert_eq!(kept.take(3 * MIB), None);
        assert_eq!(kept.take(MIB).map(|pointer| pointer.addr().get()), Some(5 * 64 * MIB), "the newest");
        assert_eq!((kept.count, kept.bytes), (2, 3 * MIB));
        for at in 10..10 + 2 * KEPT_BLOCKS {
            kept.put(block(at, STEP_BYTES), KEPT_BYTES);
        }
        assert_eq!((kept.count, kept.bytes), (KEPT_BLOCKS, KEPT_BLOCKS * STEP_BYTES));
    }

    /// Scenario: a worker's share for payloads is 20 MiB, of which 12 are in use. Guarantee: what is freed is kept as long as both fit the share, and goes
    /// as soon as users take more (I5).
    #[test]
    fn what_is_kept_and_what_is_used_fit_the_share() {
        let mut kept = Kept { share_bytes: 20 * MIB, ..Kept::EMPTY };
        assert!((0..20).all(|_| kept.fresh(MIB).is_none()));
        assert!((1..=8).all(|at| kept.put(block(at, MIB), KEPT_BYTES).is_none()), "12 in use, 8 kept");
        assert_eq!(kept.take(MIB).map(|pointer| pointer.addr().get()), Some(8 * 64 * MIB));
        assert_eq!((kept.used_bytes, kept.bytes), (13 * MIB, 7 * MIB));
        assert_eq!(number(kept.fresh(2 * MIB)), Some(1), "15 in use, 5 may be kept");
        assert_eq!(number(kept.surplus()), Some(2));
        assert_eq!(number(kept.surplus()), None);
        assert_eq!(number(kept.fresh(90 * MIB)), Some(3), "a few batches' are kept whatever is in use");
        assert_eq!((number(kept.surplus()), kept.bytes), (None, KEPT_BYTES));
    }

    /// Guarantee: whoever keeps a block's size in mind is given one that is up to a quarter larger than asked for, nobody one that is smaller.
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
    fn a_block_is_lent_that_is_a_little_larger() {
        let mut kept = Kept { used_bytes: 64 * MIB, share_bytes: 64 * MIB, ..Kept::EMPTY };
        assert!(kept.put(block(1, KEPT_ANSWER_BYTES + STEP_BYTES), KEPT_ANSWER_BYTES).is_some(), "too large");
        assert!(kept.put(block(2, 10 * MIB), KEPT_ANSWER_BYTES).is_none());
        assert!(kept.take_about(10 * MIB + STEP_BYTES).is_none() && kept.take_about(7 * MIB).is_none());
        let used = kept.used_bytes;
        let lent = kept.take_about(8 * MIB);
        assert_eq!((lent.map(|block| block.size), kept.used_bytes), (Some(10 * MIB), used + 10 * MIB));
        assert!(kept.take_about(8 * MIB).is_none());
    }

    /// Scenario: a share is free of large blocks, and small records fill the budget. Guarantee: what is kept goes as far as the budget has no room (I5).
    #[test]
    fn what_is_kept_fits_what_the_budget_has_free() {
        let mut kept = Kept { share_bytes: 20 * MIB, used_bytes: 10 * MIB, ..Kept::EMPTY };
        assert!((1..=10).all(|at| kept.put(block(at, MIB), KEPT_BYTES).is_none()));
        assert_eq!(number(kept.bound(9 * MIB)), Some(1));
        assert_eq!((number(kept.surplus()), kept.bytes), (None, 9 * MIB));
        assert_eq!(number(kept.bound(0)), Some(2));
        while kept.surplus().is_some() {}
        assert_eq!(kept.bytes, KEPT_BYTES, "a few batches' are kept whatever is in use");
    }

    #[test]
    fn a_block_is_mapped_with_at_most_an_eighth_to_spare() {
        for size in (APART_BYTES..9 * MIB).step_by(10_007) {
            let mapped = mapped_size(size);
            assert!(mapped >= size && mapped - size <= (size / 8).max(STEP_BYTES), "{size}: {mapped}");
            assert_eq!(mapped_size(mapped), mapped);
        }
    }

    /// Scenario: 64 MiB in blocks of 20 kB are freed while pages go back at once. Guarantee: they are gone right after.
    #[cfg(target_os = "linux")]
    #[test]
    fn freed_pages_go_back_at_once_when_asked() {
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/statm").unwrap();
            text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size() / MIB
        };
        // SAFETY: the option is read; every block is used within its size and freed with its own layout.
        unsafe {
            assert_eq!(
                mi_option_get(PURGE_DELAY),
                10,
                "mimalloc's default; another number means another option"
            );
            purge_at_once(true);
            let blocks: Vec<_> =
                (0..64 * MIB / 20_000).map(|_| mimalloc::MiMalloc.alloc(layout(20_000))).collect();
            blocks.iter().for_each(|block| block.write_bytes(1, 20_000));
            let held = resident();
            blocks.iter().for_each(|block| mimalloc::MiMalloc.dealloc(*block, layout(20_000)));
            let left = resident();
            purge_at_once(false);
            assert_eq!(mi_option_get(PURGE_DELAY), 10);
            assert!(left + 48 <= held, "{held} MiB before, {left} MiB after");
        }
    }

    /// Scenario: the pages of a payload in the middle of a buffer are given back. Guarantee: what stands before and behind it is
    /// untouched, down to the byte.
    #[test]
    #[cfg(target_os = "linux")]
    fn only_the_payload_is_given_back() {
        let mut buffer = vec![7_u8; 4 * MIB];
        let payload = 4097..3 * MIB + 5;
        // SAFETY: the payload is not read any more but for this test's sake.
        unsafe { give_back(buffer[payload.clone()].as_ptr().cast(), payload.len()) };
        assert!(buffer[..payload.start].iter().all(|byte| *byte == 7));
        assert!(buffer[payload.end..].iter().all(|byte| *byte == 7));
        let given = buffer[payload].iter().filter(|byte| **byte == 0).count();
        assert!(given > 2 * MIB, "{given} bytes were given back");
        // A small payload shares its pages with others.
        buffer.fill(7);
        // SAFETY: as above.
        unsafe { give_back(buffer.as_ptr().cast(), APART_BYTES - 1) };
        assert!(buffer.iter().all(|byte| *byte == 7));
    }
}
