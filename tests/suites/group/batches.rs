//! Batches of librdkafka's against everything that happens to a partition while some of its records are in one: credit ends anywhere in
//! it, a lane is sent elsewhere, a pair begins anew. And every record is whole, with its headers or without.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use longshore_core::source::{Assignment, SourceCommand, SourceControl, SourceEvent};
use longshore_core::{Budget, Chunk, Epoch, Lane, Offset, PairId, RecordRef};
use longshore_kafka::{GroupProtocol, PollThread, SourceHandle, SourceOptions};
use longshore_testkit::Random;
use longshore_tests::harness::{Record, Witness, shared_broker};

use super::member::{PATIENCE, Reads, kafka, lanes, options, position};

const PARTITIONS: i32 = 3;
/// Records in each partition of both topics.
const RECORDS: i64 = 6_000;
/// The most records that come beside a lane's credit: those of the batch in which it ended.
const BATCH: u64 = 1_024;
/// How often something happens to lanes before they may read to their end.
const STRIKES: usize = 150;
/// So long nothing comes until lanes that were kept without credit get some.
const DRY: Duration = Duration::from_millis(10);
/// So many times longer where a lane that is not at its end has to be fetched first.
const QUIET_MAX: u32 = 20;

/// A record of every shape; what it holds follows from its offset.
fn record(offset: i64, partition: i32) -> Record {
    let mut record = Record::new(&format!("key-{offset}"), format!("value-{offset}")).to(partition);
    if offset % 3 == 0 {
        record.key = None;
    }
    match offset % 8 {
        1 => record = record.header("name", &format!("header-{offset}")),
        2 => record.value = Some([offset.to_be_bytes(), [0; 8]].concat()),
        3 => record = record.header("zeros", "\0\0").header("zeros", ""),
        4 => record.value = Some(Vec::new()),
        5 => {
            record.value = Some(Vec::new());
            record = record.header("of nothing", "");
        }
        6 => {
            record.value = None;
            record = record.header("of a tombstone", "\0");
        }
        7 => record.value = Some(vec![0; (offset % 2_000) as usize]),
        _ => {}
    }
    record
}

/// What a member knows of one lane.
struct Mine {
    epoch: Epoch,
    /// The record that must come next.
    next: i64,
    /// Where the lane was sent and has not begun yet; until then it goes on where it was.
    sent: Option<i64>,
    granted: u64,
    received: u64,
}

struct Batches {
    handle: Arc<SourceHandle>,
    events: Receiver<SourceEvent>,
    lanes: BTreeMap<(PairId, Lane), Mine>,
    random: Random,
    /// How often credit ended, a lane was sent back, a pair was begun anew.
    strikes: [usize; 3],
    /// Lanes that are kept without credit until nothing comes any more.
    dry: Vec<(PairId, Lane)>,
    /// How often something was held back then.
    held: usize,
    /// How often nothing came and nothing was held back, in a row.
    quiet: u32,
    budget: Arc<Budget>,
}

impl Batches {
    fn join(witness: &Witness, topic: &str, retry: &str, protocol: GroupProtocol) -> Self {
        let reads = Reads { topic, retry: Some(retry), group: topic, recommit: SourceOptions::RECOMMIT };
        let (sender, events) = channel();
        let options = options(kafka(witness.bootstrap(), protocol), &reads);
        let budget = Arc::clone(&options.budget);
        let handle = Arc::new(PollThread::spawn(options, move |event| drop(sender.send(event))).unwrap());
        let (lanes, random) = (BTreeMap::new(), Random::new(7));
        Self { handle, events, lanes, random, strikes: [0; 3], dry: Vec::new(), held: 0, quiet: 0, budget }
    }

    /// Hears events until every lane is read to its end.
    fn run(&mut self) {
        let began = Instant::now();
        while !self.is_done() {
            assert!(began.elapsed() < 2 * PATIENCE, "strikes {:?}, {:?}", self.strikes, self.ends());
            let Some(event) = self.next() else { continue };
            match event {
                SourceEvent::Assigned(given) => self.start(&given),
                SourceEvent::Received(chunk) => self.receive(&chunk),
                SourceEvent::Revoking { .. }
                | SourceEvent::Lost { .. }
                | SourceEvent::Refused { .. }
                | SourceEvent::CopiesLost { .. }
                | SourceEvent::Ended(_) => panic!("{event:?}"),
                SourceEvent::Committed { .. }
                | SourceEvent::Passed { .. }
                | SourceEvent::EndFound { .. }
                | SourceEvent::LogEnd { .. }
                | SourceEvent::Trouble(_)
                | SourceEvent::Member(_)
                | SourceEvent::Well => {}
            }
        }
    }

