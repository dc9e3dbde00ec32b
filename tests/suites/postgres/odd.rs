//! Tables as they come: odd names, keys with an equality of their own, types that are widened under a worker, rules that hide rows.

use std::time::Duration;

use longshore_core::{Class, Reason, Scope};
use longshore_sinks::postgres::{PostgresOptions, Table};
use longshore_tests::harness::postgres::shared_postgres;

use super::table::{options, refused, seal, sink, trailer, upsert, writer, writer_of};
use super::upsert::{ROWS, TABLE, publish};

/// Scenario: columns are widened while a worker has its connection, one of them the key; then a text becomes JSON, which rows are written
/// differently for.
/// Guarantee (I1): nothing is refused or rounded by what the columns were before; what cannot be mended without a new start is said, and no row
/// is blamed.
#[tokio::test]
async fn columns_may_be_widened_under_a_worker() {
    let Some(server) = shared_postgres() else { return };
    server.database("widened");
    server.sql(
        "widened",
        "create table t (id integer primary key, name text, amount numeric(10, 2), _pair bigint, _offset bigint, \
             _deleted timestamptz)",
    );
    let given = upsert(server, "widened", &["id", "name", "amount"], &["id"]);
    let sink = sink(PostgresOptions { connections: 1, ..given });
    let mut writer = writer(&sink, 1);
    writer.recover().await.unwrap();
    // Each key stands twice in its segment, since new keys would go straight into the table.
    let twice = |offset: i64, row: &str| [0, 1].map(|index| (offset, format!("{row}\t{offset}\t{index}\tf")));
    let lines = twice(0, "1\ta\t0.50");
    seal(&mut *writer, &lines.each_ref().map(|(offset, line)| (*offset, line.as_str()))).await;
    assert_eq!(refused(writer.publish(&trailer(0, 1, 0..1)).await.unwrap()), []);
    for (sequence, change, row) in [
        (1, "alter column amount type numeric(10, 4)", "1\ta\t1.2345"),
        (2, "alter column id type bigint", "3000000000\tb\t2.0000"),
    ] {
        server.sql("widened", &format!("alter table t {change}"));
        let offset = sequence as i64;
        let lines = twice(offset, row);
        seal(&mut *writer, &lines.each_ref().map(|(offset, line)| (*offset, line.as_str()))).await;
        let asked = trailer(sequence, 1, offset..offset + 1);
        let failure = writer.publish(&asked).await.unwrap_err();
        assert!(matches!(failure.class, Class::Retry { .. }), "{failure}");
        assert_eq!(refused(writer.publish(&asked).await.unwrap()), []);
    }
    let rows = "select id, amount, _offset from t order by id";
    assert_eq!(server.rows("widened", rows), ["1|1.2345|1", "3000000000|2.0000|2"]);
    server.sql("widened", "alter table t alter column name type jsonb using to_jsonb(name)");
    seal(&mut *writer, &[(3, "4\tno json\t0\t3\t0\tf")]).await;
    let asked = trailer(3, 1, 3..4);
    assert!(matches!(writer.publish(&asked).await.unwrap_err().class, Class::Retry { .. }));
    let failure = writer.publish(&asked).await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::SinkUnfit), "{failure}");
    assert!(failure.detail().contains("start the workers anew"), "{failure}");
}

/// Scenario: two connections know the columns of before, and one segment meets both.
/// Guarantee (I6): the first repeat follows at once, the second one waits as after any failure, and the third has a connection of its own.
#[tokio::test]
async fn only_one_repeat_follows_at_once() {
    let Some(server) = shared_postgres() else { return };
    server.database("twice");
    server.sql("twice", TABLE);
    let sink = sink(PostgresOptions { connections: 2, ..upsert(server, "twice", &["id", "name"], &["id"]) });
    let (mut third, mut fifth) = (writer_of(&sink, 1, 3), writer_of(&sink, 2, 5));
    third.recover().await.unwrap();
    fifth.recover().await.unwrap();
    // Each key stands twice in its segment, since new keys would go straight into the table.
    seal(&mut *third, &[(0, "1\ta\t0\t0\tf"), (0, "1\ta\t0\t1\tf")]).await;
    seal(&mut *fifth, &[(0, "2\tb\t0\t0\tf"), (0, "2\tb\t0\t1\tf")]).await;
    let of_third = trailer(0, 1, 0..1);
    let of_fifth = longshore_core::ledger::Trailer { partition: 5, ..trailer(0, 2, 0..1) };
    // Both at a time, so each needs a connection.
    let (one, other) = tokio::join!(third.publish(&of_third), fifth.publish(&of_fifth));
    assert_eq!((refused(one.unwrap()), refused(other.unwrap())), (vec![], vec![]));
    server.sql("twice", "alter table t alter column id type bigint");
    seal(&mut *third, &[(1, "3000000000\tc\t1\t0\tf"), (1, "3000000000\tc\t1\t1\tf")]).await;
    let asked = trailer(1, 1, 1..2);
    for after in [Some(Duration::ZERO), None] {
        let failure = third.publish(&asked).await.unwrap_err();
        assert_eq!(failure.class, Class::Retry { scope: Scope::Target, after }, "{failure}");
    }
    assert_eq!(refused(third.publish(&asked).await.unwrap()), []);
    assert_eq!(server.rows("twice", ROWS), ["1|a|0|f", "2|b|0|f", "3000000000|c|1|f"]);
}

