//! Signals that stop a worker.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{End, Exit};

/// Resolves at the first SIGTERM or SIGINT after this call, and says which in the log. Call it inside a runtime.
pub(crate) fn stop() -> impl Future<Output = ()> {
    let received = received();
    async move {
        let name = received.await;
        tracing::info!("{name}: stopping");
    }
}

/// Resolves at the first SIGTERM or SIGINT after this call, not after the first poll: once anybody in the process listens, a signal ends
/// nothing by itself any more, so whoever has to stop listens before the others. Call it inside a runtime.
pub(crate) fn received() -> impl Future<Output = &'static str> {
    let both = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = both else {
            tracing::error!("signals cannot be received; the worker stops by SIGKILL alone");
            return std::future::pending().await;
        };
        // Both are cancel-safe: a signal that is not taken here has nobody else to take it.
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    }
}

/// From now on this process is killed when its parent ends, however that ends.
pub(crate) fn end_with_parent() -> Result<(), End> {
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| End::new(Exit::Internal, error))?;
    // The parent may have ended in between, and then no signal would ever come.
    if getppid() == parent { Ok(()) } else { Err(End::new(Exit::Temporary, "the parent process has ended")) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{getpid, kill_process};

    use super::*;

    /// Scenario: a signal comes between the call and the first poll, while another task listens for it as well. Guarantee: both hear of it.
    #[tokio::test]
    async fn a_signal_before_the_first_poll_is_not_lost() {
        let (first, second) = (received(), received());
        let other = tokio::spawn(second);
        kill_process(getpid(), Signal::TERM).unwrap();
        assert_eq!(tokio::time::timeout(Duration::from_secs(10), other).await.unwrap().unwrap(), "SIGTERM");
        assert_eq!(tokio::time::timeout(Duration::from_secs(10), first).await.unwrap(), "SIGTERM");
    }
}
