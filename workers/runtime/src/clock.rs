//! The one place that reads the time for the pair machines.

use std::sync::{LazyLock, Mutex, PoisonError};
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

/// The time of day as this process tells it, milliseconds since 1970: in headers, and beside the broker's timestamps. It follows the machine's,
/// and does not jump with it ([`Day`]).
pub(crate) fn wall_ms() -> i64 {
    static DAY: LazyLock<(std::time::Instant, Mutex<Day>)> =
        LazyLock::new(|| (std::time::Instant::now(), Mutex::default()));
    let (start, day) = &*DAY;
    let mut day = day.lock().unwrap_or_else(PoisonError::into_inner);
    // Looked at under the lock, so that time never runs backwards from one call to the next.
    let machine = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let told = day.tell(nanoseconds(start.elapsed()), nanoseconds(machine));
    told / 1_000_000
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// A time of day that runs between half as fast and one and a half times as fast as time passes, until it is the machine's again.
///
/// A copy says when it is due by the time of day, and is read a moment later. Were the machine's clock set in between, its record would be
/// tried at once or an hour late; were it set while a record waits, the record would seem to have failed for that hour. Like this a wait is
/// wrong by half at most, and only in the two hours in which one is made up for. A machine that slept is made up for likewise.
#[derive(Debug, Default)]
struct Day {
    /// Nanoseconds that the time of day is ahead of those that passed; none before the first look.
    ahead: Option<i64>,
    /// What had passed at the last look.
    passed: i64,
}

impl Day {
    /// What the time of day is when so much has passed and the machine says this, all in nanoseconds.
    fn tell(&mut self, passed: i64, machine: i64) -> i64 {
        let wanted = machine.saturating_sub(passed);
        let ahead = self.ahead.get_or_insert(wanted);
        // Nobody may have looked for long: how long ago the machine's clock was set is not known, so that no more than a second counts.
        let most = passed.saturating_sub(self.passed).clamp(0, 1_000_000_000) / 2;
        *ahead = ahead.saturating_add(wanted.saturating_sub(*ahead).clamp(-most, most));
        self.passed = passed;
        passed.saturating_add(*ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const HOUR: i64 = 3_600 * SECOND;

    #[test]
    fn the_time_of_day_is_the_machines() {
        let mut day = Day::default();
        assert_eq!(day.tell(5, HOUR), HOUR);
        assert_eq!(day.tell(5 + SECOND, HOUR + SECOND), HOUR + SECOND);
        assert_eq!(day.tell(5 + HOUR, HOUR + HOUR), HOUR + HOUR);
    }

    /// Scenario: the clock is set an hour ahead, or back. Guarantee: the time of day goes on, at most half as fast again or half as fast, and
    /// is the machine's after two hours.
    #[test]
    fn a_clock_that_is_set_is_followed_in_time() {
        for jump in [HOUR, -HOUR] {
            let mut day = Day::default();
            let mut told = day.tell(0, 10 * HOUR);
            for passed in (1..=2 * HOUR / SECOND).map(|second| second * SECOND) {
                let next = day.tell(passed, 10 * HOUR + jump + passed);
                assert_eq!(next - told, SECOND + jump.signum() * SECOND / 2, "after {passed}");
                told = next;
            }
            assert_eq!(told, 12 * HOUR + jump);
            assert_eq!(day.tell(2 * HOUR + SECOND, 12 * HOUR + jump + SECOND), told + SECOND);
        }
    }

    /// Scenario: nobody looked for a day in which the clock was set. Guarantee: it is not followed at once.
    #[test]
    fn a_long_time_without_a_look_is_no_reason_to_jump() {
        let mut day = Day::default();
        day.tell(0, HOUR);
        assert_eq!(day.tell(24 * HOUR, HOUR + 25 * HOUR), HOUR + 24 * HOUR + SECOND / 2);
    }
}