/// Scenario: a trigger's own statement mixes types up, which has the code (`42804`) of a column that was changed under a worker.
/// Guarantee (I6): in both modes the pair halts and says so, and does not try again and again.
#[tokio::test]
async fn a_triggers_mistake_is_no_changed_column() {
    let Some(server) = shared_postgres() else { return };
    server.database("mistake");
    server.sql(
        "mistake",
        "create table t (id integer primary key, name text, _pair bigint, _offset bigint, _deleted timestamptz); \
         create table audit (what jsonb); \
         create function note() returns trigger language plpgsql as \
             $$ begin insert into audit select new.name; return new; end $$; \
         create trigger note before insert or update on t for each row execute function note()",
    );
    let given = options(server, "mistake", &["id", "name"]);
    let keyed = upsert(server, "mistake", &["id", "name"], &["id"]);
    for (given, line) in [(given, "1\ta"), (keyed, "1\ta\t0\t0\tf")] {
        let sink = sink(given);
        let mut writer = writer(&sink, 1);
        writer.recover().await.unwrap();
        seal(&mut *writer, &[(0, line)]).await;
        let failure = writer.publish(&trailer(0, 1, 0..1)).await.unwrap_err();
        assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::SinkUnfit), "{failure}");
        assert!(failure.detail().contains("42804"), "{failure}");
    }
}

/// Scenario: names that need quotes, that are words of SQL, or that the sink might use itself.
/// Guarantee: they are names like any other.
#[tokio::test]
async fn any_name_is_a_name() {
    let Some(server) = shared_postgres() else { return };
    server.database("names");
    server.sql(
        "names",
        "create schema \"Big Top\"; create table \"Big Top\".\"order\" (\"select\" integer primary key, c0 text, \
             source_offset text, longshore_offset text, \"say \"\"hi\"\"\" text, _pair bigint, _offset bigint, \
             _deleted timestamptz)",
    );
    let columns = ["c0", "select", "source_offset", "longshore_offset", "say \"hi\""];
    let table = Table { schema: "Big Top".into(), name: "order".into() };
    let sink = sink(PostgresOptions { table, ..upsert(server, "names", &columns, &["select"]) });
    let mut writer = writer(&sink, 1);
    writer.recover().await.unwrap();
    seal(&mut *writer, &[(0, "a\t1\tb\tc\td\t0\t0\tf"), (1, "e\t1\tf\tg\th\t1\t0\tf")]).await;
    assert_eq!(refused(writer.publish(&trailer(0, 1, 0..2)).await.unwrap()), []);
    let rows = "select \"select\", c0, source_offset, longshore_offset, \"say \"\"hi\"\"\" from \"Big Top\".\"order\"";
    assert_eq!(server.rows("names", rows), ["1|e|f|g|h"]);
}

/// Scenario: keys of a type that counts `A` and `a` as one, in a schema that no search path names; an older record, one that a trigger keeps
/// out, and one of another partition each write the key in another case.
/// Guarantee (I1, I3): they are judged as the same key, as its index does.
#[tokio::test]
async fn keys_are_compared_as_their_index_does() {
    let Some(server) = shared_postgres() else { return };
    server.database("folded");
    server.sql(
        "folded",
        &TABLE.replace("id integer", "id ext.citext").replacen(
            "create",
            "create schema ext; create extension citext schema ext; create",
            1,
        ),
    );
    let sink = sink(upsert(server, "folded", &["id", "name"], &["id"]));
    let (mut third, mut fifth) = (writer_of(&sink, 1, 3), writer_of(&sink, 2, 5));
    third.recover().await.unwrap();
    fifth.recover().await.unwrap();
    seal(&mut *third, &[(1, "key\ta\t1\t0\tf"), (2, "KEY\tb\t2\t0\tf"), (3, "Other\tc\t3\t0\tf")]).await;
    assert_eq!(refused(third.publish(&trailer(0, 1, 1..4)).await.unwrap()), []);
    seal(&mut *third, &[(0, "Key\told\t0\t0\tf"), (4, "other\tout\t4\t0\tf")]).await;
    let late = longshore_core::RunSet::collect(vec![(0, 1)]);
    let asked = longshore_core::ledger::Trailer { also: late, ..trailer(1, 1, 4..5) };
    assert_eq!(refused(third.publish(&asked).await.unwrap()), [(4, "sink.rejected")]);
    seal(&mut *fifth, &[(0, "kEY\tmoved\t0\t0\tf"), (1, "new\tn\t1\t0\tf")]).await;
    let asked = longshore_core::ledger::Trailer { partition: 5, ..trailer(0, 2, 0..2) };
    assert_eq!(refused(fifth.publish(&asked).await.unwrap()), [(0, "sink.key-moved")]);
    assert_eq!(server.rows("folded", "select name, _offset from t order by 1"), ["b|2", "c|3", "n|1"]);
}

