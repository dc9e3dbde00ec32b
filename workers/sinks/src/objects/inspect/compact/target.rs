//! The place that a compaction goes to.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::TryStreamExt;
use longshore_core::{Failure, Reason};
use object_store::path::Path;

use super::{Compacted, Manifest};
use crate::objects::entry;
use crate::objects::inspect::{LEDGER_FOLDER, Source};
use crate::objects::layout::noted;
use crate::objects::publish::{Progress, complete};
use crate::objects::store::Store;
use crate::objects::{Bucket, Place};

/// The end of the name of the folder beside a place in which a compaction to it is made.
const ASIDE: &str = ".compacting";

/// What was found at the place.
pub(super) enum State {
    /// Nothing, or what a run has staged that did not come to its end.
    Free,
    /// A list of objects, not all of which have their names.
    Decided(Manifest),
}

/// The place, or the folder beside it.
pub(super) struct Target {
    pub(super) store: Store,
    words: String,
    /// The folder in which it is made, and its name at the end; none where names are given one by one.
    rename: Option<(PathBuf, PathBuf)>,
    /// Tells the staged objects of this run from those of others.
    run: String,
}

impl Target {
    pub(super) fn open(source: &Source, out: &Place) -> Result<Self, Failure> {
        let unfit = |words: String| Failure::halt(Reason::SinkUnfit, format!("--out: {words}"));
        let (place, words, rename) = match out {
            Place::Folder(folder) => {
                let folder = std::path::absolute(folder).map_err(|error| unfit(error.to_string()))?;
                let mut aside = folder.clone().into_os_string();
                aside.push(ASIDE);
                let aside = PathBuf::from(aside);
                (Place::Folder(aside.clone()), folder.display().to_string(), Some((aside, folder)))
            }
            Place::Bucket(bucket) => (out.clone(), words_of(bucket), None),
            Place::Cloud(cloud) => {
                (out.clone(), format!("{}{}/{}", cloud.kind.scheme(), cloud.name, cloud.prefix), None)
            }
        };
        let store = Store::new(&place).map_err(unfit)?;
        let final_root = match &rename {
            Some((_, folder)) => Store::new(&Place::Folder(folder.clone())).map_err(unfit)?.root().clone(),
            None => store.root().clone(),
        };
        let ours = source.store.root();
        if source.is_at(out) && (final_root.prefix_matches(ours) || ours.prefix_matches(&final_root)) {
            return Err(unfit(format!("{words} is the sink's own place, or in it, or around it")));
        }
        let nanos =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Ok(Self { store, words, rename, run: format!("{nanos:x}-{}", std::process::id()) })
    }

    pub(super) fn refused(&self, words: &str) -> Failure {
        Failure::halt(Reason::SinkUnfit, format!("--out: {} {words}", self.words))
    }

    /// What is there already; what nobody may write over is an error.
    pub(super) async fn state(&self) -> Result<State, Failure> {
        if let Some((_, folder)) = &self.rename
            && !is_empty(folder)?
        {
            return Err(self.refused("is not empty"));
        }
        let (list, staging) = (self.list(), self.staging());
        let mut names = self.store.walk(self.store.root());
        let (mut data, mut decided, mut staged) = (false, false, false);
        while let Some(found) = names.try_next().await? {
            if found.name == list {
                decided = true;
            } else if found.name.prefix_matches(&staging) {
                staged = true;
            } else {
                data = true;
            }
        }
        match (decided, data) {
            (false, false) => Ok(State::Free),
            // In a bucket it is finished when nothing is staged; in a folder when it has its name, which it has not.
            (true, _) if staged || self.rename.is_some() => Ok(State::Decided(self.manifest().await?)),
            (true, _) => Err(self.refused("holds a compaction already")),
            (false, true) if self.rename.is_some() => {
                Err(self
                    .refused(&format!("cannot be made: the folder beside it, {ASIDE}, is no compaction's")))
            }
            (false, true) => Err(self.refused("is not empty")),
        }
    }

    async fn manifest(&self) -> Result<Manifest, Failure> {
        let bytes = self.store.get(&self.list()).await?.unwrap_or_default();
        let manifest: Result<Manifest, _> = serde_json::from_slice(&bytes);
        manifest.map_err(|error| crate::pair_ledger::broken(self.list(), error))
    }

