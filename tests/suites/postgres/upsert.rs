//! Mode `upsert`: of the records of a key the newest one's row is there, in whatever order they come, and a deleted key stays
//! deleted for records that are older than its tombstone.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use longshore_core::ledger::Trailer;
use longshore_core::sink::{Published, SegmentWriter};
use longshore_core::{Class, Generation, Reason, RunSet, WriterId};
use longshore_sinks::postgres::PostgresSink;
use longshore_tests::harness::flow::Flow;
use longshore_tests::harness::postgres::{ADMIN, Postgres, shared_postgres};
use longshore_tests::harness::rig::PATIENCE;
use longshore_tests::harness::witness::Record;
use longshore_tests::harness::{Rig, shared_broker, wait_until};

use super::table::{refused, seal, sink, trailer, upsert, writer, writer_of};

/// A table whose rows change. `bad` is refused, and a trigger keeps `out` out without a word.
pub(crate) const TABLE: &str = "create table t (id integer primary key, name text check (name <> 'bad'), \
        _pair bigint, _offset bigint, _deleted timestamptz); \
    create function keep_out() returns trigger language plpgsql as \
        $$ begin if new.name = 'out' then return null; end if; return new; end $$; \
    create trigger keep_out before insert or update on t for each row execute function keep_out()";

/// What is in the table.
pub(crate) const ROWS: &str =
    "select id, coalesce(name, '-'), _offset, _deleted is not null from t order by id";

fn table(server: &Postgres, name: &str) -> PostgresSink {
    server.database(name);
    server.sql(name, TABLE);
    sink(upsert(server, name, &["id", "name"], &["id"]))
}

/// Publishes one segment of records: offset, key, and the new name or none to delete. Records outside of what the trailer covers come
/// late, by a retry or a replay. Gives what was refused.
pub(crate) async fn publish(
    writer: &mut dyn SegmentWriter,
    asked: &Trailer,
    records: &[(i64, i64, Option<&str>)],
) -> Vec<(i64, &'static str)> {
    let line = |(offset, id, name): &(i64, i64, Option<&str>)| match name {
        Some(name) => format!("{id}\t{name}\t{offset}\t0\tf"),
        None => format!("{id}\t\\N\t{offset}\t0\tt"),
    };
    let lines: Vec<String> = records.iter().map(line).collect();
    let lines: Vec<(i64, &str)> =
        records.iter().zip(&lines).map(|(record, line)| (record.0, line.as_str())).collect();
    seal(writer, &lines).await;
    let (first, end) = asked.covers;
    let late = records.iter().filter(|record| !(first.0..end.0).contains(&record.0));
    let also = RunSet::collect(late.map(|record| (record.0, record.0 + 1)).collect());
    refused(writer.publish(&Trailer { also, ..asked.clone() }).await.unwrap())
}

/// Scenario: records of one key in one segment, not in their order; older ones that come later, as by a retry or a replay, also
/// to another owner; a key that is deleted, asked back by an older record and by a newer one; a key that is deleted before it was
/// ever there; the very record of the row once more.
/// Guarantee (I3): what is there is always the newest record's, and an older one revives nothing.
#[tokio::test]
async fn the_offset_decides_whatever_comes_when() {
    let Some(server) = shared_postgres() else { return };
    let sink = table(server, "newest");
    let mut first = writer(&sink, 1);
    first.recover().await.unwrap();
    let records = [(7, 1, Some("g")), (5, 1, Some("e")), (6, 2, Some("f")), (8, 3, None), (4, 4, Some("d"))];
    assert_eq!(publish(&mut *first, &trailer(0, 1, 0..9), &records).await, []);
    let expected = ["1|g|7|f", "2|f|6|f", "3|-|8|t", "4|d|4|f"];
    assert_eq!(server.rows("newest", ROWS), expected);
    let old = [(0, 1, Some("old")), (1, 2, None), (2, 3, Some("old"))];
    assert_eq!(publish(&mut *first, &trailer(1, 1, 9..9), &old).await, []);
    let mut second = writer(&sink, 2);
    second.recover().await.unwrap();
    assert_eq!(publish(&mut *second, &trailer(2, 2, 9..9), &old).await, []);
    assert_eq!(server.rows("newest", ROWS), expected);
    let newer = [(11, 2, None), (12, 3, Some("back")), (4, 4, Some("again"))];
    assert_eq!(publish(&mut *second, &trailer(3, 2, 9..13), &newer).await, []);
    let late = [(10, 2, Some("late")), (9, 3, Some("late"))];
    assert_eq!(publish(&mut *second, &trailer(4, 2, 13..13), &late).await, []);
    assert_eq!(server.rows("newest", ROWS), ["1|g|7|f", "2|-|11|t", "3|back|12|f", "4|again|4|f"]);
}

