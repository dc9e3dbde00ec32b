//! Bad input on its whole way: from a real broker to the table's own types, constraints and triggers.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_sinks::postgres::PostgresOptions;
use longshore_tests::harness::postgres::{ADMIN, shared_postgres};
use longshore_tests::harness::witness::Record;
use longshore_tests::harness::{Rig, shared_broker};

use super::table::{options, refused, seal, sink, trailer, writer};

/// Text that no compression makes smaller than a page of an index.
fn noise(letters: u64) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (state >> 59) as u8 % 26)
    };
    (0..letters).map(|_| next()).collect()
}

/// Scenario: zero bytes in a text and deep in the record, half a surrogate pair, numbers beyond the column's range, a field that
/// changes its type midway, texts that are no times, a row of nearly a megabyte, a value too large for an index, and a trigger
/// that keeps a row out without a word. Keys are binary.
/// Guarantee (I1, I9): each bad record is a dead letter with the reason that fits, and every other one is a row.
#[test]
fn bad_values_are_letters_and_the_rest_are_rows() {
    let (Some(broker), Some(server)) = (shared_broker(), shared_postgres()) else { return };
    server.database("pg-input");
    server.sql(
        "pg-input",
        "create table odd (number integer, ratio double precision, seen timestamptz, words text, \
             named text unique, key bytea, whole jsonb not null); \
         create function keep_out() returns trigger language plpgsql as \
             $$ begin if new.words = 'out' then return null; end if; return new; end $$; \
         create trigger keep_out before insert on odd for each row execute function keep_out()",
    );
    let sinks = format!(
        "\n  - postgres: {{ host: 127.0.0.1, port: {}, database: pg-input, user: {ADMIN}, table: odd, \
         columns: {{ number: 'attributes[\"n\"]', ratio: 'attributes[\"r\"]', seen: 'attributes[\"t\"]', words: body, \
         named: 'attributes[\"i\"]', key: key }}, record: whole, roll: {{ age: 200ms }} }}",
        server.port()
    );
    let rig = Rig::new(&broker.bootstrap(), "pg-input")
        .steps("\n  - parse: { format: json }")
        .sinks(&sinks)
        .with_topics(1);
    let huge = format!(r#"{{"message":"{}"}}"#, "x".repeat(900_000));
    let wide = format!(r#"{{"i":"{}"}}"#, noise(9_000));
    let input: &[(&str, &str)] = &[
        (r#"{"n":1,"r":0.5,"t":1700000000000,"message":"a\tb\\N\\."}"#, ""),
        (r#"{"message":"a\u0000b"}"#, "encode.value"),
        (r#"{"deep":{"list":["\u0000"]}}"#, "encode.value"),
        (r#"{"message":"\\u0000 is no zero"}"#, ""),
        (r#"{"message":"\ud800"}"#, "decode.json"),
        (r#"{"n":99999999999}"#, "encode.value"),
        (r#"{"n":1.5}"#, "encode.value"),
        (r#"{"n":"7"}"#, ""),
        (r#"{"n":{"a":1}}"#, "encode.value"),
        (r#"{"n":null}"#, ""),
        (r#"{"n":true}"#, "encode.value"),
        (r#"{"r":1e400}"#, "encode.value"),
        (r#"{"t":"2026-13-45"}"#, "encode.value"),
        (r#"{"t":"noon-ish"}"#, "encode.value"),
        (r#"{"t":99999999999999999999}"#, "encode.value"),
        (&huge, ""),
        (&wide, "sink.too-large"),
        (r#"{"message":"out"}"#, "sink.rejected"),
        (r#"{"i":"once"}"#, ""),
        (r#"{"i":"once"}"#, "sink.rejected"),
        (r#"{"n":2}"#, ""),
    ];
    // Numbers as Kafka's LongSerializer writes them: some are text by accident, with zero bytes.
    let key = |at: usize| (at as u64 * 1_000).to_be_bytes().to_vec();
    let record = |(at, (value, _)): (usize, &(&str, &str))| Record {
        key: Some(key(at)),
        ..Record::new("", *value).to(0)
    };
    let records: Vec<Record> = input.iter().enumerate().map(record).collect();
    rig.witness.publish(&rig.topic, &records);
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();
    let letters = rig.witness.read(&rig.letter_topic());
    let offset = |origin: &str| origin.split('/').nth(2).unwrap().parse::<usize>().unwrap();
    let letters: BTreeMap<usize, String> = letters
        .iter()
        .map(|letter| {
            (offset(&letter.header("longshore.origin").unwrap()), letter.header("longshore.reason").unwrap())
        })
        .collect();
    // Of the two with one name either is first, since their keys are not in order with one another.
    let first_named = if letters.contains_key(&18) { 19 } else { 18 };
    let expected: BTreeMap<usize, String> = input
        .iter()
        .enumerate()
        .map(|(at, line)| {
            (
                if at == 18 {
                    first_named
                } else if at == 19 {
                    37 - first_named
                } else {
                    at
                },
                line,
            )
        })
        .filter(|(_, (_, reason))| !reason.is_empty())
        .map(|(at, (_, reason))| (at, (*reason).to_owned()))
        .collect();
    assert_eq!(letters, expected);
    let rows = server.rows(
        "pg-input",
        "select split_part(whole->>'_origin', '/', 3)::int, encode(key, 'hex') from odd order by 1",
    );
    let good: Vec<String> = (0..input.len())
        .filter(|at| !expected.contains_key(at))
        .map(|at| format!("{at}|{:016x}", at * 1_000))
        .collect();
    assert_eq!(rows, good);
    let first = "select number, ratio, extract(epoch from seen)::bigint, words from odd where number = 1";
    assert_eq!(server.rows("pg-input", first), ["1|0.5|1700000000|a\tb\\N\\."]);
}

/// Scenario: a trigger keeps two of 100 rows out without an error, one of them a child of a record with a good one; the whole
/// segment fails no statement.
/// Guarantee (I1): the server's count of rows is believed and not the silence: those records are refused, the others are there.
#[tokio::test]
async fn a_row_that_is_not_there_is_no_row() {
    let Some(server) = shared_postgres() else { return };
    server.database("silent");
    server.sql(
        "silent",
        "create table t (id integer, name text); create function keep_out() returns trigger language plpgsql as \
             $$ begin if new.name = 'out' then return null; end if; return new; end $$; \
         create trigger keep_out before insert on t for each row execute function keep_out()",
    );
    let sink = sink(PostgresOptions { connections: 1, ..options(server, "silent", &["id", "name"]) });
    let mut writer = writer(&sink, 1);
    writer.recover().await.unwrap();
    let name = |offset: i64| if offset == 7 { "out" } else { "in" };
    let mut lines: Vec<(i64, String)> =
        (0..99).map(|offset| (offset, format!("{offset}\t{}", name(offset)))).collect();
    lines.insert(51, (50, "5050\tout".to_owned()));
    let lines: Vec<(i64, &str)> = lines.iter().map(|(offset, line)| (*offset, line.as_str())).collect();
    seal(&mut *writer, &lines).await;
    let asked = longshore_core::ledger::Trailer { rows: 100, ..trailer(0, 1, 0..99) };
    let published = writer.publish(&asked).await.unwrap();
    let told = format!("{published:?}");
    assert!(told.contains("a trigger of the table kept its row out"), "{told}");
    assert_eq!(refused(published), [(7, "sink.rejected"), (50, "sink.rejected")]);
    assert_eq!(server.sql("silent", "select count(*), count(*) filter (where name = 'out') from t"), "97|0");
}
