//! What the ledger of an `objects` sink stands on, asked of the stores themselves through the very client that the sink uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_tests::harness::store::{Store, shared_store};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, aws};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// Clients that race.
const CLIENTS: usize = 8;
/// More than one read of a socket or a file gives at once, so that a torn object would be seen.
const OBJECT_BYTES: usize = 300_000;

type Client = Arc<dyn ObjectStore>;

fn s3(store: &Store, bucket: &str) -> Client {
    store.bucket(bucket);
    let client = super::tools::s3(&store.endpoint(), bucket);
    Arc::new(client.with_copy_if_not_exists(aws::S3CopyIfNotExists::Multipart).build().unwrap())
}

fn local(folder: &tempfile::TempDir) -> Client {
    Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap().with_fsync(true))
}

/// An object of one letter, and which letter an object is of; panics when it is of several.
fn payload(letter: u8) -> PutPayload {
    PutPayload::from(vec![letter; OBJECT_BYTES])
}

async fn letter(client: &Client, name: &Path) -> u8 {
    let bytes = client.get(name).await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes.len(), OBJECT_BYTES, "{name} is not whole");
    assert!(bytes.iter().all(|letter| *letter == bytes[0]), "{name} is of several objects");
    bytes[0]
}

/// Lets all clients do the same at the same moment; gives those that won. Whoever loses must hear that the name is taken.
async fn race<F, O>(client: &Client, act: F) -> Vec<u8>
where
    F: Fn(Client, u8) -> O,
    O: Future<Output = object_store::Result<()>> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(CLIENTS));
    let mut racers = JoinSet::new();
    for racer in 0..CLIENTS as u8 {
        let (act, barrier) = (act(Arc::clone(client), racer), Arc::clone(&barrier));
        racers.spawn(async move {
            barrier.wait().await;
            (racer, act.await)
        });
    }
    let mut winners = Vec::new();
    while let Some(racer) = racers.join_next().await {
        match racer.unwrap() {
            (racer, Ok(())) => winners.push(racer),
            (_, Err(Error::AlreadyExists { .. } | Error::Precondition { .. })) => {}
            (_, Err(error)) => panic!("a lost race is no failure: {error}"),
        }
    }
    winners
}

async fn race_creates(client: &Client, rounds: usize) {
    for round in 0..rounds {
        let name = Path::from(format!("create/{round:03}"));
        let winners = race(client, |client, racer| {
            let name = name.clone();
            async move {
                let options = PutOptions::from(PutMode::Create);
                client.put_opts(&name, payload(racer), options).await.map(drop)
            }
        });
        let winners = winners.await;
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(letter(client, &name).await, winners[0], "round {round}");
    }
}

async fn race_copies(client: &Client, rounds: usize) {
    for racer in 0..CLIENTS as u8 {
        client.put(&Path::from(format!("staged/{racer}")), payload(racer)).await.unwrap();
    }
    for round in 0..rounds {
        let name = Path::from(format!("copy/{round:03}"));
        let winners = race(client, |client, racer| {
            let name = name.clone();
            async move { client.copy_if_not_exists(&Path::from(format!("staged/{racer}")), &name).await }
        });
        let winners = winners.await;
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(letter(client, &name).await, winners[0], "round {round}");
    }
}

/// Copies two objects over one name in turn while others read it.
async fn read_while_copied(client: &Client, copies: usize) {
    let (name, sources) = (Path::from("read/name"), [Path::from("read/a"), Path::from("read/b")]);
    for (letter, source) in (0..).zip(&sources) {
        client.put(source, payload(letter)).await.unwrap();
    }
    client.copy(&sources[0], &name).await.unwrap();
    let over = Arc::<AtomicBool>::default();
    let mut readers = JoinSet::new();
    for _ in 0..2 {
        let (client, name, over) = (Arc::clone(client), name.clone(), Arc::clone(&over));
        readers.spawn(async move {
            let mut seen = [0; 2];
            while !over.load(Ordering::Acquire) {
                seen[usize::from(letter(&client, &name).await)] += 1;
            }
            seen
        });
    }
    for copy in 0..copies {
        client.copy(&sources[copy % 2], &name).await.unwrap();
    }
    over.store(true, Ordering::Release);
    while let Some(seen) = readers.join_next().await {
        assert!(seen.unwrap().iter().sum::<u32>() > 1, "nobody read meanwhile");
    }
}

