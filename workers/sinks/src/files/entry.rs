//! The ledger entry of a plain file: its trailer, kept beside it, since plain JSON lines have no place for one.
//!
//! The entry's appearance is what publishes the segment; the data gets its name right after. Whoever finds an entry
//! without its data gives the data its name from the staging file that the entry names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use longshore_core::Failure;
use longshore_core::format::FILES_ENTRY;
use longshore_core::ledger::Trailer;
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::spool::sync_folder;
use crate::io::classify;
use crate::pair_ledger;

/// What an entry says. Version 1 does not name itself; a later one would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// The trailer.
    pub(super) trailer: Trailer,
    /// The data's size.
    pub(super) bytes: u64,
    /// The data's hash, in hex.
    pub(super) blake3: String,
    /// The data's name in the staging folder, until it has its own.
    pub(super) staging: String,
}

/// Reads an entry; none when there is none.
pub(super) fn read(path: &Path) -> Result<Option<Entry>, Failure> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(classify("read", path, &error)),
    };
    let entry = pair_ledger::entry(FILES_ENTRY, &bytes);
    entry.map(Some).map_err(|error| pair_ledger::unreadable(path.display(), error))
}

/// Gives published data its name if it has none yet, from staging, after its hash was checked.
pub(super) fn complete(layout: &Layout, entry: &Entry) -> Result<(), Failure> {
    let data = layout.data_file(entry.trailer.sequence);
    match std::fs::metadata(&data) {
        Ok(found) if found.len() == entry.bytes => return Ok(()),
        Ok(_) => return Err(broken(&data, "its size is not what its ledger entry says")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(classify("stat", &data, &error)),
    }
    // An entry is a file that anyone may have written to; its staging name must not lead elsewhere.
    if entry.staging.contains('/') || entry.staging.starts_with('.') {
        return Err(broken(&data, "its ledger entry names a staging file outside the staging folder"));
    }
    let staging = layout.staging.join(&entry.staging);
    match hash_of(&staging) {
        Ok(hash) if hash == entry.blake3 => {}
        Ok(_) => {
            return Err(broken(&data, "the data is missing and its staging file is another's or damaged"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Its writer may have finished in between.
            return if data.exists() { Ok(()) } else { Err(broken(&data, "the data is missing")) };
        }
        Err(error) => return Err(classify("read", &staging, &error)),
    }
    match std::fs::hard_link(&staging, &data) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        // Or in between now, and it took the staging file away.
        Err(error) if error.kind() == io::ErrorKind::NotFound && data.exists() => {}
        Err(error) => return Err(classify("link", &data, &error)),
    }
    sync_folder(&layout.data)
}

/// A ledger that cannot be read, or that does not fit its data.
pub(super) fn broken(path: &Path, detail: impl std::fmt::Display) -> Failure {
    pair_ledger::broken(path.display(), detail)
}

fn hash_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            count => hasher.update(&buffer[..count]),
        };
    }
}
