//! Work for the blocking pool that cannot overtake itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use longshore_core::{Failure, Reason};

/// Hands out turns to the calls of one writer. A call that was dropped leaves its blocking work behind in the pool; as
/// soon as the next call takes its turn, such work finds that it is stale and does nothing.
#[derive(Debug, Default)]
pub(crate) struct Turns(Arc<AtomicU64>);

/// The right to work until the next turn is taken.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    current: Arc<AtomicU64>,
    number: u64,
}

impl Turns {
    /// The next turn; work of all earlier ones that has not begun will not begin.
    pub(crate) fn next(&self) -> Turn {
        let number = self.0.fetch_add(1, Ordering::AcqRel) + 1;
        Turn { current: Arc::clone(&self.0), number }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl Turn {
    /// Runs `work` on what the lock guards, on the blocking pool, unless the turn is over by then. The lock makes work
    /// of a dropped call that has already begun finish first.
    pub(crate) async fn run<T, R>(
        &self,
        guarded: &Arc<Mutex<T>>,
        work: impl FnOnce(&mut T) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Failure>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let turn = self.clone();
        let guarded = Arc::clone(guarded);
        blocking(move || {
            let mut guard = guarded.lock().unwrap_or_else(PoisonError::into_inner);
            if turn.current.load(Ordering::Acquire) != turn.number {
                return Err(Failure::target(Reason::SinkUnavailable, "the call was dropped"));
            }
            work(&mut guard)
        })
        .await
    }
}

/// Runs `work` on the blocking pool. A panic in it is a defect of ours and halts the pair.
pub(crate) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, Failure> + Send + 'static,
) -> Result<R, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => {
            Err(Failure::target(Reason::SinkUnavailable, "the runtime is stopping"))
        }
        Err(_) => Err(Failure::halt(Reason::Internal, "blocking work of a sink panicked")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: work of a call waits for the lock, or has not begun at all, when the next call takes its turn.
    /// Guarantee: it does nothing any more; the work of the new turn is done.
    #[tokio::test]
    async fn stale_work_does_nothing() {
        let turns = Turns::default();
        let done = Arc::new(Mutex::new(Vec::new()));
        let stale = turns.next();
        let waiting = {
            let guard = done.lock().unwrap();
            let (stale, done) = (stale.clone(), Arc::clone(&done));
            let waiting = tokio::spawn(async move {
                stale
                    .run(&done, |done| {
                        done.push("stale");
                        Ok(())
                    })
                    .await
            });
            drop((turns.next(), guard));
            waiting
        };
        assert!(waiting.await.unwrap().is_err());
        assert!(
            stale
                .run(&done, |done| {
                    done.push("stale");
                    Ok(())
                })
                .await
                .is_err()
        );
        turns
            .next()
            .run(&done, |done| {
                done.push("fresh");
                Ok(())
            })
            .await
            .unwrap();
        let last = turns.next();
        drop(turns);
        assert!(
            last.run(&done, |done| {
                done.push("stale");
                Ok(())
            })
            .await
            .is_err()
        );
        assert_eq!(*done.lock().unwrap(), ["fresh"]);
    }
}
