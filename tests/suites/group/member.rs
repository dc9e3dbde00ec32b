//! A member of a consumer group that does at once what a runtime would do in the end: it starts what it is given, commits
//! what it receives, and lets go when asked.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_core::pair::{CommitResult, Position};
use longshore_core::source::{Assignment, SourceCommand, SourceControl, SourceEvent};
use longshore_core::{Budget, Chunk, Epoch, Failure, Lane, Offset, PairId};
use longshore_kafka::{
    ClientMemory, GroupProtocol, KafkaOptions, PollThread, SourceHandle, SourceOptions, StartPolicy,
};
use longshore_tests::harness::wait_until;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What all members of a test saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often each offset of each partition of the input was handed over.
    pub deliveries: BTreeMap<i32, BTreeMap<i64, u32>>,
    /// The same of the retry topic.
    pub copies: BTreeMap<i32, BTreeMap<i64, u32>>,
    /// All assignments, in their order.
    pub assignments: Vec<Assignment>,
    /// The highest offset handed over under each epoch.
    pub highest: BTreeMap<Epoch, i64>,
    /// Pairs that the source refused, and why.
    pub refused: Vec<(PairId, Failure)>,
    /// Pairs that were lost or revoked.
    pub taken: Vec<(PairId, Epoch)>,
    /// What was said of lost copies.
    pub lost: Vec<(PairId, String)>,
    /// How commits were answered.
    pub committed: Vec<(Lane, CommitResult)>,
    /// Lanes that are given no credit: they are paused.
    pub held: Vec<(i32, Lane)>,
}

impl Seen {
    /// How many different offsets were handed over.
    pub fn offsets(&self) -> usize {
        self.deliveries.values().map(BTreeMap::len).sum()
    }
}

/// Shared by the members of a test.
pub type World = Arc<Mutex<Seen>>;

/// What is seen so far.
pub fn look<T>(world: &World, at: impl FnOnce(&mut Seen) -> T) -> T {
    at(&mut world.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The metadata that members commit beside an offset.
pub fn metadata(offset: i64) -> String {
    format!("offset={offset}")
}

/// Options of a source that can be told apart from the default only by its protocol.
pub fn kafka(bootstrap: &str, protocol: GroupProtocol) -> KafkaOptions {
    let mut options = KafkaOptions::plain(bootstrap);
    options.group_protocol = protocol;
    options
}

/// What a member reads.
pub struct Reads<'a> {
    pub topic: &'a str,
    /// Its retry topic, if it has one.
    pub retry: Option<&'a str>,
    pub group: &'a str,
    /// See [`SourceOptions::recommit`].
    pub recommit: Duration,
}

/// A member, at work on a thread of its own.
pub struct Member {
    pub handle: Arc<SourceHandle>,
    thread: JoinHandle<()>,
}

impl Member {
    /// Joins the group, without a retry topic.
    pub fn join(kafka: KafkaOptions, topic: &str, group: &str, world: &World) -> Self {
        Self::join_with(kafka, &Reads { topic, retry: None, group, recommit: SourceOptions::RECOMMIT }, world)
    }

    /// Joins the group.
    pub fn join_with(kafka: KafkaOptions, reads: &Reads<'_>, world: &World) -> Self {
        let (sender, events) = channel();
        let handle = Arc::new(PollThread::spawn(options(kafka, reads), hand_on(sender)).unwrap());
        let work = Work { handle: Arc::clone(&handle), world: Arc::clone(world), next: BTreeMap::new() };
        let thread = std::thread::spawn(move || work.run(&events));
        Self { handle, thread }
    }

    /// Leaves the group in order.
    pub fn leave(self) {
        self.handle.send(SourceCommand::Shutdown);
        wait_until("the member has left", PATIENCE, || self.thread.is_finished());
        self.thread.join().unwrap();
        self.handle.join();
    }
}

/// Options of a source that reads these.
pub fn options(kafka: KafkaOptions, reads: &Reads<'_>) -> SourceOptions {
    let retry_topics = reads.retry.map(|retry| (reads.topic.to_owned(), retry.to_owned()));
    SourceOptions {
        kafka,
        topics: vec![reads.topic.to_owned()],
        retry_topics: retry_topics.into_iter().collect(),
        recommit: reads.recommit,
        http_port: None,
        group: reads.group.to_owned(),
        start: StartPolicy::Earliest,
        revoke: Duration::from_secs(1),
        budget: Budget::new(256 << 20),
        memory: ClientMemory::derive(64 << 20),
    }
}

fn hand_on(sender: Sender<SourceEvent>) -> impl Fn(SourceEvent) + Send + 'static {
    move |event| {
        // A member that has ended hears nothing more.
        let _unheard = sender.send(event);
    }
}

