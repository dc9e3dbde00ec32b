//! The source: one OS thread that owns the consumer.
//!
//! It polls, hands records to pairs by credit, serves rebalances and commits. It never waits for anything but the
//! poll itself: a rebalance is a state that the loop goes through, blocking questions to the broker are asked by a
//! second thread (the [`scout`]), and a command wakes the poll. So a paused or revoked pair never keeps the consumer
//! from polling (trap 7).
//!
//! A pair has two lanes: a partition of an input topic, which the group gives, and the same partition of its retry topic, which
//! nobody subscribes to and which is assigned beside it by hand, so that both have one owner (the rules in `kafka.md`). Begin and
//! end are the pair's; fetching, credit and commits are each lane's own.
//!
//! **Architecture invariant:** librdkafka's callbacks only note what happened ([`inbox`]); every decision is made in the
//! loop, between two polls.

mod behind;
mod commits;
mod credit;
mod damage;
mod ends;
mod flow;
mod gap;
mod gate;
mod health;
mod held;
mod identity;
mod inbox;
mod keep;
mod looks;
mod markers;
mod notes;
mod pairs;
mod place;
mod poll;
mod rebalance;
mod route;
mod scout;
mod standing;
mod start;
mod thrift;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use longshore_core::source::{SourceCommand, SourceControl, SourceEvent};
use longshore_core::{Budget, Failure, Reason};

pub(crate) use identity::DEBUG;
pub use start::{StartError, StartPolicy};

use crate::context::Context;
use crate::ffi::{Client, Kind, Queue};
use crate::memory::ClientMemory;
use crate::options::KafkaOptions;
use crate::settings::{Role, settings};

/// What the source is told once.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// How to reach the brokers.
    pub kafka: KafkaOptions,
    /// The input topics.
    pub topics: Vec<String>,
    /// The retry topic of each input topic, whose partition p goes to the owner of the input's; none of an input that is not
    /// in here.
    pub retry_topics: BTreeMap<String, String>,
    /// Offsets of retry topics are committed again when so old, since nobody subscribes to those topics and the broker forgets
    /// them otherwise ([`SourceOptions::RECOMMIT`]).
    pub recommit: Duration,
    /// The consumer group.
    pub group: String,
    /// The port of the worker's pages, which the group's listing then tells ([`crate::http_port`]); none without pages.
    pub http_port: Option<u16>,
    /// Where to begin when the group has committed nothing.
    pub start: StartPolicy,
    /// `limits.revoke`: how long pairs may take to let go of in a rebalance. All partitions stand still meanwhile.
    pub revoke: Duration,
    /// What records are charged against; when nothing is left, everything pauses.
    pub budget: Arc<Budget>,
    /// Bounds of librdkafka's own buffers.
    pub memory: ClientMemory,
}

impl SourceOptions {
    /// Twice a day: brokers keep the offsets of an unsubscribed topic for `offsets.retention.minutes`, 7 days by default and
    /// hardly ever less than one.
    pub const RECOMMIT: Duration = Duration::from_secs(12 * 3_600);
}

/// The poll thread.
#[derive(Debug)]
pub struct PollThread;

