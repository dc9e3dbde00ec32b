//! What a file says it holds, read from its end (zstd) or from the ledger entry beside it (plain).

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Finding, Problem, SinkFile};

/// A trailer as it lies in a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The format's version, 1.
    pub version: u32,
    /// The pipeline's name.
    pub pipeline: String,
    /// The sink generation.
    pub generation: u32,
    /// The Kafka cluster's id.
    pub cluster: String,
    /// The input topic.
    pub topic: String,
    /// The topic's id, empty when the broker gave none.
    pub topic_id: String,
    /// The partition.
    pub partition: i32,
    /// How many partitions the topic had.
    pub partitions: u32,
    /// The file's number.
    pub sequence: u64,
    /// Who wrote it, 32 hex digits.
    pub writer: String,
    /// First offset covered, and the one behind the last.
    pub covers: (i64, i64),
    /// Runs `[first, end)` in `covers` that the file does not hold.
    pub except: Vec<(i64, i64)>,
    /// Runs `[first, end)` that it holds besides.
    pub also: Vec<(i64, i64)>,
    /// Dead letters decided here: offset to replay number.
    pub dead: BTreeMap<i64, u32>,
    /// Rows in the file.
    pub rows: u64,
    /// Records filtered, by reason.
    pub filtered: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Entry {
    trailer: Claim,
    bytes: u64,
    blake3: String,
}

impl Claim {
    /// Whether the file claims the offset.
    pub fn holds(&self, offset: i64) -> bool {
        let within = |run: &(i64, i64)| (run.0..run.1).contains(&offset);
        self.also.iter().any(within) || (within(&self.covers) && !self.except.iter().any(within))
    }

    /// The claimed runs `[first, end)`, rising and disjoint.
    pub fn runs(&self) -> Vec<(i64, i64)> {
        let mut runs = Vec::new();
        let mut from = self.covers.0;
        for (first, end) in &self.except {
            if *first > from {
                runs.push((from, (*first).min(self.covers.1)));
            }
            from = from.max(*end);
        }
        if from < self.covers.1 {
            runs.push((from, self.covers.1));
        }
        runs.extend(&self.also);
        joined(runs)
    }

    /// Checks the claim against the file's place and its number of rows.
    pub(super) fn check(&self, file: &SinkFile, rows: u64, findings: &mut Vec<Finding>) {
        let theirs = (self.generation, self.topic.as_str(), self.partition, self.sequence);
        if theirs != (file.generation, file.topic.as_str(), file.partition, file.sequence) {
            let said = format!("generation {}, {}/{}, number {}", theirs.0, theirs.1, theirs.2, theirs.3);
            findings.push(Finding::of_file(&file.path, Problem::TrailerForeign(said)));
        }
        if self.rows != rows {
            findings
                .push(Finding::of_file(&file.path, Problem::RowCount { claimed: self.rows, found: rows }));
        }
    }
}

/// Offsets that earlier files of a pair claim.
#[derive(Debug, Default)]
pub(super) struct Held(Vec<(i64, i64)>);

impl Held {
    pub(super) fn of(claim: &Claim) -> Self {
        Self(claim.runs())
    }

    pub(super) fn contains(&self, offset: i64) -> bool {
        let behind = self.0.partition_point(|run| run.0 <= offset);
        behind > 0 && offset < self.0[behind - 1].1
    }

    pub(super) fn add(&mut self, claim: &Claim) {
        let mut runs = std::mem::take(&mut self.0);
        runs.extend(claim.runs());
        self.0 = joined(runs);
    }
}

/// Reads what a file says it holds.
///
/// # Errors
/// A finding that says why it cannot be read.
pub fn read_claim(file: &SinkFile) -> Result<Claim, Finding> {
    if file.compressed { read_frame(file) } else { read_entry(file) }
}

fn read_frame(file: &SinkFile) -> Result<Claim, Finding> {
    use std::io::{Read, Seek, SeekFrom};
    let unreadable = |words: String| Finding::of_file(&file.path, Problem::TrailerUnreadable(words));
    let fail = |error: std::io::Error| unreadable(error.to_string());
    let mut data = fs::File::open(&file.path).map_err(fail)?;
    let size = data.metadata().map_err(fail)?.len();
    let mut wanted = size.min(FOOT_BYTES);
    loop {
        let mut tail = vec![0; wanted as usize];
        data.seek(SeekFrom::Start(size - wanted)).and_then(|_| data.read_exact(&mut tail)).map_err(fail)?;
        match claim_in_tail(&tail, size).map_err(unreadable)? {
            Tail::Claim(claim) => return Ok(*claim),
            Tail::Wanted(bytes) => wanted = bytes,
        }
    }
}