/// Scenario: of several records of a key in one segment the newest is refused by a constraint, or kept out by a trigger without a
/// word, also as a change of a row that is there; children of one record share a key.
/// Guarantee (I1, I2): exactly those are refused; the next newest is there, and of children the last.
#[tokio::test]
async fn a_refused_record_leaves_the_one_before() {
    let Some(server) = shared_postgres() else { return };
    let sink = table(server, "before");
    let mut writer = writer(&sink, 1);
    writer.recover().await.unwrap();
    let records = [
        (0, 1, Some("a")),
        (1, 1, Some("bad")),
        (2, 2, Some("b")),
        (3, 2, Some("c")),
        (4, 2, Some("out")),
        (5, 3, Some("d")),
        (6, 4, Some("out")),
    ];
    let expected = [(1, "sink.rejected"), (4, "sink.rejected"), (6, "sink.rejected")];
    assert_eq!(publish(&mut *writer, &trailer(0, 1, 0..7), &records).await, expected);
    assert_eq!(
        publish(&mut *writer, &trailer(1, 1, 7..8), &[(7, 3, Some("out"))]).await,
        [(7, "sink.rejected")]
    );
    assert_eq!(server.rows("before", ROWS), ["1|a|0|f", "2|c|3|f", "3|d|5|f"]);
    seal(&mut *writer, &[(8, "5\tfirst\t8\t0\tf"), (8, "5\tlast\t8\t1\tf")]).await;
    assert_eq!(refused(writer.publish(&trailer(2, 1, 8..9)).await.unwrap()), []);
    assert_eq!(server.sql("before", "select name from t where id = 5"), "last");
}

/// Scenario: the partitions of a topic were added to, so a key comes from another partition; then its row is given free; then
/// the pipeline is rewound, which is a new generation, while a worker of the old one still writes.
/// Guarantee (I3): offsets of different partitions are not compared. The record from another partition is refused with a reason of
/// its own, a row that names no pair takes any record, and a later generation's record wins over an earlier one's.
#[tokio::test]
async fn offsets_count_within_one_partition() {
    let Some(server) = shared_postgres() else { return };
    let old = table(server, "moved");
    let (mut third, mut fifth) = (writer_of(&old, 1, 3), writer_of(&old, 2, 5));
    third.recover().await.unwrap();
    fifth.recover().await.unwrap();
    let of_fifth = |sequence, covers| Trailer { partition: 5, ..trailer(sequence, 2, covers) };
    assert_eq!(publish(&mut *third, &trailer(0, 1, 0..10), &[(9, 1, Some("a"))]).await, []);
    let records = [(0, 1, Some("moved")), (1, 2, Some("b"))];
    assert_eq!(publish(&mut *fifth, &of_fifth(0, 0..2), &records).await, [(0, "sink.key-moved")]);
    assert_eq!(server.rows("moved", ROWS), ["1|a|9|f", "2|b|1|f"]);
    server.sql("moved", "update t set _pair = null where id = 1");
    assert_eq!(publish(&mut *fifth, &of_fifth(1, 2..2), &[(0, 1, Some("moved"))]).await, []);
    assert_eq!(
        publish(&mut *third, &trailer(1, 1, 10..10), &[(8, 1, Some("late"))]).await,
        [(8, "sink.key-moved")]
    );
    assert_eq!(server.rows("moved", ROWS), ["1|moved|0|f", "2|b|1|f"]);

    let options = upsert(server, "moved", &["id", "name"], &["id"]);
    let new = PostgresSink::new("postgres", "web-logs", Generation(2), options).unwrap();
    let mut again = writer_of(&new, 3, 3);
    again.recover().await.unwrap();
    let second = Trailer { generation: Generation(2), ..trailer(0, 3, 0..1) };
    assert_eq!(publish(&mut *again, &second, &[(0, 1, Some("again"))]).await, []);
    assert_eq!(publish(&mut *fifth, &of_fifth(2, 2..4), &[(3, 1, Some("zombie"))]).await, []);
    assert_eq!(server.rows("moved", ROWS), ["1|again|0|f", "2|b|1|f"]);
}