impl PollThread {
    /// Makes the consumer and starts its thread. `events` is called on that thread and must not block; the last
    /// event is [`SourceEvent::Ended`].
    ///
    /// # Errors
    /// [`Reason::BrokerConfiguration`] when librdkafka refuses the settings, [`Reason::Internal`] when the operating
    /// system gives no thread. An unreachable broker is no error here; it comes as [`SourceEvent::Trouble`].
    pub fn spawn(
        options: SourceOptions,
        events: impl Fn(SourceEvent) + Send + 'static,
    ) -> Result<SourceHandle, Failure> {
        let role = Role::Member { group: &options.group, http_port: options.http_port };
        let settings = settings(&options.kafka, &options.memory, role)?;
        let inbox = Arc::new(inbox::Inbox::new(Context::new(&options.kafka)));
        let client = Client::new(Kind::Consumer, &settings, Arc::clone(&inbox) as _)
            .map_err(|reason| Failure::halt(Reason::BrokerConfiguration, reason))?;
        let queue = Queue::of_consumer(&client)
            .map(Arc::new)
            .ok_or_else(|| Failure::halt(Reason::Internal, "the consumer has no queue"))?;
        let (commands, received) = crossbeam_channel::unbounded();
        let waker = Arc::new(Waker { queue: Mutex::new(Some(Arc::clone(&queue))) });
        let own_waker = Arc::clone(&waker);
        let heartbeat = Arc::new(AtomicU64::new(0));
        let beat = Arc::clone(&heartbeat);
        let thread = std::thread::Builder::new()
            .name("longshore-poll".to_owned())
            .spawn(move || run(options, queue, inbox, received, own_waker, beat, Box::new(events)))
            .map_err(|error| Failure::halt(Reason::Internal, format!("no thread for polling: {error}")))?;
        Ok(SourceHandle { commands, waker, heartbeat, thread: Mutex::new(Some(thread)) })
    }
}

type Events = Box<dyn Fn(SourceEvent) + Send>;

/// The thread's life: whatever happens, the last event is `Ended`.
fn run(
    options: SourceOptions,
    queue: Arc<Queue>,
    inbox: Arc<inbox::Inbox>,
    commands: Receiver<SourceCommand>,
    waker: Arc<Waker>,
    heartbeat: Arc<AtomicU64>,
    events: Events,
) {
    let poll = std::panic::AssertUnwindSafe(|| {
        poll::Poll::new(options, &queue, inbox, commands, heartbeat, &events).run()
    });
    let result = std::panic::catch_unwind(poll)
        .unwrap_or_else(|_| Err(Failure::halt(Reason::Internal, "the poll thread panicked")));
    waker.retire();
    destroy(queue);
    events(SourceEvent::Ended(result));
}

/// How long the destruction of a closed client may take before it is left to itself.
const DESTROY_DEADLINE: Duration = Duration::from_secs(2);

/// Destroying a client can hang (rust-rdkafka #509, #597), so it happens on a thread that nobody has to wait for.
fn destroy(queue: Arc<Queue>) {
    let (done, ended) = crossbeam_channel::bounded::<()>(1);
    let spawned = std::thread::Builder::new().name("longshore-destroy".to_owned()).spawn(move || {
        drop(queue);
        drop(done);
    });
    if spawned.is_ok()
        && ended.recv_timeout(DESTROY_DEADLINE) == Err(crossbeam_channel::RecvTimeoutError::Timeout)
    {
        tracing::warn!("the Kafka client does not end; it is left behind");
    }
}

/// Ends a waiting poll.
struct Waker {
    queue: Mutex<Option<Arc<Queue>>>,
}

impl Waker {
    fn wake(&self) {
        let queue = self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(queue) = queue.as_ref() {
            queue.wake();
        }
    }

    /// Lets go of the queue, so that nobody but the poll thread ends the client.
    fn retire(&self) {
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    }
}

/// The runtime's hold of the source.
pub struct SourceHandle {
    commands: Sender<SourceCommand>,
    waker: Arc<Waker>,
    heartbeat: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for SourceHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceHandle").finish_non_exhaustive()
    }
}

impl SourceHandle {
    /// A number that rises at every turn of the poll loop, at least every 200 ms; for a liveness probe.
    pub fn heartbeat(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.heartbeat)
    }

    /// Waits for the thread's end; call it after [`SourceEvent::Ended`] came, or after [`SourceCommand::Shutdown`].
    pub fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the poll thread ended with a panic");
        }
    }
}

impl SourceControl for SourceHandle {
    fn send(&self, command: SourceCommand) {
        // A source that has ended takes no command and has said so.
        if self.commands.send(command).is_ok() {
            self.waker.wake();
        }
    }
}
