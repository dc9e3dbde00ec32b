//! A broker refuses a batch as a whole; only the record that is to blame may be told so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::headers::{OMITTED, ORIGIN};
use longshore_core::ledger::{TRAILER_VERSION, Trailer};
use longshore_core::pair::{Destination, Letter, LetterId};
use longshore_core::sink::{Block, Encode, Published, Sink, WriterContext};
use longshore_core::{
    ChunkBuilder, Class, Epoch, Failure, Generation, Item, Lane, Offset, PairId, Reason, RecordRef, RunSet,
    Sequence, WriterId,
};
use longshore_kafka::{
    ClientMemory, KafkaOptions, Letters, PartitionBy, Producer, ProducerRecord, ProducerTuning, TopicOptions,
    TopicSink,
};
use longshore_tests::harness::rig::LETTER_SETTINGS;
use longshore_tests::harness::{Witness, shared_broker};

/// The time of day that headers say, milliseconds.
const NOW_MS: i64 = 1_700_000_000_000;

fn producer(bootstrap: &str) -> Producer {
    // All of a test's records go out as one batch.
    let tuning = ProducerTuning { linger: Duration::from_millis(500), ..ProducerTuning::default() };
    Producer::new(&KafkaOptions::plain(bootstrap), &ClientMemory::default(), &tuning).unwrap()
}

/// Bytes that no compression makes smaller.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Records 0 to 100, all of 1 KB but the one in the middle.
fn rows() -> Vec<RecordRef> {
    let mut builder = ChunkBuilder::new(PairId::new("in", 0), Lane::Input, Epoch(1));
    for offset in 0..101_u64 {
        let size = if offset == 50 { 50_000 } else { 1_000 };
        builder.record(Offset(offset as i64), 0, Some(b"key"), Some(&noise(offset + 1, size)));
    }
    let chunk = builder.build(None);
    (0..101).map(|index| RecordRef::new(&chunk, index).unwrap()).collect()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// What no step has read passes as it is.
struct Never;

impl Encode for Never {
    fn encode(&self, _: &Item, _: &mut Block) -> Result<(), Failure> {
        Err(Failure::reject(Reason::Internal, "asked"))
    }
}

/// Of a sink without a ledger nobody reads it.
fn trailer() -> Trailer {
    Trailer {
        version: TRAILER_VERSION,
        pipeline: String::new(),
        generation: Generation::FIRST,
        cluster: String::new(),
        topic: "in".into(),
        topic_id: String::new(),
        partition: 0,
        partitions: 1,
        sequence: Sequence(0),
        writer: WriterId(1),
        covers: (Offset(0), Offset(101)),
        except: RunSet::default(),
        also: RunSet::default(),
        dead: BTreeMap::new(),
        rows: 101,
        filtered: BTreeMap::new(),
        decides: None,
    }
}

/// Scenario: a topic takes 20,000 bytes at once; a hundred rows of 1 KB and one of 50 KB go out as one batch.
/// Guarantee (I1): the hundred are delivered once, and only the one is refused as too large.
#[test]
fn only_the_row_that_is_too_large_is_refused() {
    let Some(broker) = shared_broker() else { return };
    let witness = Witness::new(&broker.bootstrap());
    witness.create_topic("refusals-rows", 1, &[("max.message.bytes", "20000")]);
    let options = TopicOptions { name: "refusals-rows".into(), partition: PartitionBy::Key };
    let sink = TopicSink::new("topic", options, producer(&broker.bootstrap()), Arc::new(Never));
    let mut block = Block::default();
    for record in rows() {
        sink.encoder().encode(&Item::new(record), &mut block).unwrap();
    }
    let context = WriterContext {
        pair: PairId::new("in", 0),
        writer: WriterId(1),
        cluster: String::new(),
        topic_id: String::new(),
    };
    let published = wait(async {
        let mut writer = sink.open(context);
        writer.append(&block).await.unwrap();
        writer.seal().unwrap();
        writer.publish(&trailer()).await.unwrap()
    });
    let Published::Done(refused) = published else { panic!("{published:?}") };
    let refused: Vec<_> = refused.iter().map(|(offset, failure)| (offset.0, failure.reason)).collect();
    assert_eq!(refused, [(50, Reason::SinkTooLarge)]);
    let mut sources: Vec<_> =
        witness.read("refusals-rows").iter().map(|seen| seen.header("longshore.source").unwrap()).collect();
    sources.sort();
    let mut wanted: Vec<_> =
        (0..101).filter(|offset| *offset != 50).map(|offset| format!("in/0/{offset}/0")).collect();
    wanted.sort();
    assert_eq!(sources, wanted);
}

/// Scenario: a compacted topic takes no record without a key; one such goes out among fifty with a key.
/// Guarantee (I1): the fifty are delivered once, and only the one is refused.
#[test]
fn only_the_row_that_is_invalid_is_refused() {
    let Some(broker) = shared_broker() else { return };
    let witness = Witness::new(&broker.bootstrap());
    witness.create_topic("refusals-keys", 1, &[("cleanup.policy", "compact")]);
    let values: Vec<_> = (0..51_u32).map(|n| n.to_string().into_bytes()).collect();
    let records: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(n, value)| ProducerRecord {
            partition: Some(0),
            key: (n != 25).then_some(value.as_slice()),
            value: Some(value),
            timestamp_ms: None,
            headers: &[],
        })
        .collect();
    let producer = producer(&broker.bootstrap());
    let failed = wait(async { producer.send_batch("refusals-keys", &records).await.unwrap().await.unwrap() });
    let failed: Vec<_> = failed.iter().map(|failed| (failed.row, failed.failure.reason)).collect();
    assert_eq!(failed, [(25, Reason::SinkRejected)]);
    assert_eq!(witness.read("refusals-keys").len(), 50);
}

