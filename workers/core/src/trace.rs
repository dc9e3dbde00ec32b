//! Trace contexts in record headers, by W3C Trace Context (<https://www.w3.org/TR/trace-context/>), and the trace that a record
//! without one has.
//!
//! The trace of a record whose headers name none is a hash of its identity: each try of it, also its copies in the retry topic and
//! its replays, comes to the same trace, and to the same choice of a sampler that goes by the trace's id, without a header (I7).

use std::fmt;

use crate::{HeaderRef, RecordRef};

/// The header with trace, span and flags.
pub const TRACEPARENT: &str = "traceparent";
/// The header with what tracing systems add for themselves.
pub const TRACESTATE: &str = "tracestate";

/// The flag that says that the caller records the trace.
const SAMPLED: u8 = 1;
/// A header of version 0, which later versions may only make longer.
const LENGTH: usize = 55;
/// The most bytes of a tracestate that are looked at; the recommendation asks for at least as many.
const STATE_BYTES: usize = 512;

/// A place in a trace: the trace and one span of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace's id, never all zero.
    pub trace: [u8; 16],
    /// The span's id, never all zero.
    pub span: [u8; 8],
    /// The flags; of them the lowest bit counts here.
    pub flags: u8,
}

impl TraceContext {
    /// A place in a trace that is recorded.
    pub fn sampled(trace: [u8; 16], span: [u8; 8]) -> Self {
        Self { trace, span, flags: SAMPLED }
    }

    /// Reads a header's value; none when it is not one. Of a later version what is known of version 0 is taken.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (head, rest) = value.split_at_checked(LENGTH)?;
        let [version, trace, span, flags] =
            [head.get(0..2)?, head.get(3..35)?, head.get(36..52)?, head.get(53..55)?];
        let dashes = [2, 35, 52].iter().all(|at| head.get(*at) == Some(&b'-'));
        let version: [u8; 1] = bytes_of(version)?;
        let whole = match version[0] {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let flags: [u8; 1] = bytes_of(flags)?;
        let context = Self { trace: bytes_of(trace)?, span: bytes_of(span)?, flags: flags[0] };
        let valid = dashes && whole && context.trace != [0; 16] && context.span != [0; 8];
        valid.then_some(context)
    }

    /// Whether whoever wrote it records the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// As the header's value.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags & SAMPLED)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The value of each hexadecimal digit; [`NO_DIGIT`] for all else. Lower-case digits alone, as the recommendation has it.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};
const NO_DIGIT: u8 = 0xff;

/// Reads digits without a branch for each: most headers are sound, and each record may have one.
fn bytes_of<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let (mut bytes, mut seen) = ([0; N], 0);
    let (pairs, _) = text.as_chunks::<2>();
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (DIGITS[usize::from(*high)], DIGITS[usize::from(*low)]);
        seen |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    (seen < 16).then_some(bytes)
}

/// What a record's headers say of its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried<'a> {
    /// Nothing.
    Nothing,
    /// A [`TRACEPARENT`] that cannot be read, or several: it stays where it is and means nothing.
    Unreadable,
    /// A place in a trace, and the [`TRACESTATE`] with it, if there is one that is not too long.
    Context(TraceContext, Option<&'a str>),
}

/// Looks through a record's headers. Names are compared as they are: headers of Kafka know no case.
pub fn carried<'a>(headers: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Carried<'a> {
    let (mut parent, mut state) = (None, None);
    let mut parents = 0;
    for (name, value) in headers {
        // Nearly all names differ in length from both.
        match name.len() {
            11 if name == TRACEPARENT.as_bytes() => {
                parents += 1;
                parent = value;
            }
            10 if name == TRACESTATE.as_bytes() => state = value,
            _ => {}
        }
    }
    match (parents, parent.and_then(TraceContext::parse)) {
        (0, _) => Carried::Nothing,
        (1, Some(context)) => {
            let state = state.filter(|state| state.len() <= STATE_BYTES);
            Carried::Context(context, state.and_then(|state| std::str::from_utf8(state).ok()))
        }
        _ => Carried::Unreadable,
    }
}

/// [`carried`] of a record. Most name no trace, which is seen by the lengths of their headers' names.
pub fn carried_by(record: &RecordRef) -> Carried<'_> {
    if !record.has_header_of(TRACEPARENT.len()) {
        return Carried::Nothing;
    }
    carried(record.headers().map(|HeaderRef { name, value }| (name, value)))
}

