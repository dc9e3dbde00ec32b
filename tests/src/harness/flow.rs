//! A stream of records that goes on while a test does something to the workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::wait::{pass_time, wait_until};
use super::witness::{Record, Witness};

/// Records per acknowledged batch.
const BATCH: u64 = 100;

/// A publisher in a thread of its own. Dropping it stops it.
pub struct Flow {
    stop: Arc<AtomicBool>,
    held: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flow {
    /// Publishes `make(0)`, `make(1)` and so on, about `per_second` of them, until it is stopped.
    #[must_use]
    pub fn start(witness: &Witness, topic: &str, per_second: u64, make: fn(u64) -> Record) -> Self {
        let (stop, held, sent) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (own_stop, own_held, own_sent) = (Arc::clone(&stop), Arc::clone(&held), Arc::clone(&sent));
        let (witness, topic) = (witness.clone(), topic.to_owned());
        let pause = Duration::from_secs(BATCH) / u32::try_from(per_second.max(1)).unwrap_or(u32::MAX);
        let thread = thread::spawn(move || {
            let publisher = witness.publisher();
            let mut next = 0;
            while !own_stop.load(Ordering::Relaxed) {
                if !own_held.load(Ordering::Relaxed) {
                    let records: Vec<Record> = (next..next + BATCH).map(make).collect();
                    publisher.publish(&topic, &records);
                    next += BATCH;
                    own_sent.store(next, Ordering::Relaxed);
                }
                pass_time(pause);
            }
        });
        Self { stop, held, sent, thread: Some(thread) }
    }

    /// Publishes nothing but a batch that is on its way while `look` looks: what takes long would have more to look at each time.
    pub fn hold<T>(&self, look: impl FnOnce() -> T) -> T {
        self.held.store(true, Ordering::Relaxed);
        let seen = look();
        self.held.store(false, Ordering::Relaxed);
        seen
    }

    /// Records acknowledged so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until so many more are acknowledged than now.
    ///
    /// # Panics
    /// When they are not within a minute.
    #[track_caller]
    pub fn wait_for_more(&self, records: u64) {
        let goal = self.sent() + records;
        wait_until("more records are published", Duration::from_secs(60), || self.sent() >= goal);
    }

    /// Stops and gives the number of records acknowledged.
    ///
    /// # Panics
    /// When publishing failed.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "the publisher failed");
        }
        self.sent()
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A log line: one in fifty is no JSON, one in five is quiet.
#[must_use]
pub fn log_line(number: u64) -> Record {
    let key = format!("key-{}", number % 41);
    let level = if number.is_multiple_of(5) { "debug" } else { "info" };
    if number % 50 == 7 {
        return Record::new(&key, format!("line {number} is not JSON"));
    }
    Record::new(&key, format!(r#"{{"level":"{level}","message":"line {number}","number":{number}}}"#))
}

/// A document: one in fifty is no JSON, one in five is too short.
#[must_use]
pub fn document(number: u64) -> Record {
    let key = format!("key-{}", number % 41);
    if number % 50 == 7 {
        return Record::new(&key, format!("{{\"text\": document {number}"));
    }
    let text =
        if number.is_multiple_of(5) { "short".to_owned() } else { format!("the text of document {number}") };
    Record::new(&key, format!(r#"{{"id":"{number}","text":"{text}"}}"#))
}
