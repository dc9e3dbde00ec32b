//! A storm over both lanes with members that are processes: joins, leaves, kill -9, SIGSTOP, pauses and seeks at any moment, on
//! both protocols. A member is this test binary, run again for one test with a variable set.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use longshore_broker::BrokerOptions;
use longshore_core::pair::CommitResult;
use longshore_core::source::{Assignment, SourceCommand, SourceControl, SourceEvent};
use longshore_core::{Chunk, Epoch, Lane, PairId};
use longshore_kafka::{GroupProtocol, PollThread, Scalar, SourceHandle, SourceOptions};
use longshore_tests::harness::{Longshore, Record, Witness, soon_missed, start_broker, wait_until};
use rustix::process::Signal;

use super::member::{Reads, kafka, lanes, options, position};

const PARTITIONS: i32 = 6;
/// How often each of join, kill, stop and leave happens.
const ROUNDS: usize = 3;
/// The longest anything may take: a session, and a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const SPEC: &str = "LONGSHORE_GROUP_MEMBER";
/// Credit comes in pieces of so many records, so that lanes are paused and resumed all the time.
const PIECE: u64 = 300;
/// One chunk in so many makes the member begin its pair anew: both lanes go back to what is committed.
const SEEK_ONE_IN: u64 = 40;

/// The member itself; in the suite it does nothing. It prints a line for everything that counts, before it commits.
#[test]
fn member_process() {
    let Ok(spec) = env::var(SPEC) else { return };
    let words: Vec<&str> = spec.split(' ').collect();
    let [bootstrap, topic, retry, protocol] = words[..] else { panic!("{spec}") };
    let consumer = protocol == "consumer";
    let protocol = if consumer { GroupProtocol::Consumer } else { GroupProtocol::Classic };
    let mut client = kafka(bootstrap, protocol);
    if !consumer {
        let settings = [("session.timeout.ms", 2_500), ("heartbeat.interval.ms", 300)];
        client.client.extend(settings.map(|(name, value)| (name.to_owned(), Scalar::Number(value))));
    }
    let reads = Reads { topic, retry: Some(retry), group: topic, recommit: SourceOptions::RECOMMIT };
    let (sender, events) = channel();
    let source = PollThread::spawn(options(client, &reads), move |event| drop(sender.send(event))).unwrap();
    let handle = Arc::new(source);
    let closing = Arc::clone(&handle);
    std::thread::spawn(move || {
        // The parent closes our input to make us leave in order.
        let _ended = std::io::stdin().read_line(&mut String::new());
        closing.send(SourceCommand::Shutdown);
    });
    let mut work = Work { handle, lanes: BTreeMap::new(), chunks: u64::from(std::process::id()) };
    while let Ok(event) = events.recv() {
        if let SourceEvent::Ended(result) = event {
            return result.unwrap();
        }
        work.hear(event);
    }
}

/// What a member knows of one lane.
struct Mine {
    epoch: Epoch,
    next: i64,
    granted: u64,
    received: u64,
}

struct Work {
    handle: Arc<SourceHandle>,
    lanes: BTreeMap<(PairId, Lane), Mine>,
    chunks: u64,
}

fn word(lane: Lane) -> &'static str {
    match lane {
        Lane::Input => "input",
        Lane::Retry => "retry",
    }
}

