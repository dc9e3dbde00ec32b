//! `dlq ls` and `dlq show`.

use longshore_tests::harness::{Record, Rig, Witness, shared_broker};

use super::{Said, dlq, file, with_letters};

const SECRET: &str = "planted-secret-91";

/// Group and count of every row of `-o json`.
fn groups(said: &Said) -> Vec<(String, u64)> {
    let row =
        |row: &serde_json::Value| (row["value"].as_str().unwrap().to_owned(), row["open"].as_u64().unwrap());
    said.rows().iter().map(row).collect()
}

/// Scenario: a worker made letters of two kinds, and one of them lies there twice (as after a crash).
/// Guarantee: groups, counts and times are right; a copy is no second letter; a table fits 80 columns; every letter is listed
/// once, without its payload.
#[test]
fn open_letters_are_counted_and_listed() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-dlq-ls").with_topics(2);
    let mut records: Vec<Record> = (0..30).map(|n| Record::new("a", format!("{SECRET} {n}")).to(0)).collect();
    records.extend((0..7).map(|_| Record::new("b", "").to(1)));
    with_letters(&rig, &records);
    let first = rig.witness.read(&rig.letter_topic()).into_iter().find(|seen| seen.partition == 0).unwrap();
    let mut copy = Record { partition: Some(0), key: first.key, value: first.value, ..Record::default() };
    copy.headers = first.headers.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect();
    rig.witness.publish(&rig.letter_topic(), &[copy]);

    let file = file(&rig);
    let said = dlq(&["ls", "-c", &file, "-o", "json"]).well();
    assert_eq!(groups(&said), [("decode.json".to_owned(), 30), ("decode.empty".to_owned(), 7)]);
    assert!(said.err.contains("37 open letters") && said.err.contains("1 copy"), "{}", said.err);
    for (by, wanted) in [("step", "parse"), ("topic", rig.topic.as_str())] {
        let said = dlq(&["ls", "-c", &file, "--by", by, "-o", "json"]).well();
        assert_eq!(groups(&said), [(wanted.to_owned(), 37)]);
    }
    let version = dlq(&["ls", "-c", &file, "--by", "version", "-o", "json"]).well();
    assert!(groups(&version)[0].0.starts_with(&rig.name), "{}", version.out);
    let hours = groups(&dlq(&["ls", "-c", &file, "--by", "hour", "-o", "json"]).well());
    assert_eq!(hours.iter().map(|(_, open)| open).sum::<u64>(), 37);

    let table = dlq(&["ls", "-c", &file]).well();
    assert!(table.out.lines().all(|line| line.chars().count() <= 80), "{}", table.out);
    let listed = dlq(&["ls", "-c", &file, "-o", "ndjson"]).well();
    let ids: std::collections::BTreeSet<_> =
        listed.lines().iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((listed.lines().len(), ids.len()), (37, 37));
    assert!(!listed.out.contains(SECRET), "a payload is in the list");
}

/// Guarantee: a letter is found by its own place and by its record's; it says why in words; it is masked unless asked.
#[test]
fn a_letter_is_shown_masked_or_raw() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-dlq-show").with_topics(1);
    let payload = format!("{{\"user\":{{\"mail\":\"{SECRET}\"}},\"n\":4217}} x");
    with_letters(&rig, &[Record::new(SECRET, payload).header("own", SECRET)]);
    let file = file(&rig);
    for id in
        [format!("{}/0/0", rig.letter_topic()), format!("{}/0/0", rig.topic), format!("{}/0/0/0", rig.topic)]
    {
        let said = dlq(&["show", "-c", &file, &id]).well();
        for word in ["open", "decode.trailing", "docs/reasons.md", "parse", "own: <"] {
            assert!(said.out.contains(word), "{id}: {word}\n{}", said.out);
        }
        assert!(said.out.contains(&format!("{}/0/0/0", rig.topic)), "{}", said.out);
        assert!(!said.out.contains(SECRET) && !said.out.contains("4217"), "{}", said.out);
        assert!(said.err.contains("--raw"), "{}", said.err);
    }
    let id = format!("{}/0/0", rig.letter_topic());
    let raw = dlq(&["show", "-c", &file, &id, "--raw"]).well();
    assert_eq!(raw.out.matches(SECRET).count(), 3, "{}", raw.out);
    let json = dlq(&["show", "-c", &file, &id, "-o", "json"]).well();
    let shown: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(shown["reason"], "decode.trailing");
    assert_eq!((&shown["masked"], &shown["replays"]), (&true.into(), &0.into()));
    let missing = dlq(&["show", "-c", &file, &format!("{}/0/7", rig.letter_topic())]);
    assert_eq!(missing.code, 1, "{}", missing.err);
    assert!(missing.err.contains("no letter at"), "{}", missing.err);
}

