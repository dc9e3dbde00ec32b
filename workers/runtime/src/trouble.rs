//! Waits between tries of the same call.

use std::time::Duration;

use longshore_core::retry::Backoff;
use longshore_core::{Class, Failure};

use crate::entropy;

/// How long to wait between tries.
pub(crate) type Pauses = Backoff;

/// The waits of one call: exponential with jitter; a server's own wish wins.
pub(crate) struct Pause {
    backoff: Backoff,
    attempts: u32,
}

impl Pause {
    /// Before the first try.
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, attempts: 0 }
    }

    /// Failed tries so far.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Waits after one more failed try. Cancel-safe: a dropped wait counts as waited.
    pub(crate) async fn after(&mut self, failure: &Failure) {
        self.attempts = self.attempts.saturating_add(1);
        let wished = match failure.class {
            Class::Retry { after, .. } => after,
            Class::Reject | Class::Halt => None,
        };
        let wait = wished.unwrap_or_else(|| self.backoff.delay(self.attempts, entropy::random()));
        tokio::time::sleep(wait.min(LONGEST)).await;
    }
}

/// A server that asks for more than this is asked again anyway, so that trouble that ended is seen.
const LONGEST: Duration = Duration::from_secs(300);
