//! The store: the few requests that the ledger needs, with a class for each of their errors.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Component, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use longshore_core::{Failure, Reason};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    RetryConfig,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::layout::{noted, upload_note};
use super::options::{Bucket, Place};
use crate::blocking::blocking;

/// An object up to this size goes up in one request, a larger one in parts of it. Above the 5 MiB that S3 asks of a part
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>), and 10,000 of them make 80 GB.
const PART_BYTES: u64 = 8 * 1024 * 1024;
/// What uploads of all pairs hold in memory together, in units of [`UNIT_BYTES`].
const UPLOAD_UNITS: u32 = 16;
const UNIT_BYTES: u64 = 1024 * 1024;
/// A request that gets no answer for so long is given up. The pair tries again by itself, with its own backoff.
const REQUEST: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);

/// Tells the uploads of one process apart.
static UPLOADS: AtomicU64 = AtomicU64::new(0);

/// A store and the place in it.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) inner: Arc<dyn ObjectStore>,
    /// Uploads in parts whose ids can be noted, so that another worker ends what a dead one has begun. A file system has none.
    parts: Option<Arc<dyn Parts>>,
    /// The file system, where it is one.
    pub(super) disk: Option<LocalFileSystem>,
    root: Path,
    /// Whether the store was seen to refuse a second object of one name.
    proven: AtomicBool,
    uploads: Semaphore,
}

