//! The `topic` sink, which keeps no ledger: after a crash its rows may stand there again, and each says of which record it is. So what is
//! asked of it is that nothing is missing, that a reader can tell what is there twice, and that this is no more than the last segment.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::time::Duration;

use longshore_core::sink::{Published, Sink};
use longshore_core::{Class, Offset, Reason, Scope};
use longshore_kafka::{
    ClientMemory, KafkaOptions, PartitionBy, Producer, ProducerTuning, TopicOptions, TopicSink,
};
use longshore_sinks::jsonl::JsonLines;
use longshore_testkit::Random;
use longshore_tests::harness::wait::pass_time;
use longshore_tests::harness::{Witness, shared_broker, start_broker};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::block_in_place;

use super::crash::{WORK, address, start_child_at};
use super::fixture::{Seen, text};
use super::owner::{Owner, is_held};

/// Records of one segment of a worker that dies.
const SEGMENT: i64 = 20;
/// What the producer may hold beside the rows that are being appended.
const PRODUCER_MIB: f64 = 32.0;

fn sink(bootstrap: &str, topic: &str) -> Arc<dyn Sink> {
    let options = TopicOptions { name: topic.to_owned(), partition: PartitionBy::Origin };
    let (memory, tuning) = (ClientMemory::default(), ProducerTuning::default());
    let producer = Producer::new(&KafkaOptions::plain(bootstrap), &memory, &tuning).unwrap();
    Arc::new(TopicSink::new("topic", options, producer, Arc::new(JsonLines)))
}

/// A topic of the shared broker with as many partitions as the input has.
fn fresh(topic: &str, settings: &[(&str, &str)]) -> Option<(Witness, Arc<dyn Sink>)> {
    let bootstrap = shared_broker()?.bootstrap();
    let witness = Witness::new(&bootstrap);
    create(&witness, topic, settings);
    Some((witness, sink(&bootstrap, topic)))
}

/// The witness has a runtime of its own.
fn create(witness: &Witness, topic: &str, settings: &[(&str, &str)]) {
    block_in_place(|| witness.create_topic(topic, 8, settings));
}

/// How often each record stands in the topic, by offset and index: whole, and under the identity that its header names.
fn found(witness: &Witness, topic: &str) -> BTreeMap<(i64, u32), usize> {
    let mut found = BTreeMap::new();
    for record in witness.read(topic) {
        let row: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        let seen = Seen::new(&record.header("longshore.source").unwrap(), row["body"].as_str().unwrap());
        let bytes = seen.text.split(' ').nth(3).unwrap().parse().unwrap();
        assert_eq!(seen.text, text(seen.offset, seen.index, bytes), "a row is damaged");
        *found.entry((seen.offset, seen.index)).or_default() += 1;
    }
    found
}

fn once(offsets: impl Iterator<Item = i64>) -> BTreeMap<(i64, u32), usize> {
    offsets.map(|offset| ((offset, 0), 1)).collect()
}

/// Scenario: records finish in another order than they came, one becomes three rows, one is retried and one replayed later.
/// Guarantee: each row is there once, under its own identity.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identities_come_in_any_order() {
    let topic = "topic-identities";
    let Some((witness, sink)) = fresh(topic, &[]) else { return };
    let mut owner = Owner::take_over(&sink, 1).await;
    for records in [&[(7, 0), (2, 0), (9, 0)][..], &[(0, 0), (8, 0), (1, 0)], &[(6, 0), (4, 0)]] {
        let block = owner.block(records, 60);
        owner.take(&block).await.unwrap();
    }
    let trailer = owner.seal(0..10);
    assert!(is_held(&owner.publish(&trailer).await));
    let late = owner.block(&[(5, 0), (5, 1), (5, 2), (3, 0)], 60);
    owner.take(&late).await.unwrap();
    let trailer = owner.seal(10..10);
    assert!(is_held(&owner.publish(&trailer).await));
    // The answer is asked for again.
    assert!(is_held(&owner.publish(&trailer).await));
    let mut expected = once(0..10);
    expected.extend([((5, 1), 1), ((5, 2), 1)]);
    assert_eq!(found(&witness, topic), expected);
}

