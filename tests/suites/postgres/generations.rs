//! Mode `upsert` after a rewind: which rows of an earlier generation give way to which records of a later one.

use longshore_core::ledger::Trailer;
use longshore_core::sink::SegmentWriter;
use longshore_core::{Class, Generation, Reason};
use longshore_sinks::postgres::{PostgresOptions, PostgresSink};
use longshore_tests::harness::postgres::{Postgres, shared_postgres};

use super::table::{sink, trailer, upsert, writer_of};
use super::upsert::{ROWS, TABLE, publish};

/// The sink of a later generation.
fn later(server: &Postgres, name: &str, generation: u32) -> PostgresSink {
    let options = upsert(server, name, &["id", "name"], &["id"]);
    PostgresSink::new("postgres", "web-logs", Generation(generation), options).unwrap()
}

/// A writer of partition 3 that has its ledger.
async fn third(sink: &PostgresSink, id: u128) -> Box<dyn SegmentWriter> {
    let mut writer = writer_of(sink, id, 3);
    writer.recover().await.unwrap();
    writer
}

/// The same of a generation, with the topic of this id.
fn of(generation: u32, topic_id: &str, asked: Trailer) -> Trailer {
    Trailer { generation: Generation(generation), topic_id: topic_id.into(), ..asked }
}

/// Scenario: a generation goes back to offset 800 of a topic of which an earlier one wrote rows up to 900. Records come late into it, by a
/// retry or a replay, that are older than 800; the rest is read again, in order. One key's row is of another partition.
/// Guarantee (I3): a record that is read again takes its row, so at the end there are the newest records of what was read again; one
/// that comes late takes only an older one's row, and is refused where nobody can tell; a deletion is not revived.
#[tokio::test]
async fn what_comes_late_after_a_rewind_is_late() {
    let Some(server) = shared_postgres() else { return };
    server.database("rewound");
    server.sql("rewound", TABLE);
    let first = sink(upsert(server, "rewound", &["id", "name"], &["id"]));
    let (mut old, mut fifth) = (third(&first, 1).await, writer_of(&first, 2, 5));
    fifth.recover().await.unwrap();
    let records =
        [(600, 1, Some("a")), (200, 2, Some("b")), (650, 2, None), (900, 3, Some("c")), (901, 6, Some("f"))];
    assert_eq!(publish(&mut *old, &trailer(0, 1, 0..902), &records).await, []);
    let of_fifth = Trailer { partition: 5, ..trailer(0, 2, 0..11) };
    assert_eq!(publish(&mut *fifth, &of_fifth, &[(10, 5, Some("e"))]).await, []);

    let second = later(server, "rewound", 2);
    let mut new = third(&second, 3).await;
    let again = |sequence, covers| of(2, "topic-a", trailer(sequence, 3, covers));
    // The retry topic is read first: what waits there comes before anything is read again.
    let late = [
        (300, 1, Some("late")),
        (301, 2, Some("late")),
        (302, 3, Some("late")),
        (303, 4, Some("late")),
        (304, 5, Some("late")),
    ];
    assert_eq!(publish(&mut *new, &again(0, 800..800), &late).await, [(304, "sink.key-moved")]);
    let expected = ["1|a|600|f", "2|-|650|t", "3|c|900|f", "4|late|303|f", "5|e|10|f", "6|f|901|f"];
    assert_eq!(server.rows("rewound", ROWS), expected);
    assert_eq!(publish(&mut *new, &again(1, 800..800), &[(700, 1, Some("late"))]).await, []);
    let read = [(850, 3, Some("c'")), (860, 5, Some("e'")), (870, 6, Some("f'"))];
    assert_eq!(publish(&mut *new, &again(2, 800..880), &read).await, []);
    let expected = ["1|late|700|f", "2|-|650|t", "3|c'|850|f", "4|late|303|f", "5|e'|860|f", "6|f'|870|f"];
    assert_eq!(server.rows("rewound", ROWS), expected);
    assert_eq!(publish(&mut *new, &again(3, 880..902), &[(900, 3, Some("c''")), (901, 6, None)]).await, []);
    let late = [(400, 3, Some("late")), (401, 6, Some("late"))];
    assert_eq!(publish(&mut *new, &again(4, 902..902), &late).await, []);
    let expected = ["1|late|700|f", "2|-|650|t", "3|c''|900|f", "4|late|303|f", "5|e'|860|f", "6|-|901|t"];
    assert_eq!(server.rows("rewound", ROWS), expected);

    // The topic was made again, and a third generation reads it from 10 on.
    let third_sink = later(server, "rewound", 3);
    let mut newest = third(&third_sink, 4).await;
    let made_again = of(3, "topic-b", trailer(0, 4, 10..13));
    let records = [(5, 1, Some("stray")), (11, 2, Some("fresh")), (12, 3, Some("fresh"))];
    assert_eq!(publish(&mut *newest, &made_again, &records).await, [(5, "sink.key-moved")]);
    // The second generation's worker is a zombie by now.
    assert_eq!(publish(&mut *new, &again(5, 902..904), &[(903, 3, Some("zombie"))]).await, []);
    let expected =
        ["1|late|700|f", "2|fresh|11|f", "3|fresh|12|f", "4|late|303|f", "5|e'|860|f", "6|-|901|t"];
    assert_eq!(server.rows("rewound", ROWS), expected);
}

