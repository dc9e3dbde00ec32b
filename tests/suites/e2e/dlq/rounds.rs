//! Records that fail again after every replay: how far they go round.

use std::time::Duration;

use longshore_tests::harness::{Record, Rig, Seen, shared_broker, wait_until};

use super::{Said, dlq, file, open};

/// Scenario: a record that can never succeed is replayed to the input, to the retry topic, and to the input by its name, each time with the
/// worker at work; another one came with a forged count. Guarantee: each replay sends one record and no more, whatever comes of it
/// meanwhile; the letters count all of them, and the fourth replay is refused and told until somebody raises the cap. The payload, the
/// key and the own headers are the same at every round, and what our headers take does not grow.
#[test]
fn a_record_that_fails_for_ever_is_not_replayed_for_ever() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-dlq-rounds").with_topics(1);
    let own = |record: Record| record.header("own", "o").header("own", "p");
    let forged = Record::new("f", "forged").header("longshore.replayed", "9999999");
    rig.witness.publish(&rig.topic, &[own(Record::new("k", "broken")), forged]);
    let worker = rig.working();
    let letters = |count: usize| {
        wait_until("the letter comes", Duration::from_secs(60), || {
            rig.wait_drained(Duration::from_secs(60), &[&worker]);
            rig.uncommitted_copies() == 0 && rig.witness.read(&rig.letter_topic()).len() == count
        });
    };
    letters(2);
    let replay = |arguments: &[&str]| -> Said {
        let file = file(&rig);
        dlq(&[&["replay", "-c", file.as_str(), "--where", "key == 'k'", "--yes"], arguments].concat()).well()
    };
    for (round, to) in ["input", "retry", &rig.topic].into_iter().enumerate() {
        let said = replay(&["--to", to]);
        assert!(said.err.contains("1 of 1 letter sent"), "{}", said.err);
        letters(3 + round);
    }
    assert_eq!(rig.witness.ends(&rig.topic)[0], 4);
    let of = |key: &str| -> Vec<Seen> {
        let letters = rig.witness.read(&rig.letter_topic()).into_iter();
        letters.filter(|letter| letter.key.as_deref() == Some(key.as_bytes())).collect()
    };
    let counts: Vec<_> = of("k")
        .iter()
        .map(|seen| (seen.header("longshore.replays"), seen.header("longshore.replayed")))
        .collect();
    let count =
        |replays: &str, replayed: Option<&str>| (Some(replays.to_owned()), replayed.map(str::to_owned));
    assert_eq!(
        counts,
        [count("0", None), count("0", Some("1")), count("1", Some("1")), count("0", Some("3"))]
    );
    assert_eq!(of("f")[0].header("longshore.replayed").as_deref(), Some("9999999"));

    for to in ["input", "retry"] {
        let refused = replay(&["--to", to]);
        assert!(
            refused.out.contains("1 replayed 3 times or more already (--max-replays)"),
            "{}",
            refused.out
        );
        assert!(refused.err.contains("nothing to send"), "{}", refused.err);
    }
    assert_eq!(open(&rig), 2);
    replay(&["--to", "input", "--max-replays", "4"]);
    letters(6);
    let all = of("k");
    let last = all.last().unwrap();
    assert_eq!(last.header("longshore.replayed").as_deref(), Some("4"));
    let theirs = |seen: &Seen| -> Vec<_> {
        let own = seen.headers.iter().filter(|(name, _)| !name.starts_with("longshore."));
        own.cloned().collect()
    };
    assert_eq!((&last.key, &last.value, theirs(last)), (&all[0].key, &all[0].value, theirs(&all[0])));
    assert_eq!(last.headers.len(), all[1].headers.len(), "{last:?}");
    let file = file(&rig);
    let id = format!("{}/0/{}", rig.letter_topic(), last.offset);
    let shown = dlq(&["show", "-c", &file, &id]).well();
    assert!(shown.out.contains("0, and 4 before it was published anew"), "{}", shown.out);
    // The cap can be raised above whatever an input brings along.
    let sent =
        dlq(&["replay", "-c", &file, "--where", "key == 'f'", "--max-replays", "10000000", "--yes"]).well();
    assert!(sent.err.contains("1 of 1 letter sent"), "{}", sent.err);
    letters(7);
    worker.stop();
}
