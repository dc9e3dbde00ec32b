//! The segments of a pair, read from its ledger in their order.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use longshore_core::Failure;
use object_store::path::Path;
use serde::Deserialize;

use super::{Layout, Source};
use crate::objects::look::Listed;
use crate::objects::store::Store;
use crate::verify::{Claim, Tail, claim_in_tail, read_as};

/// So many entries of a pair are asked for at once.
const ENTRIES_AT_ONCE: usize = 16;
/// How much of a file's end is read for its trailer; nearly every one fits.
const TAIL_BYTES: u64 = 4 * 1024;

/// A pair in a generation, by the folders that there are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    pub(super) generation: u32,
    pub(super) folder: Path,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) ledger: Path,
}

/// A segment as its ledger tells of it.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// The entry, or the file whose trailer it is.
    pub(super) place: Path,
    pub(super) written_ms: i64,
    /// Why it cannot be read, in words, where it cannot.
    pub(super) said: Result<Said, String>,
}

/// What a segment says of itself.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) claim: Claim,
    pub(super) objects: Vec<Object>,
}

/// An object that a segment names.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) name: Path,
    /// Its name before it was published, where it has had one.
    pub(super) staged: Option<Path>,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    /// The hash of its content, where the entry has one.
    pub(super) blake3: Option<String>,
}

impl Pair {
    /// A name in an entry of this version as it is now: a folder may have been moved, or a bucket copied, since it was written. Names of version
    /// 1 began at the root of the file system or bucket, later ones begin below the sink's place.
    fn here(&self, version: u32, name: &str) -> String {
        if version > 1 {
            let folder = self.folder.as_ref();
            let place = folder.rsplit_once('/').map_or("", |(place, _)| place);
            return format!("{place}/{name}");
        }
        self.moved(name)
    }

    fn moved(&self, name: &str) -> String {
        let folder = self.folder.as_ref();
        if name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')) {
            return name.to_owned();
        }
        let (slashed, mark) =
            (format!("/{name}"), format!("/{}/", self.folder.filename().unwrap_or_default()));
        let below = |rest: &&str| {
            let first = rest.split('/').next().unwrap_or_default();
            first == self.topic || self.ledger.as_ref().contains(&format!("/{first}/"))
        };
        let mut moved = slashed.match_indices(&mark).map(|(place, _)| &slashed[place + mark.len()..]);
        moved.find(below).map_or_else(|| name.to_owned(), |rest| format!("{folder}/{rest}"))
    }

    pub(super) fn words(&self) -> String {
        format!("{}/{} of generation {}", self.topic, self.partition, self.generation)
    }
}

impl Source {
    /// All pairs that have a ledger or, where trailers are in the data, a folder of data.
    pub(super) async fn pairs(&self) -> Result<Vec<Pair>, Failure> {
        let mut pairs = Vec::new();
        for (generation, folder) in self.generations().await? {
            let ledgers = folder.clone().join(self.ledger_folder());
            let mut topics = self.store.folders(&ledgers.clone()).await?;
            if self.layout == Layout::Trailers {
                let data = self.store.folders(&folder).await?;
                topics
                    .extend(data.into_iter().filter(|topic| topic.filename() != Some(self.ledger_folder())));
            }
            for topic in topics {
                for partition in self.store.folders(&topic).await? {
                    let (Some(topic), Some(Ok(partition))) =
                        (topic.filename(), partition.filename().map(str::parse::<i32>))
                    else {
                        continue;
                    };
                    let ledger = ledgers.clone().join(topic).join(partition.to_string());
                    let (folder, topic) = (folder.clone(), topic.to_owned());
                    pairs.push(Pair { generation, folder, topic, partition, ledger });
                }
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        Ok(pairs)
    }

    /// The segments of a pair as the ledger tells of them, in the order of their numbers.
    pub(super) async fn segments<'a>(
        &'a self,
        pair: &'a Pair,
    ) -> Result<BoxStream<'a, Result<Segment, Failure>>, Failure> {
        let found = match self.layout {
            Layout::Entries => self.numbered(&pair.ledger.clone().join("segments"), entry_number).await?,
            Layout::Trailers => {
                let data = pair.folder.clone().join(pair.topic.as_str()).join(pair.partition.to_string());
                let mut found = self.numbered(&data, packed_number).await?;
                found.extend(self.numbered(&pair.ledger, plain_entry_number).await?);
                found
            }
        };
        // Boxed, or the compiler does not see that what borrows the store may be sent.
        let read = move |(number, listed)| -> BoxFuture<'a, _> { self.read(pair, number, listed).boxed() };
        Ok(futures::stream::iter(found).map(read).buffered(ENTRIES_AT_ONCE).boxed())
    }

    /// The objects right below a folder that have numbers.
    async fn numbered(
        &self,
        folder: &Path,
        number: fn(&str) -> Option<u64>,
    ) -> Result<BTreeMap<u64, Listed>, Failure> {
        let mut found = BTreeMap::new();
        let mut listed = self.store.walk(folder);
        while let Some(listed) = listed.try_next().await? {
            let name = listed.name.filename().filter(|_| depth(&listed.name) == depth(folder) + 1);
            if let Some(number) = name.and_then(number) {
                found.insert(number, listed);
            }
        }
        Ok(found)
    }

    async fn read(&self, pair: &Pair, number: u64, listed: Listed) -> Result<Segment, Failure> {
        let said = match self.layout {
            Layout::Entries => read_entry(&self.store, pair, &listed).await?,
            Layout::Trailers if packed_number(listed.name.filename().unwrap_or_default()).is_some() => {
                read_trailer(&self.store, &listed).await?
            }
            Layout::Trailers => read_plain_entry(&self.store, pair, number, &listed).await?,
        };
        Ok(Segment { number, place: listed.name, written_ms: listed.written_ms, said })
    }
}

