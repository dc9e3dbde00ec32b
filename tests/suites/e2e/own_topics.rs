//! The topics that a pipeline owns: what a worker refuses to start with, and what `longshore topics` makes of it.

use std::time::Duration;

use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::rig::{LETTER_SETTINGS, RETRY_SETTINGS};
use longshore_tests::harness::{Account, Longshore, Rig, shared_broker};

use super::troubles::assert_ends_quietly;

const JOURNAL_SETTINGS: &[(&str, &str)] = &[("cleanup.policy", "compact")];

/// Settings with one of them otherwise.
fn but<'a>(settings: &[(&'a str, &'a str)], name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let others = settings.iter().copied().filter(|(known, _)| *known != name);
    others.chain([(name, value)]).collect()
}

/// `longshore topics ACTION`; its exit code and what it said.
fn topics(rig: &Rig, action: &str, further: &[&str]) -> (i32, String) {
    let file = rig.file();
    let arguments = ["topics", action, &file.to_string_lossy()].map(str::to_owned);
    let mut process =
        Longshore::start(arguments.into_iter().chain(further.iter().map(|&word| word.to_owned())));
    let status = process.wait(Duration::from_secs(60));
    (status.code().unwrap_or(-1), process.transcript())
}

/// Scenario: a topic of the pipeline's own does not exist.
/// Guarantee: a worker does not even start, names all of them, and says how they are made.
#[test]
fn missing_topics_end_with_78() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-no-own");
    rig.witness.create_topic(&rig.topic, 3, &[]);
    let said = assert_ends_quietly(&rig, 78, "broker.topic-missing");
    for topic in [rig.retry_topic(), rig.letter_topic(), rig.journal_topic()] {
        assert!(said.contains(&topic), "{topic} is not named in\n{said}");
    }
    assert!(said.contains("longshore topics apply"), "{said}");
}

/// Scenario: the retry topic has too few partitions, keeps records by their own time, compacts, or keeps them for less than
/// the longest wait and a day.
/// Guarantee: a worker does not start with any of it and says what is wrong: a copy would have nowhere to go, or be gone
/// before it is tried.
#[test]
fn an_unfit_retry_topic_ends_with_78() {
    let Some(broker) = shared_broker() else { return };
    let unfit = [
        ("count", 2, RETRY_SETTINGS.to_vec(), "has 2 partitions; its input has 3"),
        (
            "time",
            3,
            but(RETRY_SETTINGS, "message.timestamp.type", "CreateTime"),
            "message.timestamp.type is CreateTime",
        ),
        ("policy", 3, but(RETRY_SETTINGS, "cleanup.policy", "compact"), "cleanup.policy is compact"),
        ("age", 3, but(RETRY_SETTINGS, "retention.ms", "89999999"), "retention.ms is 89999999"),
        ("bytes", 3, but(RETRY_SETTINGS, "retention.bytes", "1000000"), "retention.bytes is 1000000"),
    ];
    for (name, partitions, settings, words) in unfit {
        let rig = Rig::new(&broker.bootstrap(), &format!("e2e-unfit-{name}"));
        rig.witness.create_topic(&rig.topic, 3, &[]);
        rig.witness.create_topic(&rig.retry_topic(), partitions, &settings);
        rig.witness.create_topic(&rig.letter_topic(), 3, LETTER_SETTINGS);
        rig.witness.create_topic(&rig.journal_topic(), 1, JOURNAL_SETTINGS);
        let said = assert_ends_quietly(&rig, 78, "broker.topic-unfit");
        assert!(said.contains(words), "no word of {words} in\n{said}");
        assert!(said.contains("longshore topics apply"), "{said}");
    }
}

