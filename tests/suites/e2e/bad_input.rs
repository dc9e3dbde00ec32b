//! The table of bad input: each kind has a stable reason code, and worker and partition go on (I9).

use std::time::Duration;

use longshore_core::headers::is_ours;
use longshore_kafka::{
    ClientMemory, KafkaOptions, Producer, ProducerRecord, ProducerTuning, ReadFrom, ReadRecord, ReadUntil,
    Reader,
};
use longshore_tests::harness::account::{Fate, LETTER_REASON};
use longshore_tests::harness::witness::Seen;
use longshore_tests::harness::{Account, Record, Rig, Witness, shared_broker};

/// Stands in every payload: it must never be seen in a worker's output.
const PAYLOAD_MARK: &str = "payload-mark-55aa";
const MIB: usize = 1024 * 1024;

/// A kind of bad input and what it gets.
struct Case {
    what: &'static str,
    value: Option<Vec<u8>>,
    fate: Fate,
}

fn case(what: &'static str, value: impl Into<Vec<u8>>, reason: &str) -> Case {
    Case { what, value: Some(value.into()), fate: Fate::Letter(reason.to_owned()) }
}

fn json_cases() -> Vec<Case> {
    let good = format!("{{\"message\":\"{PAYLOAD_MARK}\"}}");
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let large = format!("{{\"message\":\"{PAYLOAD_MARK}{}\"}}", "x".repeat(20 * MIB));
    vec![
        case("not JSON", format!("{PAYLOAD_MARK} is not JSON"), "decode.json"),
        case("cut JSON", format!("{{\"message\":\"{PAYLOAD_MARK}"), "decode.json"),
        case("not UTF-8", [b"{\"message\":\"", &[0xff, 0xfe][..], b"\"}"].concat(), "decode.utf8"),
        case("empty", "", "decode.empty"),
        case("10,000 levels deep", deep, "decode.depth"),
        case("20 MB", large, "decode.too-large"),
        case("text after the value", format!("{good} trailing"), "decode.trailing"),
        Case { what: "tombstone", value: None, fate: Fate::Filtered },
        Case { what: "good", value: Some(good.into_bytes()), fate: Fate::Row },
    ]
}

fn publish(rig: &Rig, cases: &[Case]) {
    let record = |(number, case): (usize, &Case)| {
        let record = Record { value: case.value.clone(), ..Record::new(&format!("key-{number}"), "") };
        record
            .header("own", case.what)
            .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    };
    rig.witness.publish(&rig.topic, &cases.iter().enumerate().map(record).collect::<Vec<_>>());
}

/// Every case ends where it should, and its letter is the record byte for byte, with our headers added.
fn assert_cases(rig: &Rig, cases: &[Case]) -> Account {
    let account = Account::take(rig);
    let of = |seen: &Seen| {
        let what = seen.header("own").unwrap_or_default();
        cases.iter().find(|case| case.what == what).unwrap_or_else(|| panic!("no case {what}"))
    };
    account.assert_right(cases.len() as u64, |seen| of(seen).fate.clone());
    for letter in &account.letters {
        let what = of(letter).what;
        let origin = account.published.values().find(|seen| seen.header("own").as_deref() == Some(what));
        let origin = origin.unwrap_or_else(|| panic!("no record {what}"));
        assert!(letter.value == origin.value, "{what}: the payload changed");
        assert_eq!(letter.key, origin.key, "{what}");
        let own = |seen: &Seen| {
            seen.headers.iter().filter(|(name, _)| !is_ours(name.as_bytes())).cloned().collect::<Vec<_>>()
        };
        assert_eq!(own(letter), own(origin), "{what}");
        let place = format!("{}/{}/{}/0", rig.topic, origin.partition, origin.offset);
        assert_eq!(letter.header("longshore.origin"), Some(place), "{what}");
        assert_eq!(letter.header(LETTER_REASON).map(Fate::Letter), Some(of(letter).fate.clone()), "{what}");
    }
    account
}

/// Runs a worker over what was published and gives its output.
fn drained(rig: &Rig) -> String {
    let mut worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    let status = worker.terminate(Duration::from_secs(25));
    assert!(status.success(), "{status}\n{}", worker.process.transcript());
    worker.process.transcript()
}

