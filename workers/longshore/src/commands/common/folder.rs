//! Reads what a sink's folder holds. Its disk may hang, a disk over a network mostly, and a call that hangs there cannot be ended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::exit::{End, Exit};

/// Whether a read in a worker goes on, or hangs. There is one at most, so that threads which hang do not add up.
static BUSY: AtomicBool = AtomicBool::new(false);

/// How long one may read; a read looks at it between files.
pub(crate) struct Until(Option<Instant>);

impl Until {
    /// Ends a read that nobody waits for any more.
    pub(crate) fn go_on(&self) -> Result<(), End> {
        if self.0.is_some_and(|until| Instant::now() >= until) { Err(late()) } else { Ok(()) }
    }
}

/// What `read` finds, waited for as long as it takes, or `left` at the most.
pub(crate) fn read<T: Send + 'static>(
    left: Option<Duration>,
    read: impl FnOnce(&Until) -> Result<T, End> + Send + 'static,
) -> Result<T, End> {
    let Some(left) = left else { return read(&Until(None)) };
    let turn = Turn::take().ok_or_else(late)?;
    let until = Until(Some(Instant::now() + left));
    let (tell, told) = mpsc::sync_channel(1);
    std::thread::Builder::new().name("longshore-folder".to_owned()).spawn(move || {
        let found = read(&until);
        drop(turn);
        // Whoever asked may have gone.
        let _ = tell.send(found);
    })?;
    told.recv_timeout(left).unwrap_or_else(|_| Err(late()))
}

/// The right to read.
struct Turn;

impl Turn {
    fn take() -> Option<Self> {
        (!BUSY.swap(true, Ordering::AcqRel)).then_some(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        BUSY.store(false, Ordering::Release);
    }
}

fn late() -> End {
    End::new(Exit::Temporary, "its folder cannot be read in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(30);

    /// Scenario: a disk hangs, others ask meanwhile, and it comes back. Guarantee: each is told in time, none waits in a thread of its own
    /// beside the one that hangs, and afterwards it is read again; a command waits as long as it takes.
    #[test]
    fn a_disk_that_hangs_keeps_one_thread() {
        let (mend, broken) = mpsc::channel::<()>();
        let (began, entered) = mpsc::channel();
        let hanging = move |until: &Until| {
            began.send(()).unwrap();
            // Until the test mends it.
            let _ = broken.recv();
            until.go_on()
        };
        assert_eq!(read(Some(SHORT), hanging).unwrap_err().code, Exit::Temporary);
        entered.recv_timeout(LONG).unwrap();
        let untouched = |_: &Until| -> Result<(), End> { panic!("a second thread") };
        assert_eq!(read(Some(LONG), untouched).unwrap_err().code, Exit::Temporary);
        assert_eq!(read(None, |_| Ok(7)).unwrap(), 7);
        drop(mend);
        let give_up = Instant::now() + LONG;
        while read(Some(LONG), |_| Ok(())).is_err() {
            assert!(Instant::now() < give_up, "the thread that hung keeps its turn");
            std::thread::yield_now();
        }
    }
}
