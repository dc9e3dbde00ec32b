//! C's `malloc`, so that what librdkafka has of large blocks is nobody's but the process's (I5).
//!
//! An answer to a fetch, and each batch unpacked from it, is allocated by the thread of a broker and freed by the one that read its last record.
//! Of such a block mimalloc tells the first thread when that one allocates again, and gives its pages back later still, at a moment when somebody
//! uses the same 32 MiB: several answers that nobody had any more were resident, as long as a worker stood still (measured). So large
//! blocks of C are mapped apart like those of Rust ([`super::pages`]), and taken again by whichever thread asks next. Small ones are mimalloc's.
//!
//! All of the ten functions are here that glibc wants replaced together (its manual, "Replacing `malloc`"), and they find each other: what one allocates
//! another frees. A large block begins behind a header that tells its size; a table of those in use tells whose a pointer is.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::pages::{APART_BYTES, Block, end, lend};

/// What stands in front of a large block. No page begins with one, and few small blocks stand so in theirs.
const HEADER_BYTES: usize = 64;
const PAGE_BYTES: usize = 4096;
/// Places where one block may be noted, a cache line of them. When all are taken the block is mimalloc's.
const ROW: usize = 8;
/// So many rows: enough for a gibibyte of the smallest large blocks.
const ROWS: usize = 1 << 10;

#[repr(align(64))]
struct Row([AtomicUsize; ROW]);

/// The large blocks in use, by what `malloc` returned; 0 is none.
static IN_USE: [Row; ROWS] = [const { Row([const { AtomicUsize::new(0) }; ROW]) }; ROWS];

unsafe extern "C" {
    fn mi_malloc(size: usize) -> *mut c_void;
    fn mi_calloc(count: usize, size: usize) -> *mut c_void;
    fn mi_realloc(pointer: *mut c_void, size: usize) -> *mut c_void;
    fn mi_free(pointer: *mut c_void);
    fn mi_usable_size(pointer: *const c_void) -> usize;
    fn mi_posix_memalign(out: *mut *mut c_void, alignment: usize, size: usize) -> c_int;
    fn mi_memalign(alignment: usize, size: usize) -> *mut c_void;
    fn mi_aligned_alloc(alignment: usize, size: usize) -> *mut c_void;
    fn mi_valloc(size: usize) -> *mut c_void;
    fn mi_pvalloc(size: usize) -> *mut c_void;
}

/// Has the linker take these functions, and all of them, before it comes to C's own.
pub(super) fn hold() {
    let all: [*const (); 10] = [
        malloc as *const (),
        calloc as *const (),
        realloc as *const (),
        free as *const (),
        malloc_usable_size as *const (),
        posix_memalign as *const (),
        memalign as *const (),
        aligned_alloc as *const (),
        valloc as *const (),
        pvalloc as *const (),
    ];
    std::hint::black_box(all);
}

/// Where a block at this address may be noted: neighbours are pages apart, so the pages' numbers are spread over the rows.
fn row(address: usize) -> &'static [AtomicUsize; ROW] {
    let spread = (address / PAGE_BYTES).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    &IN_USE[spread >> (usize::BITS - ROWS.ilog2())].0
}

/// Whether this is a large block in use.
fn is_large(pointer: *const c_void) -> bool {
    let address = pointer.addr();
    address % PAGE_BYTES == HEADER_BYTES
        && row(address).iter().any(|place| place.load(Ordering::Acquire) == address)
}

