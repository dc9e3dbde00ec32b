//! What earlier versions have left, and ledgers at another place than they were written at.

use futures::TryStreamExt;
use longshore_core::{Class, Reason};
use serde_json::{Value as Json, json};

use super::*;

/// All objects of a store, by name.
async fn all(store: &InMemory) -> Vec<(Path, bytes::Bytes)> {
    let names: Vec<Path> = store.list(None).map_ok(|object| object.location).try_collect().await.unwrap();
    let mut all = Vec::new();
    for name in names {
        let bytes = store.get(&name).await.unwrap().bytes().await.unwrap();
        all.push((name, bytes));
    }
    all
}

async fn put(store: &InMemory, name: &Path, bytes: impl Into<PutPayload>) {
    store.put(name, bytes.into()).await.unwrap();
}

/// What is done to an entry.
type Change = fn(&mut Json);

/// The same entry as version 1 wrote it below the place `lake`.
fn first_version(bytes: &[u8]) -> Vec<u8> {
    let mut entry: Json = serde_json::from_slice(bytes).unwrap();
    entry["version"] = json!(1);
    for object in entry["objects"].as_array_mut().unwrap() {
        for field in ["name", "staged"] {
            object[field] = json!(format!("lake/{}", object[field].as_str().unwrap()));
        }
    }
    serde_json::to_vec(&entry).unwrap()
}

/// Stores as a writer leaves them that died between an entry and its objects' names, at whatever request.
async fn left_staged() -> Vec<Arc<InMemory>> {
    let mut left = Vec::new();
    for nth in 0..60 {
        let inner = Arc::new(InMemory::new());
        let failing = Failing { left: AtomicI64::new(nth), ..Failing::over(&inner) };
        let sink = sink(over(Arc::new(failing)), Format::JsonlZst);
        let mut writer = sink.open(context(1));
        if writer.recover().await.is_err() {
            continue;
        }
        writer.append(&block(&sink, 0..40)).await.unwrap();
        writer.seal().unwrap();
        let outcome = writer.publish(&trailer(1, 0, 0..40)).await;
        let entry = Path::from(format!("lake/g0001/__ledger/logs.raw/0/segments/{:020}", 0));
        if outcome.is_err() && inner.head(&entry).await.is_ok() && rows(&inner).await.len() < 40 {
            left.push(inner);
        }
    }
    assert!(!left.is_empty(), "no writer died between its entry and its objects' names");
    left
}

/// Scenario: a writer dies between its entry and its objects' names; then the folder is moved, or the bucket copied to another prefix, and a
/// worker goes on there. The entry is of this version or of the first one. Guarantee (I1): the objects get their names, at the place that it is now.
#[tokio::test]
async fn what_was_left_staged_follows_a_place_that_was_moved() {
    for version in [1, 2] {
        for place in ["elsewhere/lake", "", "lake"] {
            for before in left_staged().await {
                let moved = Arc::new(InMemory::new());
                for (name, bytes) in all(&before).await {
                    let entry = name.as_ref().contains("/segments/");
                    let bytes = if entry && version == 1 { first_version(&bytes).into() } else { bytes };
                    let name = Path::parse(name.as_ref().replacen("lake", place, 1)).unwrap();
                    put(&moved, &name, bytes).await;
                }
                let store = Store::over(Arc::clone(&moved) as _, Path::from(place));
                let view = sink(store, Format::JsonlZst).open(context(2)).recover().await.unwrap();
                assert!(view.holdings.holds(Offset(39)));
                assert_eq!(rows(&moved).await.len(), 40, "version {version} at {place:?}");
                assert_eq!(leftovers(&moved).await, Vec::<String>::new());
            }
        }
    }
}

/// Scenario: an entry of the first version names objects that are nowhere in a sink's place; one is of a version that is not known yet.
/// Guarantee: the pair halts and says so.
#[tokio::test]
async fn entries_that_cannot_be_read_halt() {
    let (newer, broken) = (Reason::FormatNewer, Reason::LedgerBroken);
    let changes: [(Change, Reason, &str); 4] = [
        (|entry| (entry["version"], entry["more"]) = (json!(3), json!({})), newer, "of version 3, of which"),
        (
            |entry| (entry["trailer"]["version"], entry["trailer"]["more"]) = (json!(2), json!({})),
            newer,
            "ledger trailer of version 2",
        ),
        (
            |entry| entry["objects"][0]["name"] = json!("etc/g0001/logs.raw/0"),
            broken,
            "no place of this pair's",
        ),
        (
            |entry| entry["objects"][0]["staged"] = json!("lake/../staging/0"),
            broken,
            "no place of this pair's",
        ),
    ];
    for (change, reason, words) in changes {
        let inner = left_staged().await.remove(0);
        for (name, bytes) in all(&inner).await {
            if name.as_ref().contains("/segments/") {
                let mut entry: Json = serde_json::from_slice(&first_version(&bytes)).unwrap();
                change(&mut entry);
                put(&inner, &name, serde_json::to_vec(&entry).unwrap()).await;
            }
        }
        let sink = sink(over(Arc::clone(&inner) as _), Format::JsonlZst);
        let failure = sink.open(context(2)).recover().await.unwrap_err();
        assert_eq!((failure.reason, failure.class), (reason, Class::Halt));
        assert!(failure.detail().contains(words), "{failure}");
    }
}

