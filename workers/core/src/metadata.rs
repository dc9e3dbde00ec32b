//! The commit metadata: what travels with a committed offset, at most 4096 bytes (`offset.metadata.max.bytes`).
//!
//! It names the settled runs beyond the watermark, so that a restart does not redo long-running work, and the next
//! sequence of each sink, so that a ledger that lost segments is noticed. It is bound to the offset it was written
//! for: a reader refuses it at any other.
//!
//! Layout: `L1:` and then base64 (URL alphabet, no padding) of: varint base offset; marks; varint count of sinks, each
//! 4 bytes of name hash, varint generation, varint next sequence; where marked, varint length and the runs of strays; one byte run form, varint
//! length and the runs; and 4 bytes of XXH3-64 over all before them. A varint is LEB128.

use std::cmp::Reverse;

use crate::format::{COMMIT_METADATA, FormatError, Newer};
use crate::{Generation, Lane, Offset, RunSet, Sequence};

mod runs;
pub(crate) mod wire;

use runs::{FittingRuns, bits_that_fit, decode_bits, decode_pairs, pairs_that_fit};
use wire::{Reader, Writer};

/// The most bytes a broker takes by default (`offset.metadata.max.bytes`).
pub const METADATA_BYTES: usize = 4096;

/// The most notes of careful mode that one commit carries.
pub const TRYING_MOST: usize = 8;

const PREFIX: &str = "L1:";
const CHECK_BYTES: usize = 4;
const FORM_PAIRS: u8 = 0;
const FORM_BITS: u8 = 1;
const MARK_CLEAN: u8 = 1;
const MARK_TRYING: u8 = 2;
const MARK_TAKEOVERS: u8 = 4;
const MARK_COPIES: u8 = 8;
const MARK_WAITING: u8 = 16;
const MARK_HELD: u8 = 32;
const MARK_STRAYS: u8 = 64;
const MARKS: u8 =
    MARK_CLEAN | MARK_TRYING | MARK_TAKEOVERS | MARK_COPIES | MARK_WAITING | MARK_HELD | MARK_STRAYS;

/// What a commit says besides its offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The sinks that keep a ledger.
    pub sinks: Vec<SinkMark>,
    /// Settled offsets beyond the committed one.
    pub settled: RunSet,
    /// Those of them that every later commit has to tell of, whoever makes it: copies of the retry partition that are nobody's, and that a
    /// later owner would believe (ADR 0012).
    pub strays: RunSet,
    /// Whether the owner let go in good order.
    pub clean: bool,
    /// The record that careful mode is about to try, and others before it that ended their worker; at most [`TRYING_MOST`].
    pub trying: Vec<Trying>,
    /// Owners in a row that ended without letting go in good order, and without moving the offset.
    pub takeovers: u32,
    /// Records of the input lane that such an owner can have taken in at most.
    pub careful: u64,
    /// The origins, from the first one to the one behind the last, whose copies such an owner may have tried; none for none.
    pub copies: Option<(Offset, Offset)>,
    /// Offsets whose records are done and wait in open segments: not settled, and no work for anybody.
    pub waiting: u64,
    /// Whether a sink, a target or the flood breaker holds the owner back.
    pub held: bool,
}

/// How far one sink's ledger was when the commit was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkMark {
    /// [`SinkMark::hash_of`] its name.
    pub name_hash: u32,
    /// Its generation.
    pub generation: Generation,
    /// The first number not yet published.
    pub next: Sequence,
}

impl SinkMark {
    /// The short hash that stands for a sink's name.
    pub fn hash_of(name: &str) -> u32 {
        xxhash_rust::xxh3::xxh3_64(name.as_bytes()) as u32
    }
}

/// Careful mode's note before each try (design section 4, crash loops).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trying {
    /// The lane.
    pub lane: Lane,
    /// The record.
    pub offset: Offset,
    /// How often it was tried.
    pub tries: u32,
}

/// Why commit metadata is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// It is not ours.
    #[error("the commit metadata was not written by longshore")]
    Foreign,
    /// It was written by a later version.
    #[error(transparent)]
    Newer(#[from] Newer),
    /// It is cut or altered.
    #[error("the commit metadata is damaged")]
    Damaged,
    /// It belongs to another committed offset.
    #[error("the commit metadata was written for offset {0}, not for the committed one")]
    Base(Offset),
    /// Its runs overlap, touch, fall, or begin at or below the committed offset.
    #[error("the runs in the commit metadata are not in order")]
    Runs,
    /// It claims offsets that the log does not have (the topic was made again, or truncated).
    #[error("the commit metadata claims offset {0}, which is beyond the end of the log")]
    BeyondEnd(Offset),
}

