//! Mode `upsert` where keys are new: rows go straight into the table, and whatever does not hold goes the way by which offsets decide.

use longshore_core::ledger::Trailer;
use longshore_tests::harness::postgres::{Postgres, shared_postgres};

use super::cut::{At, Cutter};
use super::table::{refused, seal, sink, trailer, upsert, writer, writer_of};
use super::upsert::{ROWS, TABLE, publish};

/// Sessions that have made a temporary table to merge from.
fn stages(server: &Postgres, database: &str) -> String {
    server.sql(database, "select count(*) from pg_class where relname = 'longshore_stage'")
}

/// Scenario: segments of new keys, some deleted before they were ever there, with values that `COPY` escapes; a segment without rows; then one
/// whose newer record has a key that is there, beside new keys.
/// Guarantee (I2, I3): the rows are those that a merge makes, in one `COPY` until a key is there already, and then once each.
#[tokio::test]
async fn new_keys_go_straight_into_the_table() {
    let Some(server) = shared_postgres() else { return };
    server.database("straight");
    server.sql("straight", TABLE);
    let sink = sink(upsert(server, "straight", &["id", "name"], &["id"]));
    let mut writer = writer(&sink, 1);
    writer.recover().await.unwrap();
    let records = [(0, 1, Some("a")), (1, 2, Some(r"tab\tback\\slash")), (2, 3, None)];
    assert_eq!(publish(&mut *writer, &trailer(0, 1, 0..3), &records).await, []);
    assert_eq!(publish(&mut *writer, &Trailer { rows: 0, ..trailer(1, 1, 3..5) }, &[]).await, []);
    seal(&mut *writer, &[(5, "4\tof one\t5\t0\tf"), (5, "5\trecord\t5\t1\tf")]).await;
    assert_eq!(refused(writer.publish(&trailer(2, 1, 5..6)).await.unwrap()), []);
    assert_eq!(
        server.rows("straight", ROWS),
        ["1|a|0|f", "2|tab\tback\\slash|1|f", "3|-|2|t", "4|of one|5|f", "5|record|5|f"]
    );
    let marks = "select count(*) filter (where _deleted between now() - interval '1 minute' and now()), \
        count(distinct _pair), bool_and(_pair = (select id from longshore_pairs)) from t";
    assert_eq!(server.sql("straight", marks), "1|1|t");
    assert_eq!(stages(server, "straight"), "0");
    let records = [(6, 6, Some("new")), (7, 1, Some("newer")), (8, 7, Some("new"))];
    assert_eq!(publish(&mut *writer, &trailer(3, 1, 6..9), &records).await, []);
    assert_eq!(stages(server, "straight"), "1");
    assert_eq!(
        server.sql("straight", "select string_agg(id || name, ',' order by id) from t where id in (1, 6, 7)"),
        "1newer,6new,7new"
    );
}

/// Scenario: on the straight way a key of the segment has a newer row, stands in it twice, is another partition's, or is refused by the table
/// aloud or in silence; each time beside new keys, and by a writer that has not failed before.
/// Guarantee (I1, I2, I3): exactly what the table does not take is refused, and the newest record of each key is there.
#[tokio::test]
async fn what_is_not_new_goes_the_way_by_which_offsets_decide() {
    let Some(server) = shared_postgres() else { return };
    for (case, records, expected, rows) in [
        ("older", vec![(3, 1, Some("old"))], vec![], vec!["1|kept|9|f", "8|new|8|f"]),
        ("deleted", vec![(3, 1, None), (10, 1, None)], vec![], vec!["1|-|10|t", "8|new|8|f"]),
        (
            "twice",
            vec![(4, 2, Some("b")), (3, 2, Some("a"))],
            vec![],
            vec!["1|kept|9|f", "2|b|4|f", "8|new|8|f"],
        ),
        ("moved", vec![(3, 5, Some("a"))], vec![(3, "sink.key-moved")], vec!["1|kept|9|f", "8|new|8|f"]),
        ("bad", vec![(3, 2, Some("bad"))], vec![(3, "sink.rejected")], vec!["1|kept|9|f", "8|new|8|f"]),
        ("out", vec![(3, 2, Some("out"))], vec![(3, "sink.rejected")], vec!["1|kept|9|f", "8|new|8|f"]),
    ] {
        let database = format!("straight-{case}");
        server.database(&database);
        server.sql(&database, TABLE);
        let sink = sink(upsert(server, &database, &["id", "name"], &["id"]));
        let (mut first, mut other) = (writer(&sink, 1), writer_of(&sink, 2, 5));
        first.recover().await.unwrap();
        other.recover().await.unwrap();
        assert_eq!(publish(&mut *first, &trailer(0, 1, 0..0), &[(9, 1, Some("kept"))]).await, []);
        let of_other = Trailer { partition: 5, ..trailer(0, 2, 0..0) };
        assert_eq!(publish(&mut *other, &of_other, &[(1, 5, Some("theirs"))]).await, []);
        assert_eq!(stages(server, &database), "0", "{case}");
        let records: Vec<_> = [(8, 8, Some("new"))].into_iter().chain(records).collect();
        assert_eq!(publish(&mut *first, &trailer(1, 1, 0..0), &records).await, expected, "{case}");
        let own: Vec<String> =
            server.rows(&database, ROWS).into_iter().filter(|row| !row.starts_with("5|")).collect();
        assert_eq!(own, rows, "{case}");
        assert_eq!(server.sql(&database, "select name from t where id = 5"), "theirs", "{case}");
        assert_eq!(stages(server, &database), "1", "{case}");
    }
}

