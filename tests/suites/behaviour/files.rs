//! The `files` sink.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_core::Generation;
use longshore_core::sink::Sink;
use longshore_sinks::files::Format;
use longshore_sinks::{FilesOptions, FilesSink};
use tempfile::TempDir;

use super::fixture::{Fixture, Seen, rows_of_lines};
use super::owner::PIPELINE;

/// A folder, of plain lines or packed ones.
pub(crate) struct Files<const PLAIN: bool> {
    folder: TempDir,
}

impl<const PLAIN: bool> Fixture for Files<PLAIN> {
    fn fresh(_: &str) -> Option<Self> {
        Some(Self { folder: tempfile::tempdir().unwrap() })
    }

    fn address(&self) -> String {
        root(&self.folder).display().to_string()
    }

    fn sink_at(address: &str) -> Arc<dyn Sink> {
        let format = if PLAIN { Format::Jsonl } else { Format::JsonlZst };
        let options = FilesOptions { format, ..FilesOptions::new(address) };
        Arc::new(FilesSink::new("files", PIPELINE, Generation::FIRST, options).unwrap())
    }

    fn rows(&self) -> Option<Vec<Seen>> {
        Some(rows_of_lines(&root(&self.folder)))
    }

    fn take_away(&self) {
        take_away(&root(&self.folder));
    }

    fn bring_back(&self) {
        bring_back(&root(&self.folder));
    }
}

pub(crate) fn root(folder: &TempDir) -> PathBuf {
    folder.path().join("out")
}

/// Puts a file where the folder was, so that nothing can be made there.
pub(crate) fn take_away(root: &Path) {
    fs::rename(root, root.with_extension("away")).unwrap();
    fs::write(root, "").unwrap();
}

pub(crate) fn bring_back(root: &Path) {
    fs::remove_file(root).unwrap();
    fs::rename(root.with_extension("away"), root).unwrap();
}
