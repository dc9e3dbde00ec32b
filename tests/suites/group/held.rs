//! What comes while a pair has no credit is held back by the poll thread: it is neither lost, nor passed over, nor handed over after the
//! pair was let go of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use longshore_core::source::{SourceCommand, SourceControl, SourceEvent};
use longshore_core::{Budget, Chunk, Epoch, Lane, PairId};
use longshore_kafka::{GroupProtocol, PollThread, SourceHandle, SourceOptions};
use longshore_tests::harness::{Record, Witness, shared_broker, wait_until};

use super::member::{Member, PATIENCE, Reads, World, kafka, lanes, look, options, position};

/// Records of one transaction, behind which stands a marker.
const TRANSACTION: i64 = 500;
/// Transactions in each partition: more than one batch of librdkafka's.
const TRANSACTIONS: i64 = 8;
/// Behind the last marker.
const END: i64 = TRANSACTIONS * (TRANSACTION + 1);

/// A pair of a member that takes one chunk at a time.
#[derive(Debug)]
struct Mine {
    epoch: Epoch,
    /// Nothing below may come any more.
    next: i64,
    records: u64,
    granted: u64,
}

struct Slow {
    handle: Arc<SourceHandle>,
    events: Receiver<SourceEvent>,
    budget: Arc<Budget>,
    pairs: BTreeMap<PairId, Mine>,
}

impl Slow {
    fn join(witness: &Witness, topic: &str) -> Self {
        let reads = Reads { topic, retry: None, group: topic, recommit: SourceOptions::RECOMMIT };
        let (sender, events) = channel();
        let options = options(kafka(witness.bootstrap(), GroupProtocol::Classic), &reads);
        let budget = Arc::clone(&options.budget);
        let handle = PollThread::spawn(options, move |event| drop(sender.send(event))).unwrap();
        Self { handle: Arc::new(handle), events, budget, pairs: BTreeMap::new() }
    }

    /// Credit for so many records more than were received.
    fn grant(&mut self, pair: &PairId, more: u64) {
        let Some(mine) = self.pairs.get_mut(pair) else { return };
        mine.granted = mine.records + more;
        let (pair, epoch, records) = (pair.clone(), mine.epoch, mine.granted);
        let (lane, bytes) = (Lane::Input, 1 << 40);
        self.handle.send(SourceCommand::Grant { pair, epoch, lane, records, bytes });
    }

    /// Hears events for so long, or until one that the caller looks for.
    fn hear(&mut self, until: Instant, wanted: impl Fn(&SourceEvent) -> bool) -> Option<SourceEvent> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).ok()?;
            match &event {
                SourceEvent::Assigned(given) => {
                    for (lane, offset) in lanes(given) {
                        let mine = Mine { epoch: given.epoch, next: offset.0, records: 0, granted: 0 };
                        let (pair, epoch) = (given.pair.clone(), given.epoch);
                        self.pairs.insert(pair.clone(), mine);
                        self.handle.send(SourceCommand::Start { pair, epoch, lane, offset });
                    }
                    self.grant(&given.pair, 1);
                }
                SourceEvent::Received(chunk) => self.receive(chunk),
                SourceEvent::Passed { pair, offset, .. } => {
                    let mine = &self.pairs[pair];
                    let unread = (mine.next..offset.0).find(|offset| is_record(*offset));
                    assert_eq!(unread, None, "{pair}: passed to {offset}, and this was not handed over");
                }
                _ => {}
            }
            if wanted(&event) {
                return Some(event);
            }
        }
    }

    fn receive(&mut self, chunk: &Chunk) {
        let mine = self.pairs.get_mut(chunk.pair()).unwrap();
        assert!(mine.records < mine.granted, "{}: a chunk without credit", chunk.pair());
        for index in 0..chunk.len() as u32 {
            let wanted = (mine.next..).find(|offset| is_record(*offset)).unwrap();
            assert_eq!(chunk.offset(index).0, wanted, "{}: one record after the other", chunk.pair());
            mine.next = wanted + 1;
        }
        mine.records += chunk.len() as u64;
    }

    /// Reads on with credit for one chunk at a time, until each pair is at its end and the last marker is passed.
    fn read_to_the_end(&mut self) {
        let until = Instant::now() + PATIENCE;
        let mut passed = BTreeSet::new();
        while passed.len() < self.pairs.len() {
            let dry = self.pairs.iter().filter(|(_, mine)| mine.records >= mine.granted);
            let dry: Vec<_> = dry.map(|(pair, _)| pair.clone()).collect();
            dry.iter().for_each(|pair| self.grant(pair, 1));
            let moves =
                |event: &SourceEvent| matches!(event, SourceEvent::Received(_) | SourceEvent::Passed { .. });
            match self.hear(until, moves) {
                None => panic!("not at the end: {:?}", self.pairs),
                Some(SourceEvent::Passed { pair, offset, .. }) if offset.0 == END => {
                    passed.insert(pair);
                }
                Some(_) => {}
            }
        }
    }

    fn leave(self) {
        self.handle.send(SourceCommand::Shutdown);
        self.handle.join();
        assert_eq!(self.budget.used(), 0, "what was held back is given back");
    }
}

