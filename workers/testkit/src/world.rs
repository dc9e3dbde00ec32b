//! The world around the processes: the group and its commits, the sinks, the dead-letter topic, and what is on its way.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Arguments;
use std::time::Duration;

use longshore_core::ledger::Trailer;
use longshore_core::pair::{Event, Letter, LetterId, Position};
use longshore_core::source::Assignment;
use longshore_core::{ChunkBuilder, Epoch, Lane, Moment, Offset, PairId, SinkIndex, WriterId};

use crate::Random;
use crate::case::Chance;
use crate::coverage::{Fault, Seen};
use crate::plan::Plan;
use crate::process::{Process, Store};
use crate::retry::StoredCopy;
use crate::sabotage::Sabotage;

/// A promise that was broken, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bug(pub(crate) String);

/// What is on its way to a broker or a sink; it may arrive after its sender died.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) process: usize,
    pub(crate) incarnation: u64,
    pub(crate) epoch: Epoch,
    pub(crate) load: Load,
}

#[derive(Debug)]
pub(crate) enum Load {
    Put {
        sink: SinkIndex,
        trailer: Box<Trailer>,
        rows: Vec<Offset>,
    },
    Letter(Box<Letter>),
    /// That a letter is there.
    Answer(LetterId),
    Commit {
        generation: u64,
        lane: Lane,
        position: Position,
    },
    /// The question where the input ends, then its answer.
    End(Option<Offset>),
}

/// All that there is of one pair: its logs, its sinks, and the part of each process that serves it.
#[derive(Debug)]
pub(crate) struct World {
    /// Which pair of the topic it is.
    pub(crate) pair: PairId,
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) seen: Seen,
    /// Processes that were killed since the fleet looked last.
    pub(crate) killed: Vec<usize>,
    pub(crate) now: Moment,
    /// Faults still happen.
    pub(crate) storm: bool,
    pub(crate) generation: u64,
    pub(crate) owner: usize,
    pub(crate) committed: Option<Position>,
    /// The retry partition, and what is committed of it.
    pub(crate) copies: Vec<StoredCopy>,
    pub(crate) committed_copies: Option<Position>,
    /// Letters that a person has sent again.
    pub(crate) replayed: HashSet<Offset>,
    /// The highest replay number that a letter of a record has, and that of its last replay.
    pub(crate) letter_replays: HashMap<Offset, u32>,
    pub(crate) last_replays: HashMap<Offset, u32>,
    pub(crate) replayed_late: bool,
    /// How often a record had run when it was replayed last.
    pub(crate) replayed_after: HashMap<Offset, u32>,
    pub(crate) stores: Vec<Store>,
    /// How many records the log has so far, and where it ends: behind the last of them, or behind markers.
    pub(crate) visible: usize,
    pub(crate) end: Offset,
    /// How many partitions the topic has.
    pub(crate) partitions: u32,
    /// Records that compaction took.
    pub(crate) gone: HashSet<Offset>,
    /// Where the retry partition begins: retention took what was before.
    pub(crate) retained: Offset,
    /// Letters in the dead-letter topic: which record, and the sink it names if any.
    pub(crate) letters: Vec<(Offset, String)>,
    /// Places of copies that became letters under their own coordinate.
    pub(crate) strays: HashSet<Offset>,
    /// Records that have an honest copy though they never failed.
    pub(crate) spared: HashSet<Offset>,
    /// Records of which the retry topic has refused a copy for good.
    pub(crate) refused_copies: HashSet<Offset>,
    /// How often the notes of crashed owners named a record, at most.
    pub(crate) blamed: HashMap<Offset, u32>,
    pub(crate) flights: Vec<Flight>,
    pub(crate) processes: Vec<Process>,
    /// How often each record was run, by its place in the log.
    pub(crate) runs: Vec<u32>,
    /// Records of which a run has ended well, with rows or filtered.
    pub(crate) passed: HashSet<Offset>,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) bug: Option<Bug>,
    pub(crate) trace: Option<Vec<String>>,
    pub(crate) pending: VecDeque<(usize, Event)>,
    last_id: u64,
}