    fn ledger(&self) -> Path {
        self.store.root().clone().join(LEDGER_FOLDER)
    }

    fn list(&self) -> Path {
        self.ledger().join("compacted")
    }

    fn staging(&self) -> Path {
        self.ledger().join("staging")
    }

    /// Puts a finished file where it is staged; the object as the list will name it.
    pub(super) async fn stage(
        &self,
        number: usize,
        name: String,
        file: std::fs::File,
        rows: u64,
    ) -> Result<entry::Object, Failure> {
        let bytes = file.metadata().map_err(|error| here(&error))?.len();
        let staged = format!("{LEDGER_FOLDER}/staging/{}-{number:06}", self.run);
        self.store.upload(&self.full(&staged), &Arc::new(file), bytes, &|| ()).await?;
        Ok(entry::Object { name, staged, bytes, rows })
    }

    fn full(&self, name: &str) -> Path {
        let name = format!("{}/{name}", self.store.root());
        Path::parse(&name).unwrap_or_else(|_| Path::from(name))
    }

    /// Writes the list, if no other run has.
    pub(super) async fn decide(&self, manifest: &Manifest) -> Result<(), Failure> {
        let text = serde_json::to_vec(manifest).map_err(|error| Failure::halt(Reason::Internal, error))?;
        if self.store.create(&self.list(), Bytes::from(text)).await? {
            return Ok(());
        }
        self.store.delete(manifest.objects.iter().map(|object| self.full(&object.staged)).collect()).await;
        Err(self.refused("was compacted to by another run meanwhile"))
    }

    /// Gives the objects of the list their names, and the folder its own.
    pub(super) async fn finish(
        &self,
        manifest: &Manifest,
        mut done: Compacted,
    ) -> Result<Compacted, Failure> {
        done.objects = manifest.objects.len() as u64;
        done.bytes = manifest.objects.iter().map(|object| object.bytes).sum();
        done.rows = manifest.objects.iter().map(|object| object.rows).sum();
        complete(&self.store, &manifest.objects, &Progress::new(None)).await?;
        let left = self.store.list(&self.staging(), None).await?;
        for note in left.iter().filter(|name| noted(name).is_some()) {
            self.store.give_up_noted(note).await?;
        }
        self.store.delete(left).await;
        // What cannot be removed is in nobody's way: readers do not look there.
        self.store.torsos(&self.staging()).await?.iter().for_each(|torso| drop(std::fs::remove_file(torso)));
        if let Some((aside, folder)) = &self.rename {
            let _ = std::fs::remove_dir(aside.join(LEDGER_FOLDER).join("staging"));
            let named = std::fs::rename(aside, folder);
            named.map_err(|error| crate::io::classify("name", folder, &error))?;
            if let Some(parent) = folder.parent() {
                // The names are there for all to see; this makes them survive a power cut.
                let _ = std::fs::File::open(parent).and_then(|parent| parent.sync_all());
            }
        }
        Ok(done)
    }
}

impl Source {
    /// Whether a place is in the same store as the source's.
    fn is_at(&self, out: &Place) -> bool {
        match (&self.place, out) {
            (Place::Folder(_), Place::Folder(_)) => true,
            (Place::Bucket(ours), Place::Bucket(theirs)) => {
                (&ours.name, &ours.endpoint) == (&theirs.name, &theirs.endpoint)
            }
            (Place::Cloud(ours), Place::Cloud(theirs)) => {
                (ours.kind, &ours.name) == (theirs.kind, &theirs.name)
            }
            (Place::Folder(_) | Place::Bucket(_) | Place::Cloud(_), _) => false,
        }
    }
}

fn words_of(bucket: &Bucket) -> String {
    format!("s3://{}/{}", bucket.name, bucket.prefix)
}

/// Whether nothing is there, or an empty folder.
fn is_empty(folder: &FilePath) -> Result<bool, Failure> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(crate::io::classify("look into", folder, &error)),
    }
}

/// A failure of a file on its way, which has no name.
pub(super) fn here(error: &std::io::Error) -> Failure {
    crate::io::classify("write to", &std::env::temp_dir(), error)
}
