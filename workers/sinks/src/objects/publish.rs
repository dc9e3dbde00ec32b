//! Publishing a sealed segment: its objects go up under names that no reader looks at, its entry takes the number, and the objects
//! get their own names. Every step may run again after an error at any point.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use longshore_core::ledger::Trailer;
use longshore_core::sink::Published;
use longshore_core::{Failure, Reason};
use object_store::path::Path;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::entry::{Entry, Object};
use super::layout::Layout;
use super::segment::{Finished, Form, Segment};
use super::store::Store;

/// So many requests for the objects of one segment are under way at once.
const AT_ONCE: usize = 16;

/// The most often that a publish says that it gets on.
const TELL: Duration = Duration::from_secs(1);

/// Says that a publish of many objects gets on.
pub(super) struct Progress<'a> {
    tell: Option<&'a (dyn Fn() + Send + Sync)>,
    told: Mutex<Instant>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(tell: Option<&'a (dyn Fn() + Send + Sync)>) -> Self {
        Self { tell, told: Mutex::new(Instant::now()) }
    }

    fn one_more(&self) {
        let Some(tell) = self.tell else { return };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= TELL {
            *told = Instant::now();
            tell();
        }
    }
}

/// A sealed segment, and how far it has come.
pub(super) struct Sealed {
    segment: Arc<AsyncMutex<Segment>>,
    /// Its objects that are in the store, in the order of their folders.
    staged: Vec<Object>,
}

impl Sealed {
    pub(super) fn new(segment: Arc<AsyncMutex<Segment>>) -> Self {
        Self { segment, staged: Vec::new() }
    }
}

/// The work on one segment.
pub(super) struct Job<'a> {
    pub(super) store: &'a Store,
    pub(super) layout: &'a Layout,
    pub(super) form: &'a Form,
    pub(super) trailer: &'a Trailer,
    pub(super) progress: Progress<'a>,
}

impl Job<'_> {
    /// Publishes the segment. After an error nobody knows whether its number was taken; the next call finds out.
    pub(super) async fn run(&self, sealed: &mut Sealed) -> Result<Published, Failure> {
        self.stage(sealed).await?;
        let entry = Entry::new(self.trailer.clone(), sealed.staged.clone());
        let name = self.layout.segment(self.trailer.sequence);
        if self.store.create(&name, Bytes::from(entry.encode(self.layout)?)).await? {
            complete(self.store, &entry.objects, &self.progress).await?;
            return Ok(Published::Done(Vec::new()));
        }
        let answer = self.look().await?;
        // Also what a store says that cannot decide between two requests now (409).
        let taken = || Failure::target(Reason::SinkUnavailable, format!("{name}: neither free nor taken"));
        if answer.as_ref().is_some_and(|answer| matches!(answer, Published::TakenByOther(_))) {
            let lost = sealed.staged.iter().flat_map(|object| self.store.below(&object.staged));
            self.store.delete(lost.collect()).await;
        }
        answer.ok_or_else(taken)
    }

    /// What stands under the trailer's number, finished if it is ours; none when the number is free.
    pub(super) async fn look(&self) -> Result<Option<Published>, Failure> {
        let name = self.layout.segment(self.trailer.sequence);
        let Some(bytes) = self.store.get(&name).await? else { return Ok(None) };
        let found = Entry::decode(&bytes, &name, self.layout)?;
        // The same writer's id alone is not enough: it may have taken the number in a recovery whose answer was lost.
        if found.trailer != (Trailer { decides: None, ..self.trailer.clone() }) {
            return Ok(Some(Published::TakenByOther(found.trailer.writer)));
        }
        complete(self.store, &found.objects, &self.progress).await?;
        Ok(Some(Published::TakenByUs))
    }

    /// Uploads what is not in the store yet: some objects at once, since most are small where they are many.
    async fn stage(&self, sealed: &mut Sealed) -> Result<(), Failure> {
        let names = sealed.segment.lock().await.names();
        while sealed.staged.len() < names.len() {
            let first = sealed.staged.len();
            let some = &names[first..names.len().min(first + AT_ONCE)];
            let mut ready: Vec<BoxFuture<'_, _>> = Vec::new();
            for (place, name) in some.iter().enumerate() {
                let finished = self.finish(&sealed.segment, name).await?;
                ready.push(self.upload(first + place, name, finished).boxed());
            }
            // All come to their end, also behind one that failed: an upload in parts that is dropped is given up by nobody.
            let uploaded = futures::future::join_all(ready).await;
            let mut segment = sealed.segment.lock().await;
            for (object, name) in uploaded.into_iter().zip(some) {
                sealed.staged.push(object?);
                segment.release(name);
            }
        }
        Ok(())
    }

    async fn upload(&self, place: usize, folder: &str, finished: Finished) -> Result<Object, Failure> {
        let staged = self.layout.staged(self.trailer.sequence, self.trailer.writer, place);
        let goes_on = || self.progress.one_more();
        self.store.upload(&staged, &finished.file, finished.bytes, &goes_on).await?;
        let name = self.layout.data(self.trailer.sequence, folder);
        let (bytes, rows) = (finished.bytes, finished.rows);
        let (name, staged) = (self.layout.relative(&name), self.layout.relative(&staged));
        Ok(Object { name, staged, bytes, rows })
    }

    async fn finish(&self, segment: &Arc<AsyncMutex<Segment>>, name: &str) -> Result<Finished, Failure> {
        let mut segment: OwnedMutexGuard<Segment> = Arc::clone(segment).lock_owned().await;
        let (name, about) = (name.to_owned(), about(self.trailer));
        self.form.encode(move |scratch| segment.finish(&name, &about, scratch)).await
    }
}