/// Whether a record stands there, and no marker.
fn is_record(offset: i64) -> bool {
    offset % (TRANSACTION + 1) != TRANSACTION
}

/// Publishes transactions to each partition.
fn publish(witness: &Witness, topic: &str, partitions: i32) {
    witness.create_topic(topic, partitions, &[]);
    let publisher = witness.publisher_with(&[("transactional.id", topic)]);
    publisher.init_transactions();
    for _ in 0..TRANSACTIONS {
        let partitions = 0..partitions;
        let of_each = |n: i64| partitions.clone().map(move |at| Record::new("k", format!("{n}")).to(at));
        publisher.transaction(topic, &(0..TRANSACTION).flat_map(of_each).collect::<Vec<_>>(), true);
    }
}

/// Scenario: a member has credit for one record in a log that ends with a transaction's marker, and all of the log is fetched. Guarantee (I1):
/// it is handed the batch in which the credit ended and nothing more, however long it waits, and nothing is passed over; with credit all of it
/// comes, record after record, and then the marker is passed.
#[test]
fn nothing_is_passed_over_that_is_held_back() {
    let Some(broker) = shared_broker() else { return };
    let witness = Witness::new(&broker.bootstrap());
    let topic = "held-markers";
    publish(&witness, topic, 1);
    let mut slow = Slow::join(&witness, topic);
    let received = |event: &SourceEvent| matches!(event, SourceEvent::Received(_));
    assert!(slow.hear(Instant::now() + PATIENCE, received).is_some(), "the first batch");
    // Longer than the interval at which positions are looked at.
    let more = slow.hear(Instant::now() + Duration::from_millis(1_500), |event| {
        matches!(event, SourceEvent::Received(_) | SourceEvent::Passed { .. })
    });
    assert!(more.is_none(), "something comes without credit");
    assert!(slow.budget.used() > 0, "nothing is held back, so this test shows nothing");
    slow.read_to_the_end();
    slow.leave();
}

/// Scenario: of two partitions, both with records held back, one is moved to a second member; credit for it comes when it was already asked
/// back. Guarantee (I1, I8): nothing of it is handed over any more, the second member leaves nothing out, and the
/// partition that stays goes on without a gap.
#[test]
fn what_is_held_back_goes_with_its_ownership() {
    let Some(broker) = shared_broker() else { return };
    let witness = Witness::new(&broker.bootstrap());
    let topic = "held-revoked";
    publish(&witness, topic, 2);
    let mut slow = Slow::join(&witness, topic);
    for _ in 0..2 {
        let received = |event: &SourceEvent| matches!(event, SourceEvent::Received(_));
        assert!(slow.hear(Instant::now() + PATIENCE, received).is_some(), "a batch of each partition");
    }
    let budget = Arc::clone(&slow.budget);
    wait_until("something is held back", PATIENCE, || budget.used() > 0);

    let world = World::default();
    let second = Member::join(kafka(witness.bootstrap(), GroupProtocol::Classic), topic, topic, &world);
    let asked_back = |event: &SourceEvent| matches!(event, SourceEvent::Revoking { .. });
    let Some(SourceEvent::Revoking { pair, epoch }) = slow.hear(Instant::now() + PATIENCE, asked_back) else {
        panic!("no partition is asked back");
    };
    slow.grant(&pair, 1 << 30);
    let of_it = |event: &SourceEvent| matches!(event, SourceEvent::Received(chunk) if *chunk.pair() == pair);
    let after = slow.hear(Instant::now() + Duration::from_millis(300), of_it);
    assert!(after.is_none(), "records of {pair} after it was asked back");
    let next = slow.pairs.remove(&pair).unwrap().next;
    let release =
        SourceCommand::Release { pair: pair.clone(), epoch, position: Some(position(next)), retry: None };
    slow.handle.send(release);

    let read = || look(&world, |seen| seen.deliveries.get(&pair.partition.0).cloned().unwrap_or_default());
    wait_until("the second member reads to the end", PATIENCE, || read().contains_key(&(END - 2)));
    // Where the commit came too late for a busy machine, it begins earlier.
    let first = read().keys().next().copied().unwrap();
    let rest: BTreeMap<i64, u32> = (first..END).filter(|at| is_record(*at)).map(|at| (at, 1)).collect();
    assert!(first <= next && read() == rest, "begun at {first}, and {next} was the next one");
    slow.read_to_the_end();
    second.leave();
    slow.leave();
}
