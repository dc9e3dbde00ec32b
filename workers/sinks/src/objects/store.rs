//! The store: the few requests that the ledger needs, with a class for each of their errors.

use std::path::{Component, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use longshore_core::{Failure, Reason};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    RetryConfig,
};
use tokio::sync::Semaphore;

use super::clouds;
use super::errors::{absent, failure, is_of_place};
use super::options::{Bucket, Place};
use super::upload::UPLOAD_UNITS;
use crate::blocking::blocking;
use crate::files::sync_folder;
use crate::pair_ledger::broken;

/// A request that gets no answer for so long is given up. The pair tries again by itself, with its own backoff.
const REQUEST: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);

/// A store and the place in it.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) inner: Arc<dyn ObjectStore>,
    /// Uploads in parts whose ids can be noted, so that another worker ends what a dead one has begun. A file system has none.
    pub(super) parts: Option<Arc<dyn Parts>>,
    /// The file system, where it is one.
    pub(super) disk: Option<LocalFileSystem>,
    root: Path,
    /// Whether the store was seen to refuse a second object of one name.
    proven: AtomicBool,
    pub(super) uploads: Semaphore,
    /// Makes the names in a folder of a disk last.
    pub(super) sync: fn(&std::path::Path) -> Result<(), Failure>,
}

/// [`MultipartStore`] of something that can be printed.
pub(super) trait Parts: MultipartStore + std::fmt::Debug {}
impl<T: MultipartStore + std::fmt::Debug> Parts for T {}

impl Store {
    /// The store at a place. Connects to nothing yet.
    ///
    /// # Errors
    /// What the place cannot be.
    pub(super) fn new(place: &Place) -> Result<Self, String> {
        match place {
            Place::Folder(folder) => {
                // Everything else of a file system is its own business, but an answer must mean that the bytes are on the disk.
                let disk = LocalFileSystem::new().with_fsync(true);
                let folder = plain(&std::path::absolute(folder).map_err(|error| error.to_string())?);
                let root = Path::from_absolute_path(&folder).map_err(|error| error.to_string())?;
                Ok(Self { disk: Some(disk.clone()), ..Self::over(Arc::new(disk), root) })
            }
            Place::Bucket(bucket) => {
                let store = Arc::new(s3(bucket).map_err(|error| error.to_string())?);
                let root = Path::parse(&bucket.prefix).map_err(|error| error.to_string())?;
                let parts: Arc<dyn Parts> = Arc::clone(&store) as _;
                Ok(Self { parts: Some(parts), ..Self::over(store, root) })
            }
            Place::Cloud(cloud) => {
                let (store, parts) = clouds::open(cloud)?;
                let root = Path::parse(&cloud.prefix).map_err(|error| error.to_string())?;
                Ok(Self { parts: Some(parts), ..Self::over(store, root) })
            }
        }
    }

    /// A given store, without uploads in parts.
    pub(super) fn over(inner: Arc<dyn ObjectStore>, root: Path) -> Self {
        let uploads = Semaphore::new(UPLOAD_UNITS as usize);
        let proven = AtomicBool::new(false);
        Self { inner, parts: None, disk: None, root, proven, uploads, sync: sync_folder }
    }

    /// What all names begin with.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A name that begins below the sink's place.
    pub(super) fn below(&self, name: &str) -> Result<Path, Failure> {
        Path::parse(format!("{}/{name}", self.root)).map_err(|error| broken(name, error))
    }

    /// Makes sure that of two writers of one name one is refused, which all else stands on. Asked once for a worker.
    pub(super) async fn prove(&self, name: &Path) -> Result<(), Failure> {
        if self.proven.load(Ordering::Acquire) {
            return Ok(());
        }
        let first = self.create(name, Bytes::new()).await.map_err(absent)?;
        let second = self.create(name, Bytes::new()).await?;
        // Who may not remove staged objects would keep all data twice, and read it all again at each take-over.
        self.remove(vec![name.clone()]).await?;
        // A first one that is refused was ours, and its answer was lost: then the store has refused one already.
        if first && second {
            let detail = "the store lets two objects be created under one name: it has no conditional PUT \
                          (`If-None-Match: *`), so records could be doubled there";
            return Err(Failure::halt(Reason::SinkUnfit, detail));
        }
        self.proven.store(true, Ordering::Release);
        Ok(())
    }