/// Metadata as text, and which runs found room in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Printable ASCII of at most [`METADATA_BYTES`].
    pub text: String,
    /// The part of the settled runs that is in the text; the farthest are left out when they do not fit.
    pub kept: RunSet,
    /// The strays that the text calls by that name.
    pub strays: RunSet,
}

impl Metadata {
    /// The text for a commit of `base`. Always fits.
    pub fn encode(&self, base: Offset) -> Encoded {
        self.encode_within(base, METADATA_BYTES, &RunSet::default())
    }

    /// The same in at most so many bytes, as far as they have room for runs. Strays are told before all other runs, and those in `first`
    /// before other strays, however far they are.
    pub fn encode_within(&self, base: Offset, bytes: usize, first: &RunSet) -> Encoded {
        let mut head = Writer::default();
        head.varint(base.0 as u64);
        self.encode_marks(&mut head);
        head.varint(self.sinks.len() as u64);
        for sink in &self.sinks {
            head.raw(&sink.name_hash.to_be_bytes());
            head.varint(sink.generation.0.into());
            head.varint(sink.next.0);
        }
        // Three bytes become four letters; the form byte and the length of the runs take at most 4 bytes more, the length of the strays 2.
        let most = bytes.saturating_sub(PREFIX.len()) / 4 * 3;
        let room = |head: &Writer, more: usize| most.saturating_sub(head.len() + CHECK_BYTES + 4 + more);
        let mut strays = RunSet::default();
        if !self.strays.is_empty() {
            // What is settled beside them goes with them: one run takes less than its parts, and to be told early harms none of it.
            let holds_any = |run: &(Offset, Offset)| !self.strays.clipped(run.0, run.1).is_empty();
            let runs = self.settled.iter().filter(holds_any).map(|(first, end)| (first.0, end.0));
            let fitting = pairs_that_fit(&RunSet::collect(runs.collect()), first, base, room(&head, 2));
            head.varint(fitting.body.len() as u64);
            head.raw(&fitting.body);
            strays = fitting.kept;
        }
        let pairs = pairs_that_fit(&self.settled, &RunSet::default(), base, room(&head, 0));
        let bits = bits_that_fit(&self.settled, base, room(&head, 0));
        let worth = |runs: &FittingRuns| (runs.kept.len(), Reverse(runs.body.len()));
        let better_bits = worth(&bits) > worth(&pairs);
        let (form, runs) = if better_bits { (FORM_BITS, bits) } else { (FORM_PAIRS, pairs) };
        head.raw(&[form]);
        head.varint(runs.body.len() as u64);
        head.raw(&runs.body);
        let check = check_of(head.bytes());
        head.raw(&check);
        let text = format!("{PREFIX}{}", wire::to_base64(head.bytes()));
        let mut kept = runs.kept;
        kept.union(&strays);
        Encoded { text, kept, strays }
    }

