//! What the fuzz targets do with a fuzzer's bytes, and what they hold to be true of it.
//!
//! A target is a function `run(&[u8])` that panics where something does not hold. "Does not panic" is the least of it: what is read is
//! written and read again, forms that are canonical stay so, limits hold, and an error quotes nothing of a payload (I10). Where bytes
//! carry a checksum the target puts it on itself, so that the fuzzer is not held up by it.
//!
//! Time and memory are bounded by the fuzzer: `scripts/fuzz.sh` says how.

pub mod avro;
pub mod conditions;
pub mod headers;
pub mod human;
pub mod journal;
pub mod json;
pub mod ledger;
pub mod metadata;
pub mod packed;
pub mod pipeline;
pub mod steps;

use longshore_core::{ChunkBuilder, Epoch, Failure, Item, Lane, Offset, PairId, RecordRef};

/// What no error may quote: it is planted in payloads and in secrets.
pub const PLANTED: &str = "Qz7#planted#9vK";

/// Plants [`PLANTED`] in a payload, at a place that the payload chooses.
pub fn planted(data: &[u8]) -> Vec<u8> {
    let Some((place, rest)) = data.split_first() else { return Vec::new() };
    let place = usize::from(*place).min(rest.len());
    [&rest[..place], PLANTED.as_bytes(), &rest[place..]].concat()
}

/// Holds a failure to be about the record, and to quote nothing of it (I9, I10).
pub fn judge(failure: &Failure) {
    assert!(!failure.detail().contains("planted"), "a failure quotes the payload: {}", failure.detail());
    assert!(failure.detail().len() <= 512, "a failure of {} bytes", failure.detail().len());
}

/// A record as it comes from an input.
pub fn item(key: Option<&[u8]>, value: Option<&[u8]>) -> Item {
    let mut builder = ChunkBuilder::new(PairId::new("logs.raw", 3), Lane::Input, Epoch(1));
    builder.record(Offset(42), 1_700_000_000_000, key, value);
    builder.header(b"app", Some(b"web"));
    match RecordRef::new(&builder.build(None), 0) {
        Some(record) => Item::new(record),
        None => unreachable!("the record was put in"),
    }
}