/// [`MultipartStore`] of something that can be printed.
trait Parts: MultipartStore + std::fmt::Debug {}
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
        }
    }

    /// A given store, without uploads in parts.
    pub(super) fn over(inner: Arc<dyn ObjectStore>, root: Path) -> Self {
        let uploads = Semaphore::new(UPLOAD_UNITS as usize);
        Self { inner, parts: None, disk: None, root, proven: AtomicBool::new(false), uploads }
    }

    /// What all names begin with.
    pub(super) fn root(&self) -> &Path {
        &self.root
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
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(failure("create", name, &error)),
        }
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
                failure if code_of(&error.to_string()) == Some("NoSuchBucket") => Err(failure),
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
            Ok(()) | Err(Error::AlreadyExists { .. } | Error::NotFound { .. }) => Ok(()),
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

    /// Uploads the first `size` bytes of a file, over what may stand under the name. `goes_on` is called for each part.
    pub(super) async fn upload(
        &self,
        name: &Path,
        file: &Arc<File>,
        size: u64,
        goes_on: &(dyn Fn() + Send + Sync),
    ) -> Result<(), Failure> {
        if size <= PART_BYTES {
            let _room = self.room(size).await?;
            let payload = PutPayload::from_bytes(read(file, 0, size).await?);
            let put = self.inner.put(name, payload).await;
            goes_on();
            return put.map(drop).map_err(|error| failure("write", name, &error));
        }
        match &self.parts {
            Some(parts) => self.upload_parts(parts.as_ref(), name, file, size, goes_on).await,
            None => self.upload_stream(name, file, size, goes_on).await,
        }
    }

    /// Waits for the memory of a part. Parts of all pairs take turns, so that a large object does not hold up the others.
    async fn room(&self, bytes: u64) -> Result<SemaphorePermit<'_>, Failure> {
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, u64::from(UPLOAD_UNITS)) as u32;
        let room = self.uploads.acquire_many(units).await;
        room.map_err(|_| Failure::halt(Reason::Internal, "the uploads are closed"))
    }

    /// The note with the upload's id is written before the first part, so that the parts of a worker that dies can be given up
    /// by the next one: they cost money and no listing shows them.
    async fn upload_parts(
        &self,
        parts: &dyn Parts,
        name: &Path,
        file: &Arc<File>,
        size: u64,
        goes_on: &(dyn Fn() + Send + Sync),
    ) -> Result<(), Failure> {
        let fail = |error: Error| failure("write", name, &error);
        let id = parts.create_multipart(name).await.map_err(fail)?;
        let note = upload_note(name, UPLOADS.fetch_add(1, Ordering::Relaxed));
        let noted = self.inner.put(&note, PutPayload::from_bytes(Bytes::from(id.clone()))).await;
        let uploaded = match noted {
            Ok(_) => self.put_parts(parts, name, &id, (file, size), goes_on).await,
            Err(error) => Err(failure("write", &note, &error)),
        };
        // The note stays where the parts do.
        if uploaded.is_ok() || self.give_up(name, &id).await {
            self.delete(vec![note]).await;
        }
        uploaded
    }

    async fn put_parts(
        &self,
        parts: &dyn Parts,
        name: &Path,
        id: &String,
        (file, size): (&Arc<File>, u64),
        goes_on: &(dyn Fn() + Send + Sync),
    ) -> Result<(), Failure> {
        let fail = |error: Error| failure("write", name, &error);
        let mut done: Vec<PartId> = Vec::new();
        for (index, place) in (0..size).step_by(PART_BYTES as usize).enumerate() {
            let length = PART_BYTES.min(size - place);
            let _room = self.room(length).await?;
            let bytes = read(file, place, length).await?;
            done.push(parts.put_part(name, id, index, PutPayload::from_bytes(bytes)).await.map_err(fail)?);
            goes_on();
        }
        parts.complete_multipart(name, id, done).await.map(drop).map_err(fail)
    }

    async fn upload_stream(
        &self,
        name: &Path,
        file: &Arc<File>,
        size: u64,
        goes_on: &(dyn Fn() + Send + Sync),
    ) -> Result<(), Failure> {
        let fail = |error: Error| failure("write", name, &error);
        let mut upload = self.inner.put_multipart(name).await.map_err(fail)?;
        for place in (0..size).step_by(PART_BYTES as usize) {
            let length = PART_BYTES.min(size - place);
            let _room = self.room(length).await?;
            let bytes = read(file, place, length).await?;
            upload.put_part(PutPayload::from_bytes(bytes)).await.map_err(fail)?;
            goes_on();
        }
        upload.complete().await.map(drop).map_err(fail)
    }

    /// Gives up the upload that a note tells of; whether the note is of no more use.
    pub(super) async fn give_up_noted(&self, note: &Path) -> Result<bool, Failure> {
        let Some(name) = noted(note) else { return Ok(true) };
        let Some(id) = self.get(note).await? else { return Ok(true) };
        Ok(self.give_up(&name, &String::from_utf8_lossy(&id)).await)
    }

    async fn give_up(&self, name: &Path, id: &str) -> bool {
        let Some(parts) = &self.parts else { return true };
        match parts.abort_multipart(name, &id.to_owned()).await {
            Ok(()) | Err(Error::NotFound { .. }) => true,
            Err(error) => {
                let why = failure("give up", name, &error);
                tracing::warn!(%why, "an upload in parts was not given up");
                false
            }
        }
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

fn s3(bucket: &Bucket) -> object_store::Result<object_store::aws::AmazonS3> {
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
        },
        max_retries: 2,
        retry_timeout: Duration::from_secs(10),
    };
    let plain = bucket.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let client =
        ClientOptions::new().with_timeout(REQUEST).with_connect_timeout(CONNECT).with_allow_http(plain);
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
        None => AmazonS3Builder::from_env(),
    };
    let mut builder = builder
        .with_bucket_name(&bucket.name)
        .with_virtual_hosted_style_request(bucket.virtual_hosts)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(retry)
        .with_client_options(client);
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

/// An endpoint with the bucket in its host's name.
fn in_host(endpoint: &str, bucket: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{bucket}.{rest}"),
        None => endpoint.to_owned(),
    }
}

async fn read(file: &Arc<File>, place: u64, length: u64) -> Result<Bytes, Failure> {
    let file = Arc::clone(file);
    blocking(move || {
        let mut bytes = vec![0; length as usize];
        let read = file.read_exact_at(&mut bytes, place);
        read.map_err(|error| crate::io::classify("read", std::path::Path::new("a staged segment"), &error))?;
        Ok(Bytes::from(bytes))
    })
    .await
}