/// Scenario: a row that names a pair and no offset, as a person's statement may leave it; and a trigger that refuses with a code of its own.
/// Guarantee (I1): the row takes any record like one that names no pair; the refusal is the row's.
#[tokio::test]
async fn what_people_leave_behind_is_taken() {
    let Some(server) = shared_postgres() else { return };
    server.database("people");
    server.sql("people", TABLE);
    server.sql(
        "people",
        "create function never() returns trigger language plpgsql as \
             $$ begin if new.name = 'never' then raise 'secret' using errcode = 'AB123'; end if; return new; end $$; \
         create trigger never before insert or update on t for each row execute function never()",
    );
    let sink = sink(upsert(server, "people", &["id", "name"], &["id"]));
    let mut writer = writer(&sink, 1);
    writer.recover().await.unwrap();
    assert_eq!(publish(&mut *writer, &trailer(0, 1, 0..10), &[(9, 1, Some("a"))]).await, []);
    server.sql("people", "update t set _offset = null");
    let records = [(10, 1, Some("b")), (11, 2, Some("never"))];
    assert_eq!(publish(&mut *writer, &trailer(1, 1, 10..12), &records).await, [(11, "sink.rejected")]);
    assert_eq!(server.rows("people", ROWS), ["1|b|10|f"]);
}

/// Scenario: two partitions write the same new key at the same time, again and again.
/// Guarantee (I1, I3): one of them has the row; the other's record is refused, and neither waits for the other for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_partitions_one_gets_a_new_key() {
    let Some(server) = shared_postgres() else { return };
    server.database("both");
    server.sql("both", TABLE);
    let mut racers = Vec::new();
    for (id, partition) in [(1, 3), (2, 5)] {
        let sink = sink(upsert(server, "both", &["id", "name"], &["id"]));
        racers.push(tokio::spawn(async move {
            let mut writer = writer_of(&sink, id, partition);
            writer.recover().await.unwrap();
            let (mut lost, name) = (0, format!("p{partition}"));
            for sequence in 0..20_u64 {
                let first = sequence as i64 * 5;
                // Keys in opposite orders.
                let key = |at: i64| if partition == 3 { first + at } else { first + 4 - at };
                let records: Vec<_> = (0..5).map(|at| (first + at, key(at), Some(name.as_str()))).collect();
                let asked = trailer(sequence, id, first..first + 5);
                let asked = longshore_core::ledger::Trailer { partition, ..asked };
                lost += publish(&mut *writer, &asked, &records).await.len();
            }
            lost
        }));
    }
    let mut lost = 0;
    for racer in racers {
        lost += racer.await.unwrap();
    }
    assert_eq!(lost, 100);
    assert_eq!(server.sql("both", "select count(*), count(distinct id) from t"), "100|100");
}

/// Scenario: rules of the table that hide rows from the role, a second unique index in which nulls are alike, and an index of the key that sorts
/// otherwise than the column.
/// Guarantee: each is said before the first row; the same index with a condition for deleted rows is well.
#[tokio::test]
async fn what_would_break_later_is_said_at_the_start() {
    let Some(server) = shared_postgres() else { return };
    server.database("hidden");
    server.sql(
        "hidden",
        "create table t (id text not null, name text, mail text, _pair bigint, _offset bigint, _deleted timestamptz); \
         create unique index on t (id collate \"C\"); \
         do $$ begin create role hidden login; exception when duplicate_object then null; end $$; \
         grant all on schema public to hidden; grant all on t to hidden; alter table t enable row level security",
    );
    let newer = server.sql("hidden", "select current_setting('server_version_num')::int >= 150000") == "t";
    if newer {
        server.sql("hidden", "create unique index mails on t (mail) nulls not distinct");
    }
    let given = upsert(server, "hidden", &["id", "name", "mail"], &["id"]);
    let hidden = PostgresOptions { user: "hidden".into(), ..given };
    let failure = writer(&sink(hidden.clone()), 1).recover().await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::SinkUnfit), "{failure}");
    for finding in ["row level security applies to this role", "no unique index on exactly (id), by"] {
        assert!(failure.detail().contains(finding), "{finding} is not in {failure}");
    }
    let nulls = "unique index mails takes null once";
    assert!(!newer || failure.detail().contains(nulls), "{failure}");
    if newer {
        server.sql(
            "hidden",
            "drop index mails; create unique index mails on t (mail) nulls not distinct where _deleted is null",
        );
    }
    server.sql("hidden", "alter table t add primary key (id); alter table t disable row level security");
    writer(&sink(hidden.clone()), 1).recover().await.unwrap();
    // Rows of the ledger may be hidden as well.
    server.sql("hidden", "alter table longshore_ledger enable row level security; alter table longshore_ledger owner to tester");
    let failure = writer(&sink(hidden), 2).recover().await.unwrap_err();
    assert!(failure.detail().contains("longshore_ledger: row level security"), "{failure}");
    let plain = options(server, "hidden", &["id"]);
    assert!(writer(&sink(plain), 3).recover().await.is_ok(), "a superuser sees everything");
}