    /// Reads the metadata of a committed offset. Empty text is empty metadata: a commit by another tool, or the first.
    ///
    /// # Errors
    /// [`MetadataError`]; nothing of the text may be used then.
    pub fn decode(text: &str, base: Offset, log_end: Offset) -> Result<Self, MetadataError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let Some(body) = text.strip_prefix(PREFIX) else {
            let version = text.strip_prefix('L').and_then(|rest| rest.split_once(':'));
            let version = version.and_then(|(digits, _)| digits.parse::<u32>().ok());
            return Err(match version.map(|version| COMMIT_METADATA.check(version)) {
                Some(Err(FormatError::Newer(newer))) => MetadataError::Newer(newer),
                _ => MetadataError::Foreign,
            });
        };
        if text.len() > METADATA_BYTES {
            return Err(MetadataError::Damaged);
        }
        let bytes = wire::from_base64(body).ok_or(MetadataError::Damaged)?;
        let split = bytes.len().checked_sub(CHECK_BYTES).ok_or(MetadataError::Damaged)?;
        let (bytes, check) = bytes.split_at(split);
        if check_of(bytes) != check {
            return Err(MetadataError::Damaged);
        }
        let mut reader = Reader::new(bytes);
        let metadata = Self::decode_body(&mut reader, base)?;
        if !reader.is_at_end() {
            return Err(more());
        }
        match metadata.settled.end() {
            Some(end) if end > log_end => Err(MetadataError::BeyondEnd(Offset(end.0 - 1))),
            _ => Ok(metadata),
        }
    }

    fn decode_body(reader: &mut Reader<'_>, base: Offset) -> Result<Self, MetadataError> {
        let written_for = Offset(reader.varint()? as i64);
        if written_for != base {
            return Err(MetadataError::Base(written_for));
        }
        let (metadata, marks) = decode_marks(reader)?;
        let mut sinks = Vec::new();
        for _ in 0..reader.varint()? {
            let hash: [u8; 4] = reader.take(4)?.try_into().map_err(|_| MetadataError::Damaged)?;
            let generation = u32::try_from(reader.varint()?).map_err(|_| MetadataError::Damaged)?;
            let next = Sequence(reader.varint()?);
            sinks.push(SinkMark {
                name_hash: u32::from_be_bytes(hash),
                generation: Generation(generation),
                next,
            });
        }
        let strays = match marks & MARK_STRAYS {
            0 => RunSet::default(),
            _ => decode_pairs(reader.counted()?, base)?,
        };
        let form = reader.take(1)?[0];
        let body = reader.counted()?;
        let mut settled = match form {
            FORM_PAIRS => decode_pairs(body, base)?,
            FORM_BITS => decode_bits(body, base)?,
            _ => return Err(more()),
        };
        settled.union(&strays);
        Ok(Self { sinks, settled, strays, ..metadata })
    }

    fn encode_marks(&self, head: &mut Writer) {
        let trying = if self.trying.is_empty() { 0 } else { MARK_TRYING };
        let clean = if self.clean { MARK_CLEAN } else { 0 };
        let counts = if self.takeovers > 0 || self.careful > 0 { MARK_TAKEOVERS } else { 0 };
        let copies = if self.copies.is_some() { MARK_COPIES } else { 0 };
        let waiting = if self.waiting > 0 { MARK_WAITING } else { 0 };
        let held = if self.held { MARK_HELD } else { 0 };
        let strays = if self.strays.is_empty() { 0 } else { MARK_STRAYS };
        head.raw(&[trying | clean | counts | copies | waiting | held | strays]);
        if !self.trying.is_empty() {
            head.raw(&[self.trying.len().min(TRYING_MOST) as u8]);
        }
        for trying in self.trying.iter().take(TRYING_MOST) {
            let lane = match trying.lane {
                Lane::Input => 0,
                Lane::Retry => 1,
            };
            head.raw(&[lane]);
            head.varint(trying.offset.0 as u64);
            head.varint(trying.tries.into());
        }
        if counts != 0 {
            head.varint(self.takeovers.into());
            head.varint(self.careful);
        }
        if let Some((first, end)) = self.copies {
            head.varint(first.0 as u64);
            head.varint((end.0 - first.0) as u64);
        }
        if self.waiting > 0 {
            head.varint(self.waiting);
        }
    }
}

/// What the marks say, in a [`Metadata`] that says nothing else, and the marks.
fn decode_marks(reader: &mut Reader<'_>) -> Result<(Metadata, u8), MetadataError> {
    let marks = reader.take(1)?[0];
    if marks & !MARKS != 0 {
        return Err(more());
    }
    let (clean, held) = (marks & MARK_CLEAN != 0, marks & MARK_HELD != 0);
    let mut metadata = Metadata { clean, held, ..Metadata::default() };
    if marks & MARK_TRYING != 0 {
        let count = reader.take(1)?[0];
        if usize::from(count) > TRYING_MOST {
            return Err(MetadataError::Damaged);
        }
        for _ in 0..count {
            let lane = match reader.take(1)?[0] {
                0 => Lane::Input,
                1 => Lane::Retry,
                _ => return Err(more()),
            };
            let offset = i64::try_from(reader.varint()?).map_err(|_| MetadataError::Damaged)?;
            let offset = Offset(offset);
            metadata.trying.push(Trying { lane, offset, tries: short(reader.varint()?)? });
        }
    }
    if marks & MARK_TAKEOVERS != 0 {
        metadata.takeovers = short(reader.varint()?)?;
        metadata.careful = reader.varint()?;
    }
    if marks & MARK_COPIES != 0 {
        let first = i64::try_from(reader.varint()?).map_err(|_| MetadataError::Damaged)?;
        let count = i64::try_from(reader.varint()?).map_err(|_| MetadataError::Damaged)?;
        let end = first.checked_add(count).ok_or(MetadataError::Damaged)?;
        metadata.copies = Some((Offset(first), Offset(end)));
    }
    if marks & MARK_WAITING != 0 {
        metadata.waiting = reader.varint()?;
    }
    Ok((metadata, marks))
}