struct Work {
    handle: Arc<SourceHandle>,
    world: World,
    /// Of each lane that is ours: its epoch and the offset behind what was received.
    next: BTreeMap<(PairId, Lane), (Epoch, i64)>,
}

impl Work {
    fn run(mut self, events: &Receiver<SourceEvent>) {
        while let Ok(event) = events.recv() {
            match event {
                SourceEvent::Assigned(given) => self.start(given),
                SourceEvent::Received(chunk) => self.receive(&chunk),
                SourceEvent::Committed { lane, result, .. } => {
                    look(&self.world, |seen| seen.committed.push((lane, result)));
                }
                SourceEvent::Revoking { pair, epoch } => self.release(pair, epoch),
                SourceEvent::Lost { pair, epoch } => {
                    self.next.retain(|(known, _), _| *known != pair);
                    look(&self.world, |seen| seen.taken.push((pair, epoch)));
                }
                SourceEvent::Refused { pair, failure } => {
                    look(&self.world, |seen| seen.refused.push((pair, failure)));
                }
                SourceEvent::CopiesLost { pair, words } => {
                    look(&self.world, |seen| seen.lost.push((pair, words)));
                }
                SourceEvent::Ended(result) => return result.unwrap(),
                SourceEvent::Passed { .. }
                | SourceEvent::EndFound { .. }
                | SourceEvent::LogEnd { .. }
                | SourceEvent::Trouble(_)
                | SourceEvent::Member(_)
                | SourceEvent::Well => {}
            }
        }
    }

    fn start(&mut self, given: Assignment) {
        let (pair, epoch) = (given.pair.clone(), given.epoch);
        for (lane, offset) in lanes(&given) {
            self.next.insert((pair.clone(), lane), (epoch, offset.0));
            self.handle.send(SourceCommand::Start { pair: pair.clone(), epoch, lane, offset });
            if !look(&self.world, |seen| seen.held.contains(&(pair.partition.0, lane))) {
                let (records, bytes) = (1 << 40, 1 << 40);
                self.handle.send(SourceCommand::Grant { pair: pair.clone(), epoch, lane, records, bytes });
            }
        }
        look(&self.world, |seen| seen.assignments.push(given));
    }

    fn receive(&mut self, chunk: &Chunk) {
        let (pair, lane) = (chunk.pair().clone(), chunk.lane());
        look(&self.world, |seen| {
            let partitions = match lane {
                Lane::Input => &mut seen.deliveries,
                Lane::Retry => &mut seen.copies,
            };
            let partition = partitions.entry(pair.partition.0).or_default();
            for index in 0..chunk.len() as u32 {
                *partition.entry(chunk.offset(index).0).or_default() += 1;
            }
        });
        let next = chunk.offset(chunk.len() as u32 - 1).0 + 1;
        let epoch = chunk.epoch();
        if lane == Lane::Input {
            look(&self.world, |seen| seen.highest.insert(epoch, next - 1));
        }
        self.next.insert((pair.clone(), lane), (epoch, next));
        self.handle.send(SourceCommand::Commit { pair, epoch, lane, position: position(next) });
    }

    fn release(&mut self, pair: PairId, epoch: Epoch) {
        let mut last = |lane| self.next.remove(&(pair.clone(), lane)).map(|(_, next)| position(next));
        let (input, retry) = (last(Lane::Input), last(Lane::Retry));
        look(&self.world, |seen| seen.taken.push((pair.clone(), epoch)));
        self.handle.send(SourceCommand::Release { pair, epoch, position: input, retry });
    }
}

/// Where each lane of an assignment begins.
pub fn lanes(given: &Assignment) -> Vec<(Lane, Offset)> {
    let input = given.committed.as_ref().map_or(given.start, |position| position.offset);
    let retry = given.retry.as_ref().map(|retry| {
        (Lane::Retry, retry.committed.as_ref().map_or(retry.log_start, |position| position.offset))
    });
    std::iter::once((Lane::Input, input)).chain(retry).collect()
}

/// A position as members commit it.
pub fn position(next: i64) -> Position {
    Position { offset: Offset(next), metadata: metadata(next) }
}
