//! Judges what lies in a sink folder by the formats alone. Nothing of the writer is called here, not even its types: a
//! mistake made there must not hide itself here.
//!
//! Every file is read whole. What is found wrong is a [`Finding`] that names the file, the line and the row's origin;
//! the rows themselves are handed to a visitor, who knows what was published and can count.

mod claim;
mod finding;
mod listing;
mod rows;

use std::io;
use std::path::Path;

use longshore_core::Origin;

pub use self::claim::{Claim, read_claim};
pub(crate) use self::claim::{Tail, claim_in_tail, read_as};
pub use self::finding::{Finding, Problem};
pub use self::listing::{Listing, SinkFile, list};
pub use self::rows::lines_of;
pub(crate) use self::rows::parse as parse_row;

/// One row as it lies in a file.
#[derive(Clone, Debug)]
pub struct RowSeen<'a> {
    /// The file.
    pub file: &'a SinkFile,
    /// The line in the unpacked file, from 1.
    pub line: u64,
    /// Its identity.
    pub origin: &'a Origin,
    /// The row as it stands there, without the newline.
    pub json: &'a str,
}

/// One file as it was found.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// The file.
    pub file: SinkFile,
    /// Its trailer; none when it cannot be read.
    pub claim: Option<Claim>,
    /// Lines that were read.
    pub rows: u64,
    /// The file's size.
    pub stored_bytes: u64,
}

/// What a whole folder gave.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every file, by generation, topic, partition and number.
    pub files: Vec<FileReport>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Rows in all files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Records filtered, by reason, as the trailers say.
    pub fn filtered(&self) -> std::collections::BTreeMap<String, u64> {
        let mut sums = std::collections::BTreeMap::new();
        for (reason, count) in
            self.files.iter().filter_map(|file| file.claim.as_ref()).flat_map(|claim| &claim.filtered)
        {
            *sums.entry(reason.clone()).or_default() += count;
        }
        sums
    }
}

/// Reads a sink's folder (the one that holds `g0001`) and checks it:
///
/// - numbers have no gaps and every file has a trailer that is its own,
/// - every row is whole, carries an origin of the file's partition, lies in what the trailer claims and in nothing that an
///   earlier file claims, and stands once,
/// - a file has as many rows as its trailer says; a plain one has the hash that its ledger entry says.
///
/// # Errors
/// When a folder cannot be listed; a file that cannot be read is a finding.
pub fn verify(root: &Path, mut visit: impl FnMut(&RowSeen<'_>)) -> io::Result<Report> {
    let listing = list(root)?;
    let mut report = Report { files: Vec::with_capacity(listing.files.len()), findings: listing.findings };
    for pair in listing.files.chunk_by(SinkFile::same_pair) {
        verify_pair(pair, &mut report, &mut visit);
    }
    Ok(report)
}

fn verify_pair(files: &[SinkFile], report: &mut Report, visit: &mut dyn FnMut(&RowSeen<'_>)) {
    let mut earlier = claim::Held::default();
    let mut expected = 0;
    for file in files {
        for missing in expected..file.sequence {
            report.findings.push(Finding::of_file(&file.path, Problem::SequenceMissing(missing)));
        }
        expected = file.sequence + 1;
        let claim = match read_claim(file) {
            Ok(claim) => Some(claim),
            Err(finding) => {
                report.findings.push(finding);
                None
            }
        };
        let rows = rows::check(file, claim.as_ref(), &earlier, &mut report.findings, visit);
        if let Some(claim) = &claim {
            claim.check(file, rows, &mut report.findings);
            report.findings.extend(claim::check_content(file));
            earlier.add(claim);
        }
        let stored_bytes = std::fs::metadata(&file.path).map_or(0, |metadata| metadata.len());
        report.files.push(FileReport { file: file.clone(), claim, rows, stored_bytes });
    }
}
