//! Co-assignment: a retry partition goes to the owner of the input partition, though nobody subscribes to its topic (the rules
//! of `kafka.md`; the storm is in `storm.rs`).

use std::time::Duration;

use longshore_broker::Tool;
use longshore_core::pair::{CommitResult, Position};
use longshore_core::source::{SourceCommand, SourceControl};
use longshore_core::{Lane, Offset, Reason};
use longshore_kafka::{GroupProtocol, KafkaOptions, Scalar, SourceOptions};
use longshore_tests::harness::{Record, Witness, shared_broker, wait_until};

use super::member::{Member, PATIENCE, Reads, Seen, World, kafka, look, metadata, position};

/// An input and its retry topic, and a group that reads both.
struct Lanes {
    witness: Witness,
    topic: String,
    retry: String,
    world: World,
    recommit: Duration,
}

impl Lanes {
    fn new(bootstrap: &str, name: &str, partitions: i32) -> Self {
        let witness = Witness::new(bootstrap);
        let (topic, retry) = (name.to_owned(), format!("{name}.p.retry"));
        witness.create_topic(&topic, partitions, &[]);
        witness.create_topic(&retry, partitions, &[]);
        Self { witness, topic, retry, world: World::default(), recommit: SourceOptions::RECOMMIT }
    }

    fn join(&self) -> Member {
        self.join_as(kafka(self.witness.bootstrap(), GroupProtocol::Classic))
    }

    fn join_as(&self, options: KafkaOptions) -> Member {
        let (topic, retry, recommit) = (&self.topic, Some(self.retry.as_str()), self.recommit);
        Member::join_with(options, &Reads { topic, retry, group: topic, recommit }, &self.world)
    }

    /// So many records to each partition of a topic.
    fn fill(&self, topic: &str, partitions: i32, count: usize) {
        for partition in 0..partitions {
            let records: Vec<_> =
                (0..count).map(|n| Record::new(&n.to_string(), n.to_string()).to(partition)).collect();
            self.witness.publish(topic, &records);
        }
    }

    fn wait(&self, what: &str, mut condition: impl FnMut(&mut Seen) -> bool) {
        wait_until(what, PATIENCE, || look(&self.world, &mut condition));
    }

    /// Waits until both lanes of all partitions are committed to their ends, with the metadata that belongs to them.
    fn wait_committed(&self) {
        wait_until("both lanes are committed to their ends", PATIENCE, || {
            [&self.topic, &self.retry].into_iter().all(|topic| {
                let committed = self.witness.committed(&self.topic, topic);
                (0_i32..).zip(self.witness.ends(topic)).all(|(partition, end)| {
                    let position = committed.get(&partition);
                    end == 0
                        || position.is_some_and(|position| {
                            position.offset == end && position.metadata == metadata(end)
                        })
                })
            })
        });
    }
}

fn distinct(partitions: &std::collections::BTreeMap<i32, std::collections::BTreeMap<i64, u32>>) -> usize {
    partitions.values().map(std::collections::BTreeMap::len).sum()
}

/// Scenario: two members; the retry lanes of all partitions are without credit, so paused, while partitions move to the
/// second member and back (rules 1, 2, 6, 9).
/// Guarantee: the input flows all the while; every retry partition moves with its input and flows as soon as it has credit;
/// each lane begins where it was committed, with its metadata; nothing comes twice.
#[test]
fn a_paused_retry_lane_moves_away_and_back_and_flows() {
    let Some(broker) = shared_broker() else { return };
    let lanes = Lanes::new(&broker.bootstrap(), "lanes-paused", 4);
    lanes.fill(&lanes.retry, 4, 50);
    lanes.fill(&lanes.topic, 4, 50);
    look(&lanes.world, |seen| seen.held = (0..4).map(|partition| (partition, Lane::Retry)).collect());
    let first = lanes.join();
    lanes.wait("the input is read", |seen| seen.offsets() == 200);
    let second = lanes.join();
    lanes.wait("two pairs move", |seen| seen.assignments.len() >= 6);
    lanes.fill(&lanes.topic, 4, 50);
    lanes.wait("the input flows on", |seen| seen.offsets() == 400);
    second.leave();
    lanes.wait("they come back", |seen| seen.assignments.len() >= 8);
    assert_eq!(look(&lanes.world, |seen| distinct(&seen.copies)), 0, "a lane without credit was read");
    let owned = look(&lanes.world, |seen| {
        seen.held.clear();
        let newest = |partition: i32| {
            seen.assignments.iter().rev().find(|given| given.pair.partition.0 == partition).cloned()
        };
        (0..4).filter_map(newest).collect::<Vec<_>>()
    });
    for given in owned {
        let (pair, epoch, lane) = (given.pair, given.epoch, Lane::Retry);
        let (records, bytes) = (1 << 40, 1 << 40);
        first.handle.send(SourceCommand::Grant { pair, epoch, lane, records, bytes });
    }
    lanes.wait("every retry partition flows", |seen| distinct(&seen.copies) == 200);
    lanes.wait_committed();
    first.leave();
    look(&lanes.world, |seen| {
        let all = seen.deliveries.values().chain(seen.copies.values());
        assert!(all.flat_map(|of| of.values()).all(|times| *times == 1), "a record came twice");
        for given in &seen.assignments {
            let retry = given.retry.as_ref().expect("every assignment has its retry partition");
            assert_eq!(retry.topic.as_str(), lanes.retry);
            assert_eq!(retry.log_end.0, 50);
            if let Some(position) = &given.committed {
                assert_eq!(position.metadata, metadata(position.offset.0));
            }
        }
    });
}

