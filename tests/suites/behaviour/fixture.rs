//! What a sink brings to be judged, and the judgement that ends every scenario.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use longshore_core::sink::Sink;
use longshore_core::{Offset, Origin};
use longshore_testkit::Random;
use serde_json::Value;

use super::owner::Owner;

/// A place that a sink writes to.
pub(crate) trait Fixture: Sized + Send + Sync + 'static {
    /// A fresh and empty place of this name; none where its real part is missing.
    fn fresh(name: &str) -> Option<Self>;

    /// By what another process finds the place.
    fn address(&self) -> String;

    /// The sink at an address, as a worker opens it.
    fn sink_at(address: &str) -> Arc<dyn Sink>;

    /// All rows in no order, read by something that has nothing of the sink; none where it is missing.
    fn rows(&self) -> Option<Vec<Seen>>;

    /// Takes the target away until [`Self::bring_back`]: whoever writes meanwhile must fail.
    fn take_away(&self);

    /// Gives it back as it was.
    fn bring_back(&self);

    /// The connection to the target, which can be broken at any request; none for a file system.
    fn wire(&self) -> Option<&dyn Wire> {
        None
    }
}

/// A connection on which one request of many gets lost.
pub(crate) trait Wire: Sync {
    /// Lets so many requests pass, and then none until [`Self::mend`]. Of the first one that does not pass either nothing arrives, or
    /// (`done`) it is done and its answer lost.
    fn break_after(&self, requests: usize, done: bool);

    /// Whether a request was lost since.
    fn is_broken(&self) -> bool;

    /// Lets everything pass again.
    fn mend(&self);
}

/// A row as it was read back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) offset: i64,
    pub(crate) index: u32,
    pub(crate) text: String,
}

impl Seen {
    /// A row by its identity and text.
    pub(crate) fn new(origin: &str, text: &str) -> Self {
        let origin: Origin = origin.parse().unwrap();
        assert_eq!(
            (origin.topic.as_str(), origin.partition.0),
            (super::owner::TOPIC, super::owner::PARTITION)
        );
        Self { offset: origin.offset.0, index: origin.index, text: text.to_owned() }
    }

    /// A row by its JSON or a reader's names for it.
    pub(crate) fn of_fields(row: &serde_json::Map<String, Value>) -> Self {
        Self::new(row["_origin"].as_str().unwrap(), row["body"].as_str().unwrap())
    }
}

/// A place of the running test's own.
pub(crate) fn fresh<F: Fixture>() -> Option<F> {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("test").replace("::", "-").replace('_', "-");
    // Names of databases and buckets are short.
    F::fresh(test[..test.len().min(60)].trim_end_matches('-'))
}

/// The text of a record: its offset and index, its length, and letters that compress badly. So a reader can tell that it is whole.
pub(crate) fn text(offset: i64, index: u32, bytes: usize) -> String {
    let mut random = Random::new(offset as u64 * 31 + u64::from(index));
    let mut text = format!("record {offset}.{index} of {bytes} ");
    while text.len() < bytes {
        text.push_str(&format!("{:016x}", random.bits()));
    }
    text
}

/// Checks that the place holds exactly these records, each with one whole row, and that its ledger says the same of all records below
/// `end`; `filtered` have no row and are held all the same.
pub(crate) async fn judge<F: Fixture>(fixture: &F, end: i64, missing: &[i64], filtered: &[i64]) {
    let Some(mut rows) = fixture.rows() else { return };
    rows.sort();
    for row in &rows {
        let bytes = row.text.split(' ').nth(3).unwrap_or_default().parse().unwrap_or(0);
        assert_eq!(row.text, text(row.offset, row.index, bytes), "a row is damaged");
    }
    let found: Vec<i64> = rows.iter().map(|row| row.offset).collect();
    let without: BTreeSet<i64> = missing.iter().chain(filtered).copied().collect();
    let expected: Vec<i64> = (0..end).filter(|offset| !without.contains(offset)).collect();
    assert_eq!(found, expected, "rows");
    let view = Owner::take_over(&fixture.sink(), 9_999).await.view;
    for offset in 0..end {
        assert_eq!(view.holdings.holds(Offset(offset)), !missing.contains(&offset), "the ledger of {offset}");
    }
    assert!(view.end().is_none_or(|held| held.0 <= end), "the ledger goes to {:?}", view.end());
}

/// What every fixture can do.
pub(crate) trait Open {
    /// The sink, opened anew, as by another worker.
    fn sink(&self) -> Arc<dyn Sink>;
}

impl<F: Fixture> Open for F {
    fn sink(&self) -> Arc<dyn Sink> {
        F::sink_at(&self.address())
    }
}

/// The rows in all JSON lines files of a folder, plain or packed, those under names that begin with `_` or `.` excepted.
pub(crate) fn rows_of_lines(folder: &Path) -> Vec<Seen> {
    let (mut rows, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let path = entry.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(['_', '.']) {
                continue;
            }
            // As it was listed: a store takes folders away that became empty, and what is gone looks like no folder.
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                let file = File::open(&path).unwrap();
                if name.ends_with(".zst") {
                    add_lines(BufReader::new(zstd::Decoder::new(file).unwrap()), &mut rows);
                } else if name.ends_with(".jsonl") {
                    add_lines(BufReader::new(file), &mut rows);
                }
            }
        }
    }
    rows
}

fn add_lines(lines: impl BufRead, rows: &mut Vec<Seen>) {
    rows.extend(lines.lines().map(|line| Seen::of_fields(&serde_json::from_str(&line.unwrap()).unwrap())));
}