/// Scenario: one row of a segment is larger than the topic takes, and one before it could not be expressed.
/// Guarantee (I1, I9): that record alone is refused, with the reason; the others are there once, and it is refused once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_records_take_nothing_along() {
    let topic = "topic-refused";
    let Some((witness, sink)) = fresh(topic, &[("max.message.bytes", "20000")]) else { return };
    let mut owner = Owner::take_over(&sink, 1).await;
    let mut block = owner.block(&[(0, 0), (1, 0)], 60);
    let mark = block.mark();
    let half = owner.block(&[(2, 0)], 60);
    block.bytes.extend_from_slice(&half.bytes[..half.bytes.len() / 2]);
    block.rewind(mark);
    owner.take(&block).await.unwrap();
    for (offset, bytes) in [(3, 60), (4, 60_000), (5, 60)] {
        let block = owner.block(&[(offset, 0)], bytes);
        owner.take(&block).await.unwrap();
    }
    let trailer = owner.seal(0..6);
    let Published::Done(refused) = owner.publish(&trailer).await else { panic!("a topic takes no numbers") };
    let [(offset, failure)] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!((*offset, failure.class, failure.reason), (Offset(4), Class::Reject, Reason::SinkTooLarge));
    assert_eq!(owner.publish(&trailer).await, Published::Done(Vec::new()));
    assert_eq!(found(&witness, topic), once([0, 1, 3, 5].into_iter()));
}

/// Scenario: a worker falls asleep with a sealed segment, another one takes the pair over and writes the same records and more, and the
/// sleeper wakes up.
/// Guarantee: none is missing; what is there twice is what the sleeper had in hand, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_repeats_what_it_had_in_hand() {
    let topic = "topic-zombie";
    let Some((witness, zombies)) = fresh(topic, &[]) else { return };
    let mut zombie = Owner::take_over(&zombies, 1).await;
    zombie.write(0..10).await;
    let late = zombie.fill(10..15).await;
    let own = sink(&shared_broker().unwrap().bootstrap(), topic);
    let mut owner = Owner::take_over(&own, 2).await;
    owner.write(10..30).await;
    assert!(is_held(&zombie.publish(&late).await));
    let mut expected = once(0..30);
    expected.extend((10..15).map(|offset| ((offset, 0), 2)));
    assert_eq!(found(&witness, topic), expected);
}

/// Scenario: the broker stands still (SIGSTOP) with an open segment; the worker appends, seals and publishes meanwhile, until it is told
/// that the target is away, while a sink beside it goes on; then the broker is back.
/// Guarantee (I1): nothing is said to be held before it is; the very same segment is published then, and its rows are there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_takes_nothing_by_half() {
    let (topic, folder) = ("topic-away", tempfile::tempdir().unwrap());
    let Some(broker) = start_broker(Default::default()) else { return };
    let witness = Witness::new(&broker.bootstrap());
    create(&witness, topic, &[]);
    let signal = |signal| {
        let pid = Pid::from_raw(broker.pid(1).unwrap() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    };
    let away = sink(&broker.bootstrap(), topic);
    let beside = <super::files::Files<false> as super::fixture::Fixture>::sink_at(
        &folder.path().join("out").display().to_string(),
    );
    let mut owner = Owner::take_over(&away, 1).await;
    owner.write(0..10).await;
    signal(Signal::STOP);
    let trailer = owner.fill(10..40).await;
    let failure = owner.try_publish(&trailer).await.unwrap_err();
    assert_eq!(failure.reason, Reason::SinkUnavailable, "{failure}");
    assert!(matches!(failure.class, Class::Retry { .. }), "{failure}");
    Owner::take_over(&beside, 1).await.write(0..40).await;
    signal(Signal::CONT);
    assert!(is_held(&owner.publish(&trailer).await));
    assert_eq!(found(&witness, topic), once(0..40));
}

