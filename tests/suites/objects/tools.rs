//! A client for the tests' own store, and tests of the tests' tools: a fault that is not injected would prove nothing.

use std::time::Duration;

use longshore_tests::harness::faulty::{Fault, Faulty, Rule};
use longshore_tests::harness::readback::{Place, Reader, read_back};
use longshore_tests::harness::store::{KEY, REGION, SECRET, Store, shared_store};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStoreExt, PutPayload, RetryConfig};
use rustix::process::Signal;

/// A client that tries nothing twice and waits for no answer longer than ten seconds.
pub(crate) fn s3(endpoint: &str, bucket: &str) -> AmazonS3Builder {
    let patience = ClientOptions::new().with_allow_http(true).with_timeout(Duration::from_secs(10));
    AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_bucket_name(bucket)
        .with_region(REGION)
        .with_access_key_id(KEY)
        .with_secret_access_key(SECRET)
        .with_client_options(patience)
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
}

/// Scenario: requests are answered 503, cut before they are passed on, and answered to nobody, each at its turn.
/// Guarantee: the client sees a failure each time; afterwards the object is there only where the request was passed on.
#[tokio::test]
async fn faults_are_where_they_are_asked_for() {
    let Some(store) = shared_store() else { return };
    store.bucket("faults");
    let faulty = Faulty::before(store.port());
    let client = s3(&faulty.endpoint(), "faults").build().unwrap();
    let name = |number: usize| Path::from(format!("object/{number}"));
    for (number, fault) in [Fault::SlowDown, Fault::Cut, Fault::LoseAnswer].into_iter().enumerate() {
        faulty.rule(Rule::all(fault).only("PUT", "object/").after(1).times(1));
        client.put(&name(number * 10), PutPayload::from("through")).await.unwrap();
        client.put(&name(number), PutPayload::from("met")).await.unwrap_err();
        client.put(&name(number * 10), PutPayload::from("through")).await.unwrap();
        assert_eq!(faulty.faults(), 1, "{fault:?}");
        let there = client.head(&name(number)).await.is_ok();
        // Number 0 was there before its fault.
        assert_eq!(there, number == 0 || fault == Fault::LoseAnswer, "{fault:?}");
        assert_eq!(faulty.take_seen().len(), 4, "{fault:?}");
        faulty.heal();
    }
}

/// Scenario: the server is stopped (SIGSTOP) and goes on, then a wrong secret.
/// Guarantee: a request waits meanwhile and is answered then; a wrong secret is refused, so signatures are checked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_store_goes_on_and_checks_signatures() {
    let Some(store) = Store::start() else { return };
    store.bucket("stopped");
    let client = s3(&store.endpoint(), "stopped").build().unwrap();
    client.put(&Path::from("a"), PutPayload::from("before")).await.unwrap();
    store.signal(Signal::STOP);
    let other = client.clone();
    let asked = tokio::spawn(async move { other.put(&Path::from("b"), PutPayload::from("meanwhile")).await });
    // Time in which a store that goes on would have answered long since; however slow the machine, one that stands still cannot.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!asked.is_finished());
    store.signal(Signal::CONT);
    asked.await.unwrap().unwrap();
    let thief = s3(&store.endpoint(), "stopped").with_secret_access_key("stolen").build().unwrap();
    let refused = thief.get(&Path::from("a")).await.unwrap_err();
    assert!(matches!(refused, object_store::Error::PermissionDenied { .. }), "{refused}");
}

/// Scenario: an empty bucket and an empty folder are read by those who read sinks' output.
/// Guarantee: they answer, and find nothing.
#[test]
fn readers_answer() {
    let Some(store) = shared_store() else { return };
    store.bucket("readers");
    for reader in [Reader::Pyarrow, Reader::Duckdb] {
        let Some(found) = read_back(reader, Place::Folder(&store.bucket_folder("readers"))) else { return };
        assert!(found.rows.is_empty() && found.files.is_empty());
    }
    let Some(found) = read_back(Reader::Pyarrow, Place::Bucket(store, "readers", "")) else { return };
    assert!(found.rows.is_empty() && found.files.is_empty());
}
