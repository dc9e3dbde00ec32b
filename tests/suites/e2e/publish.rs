//! `longshore publish` from the outside: what stands in the topic afterwards.

use longshore_tests::harness::{Rig, Seen, shared_broker};

use super::said::longshore;

fn publish(rig: &Rig, arguments: &[&str]) -> super::said::Said {
    let bootstrap = rig.witness.bootstrap().to_owned();
    longshore(&[&["publish", "--broker", &bootstrap, "-t", &rig.topic], arguments].concat())
}

/// Key and value of each record of the topic, in no order.
fn records(rig: &Rig) -> Vec<(Option<String>, Option<String>)> {
    let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8(bytes).unwrap());
    let mut records: Vec<_> = rig
        .witness
        .read(&rig.topic)
        .into_iter()
        .map(pair)
        .map(|(key, value)| (text(key), text(value)))
        .collect();
    records.sort();
    records
}

fn pair(seen: Seen) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    (seen.key, seen.value)
}

/// Scenario: lines with a key inside, a folder with a packed file, and keys that are to be deleted.
/// Guarantee: each line is one record, confirmed, with its key; those to be deleted have no value.
#[test]
fn lines_and_tombstones_reach_the_topic() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "publish").with_topics(2);
    let folder = rig.folder().join("in");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.jsonl"), "{\"id\":\"u1\",\"at\":{\"n\":1}}\n\nno json\n").unwrap();
    std::fs::write(folder.join("b.zst"), zstd::encode_all(&b"{\"id\":7}\n"[..], 1).unwrap()).unwrap();
    let keys = rig.folder().join("keys");
    std::fs::write(&keys, "u1\nu2\n").unwrap();

    let said = publish(&rig, &["--key", "id", &folder.display().to_string()]).well();
    assert!(said.err.contains("3 records confirmed"), "{}", said.err);
    let some = |text: &str| Some(text.to_owned());
    let lines = [
        (None, some("no json")),
        (some("7"), some("{\"id\":7}")),
        (some("u1"), some("{\"id\":\"u1\",\"at\":{\"n\":1}}")),
    ];
    assert_eq!(records(&rig), lines);

    let keys = keys.display().to_string();
    let said = publish(&rig, &["--unit", "tombstone", &keys, "-o", "json"]).well();
    assert_eq!(said.json()["confirmed"], 2, "{}", said.out);
    let mut all = Vec::from(lines);
    all.extend([(some("u1"), None), (some("u2"), None)]);
    all.sort();
    assert_eq!(records(&rig), all);

    let said = publish(&rig, &["--unit", "tombstone", "--key", "id", &keys]);
    assert!(said.code == 64 && said.err.contains("leave --key out"), "{} {}", said.code, said.err);
    let said = publish(&rig, &["--key", "at", &folder.display().to_string()]);
    assert!(said.code == 65 && said.err.contains("name a field inside it"), "{} {}", said.code, said.err);
}
