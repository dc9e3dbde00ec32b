//! The confirmed producer, the topic sink and the dead letters.

use std::sync::Arc;

use longshore_core::ledger::{TRAILER_VERSION, Trailer};
use longshore_core::pair::{Destination, Letter, LetterId};
use longshore_core::sink::{Block, Encode, Published, Sink, WriterContext};
use longshore_core::{
    ChunkBuilder, Class, Epoch, Failure, Generation, Item, Lane, Offset, PairId, Reason, RecordRef, RunSet,
    Scope, Sequence, WriterId,
};
use longshore_kafka::{
    ClientMemory, EmbeddedBroker, Letters, PartitionBy, Producer, ProducerRecord, ProducerTuning,
    TopicOptions, TopicSink,
};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::support::{Source, futures_wait, kafka, producer};

/// The time of day that headers say, milliseconds.
const NOW_MS: i64 = 1_700_000_000_000;

fn record(headers: &[(&[u8], Option<&[u8]>)]) -> RecordRef {
    let mut builder = ChunkBuilder::new(PairId::new("in", 1), Lane::Input, Epoch(1));
    builder.record(Offset(7), 1234, Some(b"key"), Some(b"{not json"));
    for (name, value) in headers {
        builder.header(name, *value);
    }
    RecordRef::new(&builder.build(None), 0).unwrap()
}

fn trailer() -> Trailer {
    Trailer {
        version: TRAILER_VERSION,
        pipeline: "p".into(),
        generation: Generation::FIRST,
        cluster: String::new(),
        topic: "in".into(),
        topic_id: String::new(),
        partition: 1,
        partitions: 2,
        sequence: Sequence(0),
        writer: WriterId(1),
        covers: (Offset(0), Offset(8)),
        except: RunSet::default(),
        also: RunSet::default(),
        dead: Default::default(),
        rows: 1,
        filtered: Default::default(),
        decides: None,
    }
}

/// An encoder that must not be asked: what no step has read passes as it is.
struct Never;

impl Encode for Never {
    fn encode(&self, _: &Item, _: &mut Block) -> Result<(), Failure> {
        Err(Failure::reject(Reason::Internal, "asked"))
    }
}

/// One record of a topic, with its headers as text.
fn read_one(broker: &EmbeddedBroker, topic: &str) -> (i32, RecordRef, Vec<(String, String)>) {
    let source = Source::join(broker, topic);
    loop {
        let event = source.events.recv_timeout(crate::support::DEADLINE).expect("a record");
        match event {
            longshore_core::source::SourceEvent::Assigned(given) => {
                source.start(&given.pair, given.epoch, 0, 100)
            }
            longshore_core::source::SourceEvent::Received(chunk) => {
                let record = RecordRef::new(&chunk, 0).unwrap();
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let headers =
                    record.headers().map(|h| (text(h.name), text(h.value.unwrap_or_default()))).collect();
                source.shut_down().unwrap();
                return (chunk.pair().partition.0, record, headers);
            }
            _ => {}
        }
    }
}

/// Scenario: the broker fails produce requests in ways that pass.
/// Guarantee: every record is acknowledged once in the end, with no failure shown.
#[test]
fn passing_errors_are_retried_inside() {
    let broker = EmbeddedBroker::start(&[("out", 1)]).unwrap();
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    broker.fail_requests(RDKafkaApiKey::Produce, &errors).unwrap();
    crate::support::publish(&broker, "out", 0, &["a", "b", "c"]);
    let source = Source::join(&broker, "out");
    let given = source.assigned();
    assert_eq!(given.log_end.0, 3);
    source.shut_down().unwrap();
}

/// Trap 16: a fatal idempotence error; the client is built anew and what was not acknowledged is sent again.
#[test]
fn a_fatal_error_is_survived() {
    let broker = EmbeddedBroker::start(&[("out", 1)]).unwrap();
    let producer = producer(&broker);
    let send = |value: &'static str| {
        let record = ProducerRecord {
            partition: Some(0),
            key: None,
            value: Some(value.as_bytes()),
            timestamp_ms: None,
            headers: &[],
        };
        futures_wait(async { producer.send_batch("out", &[record]).await.unwrap().await.unwrap() })
    };
    assert!(send("before").is_empty());
    broker
        .fail_requests(
            RDKafkaApiKey::Produce,
            &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER],
        )
        .unwrap();
    assert!(send("during").is_empty());
    assert!(send("after").is_empty());
    let source = Source::join(&broker, "out");
    let given = source.assigned();
    source.start(&given.pair, given.epoch, 0, 100);
    let values: Vec<String> = source.values(3).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["before", "during", "after"]);
    source.shut_down().unwrap();
}