/// The trace of a record whose headers name none: topic, partition, offset and timestamp of its input.
pub fn trace_of(topic: &str, partition: i32, offset: i64, timestamp_ms: i64) -> [u8; 16] {
    trace_at(xxhash_rust::xxh3::xxh3_64(topic.as_bytes()), partition, offset, timestamp_ms)
}

/// [`trace_of`] a record, or of the record that it is a copy of.
pub fn trace_of_record(record: &RecordRef) -> [u8; 16] {
    let (topic_hash, partition) = (record.chunk().topic_hash(), record.pair().partition.0);
    trace_at(topic_hash, partition, record.offset().0, record.timestamp_ms())
}

/// The lower half of [`trace_of_record`]: what a sampler goes by, at a fraction of the price.
pub fn lower_half_of_record(record: &RecordRef) -> u64 {
    let (topic_hash, partition) = (record.chunk().topic_hash(), record.pair().partition.0);
    lower_half(topic_hash, partition, record.offset().0, record.timestamp_ms())
}

fn trace_at(topic_hash: u64, partition: i32, offset: i64, timestamp_ms: i64) -> [u8; 16] {
    let mut place = [0; 20];
    place[0..4].copy_from_slice(&partition.to_be_bytes());
    place[4..12].copy_from_slice(&offset.to_be_bytes());
    place[12..20].copy_from_slice(&timestamp_ms.to_be_bytes());
    let lower = lower_half(topic_hash, partition, offset, timestamp_ms);
    let upper = xxhash_rust::xxh3::xxh3_64_with_seed(&place, topic_hash);
    // An id of zeros is none.
    (u128::from(upper.max(1)) << 64 | u128::from(lower)).to_be_bytes()
}

/// Each of offset and timestamp is mixed in by a bijection, so neighbours never meet.
fn lower_half(topic_hash: u64, partition: i32, offset: i64, timestamp_ms: i64) -> u64 {
    let place = mixed(topic_hash ^ u64::from(partition as u32).rotate_left(32) ^ offset as u64);
    mixed(place ^ timestamp_ms as u64)
}