    /// What comes next; none when only credit will do.
    fn next(&mut self) -> Option<SourceEvent> {
        if self.dry.is_empty() {
            let Ok(event) = self.events.recv_timeout(PATIENCE) else { panic!("stuck at {:?}", self.ends()) };
            return Some(event);
        }
        if let Ok(event) = self.events.recv_timeout(DRY) {
            return Some(event);
        }
        // No chunk is under way, so what is charged is held back.
        let is_held = self.budget.used() > 0;
        let unread = |at: &(PairId, Lane)| {
            at.1 == Lane::Input && self.lanes.get(at).is_some_and(|mine| mine.next < RECORDS)
        };
        if !is_held && self.quiet < QUIET_MAX && self.dry.iter().any(unread) {
            self.quiet += 1;
            return None;
        }
        self.held += usize::from(is_held);
        self.quiet = 0;
        for (pair, lane) in std::mem::take(&mut self.dry) {
            self.grant(&pair, lane);
        }
        None
    }

    fn is_calm(&self) -> bool {
        self.strikes.iter().sum::<usize>() >= STRIKES && self.strikes.iter().all(|count| *count > 5)
    }

    fn is_done(&self) -> bool {
        let at_its_end = |mine: &Mine| mine.next == RECORDS && mine.sent.is_none();
        self.is_calm() && self.lanes.len() == 2 * PARTITIONS as usize && self.lanes.values().all(at_its_end)
    }

    fn ends(&self) -> Vec<(String, i64, Option<i64>)> {
        let shown = |((pair, lane), mine): (&(PairId, Lane), &Mine)| {
            (format!("{pair} {lane:?}"), mine.next, mine.sent)
        };
        self.lanes.iter().map(shown).collect()
    }

    fn start(&mut self, given: &Assignment) {
        for (lane, offset) in lanes(given) {
            let mine = Mine { epoch: given.epoch, next: offset.0, sent: None, granted: 0, received: 0 };
            self.lanes.insert((given.pair.clone(), lane), mine);
            self.send_to(&given.pair, lane, offset.0);
            self.grant(&given.pair, lane);
        }
    }

    fn send_to(&self, pair: &PairId, lane: Lane, offset: i64) {
        let epoch = self.lanes[&(pair.clone(), lane)].epoch;
        self.handle.send(SourceCommand::Start { pair: pair.clone(), epoch, lane, offset: Offset(offset) });
    }

    /// A piece of credit that ends anywhere in a batch.
    fn grant(&mut self, pair: &PairId, lane: Lane) {
        let piece = 1 + self.random.below(if self.is_calm() { 5_000 } else { 700 }) as u64;
        let Some(mine) = self.lanes.get_mut(&(pair.clone(), lane)) else { return };
        mine.granted = mine.received + piece;
        let (epoch, records) = (mine.epoch, mine.granted);
        self.handle.send(SourceCommand::Grant { pair: pair.clone(), epoch, lane, records, bytes: 1 << 40 });
    }

    fn receive(&mut self, chunk: &Arc<Chunk>) {
        let (pair, lane, epoch) = (chunk.pair().clone(), chunk.lane(), chunk.epoch());
        let Some(mine) = self.lanes.get_mut(&(pair.clone(), lane)).filter(|mine| mine.epoch == epoch) else {
            return;
        };
        let first = chunk.offset(0).0;
        if mine.sent.is_some_and(|sent| sent == first) {
            (mine.next, mine.sent) = (first, None);
        }
        for index in 0..chunk.len() as u32 {
            let found = RecordRef::new(chunk, index).unwrap();
            assert_eq!(found.lane_offset().0, mine.next, "{pair} {lane:?}: sent to {:?}", mine.sent);
            check(&found, &record(mine.next, 0));
            mine.next += 1;
        }
        mine.received += chunk.len() as u64;
        let (received, granted) = (mine.received, mine.granted);
        assert!(received < granted + BATCH, "{pair} {lane:?}: {received} records with credit for {granted}");
        let next = position(mine.next);
        self.handle.send(SourceCommand::Commit { pair: pair.clone(), epoch, lane, position: next });
        self.strike(&pair, lane);
    }

