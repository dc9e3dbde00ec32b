//! The files that workers leave.

use std::fs;
use std::path::{Path, PathBuf};

/// All `.zst` files in a folder and the folders below it; none of a folder that is not there.
///
/// # Panics
/// When an entry cannot be read.
#[must_use]
pub fn packed_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display())).path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "zst") {
                files.push(path);
            }
        }
    }
    files
}
