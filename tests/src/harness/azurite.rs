//! Azurite, Azure's own emulator of Blob Storage, on a free port over a temporary folder.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential, MicrosoftAzureBuilder};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::{Error, ObjectStore, ObjectStoreExt};

use super::ports::free_port;
use super::tools::tool;
use super::wait::wait_until;
use super::{http, report};

/// A server that is not there within this never will be.
const PATIENCE: Duration = Duration::from_secs(60);

/// The account that it has, and its key, which everybody knows
/// (<https://learn.microsoft.com/en-us/azure/storage/common/storage-connect-azurite>).
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Ends the server when whoever holds its standard input is gone, and takes the folder along.
const GUARD: &str = r#"dir=$1; shift; "$@" </dev/null & server=$!; cat >/dev/null
kill -KILL $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$dir""#;

/// An emulator that runs.
#[derive(Debug)]
pub struct Azurite {
    port: u16,
    guard: Child,
}

/// One for the whole suite, or `None` where it cannot be had; use a container of your own ([`Azurite::container`]).
///
/// # Panics
/// When it does not start, and with `CI` set when it cannot be had.
#[must_use]
pub fn shared_azurite() -> Option<&'static Azurite> {
    static SHARED: OnceLock<Option<Azurite>> = OnceLock::new();
    SHARED.get_or_init(Azurite::start).as_ref()
}

/// What a client's environment says of one at this address.
#[must_use]
pub fn environment(endpoint: &str) -> Vec<(String, String)> {
    let endpoint = format!("{endpoint}/{ACCOUNT}");
    let told = [
        ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT),
        ("AZURE_STORAGE_ACCOUNT_KEY", KEY),
        ("AZURE_STORAGE_ENDPOINT", &endpoint),
        ("AZURE_ALLOW_HTTP", "true"),
    ];
    told.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

impl Azurite {
    fn start() -> Option<Self> {
        let program = tool("azurite")?;
        let folder =
            tempfile::tempdir().unwrap_or_else(|error| panic!("no folder for a store: {error}")).keep();
        let port = free_port();
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard"]).arg(&folder).arg("node").arg(program);
        command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--location"]).arg(&folder);
        // The client's version of the protocol may be newer than the emulator's.
        command.args(["--silent", "--skipApiVersionCheck", "--disableTelemetry"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let guard = command.spawn().unwrap_or_else(|error| panic!("azurite: {error}"));
        let azurite = Self { port, guard };
        wait_until("azurite answers", PATIENCE, || http::get(azurite.address(), "/").is_some());
        report::used("Azurite");
        Some(azurite)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Makes an empty container.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn container(&self, name: &str) {
        let path = format!("/{ACCOUNT}/{name}?restype=container");
        let head = signed(&format!("http://{}{path}", self.address()));
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        let reply = http::send(self.address(), "PUT", &path, &head, "");
        assert_eq!(reply.code, 201, "a container for a test: {reply:?}");
    }

    /// Copies the objects of a container into a folder, by a client that is not the sink's.
    ///
    /// # Panics
    /// When one cannot be read.
    pub async fn download(&self, container: &str, folder: &Path) {
        let endpoint = format!("http://{}/{ACCOUNT}", self.address());
        let store = MicrosoftAzureBuilder::new().with_account(ACCOUNT).with_access_key(KEY);
        let store =
            store.with_container_name(container).with_endpoint(endpoint).with_allow_http(true).build();
        let store = store.unwrap_or_else(|error| panic!("a client for a test: {error}"));
        let found: Result<Vec<_>, _> = store.list(None).try_collect().await;
        for object in found.unwrap_or_else(|error| panic!("list {container}: {error}")) {
            let name = object.location;
            let read = match store.get(&name).await {
                Ok(answer) => answer.bytes().await,
                Err(error) => Err(error),
            };
            let bytes = match read {
                // What is staged goes away while it is read.
                Err(Error::NotFound { .. }) => continue,
                read => read.unwrap_or_else(|error| panic!("read {name}: {error}")),
            };
            let path = folder.join(name.as_ref());
            let made = fs::create_dir_all(path.parent().unwrap_or(folder));
            made.and_then(|()| fs::write(&path, bytes)).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// The header lines that sign a PUT without a body.
fn signed(url: &str) -> Vec<String> {
    let key = AzureAccessKey::try_new(KEY).unwrap_or_else(|error| panic!("the key: {error}"));
    let credential = AzureCredential::AccessKey(key);
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.uri_mut() = url.parse().unwrap_or_else(|_| panic!("{url} is no address"));
    *request.method_mut() = "PUT".parse().unwrap_or_else(|_| panic!("no method"));
    let done = AzureAuthorizer::new(&credential, ACCOUNT).try_authorize(&mut request);
    done.unwrap_or_else(|error| panic!("sign {url}: {error}"));
    request
        .headers()
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}: {}", value.to_str().ok()?)))
        .collect()
}
