//! The trailer of a zstd file: a skippable frame at its very end (RFC 8878 section 3.1.2), which every zstd reader
//! passes over.
//!
//! ```text
//! magic 0x184D2A57 | payload size u32 | trailer as JSON | blake3 of the JSON, first 16 bytes | JSON size u32 | "LSTRAIL1"
//! ```
//! Numbers are little-endian. The fixed part stands last, so that a reader finds it from the file's end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use longshore_core::format::{FormatError, TRAILER};
use longshore_core::ledger::Trailer;

const FRAME_MAGIC: u32 = 0x184D_2A57;
const END_MAGIC: &[u8; 8] = b"LSTRAIL1";
const HASH_BYTES: usize = 16;
const FOOT_BYTES: usize = HASH_BYTES + 4 + END_MAGIC.len();
/// How much is read at once from a file's end; nearly every trailer fits.
const FIRST_READ_BYTES: u64 = 8 * 1024;
/// A trailer above this is not one of ours: the ledger's runs are bounded by the pair.
const MOST_JSON_BYTES: usize = 256 * 1024 * 1024;

/// Why a trailer cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrailerError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What the trailer says cannot be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The file is not one that was published whole.
    #[error("{0}")]
    Broken(String),
}

/// The frame that ends a file.
pub(super) fn encode(trailer: &Trailer) -> Result<Vec<u8>, TrailerError> {
    let json = serde_json::to_vec(trailer).map_err(|error| TrailerError::Broken(error.to_string()))?;
    if json.len() > MOST_JSON_BYTES {
        return Err(TrailerError::Broken(format!("a trailer of {} bytes is too large", json.len())));
    }
    let mut frame = Vec::with_capacity(8 + json.len() + FOOT_BYTES);
    frame.extend_from_slice(&FRAME_MAGIC.to_le_bytes());
    frame.extend_from_slice(&((json.len() + FOOT_BYTES) as u32).to_le_bytes());
    frame.extend_from_slice(&json);
    frame.extend_from_slice(&blake3::hash(&json).as_bytes()[..HASH_BYTES]);
    frame.extend_from_slice(&(json.len() as u32).to_le_bytes());
    frame.extend_from_slice(END_MAGIC);
    Ok(frame)
}

/// Reads the trailer at a file's end; of the data nothing is read.
pub(super) fn read(file: &File) -> Result<Trailer, TrailerError> {
    let size = file.metadata()?.len();
    let mut tail = read_tail(file, size, FIRST_READ_BYTES)?;
    let json_bytes = json_size(&tail)?;
    let whole = (8 + json_bytes + FOOT_BYTES) as u64;
    if whole > size {
        return Err(TrailerError::Broken("the trailer claims to be larger than the file".into()));
    }
    if whole > tail.len() as u64 {
        tail = read_tail(file, size, whole)?;
    }
    let foot = tail.len() - FOOT_BYTES;
    let json = &tail[foot - json_bytes..foot];
    if blake3::hash(json).as_bytes()[..HASH_BYTES] != tail[foot..foot + HASH_BYTES] {
        return Err(TrailerError::Broken("the trailer's checksum is wrong".into()));
    }
    Ok(TRAILER.read(json)?)
}

fn read_tail(file: &File, size: u64, wanted: u64) -> io::Result<Vec<u8>> {
    let take = wanted.min(size);
    let mut tail = vec![0; take as usize];
    file.read_exact_at(&mut tail, size - take)?;
    Ok(tail)
}

fn json_size(tail: &[u8]) -> Result<usize, TrailerError> {
    let Some(rest) = tail.strip_suffix(END_MAGIC) else {
        return Err(TrailerError::Broken("no trailer at the file's end".into()));
    };
    match rest.last_chunk::<4>().map(|size| u32::from_le_bytes(*size) as usize) {
        Some(size) if size <= MOST_JSON_BYTES && tail.len() >= FOOT_BYTES => Ok(size),
        _ => Err(TrailerError::Broken("the trailer's size is wrong".into())),
    }
}
