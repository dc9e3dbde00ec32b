//! Bad input on its whole way: from a real broker to the columns and folders of Parquet files, as foreign readers see them.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_tests::harness::readback::{Place, Reader, read_back};
use longshore_tests::harness::witness::Record;
use longshore_tests::harness::{Rig, shared_broker};
use serde_json::{Map, Value};

/// What becomes of a record: a row in the folder of this day, or a letter with this reason and these words.
#[derive(Clone, Copy)]
enum Ends {
    Row(&'static str),
    Letter(&'static str, &'static str),
}

use Ends::{Letter, Row};

/// The folder of records without a day.
const NO_DAY: &str = "__HIVE_DEFAULT_PARTITION__";

fn input(huge: &str, long: &str) -> Vec<(String, Ends)> {
    let records: Vec<(&str, Ends)> = vec![
        (r#"{"n":1,"r":0.5,"b":true,"t":"2026-01-31T12:00:00Z","message":"a\tb\\N"}"#, Row("2026-01-31")),
        // Zero bytes are text to a file, alone and deep in a value.
        (r#"{"message":"a\u0000b","deep":{"list":["\u0000"]}}"#, Row(NO_DAY)),
        (r#"{"message":"\ud800"}"#, Letter("decode.json", "")),
        (r#"{"message":"\ud83d\ude00"}"#, Row(NO_DAY)),
        // Numbers at the edge of their column and beyond it.
        (r#"{"n":9223372036854775807}"#, Row(NO_DAY)),
        (r#"{"n":9223372036854775808}"#, Letter("encode.value", "column n: ")),
        (r#"{"r":1e400}"#, Letter("encode.value", "column r: ")),
        (r#"{"r":"1e3"}"#, Row(NO_DAY)),
        // A field that changes its type midway.
        (r#"{"n":"7"}"#, Row(NO_DAY)),
        (r#"{"n":7.0}"#, Row(NO_DAY)),
        (r#"{"n":1.5}"#, Letter("encode.value", "column n: ")),
        (r#"{"n":{"a":1}}"#, Letter("encode.value", "column n: ")),
        (r#"{"n":[7]}"#, Letter("encode.value", "column n: ")),
        (r#"{"n":true}"#, Letter("encode.value", "column n: ")),
        (r#"{"n":null}"#, Row(NO_DAY)),
        (r#"{"b":1}"#, Letter("encode.value", "column b: ")),
        (r#"{"w":{"a":[1,"x"]}}"#, Row(NO_DAY)),
        // Times without an offset or a clock, and what is none.
        (r#"{"t":"2026-01-31T23:59:59"}"#, Row("2026-01-31")),
        (r#"{"t":"2026-02-01"}"#, Row("2026-02-01")),
        (r#"{"t":"12:30:00"}"#, Letter("encode.value", "t")),
        (r#"{"t":"2026-13-45"}"#, Letter("encode.value", "t")),
        (r#"{"t":"noon-ish"}"#, Letter("encode.value", "t")),
        (r#"{"t":99999999999999999999}"#, Letter("encode.value", "t")),
        (r#"{"t":"+010000-01-01T00:00:00Z"}"#, Letter("encode.value", "t")),
        (huge, Row(NO_DAY)),
        (long, Letter("encode.value", "partition shelf: ")),
        (r#"{"s":"../../etc/a=b%\u0001"}"#, Row(NO_DAY)),
        (r#"{"n":2}"#, Row(NO_DAY)),
    ];
    records.into_iter().map(|(record, ends)| (record.to_owned(), ends)).collect()
}

fn offset(origin: &str) -> usize {
    origin.split('/').nth(2).unwrap().parse().unwrap()
}

/// Scenario: zero bytes, half of a surrogate pair, numbers beyond their column, a field that changes its type midway, times without an offset or
/// a clock and such that are none, a row of nearly a megabyte, a folder's value that is too long, and one that would climb out of the
/// lake.
/// Guarantee (I1, I9): each bad record is a dead letter whose words name the column or the folder and none of its values; every other
/// one is a row in its folder, with its very values, in the eyes of pyarrow and of DuckDB.
#[test]
fn bad_values_are_letters_and_the_rest_are_rows() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "objects-input").steps("\n  - parse: { format: json }");
    let lake = rig.folder().join("lake");
    let column =
        |name: &str, kind: &str| format!("{name}: {{ value: 'attributes[\"{name}\"]', type: {kind} }}");
    let columns = [("n", "int"), ("r", "float"), ("b", "bool"), ("t", "time"), ("w", "text")]
        .map(|(name, kind)| column(name, kind));
    let rig = rig
        .sinks(&format!(
            "\n  - objects: {{ url: \"{}\", columns: {{ {}, words: {{ value: body }} }}, roll: {{ age: 300ms }}, partition: [ \
             {{ name: day, value: 'attributes[\"t\"]', as: date }}, {{ name: shelf, value: 'attributes[\"s\"]' }} ] }}",
            lake.display(),
            columns.join(", "),
        ))
        .with_topics(1);
    let huge = format!(r#"{{"message":"{}"}}"#, "x".repeat(900_000));
    let long = format!(r#"{{"s":"{}"}}"#, "y".repeat(300));
    let input = input(&huge, &long);
    let records: Vec<Record> =
        input.iter().map(|(value, _)| Record::new("k", value.as_str()).to(0)).collect();
    rig.witness.publish(&rig.topic, &records);
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();
    assert_letters(&rig, &input);
    for reader in [Reader::Dataset, Reader::Duckdb] {
        let Some(found) = read_back(reader, Place::Folder(&lake)) else { return };
        assert_rows(reader, &found.rows, &input);
    }
    assert!(rig.folder().join("lake/g0001").is_dir() && !rig.folder().join("etc").exists());
}

fn assert_letters(rig: &Rig, input: &[(String, Ends)]) {
    let letters: BTreeMap<usize, (String, String)> = rig
        .witness
        .read(&rig.letter_topic())
        .iter()
        .map(|letter| {
            let header = |name: &str| letter.header(name).unwrap_or_default();
            (offset(&header("longshore.origin")), (header("longshore.reason"), header("longshore.detail")))
        })
        .collect();
    for (at, (record, ends)) in input.iter().enumerate() {
        match (ends, letters.get(&at)) {
            (Row(_), None) => {}
            (Letter(reason, words), Some((found, detail))) => {
                assert_eq!(found, reason, "{record}: {detail}");
                assert!(detail.contains(words), "{record}: {detail}");
                for value in ["noon", "1e400", "9223372036854775808", "yyyy"] {
                    assert!(!detail.contains(value), "{record}: {detail}");
                }
            }
            (Row(_), Some(letter)) => panic!("{record}: {letter:?}"),
            (Letter(reason, _), None) => panic!("{record}: no letter with {reason}"),
        }
    }
}

fn assert_rows(reader: Reader, rows: &[Map<String, Value>], input: &[(String, Ends)]) {
    let found: BTreeMap<usize, &Map<String, Value>> =
        rows.iter().map(|row| (offset(row["_origin"].as_str().unwrap()), row)).collect();
    assert_eq!(rows.len(), found.len(), "{reader:?}: rows that are there twice");
    for (at, (record, ends)) in input.iter().enumerate() {
        let Row(day) = ends else {
            assert!(!found.contains_key(&at), "{reader:?}: {record} is a row");
            continue;
        };
        let row = found.get(&at).unwrap_or_else(|| panic!("{reader:?}: {record} is no row"));
        let folder = match &row["day"] {
            // pyarrow reads the name without a value as null.
            Value::Null => NO_DAY.to_owned(),
            day => day.as_str().unwrap().chars().take(day.as_str().unwrap().len().min(26)).collect(),
        };
        assert!(folder == *day || folder.starts_with(day), "{reader:?}: {record} is in {folder}");
    }
    let number = |at: usize| found[&at]["n"].as_i64();
    let numbers = [0, 4, 8, 9, 14].map(number);
    assert_eq!(numbers, [Some(1), Some(i64::MAX), Some(7), Some(7), None], "{reader:?}");
    assert_eq!((found[&0]["r"].as_f64(), found[&0]["b"].as_bool()), (Some(0.5), Some(true)), "{reader:?}");
    assert_eq!(found[&7]["r"].as_f64(), Some(1_000.0), "{reader:?}");
    let words = |at: usize| found[&at]["words"].as_str().unwrap_or_default();
    assert_eq!([0, 1, 3].map(words), ["a\tb\\N", "a\0b", "\u{1f600}"], "{reader:?}");
    assert_eq!(found[&16]["w"].as_str(), Some(r#"{"a":[1,"x"]}"#), "{reader:?}");
    assert_eq!(words(24).len(), 900_000, "{reader:?}");
    assert_eq!(found[&26]["shelf"].as_str(), Some("../../etc/a=b%\u{1}"), "{reader:?}");
}