/// What a Parquet file says of itself. The entry decides; this is for people who find a file alone.
fn about(trailer: &Trailer) -> Vec<(String, String)> {
    let pair = format!("{}/{}", trailer.topic, trailer.partition);
    [
        ("longshore.pipeline", trailer.pipeline.clone()),
        ("longshore.generation", trailer.generation.0.to_string()),
        ("longshore.partition", pair),
        ("longshore.sequence", trailer.sequence.to_string()),
        ("longshore.covers", format!("{},{}", trailer.covers.0, trailer.covers.1)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Gives the objects of a published segment their names. Whoever does it, and however often, the same bytes come under the same
/// name; only when all have theirs are the staged objects removed.
pub(super) async fn complete<'a>(
    store: &Store,
    objects: impl IntoIterator<Item = &'a Object>,
    progress: &Progress<'_>,
) -> Result<(), Failure> {
    let named: Vec<BoxFuture<'_, Result<Path, Failure>>> =
        objects.into_iter().map(|object| name(store, object).boxed()).collect();
    let mut named = futures::stream::iter(named).buffer_unordered(AT_ONCE);
    let mut staged = Vec::new();
    while let Some(path) = named.try_next().await? {
        staged.push(path);
        progress.one_more();
    }
    drop(named);
    store.delete(staged).await;
    Ok(())
}

/// Gives one object its name, and gives back the one that it was staged under.
async fn name(store: &Store, object: &Object) -> Result<Path, Failure> {
    let (staged, name) = (store.below(&object.staged)?, store.below(&object.name)?);
    if let Err(failure) = store.copy(&staged, &name).await {
        // A copy of a large object may end after its answer is given up. On a disk the name stands also where it was the sync that failed.
        return match store.size(&name).await {
            Ok(Some(size)) if size == object.bytes && store.disk.is_none() => Ok(staged),
            Ok(_) | Err(_) => Err(failure),
        };
    }
    // A store may answer that all is well before it knows; the staged object is the only one until this is seen.
    match store.size(&name).await? {
        Some(size) if size == object.bytes => Ok(staged),
        Some(_) => {
            let detail = format!("{name}: the copy has another size than what was staged");
            Err(Failure::target(Reason::SinkUnavailable, detail))
        }
        // Nobody removes a staged object before its name stands, so a store says so that has lost both, or its bucket for now.
        None => {
            let detail = format!("{name}: neither the object nor its staged copy is there");
            Err(Failure::target(Reason::SinkMissing, detail))
        }
    }
}

/// A failure of a call that has no segment to work on.
pub(super) fn nothing_sealed() -> Failure {
    Failure::halt(Reason::Internal, "publish: no segment is sealed")
}