/// Classifies an error of a store, by the code in the store's answer where there is one
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>), else by the kind of the error.
///
/// | error | class |
/// |---|---|
/// | no rights, wrong credentials | halt, `sink.denied` |
/// | a request that this store does not know, a wrong region, a name it does not take | halt, `sink.unfit` |
/// | no space on a disk | target, `sink.no-space` |
/// | the bucket or an object of ours is gone | target, `sink.missing`: it may come back, see [`absent`] |
/// | everything else (no answer, 5xx, slow down, credentials that have expired) | target, `sink.unavailable` |
///
/// The answer's text stays out of the detail: it may hold tokens (I10).
pub(super) fn failure(doing: &str, name: &Path, error: &Error) -> Failure {
    let text = error.to_string();
    if let Some(code) = code_of(&text) {
        let detail = format!("{doing} {name}: the store says {code}");
        return match code {
            "AccessDenied"
            | "AccountProblem"
            | "AllAccessDisabled"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch" => Failure::halt(Reason::SinkDenied, detail),
            "AuthorizationHeaderMalformed"
            | "EntityTooLarge"
            | "InvalidBucketName"
            | "InvalidRequest"
            | "KeyTooLongError"
            | "MethodNotAllowed"
            | "NotImplemented"
            | "PermanentRedirect" => Failure::halt(Reason::SinkUnfit, detail),
            "NoSuchBucket" | "NoSuchKey" | "NoSuchUpload" => Failure::target(Reason::SinkMissing, detail),
            _ => Failure::target(Reason::SinkUnavailable, detail),
        };
    }
    // A redirect without a place to go to: Amazon's answer to the wrong region, whose code the client keeps to itself.
    if text.contains("redirect without LOCATION") {
        let detail = format!("{doing} {name}: the store is elsewhere; is `region` the bucket's?");
        return Failure::halt(Reason::SinkUnfit, detail);
    }
    let kind = without_body(&text);
    let detail = format!("{doing} {name}: {kind}{}", cause(error));
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            Failure::halt(Reason::SinkDenied, detail)
        }
        Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::InvalidPath { .. }
        | Error::UnknownConfigurationKey { .. } => Failure::halt(Reason::SinkUnfit, detail),
        Error::NotFound { .. } => Failure::target(Reason::SinkMissing, detail),
        _ => match system_error(error) {
            Some(system) => crate::io::classify(doing, std::path::Path::new(name.as_ref()), system),
            // `Error` grows with its crate; what it does not name is outside and may pass.
            None => Failure::target(Reason::SinkUnavailable, detail),
        },
    }
}

/// An error's words without what the store sent.
fn without_body(text: &str) -> &str {
    let text = text.split_once('<').map_or(text, |(before, _)| before);
    let status = text.find("status code: ").map(|at| at + "status code: ".len());
    let end = status.and_then(|at| Some(at + text.get(at..)?.find(':')?));
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// Why a connection failed, which the client's own words leave out.
fn cause(error: &Error) -> String {
    let mut last: &(dyn std::error::Error + 'static) = error;
    let mut connection = false;
    while let Some(inner) = last.source() {
        connection |= inner.is::<reqwest::Error>();
        last = inner;
    }
    if connection { format!(" ({last})") } else { String::new() }
}

/// The code in an answer of S3's protocol.
fn code_of(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code).filter(|code| code.len() <= 64)
}

/// The error of the operating system that a store on a disk met. One of a connection is no word on the store.
fn system_error(error: &Error) -> Option<&std::io::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(system) = error.downcast_ref::<std::io::Error>() {
            return system.raw_os_error().is_some().then_some(system);
        }
        if error.is::<reqwest::Error>() {
            return None;
        }
        cause = error.source();
    }
    None
}

/// What is missing before anything was written there is a mistake in the pipeline file and will not come by itself.
fn absent(failure: Failure) -> Failure {
    match failure.reason {
        Reason::SinkMissing => Failure::halt(Reason::SinkMissing, failure.detail()),
        _ => failure,
    }
}
