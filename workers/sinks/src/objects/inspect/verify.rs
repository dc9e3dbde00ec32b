//! Ledgers held against themselves and against what lies there.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use longshore_core::{Failure, Offset, Reason, RunSet};
use object_store::path::Path;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::origins::{Rows, rows_of};
use super::segments::{Object, Pair, Said, Segment, depth};
use super::{PAIRS_AT_ONCE, Source, Tell};
use crate::inspect::{Passed, Verified};
use crate::verify::Claim;

/// So many segments of a pair, and objects of a segment, are looked at at once.
const SEGMENTS_AT_ONCE: usize = 8;
const OBJECTS_AT_ONCE: usize = 8;
/// So many objects of all pairs have their rows read at once.
const READ_AT_ONCE: usize = 16;
/// The identities of so many thousands of rows are in memory at once, with 16 bytes each.
const ROOM_THOUSANDS: u32 = 8 * 1024;

/// How closely to look.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Whether rows are read and counted; else the ledger, names and sizes alone are judged.
    pub rows: bool,
    /// An object of fewer bytes is small.
    pub small: u64,
}

/// Holds all ledgers of a sink against themselves and against what lies there, and changes nothing. `tell` is called with the number of
/// segments read since it was called before.
///
/// It may run while workers write: an object is listed before the entries are, and entries come before their objects do.
///
/// # Errors
/// A store that is away, or lacking rights. What is wrong with the contents is a finding.
pub async fn verify(source: &Source, asked: Asked, tell: &Tell) -> Result<Verified, Failure> {
    let mut found = Verified::default();
    let (listing, room) = (Arc::new(Listing::default()), Room::new());
    for (_, folder) in source.generations().await? {
        source.list(&folder, &listing, &mut found).await?;
    }
    let one = |pair: Pair| {
        let (source, listing, tell, room) =
            (source.clone(), Arc::clone(&listing), tell.clone(), room.clone());
        async move {
            let judged = async move { Judge::new(&source, &pair, &listing, asked).run(&room, &tell).await };
            let judged = tokio::spawn(judged).await;
            judged.map_err(|error| Failure::halt(Reason::Internal, error))?
        }
    };
    let pairs = source.pairs().await?;
    let mut judged = futures::stream::iter(pairs.into_iter().map(one)).buffer_unordered(PAIRS_AT_ONCE);
    let mut small = 0;
    while let Some((mut pair, of_pair)) = judged.try_next().await? {
        // On a disk a pair has folders as soon as a worker has looked at them.
        pair.pairs = u64::from(pair.segments > 0);
        found.add(pair);
        small += of_pair;
    }
    drop(judged);
    if listing.has_left() {
        source.name_left(&listing, &mut found).await?;
    }
    if small > 1 {
        let (all, bytes) = (found.objects, asked.small >> 20);
        let words =
            format!("{small} of {all} objects are smaller than {bytes}MiB: `sink compact` merges them");
        found.note("small", source.store.root(), words);
    }
    source.show_names(&mut found);
    Ok(found.sorted())
}

/// Objects in the data folders by a hash of their names: what is named by an entry is taken out.
#[derive(Default)]
struct Listing(Mutex<HashMap<u64, u64>>);

impl Listing {
    fn add(&self, name: &Path, bytes: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(hash(name), bytes);
    }

    /// The size of an object that an entry names.
    fn take(&self, name: &Path) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash(name))
    }

    fn has_left(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn is_left(&self, name: &Path) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&hash(name))
    }
}

fn hash(name: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.as_ref().hash(&mut hasher);
    hasher.finish()
}

/// Names that begin so are passed over by readers of folders.
fn is_hidden(name: &Path) -> bool {
    name.filename().is_some_and(|name| name.starts_with(['_', '.']))
}

impl Source {
    /// Names as people know them: on a disk they begin with a slash.
    fn show_names(&self, found: &mut Verified) {
        let root = self.store.root().as_ref();
        let on_disk = self.store.disk.is_some();
        for finding in found.findings.iter_mut().filter(|finding| on_disk && finding.place.starts_with(root))
        {
            finding.place.insert(0, '/');
        }
    }