/// Guarantee: a record that is too large is told by its row, the others go out; it comes back with its bytes to nobody but who asks for
/// them, since they are in no budget (I5).
#[test]
fn a_record_too_large_is_one_rows_failure() {
    let broker = EmbeddedBroker::start(&[("out", 1)]).unwrap();
    let producer = producer(&broker);
    let huge = vec![b'x'; 101 << 20];
    let one = |value| ProducerRecord {
        partition: Some(0),
        key: None,
        value: Some(value),
        timestamp_ms: None,
        headers: &[],
    };
    let records = [one(b"a".as_slice()), one(huge.as_slice()), one(b"c".as_slice())];
    let failed = futures_wait(async { producer.send_batch("out", &records).await.unwrap().await.unwrap() });
    assert_eq!(
        failed.iter().map(|f| (f.row, f.failure.reason, f.record.is_some())).collect::<Vec<_>>(),
        [(1, Reason::SinkTooLarge, false)]
    );
    let kept = async { producer.send_to_keep("out", &records[1..]).await.unwrap().await.unwrap() };
    let [failed] = &futures_wait(kept)[..] else { panic!("one record is too large") };
    let record = failed.record.as_ref().expect("it was to be kept");
    assert_eq!((failed.row, record.value.as_ref().map(Vec::len)), (0, Some(huge.len())));
}

/// Guarantee: what no step has read passes byte for byte with key and own headers; forged names are stripped;
/// the origin is written as `longshore.source` and never as `longshore.origin`.
#[test]
fn the_topic_sink_passes_originals_through() {
    let broker = EmbeddedBroker::start(&[("out", 2)]).unwrap();
    let options = TopicOptions { name: "out".into(), partition: PartitionBy::Key };
    let sink = TopicSink::new("topic", options, producer(&broker), Arc::new(Never));
    let record = record(&[(b"mine", Some(b"1")), (b"longshore.origin", Some(b"forged/0/0/0"))]);
    let mut block = Block::default();
    sink.encoder().encode(&Item::new(record), &mut block).unwrap();
    let context = WriterContext {
        pair: PairId::new("in", 1),
        writer: WriterId(1),
        cluster: String::new(),
        topic_id: String::new(),
    };
    futures_wait(async {
        let mut writer = sink.open(context);
        assert_eq!(writer.recover().await.unwrap().next_sequence, Sequence(0));
        assert!(writer.append(&block).await.unwrap() > 0);
        writer.seal().unwrap();
        assert_eq!(writer.publish(&trailer()).await.unwrap(), Published::Done(Vec::new()));
    });
    let (partition, found, headers) = read_one(&broker, "out");
    assert_eq!((found.key(), found.value()), (Some(b"key".as_slice()), Some(b"{not json".as_slice())));
    assert_eq!(Some(partition), longshore_kafka::partition_for_key(Some(b"key"), 2));
    assert_eq!(headers, [("mine".into(), "1".into()), ("longshore.source".into(), "in/1/7/0".into())]);
}