/// Scenario: letters go out as one batch, one of them with a payload that the topic does not take.
/// Guarantee: only that one leaves its payload out, and says so; the others keep theirs.
#[test]
fn a_letter_keeps_its_payload_beside_one_that_is_too_large() {
    let Some(broker) = shared_broker() else { return };
    let witness = Witness::new(&broker.bootstrap());
    let settings: Vec<_> = LETTER_SETTINGS.iter().copied().chain([("max.message.bytes", "20000")]).collect();
    witness.create_topic("in.refusals.dlq", 1, &settings);
    let letters = Letters::new(producer(&broker.bootstrap()), "refusals", "1a2b");
    let rows = rows();
    wait(async {
        let letter = |row: &RecordRef| Letter {
            id: LetterId(1),
            to: Destination::DeadLetters,
            origin: Some(row.offset()),
            record: row.clone(),
            failure: Failure::reject(Reason::DecodeJson, "expected value"),
            attempts: 1,
            replays: 0,
            trace: None,
        };
        let together: Vec<Letter> = rows[45..56].iter().map(letter).collect();
        assert!(letters.send(&together, NOW_MS).await.iter().all(Result::is_ok));
    });
    let mut sizes: Vec<_> = witness
        .read("in.refusals.dlq")
        .iter()
        .map(|seen| (seen.value.as_ref().map(Vec::len), seen.header(OMITTED)))
        .collect();
    sizes.sort();
    let mut wanted = vec![(Some(1_000), None); 10];
    wanted.insert(0, (None, Some("50000".to_owned())));
    assert_eq!(sizes, wanted);
}

/// Scenario: letters for both topics, mixed, given in calls around the number whose headers are written ahead; in each call several
/// dead letters and copies are larger than their topic takes.
/// Guarantee: every answer stands at its letter's place. Of the dead letters those that are too large leave their payload out, each with
/// its own size, and the retry topic's are told as refused; everything else is there once, as it was.
#[test]
fn letters_of_two_topics_are_answered_at_their_places() {
    let Some(broker) = shared_broker() else { return };
    let witness = Witness::new(&broker.bootstrap());
    let settings: Vec<_> = LETTER_SETTINGS.iter().copied().chain([("max.message.bytes", "20000")]).collect();
    for topic in ["in.parcels.dlq", "in.parcels.retry"] {
        witness.create_topic(topic, 1, &settings);
    }
    let letters = Letters::new(producer(&broker.bootstrap()), "parcels", "1a2b");
    let calls = [63, 64, 65, 130];
    let (is_copy, is_large) = (|n: usize| n.is_multiple_of(3), |n: usize| n % 20 >= 18);
    let size = |n: usize| if is_large(n) { 40_000 + n } else { 100 };
    let count: usize = calls.iter().sum();
    let mut builder = ChunkBuilder::new(PairId::new("in", 0), Lane::Input, Epoch(1));
    for n in 0..count {
        builder.record(Offset(n as i64), 0, Some(b"key"), Some(&noise(n as u64 + 1, size(n))));
    }
    let chunk = builder.build(None);
    let letter = |n: usize| Letter {
        id: LetterId(n as u64),
        to: if is_copy(n) { Destination::Retry { delay: Duration::ZERO } } else { Destination::DeadLetters },
        origin: Some(Offset(n as i64)),
        record: RecordRef::new(&chunk, n as u32).unwrap(),
        failure: Failure::retry(Reason::StepFailed, "later"),
        attempts: 1,
        replays: 0,
        trace: None,
    };
    let mut first = 0;
    for call in calls {
        let some: Vec<Letter> = (first..first + call).map(letter).collect();
        let answers = wait(letters.send(&some, NOW_MS));
        assert_eq!(answers.len(), call);
        for (n, answer) in (first..).zip(answers) {
            let refused = answer.err().map(|failure| (failure.class, failure.reason));
            let wanted = (is_copy(n) && is_large(n)).then_some((Class::Reject, Reason::SinkTooLarge));
            assert_eq!(refused, wanted, "letter {n}");
        }
        first += call;
    }
    for (topic, copies) in [("in.parcels.dlq", false), ("in.parcels.retry", true)] {
        let there = witness.read(topic);
        let found: BTreeMap<_, _> = there
            .iter()
            .map(|seen| {
                (seen.header(ORIGIN).unwrap(), (seen.value.as_ref().map(Vec::len), seen.header(OMITTED)))
            })
            .collect();
        let of_topic = (0..count).filter(|n| is_copy(*n) == copies && !(copies && is_large(*n)));
        let wanted: BTreeMap<_, _> = of_topic
            .map(|n| {
                let whole = (Some(size(n)), None);
                let as_found = if is_large(n) { (None, Some(size(n).to_string())) } else { whole };
                (format!("in/0/{n}/0"), as_found)
            })
            .collect();
        assert_eq!(found, wanted, "{topic}");
        assert_eq!(there.len(), wanted.len(), "{topic}: each once");
    }
}
