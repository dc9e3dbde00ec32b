//! The one place that sleeps.

use std::thread;
use std::time::{Duration, Instant};

/// Other processes, files and brokers give no signal to wait on, so conditions on them are polled. This is short against
/// any deadline and long enough not to take a core from what is being waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Returns what `condition` gives as soon as it gives something.
///
/// # Panics
/// When it gives nothing within `deadline`; `what` says what was waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < deadline, "waited {deadline:?} in vain until {what}");
        thread::sleep(POLL_INTERVAL);
    }
}

/// Returns as soon as `condition` holds.
///
/// # Panics
/// When it does not hold within `deadline`; `what` says what was waited for.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, deadline, || condition().then_some(()));
}

/// Waits for a span that is itself part of the scenario: a publisher's pace, a fault's length. Never a guess that
/// something will be over by then; that is what [`wait_until`] is for.
pub fn pass_time(span: Duration) {
    thread::sleep(span);
}