/// Scenario: one unit's rows are many times what the producer may hold, large and small ones of one key in turn, and one
/// row alone is larger than that. Guarantee: all go out at the first try and in order (I3), within the bound (I5).
#[test]
fn rows_beyond_the_producers_room_keep_their_order() {
    const ROWS: i64 = 41;
    let broker = EmbeddedBroker::start(&[("out", 2)]).unwrap();
    let room = ClientMemory { produce_bytes: 64 << 10, ..ClientMemory::default() };
    let producer = Producer::new(&kafka(&broker), &room, &ProducerTuning::default()).unwrap();
    let options = TopicOptions { name: "out".into(), partition: PartitionBy::Key };
    let sink = TopicSink::new("topic", options, producer, Arc::new(Never));
    let mut builder = ChunkBuilder::new(PairId::new("in", 1), Lane::Input, Epoch(1));
    for offset in 0..ROWS {
        let size = match offset {
            20 => 300 << 10,
            large if large % 2 == 0 => 20 << 10,
            _ => 10,
        };
        builder.record(Offset(offset), 0, Some(b"key"), Some(&vec![b'0' + (offset % 10) as u8; size]));
    }
    let chunk = builder.build(None);
    let mut block = Block::default();
    for index in 0..ROWS as u32 {
        let item = Item::new(RecordRef::new(&chunk, index).unwrap());
        sink.encoder().encode(&item, &mut block).unwrap();
    }
    let context = WriterContext {
        pair: PairId::new("in", 1),
        writer: WriterId(1),
        cluster: String::new(),
        topic_id: String::new(),
    };
    futures_wait(async {
        let mut writer = sink.open(context);
        writer.append(&block).await.unwrap();
        writer.seal().unwrap();
        assert_eq!(writer.publish(&trailer()).await.unwrap(), Published::Done(Vec::new()));
    });
    let source = Source::join(&broker, "out");
    for given in [source.assigned(), source.assigned()] {
        source.start(&given.pair, given.epoch, 0, 1000);
    }
    let first: Vec<char> =
        source.values(ROWS as usize).iter().map(|(_, value)| value.chars().next().unwrap()).collect();
    let wanted: Vec<char> = (0..ROWS).map(|offset| (b'0' + (offset % 10) as u8) as char).collect();
    assert_eq!(first, wanted);
    source.shut_down().unwrap();
}

/// Scenario: of three rows the second and the third have large values, which are sent from where they are, and the client fails for good
/// while they are on their way. Guarantee: all arrive in order, byte for byte, and nothing is held longer than until the answer.
#[test]
fn values_that_rows_lend_are_sent_again_and_let_go_of() {
    let broker = EmbeddedBroker::start(&[("out", 2)]).unwrap();
    let options = TopicOptions { name: "out".into(), partition: PartitionBy::Origin };
    let sink = TopicSink::new("topic", options, producer(&broker), Arc::new(Never));
    let values = ["small".to_owned(), "b".repeat(300), "c".repeat(30_000)];
    let mut builder = ChunkBuilder::new(PairId::new("in", 1), Lane::Input, Epoch(1));
    for (offset, value) in (0..).zip(&values) {
        builder.record(Offset(offset), 0, None, Some(value.as_bytes()));
    }
    let chunk = builder.build(None);
    let mut block = Block::default();
    for index in 0..3 {
        let item = Item::new(RecordRef::new(&chunk, index).unwrap());
        sink.encoder().encode(&item, &mut block).unwrap();
    }
    assert!(block.bytes.len() < 300, "large values are not copied");
    let context = WriterContext {
        pair: PairId::new("in", 1),
        writer: WriterId(1),
        cluster: String::new(),
        topic_id: String::new(),
    };
    let fatal = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER];
    broker.fail_requests(RDKafkaApiKey::Produce, &fatal).unwrap();
    futures_wait(async {
        let mut writer = sink.open(context);
        assert!(writer.append(&block).await.unwrap() > 30_300, "what is lent is of the segment");
        writer.seal().unwrap();
        assert_eq!(writer.publish(&trailer()).await.unwrap(), Published::Done(Vec::new()));
    });
    drop(block);
    let source = Source::join(&broker, "out");
    for given in [source.assigned(), source.assigned()] {
        source.start(&given.pair, given.epoch, 0, 1000);
    }
    let found: Vec<String> = source.values(3).into_iter().map(|(_, value)| value).collect();
    assert_eq!(found, values);
    let began = std::time::Instant::now();
    while Arc::strong_count(&chunk) > 1 {
        assert!(began.elapsed() < crate::support::DEADLINE, "a value is still held");
        std::thread::yield_now();
    }
    source.shut_down().unwrap();
}

