//! Signals that stop a worker.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{End, Exit};

/// Resolves at the first SIGTERM or SIGINT, and says which in the log.
pub(crate) async fn stop() {
    let name = received().await;
    tracing::info!("{name}: stopping");
}

/// Resolves at the first SIGTERM or SIGINT.
pub(crate) async fn received() -> &'static str {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received; the worker stops by SIGKILL alone");
        return std::future::pending().await;
    };
    // Both are cancel-safe: a signal that is not taken here has nobody else to take it.
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// From now on this process is killed when its parent ends, however that ends.
pub(crate) fn end_with_parent() -> Result<(), End> {
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| End::new(Exit::Internal, error))?;
    // The parent may have ended in between, and then no signal would ever come.
    if getppid() == parent { Ok(()) } else { Err(End::new(Exit::Temporary, "the parent process has ended")) }
}
