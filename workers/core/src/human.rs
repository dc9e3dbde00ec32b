//! Sizes, spans of time and shares as people write them: `64MiB`, `10s`, `5%`. Used by every option struct of the pipeline file.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

mod share;

pub use share::{SHARE_FORMAT, Share, ShareError};

/// A number of bytes, written `512`, `64KiB`, `1.5MiB` or `2GB` (powers of 1024 with an `i`, of 1000 without).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// A span of time, written `250ms`, `10s`, `5m`, `1h30m` or `2d`. Never negative; what is written in parts of a microsecond is cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// Why a size or a span could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HumanError {
    /// Nothing stands there.
    #[error("expected {0}, found nothing")]
    Empty(&'static str),
    /// No number where one belongs.
    #[error("expected a number with a unit, such as {0}")]
    Number(&'static str),
    /// A number without its unit.
    #[error("the unit is missing, write for example {0}")]
    UnitMissing(&'static str),
    /// A unit that is not known.
    #[error("unknown unit `{unit}`, known are {known}")]
    Unit {
        /// What was written.
        unit: String,
        /// What may be written.
        known: &'static str,
    },
    /// More than fits.
    #[error("the value is too large")]
    TooLarge,
}

const BYTE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];
const BYTE_NAMES: &str = "B, KiB, MiB, GiB, TiB, KB, MB, GB, TB";

const SPAN_UNITS: &[(&str, u64)] = &[
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];
const SPAN_NAMES: &str = "us, ms, s, m, h, d";

impl Bytes {
    /// So many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many mebibytes.
    pub const fn mebi(count: u64) -> Self {
        Self(count << 20)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// The span as the standard library has it.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Bytes {
    type Err = HumanError;

    fn from_str(text: &str) -> Result<Self, HumanError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(HumanError::Empty("a size such as 64MiB"));
        }
        let (number, unit, rest) = take_part(text, "64MiB")?;
        if !rest.is_empty() {
            return Err(HumanError::Number("64MiB"));
        }
        let scale = match unit {
            "" => 1,
            unit => scale_of(unit, BYTE_UNITS, BYTE_NAMES)?,
        };
        scaled(number, scale, "64MiB").map(Self)
    }
}

impl FromStr for Span {
    type Err = HumanError;

    fn from_str(text: &str) -> Result<Self, HumanError> {
        let mut text = text.trim();
        if text.is_empty() {
            return Err(HumanError::Empty("a span of time such as 10s"));
        }
        let mut nanos = 0u64;
        while !text.is_empty() {
            let (number, unit, rest) = take_part(text, "10s")?;
            if unit.is_empty() {
                // A bare zero is the one number whose unit does not matter.
                if number.trim_end_matches(['0', '.']).is_empty() && rest.is_empty() && nanos == 0 {
                    return Ok(Self::default());
                }
                return Err(HumanError::UnitMissing("10s"));
            }
            let part = scaled(number, scale_of(unit, SPAN_UNITS, SPAN_NAMES)?, "10s")?;
            nanos = nanos.checked_add(part).ok_or(HumanError::TooLarge)?;
            text = rest.trim_start();
        }
        Ok(Self(Duration::from_micros(nanos / 1_000)))
    }
}

/// Splits `12.5MiB...` into number, unit and the rest.
fn take_part<'a>(text: &'a str, example: &'static str) -> Result<(&'a str, &'a str, &'a str), HumanError> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(HumanError::Number(example));
    }
    let rest = rest.trim_start();
    let letters = rest.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    Ok((number, unit, rest))
}

fn scale_of(unit: &str, units: &[(&str, u64)], known: &'static str) -> Result<u64, HumanError> {
    units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, scale)| *scale)
        .ok_or_else(|| HumanError::Unit { unit: unit.chars().take(16).collect(), known })
}

/// `number * scale` without going through a float for whole numbers.
fn scaled(number: &str, scale: u64, example: &'static str) -> Result<u64, HumanError> {
    let number = number.replace('_', "");
    if number.contains('.') {
        let value: f64 = number.parse().map_err(|_| HumanError::Number(example))?;
        let product = value * scale as f64;
        return if product < u64::MAX as f64 { Ok(product as u64) } else { Err(HumanError::TooLarge) };
    }
    let whole: u64 = number.parse().map_err(|_| HumanError::TooLarge)?;
    whole.checked_mul(scale).ok_or(HumanError::TooLarge)
}