    /// Creates an object unless its name is taken; whether it was free.
    pub(super) async fn create(&self, name: &Path, bytes: Bytes) -> Result<bool, Failure> {
        let options = PutOptions::from(PutMode::Create);
        match self.inner.put_opts(name, PutPayload::from_bytes(bytes), options).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                self.settle(name).await?;
                Ok(false)
            }
            Err(error) => Err(failure("create", name, &error)),
        }
    }

    /// Makes the names that stand in the folder of a name last, and the folder's own. On a disk a name stands before it lasts (fsync(2)), so
    /// one that is found may be that of a writer that died between the two, and a power cut would take it back. Elsewhere an answer
    /// means that it lasts.
    pub(super) async fn settle(&self, name: &Path) -> Result<(), Failure> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let on_disk =
            |name: &Path| disk.path_to_filesystem(name).map_err(|error| failure("sync", name, &error));
        let (path, root, sync) = (on_disk(name)?, on_disk(&self.root)?, self.sync);
        blocking(move || {
            let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(&root));
            // No names stand in a folder that was not made yet.
            folders.filter(|folder| folder.try_exists().unwrap_or(true)).try_for_each(sync)
        })
        .await
    }

    /// An object's bytes; none when there is none.
    pub(super) async fn get(&self, name: &Path) -> Result<Option<Bytes>, Failure> {
        let read = match self.inner.get(name).await {
            Ok(answer) => answer.bytes().await,
            Err(error) => Err(error),
        };
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            // A bucket that is gone is no answer about an object.
            Err(error @ Error::NotFound { .. }) => match failure("read", name, &error) {
                failure if is_of_place(&error) => Err(failure),
                _ => Ok(None),
            },
            Err(error) => Err(failure("read", name, &error)),
        }
    }

    /// An object's size in bytes; none when there is none.
    pub(super) async fn size(&self, name: &Path) -> Result<Option<u64>, Failure> {
        match self.inner.head(name).await {
            Ok(found) => Ok(Some(found.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            // This answer has no body, so that a clock that is off, a session that has ended and a right that is missing look alike in it.
            Err(Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) => {
                match self.inner.get(name).await {
                    Ok(found) => Ok(Some(found.meta.size)),
                    Err(Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(failure("ask for", name, &error)),
                }
            }
            Err(error) => Err(failure("ask for", name, &error)),
        }
    }

    /// Copies an object within the store, if there is one, over what may stand there: the same bytes, since a name is given once.
    pub(super) async fn copy(&self, from: &Path, to: &Path) -> Result<(), Failure> {
        let copied = match &self.disk {
            // To copy over a name on a disk leaves a second one behind where both are one file already (rename(2)).
            Some(disk) => disk.copy_if_not_exists(from, to).await,
            None => self.inner.copy(from, to).await,
        };
        match copied {
            Err(Error::AlreadyExists { .. }) => self.settle(to).await,
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failure("copy", from, &error)),
        }
    }

    /// The names below a prefix, in their order; with `after` only those behind it.
    pub(super) async fn list(&self, prefix: &Path, after: Option<&Path>) -> Result<Vec<Path>, Failure> {
        let found = match after {
            Some(after) => self.inner.list_with_offset(Some(prefix), after),
            None => self.inner.list(Some(prefix)),
        };
        let names = found.map_ok(|object| object.location).try_collect::<Vec<_>>().await;
        match names {
            Ok(mut names) => {
                names.sort_unstable();
                Ok(names)
            }
            // A folder that was not made yet.
            Err(Error::NotFound { .. }) if self.parts.is_none() => Ok(Vec::new()),
            Err(error) => Err(failure("list", prefix, &error)),
        }
    }

    /// Files that dead workers had begun to write in a folder of a disk: they have a `#` behind the name they would have got, and are
    /// no objects. None in other stores, which have no such thing.
    pub(super) async fn torsos(&self, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
        let Some(disk) = &self.disk else { return Ok(Vec::new()) };
        let Ok(folder) = disk.path_to_filesystem(folder) else { return Ok(Vec::new()) };
        blocking(move || {
            let names = match std::fs::read_dir(&folder) {
                Ok(names) => names,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(crate::io::classify("list", &folder, &error)),
            };
            let paths = names.filter_map(|entry| Some(entry.ok()?.path()));
            Ok(paths.filter(|path| path.to_string_lossy().contains('#')).collect())
        })
        .await
    }

    /// The folders right below a prefix.
    pub(super) async fn folders(&self, prefix: &Path) -> Result<Vec<Path>, Failure> {
        match self.inner.list_with_delimiter(Some(prefix)).await {
            Ok(found) => Ok(found.common_prefixes),
            Err(Error::NotFound { .. }) if self.parts.is_none() => Ok(Vec::new()),
            Err(error) => Err(failure("list", prefix, &error)),
        }
    }

    /// Removes objects. What cannot be removed now is found again by the next recovery.
    pub(super) async fn delete(&self, names: Vec<Path>) {
        if let Err(why) = self.remove(names).await {
            tracing::warn!(%why, "staged objects are not removed");
        }
    }

    /// Removes as many of the objects as it can; the last error.
    async fn remove(&self, names: Vec<Path>) -> Result<(), Failure> {
        let names = futures::stream::iter(names.into_iter().map(Ok)).boxed();
        let mut gone = self.inner.delete_stream(names);
        let mut outcome = Ok(());
        while let Some(answer) = gone.next().await {
            match answer {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => outcome = Err(failure("remove", &self.root, &error)),
            }
        }
        outcome
    }
}

/// A path without `..`, which names in a store cannot have.
fn plain(path: &std::path::Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => plain.push(part),
        }
    }
    plain
}

