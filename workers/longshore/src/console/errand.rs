//! Looks at letters in threads of their own, one at a time, so that neither the worker's loop nor its memory feels them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::guard::Refused;
use crate::exit::{End, Exit};
use crate::output::{Output, STOPPING};

/// How long one look may take.
pub(super) const TIME: Duration = Duration::from_secs(20);
/// How long one waits for the looks before it.
const WAIT: Duration = Duration::from_secs(5);
/// A look that hangs in the broker is answered for after this; its thread ends by itself when the broker has been silent for half a minute.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much the threads give way to the worker's own.
const NICE: i32 = 10;

/// The looks of one worker, and its replay; clones share them.
#[derive(Clone)]
pub(super) struct Errands {
    looks: Arc<Semaphore>,
    replays: Arc<Semaphore>,
    /// Set when the worker stops: a replay ends in order and can be resumed, and nobody waits for a look any more.
    pub(super) stop: Arc<AtomicBool>,
}

impl Default for Errands {
    fn default() -> Self {
        let one = || Arc::new(Semaphore::new(1));
        Self { looks: one(), replays: one(), stop: Arc::default() }
    }
}

impl Errands {
    /// Stops, and waits for the replay that goes on; false when it has not ended within that time. None begins afterwards.
    pub(super) async fn ended(&self, within: Duration) -> bool {
        self.stop.store(true, Ordering::Release);
        tokio::time::timeout(within, self.replays.acquire()).await.is_ok()
    }

    /// Runs a look, and gives what it found together with what was said on the way.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Output) -> Result<T, End> + Send + 'static,
    ) -> Result<(T, Vec<String>), Refused> {
        let turn = self.turn().await?;
        let stop = Arc::clone(&self.stop);
        let (tell, told) = oneshot::channel();
        thread(move || {
            let began = Instant::now();
            let output = Output::kept(Some(TIME), stop);
            let found = look(&output).map(|found| (found, output.notes()));
            // Whoever asked may have gone.
            let _ = tell.send(found);
            rest(began, turn);
        })?;
        answer(told).await
    }

    /// Runs a look that goes on as a replay: `replay` tells once, and what it does afterwards is nobody's wait. A second replay beside
    /// it is refused.
    pub(super) async fn replay<T: Send + 'static>(
        &self,
        replay: impl FnOnce(&Output, &mut dyn FnMut(Result<T, End>)) + Send + 'static,
    ) -> Result<T, Refused> {
        if self.stop.load(Ordering::Acquire) {
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, STOPPING));
        }
        let sole = Arc::clone(&self.replays).try_acquire_owned().map_err(|_| {
            Refused::new(StatusCode::CONFLICT, "this worker sends a replay already; wait for its end")
        })?;
        let turn = self.turn().await?;
        let stop = Arc::clone(&self.stop);
        let (tell, told) = oneshot::channel();
        thread(move || {
            let began = Instant::now();
            let mut tell = Some((tell, turn));
            replay(&Output::kept(Some(TIME), stop), &mut |said| {
                if let Some((tell, turn)) = tell.take() {
                    let _ = tell.send(said);
                    // The rest is the replay's: the next look need not wait for it.
                    drop(turn);
                }
            });
            drop(sole);
            tracing::debug!(seconds = began.elapsed().as_secs(), "the replay's thread ends");
        })?;
        answer(told).await
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Refused> {
        match tokio::time::timeout(WAIT, Arc::clone(&self.looks).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(Refused::new(
                StatusCode::TOO_MANY_REQUESTS,
                "this worker looks at letters for somebody else; ask again",
            )),
        }
    }
}

fn thread(work: impl FnOnce() + Send + 'static) -> Result<(), Refused> {
    let thread = std::thread::Builder::new().name("longshore-console".to_owned());
    let started = thread.spawn(move || {
        // On Linux a thread has a priority of its own, and the threads of the Kafka clients that it makes inherit it. Refused or not,
        // the work is the same.
        let _ = rustix::process::setpriority_process(None, NICE);
        work();
    });
    let failed = |error| Refused::new(StatusCode::SERVICE_UNAVAILABLE, format!("no thread: {error}"));
    started.map(drop).map_err(failed)
}

/// After a look comes a rest as long as it took, so that looks never take more than half of a core. One that took longer than [`TIME`]
/// did nothing but wait for a broker.
fn rest(began: Instant, turn: OwnedSemaphorePermit) {
    std::thread::sleep(began.elapsed().min(TIME));
    drop(turn);
}

async fn answer<T>(told: oneshot::Receiver<Result<T, End>>) -> Result<T, Refused> {
    match tokio::time::timeout(PATIENCE, told).await {
        Ok(Ok(Ok(found))) => Ok(found),
        Ok(Ok(Err(end))) => Err(refused(end)),
        Ok(Err(_)) => {
            Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the look ended without an answer"))
        }
        Err(_) => {
            let words = format!("no answer within {} s: is the broker there?", PATIENCE.as_secs());
            Err(Refused::new(StatusCode::GATEWAY_TIMEOUT, words))
        }
    }
}

/// An end as an answer.
fn refused(end: End) -> Refused {
    let code = match end.code {
        Exit::Usage => StatusCode::BAD_REQUEST,
        Exit::Failed | Exit::Ok => StatusCode::NOT_FOUND,
        Exit::Data => StatusCode::UNPROCESSABLE_ENTITY,
        Exit::Temporary => StatusCode::CONFLICT,
        Exit::Unavailable | Exit::Rights | Exit::Configuration => StatusCode::BAD_GATEWAY,
        Exit::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refused::new(code, end.message)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(30);

    /// Scenario: a worker stops while it sends a replay that takes its time to end; somebody asks for another one. Guarantee: the replay hears of
    /// it and is waited for, and no other begins.
    #[tokio::test]
    async fn a_replay_is_waited_for() {
        let errands = Errands::default();
        let (heard, hears) = mpsc::channel();
        let (go_on, held) = mpsc::channel::<()>();
        let replay = move |output: &Output, tell: &mut dyn FnMut(Result<(), End>)| {
            tell(Ok(()));
            // Until the test lets it end.
            let _ = held.recv();
            heard.send(output.is_stopping()).unwrap();
        };
        errands.replay(replay).await.unwrap();
        assert!(!errands.ended(SHORT).await, "it was not waited for");
        let another = errands.replay(|_, tell| tell(Ok(()))).await;
        assert_eq!(another.unwrap_err().code, StatusCode::SERVICE_UNAVAILABLE);
        drop(go_on);
        assert!(errands.ended(LONG).await);
        assert_eq!(hears.recv_timeout(LONG), Ok(true));
    }

    /// Scenario: a worker stops while somebody looks at letters. Guarantee: the look ends at its next step, and says why.
    #[test]
    fn a_look_ends_with_its_worker() {
        let stop = Arc::new(AtomicBool::new(false));
        let output = Output::kept(Some(LONG), Arc::clone(&stop));
        assert!(output.go_on("t").is_ok());
        stop.store(true, Ordering::Release);
        assert_eq!(output.go_on("t").unwrap_err().message, STOPPING);
        let late = Output::kept(Some(Duration::ZERO), Arc::default());
        assert!(late.go_on("t").unwrap_err().message.contains("longer than one request"));
    }
}