    /// Lists the data of a generation.
    async fn list(&self, folder: &Path, listing: &Listing, found: &mut Verified) -> Result<(), Failure> {
        let (strays, topics) = self.store.level(folder).await?;
        for stray in strays.iter().filter(|stray| !is_hidden(stray)) {
            found.fault("foreign", stray, "not the sink's: data lies in a topic's folder");
        }
        for topic in topics.iter().filter(|topic| topic.filename() != Some(self.ledger_folder())) {
            let (objects, folders) = self.store.level(topic).await?;
            for object in objects.iter().filter(|object| !is_hidden(object)) {
                found.fault("foreign", object, "no entry of the ledger names it");
            }
            let walks: Vec<BoxFuture<'_, Result<(), Failure>>> =
                folders.iter().map(|folder| self.walk(folder, listing).boxed()).collect();
            futures::stream::iter(walks).buffer_unordered(PAIRS_AT_ONCE).try_collect::<Vec<()>>().await?;
        }
        Ok(())
    }

    async fn walk(&self, folder: &Path, listing: &Listing) -> Result<(), Failure> {
        let mut objects = self.store.walk(folder);
        while let Some(object) = objects.try_next().await? {
            if !is_hidden(&object.name) {
                listing.add(&object.name, object.bytes);
            }
        }
        Ok(())
    }

    /// Lists the data once more and names what no entry did.
    async fn name_left(&self, listing: &Listing, found: &mut Verified) -> Result<(), Failure> {
        for (_, folder) in self.generations().await? {
            let mut objects = self.store.walk(&folder);
            while let Some(object) = objects.try_next().await? {
                let in_ledger = object
                    .name
                    .parts()
                    .nth(depth(&folder))
                    .is_some_and(|part| part.as_ref() == self.ledger_folder());
                if !in_ledger && listing.is_left(&object.name) {
                    let words = format!("{} bytes, and no entry of the ledger names it", object.bytes);
                    found.fault("foreign", &object.name, words);
                }
            }
        }
        Ok(())
    }
}

/// What all pairs share.
#[derive(Clone)]
struct Room {
    rows: Arc<Semaphore>,
    reading: Arc<Semaphore>,
}

impl Room {
    fn new() -> Self {
        Self {
            rows: Arc::new(Semaphore::new(ROOM_THOUSANDS as usize)),
            reading: Arc::new(Semaphore::new(READ_AT_ONCE)),
        }
    }

    /// Waits until the rows of a segment find room. The segments of a pair come here in their order, so the one that the others wait for has
    /// its room already.
    async fn admit(&self, segment: &Segment) -> Result<OwnedSemaphorePermit, Failure> {
        let rows = segment.said.as_ref().map_or(0, |said| said.claim.rows);
        let thousands = (rows / 1_000 + 1).min(u64::from(ROOM_THOUSANDS)) as u32;
        Arc::clone(&self.rows).acquire_many_owned(thousands).await.map_err(|_| closed())
    }
}

fn closed() -> Failure {
    Failure::halt(Reason::Internal, "verify: its semaphore is closed")
}

/// A segment with what was found of its objects.
struct Looked {
    segment: Segment,
    _room: OwnedSemaphorePermit,
    objects: Vec<(There, Option<Rows>)>,
}

/// Whether an object is where its entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Yes(u64),
    /// Not yet: its writer is at it, or died and the next owner does it.
    Staged,
    No,
}

/// One pair before the judge.
struct Judge<'a> {
    source: &'a Source,
    pair: &'a Pair,
    listing: &'a Listing,
    asked: Asked,
    found: Verified,
    passed: Passed,
    expected: u64,
    /// Cluster and topic id of the segments until here.
    about: (String, String),
    small: u64,
}

impl<'a> Judge<'a> {
    fn new(source: &'a Source, pair: &'a Pair, listing: &'a Listing, asked: Asked) -> Self {
        let (found, passed) = (Verified::of_pair(), Passed::default());
        Self { source, pair, listing, asked, found, passed, expected: 0, about: Default::default(), small: 0 }
    }