impl World {
    pub(crate) fn new(
        plan: Plan,
        pair: PairId,
        random: Random,
        sabotage: Option<Sabotage>,
        traced: bool,
    ) -> Self {
        let first = plan.log.first().map_or(Offset(0), |record| record.offset.next());
        let processes = (0..plan.processes).map(|n| Process::new(n as u64, &plan, &pair)).collect();
        let mut world = Self {
            stores: vec![Store::default(); plan.options.sinks.len()],
            runs: vec![0; plan.log.len()],
            passed: HashSet::new(),
            seen: Seen::new(plan.processes),
            killed: Vec::new(),
            pair,
            processes,
            plan,
            random,
            now: Moment::default(),
            storm: true,
            generation: 0,
            visible: 1,
            end: first,
            partitions: 1,
            gone: HashSet::new(),
            retained: Offset(0),
            owner: 0,
            committed: None,
            copies: Vec::new(),
            committed_copies: None,
            replayed: HashSet::new(),
            letter_replays: HashMap::new(),
            last_replays: HashMap::new(),
            replayed_late: false,
            replayed_after: HashMap::new(),
            letters: Vec::new(),
            strays: HashSet::new(),
            spared: HashSet::new(),
            refused_copies: HashSet::new(),
            blamed: HashMap::new(),
            flights: Vec::new(),
            sabotage,
            bug: None,
            trace: traced.then(Vec::new),
            pending: VecDeque::new(),
            last_id: 1000,
        };
        world.give_to(0);
        world
    }

