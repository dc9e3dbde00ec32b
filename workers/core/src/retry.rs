//! The schedule of retries: exponential with full jitter. Randomness is an argument.

use std::time::Duration;

/// Exponential backoff with full jitter: `random(0, min(cap, base * 2^(attempt - 1)))`, never below the floor.
/// Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait's upper bound.
    pub base: Duration,
    /// The upper bound of every wait.
    pub cap: Duration,
    /// The lower bound of every wait, so that a retry is never immediate.
    pub floor: Duration,
}

impl Backoff {
    /// The wait after failed try `attempt` (from 1); `random` is uniform over all of `u64`.
    pub fn delay(&self, attempt: u32, random: u64) -> Duration {
        let doubled =
            self.base.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1).min(31)).unwrap_or(u32::MAX));
        let bound = doubled.min(self.cap);
        let fraction = random as f64 / u64::MAX as f64;
        bound.mul_f64(fraction).max(self.floor)
    }
}