impl Work {
    fn hear(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Assigned(given) => self.start(&given),
            SourceEvent::Received(chunk) => self.receive(&chunk),
            SourceEvent::Committed { pair, epoch, lane, offset, result } => {
                let said = match result {
                    CommitResult::Done => "done",
                    CommitResult::Refused => "refused",
                    CommitResult::Unknown => "unknown",
                };
                println!("@ {said} {} {} {offset} {}", word(lane), pair.partition, epoch.0);
            }
            SourceEvent::Revoking { pair, epoch } => {
                println!("@ revoking {} {}", pair.partition, epoch.0);
                let mut last =
                    |lane| self.lanes.remove(&(pair.clone(), lane)).map(|mine| position(mine.next));
                let (input, retry) = (last(Lane::Input), last(Lane::Retry));
                self.handle.send(SourceCommand::Release { pair, epoch, position: input, retry });
            }
            SourceEvent::Lost { pair, epoch } => {
                println!("@ lost {} {}", pair.partition, epoch.0);
                self.lanes.retain(|(known, _), _| *known != pair);
            }
            SourceEvent::Refused { pair, failure } => println!("@ refusal {} {failure}", pair.partition),
            SourceEvent::CopiesLost { pair, words } => println!("@ copies-lost {} {words}", pair.partition),
            SourceEvent::Passed { .. }
            | SourceEvent::EndFound { .. }
            | SourceEvent::LogEnd { .. }
            | SourceEvent::Trouble(_)
            | SourceEvent::Member(_)
            | SourceEvent::Well
            | SourceEvent::Ended(_) => {}
        }
    }

    fn start(&mut self, given: &Assignment) {
        let (pair, epoch) = (&given.pair, given.epoch);
        println!("@ given {} {}", pair.partition, epoch.0);
        for (lane, offset) in lanes(given) {
            let mine = Mine { epoch, next: offset.0, granted: PIECE, received: 0 };
            self.lanes.insert((pair.clone(), lane), mine);
            let pair = pair.clone();
            self.handle.send(SourceCommand::Start { pair: pair.clone(), epoch, lane, offset });
            self.handle.send(SourceCommand::Grant { pair, epoch, lane, records: PIECE, bytes: 1 << 40 });
        }
    }

    fn receive(&mut self, chunk: &Chunk) {
        let (pair, lane, epoch) = (chunk.pair().clone(), chunk.lane(), chunk.epoch());
        let Some(mine) = self.lanes.get_mut(&(pair.clone(), lane)).filter(|mine| mine.epoch == epoch) else {
            return;
        };
        let count = chunk.len() as u64;
        let (first, last) = (chunk.offset(0).0, chunk.offset(chunk.len() as u32 - 1).0);
        // Within one ownership there is neither a gap nor a repetition.
        assert_eq!((first, last - first + 1), (mine.next, count as i64), "{pair} {lane:?}");
        mine.next = last + 1;
        mine.received += count;
        println!("@ got {} {} {first} {last}", word(lane), pair.partition);
        let next = position(mine.next);
        if mine.received >= mine.granted {
            mine.granted = mine.received + PIECE;
            let (pair, records) = (pair.clone(), mine.granted);
            self.handle.send(SourceCommand::Grant { pair, epoch, lane, records, bytes: 1 << 40 });
        }
        self.handle.send(SourceCommand::Commit { pair: pair.clone(), epoch, lane, position: next });
        self.chunks += 1;
        if self.chunks.is_multiple_of(SEEK_ONE_IN) {
            self.lanes.retain(|(known, _), _| *known != pair);
            println!("@ anew {} {}", pair.partition, epoch.0);
            self.handle.send(SourceCommand::Reassign { pair, epoch });
        }
    }
}

/// The storm's broker, topics, and members past and present.
struct Storm {
    witness: Witness,
    name: String,
    retry: String,
    protocol: &'static str,
    members: Vec<Child>,
    gone: Vec<Child>,
    /// Offsets that were handed over, by lane and partition.
    got: BTreeMap<(String, i32), BTreeSet<i64>>,
}

/// A member as the parent sees it.
struct Child {
    process: Longshore,
    /// How much of its output was looked at.
    read: usize,
}

impl Child {
    /// Takes in what it has printed since the last look.
    fn look(&mut self, got: &mut BTreeMap<(String, i32), BTreeSet<i64>>) {
        let said = self.process.stdout();
        let fresh = &said[self.read..];
        let whole = fresh.rfind('\n').map_or(0, |end| end + 1);
        for line in fresh[..whole].lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if let ["@", "got", lane, partition, first, last] = words[..] {
                let range = number(first)..=number(last);
                got.entry((lane.to_owned(), number(partition) as i32)).or_default().extend(range);
            }
        }
        self.read += whole;
    }
}

