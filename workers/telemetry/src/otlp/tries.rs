//! The tries of one body: which refusals pass by themselves, and how long to wait before the next try.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The specification wants waits that grow, with jitter, and leaves the numbers open.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5);

/// Why a body was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Without credentials.
    pub(super) words: String,
    pub(super) again: Again,
}

impl Refusal {
    /// Of an answer over HTTP that is no success.
    pub(super) fn of_answer(status: StatusCode, headers: &HeaderMap) -> Self {
        let words = format!("the Collector answered {status}");
        Self { words, again: Again::of_answer(status, headers) }
    }
}

/// Whether the same body may be taken later
/// (<https://opentelemetry.io/docs/specs/otlp/#failures>, <https://opentelemetry.io/docs/specs/otlp/#failures-1>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    /// After a wait of our own.
    Soon,
    /// Not before.
    After(Duration),
}

impl Again {
    /// What an answer over HTTP says.
    fn of_answer(status: StatusCode, headers: &HeaderMap) -> Self {
        match status.as_u16() {
            429 | 502..=504 => retry_after(headers).map_or(Self::Soon, Self::After),
            _ => Self::Never,
        }
    }

    /// What a status of gRPC says: cancelled, deadline exceeded, aborted, out of range, unavailable and data loss pass. So would resource
    /// exhausted with an answer that says when, which nothing here reads.
    #[cfg(feature = "otlp-grpc")]
    pub(super) fn of_code(code: &str) -> Self {
        match code {
            "1" | "4" | "10" | "11" | "14" | "15" => Self::Soon,
            _ => Self::Never,
        }
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(std::time::SystemTime::now()).ok()
}

/// The waits between the tries of a body, all of which have to be over at its end.
#[derive(Debug)]
pub(super) struct Waits {
    next: Duration,
    end: Instant,
}

impl Waits {
    /// `within` is for all tries together.
    pub(super) fn new(within: Duration) -> Self {
        Self { next: FIRST, end: Instant::now() + within }
    }

    /// What is left for a try.
    pub(super) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// How long to wait before the next try; none when there is none. `chance` is from 0 to 1, so that those who fail together do not come
    /// again together.
    pub(super) fn after(&mut self, again: Again, chance: f64) -> Option<Duration> {
        let least = match again {
            Again::Never => return None,
            Again::Soon => Duration::ZERO,
            Again::After(wait) => wait,
        };
        let wait = least.max(self.next.mul_f64(0.5 + chance / 2.0));
        self.next = (self.next * 2).min(LONGEST);
        (wait < self.left()).then_some(wait)
    }
}

/// A number from 0 to 1. The standard library's hashers begin with keys that differ.
pub(super) fn chance() -> f64 {
    let number = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(number >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

/// Ends waits from another thread: at the end of a process nothing is tried again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// From now on nobody waits.
    pub(crate) fn now(&self) {
        let (stopped, changed) = &*self.0;
        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    /// Waits so long; true when it was stopped.
    pub(super) fn comes_within(&self, wait: Duration) -> bool {
        let (stopped, changed) = &*self.0;
        let stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(stopped, wait, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, after: &str) -> Again {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, after.parse().unwrap());
        Again::of_answer(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn what_passes_is_tried_again() {
        for status in [400, 401, 404, 413, 500, 501] {
            assert_eq!(answer(status, "1"), Again::Never, "{status}");
        }
        for status in [429, 502, 503, 504] {
            assert_eq!(answer(status, " 7 "), Again::After(Duration::from_secs(7)), "{status}");
            assert_eq!(answer(status, "soon"), Again::Soon);
            assert_eq!(answer(status, "Sun, 06 Nov 1994 08:49:37 GMT"), Again::Soon, "it is over");
        }
        let Again::After(wait) = answer(503, "Fri, 31 Dec 9999 23:59:59 GMT") else { panic!() };
        assert!(wait > Duration::from_secs(1 << 32));
    }

    #[test]
    fn waits_grow_and_end() {
        let mut waits = Waits::new(Duration::from_secs(60));
        let mut soon = |chance| waits.after(Again::Soon, chance).map(|wait| wait.as_millis());
        let found = [soon(0.0), soon(1.0), soon(0.0), soon(1.0), soon(1.0)];
        assert_eq!(found, [500, 2_000, 2_000, 5_000, 5_000].map(Some));
        assert_eq!(waits.after(Again::After(Duration::from_secs(9)), 1.0), Some(Duration::from_secs(9)));
        assert_eq!(waits.after(Again::After(Duration::from_secs(61)), 1.0), None, "the end comes before");
        assert_eq!(waits.after(Again::Never, 1.0), None);
        assert!((0..100).map(|_| chance()).all(|chance| (0.0..=1.0).contains(&chance)));
        assert!(chance().to_bits() != chance().to_bits());
    }

    #[test]
    fn a_stop_ends_a_wait() {
        let stop = Stop::default();
        assert!(!stop.comes_within(Duration::from_millis(1)));
        let other = stop.clone();
        let thread = std::thread::spawn(move || other.comes_within(Duration::from_secs(3_600)));
        stop.now();
        assert!(thread.join().unwrap() && stop.comes_within(Duration::from_secs(3_600)));
    }
}