/// A sequence of numbers that looks random and is the same at every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Scenario: 600 records of seven keys in segments of any size, in any order across them as retries and replays bring it about; one in
/// six deletes, some are refused aloud or in silence; the pair changes its owner now and then, and the old one goes on trying.
/// Guarantee (I2, I3, I8): at every moment the row of each key is that of the newest record which came and which the table takes; nothing but
/// what the table does not take is refused.
#[tokio::test]
async fn any_order_ends_in_the_same_rows() {
    let Some(server) = shared_postgres() else { return };
    let sink = table(server, "any");
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut records: Vec<(i64, i64, Option<&str>)> = (0..600)
        .map(|offset| {
            let name = match dice.below(18) {
                0..3 => None,
                3 => Some("bad"),
                4 => Some("out"),
                5..12 => Some("some"),
                _ => Some("other"),
            };
            (offset, dice.below(7) as i64, name)
        })
        .collect();
    // Mostly in order, and one in four late by up to everything.
    for at in 0..records.len() {
        if dice.below(4) == 0 {
            let other = dice.below(600) as usize;
            records.swap(at, other);
        }
    }
    let takes = |record: &(i64, i64, Option<&str>)| !matches!(record.2, Some("bad" | "out"));
    let (mut sequence, mut owner, mut came) = (0, 1, 0);
    let mut writer = writer(&sink, owner);
    writer.recover().await.unwrap();
    while came < records.len() {
        let end = (came + 1 + dice.below(40) as usize).min(records.len());
        let batch = &records[came..end];
        if dice.below(5) == 0 {
            owner += 1;
            let mut next = super::table::writer(&sink, owner);
            assert_eq!(next.recover().await.unwrap().next_sequence.0, sequence);
            seal(&mut *writer, &[(700, "0\tzombie\t700\t0\tf")]).await;
            let zombie = writer.publish(&trailer(sequence, owner - 1, 700..701)).await.unwrap();
            assert_eq!(zombie, Published::TakenByOther(WriterId(owner)));
            writer = next;
        }
        let refused = publish(&mut *writer, &trailer(sequence, owner, 0..0), batch).await;
        let may = |offset: &i64| batch.iter().any(|record| record.0 == *offset && !takes(record));
        assert!(refused.iter().all(|(offset, _)| may(offset)), "{refused:?} of {batch:?}");
        (sequence, came) = (sequence + 1, end);
        let mut newest = BTreeMap::new();
        for record in records[..came].iter().filter(|record| takes(record)) {
            let known = newest.entry(record.1).or_insert(*record);
            *known = (*known).max(*record);
        }
        let shown = |(offset, id, name): (i64, i64, Option<&str>)| {
            format!("{id}|{}|{offset}|{}", name.unwrap_or("-"), if name.is_none() { "t" } else { "f" })
        };
        let expected: Vec<String> = newest.into_values().map(shown).collect();
        assert_eq!(server.rows("any", ROWS), expected, "after segment {}", sequence - 1);
    }
}