/// Notes a block; false when there is no place for it.
fn note(address: usize) -> bool {
    let free =
        |place: &AtomicUsize| place.compare_exchange(0, address, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    row(address).iter().any(free)
}

/// Forgets a block; false when it was not noted.
fn forget(address: usize) -> bool {
    let found =
        |place: &AtomicUsize| place.compare_exchange(address, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    row(address).iter().any(found)
}

/// A large block; none when there is no memory or no place, and then mimalloc is asked.
fn large(size: usize) -> Option<*mut c_void> {
    // Rust's layouts are no larger than this either, and rounding up has room above it.
    if size > isize::MAX.unsigned_abs() / 2 {
        return None;
    }
    let block = lend(size + HEADER_BYTES)?;
    // SAFETY: the block is ours, aligned to pages, and longer than its header.
    let pointer = unsafe {
        block.pointer.cast::<usize>().write(block.size);
        block.pointer.add(HEADER_BYTES)
    };
    if note(pointer.addr().get()) {
        return Some(pointer.as_ptr().cast());
    }
    end(block);
    None
}

/// The mapping of a large block.
///
/// # Safety
/// [`is_large`] said so, and the caller owns the block.
unsafe fn block_of(pointer: *mut c_void) -> Block {
    // SAFETY: by this function's contract the header that `large` wrote stands there.
    unsafe {
        let start = pointer.cast::<u8>().sub(HEADER_BYTES);
        Block { pointer: NonNull::new_unchecked(start), size: start.cast::<usize>().read() }
    }
}

/// C's.
///
/// # Safety
/// None is needed.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    if size >= APART_BYTES
        && let Some(pointer) = large(size)
    {
        return pointer;
    }
    // SAFETY: it may be called with any size.
    unsafe { mi_malloc(size) }
}

/// C's. Blocks of zeros are mimalloc's, however large: those that are used again would have to be cleared.
///
/// # Safety
/// None is needed.
#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    // SAFETY: it may be called with any size.
    unsafe { mi_calloc(count, size) }
}

/// C's.
///
/// # Safety
/// The pointer is null or of a block that one of these functions made and the caller gives up.
#[unsafe(no_mangle)]
unsafe extern "C" fn free(pointer: *mut c_void) {
    if is_large(pointer) && forget(pointer.addr()) {
        // SAFETY: it was in use, and the caller gives it up.
        return end(unsafe { block_of(pointer) });
    }
    // SAFETY: it is null or a block of mimalloc's.
    unsafe { mi_free(pointer) }
}

/// C's.
///
/// # Safety
/// As of [`free`].
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(pointer: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the pointer is null or a block in use; both blocks are at least as long as what is copied, and the new one is fresh.
    unsafe {
        if !is_large(pointer) && (size < APART_BYTES || pointer.is_null()) {
            return if pointer.is_null() { malloc(size) } else { mi_realloc(pointer, size) };
        }
        let room = malloc_usable_size(pointer);
        if size <= room && size >= room / 2 {
            return pointer;
        }
        let moved = malloc(size);
        if !moved.is_null() {
            std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), moved.cast::<u8>(), room.min(size));
            free(pointer);
        }
        moved
    }
}

/// C's.
///
/// # Safety
/// The pointer is null or of a block in use.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc_usable_size(pointer: *mut c_void) -> usize {
    // SAFETY: a large block has its header; everything else is mimalloc's.
    unsafe { if is_large(pointer) { block_of(pointer).size - HEADER_BYTES } else { mi_usable_size(pointer) } }
}

/// C's; blocks with an alignment are mimalloc's.
///
/// # Safety
/// `out` is a place for a pointer.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(out: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { mi_posix_memalign(out, alignment, size) }
}

/// C's; blocks with an alignment are mimalloc's.
///
/// # Safety
/// None is needed.
#[unsafe(no_mangle)]
unsafe extern "C" fn memalign(alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: it may be called with any size.
    unsafe { mi_memalign(alignment, size) }
}

/// C's; blocks with an alignment are mimalloc's.
///
/// # Safety
/// None is needed.
#[unsafe(no_mangle)]
unsafe extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: it may be called with any size.
    unsafe { mi_aligned_alloc(alignment, size) }
}

/// C's; blocks with an alignment are mimalloc's.
///
/// # Safety
/// None is needed.
#[unsafe(no_mangle)]
unsafe extern "C" fn valloc(size: usize) -> *mut c_void {
    // SAFETY: it may be called with any size.
    unsafe { mi_valloc(size) }
}

/// C's; blocks with an alignment are mimalloc's.
///
/// # Safety
/// None is needed.
#[unsafe(no_mangle)]
unsafe extern "C" fn pvalloc(size: usize) -> *mut c_void {
    // SAFETY: it may be called with any size.
    unsafe { mi_pvalloc(size) }
}

#[cfg(test)]
mod tests {
    use std::ptr::null_mut;

    use super::*;