/// The finalizer of SplitMix64: each bit of what comes changes half of what goes
/// (<https://doi.org/10.1145/2714064.2660195>).
fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChunkBuilder, Epoch, Lane, Offset, PairId};

    const VALUE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parsed(value: &str) -> Option<TraceContext> {
        TraceContext::parse(value.as_bytes())
    }

    #[test]
    fn a_context_is_read_and_written() {
        let context = parsed(VALUE).unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.to_string(), VALUE);
        let unsampled = VALUE.replace("-01", "-00");
        assert!(!parsed(&unsampled).unwrap().is_sampled());
        // Bits that nobody defined are not passed on.
        assert_eq!(parsed(&VALUE.replace("-01", "-ff")).unwrap().to_string(), VALUE);
        let later = format!("cc{}-what-else", &VALUE[2..]);
        assert_eq!(parsed(&later), Some(context));
    }

    #[test]
    fn what_is_no_context_is_none() {
        let zeros = ("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000");
        let broken = [
            String::new(),
            "00-1-2-01".into(),
            VALUE.to_uppercase(),
            format!("{VALUE}-more"),
            format!("ff{}", &VALUE[2..]),
            format!("cc{}0", &VALUE[2..]),
            VALUE.replace(zeros.0, zeros.1),
            VALUE.replace("b7ad6b7169203331", "0000000000000000"),
            VALUE.replace("-b7", "_b7"),
            VALUE.replace('7', "g"),
            VALUE.replace('7', "ß"),
            "0".repeat(1 << 20),
        ];
        for broken in broken {
            assert_eq!(parsed(&broken), None, "{}", broken.chars().take(80).collect::<String>());
        }
    }

    #[test]
    fn only_one_context_counts() {
        let parent = (TRACEPARENT.as_bytes(), Some(VALUE.as_bytes()));
        let baggage = vec![b'x'; 1 << 20];
        let other = ("baggage".as_bytes(), Some(baggage.as_slice()));
        let state = ("tracestate".as_bytes(), Some("a=1".as_bytes()));
        let context = parsed(VALUE).unwrap();
        assert_eq!(carried([other]), Carried::Nothing);
        assert_eq!(carried([other, parent, state]), Carried::Context(context, Some("a=1")));
        assert_eq!(carried([parent, parent]), Carried::Unreadable);
        assert_eq!(carried([(TRACEPARENT.as_bytes(), None)]), Carried::Unreadable);
        assert_eq!(carried([(TRACEPARENT.as_bytes(), other.1), parent]), Carried::Unreadable);
        let long = (TRACESTATE.as_bytes(), other.1);
        assert_eq!(carried([parent, long]), Carried::Context(context, None));
        assert_eq!(carried([("Traceparent".as_bytes(), parent.1)]), Carried::Nothing);
    }

    /// Guarantee (I7): a record and its copy have the same trace, and no other record has it.
    #[test]
    fn a_copy_is_in_the_trace_of_its_record() {
        let pair = PairId::new("logs", 3);
        let chunk = |lane, offset, timestamp, headers: &[(&str, &str)]| {
            let mut builder = ChunkBuilder::new(pair.clone(), lane, Epoch(1));
            builder.record(Offset(offset), timestamp, None, None);
            for (name, value) in headers {
                builder.header(name.as_bytes(), Some(value.as_bytes()));
            }
            RecordRef::new(&builder.build(None), 0).unwrap()
        };
        let record = chunk(Lane::Input, 17, 1000, &[]);
        let ours = [("longshore.origin", "logs/3/17/0"), ("longshore.origin-timestamp", "1000")];
        let copy = chunk(Lane::Retry, 4, 2000, &ours);
        assert_eq!(trace_of_record(&record), trace_of_record(&copy));
        for other in [chunk(Lane::Input, 18, 1000, &[]), chunk(Lane::Input, 17, 1001, &[])] {
            assert_ne!(trace_of_record(&record), trace_of_record(&other));
        }
        assert_ne!(trace_of("logs", 3, 17, 1000), trace_of("logs", 4, 17, 1000));
        assert_ne!(trace_of("logs", 3, 17, 1000), trace_of("log", 3, 17, 1000));
        let lower = u128::from_be_bytes(trace_of_record(&copy)) as u64;
        assert_eq!(lower, lower_half_of_record(&record));
    }

    /// Guarantee: a record's trace is the same in all versions: the lower half is two rounds of SplitMix64's finalizer, of all that tells the record from others, and
    /// stands behind the upper one.
    #[test]
    fn a_trace_stays_what_it_is() {
        let place = (0x0123_4567_89ab_cdef, 3, 42, 1_700_000_000_000);
        let (topic_hash, partition, offset, timestamp_ms) = place;
        assert_eq!(lower_half(topic_hash, partition, offset, timestamp_ms), 0xe025_1346_5265_11fa);
        assert_eq!(lower_half(u64::MAX, 0, 0, -1), 0xd6bd_f754_4574_c9cb);
        let trace = trace_at(topic_hash, partition, offset, timestamp_ms);
        assert_eq!(trace[8..], 0xe025_1346_5265_11fa_u64.to_be_bytes());
        assert_ne!(trace[..8], [0; 8]);
        assert_eq!(format!("{:?}", parsed(VALUE).unwrap()), VALUE);
    }

    /// Bad input: two letters beside each other that are no digits. Guarantee: no context, though each hides the other's bits.
    #[test]
    fn two_letters_that_are_no_digits_are_no_context() {
        for broken in ["zzf7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319z"] {
            let value = format!("00-{broken}-b7ad6b7169203331-01");
            assert_eq!(parsed(&value), None, "{value}");
        }
    }

    /// Guarantee: a record's headers are looked through for its context; another header whose name is as long is none of it.
    #[test]
    fn a_record_tells_its_context() {
        let of = |name: &[u8]| {
            let mut chunk = ChunkBuilder::new(PairId::new("in", 0), Lane::Input, Epoch(1));
            chunk.record(Offset(0), 5, None, None);
            chunk.header(name, Some(VALUE.as_bytes()));
            chunk.header(b"tracestatf", Some(b"other"));
            crate::RecordRef::new(&chunk.build(None), 0).unwrap()
        };
        let context = parsed(VALUE).unwrap();
        assert_eq!(carried_by(&of(b"traceparent")), Carried::Context(context, None));
        assert_eq!(carried_by(&of(b"traceparenu")), Carried::Nothing);
        assert_eq!(carried_by(&of(b"own")), Carried::Nothing);
    }
}
