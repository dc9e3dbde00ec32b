//! The clouds' clients against a server that knows of each protocol what the ledger stands on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use longshore_core::{Class, Reason};
use object_store::path::Path;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::super::store::Store;
use super::*;

/// Takes objects and removes them; `honours` says whether a condition on a PUT counts.
async fn server(honours: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let names = Arc::new(Mutex::new(BTreeSet::new()));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, Arc::clone(&names), honours));
        }
    });
    address
}

async fn serve(client: TcpStream, names: Arc<Mutex<BTreeSet<String>>>, honours: bool) {
    let mut client = BufReader::new(client);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            if client.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let head = head.to_ascii_lowercase();
        for line in head.lines() {
            if let Some(bytes) = line.strip_prefix("content-length: ") {
                length = bytes.parse().unwrap();
            }
        }
        client.read_exact(&mut vec![0; length]).await.unwrap();
        let name = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let conditional =
            ["if-none-match: *", "x-goog-if-generation-match: 0"].iter().any(|line| head.contains(line));
        let answer = if head.starts_with("delete") {
            names.lock().unwrap().remove(&name);
            "204 No Content\r\n"
        } else if names.lock().unwrap().insert(name) || !(conditional && honours) {
            "201 Created\r\netag: \"1\"\r\n"
        } else {
            "412 Precondition Failed\r\n"
        };
        let answer = format!("HTTP/1.1 {answer}content-length: 0\r\n\r\n");
        client.get_mut().write_all(answer.as_bytes()).await.unwrap();
    }
}

fn store(kind: CloudKind, endpoint: &str) -> Store {
    let environment = [
        ("GOOGLE_BASE_URL", endpoint),
        ("GOOGLE_BEARER_TOKEN", "secret"),
        ("GOOGLE_ALLOW_HTTP", "true"),
        ("GOOGLE_BUCKET", "another"),
        ("AZURE_STORAGE_ENDPOINT", endpoint),
        ("AZURE_STORAGE_ACCOUNT_NAME", "lakes"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0"),
        ("AZURE_STORAGE_SAS_KEY", ""),
        ("AZURE_ALLOW_HTTP", "true"),
        ("AZURE_CONTAINER_NAME", "another"),
        ("AWS_ENDPOINT_URL", "http://nowhere"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let cloud = Cloud { kind, name: "raw".into(), prefix: "lake".into(), environment };
    let (inner, parts) = open(&cloud).unwrap();
    let mut store = Store::over(inner, Path::from("lake"));
    store.parts = Some(parts);
    store
}

/// Scenario: two writers create an object of one name in each cloud, on a server that honours the condition and on one that does not.
/// Guarantee (I2): the second one is told that the name is taken, by a condition on the PUT itself; where it is not, a worker finds that out.
#[tokio::test]
async fn a_name_is_taken_once() {
    for kind in [CloudKind::Google, CloudKind::Azure] {
        for honours in [true, false] {
            let store = store(kind, &server(honours).await);
            let name = Path::from("lake/x");
            assert!(store.create(&name, Bytes::from_static(b"1")).await.unwrap(), "{kind:?}");
            assert_eq!(store.create(&name, Bytes::from_static(b"2")).await.unwrap(), !honours, "{kind:?}");
        }
    }
    let store = store(CloudKind::Google, &server(false).await);
    let failure = store.prove(&Path::from("lake/probe")).await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::SinkUnfit), "{failure}");
    let store = self::store(CloudKind::Google, &server(true).await);
    store.prove(&Path::from("lake/probe")).await.unwrap();
}

/// Guarantee: a build without such stores says which feature it lacks.
#[test]
fn a_build_without_them_says_so() {
    let said = without(CloudKind::Google);
    assert!(said.contains("`gs://`") && said.contains("--features gcp"), "{said}");
    let said = without(CloudKind::Azure);
    assert!(said.contains("`az://`") && said.contains("--features azure"), "{said}");
}
