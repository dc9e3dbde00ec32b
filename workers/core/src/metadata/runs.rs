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

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Offset = Offset(100);

    /// Twenty runs whose distances and lengths take one to three bytes each.
    fn runs() -> RunSet {
        let (mut runs, mut at) = (Vec::new(), BASE.0);
        for number in 0..20 {
            let first = at + [1, 200, 20_000][number % 3];
            at = first + [1, 300][number % 2];
            runs.push((first, at));
        }
        RunSet::collect(runs)
    }

    fn fit(runs: &RunSet, before: &RunSet, room: usize) -> RunSet {
        let fitting = pairs_that_fit(runs, before, BASE, room);
        assert!(fitting.body.len() <= room, "{} bytes in {room}", fitting.body.len());
        assert_eq!(decode_pairs(&fitting.body, BASE), Ok(fitting.kept.clone()));
        fitting.kept
    }

    fn first_of(runs: &RunSet, count: usize) -> RunSet {
        RunSet::collect(runs.iter().take(count).map(|(first, end)| (first.0, end.0)).collect())
    }

    /// Guarantee: room is used to its last byte: as many runs as fit are told, from the first on, and one byte less is one run less.
    #[test]
    fn pairs_fill_the_room() {
        let (runs, none) = (runs(), RunSet::default());
        for count in 0..=20 {
            let some = first_of(&runs, count);
            let bytes = pairs_that_fit(&some, &none, BASE, 4_096).body.len();
            assert_eq!(fit(&runs, &none, bytes), some);
            assert_eq!(fit(&runs, &none, bytes.saturating_sub(1)), first_of(&runs, count.saturating_sub(1)));
        }
    }

    /// Guarantee: what goes before others is told however far it is, while it fits by itself, and what room it leaves the others have; it is cut
    /// where it does not fit.
    #[test]
    fn what_goes_before_others_leaves_them_the_rest() {
        let runs = runs();
        let last = runs.iter().last().unwrap();
        let far = RunSet::of(last.0, last.1);
        let far_bytes = pairs_that_fit(&far, &RunSet::default(), BASE, 4_096).body.len();
        for room in far_bytes..=pairs_that_fit(&runs, &RunSet::default(), BASE, 4_096).body.len() {
            let kept = fit(&runs, &far, room);
            assert!(kept.contains(last.0), "{room}: {kept:?}");
            let mut near = kept.clone();
            near.subtract(&far);
            assert_eq!(near, fit(&runs, &RunSet::default(), room - far_bytes), "{room}");
        }
        // The first run's room is known to the byte, and free again once it is told.
        for room in 0..80 {
            let kept = fit(&runs, &RunSet::default(), room);
            assert_eq!(fit(&runs, &first_of(&runs, 1), room), kept, "{room}");
            assert_eq!(fit(&runs, &runs, room), kept, "{room}: all of them go before others");
        }
    }

    /// Bad input: a run that touches what is before it, an empty one, one without its end, one past the end of numbers. Guarantee: none is
    /// believed.
    #[test]
    fn runs_that_nobody_writes_are_refused() {
        assert_eq!(decode_pairs(&[1, 1, 1, 1], BASE), Ok(RunSet::collect(vec![(101, 102), (103, 104)])));
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        for bad in [&[0, 1][..], &[1, 0], &[1, 1, 0, 1], &[1, 1, 1, 0], &[1], &[&most[..], &[1]].concat()] {
            assert!(decode_pairs(bad, BASE).is_err(), "{bad:?}");
        }
        assert_eq!(decode_bits(&[0b110], BASE), Ok(RunSet::of(Offset(101), Offset(103))));
        assert!(decode_bits(&[0b11], BASE).is_err());
    }
}
