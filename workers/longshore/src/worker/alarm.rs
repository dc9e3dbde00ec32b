//! Waits that end on time. Tokio's timers count whole milliseconds and end up to two of them late, which for a wait of one
//! millisecond is no rehearsal of anything; here they end within half of one.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Waits end at multiples of this, so that those of about the same time end together: one wake-up for many.
const TICK: Duration = Duration::from_micros(500);

/// The one of the process; its thread starts with the first wait.
static ALARM: LazyLock<Option<Arc<Alarm>>> = LazyLock::new(Alarm::start);

/// Waits so long. Without a thread for it (the system has refused one) it is a timer of tokio.
pub(crate) async fn sleep(span: Duration) {
    match ALARM.as_ref() {
        Some(alarm) => {
            let tick = alarm.tick(Instant::now() + span);
            Wait { alarm: Arc::clone(alarm), tick, told: None }.await;
        }
        None => tokio::time::sleep(span).await,
    }
}

/// Who is to be woken at which tick.
struct Alarm {
    origin: Instant,
    waiting: Mutex<BTreeMap<u64, Vec<Waker>>>,
    /// An earlier tick than any before was asked for.
    earlier: Condvar,
}

impl Alarm {
    fn start() -> Option<Arc<Self>> {
        let alarm =
            Arc::new(Self { origin: Instant::now(), waiting: Mutex::default(), earlier: Condvar::new() });
        let own = Arc::clone(&alarm);
        let thread = std::thread::Builder::new().name("longshore-delay".to_owned());
        thread.spawn(move || own.ring()).is_ok().then_some(alarm)
    }

    /// The first tick that is not before this moment.
    fn tick(&self, moment: Instant) -> u64 {
        moment.duration_since(self.origin).as_nanos().div_ceil(TICK.as_nanos()) as u64
    }

    /// How long it is until a tick, zero when it is past.
    fn until(&self, tick: u64) -> Duration {
        let at = Duration::from_nanos(TICK.as_nanos() as u64 * tick);
        at.saturating_sub(self.origin.elapsed())
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<Waker>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_at(&self, tick: u64, waker: Waker) {
        let mut waiting = self.waiting();
        let first = waiting.first_key_value().is_none_or(|(first, _)| tick < *first);
        waiting.entry(tick).or_default().push(waker);
        if first {
            self.earlier.notify_one();
        }
    }

    /// The thread: wakes whose tick has come, for as long as the process lives.
    fn ring(&self) {
        let mut waiting = self.waiting();
        loop {
            let next = waiting.first_key_value().map(|(tick, _)| self.until(*tick));
            waiting = match next {
                None => self.earlier.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    let due = waiting.pop_first();
                    // Waking takes locks of others.
                    drop(waiting);
                    due.into_iter().flat_map(|(_, wakers)| wakers).for_each(Waker::wake);
                    self.waiting()
                }
                Some(left) => {
                    let woken = self.earlier.wait_timeout(waiting, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// A wait for one tick. Dropped, it leaves a waker behind that wakes for nothing.
struct Wait {
    alarm: Arc<Alarm>,
    tick: u64,
    told: Option<Waker>,
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.alarm.until(self.tick).is_zero() {
            return Poll::Ready(());
        }
        if !self.told.as_ref().is_some_and(|told| told.will_wake(context.waker())) {
            self.told = Some(context.waker().clone());
            self.alarm.wake_at(self.tick, context.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: many waits of several lengths at once, some of them dropped.
    /// Guarantee: none ends early, and a short one that begins while a long one waits does not wait for it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn waits_end_in_time_and_never_early() {
        let long = tokio::spawn(sleep(Duration::from_secs(600)));
        let waits = (1..200_u64).map(|n| async move {
            let (span, began) = (Duration::from_micros(97 * n), Instant::now());
            sleep(span).await;
            assert!(began.elapsed() >= span, "{span:?} took {:?}", began.elapsed());
        });
        for n in 0..50 {
            // So long that the moment's wait ends first on any machine.
            let cut = tokio::time::timeout(Duration::from_millis(1), sleep(Duration::from_secs(50 + n)));
            assert!(cut.await.is_err());
        }
        futures::future::join_all(waits).await;
        assert!(!long.is_finished());
        long.abort();
    }
}