/// How many folders deep a name is.
pub(super) fn depth(name: &Path) -> usize {
    name.parts_count()
}

fn entry_number(name: &str) -> Option<u64> {
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.parse().ok()).flatten()
}

fn packed_number(name: &str) -> Option<u64> {
    name.strip_suffix(".jsonl.zst").and_then(entry_number)
}

fn plain_entry_number(name: &str) -> Option<u64> {
    name.strip_suffix(".entry").and_then(entry_number)
}

/// An entry of an `objects` sink.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    version: u32,
    trailer: Claim,
    objects: Vec<EntryObject>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryObject {
    name: String,
    staged: String,
    bytes: u64,
    rows: u64,
}

async fn read_entry(store: &Store, pair: &Pair, listed: &Listed) -> Result<Result<Said, String>, Failure> {
    let Some(bytes) = store.get(&listed.name).await? else { return Ok(Err(gone())) };
    let entry: Entry = match read_as(&bytes, 2) {
        Ok(entry) => entry,
        Err(words) => return Ok(Err(words)),
    };
    if entry.version == 0 {
        return Ok(Err("its version 0 never was".to_owned()));
    }
    let path = |name: &str| Path::parse(pair.here(entry.version, name)).map_err(|error| error.to_string());
    let object = |object: EntryObject| {
        let (name, staged) = (path(&object.name)?, Some(path(&object.staged)?));
        Ok(Object { name, staged, bytes: object.bytes, rows: object.rows, blake3: None })
    };
    let objects: Result<Vec<Object>, String> = entry.objects.into_iter().map(object).collect();
    Ok(objects.map(|objects| Said { claim: entry.trailer, objects }))
}

async fn read_trailer(store: &Store, listed: &Listed) -> Result<Result<Said, String>, Failure> {
    if listed.bytes == 0 {
        return Ok(Err("the file is empty".to_owned()));
    }
    let mut wanted = TAIL_BYTES;
    loop {
        let from = listed.bytes.saturating_sub(wanted);
        let Some(parts) = store.ranges(&listed.name, std::slice::from_ref(&(from..listed.bytes))).await?
        else {
            return Ok(Err(gone()));
        };
        let tail = parts.first().map_or(&[][..], |part| &part[..]);
        match claim_in_tail(tail, listed.bytes) {
            Ok(Tail::Wanted(bytes)) => wanted = bytes,
            Ok(Tail::Claim(claim)) => {
                let (name, bytes, rows) = (listed.name.clone(), listed.bytes, claim.rows);
                let object = Object { name, staged: None, bytes, rows, blake3: None };
                return Ok(Ok(Said { claim: *claim, objects: vec![object] }));
            }
            Err(words) => return Ok(Err(words)),
        }
    }
}

/// The ledger entry of a plain file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainEntry {
    trailer: Claim,
    bytes: u64,
    blake3: String,
    staging: String,
}

async fn read_plain_entry(
    store: &Store,
    pair: &Pair,
    number: u64,
    listed: &Listed,
) -> Result<Result<Said, String>, Failure> {
    let Some(bytes) = store.get(&listed.name).await? else { return Ok(Err(gone())) };
    let entry: PlainEntry = match read_as(&bytes, 1) {
        Ok(entry) => entry,
        Err(words) => return Ok(Err(words)),
    };
    let data = pair.folder.clone().join(pair.topic.as_str()).join(pair.partition.to_string());
    let object = Object {
        name: data.join(format!("{number:020}.jsonl")),
        staged: Some(pair.ledger.clone().join("staging").join(entry.staging)),
        bytes: entry.bytes,
        rows: entry.trailer.rows,
        blake3: Some(entry.blake3),
    };
    Ok(Ok(Said { claim: entry.trailer, objects: vec![object] }))
}

fn gone() -> String {
    "it was listed and is gone".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: entries were written when the sink's place was another one. Guarantee: their names are those of the place as it is now.
    #[test]
    fn names_follow_a_place_that_was_moved() {
        let pair = |folder: &str| {
            let folder = Path::from(folder);
            let ledger = folder.clone().join("__ledger").join("logs.raw").join("3");
            Pair { generation: 1, folder, topic: "logs.raw".to_owned(), partition: 3, ledger }
        };
        for (folder, name, here) in [
            ("a/g0001", "a/g0001/logs.raw/3/0.parquet", "a/g0001/logs.raw/3/0.parquet"),
            ("b/c/g0001", "a/g0001/logs.raw/3/0.parquet", "b/c/g0001/logs.raw/3/0.parquet"),
            ("g0001", "x/g0001/logs.raw/3/0.parquet", "g0001/logs.raw/3/0.parquet"),
            ("b/g0001", "g0001/__ledger/logs.raw/3/staging/0", "b/g0001/__ledger/logs.raw/3/staging/0"),
            ("b/g0001", "a/g0002/logs.raw/3/0.parquet", "a/g0002/logs.raw/3/0.parquet"),
        ] {
            assert_eq!(pair(folder).here(1, name), here);
        }
        for (folder, here) in
            [("a/b/g0001", "a/b/g0001/logs.raw/3/0.parquet"), ("g0001", "/g0001/logs.raw/3/0.parquet")]
        {
            assert_eq!(pair(folder).here(2, "g0001/logs.raw/3/0.parquet"), here);
        }
    }
}
