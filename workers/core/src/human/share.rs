//! Shares of a whole as people write them: `5%`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A share of a whole in millionths, written `5%`, `0.25%` or `0.05`; at most all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u32);

/// The `format` of a share in the JSON Schema; checkers that know it read the text with [`Share::from_str`].
pub const SHARE_FORMAT: &str = "longshore-share";

/// Why a share could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a share from 0% to 100%, such as 5%")]
pub struct ShareError;

impl Share {
    /// All of it, in millionths.
    pub const WHOLE: u32 = 1_000_000;
    /// Everything.
    pub const ALL: Self = Self(Self::WHOLE);

    /// So many millionths, at most all of them.
    pub const fn millionths(count: u32) -> Self {
        Self(if count > Self::WHOLE { Self::WHOLE } else { count })
    }

    /// The share in millionths.
    pub const fn get(self) -> u32 {
        self.0
    }

    fn of_whole(number: f64, scale: f64) -> Result<Self, ShareError> {
        let millionths = (number * scale).round();
        if (0.0..=f64::from(Self::WHOLE)).contains(&millionths) {
            Ok(Self(millionths as u32))
        } else {
            Err(ShareError)
        }
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let text = text.trim();
        let (number, scale) = match text.strip_suffix('%') {
            Some(number) => (number.trim_end(), 10_000.0),
            None => (text, f64::from(Self::WHOLE)),
        };
        // Rust reads `inf`, `nan` and exponents as numbers; people do not write shares so.
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(ShareError);
        }
        Self::of_whole(number.parse().map_err(|_| ShareError)?, scale)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (percent, rest) = (self.0 / 10_000, self.0 % 10_000);
        if rest == 0 {
            return write!(f, "{percent}%");
        }
        let rest = format!("{rest:04}");
        write!(f, "{percent}.{}%", rest.trim_end_matches('0'))
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct ShareVisitor;

impl de::Visitor<'_> for ShareVisitor {
    type Value = Share;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share such as 5%")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Share, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Share, E> {
        Share::of_whole(number, f64::from(Share::WHOLE)).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Share, E> {
        self.visit_f64(number as f64)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Share, E> {
        self.visit_f64(number as f64)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShareVisitor)
    }
}

impl JsonSchema for Share {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A share of a whole: 5%, 0.25%, 0.05.",
            "type": ["string", "number"],
            "format": SHARE_FORMAT,
            "minimum": 0,
            "maximum": 1,
            "pattern": r"^\s*[0-9]+(\.[0-9]*)?\s*%?\s*$|\$\{",
            "examples": ["5%"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_read_as_written() {
        for (text, millionths) in [
            ("5%", 50_000),
            ("0.25 %", 2_500),
            ("0.05", 50_000),
            ("1", 1_000_000),
            ("100%", 1_000_000),
            ("0%", 0),
            ("0.0001%", 1),
        ] {
            assert_eq!(text.parse(), Ok(Share(millionths)), "{text}");
        }
        for text in ["", "%", "5", "101%", "-1%", "five", "1e-2", "nan", "5%%", "1.2.3%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for millionths in [0, 1, 2_500, 50_000, 123_456, 1_000_000] {
            assert_eq!(Share(millionths).to_string().parse(), Ok(Share(millionths)));
        }
        assert_eq!(Share(2_500).to_string(), "0.25%");
    }

    /// Guarantee: a share is at most all of it; settings take it as text or number and say what is expected; the schema names it.
    #[test]
    fn shares_are_at_most_all() {
        let counts = [0, 999_999, 1_000_000, 1_000_001].map(|count| Share::millionths(count).get());
        assert_eq!(counts, [0, 999_999, 1_000_000, 1_000_000]);
        let read = |text: &str| serde_json::from_str::<Share>(text).map_err(|error| error.to_string());
        assert_eq!(
            (read("\"5%\""), read("0.05"), read("1")),
            (Ok(Share(50_000)), Ok(Share(50_000)), Ok(Share::ALL))
        );
        assert!(read("[]").unwrap_err().contains("a share such as 5%"));
        assert_eq!(Share::schema_name(), "Share");
        let schema = Share::json_schema(&mut SchemaGenerator::default());
        assert_eq!(schema.get("format").cloned(), Some(SHARE_FORMAT.into()));
    }
}
