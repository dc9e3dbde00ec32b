//! A ledger that a newer version has written to.

use longshore_core::{Class, Reason};
use longshore_sinks::postgres::inspect::survey;
use longshore_tests::harness::postgres::shared_postgres;

use super::table::{TABLE, options, refused, seal, sink, trailer, writer};

/// Scenario: the trailer of the last segment, and then the checkpoint, are of a newer version and say something that is not known here; the number
/// that a writer is about to take was taken by such a trailer. Guarantee: the pair halts with `format.newer`, which says what it met and what
/// to do; no row is added and nothing of the ledger is written over; `sink ls` says the same.
#[tokio::test]
async fn a_newer_ledger_halts() {
    let Some(server) = shared_postgres() else { return };
    server.database("newer");
    server.sql("newer", TABLE);
    let given = options(server, "newer", &["id", "name"]);
    let sink = sink(given.clone());
    let mut first = writer(&sink, 1);
    first.recover().await.unwrap();
    seal(&mut *first, &[(0, "1\ta")]).await;
    assert_eq!(refused(first.publish(&trailer(0, 1, 0..1)).await.unwrap()), []);
    let raise = |sequence: u64| {
        let newer = r#"'{"version": 2, "more": {"what": 1}}'"#;
        let change = format!(
            "insert into longshore_ledger (pair, sequence, writer, epoch, trailer) \
             select pair, {sequence}, writer, epoch, trailer from longshore_ledger where sequence = 0 \
             on conflict do nothing; \
             update longshore_ledger set trailer = trailer || {newer}::jsonb where sequence = {sequence}"
        );
        server.sql("newer", &change);
    };
    let left =
        || server.rows("newer", "select sequence, trailer::text from longshore_ledger order by sequence");
    let halts = |failure: longshore_core::Failure, name: &str| {
        assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::FormatNewer), "{failure}");
        let words = format!("{name} of version 2, of which longshore");
        assert!(failure.detail().contains(&words), "{failure}");
        assert!(failure.detail().contains("run that version or a later one"), "{failure}");
    };
    raise(1);
    let before = left();
    seal(&mut *first, &[(1, "2\tb")]).await;
    halts(first.publish(&trailer(1, 1, 1..2)).await.unwrap_err(), "ledger trailer");
    halts(writer(&sink, 2).recover().await.unwrap_err(), "ledger trailer");
    assert_eq!(left(), before);
    assert_eq!(server.rows("newer", "select id from t"), ["1"]);
    let seen = survey("web-logs", "postgres", &given).await.unwrap();
    let said = seen[0].broken.as_deref().unwrap_or_default();
    assert!(said.contains("ledger trailer of version 2"), "{seen:?}");

    server.sql(
        "newer",
        r#"delete from longshore_ledger where sequence = 1;
           insert into longshore_checkpoints (pair, next, view)
           select pair, 1, '{"version": 2, "next_sequence": 1, "more": 1}' from longshore_ledger"#,
    );
    halts(writer(&sink, 3).recover().await.unwrap_err(), "ledger checkpoint in Postgres");
}
