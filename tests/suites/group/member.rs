//! A member of a consumer group that does at once what a runtime would do in the end: it starts what it is given, commits
//! what it receives, and lets go when asked.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_core::pair::Position;
use longshore_core::source::{Assignment, SourceCommand, SourceControl, SourceEvent};
use longshore_core::{Budget, Chunk, Epoch, Failure, Lane, Offset, PairId};
use longshore_kafka::{
    ClientMemory, GroupProtocol, KafkaOptions, PollThread, SourceHandle, SourceOptions, StartPolicy,
};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What all members of a test saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often each offset of each partition was handed over.
    pub deliveries: BTreeMap<i32, BTreeMap<i64, u32>>,
    /// All assignments, in their order.
    pub assignments: Vec<Assignment>,
    /// The highest offset handed over under each epoch.
    pub highest: BTreeMap<Epoch, i64>,
    /// Pairs that the source refused, and why.
    pub refused: Vec<(PairId, Failure)>,
    /// Pairs that were lost or revoked.
    pub taken: Vec<(PairId, Epoch)>,
    /// How many commits were answered as done.
    pub committed: u64,
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

/// A member, at work on a thread of its own.
pub struct Member {
    pub handle: Arc<SourceHandle>,
    thread: JoinHandle<()>,
}

impl Member {
    /// Joins the group.
    pub fn join(kafka: KafkaOptions, topic: &str, group: &str, world: &World) -> Self {
        let (sender, events) = channel();
        let options = SourceOptions {
            kafka,
            topics: vec![topic.to_owned()],
            group: group.to_owned(),
            start: StartPolicy::Earliest,
            revoke: Duration::from_secs(1),
            budget: Budget::new(256 << 20),
            memory: ClientMemory::derive(64 << 20),
        };
        let handle = Arc::new(PollThread::spawn(options, hand_on(sender)).unwrap());
        let work = Work { handle: Arc::clone(&handle), world: Arc::clone(world), next: BTreeMap::new() };
        let thread = std::thread::spawn(move || work.run(&events));
        Self { handle, thread }
    }

    /// Leaves the group in order.
    pub fn leave(self) {
        self.handle.send(SourceCommand::Shutdown);
        self.thread.join().unwrap();
        self.handle.join();
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
    /// Of each pair that is ours: its epoch and the offset behind what was received.
    next: BTreeMap<PairId, (Epoch, i64)>,
}

impl Work {
    fn run(mut self, events: &Receiver<SourceEvent>) {
        while let Ok(event) = events.recv() {
            match event {
                SourceEvent::Assigned(given) => self.start(given),
                SourceEvent::Received(chunk) => self.receive(&chunk),
                SourceEvent::Committed { .. } => look(&self.world, |seen| seen.committed += 1),
                SourceEvent::Revoking { pair, epoch } => self.release(pair, epoch),
                SourceEvent::Lost { pair, epoch } => {
                    self.next.remove(&pair);
                    look(&self.world, |seen| seen.taken.push((pair, epoch)));
                }
                SourceEvent::Ended(result) => return result.unwrap(),
                SourceEvent::Refused { pair, failure } => {
                    look(&self.world, |seen| seen.refused.push((pair, failure)));
                }
                SourceEvent::Passed { .. } | SourceEvent::Trouble(_) | SourceEvent::Well => {}
            }
        }
    }

    fn start(&mut self, given: Assignment) {
        let offset = given.committed.as_ref().map_or(given.start, |position| position.offset);
        let (pair, epoch) = (given.pair.clone(), given.epoch);
        self.next.insert(pair.clone(), (epoch, offset.0));
        look(&self.world, |seen| seen.assignments.push(given));
        self.handle.send(SourceCommand::Start { pair: pair.clone(), epoch, lane: Lane::Input, offset });
        self.handle.send(SourceCommand::Grant {
            pair,
            epoch,
            lane: Lane::Input,
            records: 1 << 40,
            bytes: 1 << 40,
        });
    }

    fn receive(&mut self, chunk: &Chunk) {
        let pair = chunk.pair().clone();
        look(&self.world, |seen| {
            let partition = seen.deliveries.entry(pair.partition.0).or_default();
            for index in 0..chunk.len() as u32 {
                *partition.entry(chunk.offset(index).0).or_default() += 1;
            }
        });
        let next = chunk.offset(chunk.len() as u32 - 1).0 + 1;
        let epoch = chunk.epoch();
        look(&self.world, |seen| seen.highest.insert(epoch, next - 1));
        self.next.insert(pair.clone(), (epoch, next));
        self.handle.send(SourceCommand::Commit { pair, epoch, lane: Lane::Input, position: position(next) });
    }

    fn release(&mut self, pair: PairId, epoch: Epoch) {
        let position = self.next.remove(&pair).map(|(_, next)| position(next));
        look(&self.world, |seen| seen.taken.push((pair.clone(), epoch)));
        self.handle.send(SourceCommand::Release { pair, epoch, position, retry: None });
    }
}

fn position(offset: i64) -> Position {
    Position { offset: Offset(offset), metadata: metadata(offset) }
}
