//! Waits that do not go by the time of day.
//!
//! Librdkafka waits with C's `cnd_timedwait` (2.12.1, `tinycthread_extra.c`), which ends at a time of day and knows no other clock. When that
//! clock is set back by an hour, whoever waits at this moment waits an hour longer: the thread with a client's timers, or one of a broker's, so
//! that heartbeats end and the group evicts a healthy worker. Librdkafka is linked into the same program, so the `cnd_timedwait` that it
//! finds is the one here: it waits as long by the clock that nobody sets.
//!
//! That is sound where a `cnd_t` is a `pthread_cond_t` under another name, as in glibc (`cnd_timedwait.c`), which has `pthread_cond_clockwait`
//! since 2.30; elsewhere C's own function stays in use.

use std::ffi::{c_int, c_void};

/// C's `struct timespec` of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct CTime {
    seconds: i64,
    nanoseconds: i64,
}

const BILLION: i64 = 1_000_000_000;
const ETIMEDOUT: c_int = rustix::io::Errno::TIMEDOUT.raw_os_error();
/// The numbers of Linux and of glibc's `threads.h`.
const CLOCK_REALTIME: c_int = 0;
const CLOCK_MONOTONIC: c_int = 1;
const THRD_SUCCESS: c_int = 0;
const THRD_ERROR: c_int = 2;
const THRD_TIMEDOUT: c_int = 4;

unsafe extern "C" {
    fn clock_gettime(clock: c_int, time: *mut CTime) -> c_int;
    fn pthread_cond_clockwait(
        condition: *mut c_void,
        mutex: *mut c_void,
        clock: c_int,
        until: *const CTime,
    ) -> c_int;
}

impl CTime {
    fn now(clock: c_int) -> Self {
        let mut time = Self { seconds: 0, nanoseconds: 0 };
        // SAFETY: the function writes one timespec to where it is told; both clocks exist on every Linux, so it cannot fail.
        unsafe { clock_gettime(clock, &raw mut time) };
        time
    }

    /// This time on the second clock, as far from its `there` as this is from `here`; `there` itself when it is past.
    fn moved(self, here: Self, there: Self) -> Self {
        let nanoseconds =
            |time: Self| i128::from(time.seconds) * i128::from(BILLION) + i128::from(time.nanoseconds);
        let left = (nanoseconds(self) - nanoseconds(here)).max(0);
        let end = nanoseconds(there) + left;
        let part = |value: i128| i64::try_from(value).unwrap_or(i64::MAX);
        Self { seconds: part(end / i128::from(BILLION)), nanoseconds: part(end % i128::from(BILLION)) }
    }
}

/// C's `cnd_timedwait`, by the monotonic clock. The clock may be set between the caller's look at it and ours: then this wait alone is wrong,
/// by at most that much, where C's would be for each that lasts; who wakes too early waits again, as librdkafka does.
///
/// # Safety
/// As C's: an initialized condition variable, a mutex that the caller holds, and a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn cnd_timedwait(condition: *mut c_void, mutex: *mut c_void, until: *const CTime) -> c_int {
    // SAFETY: the caller gives a time, which is a timespec of 64 bits on this platform.
    let until = unsafe { *until };
    let end = until.moved(CTime::now(CLOCK_REALTIME), CTime::now(CLOCK_MONOTONIC));
    // SAFETY: glibc's `cnd_t` and `mtx_t` are its `pthread_cond_t` and `pthread_mutex_t`, which its own `cnd_timedwait` casts likewise.
    match unsafe { pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &raw const end) } {
        0 => THRD_SUCCESS,
        ETIMEDOUT => THRD_TIMEDOUT,
        _ => THRD_ERROR,
    }
}

/// Has the linker take this file: a function that only C asks for may be looked for in C's library alone.
pub(super) fn hold() {
    let own: unsafe extern "C" fn(*mut c_void, *mut c_void, *const CTime) -> c_int = cnd_timedwait;
    std::hint::black_box(own);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Room for glibc's condition variable and mutex; zeroes are their initial state.
    #[repr(C, align(16))]
    struct Room([u8; 64]);

    unsafe extern "C" {
        fn mtx_lock(mutex: *mut c_void) -> c_int;
        fn mtx_unlock(mutex: *mut c_void) -> c_int;
    }

    #[test]
    fn a_wait_lasts_as_long_by_the_steady_clock() {
        let (mut condition, mut mutex) = (Room([0; 64]), Room([0; 64]));
        let now = CTime::now(CLOCK_REALTIME);
        let soon = CTime { seconds: now.seconds, nanoseconds: now.nanoseconds + 50_000_000 };
        let began = Instant::now();
        // SAFETY: both are zeroed, which initializes them; the mutex is held; nobody else knows them.
        let ended = unsafe {
            assert_eq!(mtx_lock((&raw mut mutex).cast()), THRD_SUCCESS);
            let ended = cnd_timedwait((&raw mut condition).cast(), (&raw mut mutex).cast(), &raw const soon);
            mtx_unlock((&raw mut mutex).cast());
            ended
        };
        assert_eq!(ended, THRD_TIMEDOUT);
        assert!(began.elapsed() >= Duration::from_millis(49), "{:?}", began.elapsed());
    }

    #[test]
    fn a_time_is_as_far_on_the_other_clock() {
        let time = |seconds, nanoseconds| CTime { seconds, nanoseconds };
        assert_eq!(
            time(1_000, 900_000_000).moved(time(1_000, 100_000_000), time(5, 300_000_000)),
            time(6, 100_000_000)
        );
        assert_eq!(time(1_000, 0).moved(time(4_600, 0), time(5, 7)), time(5, 7));
    }
}