    /// What was found, and how many objects are small.
    async fn run(mut self, room: &'a Room, tell: &'a Tell) -> Result<(Verified, u64), Failure> {
        let look =
            Look { source: self.source, pair: self.pair, listing: self.listing, asked: self.asked, room };
        let admit = move |segment: Segment| -> BoxFuture<'a, Result<_, Failure>> {
            async move { Ok((room.admit(&segment).await?, segment)) }.boxed()
        };
        let segments = self.source.segments(self.pair).await?;
        let look_at = move |(room, segment)| -> BoxFuture<'a, _> { look.at(segment, room).boxed() };
        let mut looked: BoxStream<'a, Result<Looked, Failure>> =
            segments.and_then(admit).map_ok(look_at).try_buffered(SEGMENTS_AT_ONCE).boxed();
        while let Some(looked) = looked.try_next().await? {
            self.segment(looked);
            tell(1);
        }
        drop(looked);
        let open = self.passed.open();
        if let Some((first, end)) = open.iter().next() {
            let words = format!(
                "{} offsets are in no segment and no letter, first [{first}, {end}): they wait in the retry topic, or were \
                 gone before they were read",
                open.len()
            );
            self.found.note("open", self.pair.words(), words);
        }
        self.leftovers().await?;
        Ok((self.found, self.small))
    }

    fn segment(&mut self, looked: Looked) {
        let Looked { segment, objects, _room } = looked;
        self.found.segments += 1;
        if segment.number > self.expected {
            let missing = match segment.number - self.expected {
                1 => format!("segment {} is missing", self.expected),
                _ => format!("segments {} to {} are missing", self.expected, segment.number - 1),
            };
            let words = format!("{missing}, though number {} is there", segment.number);
            self.found.fault("gap", self.pair.words(), words);
        }
        self.expected = segment.number + 1;
        let Said { claim, objects: named } = match segment.said {
            Ok(said) => said,
            Err(words) => {
                return self.found.fault("entry", segment.place, format!("cannot be read: {words}"));
            }
        };
        self.identity(&segment.place, segment.number, &claim);
        let runs = RunSet::collect(claim.runs());
        let again = RunSet::collect(claim.also.clone()).intersection(&self.passed.held);
        if let Some((first, end)) = again.iter().next() {
            let words = format!("holds offsets [{first}, {end}) once more: an earlier segment has them");
            self.found.fault("overlap", &segment.place, words);
        }
        let said: u64 = named.iter().map(|object| object.rows).sum();
        if said != claim.rows {
            let words = format!("its objects have {said} rows, its trailer says {}", claim.rows);
            self.found.fault("rows", &segment.place, words);
        }
        let mut of_segment = Vec::new();
        for (object, (there, rows)) in named.iter().zip(objects) {
            self.object(segment.number, object, there, rows, &mut of_segment);
        }
        self.rows(&segment.place, &runs, of_segment);
        self.passed.add(&claim, &runs);
    }

    fn identity(&mut self, place: &Path, number: u64, claim: &Claim) {
        let pair = self.pair;
        let theirs = (&claim.pipeline, claim.generation, &claim.topic, claim.partition, claim.sequence);
        if theirs != (&self.source.pipeline, pair.generation, &pair.topic, pair.partition, number) {
            let (pipeline, generation, topic, partition, sequence) = theirs;
            let words = format!(
                "is another's: pipeline {pipeline}, generation {generation}, {topic}/{partition}, segment {sequence}"
            );
            self.found.fault("identity", place, words);
        }
        for (known, said, what) in
            [(&mut self.about.0, &claim.cluster, "cluster"), (&mut self.about.1, &claim.topic_id, "topic id")]
        {
            if !known.is_empty() && !said.is_empty() && known != said {
                let words = format!("is of {what} {said}, the segments before it are of {known}");
                self.found.fault("identity", place, words);
            }
            if !said.is_empty() {
                known.clone_from(said);
            }
        }
    }

    fn object(
        &mut self,
        number: u64,
        object: &Object,
        there: There,
        rows: Option<Rows>,
        of_segment: &mut Vec<(i64, u32)>,
    ) {
        self.found.objects += 1;
        self.small += u64::from(object.bytes < self.asked.small);
        match there {
            There::Yes(bytes) if bytes == object.bytes => {}
            There::Yes(bytes) => {
                let words = format!("has {bytes} bytes, segment {number} says {}", object.bytes);
                return self.found.fault("size", &object.name, words);
            }
            There::Staged => {
                let words =
                    "is still staged: its writer is at it, or the next owner of the pair puts it here";
                return self.found.note("unfinished", &object.name, words);
            }
            There::No => {
                let words = format!("is not there, though segment {number} names it");
                return self.found.fault("missing", &object.name, words);
            }
        }
        let Some(mut rows) = rows else {
            self.found.rows += object.rows;
            return;
        };
        self.found.rows += rows.count;
        if let Some(words) = rows.unread {
            self.found.fault("unreadable", &object.name, words);
        } else if rows.count != object.rows {
            let words = format!("has {} rows, segment {number} says {}", rows.count, object.rows);
            self.found.fault("rows", &object.name, words);
        }
        if let Some(words) = rows.footer {
            self.found.fault("footer", &object.name, words);
        }
        if let (Some(said), Some(is)) = (&object.blake3, &rows.blake3)
            && said != is
        {
            self.found.fault("content", &object.name, "its content has another hash than its entry says");
        }
        if let Some((origin, count)) = rows.foreign {
            let words = format!("rows of another partition: {count}, first {origin}");
            self.found.fault("row-foreign", &object.name, words);
        }
        of_segment.append(&mut rows.of_pair);
    }

    /// Holds the rows of a segment against what it and the segments before it claim.
    fn rows(&mut self, place: &Path, claimed: &RunSet, mut rows: Vec<(i64, u32)>) {
        rows.sort_unstable();
        let twice = rows.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]);
        let unclaimed = rows.iter().copied().filter(|row| !claimed.contains(Offset(row.0)));
        let earlier = rows.iter().copied().filter(|row| self.passed.held.contains(Offset(row.0)));
        let pair = self.pair;
        for (kind, words, (first, count)) in [
            ("row-twice", "rows that are in it twice", told(twice)),
            ("row-unclaimed", "rows that its trailer does not claim", told(unclaimed)),
            ("overlap", "rows of records that an earlier segment holds", told(earlier)),
        ] {
            if let Some((offset, index)) = first {
                let words =
                    format!("{words}: {count}, first {}/{}/{offset}/{index}", pair.topic, pair.partition);
                self.found.fault(kind, place, words);
            }
        }
    }

    /// What lies where objects are staged.
    async fn leftovers(&mut self) -> Result<(), Failure> {
        let staging = self.pair.ledger.clone().join("staging");
        let store = &self.source.store;
        let (mut count, mut bytes, mut staged) = (0_u64, 0, store.walk(&staging));
        while let Some(object) = staged.try_next().await? {
            (count, bytes) = (count + 1, bytes + object.bytes);
        }
        if count > 0 {
            let words = format!(
                "{count} staged, {bytes} bytes: a worker is at it, or died and the next owner of the pair removes them"
            );
            self.found.note("staged", &staging, words);
        }
        let torsos = store.torsos(&staging).await?;
        if let Some(first) = torsos.first() {
            let words = format!("{} begun by a writer that is at it, or died", torsos.len());
            self.found.note("torso", first.display(), words);
        }
        Ok(())
    }
}

