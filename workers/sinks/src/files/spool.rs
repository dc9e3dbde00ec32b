//! A file that is being written, in the staging folder: locked by its writer, gone when it is dropped.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use longshore_core::{Failure, WriterId};
use rustix::fs::{FlockOperation, flock};

use crate::io::classify;

/// Tells apart the staging files of one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A locked staging file.
///
/// Writes go to a place that the caller names, and the caller alone knows how much of the file counts: after a failed or
/// dropped write the same place is simply written again.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    path: PathBuf,
    /// Set when something published names this file: it must survive its writer then.
    kept: bool,
}

impl Spool {
    /// Makes and locks a new staging file.
    pub(super) fn create(folder: &Path, writer: WriterId) -> Result<Self, Failure> {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{writer}-{number}.spool"));
            let fail = |error| classify("create", &path, &error);
            let file = match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(fail(error)),
            };
            // Between the making and the lock a recovery may take the file for a leftover and remove it.
            let locked = try_lock(&file).map_err(fail)?;
            if locked && file.metadata().map_err(fail)?.nlink() > 0 {
                return Ok(Self { file, path, kept: false });
            }
        }
    }

    /// Writes bytes at a place. What a failed write leaves is cut off, to give the space back.
    pub(super) fn write(&self, bytes: &[u8], place: u64) -> Result<(), Failure> {
        self.file.write_all_at(bytes, place).map_err(|error| {
            let _ = self.file.set_len(place);
            classify("write", &self.path, &error)
        })
    }

    /// Makes the first `size` bytes durable and forgets the rest.
    pub(super) fn finish(&self, size: u64) -> Result<(), Failure> {
        let finished = self.file.set_len(size).and_then(|()| self.file.sync_all());
        finished.map_err(|error| classify("sync", &self.path, &error))
    }

    /// Gives the file a second name. False when that name is taken by another file; when it is this very file, an
    /// earlier try had come through.
    pub(super) fn link(&self, name: &Path) -> Result<bool, Failure> {
        match fs::hard_link(&self.path, name) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.is(name),
            Err(error) => Err(classify("link", name, &error)),
        }
    }

    /// Whether the file stands under `name`.
    pub(super) fn is(&self, name: &Path) -> Result<bool, Failure> {
        let ours = self.file.metadata().map_err(|error| classify("stat", &self.path, &error))?;
        match fs::metadata(name) {
            Ok(other) => Ok((ours.dev(), ours.ino()) == (other.dev(), other.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(classify("stat", name, &error)),
        }
    }

    /// The file's name in the staging folder.
    pub(super) fn name(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// From now on the file survives its writer, until [`Self::release`].
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }

    /// The staging name is not needed any more.
    pub(super) fn release(&mut self) {
        self.kept = false;
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if !self.kept {
            // Whatever stays behind is removed by the next recovery of the pair.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Staging files that no living writer holds, locked by us.
#[derive(Debug, Default)]
pub(super) struct Leftovers(Vec<(File, PathBuf)>);

impl Leftovers {
    /// Locks every file of the folder that is not locked. The locks must be taken before the ledger is read: a writer
    /// that dies between the two could have published an entry that names its file.
    pub(super) fn lock(folder: &Path) -> io::Result<Self> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match OpenOptions::new().read(true).write(true).open(&path) {
                Ok(file) if try_lock(&file)? => found.push((file, path)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self(found))
    }

    /// Removes them.
    pub(super) fn remove(self) -> io::Result<()> {
        for (_file, path) in self.0 {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Failure> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|error| classify("sync", folder, &error))
}

fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
