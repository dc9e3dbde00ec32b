//! Writers over a store whose requests fail, one after another, before or after they did their work.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use longshore_core::ledger::{LedgerView, TRAILER_VERSION, Trailer};
use longshore_core::sink::{Published, SegmentWriter, WriterContext};
use longshore_core::{
    Block, ChunkBuilder, Epoch, Item, Lane, Offset, PairId, RecordRef, RunSet, Sequence, Value, WriterId,
};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::*;
use crate::Extract;

mod earlier;

/// A store in memory of which one request fails.
#[derive(Debug)]
struct Failing {
    inner: Arc<InMemory>,
    /// Requests until the one that fails; below zero none does any more.
    left: AtomicI64,
    /// Whether it does its work all the same, so that only the answer is lost.
    works: bool,
    /// Whether lists are of before anything was written.
    lists_nothing: bool,
    /// Whether questions for an object alone, which are answered without words, are refused.
    refuses_heads: bool,
}

impl std::fmt::Display for Failing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failing")
    }
}

impl Failing {
    /// One whose requests all succeed.
    fn over(inner: &Arc<InMemory>) -> Self {
        let (inner, left) = (Arc::clone(inner), AtomicI64::new(-1));
        Self { inner, left, works: false, lists_nothing: false, refuses_heads: false }
    }

    fn broken() -> Error {
        Error::Generic { store: "failing", source: "no answer".into() }
    }

    async fn ask<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        if self.left.fetch_sub(1, Ordering::SeqCst) != 0 {
            return request.await;
        }
        if self.works {
            request.await?;
        }
        Err(Self::broken())
    }
}

#[async_trait::async_trait]
impl ObjectStore for Failing {
    async fn put_opts(&self, name: &Path, bytes: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.ask(self.inner.put_opts(name, bytes, options)).await
    }

    async fn put_multipart_opts(
        &self,
        name: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.ask(self.inner.put_multipart_opts(name, options)).await
    }

    async fn get_opts(&self, name: &Path, options: GetOptions) -> Result<GetResult> {
        if self.refuses_heads && options.head {
            let source = "Server returned non-2xx status code: 403 Forbidden: ".into();
            return Err(Error::PermissionDenied { path: name.to_string(), source });
        }
        self.ask(self.inner.get_opts(name, options)).await
    }

