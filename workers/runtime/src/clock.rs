//! The one place that reads the time for the pair machines.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use longshore_core::Moment;
use tokio::time::Instant;

/// Monotonic time since the runtime began; clock changes of the machine do not touch it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that shows zero now.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The present moment.
    pub(crate) fn now(self) -> Moment {
        Moment(self.start.elapsed())
    }

    /// When a moment is on tokio's clock; far in the future when it cannot be expressed.
    pub(crate) fn instant(self, moment: Moment) -> Instant {
        const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.start.checked_add(moment.0).unwrap_or_else(|| self.start + FAR)
    }
}

/// The time of day, milliseconds since 1970, in which headers and broker timestamps are told. It may jump; whoever asks
/// turns it into a moment at once.
pub(crate) fn wall_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
