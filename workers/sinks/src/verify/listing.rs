//! Which files a sink folder holds, told by names alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Finding, Problem};

/// A published file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkFile {
    /// Where it lies.
    pub path: PathBuf,
    /// The sink's folder.
    pub root: PathBuf,
    /// The sink generation.
    pub generation: u32,
    /// The input topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Its number.
    pub sequence: u64,
    /// JSON lines in zstd frames, or plain.
    pub compressed: bool,
}

/// What a folder holds.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Published files by generation, topic, partition and number.
    pub files: Vec<SinkFile>,
    /// Names that do not belong there, and ledger entries without data.
    pub findings: Vec<Finding>,
}

impl SinkFile {
    /// Whether two files belong to one partition of one generation.
    pub fn same_pair(&self, other: &Self) -> bool {
        (self.generation, &self.topic, self.partition) == (other.generation, &other.topic, other.partition)
    }

    /// The folder of the pair's ledger.
    pub(super) fn ledger(&self) -> PathBuf {
        let generation = self.root.join(format!("g{:04}", self.generation));
        generation.join("_ledger").join(&self.topic).join(self.partition.to_string())
    }
}

/// Lists the published files of a sink's folder (the one that holds `g0001`).
///
/// # Errors
/// When a folder cannot be listed.
pub fn list(root: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for (name, generation) in entries(root)? {
        let Some(number) = name.strip_prefix('g').and_then(|digits| digits.parse::<u32>().ok()) else {
            listing.stray(generation);
            continue;
        };
        for (topic, folder) in entries(&generation)? {
            if topic == "_ledger" {
                continue;
            }
            for (partition, folder) in entries(&folder)? {
                match partition.parse::<i32>() {
                    Ok(partition) => listing.pair(root, number, &topic, partition, &folder)?,
                    Err(_) => listing.stray(folder),
                }
            }
        }
        listing.entries_without_data(&generation)?;
    }
    let key = |file: &SinkFile| (file.generation, file.topic.clone(), file.partition, file.sequence);
    listing.files.sort_by_cached_key(key);
    Ok(listing)
}

impl Listing {
    fn stray(&mut self, path: PathBuf) {
        self.findings.push(Finding::of_file(&path, Problem::Stray));
    }

    fn pair(
        &mut self,
        root: &Path,
        generation: u32,
        topic: &str,
        partition: i32,
        folder: &Path,
    ) -> io::Result<()> {
        for (name, path) in entries(folder)? {
            let parsed = name.split_once('.').filter(|(digits, _)| digits.len() == 20);
            let parsed = parsed.and_then(|(digits, ending)| Some((digits.parse::<u64>().ok()?, ending)));
            let (sequence, compressed) = match parsed {
                Some((sequence, "jsonl.zst")) => (sequence, true),
                Some((sequence, "jsonl")) => (sequence, false),
                _ => {
                    self.stray(path);
                    continue;
                }
            };
            let (root, topic) = (root.to_owned(), topic.to_owned());
            self.files.push(SinkFile { path, root, generation, topic, partition, sequence, compressed });
        }
        Ok(())
    }

    fn entries_without_data(&mut self, generation: &Path) -> io::Result<()> {
        let ledger = generation.join("_ledger");
        if !ledger.exists() {
            return Ok(());
        }
        for (topic, folder) in entries(&ledger)? {
            for (partition, folder) in entries(&folder)? {
                for (name, path) in entries(&folder)? {
                    let Some(number) = name.strip_suffix(".entry") else { continue };
                    if !generation.join(&topic).join(&partition).join(format!("{number}.jsonl")).exists() {
                        self.findings.push(Finding::of_file(&path, Problem::DataMissing));
                    }
                }
            }
        }
        Ok(())
    }
}

fn entries(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    if !folder.is_dir() {
        // A stray file where a folder belongs is named by the caller's parse of its name.
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder)?;
    entries
        .map(|entry| entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())))
        .collect()
}