    fn delete_stream(&self, names: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(names)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.lists_nothing {
            return futures::stream::empty().boxed();
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.ask(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.ask(self.inner.copy_opts(from, to, options)).await
    }
}

/// So many folders, by the offset.
struct Modulo(i64);

impl Extract for Modulo {
    fn extract(&self, item: &Item) -> std::result::Result<Value, longshore_core::Failure> {
        Ok(Value::Int(item.source.offset().0 % self.0))
    }
}

pub(super) fn options(format: Format, folders: i64) -> ObjectsOptions {
    let value = Arc::new(Modulo(folders));
    let folder = PartitionField { name: "folder".into(), value, kind: PartitionKind::Text };
    ObjectsOptions {
        place: Place::Folder("unused".into()),
        format,
        columns: Arc::new(Columns::record()),
        partition: vec![folder],
        level: 1,
        row_group: 1024,
        full: 1 << 20,
        staging: std::env::temp_dir(),
    }
}

fn sink(store: Store, format: Format) -> ObjectsSink {
    ObjectsSink::over("lake", "web-logs", Generation::FIRST, options(format, 3), store)
}

fn over(store: Arc<dyn ObjectStore>) -> Store {
    Store::over(store, Path::from("lake"))
}

fn context(writer: u128) -> WriterContext {
    WriterContext {
        pair: PairId::new("logs.raw", 0),
        writer: WriterId(writer),
        cluster: "cluster".into(),
        topic_id: "topic".into(),
    }
}

fn block(sink: &ObjectsSink, offsets: Range<i64>) -> Block {
    rows_of(&*sink.encoder(), offsets)
}

/// Records of a hundred bytes and more, encoded.
pub(super) fn rows_of(encoder: &dyn Encode, offsets: Range<i64>) -> Block {
    let mut block = Block::default();
    let mut chunk = ChunkBuilder::new(PairId::new("logs.raw", 0), Lane::Input, Epoch(1));
    for offset in offsets.clone() {
        chunk.record(Offset(offset), 0, None, Some(format!("{offset} {}", "x".repeat(100)).as_bytes()));
    }
    let chunk = chunk.build(None);
    for index in 0..offsets.count() as u32 {
        encoder.encode(&Item::new(RecordRef::new(&chunk, index).unwrap()), &mut block).unwrap();
    }
    block
}

fn trailer(writer: u128, sequence: u64, covers: Range<i64>) -> Trailer {
    Trailer {
        version: TRAILER_VERSION,
        pipeline: "web-logs".into(),
        generation: Generation::FIRST,
        cluster: "cluster".into(),
        topic: "logs.raw".into(),
        topic_id: "topic".into(),
        partition: 0,
        partitions: 1,
        sequence: Sequence(sequence),
        writer: WriterId(writer),
        covers: (Offset(covers.start), Offset(covers.end)),
        except: RunSet::default(),
        also: RunSet::default(),
        dead: BTreeMap::new(),
        rows: covers.count() as u64,
        filtered: BTreeMap::new(),
        decides: None,
    }
}

/// Writes what the ledger does not hold yet, as a pair would, and publishes it.
async fn write(sink: &ObjectsSink, writer: u128, tries: usize) -> std::result::Result<LedgerView, String> {
    let mut open = sink.open(context(writer));
    let mut again = Vec::new();
    for _ in 0..tries {
        match round(sink, &mut *open, writer).await {
            Ok(view) => return Ok(view),
            Err(failure) => again.push(failure.to_string()),
        }
    }
    Err(again.join("; "))
}

async fn round(
    sink: &ObjectsSink,
    open: &mut dyn SegmentWriter,
    writer: u128,
) -> std::result::Result<LedgerView, longshore_core::Failure> {
    let mut view = open.recover().await?;
    for (number, offsets) in [(0, 0..40), (1, 40..70)] {
        if view.holdings.holds(Offset(offsets.start)) {
            continue;
        }
        open.append(&block(sink, offsets.start..offsets.start + 10)).await?;
        open.append(&block(sink, offsets.start + 10..offsets.end)).await?;
        open.seal()?;
        let trailer = trailer(writer, view.next_sequence.0, offsets);
        let mut published = open.publish(&trailer).await;
        if published.is_err() && number == 0 {
            // The pair tries once more with the same trailer before it is taken away.
            published = open.publish(&trailer).await;
        }
        assert!(!matches!(published?, Published::TakenByOther(_)), "nobody else writes");
        view.fold(&trailer);
    }
    Ok(view)
}

/// All rows that a reader's glob finds, by the lines' origins.
async fn rows(store: &InMemory) -> Vec<String> {
    let names: Vec<Path> = store.list(None).map_ok(|object| object.location).try_collect().await.unwrap();
    let mut rows = Vec::new();
    for name in names.iter().filter(|name| name.as_ref().ends_with(".jsonl.zst")) {
        let bytes = store.get(name).await.unwrap().bytes().await.unwrap();
        let text = String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap();
        rows.extend(text.lines().map(|line| line.split("_origin\":\"").nth(1).unwrap().to_owned()));
    }
    rows.sort();
    rows
}

async fn leftovers(store: &InMemory) -> Vec<String> {
    let names: Vec<Path> = store.list(None).map_ok(|object| object.location).try_collect().await.unwrap();
    names.iter().map(Path::to_string).filter(|name| name.contains("/staging/")).collect()
}

/// Scenario: each request of a run fails in turn, before or after it did its work; the writer tries again, or dies and another
/// one takes over. Guarantee (I1, I2): every record is in the folder once, and nothing is left in staging.
#[tokio::test]
async fn whatever_request_fails_each_record_is_held_once() {
    let mut expected: Vec<String> = (0..70).map(|offset| format!("logs.raw/0/{offset}/0\"}}")).collect();
    expected.sort();
    let mut failed = 0;
    for works in [false, true] {
        for nth in 0.. {
            let inner = Arc::new(InMemory::new());
            let failing = Failing { left: AtomicI64::new(nth), works, ..Failing::over(&inner) };
            let failing = Arc::new(failing);
            let first = sink(over(Arc::clone(&failing) as Arc<dyn ObjectStore>), Format::JsonlZst);
            let outcome = write(&first, 1, 1).await;
            let spent = failing.left.load(Ordering::SeqCst) >= 0;
            failed += usize::from(outcome.is_err());
            let second = sink(over(Arc::clone(&inner) as Arc<dyn ObjectStore>), Format::JsonlZst);
            write(&second, 2, 1).await.unwrap();
            assert_eq!(rows(&inner).await, expected, "request {nth}, works {works}, first {outcome:?}");
            assert_eq!(leftovers(&inner).await, Vec::<String>::new(), "request {nth}, works {works}");
            if spent {
                assert!(nth > 15, "only {nth} requests");
                break;
            }
        }
    }
    assert!(failed > 10, "only {failed} runs failed");
}

/// Scenario: a writer has staged its objects and stands still before it takes the number; another one recovers meanwhile and cleans up,
/// then the first goes on. Guarantee (I1): the first one's number is taken, so nothing is published whose objects are gone.
#[tokio::test]
async fn a_writer_whose_staged_objects_were_removed_publishes_nothing() {
    let mut met = 0;
    // Which request takes the number is found by trying.
    for nth in 0..40 {
        let inner = Arc::new(InMemory::new());
        let failing = Failing { left: AtomicI64::new(nth), ..Failing::over(&inner) };
        let store = over(Arc::new(failing));
        let sink = sink(store, Format::JsonlZst);
        let mut zombie = sink.open(context(1));
        if zombie.recover().await.is_err() {
            continue;
        }
        zombie.append(&block(&sink, 0..9)).await.unwrap();
        zombie.seal().unwrap();
        let trailer = trailer(1, 0, 0..9);
        if zombie.publish(&trailer).await.is_ok() || leftovers(&inner).await.is_empty() {
            continue;
        }
        let mut other = sink.open(context(2));
        let view = other.recover().await.unwrap();
        if view.next_sequence != Sequence(1) || view.holdings.holds(Offset(0)) {
            // The zombie's number was taken by itself: its entry stood.
            continue;
        }
        met += 1;
        assert_eq!(leftovers(&inner).await, Vec::<String>::new());
        assert_eq!(zombie.publish(&trailer).await.unwrap(), Published::TakenByOther(WriterId(2)));
        assert_eq!(rows(&inner).await, Vec::<String>::new());
    }
    assert!(met > 0, "no run stood still between its objects and its number");
}

/// Scenario: staged objects of an older segment are still there, as a removal leaves them that the store did not take, and its published
/// objects were removed since. Guarantee (I2): the next owner removes what is staged, and does not bring back what was removed.
#[tokio::test]
async fn what_was_removed_from_the_folders_does_not_come_back() {
    let inner = Arc::new(InMemory::new());
    let sink = sink(over(Arc::clone(&inner) as Arc<dyn ObjectStore>), Format::JsonlZst);
    let mut writer = sink.open(context(1));
    writer.recover().await.unwrap();
    for (number, offsets) in [(0, 0..9), (1, 9..18)] {
        writer.append(&block(&sink, offsets.clone())).await.unwrap();
        writer.seal().unwrap();
        writer.publish(&trailer(1, number, offsets)).await.unwrap();
    }
    let both = rows(&inner).await;
    let names: Vec<Path> = inner.list(None).map_ok(|object| object.location).try_collect().await.unwrap();
    let entry = names.iter().find(|name| name.as_ref().ends_with(&format!("segments/{:020}", 0))).unwrap();
    let bytes = inner.get(entry).await.unwrap().bytes().await.unwrap();
    let layout =
        layout::Layout::new(&Path::from("lake"), Generation::FIRST, &context(1).pair, Format::JsonlZst);
    for object in super::entry::Entry::decode(&bytes, entry, &layout).unwrap().objects {
        let [name, staged] = [object.name, object.staged].map(|name| Path::from("lake/".to_owned() + &name));
        inner.rename(&name, &staged).await.unwrap();
    }
    assert_eq!(leftovers(&inner).await.len(), 3);
    let left = rows(&inner).await;
    assert!(left.len() == 9 && both.len() == 18);
    sink.open(context(2)).recover().await.unwrap();
    assert_eq!(leftovers(&inner).await, Vec::<String>::new());
    assert_eq!(rows(&inner).await, left);
}

/// Scenario: a worker died while it wrote to a disk, before and in the middle of a file. Guarantee: the next owner of the pair gives the
/// space back, and takes the number first, as for whole staged objects.
#[tokio::test]
async fn what_a_dead_worker_had_begun_on_a_disk_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(&Place::Folder(folder.path().to_owned())).unwrap();
    let sink = sink(store, Format::JsonlZst);
    assert_eq!(sink.open(context(1)).recover().await.unwrap().next_sequence, Sequence(0));
    let staging = folder.path().join("g0001/__ledger/logs.raw/0/staging");
    std::fs::create_dir_all(&staging).unwrap();
    std::fs::write(staging.join("00000000000000000000-0-0#1"), "half an object").unwrap();
    let view = sink.open(context(2)).recover().await.unwrap();
    assert_eq!(view.next_sequence, Sequence(1));
    assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 0);
    assert_eq!(sink.open(context(3)).recover().await.unwrap().next_sequence, Sequence(1));
}