/// Scenario: a person takes the unique index away while a worker, whose segments went straight into the table, goes on: with a key that is there, and with
/// new ones. Guarantee (I2): nothing more is written, the worker halts as with a merge, and goes on when the index is back.
#[tokio::test]
async fn without_its_index_nothing_goes_straight() {
    let Some(server) = shared_postgres() else { return };
    server.database("straight-index");
    server.sql("straight-index", TABLE);
    let sink = sink(upsert(server, "straight-index", &["id", "name"], &["id"]));
    let mut writer = writer(&sink, 1);
    writer.recover().await.unwrap();
    assert_eq!(publish(&mut *writer, &trailer(0, 1, 0..1), &[(0, 1, Some("a"))]).await, []);
    server.sql("straight-index", "alter table t drop constraint t_pkey");
    seal(&mut *writer, &[(1, "1\tb\t1\t0\tf"), (2, "2\tc\t2\t0\tf")]).await;
    let failure = writer.publish(&trailer(1, 1, 1..3)).await.unwrap_err();
    assert_eq!(failure.class, longshore_core::Class::Halt, "{failure:?}");
    assert_eq!(server.rows("straight-index", ROWS), ["1|a|0|f"]);
    server.sql("straight-index", "alter table t add primary key (id)");
    assert_eq!(refused(writer.publish(&trailer(1, 1, 1..3)).await.unwrap()), []);
    assert_eq!(server.rows("straight-index", ROWS), ["1|b|1|f", "2|c|2|f"]);
}

/// Scenario: the answer to the commit of a straight segment is lost, and the runtime publishes it again.
/// Guarantee (I2): it is found in the ledger, and its rows are there once.
#[tokio::test]
async fn a_straight_commit_that_nobody_heard_of_is_found() {
    let Some(server) = shared_postgres() else { return };
    server.database("straight-cut");
    server.sql("straight-cut", TABLE);
    let cutter = Cutter::start(server.port(), At::Answer);
    let options = upsert(server, "straight-cut", &["id", "name"], &["id"]);
    let sink = sink(longshore_sinks::postgres::PostgresOptions { port: cutter.port, ..options });
    let mut writer = writer(&sink, 1);
    writer.recover().await.unwrap();
    seal(&mut *writer, &[(0, "1\ta\t0\t0\tf"), (1, "2\tb\t1\t0\tf")]).await;
    cutter.armed.store(true, std::sync::atomic::Ordering::Release);
    let asked = trailer(0, 1, 0..2);
    writer.publish(&asked).await.unwrap_err();
    assert_eq!(refused(writer.publish(&asked).await.unwrap()), []);
    assert_eq!(server.rows("straight-cut", ROWS), ["1|a|0|f", "2|b|1|f"]);
    assert_eq!(server.sql("straight-cut", "select count(*) from longshore_ledger"), "1");
}

/// Scenario: two partitions bring the same new keys at the same moment, each in its own order, again and again.
/// Guarantee (I1, I3, I6): neither waits for the other for ever, each key has the row of one of them, and the other's record is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_bring_the_same_new_keys_do_not_wait_for_each_other() {
    let Some(server) = shared_postgres() else { return };
    server.database("straight-race");
    server.sql("straight-race", TABLE);
    let sink = sink(upsert(server, "straight-race", &["id", "name"], &["id"]));
    let (mut third, mut fifth) = (writer_of(&sink, 1, 3), writer_of(&sink, 2, 5));
    third.recover().await.unwrap();
    fifth.recover().await.unwrap();
    for round in 0..8_u64 {
        let first = round as i64 * 2_000;
        let keys: Vec<i64> = (first..first + 2_000).collect();
        let of = |keys: Vec<i64>| {
            let records = keys.into_iter().zip(first..);
            records.map(|(key, offset)| (offset, key, Some("some"))).collect::<Vec<_>>()
        };
        let (up, down) = (of(keys.clone()), of(keys.into_iter().rev().collect()));
        let asked = trailer(round, 1, first..first + 2_000);
        let of_fifth = Trailer { partition: 5, ..trailer(round, 2, first..first + 2_000) };
        let (one, two) = tokio::join!(
            again_and_again(&mut *third, &asked, &up),
            again_and_again(&mut *fifth, &of_fifth, &down)
        );
        assert_eq!(one.len() + two.len(), 2_000, "round {round}: {} and {}", one.len(), two.len());
        assert!(one.iter().chain(&two).all(|(_, reason)| *reason == "sink.key-moved"), "round {round}");
    }
    let counts = "select count(*), count(distinct id) from t";
    assert_eq!(server.sql("straight-race", counts), "16000|16000");
}

/// Publishes as the runtime does: again after a failure that says so.
async fn again_and_again(
    writer: &mut dyn longshore_core::sink::SegmentWriter,
    asked: &Trailer,
    records: &[(i64, i64, Option<&str>)],
) -> Vec<(i64, &'static str)> {
    let lines: Vec<String> = records
        .iter()
        .map(|(offset, id, name)| format!("{id}\t{}\t{offset}\t0\tf", name.unwrap_or_default()))
        .collect();
    let lines: Vec<(i64, &str)> =
        records.iter().zip(&lines).map(|(record, line)| (record.0, &**line)).collect();
    seal(writer, &lines).await;
    for _ in 0..20 {
        match writer.publish(asked).await {
            Ok(published) => return refused(published),
            Err(failure) => {
                assert!(matches!(failure.class, longshore_core::Class::Retry { .. }), "{failure}");
            }
        }
    }
    panic!("not published in 20 tries");
}
