//! Ctrl-C in the middle of a demo.

use std::io::Write;

use super::broker;
use crate::exit::End;

/// What shells expect of a command that a signal ended.
const INTERRUPTED: i32 = 130;

/// Ends the process at the first SIGINT or SIGTERM. Workers and a JVM broker end with their parent, whichever way it
/// goes; a container does not, so it is ended here.
pub(crate) fn end_on_signal(container: Option<String>) -> Result<(), End> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let wait = move || {
        runtime.block_on(async { crate::worker::signals::stop().await });
        if let Some(id) = container {
            broker::end_container(&id);
        }
        // Without a standard error there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "interrupted: workers and broker end, nothing was counted");
        std::process::exit(INTERRUPTED);
    };
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(wait)?;
    Ok(())
}