/// Scenario: a writer dies after its entry and before its objects have their names, and the lists that the next owner gets are older than all
/// that. Guarantee (I1, I2): the ledger is read to its end by the numbers, and the newest segment's objects get their names.
#[tokio::test]
async fn what_a_list_lacks_is_found_by_its_name() {
    let mut met = 0;
    for nth in 0..40 {
        let inner = Arc::new(InMemory::new());
        let failing = Failing { left: AtomicI64::new(nth), ..Failing::over(&inner) };
        let first = sink(over(Arc::new(failing)), Format::JsonlZst);
        let _outcome = write(&first, 1, 1).await;
        let stale = Failing { lists_nothing: true, ..Failing::over(&inner) };
        let second = sink(over(Arc::new(stale)), Format::JsonlZst);
        let view = second.open(context(2)).recover().await.unwrap();
        let held: usize = (0..70).filter(|offset| view.holdings.holds(Offset(*offset))).count();
        assert_eq!(rows(&inner).await.len(), held, "request {nth}");
        met += usize::from(held > 0 && !leftovers(&inner).await.is_empty());
    }
    assert!(met > 0, "no writer died between its entry and its objects' names");
}

/// Scenario: a store refuses to say whether an object is there, in an answer without words. Guarantee: what is published is asked for in a
/// way that has them, so that what passes by itself does not halt the pair.
#[tokio::test]
async fn a_refusal_without_words_is_looked_into() {
    let inner = Arc::new(InMemory::new());
    let refuses = Failing { refuses_heads: true, ..Failing::over(&inner) };
    let sink = sink(over(Arc::new(refuses)), Format::JsonlZst);
    write(&sink, 1, 1).await.unwrap();
    assert_eq!(rows(&inner).await.len(), 70);
}

