//! What a service manager is told by `sd_notify(3)`: that the worker has started, how it is, that its poll loop turns, and that it stops. Nothing
//! without `NOTIFY_SOCKET`, so nothing outside of a service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_runtime::{Phase, Status};
use longshore_telemetry::metrics::PairState;
use sd_notify::NotifyState;

use super::http::POLL_SILENCE_MAX;

/// How often it is looked whether there is anything to tell: pings are due by the clock, and a look costs less than a channel from every pair.
const LOOK: Duration = Duration::from_millis(500);

/// Tells until the runtime ends.
pub(super) fn tell(status: Arc<Status>) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let mut service = Service { watchdog: sd_notify::watchdog_enabled(), ..Service::default() };
    tokio::spawn(async move {
        loop {
            // The manager may have been started anew; what is missed now is told again by the next ping.
            if let Err(error) = service.tell(&status) {
                tracing::debug!(%error, "the service manager does not hear");
            }
            tokio::time::sleep(LOOK).await;
        }
    });
}

/// Tells that the worker begins to stop.
pub(super) fn stopping() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Stopping]) {
        tracing::debug!(%error, "the service manager does not hear");
    }
}

#[derive(Default)]
struct Service {
    /// Without a ping for so long the manager ends the worker; none when it does not watch.
    watchdog: Option<Duration>,
    pinged: Option<Instant>,
    ready: bool,
    said: String,
}

impl Service {
    /// Tells what the manager has not heard.
    fn tell(&mut self, status: &Status) -> std::io::Result<()> {
        let mut news = Vec::new();
        let ready = self.ready || status.phase() == Phase::Running;
        if ready && !self.ready {
            news.push(NotifyState::Ready);
        }
        // A third of the limit, so that two may be late.
        let due = self.watchdog.is_some_and(|limit| self.pinged.is_none_or(|at| at.elapsed() >= limit / 3));
        let ping = due && status.poll_silence() < POLL_SILENCE_MAX;
        if ping {
            news.push(NotifyState::Watchdog);
        }
        let words = words(status);
        if ping || words != self.said {
            news.push(NotifyState::Status(&words));
        }
        if news.is_empty() {
            return Ok(());
        }
        sd_notify::notify(&news)?;
        if ping {
            self.pinged = Some(Instant::now());
        }
        (self.ready, self.said) = (ready, words);
        Ok(())
    }
}

/// How the worker is, in a line.
fn words(status: &Status) -> String {
    let pairs = status.pairs();
    let phase = match status.phase() {
        Phase::Starting => "starting",
        Phase::Running if pairs.is_empty() => return "waiting for partitions".to_owned(),
        Phase::Running => "running",
        Phase::Draining => "draining",
        Phase::Ended => "ended",
    };
    let mut words = format!("{phase}, {} partitions", pairs.len());
    for state in [PairState::Held, PairState::Halted] {
        let count = pairs.iter().filter(|pair| pair.state == state).count();
        if count > 0 {
            words.push_str(&format!(", {count} {}", state.name()));
        }
    }
    words
}