/// How often the client tries a request by itself.
pub(super) fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
        },
        max_retries: 2,
        retry_timeout: Duration::from_secs(10),
    }
}

/// How long the client waits.
pub(super) fn client() -> ClientOptions {
    ClientOptions::new().with_timeout(REQUEST).with_connect_timeout(CONNECT)
}

fn s3(bucket: &Bucket) -> object_store::Result<object_store::aws::AmazonS3> {
    let plain = bucket.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    // Keys of the file go with nothing of the environment: a session token there belongs to other keys.
    let builder = match &bucket.keys {
        Some((id, secret)) => {
            let builder = AmazonS3Builder::new().with_access_key_id(id).with_secret_access_key(secret);
            // The region belongs to the bucket and to nobody's keys.
            let told =
                ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| std::env::var(name).ok());
            match told {
                Some(region) => builder.with_region(region),
                None => builder,
            }
        }
        None => of_environment(),
    };
    let mut builder = builder
        .with_bucket_name(&bucket.name)
        .with_virtual_hosted_style_request(bucket.virtual_hosts)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(retry())
        .with_client_options(client().with_allow_http(plain));
    if let Some(endpoint) = &bucket.endpoint {
        let endpoint = if bucket.virtual_hosts { in_host(endpoint, &bucket.name) } else { endpoint.clone() };
        // Both, since a variable `AWS_ENDPOINT_URL_S3` would win over the first.
        builder = builder.with_endpoint(&endpoint).with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    if let Some(region) = &bucket.region {
        builder = builder.with_region(region);
    }
    builder.build()
}

/// What the `AWS_*` variables say of keys, roles and region. The address is the options' own matter, and a variable that is empty says nothing.
fn of_environment() -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in std::env::vars_os() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        let key = name.starts_with("AWS_").then(|| name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>());
        match key {
            Some(Ok(AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint)) | Some(Err(_)) | None => {}
            Some(Ok(_)) if value.is_empty() => {}
            Some(Ok(key)) => builder = builder.with_config(key, value),
        }
    }
    builder
}

/// An endpoint with the bucket in its host's name.
fn in_host(endpoint: &str, bucket: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{bucket}.{rest}"),
        None => endpoint.to_owned(),
    }
}
