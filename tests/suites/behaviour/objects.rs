//! The `objects` sink, on a file system that all workers see and on a store with S3's protocol.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use longshore_core::Generation;
use longshore_core::sink::Sink;
use longshore_sinks::objects::{self, Columns, Format, ObjectsOptions, ObjectsSink, Place};
use longshore_tests::harness::faulty::{Fault, Faulty, Request, Rule};
use longshore_tests::harness::readback::{self, Reader, read_back};
use longshore_tests::harness::store::{KEY, REGION, SECRET, Store, shared_store};
use tempfile::TempDir;

use super::files::{bring_back, root, take_away};
use super::fixture::{Fixture, Seen, Wire, rows_of_lines};
use super::owner::PIPELINE;

/// The root of what is written in a bucket.
const PREFIX: &str = "lake/raw";

fn sink(place: Place, parquet: bool, staging: &Path) -> Arc<dyn Sink> {
    let options = ObjectsOptions {
        place,
        format: if parquet { Format::Parquet } else { Format::JsonlZst },
        columns: Arc::new(Columns::log()),
        partition: Vec::new(),
        level: 3,
        row_group: 4 << 20,
        full: 256 << 20,
        staging: staging.to_owned(),
    };
    Arc::new(ObjectsSink::new("objects", PIPELINE, Generation::FIRST, options).unwrap())
}

fn rows(parquet: bool, place: readback::Place<'_>, folder: &Path) -> Option<Vec<Seen>> {
    if !parquet {
        return Some(rows_of_lines(folder));
    }
    let found = read_back(Reader::Pyarrow, place)?;
    Some(found.rows.iter().map(Seen::of_fields).collect())
}

/// A folder.
pub(crate) struct Folder<const PARQUET: bool> {
    folder: TempDir,
}

impl<const PARQUET: bool> Fixture for Folder<PARQUET> {
    fn fresh(_: &str) -> Option<Self> {
        Some(Self { folder: tempfile::tempdir().unwrap() })
    }

    fn address(&self) -> String {
        root(&self.folder).display().to_string()
    }

    fn sink_at(address: &str) -> Arc<dyn Sink> {
        let folder = Path::new(address);
        sink(Place::Folder(folder.to_owned()), PARQUET, &folder.with_extension("staging"))
    }

    fn rows(&self) -> Option<Vec<Seen>> {
        let root = root(&self.folder);
        rows(PARQUET, readback::Place::Folder(&root), &root)
    }

    fn take_away(&self) {
        take_away(&root(&self.folder));
    }

    fn bring_back(&self) {
        bring_back(&root(&self.folder));
    }
}

/// A bucket of the suite's store.
pub(crate) struct Bucket<const PARQUET: bool> {
    store: &'static Store,
    name: String,
    staging: TempDir,
    way: Faulty,
}

impl<const PARQUET: bool> Bucket<PARQUET> {
    /// The requests since this was asked last.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.way.take_seen()
    }

    /// Loses the answers to the next requests like this one.
    pub(crate) fn lose_answers(&self, method: &'static str, target: &str, times: usize) {
        self.way.rule(Rule::all(Fault::LoseAnswer).only(method, target).times(times));
    }

    /// All objects below the sink's place, as the store's files.
    pub(crate) fn names(&self) -> Vec<String> {
        files_below(&self.store.bucket_folder(&self.name).join(PREFIX))
    }

    /// What lies where objects are staged, and the uploads in parts that nobody ended: the store keeps those in a folder of its own.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        let bucket = self.store.bucket_folder(&self.name);
        let mut left = files_below(&bucket.join(PREFIX))
            .into_iter()
            .filter(|name| name.contains("/staging/"))
            .collect::<Vec<_>>();
        left.extend(files_below(&bucket.join(".sgwtmp/multipart")));
        left
    }
}

impl<const PARQUET: bool> Fixture for Bucket<PARQUET> {
    fn fresh(name: &str) -> Option<Self> {
        let store = shared_store()?;
        store.bucket(name);
        let (staging, way) = (tempfile::tempdir().unwrap(), Faulty::before(store.port()));
        Some(Self { store, name: name.to_owned(), staging, way })
    }

    fn address(&self) -> String {
        format!("{} {} {}", self.way.endpoint(), self.name, self.staging.path().display())
    }

    fn sink_at(address: &str) -> Arc<dyn Sink> {
        let parts: Vec<&str> = address.splitn(3, ' ').collect();
        let [endpoint, name, staging] = parts[..] else { panic!("{address}") };
        let bucket = objects::Bucket {
            name: name.to_owned(),
            prefix: PREFIX.to_owned(),
            endpoint: Some(endpoint.to_owned()),
            region: Some(REGION.to_owned()),
            keys: Some((KEY.to_owned(), SECRET.to_owned())),
            virtual_hosts: false,
        };
        sink(Place::Bucket(Box::new(bucket)), PARQUET, Path::new(staging))
    }

    fn rows(&self) -> Option<Vec<Seen>> {
        let place = readback::Place::Bucket(self.store, &self.name, PREFIX);
        rows(PARQUET, place, &self.store.bucket_folder(&self.name).join(PREFIX))
    }

    fn take_away(&self) {
        self.way.rule(Rule::all(Fault::SlowDown));
    }

    fn bring_back(&self) {
        self.way.heal();
    }

    fn wire(&self) -> Option<&dyn Wire> {
        Some(&self.way)
    }
}

impl Wire for Faulty {
    fn break_after(&self, requests: usize, done: bool) {
        self.heal();
        drop(self.take_seen());
        let fault = if done { Fault::LoseAnswer } else { Fault::Cut };
        self.rule(Rule::all(fault).after(requests).times(1));
        self.rule(Rule::all(Fault::Cut));
    }

    fn is_broken(&self) -> bool {
        self.faults() > 0
    }

    fn mend(&self) {
        self.heal();
    }
}

fn files_below(folder: &Path) -> Vec<String> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.display().to_string());
            }
        }
    }
    files
}