/// Scenario: the noted form of the objects, and then their newest checkpoint, are of a version that is not known yet. Guarantee: for the form
/// the pair halts and says so; the checkpoint is passed over, since the entries tell the same.
#[tokio::test]
async fn a_newer_form_halts_and_a_newer_checkpoint_is_passed_over() {
    let inner = Arc::new(InMemory::new());
    let whole = write(&sink(over(Arc::clone(&inner) as _), Format::JsonlZst), 1, 1).await.unwrap();
    let text = {
        let context = context(2);
        let owner = crate::pair_ledger::Owner::new("web-logs", Generation::FIRST, &context);
        crate::pair_ledger::Checkpoint::new(owner.identity, whole.clone()).text(&"here").unwrap()
    };
    let mut json: Json = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    (json["version"], json["more"]) = (json!(3), json!(1));
    let newer = format!("{json}\n{}\n", blake3::hash(json.to_string().as_bytes()).to_hex());
    let pair = PairId::new("logs.raw", 0);
    let layout = layout::Layout::new(&Path::from("lake"), Generation::FIRST, &pair, Format::JsonlZst);
    put(&inner, &layout.checkpoint(whole.next_sequence), newer.into_bytes()).await;
    let sink = sink(over(Arc::clone(&inner) as _), Format::JsonlZst);
    assert_eq!(sink.open(context(2)).recover().await.unwrap().holdings, whole.holdings);

    let form = Path::from(format!("lake/g0001/__ledger/logs.raw/shape/{:020}", 0));
    let noted = inner.get(&form).await.unwrap().bytes().await.unwrap();
    let mut shape: Json = serde_json::from_slice(&noted).unwrap();
    (shape["version"], shape["more"]) = (json!(2), json!({}));
    put(&inner, &form, serde_json::to_vec(&shape).unwrap()).await;
    let failure = sink.open(context(3)).recover().await.unwrap_err();
    assert_eq!((failure.reason, failure.class), (Reason::FormatNewer, Class::Halt));
    assert!(failure.detail().contains("shape of objects of version 2, of which"), "{failure}");
}

/// A sink with these columns, in folders by a number.
fn with_columns(inner: &Arc<InMemory>, format: Format, columns: &[(&str, Type)]) -> ObjectsSink {
    let columns = columns.iter().map(|(name, kind)| Column {
        name: (*name).to_owned(),
        kind: *kind,
        source: Source::Field("body".to_owned()),
    });
    let columns = Arc::new(Columns::of(columns.collect()).unwrap());
    let options = ObjectsOptions { columns, ..options(format, 3) };
    let store = over(Arc::clone(inner) as Arc<dyn ObjectStore>);
    ObjectsSink::over("lake", "web-logs", Generation::FIRST, options, store)
}

/// Scenario: objects are there whose form was never noted, as the versions before left them, and the first worker of this one would write
/// another format, other folders, or a column of another type. Guarantee: it halts, as it does where the form is noted; one that writes the same
/// notes the columns that are there and its own.
#[tokio::test]
async fn objects_without_a_noted_form_say_what_they_are() {
    let inner = Arc::new(InMemory::new());
    write(&with_columns(&inner, Format::Parquet, &[("text", Type::Text), ("old", Type::Text)]), 1, 1)
        .await
        .unwrap();
    let form = Path::from(format!("lake/g0001/__ledger/logs.raw/shape/{:020}", 0));
    inner.delete(&form).await.unwrap();
    let lines = with_columns(&inner, Format::JsonlZst, &[]);
    let typed = with_columns(&inner, Format::Parquet, &[("text", Type::Bytes)]);
    let mut flat = with_columns(&inner, Format::Parquet, &[("text", Type::Text)]);
    Arc::get_mut(&mut flat.shared).unwrap().options.partition.clear();
    for (sink, words) in [
        (lines, "the objects are parquet, not jsonl.zst"),
        (typed, "column text is string in the files, not binary"),
        (flat, "the folders are by [folder: text], not []"),
    ] {
        let failure = sink.open(context(2)).recover().await.unwrap_err();
        assert_eq!(failure.reason, Reason::LedgerForeign, "{failure}");
        assert!(failure.detail().contains(words), "{failure}");
        assert!(inner.head(&form).await.is_err(), "nothing is noted");
    }
    let same = with_columns(&inner, Format::Parquet, &[("text", Type::Text), ("new", Type::Text)]);
    let mut writer = same.open(context(3));
    let view = writer.recover().await.unwrap();
    writer.append(&block(&same, 70..80)).await.unwrap();
    writer.seal().unwrap();
    writer.publish(&trailer(3, view.next_sequence.0, 70..80)).await.unwrap();
    let noted: Json =
        serde_json::from_slice(&inner.get(&form).await.unwrap().bytes().await.unwrap()).unwrap();
    for column in ["text", "old", "new", "_origin"] {
        assert_eq!(noted["columns"][column], "string", "{noted}");
    }
    assert_eq!(
        (&noted["columns"]["_offset"], &noted["columns"]["_timestamp"]),
        (&json!("int64"), &json!("timestamp"))
    );
}
