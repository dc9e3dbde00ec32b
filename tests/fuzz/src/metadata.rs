//! Commit metadata, which whoever may commit for the group can write.
//!
//! The first byte chooses: bytes that are sealed and read, a text that is read as it is, or metadata that is made up and written.

use arbitrary::Unstructured;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longshore_core::metadata::{METADATA_BYTES, Metadata, MetadataError, SinkMark, TRYING_MOST, Trying};
use longshore_core::{Generation, Lane, Offset, RunSet, Sequence};

/// See the module.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    match choice % 3 {
        0 => sealed(rest),
        1 => plain(rest),
        _ => drop(made(&mut Unstructured::new(rest))),
    }
}

/// A varint of the committed offset, what the fuzzer says, and the checksum.
fn sealed(data: &[u8]) {
    let Some((base, rest)) = data.split_first_chunk::<2>() else { return };
    let base = i64::from(u16::from_le_bytes(*base));
    let mut body = Vec::new();
    let mut value = base as u64;
    while value >= 0x80 {
        body.push(value as u8 | 0x80);
        value >>= 7;
    }
    body.push(value as u8);
    body.extend_from_slice(rest);
    let check = (xxhash_rust::xxh3::xxh3_64(&body) as u32).to_be_bytes();
    body.extend_from_slice(&check);
    read(&format!("L1:{}", URL_SAFE_NO_PAD.encode(&body)), Offset(base));
}

fn plain(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    read(text, Offset(7));
}

fn read(text: &str, base: Offset) {
    let end = Offset(base.0 + 1_000_000);
    let metadata = match Metadata::decode(text, base, end) {
        Ok(metadata) => metadata,
        Err(MetadataError::BeyondEnd(offset)) => return assert!(offset >= end, "{offset} is in the log"),
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(metadata.settled.first().is_none_or(|first| first > base));
    assert!(metadata.settled.end().is_none_or(|last| last <= end));
    assert!(
        metadata
            .strays
            .iter()
            .all(|(first, last)| metadata.settled.clipped(first, last).len() == (last.0 - first.0) as u64)
    );
    if let Some((first, last)) = metadata.copies {
        assert!(first.0 >= 0 && first <= last, "copies from {first} to {last}");
    }
    assert!(metadata.trying.len() <= TRYING_MOST, "{} tries", metadata.trying.len());
    assert!(metadata.trying.iter().all(|trying| trying.offset.0 >= 0), "{:?}", metadata.trying);
    written(&metadata, base);
}

/// Written it fits, says nothing that was not said, and reads as what it says it kept.
fn written(metadata: &Metadata, base: Offset) {
    let encoded = metadata.encode(base);
    assert!(encoded.text.len() <= METADATA_BYTES, "{} bytes", encoded.text.len());
    let mut beyond = encoded.kept.clone();
    beyond.subtract(&metadata.settled);
    assert!(beyond.is_empty(), "{beyond:?} was never settled");
    let again = Metadata::decode(&encoded.text, base, Offset(i64::MAX)).expect("ours");
    assert_eq!(again.settled, encoded.kept);
    assert_eq!(again.strays, encoded.strays);
    let rest = |metadata: &Metadata| Metadata {
        settled: RunSet::default(),
        strays: RunSet::default(),
        trying: metadata.trying.iter().take(TRYING_MOST).copied().collect(),
        ..metadata.clone()
    };
    assert_eq!(rest(&again), rest(metadata));
}

fn made(from: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let base = Offset(from.int_in_range(0..=1 << 40)?);
    let mut metadata = Metadata {
        clean: from.arbitrary()?,
        held: from.arbitrary()?,
        waiting: from.arbitrary()?,
        ..Metadata::default()
    };
    for _ in 0..from.int_in_range(0..=4)? {
        let next = Sequence(from.arbitrary()?);
        metadata.sinks.push(SinkMark {
            name_hash: from.arbitrary()?,
            generation: Generation(from.arbitrary()?),
            next,
        });
    }
    for _ in 0..from.int_in_range(0..=TRYING_MOST)? {
        let lane = if from.arbitrary()? { Lane::Input } else { Lane::Retry };
        let offset = Offset(from.int_in_range(0..=i64::MAX)?);
        metadata.trying.push(Trying { lane, offset, tries: from.arbitrary()? });
    }
    if from.arbitrary()? {
        (metadata.takeovers, metadata.careful) = (from.arbitrary()?, from.arbitrary()?);
    }
    if from.arbitrary()? {
        let first = from.int_in_range(0..=1 << 40)?;
        metadata.copies = Some((Offset(first), Offset(first + from.int_in_range(0..=1 << 20)?)));
    }
    let mut at = base.0 + 1;
    while !from.is_empty() {
        let (gap, length) = (from.arbitrary::<u16>()?, from.arbitrary::<u16>()?);
        let first = at + i64::from(gap % 300);
        at = first + 1 + i64::from(length % 700);
        metadata.settled.insert_range(Offset(first), Offset(at));
        if length % 11 == 0 {
            metadata.strays.insert(Offset(first));
        }
        at += 1;
    }
    written(&metadata, base);
    Ok(())
}