/// Scenario: the topic is deleted under the worker, and made again a while later.
/// Guarantee (I1, I6): the worker says which topic is missing and tries again, and the very same segment is in the new topic then, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_made_again_is_waited_for() {
    let topic = "topic-again";
    let Some((witness, sink)) = fresh(topic, &[]) else { return };
    let mut owner = Owner::take_over(&sink, 1).await;
    owner.write(0..10).await;
    block_in_place(|| witness.delete_topic(topic));
    let trailer = owner.fill(10..20).await;
    // Until the client has heard of it, it only gets no answer.
    let missing = loop {
        let failure = owner.try_publish(&trailer).await.unwrap_err();
        assert!(matches!(failure.class, Class::Retry { scope: Scope::Target, .. }), "{failure}");
        if failure.reason == Reason::SinkMissing {
            break failure;
        }
    };
    assert!(missing.detail().contains(topic), "{missing}");
    create(&witness, topic, &[]);
    assert!(is_held(&owner.publish(&trailer).await));
    assert_eq!(found(&witness, topic), once(10..20));
}

/// Not a test by itself: a worker in a process of its own, which says what is held, or takes one large segment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some((bootstrap, topic, from)) = address() else { return };
    let sink = sink(&bootstrap, &topic);
    let mut owner = Owner::take_over(&sink, 1).await;
    if std::env::var(WORK).unwrap() == "hold" {
        super::size::hold(owner).await;
        return;
    }
    for segment in 0.. {
        let start = from + segment * SEGMENT;
        owner.write(start..start + SEGMENT).await;
        println!("\nheld to {}", start + SEGMENT);
    }
}

/// Scenario: a worker that publishes all the time is killed (SIGKILL) at a moment of chance, six times; each time the next one begins
/// behind what the last one said to be held.
/// Guarantee (I1): no record is missing, and of each death no more than one segment is there again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_dies_at_any_moment() {
    let topic = "topic-killed";
    let Some((witness, _)) = fresh(topic, &[]) else { return };
    let bootstrap = shared_broker().unwrap().bootstrap();
    let (mut random, mut end) = (Random::new(0x6b69_6c6c), 0);
    for _ in 0..6 {
        let mut child = start_child_at(&format!("{bootstrap} {topic} {end}"), "write", 1);
        pass_time(Duration::from_millis(500 + random.below(500) as u64));
        child.kill().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let held = said.lines().map_while(Result::ok);
        let held = held.filter_map(|line| line.strip_prefix("held to ")?.parse::<i64>().ok()).last();
        child.wait().unwrap();
        end = held.unwrap_or(end);
    }
    assert!(end > 0, "no worker came to publish anything");
    let found = found(&witness, topic);
    let missing: Vec<i64> = (0..end).filter(|offset| !found.contains_key(&(*offset, 0))).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    let repeated: usize = found.values().map(|times| times - 1).sum();
    assert!(repeated <= 6 * SEGMENT as usize, "{repeated} rows are there again");
    assert!(found.keys().all(|(offset, _)| *offset < end + SEGMENT), "{:?}", found.last_key_value());
}

/// Scenario: one segment takes 96 MiB of rows, in a process of its own.
/// Guarantee (I5): the process holds no more of them than its producer may, and 44 MiB beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_segment_keeps_to_its_memory() {
    let topic = "topic-memory";
    let Some((witness, _)) = fresh(topic, &[]) else { return };
    let child = start_child_at(&format!("{} {topic} 0", shared_broker().unwrap().bootstrap()), "hold", 1);
    let [size, grown, published] = super::size::held(child);
    println!("{size:.1} MiB: grown by {grown:.1} MiB open, {published:.1} MiB published");
    assert!(size > 90.0 && published <= PRODUCER_MIB + super::size::BESIDE_MIB, "{size} {published}");
    assert_eq!(witness.ends(topic).iter().sum::<i64>(), 96 * 1_024 + 1);
}
