//! What becomes of a transaction whose `COMMIT` goes out and is not heard of, or never comes: a connection that breaks at the worst
//! moment, a worker that stands still.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use longshore_core::sink::Published;
use longshore_core::{Class, Scope, WriterId};
use longshore_tests::harness::postgres::shared_postgres;
use longshore_tests::harness::rig::PATIENCE;
use longshore_tests::harness::wait_until;

use super::table::{TABLE, options, refused, seal, sink, trailer, writer};

/// The message that commits, as the simple query protocol writes it.
const COMMIT: &[u8] = b"COMMIT\0";

/// A row's values, as `COPY` reads them.
const ROW: &[u8] = b"1\tzombie";

/// Stands between a client and the server, and does something to the next message of its kind when armed.
pub(super) struct Cutter {
    pub(super) port: u16,
    pub(super) armed: Arc<AtomicBool>,
}

/// What is done.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum At {
    /// A `COMMIT` is passed on, and the connection is cut instead of passing on the server's answer.
    Answer,
    /// It is kept back for good, like everything behind it.
    Commit,
    /// The rows are kept back for good, like everything behind them: the server is in the middle of a `COPY`.
    Rows,
}

impl At {
    fn message(self) -> &'static [u8] {
        match self {
            Self::Answer | Self::Commit => COMMIT,
            Self::Rows => ROW,
        }
    }
}

impl Cutter {
    pub(super) fn start(server: u16, at: At) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (port, armed) = (listener.local_addr().unwrap().port(), Arc::<AtomicBool>::default());
        let own = Arc::clone(&armed);
        // Ends with the process: a thread that waits for connections holds nothing else.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).unwrap();
                pass(client, server, &own, at);
            }
        });
        Self { port, armed }
    }
}

fn pass(client: TcpStream, server: TcpStream, armed: &Arc<AtomicBool>, at: At) {
    let cut = Arc::<AtomicBool>::default();
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (own_cut, armed) = (Arc::clone(&cut), Arc::clone(armed));
    thread::spawn(move || {
        let (mut bytes, mut kept) = ([0; 65_536], false);
        while let Ok(count @ 1..) = from_client.read(&mut bytes) {
            let message = at.message();
            let has_it = bytes[..count].windows(message.len()).any(|window| window == message);
            if has_it && armed.swap(false, Ordering::AcqRel) {
                own_cut.store(at == At::Answer, Ordering::Release);
                kept = at != At::Answer;
            }
            if kept {
                continue;
            }
            if to_server.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to_server.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        let (mut from_server, mut to_client) = (server, client);
        let mut bytes = [0; 65_536];
        while let Ok(count @ 1..) = from_server.read(&mut bytes) {
            // The answer is here, so the server has committed.
            if cut.load(Ordering::Acquire) || to_client.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
}

/// Scenario: the connection breaks after `COMMIT` was sent, for a segment with good rows alone and for one with a row that is
/// refused; the runtime publishes the same segment again.
/// Guarantee (I1, I2): the first try is told as an outage; the second finds the first one's segment, with what it refused and
/// why, and no row is there twice.
#[tokio::test]
async fn a_commit_that_nobody_heard_of_is_found() {
    let Some(server) = shared_postgres() else { return };
    server.database("cut");
    server.sql("cut", TABLE);
    let cutter = Cutter::start(server.port(), At::Answer);
    let options = options(server, "cut", &["id", "name"]);
    let sink = sink(longshore_sinks::postgres::PostgresOptions { port: cutter.port, ..options });
    let mut writer = writer(&sink, 1);
    writer.recover().await.unwrap();
    for (sequence, lines, expected) in [
        (0, [(0, "1\ta"), (1, "2\tb")], vec![]),
        (1, [(2, "3\tbad"), (3, "4\td")], vec![(2, "sink.rejected")]),
    ] {
        let first = sequence as i64 * 2;
        let asked = trailer(sequence, 1, first..first + 2);
        seal(&mut *writer, &lines).await;
        cutter.armed.store(true, Ordering::Release);
        let failure = writer.publish(&asked).await.unwrap_err();
        assert!(matches!(failure.class, Class::Retry { scope: Scope::Target, .. }), "{failure}");
        assert!(!cutter.armed.load(Ordering::Acquire), "no commit was sent");
        let published = writer.publish(&asked).await.unwrap();
        let told = format!("{published:?}");
        assert_eq!(refused(published), expected);
        assert!(expected.is_empty() || told.contains("23514"), "{told}");
    }
    assert_eq!(server.rows("cut", "select id, name from t order by id"), ["1|a", "2|b", "4|d"]);
}

/// Scenario: a worker stands still in the middle of a transaction, its rows in and its `COMMIT` not sent; another one claims the
/// pair.
/// Guarantee (I6, I8): the server ends the transaction after ten seconds, the claim goes through, and of the two writers' rows only
/// the owner's are there; the zombie hears who owns the pair.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_transaction_holds_nobody_for_long() {
    a_worker_stands_still("frozen", At::Commit).await;
}

/// Scenario: the same in the middle of a `COPY`, where the server waits for rows and minds no timeout.
/// Guarantee (I6, I8): the claim ends the zombie's session, and the rest is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_copy_holds_nobody_for_long() {
    a_worker_stands_still("frozen_copy", At::Rows).await;
}

async fn a_worker_stands_still(database: &str, at: At) {
    let Some(server) = shared_postgres() else { return };
    server.database(database);
    server.sql(database, TABLE);
    // As roles of applications often have it.
    server.sql(database, &format!("alter database {database} set lock_timeout = '3s'"));
    let direct = options(server, database, &["id", "name"]);
    let cutter = Cutter::start(server.port(), at);
    let through = longshore_sinks::postgres::PostgresOptions { port: cutter.port, ..direct.clone() };
    let mut zombie = writer(&sink(through), 1);
    zombie.recover().await.unwrap();
    seal(&mut *zombie, &[(0, "1\tzombie")]).await;
    cutter.armed.store(true, Ordering::Release);
    let frozen = tokio::spawn(async move {
        let answer = zombie.publish(&trailer(0, 1, 0..1)).await;
        (zombie, answer)
    });
    wait_until("the zombie stands still", PATIENCE, || !cutter.armed.load(Ordering::Acquire));
    let mut owner = writer(&sink(direct), 2);
    let started = Instant::now();
    owner.recover().await.unwrap();
    let waited = started.elapsed();
    assert!(waited > Duration::from_secs(5), "the claim did not wait: {waited:?}");
    seal(&mut *owner, &[(0, "1\towner")]).await;
    assert_eq!(refused(owner.publish(&trailer(0, 2, 0..1)).await.unwrap()), []);
    let (mut zombie, answer) = frozen.await.unwrap();
    let failure = answer.unwrap_err();
    assert!(matches!(failure.class, Class::Retry { .. }), "{failure}");
    let lost = Published::TakenByOther(WriterId(2));
    assert_eq!(zombie.publish(&trailer(0, 1, 0..1)).await.unwrap(), lost);
    assert_eq!(server.rows(database, "select name from t"), ["owner"]);
}