/// Scenario: a group at work on both topics; somebody else commits for it, as a zombie would (I8).
/// Guarantee: Kafka's own tool shows offsets and lag of the retry topic under the group; the broker refuses the stranger's
/// commit on both topics.
#[test]
fn the_kafka_tools_show_the_retry_topic_and_strangers_commit_nothing() {
    let Some(broker) = shared_broker() else { return };
    let lanes = Lanes::new(&broker.bootstrap(), "lanes-tools", 2);
    lanes.fill(&lanes.topic, 2, 30);
    lanes.fill(&lanes.retry, 2, 20);
    let member = lanes.join();
    lanes.wait_committed();
    let shown = broker.tool(Tool::ConsumerGroups, &["--describe", "--group", &lanes.topic]).unwrap().stdout;
    for partition in 0..2 {
        let row = shown.lines().find(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            words.get(1..3) == Some(&[lanes.retry.as_str(), &partition.to_string()])
        });
        let row = row.unwrap_or_else(|| panic!("no row for {partition} in\n{shown}"));
        let words: Vec<_> = row.split_whitespace().collect();
        assert_eq!(words[3..6], ["20", "20", "0"], "{row}");
    }
    for topic in [&lanes.topic, &lanes.retry] {
        let refused = lanes.witness.try_commit(&lanes.topic, topic, 0, 1, "zombie");
        assert!(refused.is_err(), "a stranger committed for {topic}");
    }
    lanes.wait_committed();
    member.leave();
}

/// Scenario: the retry topic has fewer partitions than the input, then it grows (rule 8, which gives no error at all).
/// Guarantee: the pair without a retry partition is refused with the reason, the others flow, and it flows as well once the
/// topic has grown, without a restart.
#[test]
fn a_pair_without_a_retry_partition_is_refused_until_it_has_one() {
    let Some(broker) = shared_broker() else { return };
    let lanes = Lanes::new(&broker.bootstrap(), "lanes-growth", 2);
    lanes.witness.grow(&lanes.topic, 3);
    lanes.fill(&lanes.topic, 3, 10);
    let member = lanes.join();
    lanes.wait("the others flow", |seen| seen.offsets() == 20);
    lanes.wait("the pair is refused", |seen| !seen.refused.is_empty());
    look(&lanes.world, |seen| {
        let [(pair, failure)] = seen.refused.as_slice() else { panic!("{:?}", seen.refused) };
        assert_eq!((pair.partition.0, failure.reason), (2, Reason::BrokerTopicUnfit));
        assert!(failure.detail().contains("has 2 partitions and none for partition 2"), "{failure}");
    });
    lanes.witness.grow(&lanes.retry, 3);
    lanes.wait("the pair flows", |seen| seen.offsets() == 30);
    lanes.fill(&lanes.retry, 3, 10);
    lanes.wait("its retry lane too", |seen| distinct(&seen.copies) == 30);
    lanes.wait_committed();
    assert_eq!(look(&lanes.world, |seen| seen.refused.len()), 1, "it was said again and again");
    member.leave();
}

/// Scenario: the retry topic is deleted and made again under a member, with more records than were committed of the old one.
/// Guarantee: that copies were lost is said for each pair, the pairs begin anew, and the new topic is read from its first
/// record instead of from where the old one was committed; the input is not halted.
#[test]
fn a_retry_topic_that_was_made_again_is_read_from_its_start() {
    let Some(broker) = shared_broker() else { return };
    let lanes = Lanes::new(&broker.bootstrap(), "lanes-again", 1);
    let mut options = kafka(&broker.bootstrap(), GroupProtocol::Classic);
    options.client.extend([("topic.metadata.refresh.interval.ms".to_owned(), Scalar::Number(1_000))]);
    lanes.fill(&lanes.topic, 1, 10);
    lanes.fill(&lanes.retry, 1, 40);
    let member = lanes.join_as(options);
    lanes.wait_committed();
    look(&lanes.world, |seen| seen.copies.clear());
    lanes.witness.delete_topic(&lanes.retry);
    lanes.witness.create_topic(&lanes.retry, 1, &[]);
    lanes.fill(&lanes.retry, 1, 70);
    lanes.wait("the loss is said", |seen| !seen.lost.is_empty());
    lanes.wait("the new topic is read from its first record", |seen| {
        seen.copies.get(&0).is_some_and(|copies| copies.len() == 70)
    });
    lanes.fill(&lanes.topic, 1, 10);
    lanes.wait("the input flows on", |seen| seen.offsets() == 20);
    lanes.wait_committed();
    assert!(look(&lanes.world, |seen| seen.refused.is_empty()));
    member.leave();
}