/// The first of some rows, and how many they are.
fn told(mut rows: impl Iterator<Item = (i64, u32)>) -> (Option<(i64, u32)>, usize) {
    let first = rows.next();
    (first, usize::from(first.is_some()) + rows.count())
}

/// What looking at a segment takes.
#[derive(Clone, Copy)]
struct Look<'a> {
    source: &'a Source,
    pair: &'a Pair,
    listing: &'a Listing,
    asked: Asked,
    room: &'a Room,
}

impl Look<'_> {
    async fn at(self, segment: Segment, room: OwnedSemaphorePermit) -> Result<Looked, Failure> {
        let named = segment.said.as_ref().map_or(&[][..], |said| &said.objects);
        let number = segment.number;
        let looks: Vec<BoxFuture<'_, _>> =
            named.iter().map(|object| self.object(number, object).boxed()).collect();
        let looks = futures::stream::iter(looks).buffered(OBJECTS_AT_ONCE);
        let objects = looks.try_collect().await?;
        Ok(Looked { segment, objects, _room: room })
    }

    async fn object(self, number: u64, object: &Object) -> Result<(There, Option<Rows>), Failure> {
        let there = there(self.source, self.listing, object).await?;
        if there != There::Yes(object.bytes) || !self.asked.rows {
            return Ok((there, None));
        }
        let _turn = self.room.reading.acquire().await.map_err(|_| closed())?;
        let rows = rows_of(&self.source.store, self.pair, number, object).await?;
        Ok((there, Some(rows)))
    }
}

async fn there(source: &Source, listing: &Listing, object: &Object) -> Result<There, Failure> {
    if let Some(bytes) = listing.take(&object.name) {
        return Ok(There::Yes(bytes));
    }
    // It may be newer than the listing.
    if let Some(bytes) = source.store.size(&object.name).await? {
        return Ok(There::Yes(bytes));
    }
    let Some(staged) = &object.staged else { return Ok(There::No) };
    if source.store.size(staged).await?.is_some() {
        return Ok(There::Staged);
    }
    // It may have got its name between the two questions.
    Ok(source.store.size(&object.name).await?.map_or(There::No, There::Yes))
}