/// What stands behind the JSON of a trailer: 16 bytes of its blake3, its size and the mark.
const FOOT_BYTES: u64 = 28;

/// What the last bytes of a file give.
pub(crate) enum Tail {
    /// The trailer.
    Claim(Box<Claim>),
    /// So many bytes from the file's end are needed, which are more than were given.
    Wanted(u64),
}

/// Reads the trailer in the last bytes of a file of `size` bytes: `JSON | 16 bytes of its blake3 | its size u32 | "LSTRAIL1"`, in a skippable
/// frame.
pub(crate) fn claim_in_tail(tail: &[u8], size: u64) -> Result<Tail, String> {
    let Some((rest, foot)) = tail.split_last_chunk::<{ FOOT_BYTES as usize }>() else {
        return Err("the file is too short".into());
    };
    if &foot[20..] != b"LSTRAIL1" {
        return Err("the file does not end with one".into());
    }
    let json_bytes = u64::from(u32::from_le_bytes([foot[16], foot[17], foot[18], foot[19]]));
    let frame_bytes = 8 + json_bytes + FOOT_BYTES;
    if frame_bytes > size {
        return Err("it claims to be larger than the file".into());
    }
    if frame_bytes > tail.len() as u64 {
        return Ok(Tail::Wanted(frame_bytes));
    }
    let (head, json) = rest[rest.len() - 8 - json_bytes as usize..].split_at(8);
    // Any zstd reader must pass over it: one of the sixteen skippable magics, and the right size.
    let skippable = head[0] & 0xf0 == 0x50 && head[1..4] == [0x2a, 0x4d, 0x18];
    if !skippable || head[4..8] != ((json_bytes + FOOT_BYTES) as u32).to_le_bytes() {
        return Err("it is not framed as a skippable frame".into());
    }
    if blake3::hash(json).as_bytes()[..16] != foot[..16] {
        return Err("its checksum is wrong".into());
    }
    read_as(json, 1).map(|claim| Tail::Claim(Box::new(claim)))
}

/// Reads JSON of a form that is known up to a version, and of a trailer within it up to version 1. A newer one says so, whatever else it says.
pub(crate) fn read_as<T: DeserializeOwned>(json: &[u8], known: u32) -> Result<T, String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Said {
        version: u32,
        trailer: Option<Within>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Within {
        version: u32,
    }
    let Said { version, trailer } = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let within = trailer.unwrap_or_default().version;
    if version > known || within > 1 {
        let version = if version > known { version } else { within };
        return Err(format!("a newer longshore wrote it, in version {version}: look at it with that one"));
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

fn read_entry(file: &SinkFile) -> Result<Claim, Finding> {
    entry_of(file).map(|entry| entry.trailer)
}

fn entry_of(file: &SinkFile) -> Result<Entry, Finding> {
    let path = file.ledger().join(format!("{:020}.entry", file.sequence));
    let unreadable = |words: String| Finding::of_file(&file.path, Problem::TrailerUnreadable(words));
    let json = fs::read(&path).map_err(|error| unreadable(format!("{}: {error}", path.display())))?;
    read_as(&json, 1).map_err(unreadable)
}

/// Compares a plain file's content with what its ledger entry says. A zstd file's frames carry their own checksums.
pub(super) fn check_content(file: &SinkFile) -> Option<Finding> {
    if file.compressed {
        return None;
    }
    // An entry that cannot be read is reported with the claim.
    let entry = entry_of(file).ok()?;
    let mut hasher = blake3::Hasher::new();
    let copied = fs::File::open(&file.path).and_then(|mut data| std::io::copy(&mut data, &mut hasher));
    let same = |bytes| bytes == entry.bytes && hasher.finalize().to_hex().as_str() == entry.blake3;
    match copied {
        Ok(bytes) => (!same(bytes)).then(|| Finding::of_file(&file.path, Problem::ContentChanged)),
        Err(error) => Some(Finding::of_file(&file.path, Problem::Unreadable(error.to_string()))),
    }
}

/// The same offsets as rising runs that do not touch.
fn joined(mut runs: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    runs.retain(|run| run.0 < run.1);
    runs.sort_unstable();
    let mut out: Vec<(i64, i64)> = Vec::with_capacity(runs.len());
    for run in runs {
        match out.last_mut() {
            Some(last) if last.1 >= run.0 => last.1 = last.1.max(run.1),
            _ => out.push(run),
        }
    }
    out
}