impl Storm {
    fn join(&mut self) {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "storm::member_process", "--nocapture", "--test-threads=1"]);
        let (bootstrap, name, retry) = (self.witness.bootstrap(), &self.name, &self.retry);
        command.env(SPEC, format!("{bootstrap} {name} {retry} {}", self.protocol));
        self.members.push(Child { process: Longshore::start_fed(command), read: 0 });
    }

    /// Everything that members have printed, each with all of its lines.
    fn said(&self) -> Vec<String> {
        self.members.iter().chain(&self.gone).map(|child| child.process.stdout()).collect()
    }

    /// How many offsets of each partition of both lanes were handed over so far.
    fn counts(&mut self) -> Vec<usize> {
        for child in self.members.iter_mut().chain(&mut self.gone) {
            child.look(&mut self.got);
        }
        let lanes = ["input", "retry"].into_iter();
        let places =
            lanes.flat_map(|lane| (0..PARTITIONS).map(move |partition| (lane.to_owned(), partition)));
        places.map(|place| self.got.get(&place).map_or(0, BTreeSet::len)).collect()
    }

    /// How often a word was said of a lane.
    fn count(&self, word: &str, lane: &str) -> usize {
        let start = format!("@ {word} {lane} ");
        self.said().iter().flat_map(|said| said.lines()).filter(|line| line.starts_with(&start)).count()
    }

    /// Waits until every partition of both lanes has handed over something new: none is silently stuck.
    fn all_flow(&mut self, what: &str) {
        let before = self.counts();
        wait_until(&format!("every partition of both lanes flows after {what}"), PATIENCE, || {
            self.counts().iter().zip(&before).all(|(now, before)| now > before)
        });
    }

    fn run(&mut self) {
        self.join();
        self.all_flow("the first join");
        for _ in 0..ROUNDS {
            self.join();
            self.all_flow("a join");
            // The oldest holds most.
            let mut killed = self.members.remove(0);
            killed.process.kill9();
            self.gone.push(killed);
            self.join();
            self.all_flow("a kill");
            self.stop_and_go_on();
            let mut left = self.members.remove(0);
            left.process.close_input();
            let status = left.process.wait(PATIENCE);
            assert!(status.success(), "{}", left.process.transcript());
            self.gone.push(left);
            self.all_flow("a leave");
        }
    }

    /// A member stands still until the others have all of its partitions, and goes on as a zombie.
    fn stop_and_go_on(&mut self) {
        self.members[0].process.signal(Signal::STOP);
        self.all_flow("a stop");
        self.members[0].process.signal(Signal::CONT);
        self.all_flow("the zombie woke");
    }
}

/// Every offset that the group committed, by topic and partition, in the order in which the broker took them: its own log of
/// them (keys and values as Kafka's `OffsetCommitKey` and `OffsetCommitValue` messages have them).
fn commits(witness: &Witness, group: &str) -> BTreeMap<(String, i32), Vec<i64>> {
    let mut commits: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for record in witness.read("__consumer_offsets") {
        let (key, Some(value)) = (record.key.unwrap_or_default(), record.value) else { continue };
        // Other versions are of members, not of offsets.
        let Some(rest) = key.strip_prefix(&[0, 1]) else { continue };
        let (found, rest) = text(rest);
        let (topic, rest) = text(rest);
        if found == group {
            let partition = i32::from_be_bytes(rest.try_into().unwrap());
            let offset = i64::from_be_bytes(value[2..10].try_into().unwrap());
            commits.entry((topic, partition)).or_default().push(offset);
        }
    }
    commits
}

/// A string with its length before it, and what stands behind it.
fn text(bytes: &[u8]) -> (String, &[u8]) {
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    (String::from_utf8_lossy(&bytes[2..2 + length]).into_owned(), &bytes[2 + length..])
}

fn number(word: &str) -> i64 {
    word.parse().unwrap_or_else(|_| panic!("no number: {word}"))
}

/// Publishes to every partition of both topics until told to stop.
fn publish(witness: &Witness, topics: &[&str], stop: &AtomicBool) {
    let publisher = witness.publisher();
    while !stop.load(Ordering::Acquire) {
        for topic in topics {
            let records: Vec<_> =
                (0..120).map(|n| Record::new(&n.to_string(), "x".repeat(100)).to(n % PARTITIONS)).collect();
            publisher.publish(topic, &records);
        }
        // About 10,000 records a second: enough that something is always under way.
        longshore_tests::harness::wait::pass_time(Duration::from_millis(20));
    }
}