/// Scenario: a name stands on a disk, made by a writer that died before the name lasted, and now the disk takes nothing more.
/// Guarantee (I1): neither a name that is taken nor a ledger that is read counts before the disk says that it lasts.
#[tokio::test]
async fn a_name_that_stands_counts_when_it_lasts() {
    let folder = tempfile::tempdir().unwrap();
    let store = || Store::new(&Place::Folder(folder.path().to_owned())).unwrap();
    let whole = sink(store(), Format::JsonlZst);
    write(&whole, 1, 1).await.unwrap();
    let full = || longshore_core::Failure::target(longshore_core::Reason::SinkNoSpace, "no sync");
    let mut failing = store();
    failing.sync = |_| Err(longshore_core::Failure::target(longshore_core::Reason::SinkNoSpace, "no sync"));
    let root = failing.root().clone();
    let name = root.clone().join("g0001").join("__ledger").join("logs.raw").join("0").join("segments");
    let name = name.join(format!("{:020}", 0));
    assert_eq!(failing.create(&name, bytes::Bytes::new()).await.unwrap_err().to_string(), full().to_string());
    assert_eq!(failing.copy(&name, &name).await.unwrap_err().to_string(), full().to_string());
    let failure = sink(failing, Format::JsonlZst).open(context(2)).recover().await.unwrap_err();
    assert!(failure.to_string().contains("no sync"), "{failure}");
    sink(store(), Format::JsonlZst).open(context(3)).recover().await.unwrap();
}

