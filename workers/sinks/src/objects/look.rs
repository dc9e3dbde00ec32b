//! Requests of those who look at a store and change nothing.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use longshore_core::Failure;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt};

use super::errors::failure;
use super::store::Store;

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: Path,
    pub(super) bytes: u64,
    /// When it was written, milliseconds since 1970.
    pub(super) written_ms: i64,
}

impl Store {
    /// All objects below a prefix, as they come and in no order.
    pub(super) fn walk(&self, prefix: &Path) -> BoxStream<'static, Result<Listed, Failure>> {
        let (found, prefix) = (self.inner.list(Some(prefix)), prefix.clone());
        let listed = found.map(move |object| match object {
            Ok(object) => Ok(Some(Listed {
                bytes: object.size,
                written_ms: object.last_modified.timestamp_millis(),
                name: object.location,
            })),
            // Gone since its folder was read, or a folder that was not made yet.
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failure("list", &prefix, &error)),
        });
        listed.try_filter_map(async |object| Ok(object)).boxed()
    }

    /// What lies right below a prefix: objects, and folders.
    pub(super) async fn level(&self, prefix: &Path) -> Result<(Vec<Path>, Vec<Path>), Failure> {
        match self.inner.list_with_delimiter(Some(prefix)).await {
            Ok(found) => {
                let objects = found.objects.into_iter().map(|object| object.location).collect();
                Ok((objects, found.common_prefixes))
            }
            Err(Error::NotFound { .. }) => Ok(Default::default()),
            Err(error) => Err(failure("list", prefix, &error)),
        }
    }

    /// Parts of an object; none when there is no such object.
    pub(super) async fn ranges(
        &self,
        name: &Path,
        ranges: &[Range<u64>],
    ) -> Result<Option<Vec<Bytes>>, Failure> {
        match self.inner.get_ranges(name, ranges).await {
            Ok(parts) => Ok(Some(parts)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failure("read", name, &error)),
        }
    }

    /// An object as a file of this machine: where it lies on a disk itself, else a copy without a name. None when there is no such object.
    pub(super) async fn as_file(&self, name: &Path) -> Result<Option<File>, Failure> {
        if let Some(path) = self.on_disk(name) {
            return match File::open(&path) {
                Ok(file) => Ok(Some(file)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(crate::io::classify("read", &path, &error)),
            };
        }
        let here = |error: std::io::Error| crate::io::classify("write to", &std::env::temp_dir(), &error);
        let mut file = tempfile::tempfile().map_err(here)?;
        let answer = match self.inner.get(name).await {
            Ok(answer) => answer,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failure("read", name, &error)),
        };
        let mut parts = answer.into_stream();
        while let Some(part) = parts.next().await {
            file.write_all(&part.map_err(|error| failure("read", name, &error))?).map_err(here)?;
        }
        std::io::Seek::rewind(&mut file).map_err(here)?;
        Ok(Some(file))
    }

    /// Where an object lies on a disk of this machine; none in other stores.
    pub(super) fn on_disk(&self, name: &Path) -> Option<PathBuf> {
        self.disk.as_ref()?.path_to_filesystem(name).ok()
    }
}