/// Guarantee: a letter goes to its origin's partition with payload, key and own headers, and says why.
#[test]
fn letters_keep_the_record_and_say_why() {
    let broker = EmbeddedBroker::start(&[("in.logs.dlq", 2)]).unwrap();
    let letters = Letters::new(producer(&broker), "logs", "1a2b");
    let letter = Letter {
        id: LetterId(1),
        to: Destination::DeadLetters,
        origin: Some(Offset(7)),
        record: record(&[(b"\xff", None), (b"longshore.attempt", Some(b"99"))]),
        failure: Failure::reject(Reason::DecodeJson, "expected value").at("parse"),
        attempts: 1,
        replays: 0,
        trace: None,
    };
    assert_eq!(futures_wait(letters.send(&[letter], NOW_MS)), [Ok(())]);
    let (partition, found, headers) = read_one(&broker, "in.logs.dlq");
    assert_eq!(partition, 1);
    assert_eq!((found.key(), found.value()), (Some(b"key".as_slice()), Some(b"{not json".as_slice())));
    let names = found.headers().map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec)));
    let list: Vec<_> = names.collect();
    let read = longshore_core::headers::LetterHeaders::decode(
        list.iter().map(|(name, value)| (name.as_slice(), value.as_deref())),
    );
    let read = read.unwrap().unwrap();
    assert_eq!((read.reason.as_str(), read.at.as_str(), read.attempt), ("decode.json", "parse", 1));
    assert_eq!((read.origin.to_string().as_str(), read.origin_timestamp_ms), ("in/1/7/0", 1234));
    assert_eq!(read.pipeline, "logs 1a2b");
    assert_eq!(headers.iter().filter(|(name, _)| name == "longshore.attempt").count(), 1);
}

/// Scenario: a copy for the retry topic is large, so that its value is sent from where it is, and its client fails for good while it
/// is on its way. Guarantee: the value arrives byte for byte, and is held no longer than until the answer.
#[test]
fn a_value_that_a_letter_lends_is_sent_again_and_let_go_of() {
    let broker = EmbeddedBroker::start(&[("in.logs.retry", 2)]).unwrap();
    let letters = Letters::new(producer(&broker), "logs", "1a2b");
    let value: Vec<u8> = (0..300_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut builder = ChunkBuilder::new(PairId::new("in", 1), Lane::Input, Epoch(1));
    builder.record(Offset(7), 1234, Some(b"key"), Some(&value));
    let chunk = builder.build(None);
    let letter = |number| Letter {
        id: LetterId(number),
        to: Destination::Retry { delay: std::time::Duration::ZERO },
        origin: Some(Offset(7)),
        record: RecordRef::new(&chunk, 0).unwrap(),
        failure: Failure::reject(Reason::DecodeJson, "x"),
        attempts: 1,
        replays: 0,
        trace: None,
    };
    let fatal = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER];
    broker.fail_requests(RDKafkaApiKey::Produce, &fatal).unwrap();
    assert_eq!(futures_wait(letters.send(&[letter(1), letter(2)], NOW_MS)), [Ok(()), Ok(())]);
    let (partition, found, _) = read_one(&broker, "in.logs.retry");
    assert_eq!((partition, found.value()), (1, Some(value.as_slice())));
    let began = std::time::Instant::now();
    while Arc::strong_count(&chunk) > 1 {
        assert!(began.elapsed() < crate::support::DEADLINE, "the value is still held");
        std::thread::yield_now();
    }
}

/// Guarantee: a missing dead-letter partition is an error that a person must mend, never an acknowledgement.
#[test]
fn a_letter_without_its_partition_is_not_settled() {
    let broker = EmbeddedBroker::start(&[("in.logs.dlq", 1)]).unwrap();
    let letters = Letters::new(producer(&broker), "logs", "1a2b");
    let letter = Letter {
        id: LetterId(1),
        to: Destination::DeadLetters,
        origin: Some(Offset(7)),
        record: record(&[]),
        failure: Failure::reject(Reason::DecodeJson, "x"),
        attempts: 1,
        replays: 0,
        trace: None,
    };
    let failure = futures_wait(letters.send(&[letter], NOW_MS)).remove(0).unwrap_err();
    // It may be made again, so the letter is worth another try.
    assert!(matches!(failure.class, Class::Retry { scope: Scope::Target, .. }), "{failure:?}");
    assert_eq!(failure.reason, Reason::BrokerTopicMissing);
}