/// Scenario: an object has its name, and the disk does not make the folder of that name last. Guarantee (I1): the object is not taken for
/// published, whatever stands there, and the staged one stays.
#[tokio::test]
async fn a_staged_object_stays_until_its_name_lasts() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::new(&Place::Folder(folder.path().to_owned())).unwrap();
    store.sync = |path| match path.ends_with("data") {
        true => Err(longshore_core::Failure::target(longshore_core::Reason::SinkNoSpace, "no sync")),
        false => Ok(()),
    };
    let [staged, name] = ["staged", "data"].map(|part| store.root().clone().join(part).join("0-0.parquet"));
    for name in [&staged, &name] {
        store.create(name, bytes::Bytes::from_static(b"rows")).await.unwrap();
    }
    let below = |part: &str| format!("{part}/0-0.parquet");
    let object = entry::Object { name: below("data"), staged: below("staged"), bytes: 4, rows: 1 };
    let failure = publish::complete(&store, [&object], &publish::Progress::new(None)).await.unwrap_err();
    assert!(failure.to_string().contains("no sync"), "{failure}");
    assert_eq!(store.size(&staged).await.unwrap(), Some(4));
    store.sync = |_| Ok(());
    publish::complete(&store, [&object], &publish::Progress::new(None)).await.unwrap();
    assert_eq!((store.size(&staged).await.unwrap(), store.size(&name).await.unwrap()), (None, Some(4)));
}

/// Scenario: a worker of another cluster looks into the folder, and one with the wrong format takes the pair over and is corrected before its first
/// row. Guarantee: neither has bound the generation; the first rows do, and another format halts from then on, and is told what to do.
#[tokio::test]
async fn who_has_written_nothing_binds_nobody() {
    let inner = Arc::new(InMemory::new());
    let with = |format| sink(over(Arc::new(Failing::over(&inner))), format);
    with(Format::Parquet).open(context(1)).recover().await.unwrap();
    write(&with(Format::JsonlZst), 2, 1).await.unwrap();
    let foreign = WriterContext { cluster: "elsewhere".into(), ..context(3) };
    let failure = with(Format::Parquet).open(foreign).recover().await.unwrap_err();
    assert_eq!(failure.reason, longshore_core::Reason::LedgerForeign);
    assert!(!failure.detail().contains("parquet"), "{failure}");
    let failure = with(Format::Parquet).open(context(4)).recover().await.unwrap_err();
    let told = failure.detail();
    assert!(
        told.contains("the objects are jsonl.zst, not parquet") && told.contains("next `generation`"),
        "{told}"
    );
    write(&with(Format::JsonlZst), 5, 1).await.unwrap();
}
