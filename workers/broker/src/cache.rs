//! The per-user cache folder and its lock.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{BrokerError, Missing};

/// `$LONGSHORE_CACHE`, or `$XDG_CACHE_HOME/longshore`, or `~/.cache/longshore`; it need not exist yet.
pub(crate) fn folder() -> Result<PathBuf, Missing> {
    let given = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    given("LONGSHORE_CACHE")
        .or_else(|| given("XDG_CACHE_HOME").map(|cache| cache.join("longshore")))
        .or_else(|| given("HOME").map(|home| home.join(".cache/longshore")))
        .ok_or(Missing::CacheFolder)
}

/// Held by whoever fills the cache; others wait. The kernel releases it when its holder ends, however that happens.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock of `folder`, which is made if missing, and removes what a killed holder left unfinished.
    pub(crate) fn acquire(folder: &Path) -> Result<Self, BrokerError> {
        let action = format!("lock the cache {}", folder.display());
        fs::create_dir_all(folder).map_err(BrokerError::io(action.clone()))?;
        let file = File::create(folder.join("lock")).map_err(BrokerError::io(action.clone()))?;
        file.lock().map_err(BrokerError::io(action.clone()))?;
        for entry in fs::read_dir(folder).map_err(BrokerError::io(action))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(STAGING) {
                // Somebody else's rubbish: if it cannot go, it costs space and nothing else.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(Self { _file: file })
    }
}

const STAGING: &str = "staging-";

/// A folder in `folder` to build something in before it is renamed to its place; gone when dropped. Only under [`Lock`].
pub(crate) fn staging(folder: &Path) -> Result<tempfile::TempDir, BrokerError> {
    tempfile::Builder::new()
        .prefix(STAGING)
        .tempdir_in(folder)
        .map_err(BrokerError::io(format!("make a folder in {}", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: a holder of the lock was killed in the middle of its work.
    /// Guarantee: the next one finds the lock free and the unfinished folder gone.
    #[test]
    fn unfinished_work_is_removed() {
        let cache = tempfile::tempdir().unwrap();
        let first = Lock::acquire(cache.path()).unwrap();
        let unfinished = staging(cache.path()).unwrap().keep();
        drop(first);
        let _second = Lock::acquire(cache.path()).unwrap();
        assert!(!unfinished.exists());
    }
}