    pub(crate) fn note(&mut self, line: Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>6} {line}", self.now.0.as_millis()));
        }
    }

    pub(crate) fn broken(&mut self, what: String) {
        self.bug.get_or_insert(Bug(what));
    }

    /// The end of the log so far.
    pub(crate) fn log_end(&self) -> Offset {
        self.end
    }

    /// The log has everything that it ever will, for now.
    pub(crate) fn is_written(&self) -> bool {
        self.visible == self.plan.log.len() && self.end >= self.plan.end
    }

    /// Somebody publishes one more record to the input, or ends a transaction: its marker takes an offset.
    pub(crate) fn grow(&mut self) {
        let next = self.plan.log.get(self.visible).copied();
        let until = next.map_or(self.plan.end, |record| record.offset);
        if self.end < until && (next.is_none() || self.random.percent(50)) {
            self.end = self.end.next();
        } else if let Some(record) = next {
            self.visible += 1;
            self.end = record.offset.next();
            self.spare_forgeries(record.offset);
        }
    }

    /// Whether something goes wrong between a request and its answer, in so many of a hundred cases.
    pub(crate) fn unlucky(&mut self, percent: usize) -> bool {
        self.storm && self.plan.may(Chance::Answers) && self.random.percent(percent)
    }

    /// The group gives the pair to a process.
    pub(crate) fn give_to(&mut self, to: usize) {
        if self.generation > 0 {
            self.seen.coverage.rebalances += 1;
        }
        if self.generation > 0 && to == self.owner {
            self.seen.fault(Fault::Rejoin);
        }
        self.generation += 1;
        self.owner = to;
        let generation = self.generation;
        self.processes[to].to_assign = Some((generation, self.log_end()));
        self.note(format_args!("-- generation {generation}: the pair goes to p{to}"));
    }

    /// Tells a process's pair something, and performs what it asks for.
    pub(crate) fn tell(&mut self, at: usize, event: Event) {
        self.pending.push_back((at, event));
        while let Some((at, event)) = self.pending.pop_front() {
            let present = self.processes[at].pair.epoch();
            let event = match self.sabotage {
                Some(sabotage) => sabotage.event(event, present),
                None => Some(event),
            };
            let Some(event) = event else { continue };
            if self.trace.is_some() {
                let text = crate::trace::event(&event);
                self.note(format_args!("p{at} <- {text}"));
            }
            let mut actions = Vec::new();
            self.processes[at].pair.handle(event, self.now, &mut actions);
            self.seen.state(at, self.processes[at].pair.state());
            let (held, holders) = self.processes[at].pair.holds();
            if held != holders {
                self.broken(format!(
                    "I5 {held} payloads of p{at}'s retry lane are held by {holders} records"
                ));
            }
            for action in actions {
                self.perform(at, action);
            }
        }
    }

    /// A process begins from nothing.
    pub(crate) fn restart(&mut self, at: usize) {
        self.last_id += 1;
        self.processes[at] = Process::new(self.last_id, &self.plan, &self.pair);
        self.seen.restarted(at);
    }

    /// A process is killed: what it had on its way still arrives, or does not.
    pub(crate) fn die(&mut self, at: usize) {
        let incarnation = self.processes[at].incarnation;
        self.restart(at);
        if self.random.percent(50) {
            self.flights.retain(|flight| flight.incarnation != incarnation);
        }
    }

    /// The same, by something that happens in this pair; the other pairs of that process hear of it.
    pub(crate) fn crash(&mut self, at: usize) {
        self.seen.coverage.kills += 1;
        self.killed.push(at);
        self.die(at);
    }

    /// A process was killed by what happened in another pair; the group gives what it owned to another.
    pub(crate) fn die_with_others(&mut self, at: usize) {
        self.note(format_args!("!! p{at} is killed by what happens in another pair"));
        self.die(at);
        if self.owner == at {
            let to = self.random.below(self.processes.len());
            self.give_to(to);
        }
    }

    pub(crate) fn fresh_writer(&mut self) -> WriterId {
        self.last_id += 1;
        WriterId(u128::from(self.last_id) << 64 | u128::from(self.random.bits()))
    }

    /// The source tells a process of its assignment, with what is committed by now; a process that is not the owner any
    /// more hears that the pair is lost.
    pub(crate) fn assign(&mut self, at: usize) {
        let Some((generation, log_end)) = self.processes[at].to_assign.take() else { return };
        if generation != self.generation {
            return self.lose(at);
        }
        self.processes[at].generation = self.generation;
        let fresh = self.fresh_writer();
        let writer = self.sabotage.map_or(fresh, |sabotage| sabotage.writer(fresh, at));
        let process = &mut self.processes[at];
        process.epoch += 1;
        process.source = None;
        process.copies = None;
        process.last_metadata = None;
        let assignment = Assignment {
            pair: self.pair.clone(),
            epoch: Epoch(process.epoch),
            committed: self.committed.clone(),
            start: Offset(0),
            log_start: Offset(0),
            log_end,
            cluster: "c".into(),
            topic_id: "t".into(),
            partitions: self.partitions,
            retry: self.plan.options.retry.map(|_| self.retry_assignment()),
        };
        if let Some(Ok(metadata)) = self.committed.as_ref().map(|c| self.read_metadata(c)) {
            for trying in &metadata.trying {
                let most = self.blamed.entry(trying.offset).or_default();
                *most = trying.tries.max(*most);
            }
            self.processes[at].skipped = metadata.settled;
        }
        self.tell(at, Event::Assigned { assignment, writer });
    }

    /// A process hears that its pair is gone.
    pub(crate) fn lose(&mut self, at: usize) {
        let process = &mut self.processes[at];
        process.forbidden = Some(process.pair.epoch());
        process.leaving = None;
        process.source = None;
        process.copies = None;
        self.tell(at, Event::Lost);
    }

    /// Reads the next one to four records, sometimes some that were read before. Where there are none any more up to the end of the log, the
    /// source says so.
    pub(crate) fn read(&mut self, at: usize) {
        let again = self.unlucky(5);
        let want = 1 + self.random.below(4) as u64;
        let end = self.log_end();
        let Some(source) = &mut self.processes[at].source else { return };
        let count = want.min(source.granted.saturating_sub(source.given)) as usize;
        let from = if again { Offset(source.next.0 - 2) } else { source.next };
        let first = self.plan.log.partition_point(|record| record.offset < from);
        let mut chunk = ChunkBuilder::new(self.pair.clone(), Lane::Input, source.epoch);
        let there = self.plan.log[..self.visible].iter().skip(first);
        for record in there.filter(|record| !self.gone.contains(&record.offset)).take(count) {
            let key = record.key.map(|key| [key]);
            chunk.record(record.offset, 0, key.as_ref().map(<[u8; 1]>::as_slice), Some(b"v"));
            source.next = source.next.max(record.offset.next());
            source.given += 1;
        }
        if chunk.is_empty() {
            let (epoch, lane) = (source.epoch, Lane::Input);
            source.next = source.next.max(end);
            return self.tell(at, Event::Passed { epoch, lane, offset: end });
        }
        if again {
            self.seen.fault(Fault::Redelivery);
        }
        self.tell(at, Event::Received(chunk.build(None)));
    }

    pub(crate) fn can_read(&self, at: usize) -> bool {
        let source = self.processes[at].source.as_ref();
        source.is_some_and(|source| source.given < source.granted && source.next < self.log_end())
    }

    /// Time passes; every process whose wake has come is told.
    pub(crate) fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
        for at in 0..self.processes.len() {
            if self.processes[at].pair.next_wake().is_some_and(|wake| wake <= self.now) {
                self.tell(at, Event::Tick);
            }
        }
    }

    /// Records of the log that were lettered.
    pub(crate) fn lettered(&self) -> HashSet<Offset> {
        self.letters.iter().map(|(offset, _)| *offset).collect()
    }
}