fn foreign(witness: &Witness, topic: &str) {
    let connect = |offset: i64| {
        Record::new("k", format!("{SECRET} connect {offset}"))
            .to(0)
            .header("__connect.errors.topic", "orders")
            .header("__connect.errors.partition", "2")
            .header("__connect.errors.offset", &offset.to_string())
            .header("__connect.errors.connector.name", "pg-sink")
            .header("__connect.errors.stage", "VALUE_CONVERTER")
            .header("__connect.errors.exception.class.name", "org.apache.kafka.connect.errors.DataException")
            .header("__connect.errors.exception.message", SECRET)
    };
    let spring = |offset: i64| {
        let mut record = Record::new("k", "spring").to(0);
        let mut add = |name: &str, value: &[u8]| record.headers.push((name.to_owned(), value.to_vec()));
        add("kafka_dlt-original-topic", b"billing");
        add("kafka_dlt-original-partition", &1_i32.to_be_bytes());
        add("kafka_dlt-original-offset", &offset.to_be_bytes());
        add("kafka_dlt-exception-fqcn", b"com.acme.BadOrder");
        record
    };
    let plain = |value: &str| Record::new("k", value).to(0);
    witness.publish(
        topic,
        &[
            connect(1),
            connect(2),
            connect(2),
            spring(5),
            plain("no headers").header("own", "v"),
            plain("broken")
                .header("longshore.origin", "not an origin")
                .header("longshore.reason", "decode.json"),
            plain("broken").header("kafka_dlt-original-topic", "t").header("kafka_dlt-original-offset", "7"),
        ],
    );
}

/// Scenario: a topic with Connect's letters, one of them twice, Spring's, broken headers, and a record without any.
/// Guarantee: all are told apart without a pipeline; what cannot be read is said and counts as itself; nothing of a payload or
/// of another tool's message is shown.
#[test]
fn letters_of_other_tools_are_read() {
    let Some(broker) = shared_broker() else { return };
    let (witness, topic) = (Witness::new(&broker.bootstrap()), "e2e-dlq-foreign");
    witness.create_topic(topic, 1, &[]);
    foreign(&witness, topic);
    let bootstrap = broker.bootstrap();
    let place = ["--broker", bootstrap.as_str(), "--topic", topic];
    let said = dlq(&[&["ls", "-o", "json"], &place[..]].concat()).well();
    let wanted = [
        ("(none)", 2),
        ("org.apache.kafka.connect.errors.DataException", 2),
        ("com.acme.BadOrder", 1),
        ("decode.json", 1),
    ];
    assert_eq!(groups(&said), wanted.map(|(name, open)| (name.to_owned(), open)));
    assert!(said.err.contains("2 letters with headers that cannot be read"), "{}", said.err);
    assert!(said.err.contains("1 copy"), "{}", said.err);
    let listed = dlq(&[&["ls", "-o", "ndjson"], &place[..]].concat()).well();
    assert!(!listed.out.contains(SECRET), "{}", listed.out);
    let origins: Vec<_> =
        listed.lines().iter().filter_map(|line| line["origin"].as_str().map(str::to_owned)).collect();
    assert_eq!(origins, ["orders/2/1/0", "orders/2/2/0", "billing/1/5/0"]);
    let shown = dlq(&[&["show", "orders/2/1"], &place[..]].concat()).well();
    assert!(shown.out.contains("pg-sink") && !shown.out.contains(SECRET), "{}", shown.out);
}

/// Bad input. Guarantee: a clear message and the documented exit code.
#[test]
fn mistakes_are_told_with_their_exit_codes() {
    let Some(broker) = shared_broker() else { return };
    let bootstrap = broker.bootstrap();
    for (arguments, code, words) in [
        (
            &["ls", "--broker", &bootstrap, "--topic", "e2e-no-such-topic"][..],
            78,
            "e2e-no-such-topic does not exist",
        ),
        (&["ls", "--broker", &bootstrap], 64, "name a topic"),
        (&["ls", "--topic", "t"], 64, "name a broker"),
        (&["show", "--broker", &bootstrap, "nonsense"], 64, "TOPIC/PARTITION/OFFSET"),
        (&["ls", "--broker", "127.0.0.1:1", "--topic", "t"], 69, "broker.unavailable"),
    ] {
        let said = dlq(arguments);
        assert_eq!(said.code, code, "{arguments:?}: {}", said.err);
        assert!(said.err.contains(words), "{arguments:?}: {}", said.err);
    }
}