    /// Scenario: a block of C's grows and shrinks across the border between both allocators. Guarantee: its content stays, it is as long as it was asked
    /// for, and a large one is nobody's when it is freed; where there is no memory there is no block.
    #[test]
    fn a_block_of_c_keeps_its_content_across_the_border() {
        let sizes = [1000, 300_000, 310_000, 5 << 20, 40 << 20, 9 << 20, APART_BYTES, APART_BYTES - 1, 100];
        // SAFETY: every block is used within its size and freed once.
        unsafe {
            let mut size = sizes[0];
            let mut block = malloc(size);
            for (at, next) in sizes.into_iter().skip(1).enumerate() {
                let mark = at as u8 + 1;
                block.cast::<u8>().write_bytes(mark, size);
                block = realloc(block, next);
                assert!(malloc_usable_size(block) >= next);
                let same = std::slice::from_raw_parts(block.cast::<u8>(), size.min(next));
                assert!(same.iter().all(|byte| *byte == mark), "{size} to {next}");
                size = next;
            }
            free(block);
            let large = malloc(APART_BYTES);
            assert!(is_large(large) && !is_large(large.byte_add(PAGE_BYTES)));
            free(large);
            assert!(!is_large(large));
            free(null_mut());
            // The compiler knows a function of this name, and that it does not fail when nobody looks.
            let asked = std::hint::black_box(malloc as unsafe extern "C" fn(usize) -> *mut c_void);
            for size in [usize::MAX, usize::MAX / 3, usize::MAX / 9] {
                assert!(asked(size).is_null(), "{size}");
            }
        }
    }

    /// Scenario: one thread frees what others allocate, as fast as they can. Guarantee: no block has two users.
    #[test]
    fn no_block_of_c_has_two_users() {
        let (give, take) = crossbeam_channel::bounded::<(usize, usize, u8)>(64);
        let makes = |mark: u8, give: crossbeam_channel::Sender<(usize, usize, u8)>| {
            move || {
                for turn in 0..400 {
                    let size = APART_BYTES + (turn * 37 + usize::from(mark) * 11) % 7 * 50_000;
                    // SAFETY: the block is as long as asked for.
                    unsafe {
                        let block = malloc(size);
                        block.cast::<u8>().write_bytes(mark, size);
                        give.send((block.expose_provenance(), size, mark)).unwrap();
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for mark in 1..4 {
                scope.spawn(makes(mark, give.clone()));
            }
            drop(give);
            for (block, size, mark) in &take {
                let block = std::ptr::with_exposed_provenance_mut::<c_void>(block);
                // SAFETY: the block was handed over, and is freed once.
                unsafe {
                    let all = std::slice::from_raw_parts(block.cast::<u8>(), size);
                    assert!(all.iter().all(|byte| *byte == mark));
                    free(block);
                }
            }
        });
    }

    /// Guarantee: the C library and whatever else is loaded find these functions, and each of them, in the place of C's.
    #[test]
    fn everybody_finds_these_functions() {
        unsafe extern "C" {
            fn dlsym(handle: *mut c_void, name: *const std::ffi::c_char) -> *mut c_void;
        }
        hold();
        for (name, own) in [
            (c"malloc", malloc as *const ()),
            (c"calloc", calloc as *const ()),
            (c"realloc", realloc as *const ()),
            (c"free", free as *const ()),
            (c"malloc_usable_size", malloc_usable_size as *const ()),
            (c"posix_memalign", posix_memalign as *const ()),
            (c"memalign", memalign as *const ()),
            (c"aligned_alloc", aligned_alloc as *const ()),
            (c"valloc", valloc as *const ()),
            (c"pvalloc", pvalloc as *const ()),
        ] {
            // SAFETY: null is the handle of everything that is loaded, and the name is a C string.
            let found = unsafe { dlsym(null_mut(), name.as_ptr()) };
            assert_eq!(found.cast_const().cast::<()>(), own, "{name:?}");
        }
    }

    /// Guarantee: where all places of a row are taken the next block has none, and one that is forgotten makes room.
    #[test]
    fn a_row_that_is_full_takes_no_more() {
        // No mapping has such addresses.
        let first = usize::MAX / PAGE_BYTES * PAGE_BYTES - (1 << 40) + HEADER_BYTES;
        let same = (0..).map(|page: usize| first + page * PAGE_BYTES);
        let mut same = same.filter(|address| std::ptr::eq(row(*address), row(first)));
        let noted: Vec<_> = same.by_ref().take(ROW).filter(|address| note(*address)).collect();
        let next = same.next().unwrap();
        assert!(!note(next));
        assert!(forget(noted[0]) && !forget(noted[0]));
        assert!(note(next));
        noted[1..].iter().chain([&next]).for_each(|address| assert!(forget(*address)));
    }
}