/// Scenario: copies are deleted before they were done (retention), while the fleet is down.
/// Guarantee: the loss is said with its size, and what is left is read from its first record.
#[test]
fn copies_that_retention_deleted_are_told() {
    let Some(broker) = shared_broker() else { return };
    let lanes = Lanes::new(&broker.bootstrap(), "lanes-retention", 1);
    lanes.fill(&lanes.retry, 1, 20);
    lanes.witness.commit(&lanes.topic, &lanes.retry, 0, 5, &metadata(5));
    let file = tempfile::NamedTempFile::new().unwrap();
    let json = format!(
        "{{\"version\":1,\"partitions\":[{{\"topic\":\"{}\",\"partition\":0,\"offset\":12}}]}}",
        lanes.retry
    );
    std::fs::write(file.path(), json).unwrap();
    let path = file.path().display().to_string();
    broker.tool(Tool::DeleteRecords, &["--offset-json-file", &path]).unwrap();
    let member = lanes.join();
    lanes.wait("what is left is read", |seen| distinct(&seen.copies) == 8);
    look(&lanes.world, |seen| {
        let [(_, words)] = seen.lost.as_slice() else { panic!("{:?}", seen.lost) };
        assert!(words.starts_with("7 offsets"), "{words}");
        assert_eq!(seen.copies[&0].first_key_value().map(|(first, _)| *first), Some(12));
    });
    lanes.wait_committed();
    member.leave();
}

/// Scenario: a pair is let go of, and of its last commits the broker refuses the input's alone: it takes no metadata of more than 4096 bytes.
/// Guarantee: the retry lane's, which the broker would take, is not sent: a copy's offset before the record's own would bring the record back after
/// its copy was forgotten (I2). Both are answered, neither as done.
#[test]
fn a_refused_input_commit_holds_back_the_retry_lanes() {
    let Some(broker) = shared_broker() else { return };
    let lanes = Lanes::new(&broker.bootstrap(), "lanes-refused", 1);
    lanes.fill(&lanes.topic, 1, 2);
    lanes.fill(&lanes.retry, 1, 3);
    // Without credit nothing is received, so the member commits nothing by itself.
    look(&lanes.world, |seen| seen.held = vec![(0, Lane::Input), (0, Lane::Retry)]);
    let member = lanes.join();
    lanes.wait("the pair is assigned", |seen| !seen.assignments.is_empty());
    let given = look(&lanes.world, |seen| seen.assignments[0].clone());
    let refused = Position { offset: Offset(2), metadata: "x".repeat(5_000) };
    let (pair, epoch) = (given.pair, given.epoch);
    member.handle.send(SourceCommand::Release {
        pair,
        epoch,
        position: Some(refused),
        retry: Some(position(3)),
    });
    lanes.wait("both are answered", |seen| seen.committed.len() == 2);
    let answers = look(&lanes.world, |seen| seen.committed.clone());
    assert_eq!(answers.iter().map(|(lane, _)| *lane).collect::<Vec<_>>(), [Lane::Input, Lane::Retry]);
    assert!(answers.iter().all(|(_, result)| *result != CommitResult::Done), "{answers:?}");
    for topic in [&lanes.topic, &lanes.retry] {
        let committed = lanes.witness.committed(&lanes.topic, topic);
        assert!(committed.is_empty(), "{topic}: {committed:?}");
    }
    member.leave();
}

/// Scenario: nothing happens for long on a retry partition that is owned (rule 5: offsets of a topic that nobody subscribes
/// to expire).
/// Guarantee: its offset is committed again and again, with its metadata, and not that of the input, which the subscription
/// keeps alive.
#[test]
fn offsets_of_the_retry_topic_are_kept_alive() {
    let Some(broker) = shared_broker() else { return };
    let mut lanes = Lanes::new(&broker.bootstrap(), "lanes-kept", 1);
    lanes.recommit = Duration::from_millis(300);
    lanes.fill(&lanes.topic, 1, 10);
    lanes.fill(&lanes.retry, 1, 10);
    let member = lanes.join();
    lanes.wait_committed();
    let stored = |topic: &str| {
        let held = |key: &[u8]| key.windows(topic.len()).any(|window| window == topic.as_bytes());
        let records = lanes.witness.read("__consumer_offsets");
        records.iter().filter(|record| record.key.as_deref().is_some_and(held)).count()
    };
    let (input, retry) = (format!("{}\0\0\0\0", lanes.topic), lanes.retry.clone());
    let (before, commits_before) = (stored(&input), stored(&retry));
    wait_until("the retry offset is stored again", PATIENCE, || stored(&retry) >= commits_before + 3);
    assert_eq!(stored(&input), before, "the input's offset was committed again for nothing");
    lanes.wait_committed();
    member.leave();
}