    /// What happens to the lane now, and credit where it ended.
    fn strike(&mut self, pair: &PairId, lane: Lane) {
        let (calm, chance) = (self.is_calm(), self.random.below(100));
        let Some(mine) = self.lanes.get_mut(&(pair.clone(), lane)) else { return };
        let (next, epoch, dry) = (mine.next, mine.epoch, mine.received >= mine.granted);
        let sends = chance < 25 || next == RECORDS;
        if !calm && lane == Lane::Retry && mine.sent.is_none() && sends {
            self.strikes[1] += 1;
            let to = self.random.below(next as usize) as i64;
            if let Some(mine) = self.lanes.get_mut(&(pair.clone(), lane)) {
                mine.sent = Some(to);
            }
            self.send_to(pair, lane, to);
        } else if !calm && chance < 28 {
            // Both lanes go back to what is committed, and what is in the batch is of an old ownership.
            self.strikes[2] += 1;
            self.lanes.retain(|(known, _), _| known != pair);
            return self.handle.send(SourceCommand::Reassign { pair: pair.clone(), epoch });
        }
        if dry {
            self.strikes[0] += 1;
            if !calm && chance.is_multiple_of(2) {
                self.dry.push((pair.clone(), lane));
            } else {
                self.grant(pair, lane);
            }
        }
    }
}

/// Everything of a record is what was published.
fn check(found: &RecordRef, published: &Record) {
    let headers: Vec<_> =
        found.headers().map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec))).collect();
    let wanted: Vec<_> = published
        .headers
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), Some(value.clone())))
        .collect();
    let at = found.lane_offset();
    assert_eq!(headers, wanted, "the headers at {at}");
    assert_eq!(found.key(), published.key.as_deref(), "the key at {at}");
    assert_eq!(found.value(), published.value.as_deref(), "the value at {at}");
}

/// Scenario: one member reads an input and its retry topic, whose records have every shape of key, value and headers, packed and not; credit
/// comes in pieces that end anywhere in a batch, retry lanes are sent back to any offset, pairs are begun anew.
/// What comes of an input without credit is held back, and credit comes for it later, or the pair is begun anew.
/// Guarantee: each lane gives record after record from where it was begun or sent, each as it was published, and when its credit has ended no
/// more than the rest of one batch.
fn batches(name: &str, protocol: GroupProtocol) {
    let Some(broker) = shared_broker() else { return };
    let witness = Witness::new(&broker.bootstrap());
    let retry = format!("{name}.p.retry");
    for (topic, codec) in [(name, "none"), (retry.as_str(), "lz4")] {
        witness.create_topic(topic, PARTITIONS, &[]);
        let publisher = witness.publisher_with(&[("compression.type", codec)]);
        for partition in 0..PARTITIONS {
            let records: Vec<_> = (0..RECORDS).map(|offset| record(offset, partition)).collect();
            publisher.publish(topic, &records);
        }
    }
    let mut member = Batches::join(&witness, name, &retry, protocol);
    member.run();
    member.handle.send(SourceCommand::Shutdown);
    let ended = member.events.iter().find_map(|event| match event {
        SourceEvent::Ended(result) => Some(result),
        _ => None,
    });
    ended.unwrap().unwrap();
    member.handle.join();
    let ([dry, sent, anew], held) = (member.strikes, member.held);
    assert!(held > 0, "nothing was held back");
    longshore_tests::harness::report::used(&format!(
        "{name}: credit ended {dry} times, {sent} lanes sent back, {anew} pairs begun anew, {held} looks at what was held back"
    ));
}

#[test]
fn batches_are_cut_anywhere() {
    batches("batches-classic", GroupProtocol::Classic);
}

/// The same by KIP-848.
#[test]
fn batches_are_cut_anywhere_with_the_new_protocol() {
    batches("batches-consumer", GroupProtocol::Consumer);
}
