//! A pair that somebody else's session holds.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use longshore_core::{Class, Reason, Scope};
use longshore_sinks::postgres::PostgresOptions;
use longshore_tests::harness::postgres::{Postgres, shared_postgres};
use longshore_tests::harness::rig::PATIENCE;
use longshore_tests::harness::wait_until;

use super::cut::{At, Cutter};
use super::table::{TABLE, options, refused, seal, sink, trailer, writer};

/// A database whose table and ledger two roles may write to, and options of each.
async fn two_roles(server: &Postgres, database: &str) -> [PostgresOptions; 2] {
    server.database(database);
    server.sql(database, TABLE);
    let admin = options(server, database, &["id", "name"]);
    writer(&sink(admin.clone()), 1).recover().await.unwrap();
    ["before", "behind"].map(|which| {
        let role = format!("{database}_{which}");
        let rights =
            "select, insert, update, delete on longshore_pairs, longshore_ledger, longshore_checkpoints";
        server.sql(
            database,
            &format!("create role {role} login; grant insert on t to {role}; grant {rights} to {role}"),
        );
        PostgresOptions { user: role, ..admin.clone() }
    })
}

/// Scenario: a fleet's role was changed, and a worker of the old role stands still in the middle of a `COPY`. The worker of the new role may
/// not end that session, nor see what it waits for. Guarantee (I6): the claim ends soon and says which session holds the pair and what to do; it
/// leaves nothing behind that claims the pair later; with the right it ends the session by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_another_role_is_named() {
    let Some(server) = shared_postgres() else { return };
    let [before, behind] = two_roles(server, "held").await;
    let cutter = Cutter::start(server.port(), At::Rows);
    let mut zombie = writer(&sink(PostgresOptions { port: cutter.port, ..before }), 2);
    zombie.recover().await.unwrap();
    seal(&mut *zombie, &[(0, "1\tzombie")]).await;
    cutter.armed.store(true, Ordering::Release);
    let frozen = tokio::spawn(async move { zombie.publish(&trailer(0, 2, 0..1)).await });
    wait_until("the zombie stands still", PATIENCE, || !cutter.armed.load(Ordering::Acquire));
    let mut owner = writer(&sink(behind), 3);
    let started = Instant::now();
    let failure = owner.recover().await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(30), "the claim looped for {:?}", started.elapsed());
    assert!(matches!(failure.class, Class::Retry { scope: Scope::Target, .. }), "{failure}");
    assert_eq!(failure.reason, Reason::SinkUnavailable);
    for words in [
        "of role held_before (longshore web-logs) holds it",
        "pg_terminate_backend(",
        "grant role held_before",
    ] {
        assert!(failure.detail().contains(words), "{words} is not in {failure}");
    }
    let epoch = || server.sql("held", "select epoch from longshore_pairs");
    let claimed = epoch();
    let waiting = "select count(*) from pg_stat_activity where usename = 'held_behind' and state = 'active'";
    assert_eq!((server.sql("held", waiting), epoch()), ("0".to_owned(), claimed));
    server.sql("held", "grant held_before to held_behind");
    owner.recover().await.unwrap();
    assert!(matches!(frozen.await.unwrap().unwrap_err().class, Class::Retry { .. }));
    seal(&mut *owner, &[(0, "1\towner")]).await;
    assert_eq!(refused(owner.publish(&trailer(0, 3, 0..1)).await.unwrap()), []);
    assert_eq!(server.rows("held", "select name from t"), ["owner"]);
}

/// Scenario: a prepared transaction, which is nobody's session, has locked the table of pairs. Guarantee (I6): the words say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_transaction_is_named() {
    let Some(server) = shared_postgres() else { return };
    let [_, behind] = two_roles(server, "held_twice").await;
    server.sql("held_twice", "begin; lock table longshore_pairs; prepare transaction 'held'");
    let failure = writer(&sink(behind), 2).recover().await.unwrap_err();
    assert!(failure.detail().contains("a prepared transaction holds it"), "{failure}");
    server.sql("held_twice", "rollback prepared 'held'");
}

/// Scenario: a database whose transactions are serializable by default. Guarantee (I6): the server looks after the connections of this sink
/// within a minute, not after the two hours of the system, and each statement sees what others have committed.
#[tokio::test]
async fn the_server_looks_whether_a_client_is_there() {
    let Some(server) = shared_postgres() else { return };
    server.database("alive");
    let settings = "concat_ws(' ', current_setting('tcp_keepalives_idle'), current_setting('tcp_keepalives_interval'), \
        current_setting('tcp_keepalives_count'), current_setting('tcp_user_timeout'), current_setting('transaction_isolation'))";
    server.sql("alive", "alter database alive set default_transaction_isolation = 'serializable'");
    server.sql("alive", &format!("create table t (id integer, name text, seen text default {settings})"));
    let sink = sink(options(server, "alive", &["id", "name"]));
    let mut writer = writer(&sink, 1);
    writer.recover().await.unwrap();
    seal(&mut *writer, &[(0, "1\ta")]).await;
    writer.publish(&trailer(0, 1, 0..1)).await.unwrap();
    assert_eq!(server.rows("alive", "select seen from t"), ["15 5 4 20000 read committed"]);
}