/// Ends the publisher with the test, also with one that fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn storm(name: &str, protocol: &'static str) {
    let Some(broker) = start_broker(BrokerOptions { properties: soon_missed(), ..BrokerOptions::default() })
    else {
        return;
    };
    let witness = Witness::new(&broker.bootstrap());
    let retry = format!("{name}.p.retry");
    witness.create_topic(name, PARTITIONS, &[]);
    witness.create_topic(&retry, PARTITIONS, &[]);
    let (name, members, gone, got) = (name.to_owned(), Vec::new(), Vec::new(), BTreeMap::new());
    let mut storm = Storm { witness, name, retry, protocol, members, gone, got };
    let stop = AtomicBool::new(false);
    let topics = [storm.name.clone(), storm.retry.clone()];
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let witness = storm.witness.clone();
    std::thread::scope(|scope| {
        let _stops = Stop(&stop);
        scope.spawn(|| publish(&witness, &names, &stop));
        storm.run();
    });
    wait_until("both topics are committed to their ends", PATIENCE, || {
        topics.iter().all(|topic| {
            let committed = storm.witness.committed(&storm.name, topic);
            (0_i32..).zip(storm.witness.ends(topic)).all(|(partition, end)| {
                committed.get(&partition).is_some_and(|position| position.offset == end)
            })
        })
    });
    // Nothing lost: what is committed was handed over, every offset of it. So nothing was committed past either.
    for (lane, topic) in ["input", "retry"].iter().zip(&topics) {
        storm.counts();
        for (partition, end) in (0_i32..).zip(storm.witness.ends(topic)) {
            let offsets = &storm.got[&((*lane).to_owned(), partition)];
            let missing: Vec<i64> = (0..end).filter(|offset| !offsets.contains(offset)).take(5).collect();
            assert!(missing.is_empty(), "{lane} {partition}: committed to {end} without {missing:?}");
        }
    }
    // I8: whoever owns a partition begins where it was committed, so what is committed never goes back; a zombie's commit would
    // put it back, or have its successor's next one do so.
    let commits = commits(&storm.witness, &storm.name);
    assert_eq!(commits.len(), 2 * PARTITIONS as usize, "{:?}", commits.keys());
    for (place, offsets) in &commits {
        let back = offsets.windows(2).find(|pair| pair[1] < pair[0]);
        assert!(back.is_none(), "the commit of {place:?} went back: {back:?}");
    }
    let said = storm.said().concat();
    for unwanted in ["@ refusal", "@ copies-lost", "panicked"] {
        assert!(!said.contains(unwanted), "{unwanted} in\n{said}");
    }
    let seeks = said.lines().filter(|line| line.starts_with("@ anew")).count();
    let refused = ["input", "retry"].map(|lane| storm.count("refused", lane));
    let done = ["input", "retry"].map(|lane| storm.count("done", lane));
    let taken: usize = commits.values().map(Vec::len).sum();
    println!(
        "{protocol}: commits taken {taken}, done {done:?}, refused {refused:?}, pairs begun anew {seeks}"
    );
    assert!(seeks > 0 && done.iter().all(|count| *count > 0), "the storm was a calm");
    for mut member in storm.members.drain(..) {
        member.process.close_input();
        assert!(member.process.wait(PATIENCE).success(), "{}", member.process.transcript());
    }
}

/// Scenario: members of a group that reads an input and its retry topic join, leave, are killed (-9) and stopped beyond their
/// session, three times each, while records flow on both topics, lanes are paused and resumed without end, and pairs begin
/// anew; by the classic protocol.
/// Guarantee: after every step every partition of both lanes flows; nothing is lost or committed past; a zombie's commits are
/// taken on neither topic.
#[test]
fn classic_members_storm_over_both_lanes() {
    storm("storm-classic", "classic");
}

/// The same by `group.protocol=consumer` (KIP-848).
#[test]
fn consumer_protocol_members_storm_over_both_lanes() {
    storm("storm-consumer", "consumer");
}