/// Writes with the largest unit that leaves no remainder, so that what is written reads back as the same value.
fn write_whole(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)], zero: &str) -> fmt::Result {
    if value == 0 {
        return f.write_str(zero);
    }
    let best = units.iter().filter(|(_, scale)| value.is_multiple_of(*scale)).max_by_key(|(_, scale)| *scale);
    match best {
        Some((name, scale)) => write!(f, "{}{name}", value / scale),
        None => write!(f, "{value}"),
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_whole(f, self.0, &BYTE_UNITS[..5], "0B")
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = u64::try_from(self.0.as_nanos() / 1_000).unwrap_or(u64::MAX / 1_000);
        write_whole(f, micros.saturating_mul(1_000), SPAN_UNITS, "0s")
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct BytesVisitor;

impl de::Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as 64MiB")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Bytes, E> {
        Ok(Bytes(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Bytes, E> {
        u64::try_from(number).map(Bytes).map_err(|_| E::custom("a size is never negative"))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor)
    }
}

struct SpanVisitor;

impl de::Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a span of time such as 10s")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Span, E> {
        if number == 0 { Ok(Span::default()) } else { Err(E::custom(HumanError::UnitMissing("10s"))) }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Span, E> {
        if number == 0 { Ok(Span::default()) } else { Err(E::custom(HumanError::UnitMissing("10s"))) }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

/// The `format` of a size in the JSON Schema; checkers that know it read the text with [`Bytes::from_str`].
pub const BYTES_FORMAT: &str = "longshore-bytes";
/// The `format` of a span of time in the JSON Schema; checkers that know it read the text with [`Span::from_str`].
pub const SPAN_FORMAT: &str = "longshore-span";

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A size: 512, 64KiB, 64MiB, 2GB.",
            "type": ["string", "integer"],
            "format": BYTES_FORMAT,
            "minimum": 0,
            "pattern": r"^\s*[0-9][0-9_]*(\.[0-9_]*)?\s*(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)?\s*$|\$\{",
            "examples": ["64MiB"]
        })
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A span of time: 250ms, 10s, 5m, 1h30m, 2d.",
            "type": ["string", "integer"],
            "format": SPAN_FORMAT,
            "minimum": 0,
            "maximum": 0,
            "pattern": r"^\s*(0|([0-9][0-9_]*(\.[0-9_]*)?\s*(us|ms|s|m|h|d)\s*)+)$|\$\{",
            "examples": ["10s"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_written() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64KiB", 65_536),
            ("1.5MiB", 1_572_864),
            ("2GB", 2_000_000_000),
            ("3GiB", 3 << 30),
            ("1TiB", 1 << 40),
            ("64 MiB", 64 << 20),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "MiB", "64mib", "64MB5", "-1", "99999999999TiB", "1.2.3KB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn spans_read_as_written() {
        for (text, millis) in [
            ("0", 0),
            ("250ms", 250),
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("2d", 172_800_000),
            ("0.0000009s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Span::millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "10 sec", "5M", "-1s", "999999999d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for bytes in [0, 1, 1000, 1024, 1 << 20, 123_456_789] {
            assert_eq!(Bytes(bytes).to_string().parse(), Ok(Bytes(bytes)));
        }
        for odd in ["0.0000019s", "1.0000001ms", "0.5us"] {
            let span: Span = odd.parse().unwrap();
            assert_eq!(span.to_string().parse(), Ok(span), "{odd}");
        }
        for millis in [0, 1, 250, 1_000, 90_000, 86_400_000] {
            assert_eq!(Span::millis(millis).to_string().parse(), Ok(Span::millis(millis)));
        }
    }

    #[test]
    fn errors_name_the_known_units() {
        let error = "10sec".parse::<Span>().map_err(|error| error.to_string());
        assert_eq!(error, Err("unknown unit `sec`, known are us, ms, s, m, h, d".to_owned()));
    }

    /// Guarantee: settings take a size as text or as a whole number, and a span as text, or as nothing.
    #[test]
    fn settings_are_read_from_text_and_numbers() {
        let size = |text: &str| serde_json::from_str::<Bytes>(text).map_err(|error| error.to_string());
        assert_eq!((size("\"64KiB\""), size("512")), (Ok(Bytes::new(65_536)), Ok(Bytes::new(512))));
        assert!(
            size("-1").unwrap_err().contains("never negative") && size("[]").unwrap_err().contains("64MiB")
        );
        let span = |text: &str| serde_json::from_str::<Span>(text).map_err(|error| error.to_string());
        assert_eq!((span("\"10s\""), span("0")), (Ok(Span::seconds(10)), Ok(Span::default())));
        assert!(span("5").unwrap_err().contains("10s") && span("-5").unwrap_err().contains("10s"));
        assert!(span("[]").unwrap_err().contains("a span of time such as 10s"));
        assert_eq!((Bytes::mebi(3).get(), Span::seconds(3).get()), (3 << 20, Duration::from_secs(3)));
        assert_eq!(Duration::from(Span::millis(7)), Duration::from_millis(7));
    }

    /// Guarantee: the schema names both, with the format by which checkers read their text.
    #[test]
    fn the_schema_names_sizes_and_spans() {
        assert_eq!((Bytes::schema_name().as_ref(), Span::schema_name().as_ref()), ("Bytes", "Span"));
        let mut generator = SchemaGenerator::default();
        let format = |schema: Schema| schema.get("format").cloned();
        assert_eq!(format(Bytes::json_schema(&mut generator)), Some(BYTES_FORMAT.into()));
        assert_eq!(format(Span::json_schema(&mut generator)), Some(SPAN_FORMAT.into()));
    }
}