/// Scenario: one partition with every kind of broken JSON between good records.
/// Guarantee: a letter with its reason or a counted rule for each, byte for byte, and no payload in the worker's output.
#[test]
fn broken_json_is_a_letter_with_its_reason() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-bad-json").with_topics(1);
    let cases = json_cases();
    publish(&rig, &cases);
    let said = drained(&rig);
    assert!(!said.contains(PAYLOAD_MARK), "a payload is in the log");
    let account = assert_cases(&rig, &cases);
    assert_eq!(account.filtered.get("tombstone"), Some(&1));
}

/// Scenario: integers of 61 and 64 bits. Guarantee: every digit is in the file.
#[test]
fn large_integers_keep_every_digit() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-integers").with_topics(1);
    let value = r#"{"a":1152921504606846977,"b":-1152921504606846977,"c":18446744073709551615}"#;
    rig.witness.publish(&rig.topic, &[Record::new("k", value)]);
    drained(&rig);
    let account = Account::take(&rig);
    account.assert_right(1, |_| Fate::Row);
    let row = &account.rows[&(0, 0)][0];
    for digits in ["1152921504606846977", "-1152921504606846977", "18446744073709551615"] {
        assert!(row.contains(&format!(":{digits}")), "{row}");
    }
}

/// Scenario: a filter's condition works for some records, is without a result for one, and cannot be evaluated for others. Guarantee: those
/// are letters that name the step and the reason, and tell nothing of the payload; the others go on.
#[test]
fn a_filter_that_cannot_be_evaluated_makes_a_letter() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-filter")
        .steps("\n  - parse: { format: json }\n  - filter: { drop: 'int(attributes.n) < 9', name: small }")
        .with_topics(1);
    let good = |what: &'static str, value: &str, fate: Fate| Case { what, value: Some(value.into()), fate };
    let failed = |what: &'static str, value: &str| case(what, value, "step.expression");
    let cases = [
        good("dropped", r#"{"n":"5"}"#, Fate::Filtered),
        good("kept", r#"{"n":"50"}"#, Fate::Row),
        good("nothing to compare", "{}", Fate::Row),
        failed("no number", &format!(r#"{{"n":"{PAYLOAD_MARK}"}}"#)),
        failed("a list", r#"{"n":[1]}"#),
        failed("too large", r#"{"n":"9223372036854775808"}"#),
    ];
    publish(&rig, &cases);
    let said = drained(&rig);
    let account = assert_cases(&rig, &cases);
    assert_eq!(account.filtered.get("small"), Some(&1));
    for letter in &account.letters {
        let header = |name: &str| letter.header(name).unwrap_or_default();
        assert_eq!(header("longshore.at"), "filter");
        assert!(!header("longshore.detail").is_empty() && !header("longshore.detail").contains(PAYLOAD_MARK));
    }
    assert!(!said.contains(PAYLOAD_MARK), "a payload is in the log");
}

/// Scenario: records whose headers claim to be longshore's, some twice, naming an origin that is another record's.
/// Guarantee: they count for nothing: both records have their places, and a letter carries our headers alone.
#[test]
fn forged_headers_are_ignored_and_stripped() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-forged").with_topics(1);
    let forged = |value: &str| {
        Record::new("k", value)
            .header("longshore.origin", &format!("{}/0/0/0", rig.topic))
            .header("longshore.origin", &format!("{}/0/1/0", rig.topic))
            .header("longshore.attempt", "99")
            .header("longshore.not-before", "7258118400000")
            .header("longshore.replayed", "many")
            .header("longshore.made-up", "x")
    };
    rig.witness.publish(&rig.topic, &[Record::new("k", "{}"), forged("{\"n\":1}"), forged("broken")]);
    drained(&rig);
    let account = Account::take(&rig);
    let fate = |seen: &Seen| {
        if seen.offset == 2 { Fate::Letter("decode.json".to_owned()) } else { Fate::Row }
    };
    account.assert_right(3, fate);
    let letter = &account.letters[0];
    let named = |name: &str| letter.headers.iter().filter(|(found, _)| found == name).count();
    assert_eq!((named("longshore.origin"), named("longshore.made-up")), (1, 0), "{letter:?}");
    assert_eq!((named("longshore.not-before"), named("longshore.replayed")), (0, 0), "{letter:?}");
    assert_eq!(letter.header("longshore.origin"), Some(format!("{}/0/2/0", rig.topic)));
    assert_ne!(letter.header("longshore.attempt").as_deref(), Some("99"));
}

/// Scenario: a gzip bomb, damaged gzip, and good gzip. Guarantee: `decode.too-large`, `decode.compression`, a row.
#[test]
fn a_decompression_bomb_is_a_letter() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-bomb")
        .steps("\n  - parse: { format: json, compression: gzip }")
        .with_topics(1);
    let cases = [
        case("bomb", gzip(&vec![b' '; 64 * MIB]), "decode.too-large"),
        case("damaged", &gzip(b"{\"message\":1}")[..15], "decode.compression"),
        Case { what: "good", value: Some(gzip(b"{\"message\":1}")), fate: Fate::Row },
    ];
    publish(&rig, &cases);
    drained(&rig);
    assert_cases(&rig, &cases);
}

/// Scenario: Avro with an unknown id, with a datum that does not fit, and too short for an id.
/// Guarantee: `decode.schema-unknown` and `decode.avro`, and the good one in the file.
#[test]
fn broken_avro_is_a_letter() {
    let Some(broker) = shared_broker() else { return };
    let store = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas");
    let good = std::fs::read(format!("{store}/log/v1.golden.avro")).unwrap();
    let mut unknown = good.clone();
    unknown[1..5].copy_from_slice(&999_999_u32.to_be_bytes());
    let rig = Rig::new(&broker.bootstrap(), "e2e-avro")
        .steps("\n  - parse: { format: avro, subject: log }")
        .set(&format!("schemas={store}"))
        .with_topics(1);
    let cases = [
        case("unknown id", unknown, "decode.schema-unknown"),
        case("cut", &good[..good.len() / 2], "decode.avro"),
        case("no id", &good[..3], "decode.avro"),
        Case { what: "good", value: Some(good), fate: Fate::Row },
    ];
    publish(&rig, &cases);
    drained(&rig);
    assert_cases(&rig, &cases);
}

/// Scenario: a header's name is not UTF-8, on a good record and on a broken one (trap 13: the binding panics on it).
/// Guarantee: the worker goes on; the letter carries the name as it was.
#[test]
fn a_header_name_that_is_not_utf8_panics_nobody() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-header-name").with_topics(1);
    let name: &[u8] = &[b'n', 0xff, 0xfe];
    produce_raw(&rig.witness, &rig.topic, &[(name, Some(b"v"))], &[b"{\"n\":1}", b"broken"]);
    rig.witness.publish(&rig.topic, &[Record::new("k", "{\"n\":2}")]);
    let mut worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    assert_eq!(worker.metric("longshore_records_dead_total{"), 1.0);
    worker.stop();
    let letters = read_raw(&rig.witness, &rig.letter_topic());
    assert!(letters[0].headers.iter().any(|(found, value)| found == name && value.as_deref() == Some(b"v")));
    assert_eq!(letters[0].value.as_deref(), Some(&b"broken"[..]));
}

/// Librdkafka's safe binding can neither send nor read such a name, so this one test goes through our own.
fn produce_raw(witness: &Witness, topic: &str, headers: &[(&[u8], Option<&[u8]>)], values: &[&[u8]]) {
    let options = KafkaOptions::plain(witness.bootstrap());
    let producer = Producer::new(&options, &ClientMemory::default(), &ProducerTuning::default()).unwrap();
    let records: Vec<_> = values
        .iter()
        .map(|value| ProducerRecord {
            partition: Some(0),
            key: Some(b"k"),
            value: Some(value),
            timestamp_ms: None,
            headers,
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let failed =
        runtime.block_on(async { producer.send_batch(topic, &records).await.unwrap().await.unwrap() });
    assert!(failed.is_empty(), "{failed:?}");
}

fn read_raw(witness: &Witness, topic: &str) -> Vec<ReadRecord> {
    let options = KafkaOptions::plain(witness.bootstrap());
    let mut reader = Reader::open(&options, topic, ReadFrom::Start, ReadUntil::EndNow).unwrap();
    let mut records = Vec::new();
    while let Some(batch) = reader.next_batch(Duration::from_secs(10)).unwrap() {
        records.extend(batch);
    }
    records
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
