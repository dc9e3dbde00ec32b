//! A thread of our own for work that allocates much.
//!
//! An allocator keeps for a thread what that thread has freed. On tokio's blocking pool each call comes to another thread, so row groups of a few
//! megabytes left tens of them behind (I5). Work that keeps to one thread finds there what the work before it has left.

use std::sync::mpsc::{Receiver, Sender, channel};

use longshore_core::{Failure, Reason};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does one job after the other, and ends when this is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Hand(Sender<Job>);

impl Hand {
    /// Starts the thread.
    pub(crate) fn new() -> Result<Self, Failure> {
        let (jobs, given) = channel();
        let thread = std::thread::Builder::new().name("longshore-encode".to_owned());
        let started = thread.spawn(move || serve(&given));
        started
            .map_err(|error| Failure::target(Reason::Internal, format!("no thread to encode on: {error}")))?;
        Ok(Self(jobs))
    }

    /// Runs `work` there. Dropped, it is done all the same. A panic in it is a defect of ours and halts the pair.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Failure> {
        let (answer, answered) = oneshot::channel();
        let job = move || {
            // Nobody may wait for it any more.
            let _ = answer.send(work());
        };
        let broken = || Failure::halt(Reason::Internal, "encoding panicked");
        self.0.send(Box::new(job)).map_err(|_| broken())?;
        answered.await.map_err(|_| broken())?
    }
}

fn serve(given: &Receiver<Job>) {
    while let Ok(job) = given.recv() {
        job();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: three pieces of work, one of which is given up by its caller, and a panic.
    /// Guarantee: all are done on one thread that is not the caller's; the panic is told and ends nobody.
    #[tokio::test]
    async fn work_keeps_to_its_thread() {
        let hand = Hand::new().unwrap();
        let here = || Ok(std::thread::current().id());
        let first = hand.run(here).await.unwrap();
        let (told, heard) = oneshot::channel();
        drop(tokio::time::timeout(std::time::Duration::ZERO, hand.run(move || Ok(told.send(1)))).await);
        assert_eq!(heard.await, Ok(1));
        assert_eq!(hand.run(here).await.unwrap(), first);
        assert_ne!(first, std::thread::current().id());
        let failure = hand.run::<()>(|| panic!("a defect")).await.unwrap_err();
        assert_eq!(failure.reason, Reason::Internal);
        assert!(hand.run(here).await.is_err());
    }
}
