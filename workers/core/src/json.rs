//! Values written as JSON, straight into bytes: no tree in between, numbers exactly as they were read.

use crate::{Map, Value};

/// A float that JSON has no spelling for (infinite or not a number); only a binary format can bring one in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value holds a float that is infinite or not a number, which JSON cannot express")]
pub struct NotFinite;

impl Value {
    /// Appends the value as JSON without spaces. [`Value::Number`] goes out as it was written, [`Value::Bytes`] as
    /// base64 (RFC 4648 section 4, padded).
    ///
    /// # Errors
    /// [`NotFinite`]; what was appended until then stays, so the caller cuts it off.
    pub fn write_json(&self, out: &mut Vec<u8>) -> Result<(), NotFinite> {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Int(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
            Self::UInt(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
            Self::Float(number) if number.is_finite() => {
                out.extend_from_slice(zmij::Buffer::new().format_finite(*number).as_bytes());
            }
            Self::Float(_) => return Err(NotFinite),
            Self::Number(text) => out.extend_from_slice(text.as_bytes()),
            Self::Text(text) => write_text(text, out),
            Self::Bytes(bytes) => write_base64(bytes, out),
            Self::Array(values) => {
                out.push(b'[');
                for (place, value) in values.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    value.write_json(out)?;
                }
                out.push(b']');
            }
            Self::Object(map) => map.write_json(out)?,
        }
        Ok(())
    }
}

impl Map {
    /// Appends the fields as a JSON object, in their order.
    ///
    /// # Errors
    /// As [`Value::write_json`].
    pub fn write_json(&self, out: &mut Vec<u8>) -> Result<(), NotFinite> {
        out.push(b'{');
        for (place, (name, value)) in self.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            write_text(name, out);
            out.push(b':');
            value.write_json(out)?;
        }
        out.push(b'}');
        Ok(())
    }
}

/// Appends a text in quotes. Only what RFC 8259 demands is escaped: the quote, the backslash and control letters.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut rest = bytes;
    loop {
        let plain = plain_prefix(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some(&special) = rest.get(plain) else { break };
        write_escape(special, out);
        rest = &rest[plain + 1..];
    }
    out.push(b'"');
}

/// Appends bytes as base64 in quotes (RFC 4648 section 4, padded).
pub fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |bits: u32| LETTERS[(bits & 63) as usize];
    out.reserve(bytes.len().div_ceil(3) * 4 + 2);
    out.push(b'"');
    let mut groups = bytes.chunks_exact(3);
    for group in &mut groups {
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        out.extend_from_slice(&[letter(bits >> 18), letter(bits >> 12), letter(bits >> 6), letter(bits)]);
    }
    match *groups.remainder() {
        [first] => {
            let bits = u32::from(first) << 16;
            out.extend_from_slice(&[letter(bits >> 18), letter(bits >> 12), b'=', b'=']);
        }
        [first, second] => {
            let bits = u32::from(first) << 16 | u32::from(second) << 8;
            out.extend_from_slice(&[letter(bits >> 18), letter(bits >> 12), letter(bits >> 6), b'=']);
        }
        _ => {}
    }
    out.push(b'"');
}

/// How many bytes from the start need no escape, eight at a time.
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The classic test for a zero byte: only such a byte borrows into its own high bit.
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut at = 0;
    while let Some(group) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*group);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let quote = zero_in(word ^ (ONES * u64::from(b'"')));
        let backslash = zero_in(word ^ (ONES * u64::from(b'\\')));
        let found = control | quote | backslash;
        if found != 0 {
            // The lowest hit is exact; a borrow can only make false hits above a true one.
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let tail = bytes[at..].iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'));
    tail.map_or(bytes.len(), |place| at + place)
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0c => out.extend_from_slice(b"\\f"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(value: &Value) -> String {
        let mut out = Vec::new();
        value.write_json(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    proptest! {
        /// Scenario: any text, with escapes at every place. Guarantee: serde_json reads the same text back, and writes
        /// the same bytes.
        #[test]
        fn text_is_what_serde_json_writes(text in "(?s)[\\x00-\\x7f\u{e9}\u{1f600}]{0,40}") {
            let mut out = Vec::new();
            write_text(&text, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
        }

        /// Scenario: any finite float. Guarantee: it reads back as the same float.
        #[test]
        fn floats_read_back(number in any::<f64>().prop_filter("finite", |number| number.is_finite())) {
            prop_assert_eq!(json(&Value::Float(number)).parse::<f64>().unwrap().to_bits(), number.to_bits());
        }
    }

    #[test]
    fn values_keep_their_numbers_and_order() {
        let mut map = Map::default();
        map.push("z", Value::UInt(u64::MAX));
        map.push(
            "a",
            Value::Array(vec![Value::Null, Value::Bool(true), Value::Int(i64::MIN), Value::Float(1.5)]),
        );
        map.push("n", Value::Number("3.14159265358979323846264338327950288".into()));
        map.push("b", Value::Bytes(Box::from(&b"\x00\xff"[..])));
        map.push("o", Value::Object(Map::default()));
        let expected = concat!(
            r#"{"z":18446744073709551615,"a":[null,true,-9223372036854775808,1.5],"#,
            r#""n":3.14159265358979323846264338327950288,"b":"AP8=","o":{}}"#
        );
        assert_eq!(json(&Value::Object(map)), expected);
    }

    #[test]
    fn base64_has_its_padding() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            let mut out = Vec::new();
            write_base64(bytes.as_bytes(), &mut out);
            assert_eq!(out, format!("\"{text}\"").as_bytes());
        }
    }

    #[test]
    fn infinite_floats_are_refused() {
        assert_eq!(Value::Array(vec![Value::Float(f64::NAN)]).write_json(&mut Vec::new()), Err(NotFinite));
    }
}