/// Scenario: partitions were added to and nobody gave the rows free: nearly all of a segment of 10,000 records belongs to rows of another
/// partition. Then a segment of which the table refuses every record.
/// Guarantee (I6): both come through in more than one transaction, and exactly the refused ones are refused; where that takes seconds, it is
/// told that it gets on.
#[tokio::test]
async fn a_segment_that_is_nearly_all_refused_comes_through() {
    let Some(server) = shared_postgres() else { return };
    let sink = table(server, "refusals");
    let (mut third, mut fifth) = (writer_of(&sink, 1, 3), writer_of(&sink, 2, 5));
    third.recover().await.unwrap();
    fifth.recover().await.unwrap();
    let old: Vec<_> = (0..50).map(|key| (key, key, Some("old"))).collect();
    assert_eq!(publish(&mut *third, &trailer(0, 1, 0..50), &old).await, []);
    let own = |offset: i64| offset % 100 == 7;
    let key = |offset: i64| if own(offset) { 1_000 + offset } else { offset % 50 };
    let records: Vec<_> = (0..10_000).map(|offset| (offset, key(offset), Some("new"))).collect();
    let of_fifth = |sequence, covers| Trailer { partition: 5, ..trailer(sequence, 2, covers) };
    let refused = publish(&mut *fifth, &of_fifth(0, 0..10_000), &records).await;
    let moved: Vec<_> =
        (0..10_000).filter(|offset| !own(*offset)).map(|offset| (offset, "sink.key-moved")).collect();
    assert_eq!(refused, moved);
    let counts = "select count(*) filter (where name = 'old'), count(*) filter (where name = 'new') from t";
    assert_eq!(server.sql("refusals", counts), "50|100");
    let bad: Vec<_> = (10_000..10_500).map(|offset| (offset, offset, Some("bad"))).collect();
    let (told, began) = (Arc::<AtomicU64>::default(), Instant::now());
    let count = Arc::clone(&told);
    fifth.tell_progress(Box::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let refused = publish(&mut *fifth, &of_fifth(1, 10_000..10_500), &bad).await;
    let (told, took) = (told.load(Ordering::Relaxed), began.elapsed());
    assert!(told > 0 || took < Duration::from_secs(3), "nothing was heard for {took:?}");
    assert_eq!(refused, bad.iter().map(|record| (record.0, "sink.rejected")).collect::<Vec<_>>());
    assert_eq!(server.sql("refusals", counts), "50|100");
}

/// Guarantee: a table whose rows cannot be changed by the key halts the pair with everything that is wrong.
#[tokio::test]
async fn a_table_that_cannot_be_changed_by_its_key_is_told() {
    let Some(server) = shared_postgres() else { return };
    server.database("keyless");
    server.sql(
        "keyless",
        "create table t (id integer, part integer not null, name text not null, _offset integer, \
             _deleted timestamptz not null, unique (id, part, name), unique (id, part) deferrable)",
    );
    let keyless = sink(upsert(server, "keyless", &["id", "part", "name"], &["part", "id"]));
    let failure = writer(&keyless, 1).recover().await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::SinkMissing));
    for finding in [
        "column _pair (bigint) does not exist",
        "column _offset is integer, expected bigint",
        "column _deleted must take null",
        "column id takes null, and is of the key",
        "column name must take null, since a deleted row keeps its key alone",
        "no unique index on exactly (part, id)",
    ] {
        assert!(failure.detail().contains(finding), "{finding} is not in {failure}");
    }
    server.sql(
        "keyless",
        "drop table t; create table t (id integer, part integer, name text, _pair bigint, _offset bigint, \
             _deleted timestamptz, primary key (id, part) include (name)); create role changer login; \
         revoke temporary on database keyless from public; grant usage, create on schema public to changer; \
         grant insert on t to changer",
    );
    let options = upsert(server, "keyless", &["id", "part", "name"], &["part", "id"]);
    let few = longshore_sinks::postgres::PostgresOptions { user: "changer".into(), ..options };
    let failure = writer(&sink(few.clone()), 1).recover().await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::SinkDenied));
    for finding in [
        "no right to select column id",
        "no right to update column name",
        "no right to update column _pair",
        "no right to make temporary tables in the database",
    ] {
        assert!(failure.detail().contains(finding), "{finding} is not in {failure}");
    }
    server.sql(
        "keyless",
        "grant temporary on database keyless to changer; grant select, update on t to changer",
    );
    let mut enough = writer(&sink(few), 1);
    enough.recover().await.unwrap();
    seal(&mut *enough, &[(0, "1\t2\ta\t0\t0\tf")]).await;
    assert_eq!(refused(enough.publish(&trailer(0, 1, 0..1)).await.unwrap()), []);
}

