//! Runs of offsets behind a base, as the commit metadata writes them: in two forms, as many as there is room for.

use crate::{Offset, RunSet};

use super::MetadataError;
use super::wire::{Reader, Writer};

/// Runs as they are written, and which of them found room.
pub(super) struct FittingRuns {
    pub(super) body: Vec<u8>,
    pub(super) kept: RunSet,
}

/// Runs as distance from the end of the one before and length: best for long runs. Room is left for those that go before others.
pub(super) fn pairs_that_fit(runs: &RunSet, before: &RunSet, base: Offset, room: usize) -> FittingRuns {
    // A distance from the base takes no less than the one that is written.
    let bytes_of = |runs: &RunSet| runs.iter().map(|run| pair(base.0, run).len()).sum::<usize>();
    let (mut body, mut kept, mut last) = (Writer::default(), RunSet::default(), base.0);
    let (mut reserved, mut full) = (bytes_of(before), false);
    for (first, end) in runs.iter() {
        let within = if reserved > 0 { before.clipped(first, end) } else { RunSet::default() };
        reserved -= bytes_of(&within);
        let whole = pair(last, (first, end));
        full |= body.len() + whole.len() + reserved > room;
        let fitting = if full { within } else { RunSet::of(first, end) };
        for run in fitting.iter() {
            let one = pair(last, run);
            if body.len() + one.len() > room {
                return FittingRuns { body: body.into_bytes(), kept };
            }
            body.raw(one.bytes());
            kept.insert_range(run.0, run.1);
            last = run.1.0;
        }
        if full && reserved == 0 {
            break;
        }
    }
    FittingRuns { body: body.into_bytes(), kept }
}

/// One run as it is written behind an offset.
fn pair(last: i64, (first, end): (Offset, Offset)) -> Writer {
    let mut one = Writer::default();
    one.varint((first.0 - last) as u64);
    one.varint((end.0 - first.0) as u64);
    one
}

/// One bit for each offset behind the base: best when settled and open ones alternate.
pub(super) fn bits_that_fit(settled: &RunSet, base: Offset, room: usize) -> FittingRuns {
    let (mut body, mut kept) = (Vec::new(), RunSet::default());
    let limit = base.0.saturating_add(room as i64 * 8);
    for (first, end) in settled.iter() {
        let end = end.0.min(limit);
        if first.0 >= end {
            break;
        }
        for offset in first.0..end {
            let place = (offset - base.0) as usize;
            if body.len() <= place / 8 {
                body.resize(place / 8 + 1, 0u8);
            }
            body[place / 8] |= 1 << (place % 8);
        }
        kept.insert_range(first, Offset(end));
    }
    FittingRuns { body, kept }
}

pub(super) fn decode_pairs(body: &[u8], base: Offset) -> Result<RunSet, MetadataError> {
    let (mut reader, mut runs, mut last) = (Reader::new(body), RunSet::default(), base.0);
    while !reader.is_at_end() {
        let distance = i64::try_from(reader.varint()?).map_err(|_| MetadataError::Runs)?;
        let length = i64::try_from(reader.varint()?).map_err(|_| MetadataError::Runs)?;
        let first = last.checked_add(distance).ok_or(MetadataError::Runs)?;
        let end = first.checked_add(length).ok_or(MetadataError::Runs)?;
        // A distance of zero would touch the run before it, or call the committed offset itself settled.
        if distance == 0 || length == 0 {
            return Err(MetadataError::Runs);
        }
        runs.insert_range(Offset(first), Offset(end));
        last = end;
    }
    Ok(runs)
}

pub(super) fn decode_bits(body: &[u8], base: Offset) -> Result<RunSet, MetadataError> {
    let mut runs = RunSet::default();
    for (place, byte) in body.iter().enumerate() {
        for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
            let ahead = (place * 8 + bit) as i64;
            let offset = base.0.checked_add(ahead).ok_or(MetadataError::Runs)?;
            if ahead == 0 {
                return Err(MetadataError::Runs);
            }
            runs.insert(Offset(offset));
        }
    }
    Ok(runs)
}