/// Scenario: eight clients create an object under one name at the same moment (`PUT` with `If-None-Match: *`), a hundred times.
/// Guarantee (I2, I8): one of them wins, its bytes are there, and the others hear that the name is taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_racing_creates_wins_in_a_store() {
    let Some(store) = shared_store() else { return };
    race_creates(&s3(store, "race-create"), 100).await;
}

/// Scenario: the same with a file system that all see. Guarantee: the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_racing_creates_wins_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    race_creates(&local(&folder), 100).await;
}

/// Scenario: eight clients copy their staged object to one name on condition that it is free, by a multipart upload that is completed
/// with `If-None-Match: *`, thirty times.
/// Guarantee: one of them wins, and its bytes are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_racing_conditional_copies_wins_in_a_store() {
    let Some(store) = shared_store() else { return };
    race_copies(&s3(store, "race-copy"), 30).await;
}

/// Scenario: the same with a file system that all see. Guarantee: the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_racing_conditional_copies_wins_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    race_copies(&local(&folder), 30).await;
}

/// Scenario: two objects are copied over one name in turn while others read it.
/// Guarantee: every reader sees one of them, whole: publishing a segment's rows a second time is harmless.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_over_a_name_is_atomic_for_readers_in_a_store() {
    let Some(store) = shared_store() else { return };
    read_while_copied(&s3(store, "read-copy"), 100).await;
}

/// Scenario: the same with a file system that all see. Guarantee: the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_over_a_name_is_atomic_for_readers_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    read_while_copied(&local(&folder), 100).await;
}

/// Scenario: the store is killed (SIGKILL) while eight clients write, and started again over the same folder.
/// Guarantee: what was acknowledged is there, whole; nothing else is there by half, and what is there is refused a second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_store_keeps_what_it_acknowledged() {
    let Some(mut store) = Store::start() else { return };
    let client = s3(&store, "killed");
    let mut writers = JoinSet::new();
    let barrier = Arc::new(Barrier::new(CLIENTS + 1));
    for writer in 0..CLIENTS as u8 {
        let (client, barrier) = (Arc::clone(&client), Arc::clone(&barrier));
        writers.spawn(async move {
            let mut acknowledged = Vec::new();
            for object in 0.. {
                let name = Path::from(format!("{writer}/{object:04}"));
                let options = PutOptions::from(PutMode::Create);
                if client.put_opts(&name, payload(writer), options).await.is_err() {
                    break;
                }
                acknowledged.push(name);
                if object == 4 {
                    barrier.wait().await;
                }
            }
            (writer, acknowledged)
        });
    }
    barrier.wait().await;
    let mut store = tokio::task::spawn_blocking(move || {
        store.kill();
        store
    });
    let mut all = Vec::new();
    while let Some(written) = writers.join_next().await {
        all.push(written.unwrap());
    }
    let mut revived = (&mut store).await.unwrap();
    revived.run();
    for (writer, acknowledged) in all {
        assert!(acknowledged.len() >= 5);
        for name in &acknowledged {
            assert_eq!(letter(&client, name).await, writer);
            let again = client.put_opts(name, payload(9), PutOptions::from(PutMode::Create)).await;
            assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
        }
        // The one that was under way is there or is not.
        let last = Path::from(format!("{writer}/{:04}", acknowledged.len()));
        match client.head(&last).await {
            Ok(_) => assert_eq!(letter(&client, &last).await, writer),
            Err(error) => assert!(matches!(error, Error::NotFound { .. }), "{error}"),
        }
    }
}