/// Scenario: after a rewind a trigger keeps a record out without a word whose row is of the earlier generation.
/// Guarantee (I1): it is the trigger's refusal and nothing about partitions.
#[tokio::test]
async fn a_kept_out_change_of_an_earlier_row_is_a_rejection() {
    let Some(server) = shared_postgres() else { return };
    server.database("kept-out");
    server.sql("kept-out", TABLE);
    let first = sink(upsert(server, "kept-out", &["id", "name"], &["id"]));
    let mut old = third(&first, 1).await;
    let records = [(0, 1, Some("a")), (1, 2, Some("b"))];
    assert_eq!(publish(&mut *old, &trailer(0, 1, 0..2), &records).await, []);
    let second = later(server, "kept-out", 2);
    let mut new = third(&second, 2).await;
    let records = [(0, 1, Some("out")), (1, 2, Some("b'"))];
    let asked = of(2, "topic-a", trailer(0, 2, 0..2));
    assert_eq!(publish(&mut *new, &asked, &records).await, [(0, "sink.rejected")]);
    assert_eq!(server.rows("kept-out", ROWS), ["1|a|0|f", "2|b'|1|f"]);
}

/// Scenario: the ledger's tables are of a version that did not note where a generation begins; the first role that meets them does not own them.
/// Guarantee: it is told what their owner has to say; that, or a worker who may, adds the columns. A generation of before begins nowhere, so
/// its records win as they did.
#[tokio::test]
async fn tables_of_an_earlier_version_get_their_columns() {
    let Some(server) = shared_postgres() else { return };
    server.database("earlier");
    server.sql("earlier", TABLE);
    let mut old = third(&sink(upsert(server, "earlier", &["id", "name"], &["id"])), 1).await;
    assert_eq!(publish(&mut *old, &trailer(0, 1, 0..601), &[(600, 1, Some("a"))]).await, []);
    let mut new = third(&later(server, "earlier", 2), 2).await;
    let again = |sequence, writer, covers| of(2, "topic-a", trailer(sequence, writer, covers));
    assert_eq!(publish(&mut *new, &again(0, 2, 800..801), &[(800, 2, Some("b"))]).await, []);
    let narrow = "alter table longshore_pairs drop column begins, drop column topic_id";
    server.sql("earlier", narrow);
    server.sql(
        "earlier",
        "do $$ begin create role guest login; exception when duplicate_object then null; end $$; \
         grant usage on schema public to guest; grant select, insert, update, delete on all tables in schema public to guest",
    );
    let options = upsert(server, "earlier", &["id", "name"], &["id"]);
    let guest = sink(PostgresOptions { user: "guest".into(), ..options });
    let failure = writer_of(&guest, 3, 3).recover().await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::SinkDenied), "{failure}");
    let (_, statement) = failure.detail().split_once("which has to say: ").unwrap();
    server.sql("earlier", statement);
    third(&guest, 4).await;

    server.sql("earlier", narrow);
    let mut new = third(&later(server, "earlier", 2), 5).await;
    let known = "select count(*) filter (where begins is null), count(*) filter (where topic_id = '') from longshore_pairs";
    assert_eq!(server.sql("earlier", known), "2|2");
    assert_eq!(publish(&mut *new, &again(1, 5, 801..801), &[(300, 1, Some("late"))]).await, []);
    assert_eq!(server.rows("earlier", ROWS), ["1|late|300|f", "2|b|800|f"]);
}