/// The text is whole and ours, and says something that there are no words for here: a later version added it.
fn more() -> MetadataError {
    MetadataError::Newer(COMMIT_METADATA.newer(COMMIT_METADATA.version))
}

fn short(number: u64) -> Result<u32, MetadataError> {
    u32::try_from(number).map_err(|_| MetadataError::Damaged)
}

fn check_of(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    (xxhash_rust::xxh3::xxh3_64(bytes) as u32).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settled(base: i64, steps: &[(i64, i64)]) -> RunSet {
        let (mut runs, mut at) = (RunSet::default(), base);
        for (distance, length) in steps {
            at += distance;
            runs.insert_range(Offset(at), Offset(at + length));
            at += length;
        }
        runs
    }

    fn sinks(count: usize) -> Vec<SinkMark> {
        let mark = |n: usize| SinkMark {
            name_hash: SinkMark::hash_of(&n.to_string()),
            generation: Generation(1),
            next: Sequence(n as u64 * 1_000_000),
        };
        (0..count).map(mark).collect()
    }

    #[test]
    fn a_version_of_tomorrow_and_foreign_text_are_told_apart() {
        let read = |text: &str| Metadata::decode(text, Offset(0), Offset(10));
        assert_eq!(read("L2:AAAA"), Err(MetadataError::Newer(COMMIT_METADATA.newer(2))));
        assert_eq!(read("L0:AAAA"), Err(MetadataError::Foreign));
        assert_eq!(read("hello"), Err(MetadataError::Foreign));
        assert_eq!(read("L1:%%%"), Err(MetadataError::Damaged));
        assert_eq!(read("L1:"), Err(MetadataError::Damaged));
        assert_eq!(read(""), Ok(Metadata::default()));
        // Sound texts of the same version, with a mark, a form of runs, a lane, and a part behind all others that are not known.
        let mark = Metadata::decode("L1:AIAAAAANTqQi", Offset(0), Offset(10));
        assert_eq!(
            mark,
            Err(MetadataError::Newer(COMMIT_METADATA.newer(1))),
            "as the test of whole workers writes it"
        );
        let bodies: [&[u8]; 4] =
            [&[0, 128, 0, 0, 0], &[0, 0, 0, 9, 0], &[0, 2, 1, 7, 3, 1], &[0, 0, 0, 0, 0, 1]];
        for body in bodies {
            let text = [body, &check_of(body)].concat();
            let said = read(&format!("L1:{}", wire::to_base64(&text))).unwrap_err();
            assert_eq!(said, MetadataError::Newer(COMMIT_METADATA.newer(1)), "{body:?}");
            assert!(said.to_string().contains("version 1 with additions"), "{said}");
        }
    }

    /// Scenario: far more settled runs than there is room for, and a few strays at the very end; then far more strays as well, and some of them were
    /// told before. Guarantee: strays are told before all else, and those that were told before the others, whatever form the rest is best in; of
    /// the rest as much as there is room for.
    #[test]
    fn strays_are_told_however_far_they_are() {
        for steps in [(1, 15), (1, 1), (300, 2)] {
            let mut runs = settled(100, &[steps; 30_000]);
            let far = runs.end().unwrap().0 + 1_000;
            let at = |n: i64| (far + n * 500, far + n * 500 + 1);
            let strays = RunSet::collect((0..20).map(at).collect());
            runs.union(&strays);
            let plain = Metadata { settled: runs.clone(), ..Metadata::default() };
            assert!(plain.encode(Offset(100)).kept.intersection(&strays).is_empty(), "{steps:?}");
            let metadata = Metadata { settled: runs.clone(), strays: strays.clone(), ..Metadata::default() };
            let encoded = metadata.encode(Offset(100));
            assert_eq!(encoded.strays, strays, "{steps:?}");
            assert!(encoded.kept.run_count() > 600 || encoded.kept.len() > 2_000, "{steps:?}");
            assert!(encoded.text.len() <= METADATA_BYTES);
            let read = Metadata::decode(&encoded.text, Offset(100), Offset(i64::MAX)).unwrap();
            assert_eq!((read.settled, read.strays), (encoded.kept, encoded.strays));

            let whole = RunSet::of(Offset(far), Offset(far + 3_000_000));
            let (settled, alternate) = (whole.clone(), RunSet::collect((0..9_000).map(at).collect()));
            let metadata = Metadata { settled, strays: alternate, ..Metadata::default() };
            assert_eq!(metadata.encode(Offset(100)).strays, whole, "what is settled between them joins them");

            let strays = RunSet::collect((0..5_000).map(at).collect());
            runs.union(&strays);
            let before = RunSet::collect((4_000..4_300).map(at).collect());
            let metadata = Metadata { settled: runs, strays, ..Metadata::default() };
            let encoded = metadata.encode_within(Offset(100), METADATA_BYTES, &before);
            assert_eq!(encoded.strays.intersection(&before), before, "{steps:?}");
            assert!(encoded.strays.len() > 600 && encoded.text.len() <= METADATA_BYTES, "{steps:?}");
        }
    }

    /// Bad input: metadata that is whole and says what no worker writes. Guarantee: refused, and nothing of it counts.
    #[test]
    fn tries_that_nobody_notes_are_refused() {
        let read = |tries: &[u8]| {
            let body = [&[0, MARK_TRYING][..], tries, &[0, FORM_PAIRS, 0]].concat();
            let text = format!("{PREFIX}{}", wire::to_base64(&[&body, &check_of(&body)[..]].concat()));
            Metadata::decode(&text, Offset(0), Offset(10))
        };
        assert_eq!(read(&[1, 0, 7, 2]).map(|metadata| metadata.trying[0].offset), Ok(Offset(7)));
        let below_zero = [&[1, 0][..], &[0xff; 9], &[1, 2]].concat();
        let nine = [&[9][..], &[0, 7, 2].repeat(9)].concat();
        for tries in [&below_zero, &nine] {
            assert_eq!(read(tries), Err(MetadataError::Damaged), "{tries:?}");
        }
    }

    /// Guarantee: as many notes as one commit carries travel, and no more.
    #[test]
    fn notes_travel_up_to_their_number() {
        let note = |n: usize| Trying { lane: Lane::Input, offset: Offset(n as i64), tries: 1 };
        let metadata = Metadata { trying: (0..TRYING_MOST + 2).map(note).collect(), ..Metadata::default() };
        let read = Metadata::decode(&metadata.encode(Offset(3)).text, Offset(3), Offset(10)).unwrap();
        assert_eq!(read.trying, metadata.trying[..TRYING_MOST]);
    }

    /// Guarantee: however little room a broker leaves, runs and strays keep within it.
    #[test]
    fn runs_and_strays_keep_to_the_room() {
        let strays = settled(0, &[(300, 1); 400]);
        let metadata = Metadata { settled: strays.clone(), strays, ..Metadata::default() };
        for bytes in 60..400 {
            let text = metadata.encode_within(Offset(0), bytes, &RunSet::default()).text;
            assert!(text.len() <= bytes, "{} of {bytes}", text.len());
        }
    }

    /// Guarantee: each mark travels, alone and with all others.
    #[test]
    fn marks_for_careful_mode_travel() {
        let trying = vec![
            Trying { lane: Lane::Retry, offset: Offset(77), tries: 2 },
            Trying { lane: Lane::Input, offset: Offset(5), tries: 1 },
        ];
        let (copies, none) = (Some((Offset(7), Offset(70_000))), Metadata::default());
        let whole = Metadata {
            clean: true,
            trying: trying.clone(),
            takeovers: 2,
            careful: 77_000,
            copies,
            waiting: 300,
            held: true,
            ..none.clone()
        };
        let alone = [
            Metadata { clean: true, ..none.clone() },
            Metadata { trying, ..none.clone() },
            Metadata { takeovers: 1, ..none.clone() },
            Metadata { careful: 1, ..none.clone() },
            Metadata { copies, ..none.clone() },
            Metadata { waiting: 1, ..none.clone() },
            Metadata { held: true, ..none.clone() },
        ];
        let text = |metadata: &Metadata| metadata.encode(Offset(3)).text;
        for metadata in alone.iter().chain([&whole, &none]) {
            assert_eq!(Metadata::decode(&text(metadata), Offset(3), Offset(100)).as_ref(), Ok(metadata));
        }
        // What is not there takes no room: flags have their bit, and all else is longer than nothing.
        let longer = alone.iter().filter(|metadata| text(metadata).len() > text(&none).len()).count();
        assert_eq!(longer, alone.len() - 2);
    }

    #[test]
    fn every_second_of_many_offsets_fits_by_bits() {
        let runs = settled(0, &vec![(1, 1); 10_000]);
        let encoded =
            Metadata { sinks: sinks(16), settled: runs.clone(), ..Metadata::default() }.encode(Offset(0));
        assert_eq!(encoded.kept, runs);
    }

    /// Scenario: a text longer than a broker takes by default, and right but for that. Guarantee: it is not read (I5).
    #[test]
    fn what_is_longer_than_any_commit_is_refused() {
        let settled = RunSet::collect((1..3_000).map(|number| (10 * number, 10 * number + 1)).collect());
        let metadata = Metadata { settled, ..Metadata::default() };
        for (bytes, read) in [(METADATA_BYTES, true), (2 * METADATA_BYTES, false)] {
            let text = metadata.encode_within(Offset(0), bytes, &RunSet::default()).text;
            assert_eq!(text.len() > METADATA_BYTES, !read);
            assert_eq!(
                Metadata::decode(&text, Offset(0), Offset(1 << 40)).is_ok(),
                read,
                "{} bytes",
                text.len()
            );
        }
    }

    proptest! {
        /// Scenario: any runs, from none to far too many. Guarantee: the text fits, says what it kept, keeps the nearest, and
        /// reads back as that; another base offset, an end of log within the runs, and every damaged letter are refused.
        #[test]
        fn reads_back_what_fits_and_nothing_else(
            base in 0..1i64 << 40,
            steps in proptest::collection::vec((1..300i64, prop_oneof![1..4i64, 1..100_000i64]), 0..3000),
            sink_count in 0..16usize,
            damage in any::<prop::sample::Index>(),
        ) {
            let runs = settled(base, &steps);
            let metadata = Metadata { sinks: sinks(sink_count), settled: runs.clone(), ..Metadata::default() };
            let encoded = metadata.encode(Offset(base));
            prop_assert!(encoded.text.len() <= METADATA_BYTES);
            prop_assert!(encoded.text.bytes().all(|byte| byte.is_ascii_graphic()));
            let near = encoded.kept.end().map_or(RunSet::default(), |end| runs.clipped(Offset(base), end));
            prop_assert_eq!(&near, &encoded.kept);
            let end = Offset(i64::MAX);
            let kept = Metadata { settled: encoded.kept.clone(), ..metadata };
            prop_assert_eq!(Metadata::decode(&encoded.text, Offset(base), end), Ok(kept));
            prop_assert_eq!(
                Metadata::decode(&encoded.text, Offset(base + 1), end),
                Err(MetadataError::Base(Offset(base)))
            );
            if let Some(last) = encoded.kept.end() {
                let cut = Metadata::decode(&encoded.text, Offset(base), Offset(last.0 - 1));
                prop_assert_eq!(cut, Err(MetadataError::BeyondEnd(Offset(last.0 - 1))));
            }
            let mut letters = encoded.text.clone().into_bytes();
            let place = damage.index(letters.len());
            letters[place] = if letters[place] == b'A' { b'B' } else { b'A' };
            let damaged = String::from_utf8(letters).unwrap();
            prop_assert!(Metadata::decode(&damaged, Offset(base), end).is_err());
        }

        /// Scenario: any text. Guarantee: no panic, and nothing that was not written by us is accepted.
        #[test]
        fn refuses_garbage(text in "L1:[A-Za-z0-9_-]{0,200}") {
            prop_assert!(Metadata::decode(&text, Offset(0), Offset(1 << 40)).is_err());
        }
    }
}
