//! The folder of a run: replaced by the next run, never while one is at work in it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::exit::{End, Exit};

/// A file that marks a folder as a run's, so that nothing else is ever removed. A run at work holds its lock.
const MARKER: &str = ".longshore-dev";

/// A run's folder, ours until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// An empty folder for the run. An earlier run's is replaced, anything else is left alone.
    pub(crate) fn fresh(dir: &Path) -> Result<Self, End> {
        let named = |error: std::io::Error| End::new(Exit::Usage, format!("{}: {error}", dir.display()));
        if dir.exists() {
            let empty = std::fs::read_dir(dir).map_err(named)?.next().is_none();
            if !empty {
                // Held until the folder is gone, so that of two that begin together one is refused.
                let _lock = lock(dir)?;
                std::fs::remove_dir_all(dir).map_err(named)?;
            }
        }
        std::fs::create_dir_all(dir).map_err(named)?;
        let words = "a run of longshore dev; the next one replaces this folder\n";
        std::fs::write(dir.join(MARKER), words).map_err(named)?;
        let lock = lock(dir)?;
        Ok(Self { path: std::fs::canonicalize(dir).map_err(named)?, _lock: lock })
    }

    /// Where it is, from the root.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn lock(dir: &Path) -> Result<File, End> {
    let refused =
        |words: &str| End::new(Exit::Usage, format!("{} {words}; choose another with --dir", dir.display()));
    let marker = File::open(dir.join(MARKER)).map_err(|_| refused("is not empty and not an earlier run"))?;
    match marker.try_lock() {
        Ok(()) => Ok(marker),
        Err(TryLockError::WouldBlock) => Err(refused("is in use by a `longshore dev` that still runs")),
        Err(TryLockError::Error(error)) => Err(End::new(Exit::Usage, format!("{}: {error}", dir.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a folder that somebody else made. Guarantee: it is refused and nothing in it is touched.
    #[test]
    fn a_foreign_folder_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
        let end = Folder::fresh(dir.path()).unwrap_err();
        assert!(end.message.contains("not an earlier run"), "{}", end.message);
        assert!(dir.path().join("thesis.txt").exists());
    }

    /// Scenario: a run begins in the folder of one at work, and again when that has ended. Guarantee: refused, with the
    /// files left as they are; then replaced.
    #[test]
    fn a_run_at_work_keeps_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::fresh(dir.path()).unwrap();
        std::fs::write(first.path().join("row"), "1").unwrap();
        let end = Folder::fresh(dir.path()).unwrap_err();
        assert!(end.message.contains("in use"), "{}", end.message);
        assert!(dir.path().join("row").exists());
        drop(first);
        Folder::fresh(dir.path()).unwrap();
        assert!(!dir.path().join("row").exists());
    }
}