/// A change of one of 37 keys: one in seven deletes, one in 97 the table refuses.
fn change(number: u64) -> Record {
    let key = format!("key-{}", number % 37);
    let value = (number % 7 != 3).then(|| format!(r#"{{"message":"line {number}","number":{number}}}"#));
    Record { key: Some(key.into_bytes()), value: value.map(String::into_bytes), ..Record::default() }
}

/// Scenario: records change and delete rows; one in ten fails twice and waits in the retry topic meanwhile, out of order; workers
/// die (SIGKILL) at random, and before and after a publish.
/// Guarantee (I2, I3): the row of each key is that of its newest record that the table took.
#[test]
fn the_newest_record_of_each_key_is_there_whenever_a_worker_dies() {
    let (Some(broker), Some(server)) = (shared_broker(), shared_postgres()) else { return };
    server.database("pg-upsert");
    server.sql(
        "pg-upsert",
        "create table state (key text primary key, number bigint constraint fits check (number % 97 <> 5), \
             whole jsonb, _pair bigint, _offset bigint, _deleted timestamptz)",
    );
    let sinks = format!(
        "\n  - postgres: {{ host: 127.0.0.1, port: {}, database: pg-upsert, user: {ADMIN}, table: state, mode: upsert, \
         key: [key], columns: {{ key: key, number: 'attributes[\"number\"]' }}, record: whole, roll: {{ age: 200ms }} }}",
        server.port()
    );
    let steps = "
  - parse: { format: json, tombstone: pass }
  - fail: { ratio: 10%, times: 2 }";
    let rig = Rig::new(&broker.bootstrap(), "pg-upsert")
        .sinks(&sinks)
        .steps(steps)
        .set("kafka.client.session.timeout.ms=1500")
        .set("failure.retry.first=300ms")
        .set("failure.retry.in_place=0ms")
        .set("failure.retry.order=none")
        .with_topics(2);
    let flow = Flow::start(&rig.witness, &rig.topic, 500, change);
    for point in ["publish.before:2", "publish.after:3"] {
        let mut worker = rig.worker_with(&[], &[("LONGSHORE_CRASH_AT", point)]);
        let status = worker.process.wait(Duration::from_secs(60));
        assert_eq!(status.signal(), Some(9), "{point}: {status}\n{}", worker.process.transcript());
    }
    let mut killed = rig.working();
    flow.wait_for_more(300);
    killed.process.kill9();
    flow.stop();
    let mut last = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&last]);
    last.wait_until("nothing waits any more", |worker| {
        worker.metric("longshore_retry_waiting_records") == 0.0
    });
    // The newest record of each key, as the broker has them.
    let mut expected = BTreeMap::new();
    let mut seen = rig.witness.read(&rig.topic);
    seen.sort_by_key(|record| (record.partition, record.offset));
    for record in seen {
        let key = String::from_utf8(record.key.unwrap()).unwrap();
        let value: Option<serde_json::Value> =
            record.value.map(|value| serde_json::from_slice(&value).unwrap());
        let number = value.map(|value| value["number"].as_u64().unwrap());
        if number.is_none_or(|number| number % 97 != 5) {
            let shown = number.map_or_else(|| "-|t".to_owned(), |number| format!("{number}|f"));
            expected.insert(key.clone(), format!("{key}|{}|{shown}", record.offset));
        }
    }
    let expected: Vec<String> = expected.into_values().collect();
    let found =
        "select key, _offset, coalesce(number::text, '-'), _deleted is not null from state order by key";
    wait_until("the newest record of each key is there", PATIENCE, || {
        server.rows("pg-upsert", found) == expected
    });
    last.stop();
    assert_eq!(server.rows("pg-upsert", found), expected);
    let marks =
        "select count(*) from state where _deleted is not null and (whole is not null or number is not null)";
    assert_eq!(server.sql("pg-upsert", marks), "0");
}