/// Scenario: all own topics are unfit. Guarantee: `plan` tells each difference and changes nothing, `apply` mends all of
/// them, and a worker starts with the result.
#[test]
fn topics_apply_mends_what_can_be_mended() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-mend");
    rig.witness.create_topic(&rig.topic, 3, &[("max.message.bytes", "3000000")]);
    rig.witness.create_topic(
        &rig.retry_topic(),
        1,
        &[("retention.ms", "60000"), ("max.message.bytes", "1048588")],
    );
    rig.witness.create_topic(&rig.letter_topic(), 2, &[("cleanup.policy", "compact")]);
    rig.witness.create_topic(&rig.journal_topic(), 1, &[]);
    for _ in 0..2 {
        let (code, said) = topics(&rig, "plan", &[]);
        assert_eq!(code, 1, "{said}");
        for words in [
            "has 1 partitions; its input has 3",
            "retention.ms is 60000; wanted: 90000000 or more",
            "has 2 partitions; its input has 3",
            "cleanup.policy is compact; wanted: delete",
            "cleanup.policy is delete; wanted: compact",
            "message.timestamp.type is CreateTime; wanted: LogAppendTime",
            "max.message.bytes is 1048588; wanted: 3004096 or more",
        ] {
            assert!(said.contains(words), "no word of {words} in\n{said}");
        }
    }
    let (code, said) = topics(&rig, "apply", &[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches(" changed\n").count(), 3, "{said}");
    let (code, said) = topics(&rig, "plan", &[]);
    assert_eq!(code, 0, "{said}");
    rig.working().stop();
}

/// Scenario: `topics apply` on an empty broker, a worker, `topics apply --grow` under it.
/// Guarantee: what the command makes is what a worker asks for; the retry topic never has fewer partitions than the input.
#[test]
fn topics_apply_makes_and_grows_what_a_worker_needs() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-apply");
    let (code, said) = topics(&rig, "apply", &["--partitions", "2"]);
    assert_eq!((code, said.matches(" made\n").count()), (0, 4), "{said}");
    let mut worker = rig.working();
    let (code, said) = topics(&rig, "apply", &["--grow", "3"]);
    assert_eq!(code, 0, "{said}");
    for topic in [rig.retry_topic(), rig.letter_topic(), rig.topic.clone()] {
        assert_eq!(rig.witness.partitions(&topic), 3, "{topic}\n{said}");
    }
    worker.wait_until("it has the new partition", |worker| {
        worker.pairs().iter().any(|pair| pair.partition == 2 && pair.state == "running")
    });
    worker.stop();
}

/// Scenario: records are retried in place. Guarantee: no retry topic is made or asked for.
#[test]
fn without_retry_topics_none_is_asked_for() {
    let Some(broker) = shared_broker() else { return };
    for (name, setting) in [("off", "failure.retry.topic=false"), ("partition", "input.order=partition")] {
        let rig = Rig::new(&broker.bootstrap(), &format!("e2e-in-place-{name}")).set(setting);
        let (code, said) = topics(&rig, "apply", &["--set", setting]);
        assert_eq!(code, 0, "{said}");
        assert!(!said.contains(".retry"), "{said}");
        rig.working().stop();
    }
}

/// Scenario: partitions are added to the input of a running worker, and not to the retry topic; then `topics apply` runs.
/// Guarantee: the new partition is halted with the reason, the others go on; once the retry topic has grown it is worked off
/// without a restart, and the account is right.
#[test]
fn an_input_that_grew_before_its_retry_topic_is_told_and_recovers() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-grown-late").with_topics(2);
    let mut worker = rig.working();
    rig.witness.grow(&rig.topic, 3);
    let placed = |n: u64| log_line(n).to((n % 3) as i32);
    rig.witness.publish(&rig.topic, &(0..300).map(placed).collect::<Vec<_>>());
    worker.wait_until("the new partition is halted and the others are done", |worker| {
        let pairs = worker.pairs();
        let halted =
            pairs.iter().any(|pair| pair.partition == 2 && pair.reason.starts_with("broker.topic-unfit"));
        halted
            && (0..2).all(|partition| {
                pairs.iter().any(|pair| (pair.partition, pair.committed) == (partition, 100))
            })
    });
    let (code, said) = topics(&rig, "apply", &[]);
    assert_eq!(code, 0, "{said}");
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();
    Account::take(&rig).assert_right(300, log_fate);
}
