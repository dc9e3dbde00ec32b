//! Payloads for people: laid out over lines, and masked unless somebody asks to see them.
//!
//! What is secret in a payload cannot be told from here, so the default shows the shape alone: names, kinds and lengths.

use longshore_codec::json::{self, Limits};
use longshore_core::{Reason, Value};

/// How a payload is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Names and structure; `<text, 12 bytes>` for a text, `<number>` for a number.
    Masked,
    /// As it is.
    Raw,
}

/// The deepest level that is laid out; the reader takes no more.
const INDENT: &str = "  ";

/// A payload as lines.
pub(crate) fn shown(payload: Option<&[u8]>, view: View) -> String {
    shown_within(payload, view, usize::MAX)
}

/// How much larger a payload may be than what is shown of it to be read as JSON at all.
const READ_FACTOR: usize = 8;
/// The most values of a payload of which a part is shown: each takes some 32 bytes, beside a worker's own records (I5).
const VALUES_MAX: u32 = 50_000;
/// What stands where the rest is left out.
const REST: &str = "\u{2026} (the rest is left out)";

/// The first bytes of a payload as lines, about `most` of them.
pub(crate) fn shown_within(payload: Option<&[u8]>, view: View, most: usize) -> String {
    let Some(payload) = payload else { return "(null: a tombstone)".to_owned() };
    if payload.len() > most.saturating_mul(READ_FACTOR) {
        return match view {
            View::Masked => too_many(payload),
            View::Raw => text_within(payload, most),
        };
    }
    let limits = match most {
        usize::MAX => Limits::default(),
        _ => Limits { values: VALUES_MAX, ..Limits::default() },
    };
    match (json::parse(payload, &limits), view) {
        (Ok(value), view) => {
            let mut out = String::new();
            lay_out(&value, Look { view, most }, 0, &mut out);
            cut(out, most)
        }
        (Err(failure), View::Masked) if failure.reason == Reason::DecodeTooLarge => too_many(payload),
        (Err(failure), View::Masked) => {
            format!("<{} bytes, no JSON ({})>", payload.len(), failure.reason)
        }
        (Err(_), View::Raw) => text_within(payload, most),
    }
}

fn too_many(payload: &[u8]) -> String {
    format!("<{} bytes, too many to lay out here>", payload.len())
}

/// Bytes of a key or header, about `most` of them.
pub(crate) fn small_within(bytes: Option<&[u8]>, view: View, most: usize) -> String {
    match (bytes, view) {
        (Some(bytes), View::Raw) => text_within(bytes, most),
        (bytes, view) => small(bytes, view),
    }
}

fn text_within(bytes: &[u8], most: usize) -> String {
    if bytes.len() <= most {
        return text(bytes);
    }
    // The cut may lie inside a letter, which would make the whole look like no text.
    let letter = |at: &usize| bytes[*at] & 0b1100_0000 != 0b1000_0000;
    let end = (most.saturating_sub(3)..=most).rev().find(letter).unwrap_or(most);
    text(&bytes[..end]) + REST
}

fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('\n');
        text.push_str(REST);
    }
    text
}

/// Bytes as text without control characters but line ends; what is no UTF-8 as hexadecimal digits.
pub(crate) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let plain = |letter: char| matches!(letter, '\n' | '\t') || !letter.is_control();
            text.chars().fold(String::with_capacity(text.len()), |mut out, letter| {
                if plain(letter) {
                    out.push(letter)
                } else {
                    out.extend(letter.escape_default())
                }
                out
            })
        }
        Err(_) => format!("0x{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

/// Bytes of a key or header.
pub(crate) fn small(bytes: Option<&[u8]>, view: View) -> String {
    match (bytes, view) {
        (None, _) => "(null)".to_owned(),
        (Some(bytes), View::Raw) => text(bytes),
        (Some(bytes), View::Masked) => format!("<{} bytes>", bytes.len()),
    }
}

/// What is laid out of a payload, and how much.
#[derive(Clone, Copy)]
struct Look {
    view: View,
    most: usize,
}

fn lay_out(value: &Value, look: Look, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let entries = map.iter().map(|(name, value)| (Some(name), value));
            block('{', '}', entries, look, depth, out);
        }
        Value::Array(values) if !values.is_empty() => {
            block('[', ']', values.iter().map(|value| (None, value)), look, depth, out);
        }
        value => leaf(value, look.view, out),
    }
}

fn block<'a>(
    open: char,
    close: char,
    entries: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
    look: Look,
    depth: usize,
    out: &mut String,
) {
    out.push(open);
    for (place, (name, value)) in entries.enumerate() {
        if out.len() > look.most {
            return;
        }
        out.push_str(if place == 0 { "\n" } else { ",\n" });
        out.push_str(&INDENT.repeat(depth + 1));
        if let Some(name) = name {
            json_text(&Value::from(name), out);
            out.push_str(": ");
        }
        lay_out(value, look, depth + 1, out);
    }
    out.push('\n');
    out.push_str(&INDENT.repeat(depth));
    out.push(close);
}

fn leaf(value: &Value, view: View, out: &mut String) {
    match (value, view) {
        (Value::Text(text), View::Masked) => out.push_str(&format!("<text, {} bytes>", text.len())),
        (Value::Bytes(bytes), View::Masked) => out.push_str(&format!("<{} bytes>", bytes.len())),
        (Value::Int(_) | Value::UInt(_) | Value::Float(_) | Value::Number(_), View::Masked) => {
            out.push_str("<number>");
        }
        (value, _) => json_text(value, out),
    }
}

fn json_text(value: &Value, out: &mut String) {
    let mut bytes = Vec::new();
    // What was read as JSON holds no number that JSON cannot write.
    if value.write_json(&mut bytes).is_ok() {
        out.push_str(&String::from_utf8_lossy(&bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: &[u8] =
        br#"{"user":{"mail":"a@b.example","age":42},"ok":true,"tags":["x",null],"none":{}}"#;

    /// Guarantee: without `--raw` no text and no number of a payload is shown, and its shape is (I10).
    #[test]
    fn masked_shows_the_shape_alone() {
        let shown = shown(Some(PAYLOAD), View::Masked);
        assert_eq!(
            shown,
            "{\n  \"user\": {\n    \"mail\": <text, 11 bytes>,\n    \"age\": <number>\n  },\n  \"ok\": true,\n  \
             \"tags\": [\n    <text, 1 bytes>,\n    null\n  ],\n  \"none\": {}\n}"
        );
        assert!(!shown.contains("example") && !shown.contains("42"));
    }

    #[test]
    fn raw_shows_all_of_it() {
        let raw = shown(Some(PAYLOAD), View::Raw);
        assert!(raw.contains("\"mail\": \"a@b.example\"") && raw.contains("\"age\": 42"), "{raw}");
        assert_eq!(shown(Some(b"\x1b[2Jx\ny"), View::Raw), "\\u{1b}[2Jx\ny");
        assert_eq!(shown(Some(b"\xff\x00"), View::Raw), "0xff00");
    }

    /// Bad input: payloads of a megabyte, as JSON, as text, and in letters of several bytes. Guarantee: what is shown is bounded, is
    /// still text, and says that something is left out.
    #[test]
    fn what_is_shown_is_bounded() {
        let numbers = format!("[{}1]", "1,".repeat(500_000));
        // Short enough to be read, and too long when it is laid out.
        let texts = format!("[{}\"\"]", "\"\u{e4}\",".repeat(1_500));
        for (payload, view) in [
            (&numbers, View::Raw),
            (&texts, View::Raw),
            (&texts, View::Masked),
            (&"\u{20ac}".repeat(400_000), View::Raw),
        ] {
            for most in 1_000..1_004 {
                let shown = shown_within(Some(payload.as_bytes()), view, most);
                assert!(shown.len() <= 1_100 && shown.ends_with(REST) && !shown.starts_with("0x"), "{shown}");
            }
        }
        // Too long, and of too many values.
        for most in [1_000, 500_000] {
            let masked = shown_within(Some(numbers.as_bytes()), View::Masked, most);
            assert_eq!(masked, "<1000003 bytes, too many to lay out here>");
            assert!(shown_within(Some(numbers.as_bytes()), View::Raw, most).starts_with("[1,1,"));
        }
        assert!(shown(Some(numbers.as_bytes()), View::Masked).starts_with("[\n  <number>,\n"));
        assert_eq!(small_within(Some(b"user-7"), View::Raw, 4), format!("user{REST}"));
        assert_eq!(small_within(Some(b"user-7"), View::Masked, 4), "<6 bytes>");
    }

    #[test]
    fn what_is_no_json_is_only_measured() {
        assert_eq!(shown(Some(b"secret text"), View::Masked), "<11 bytes, no JSON (decode.json)>");
        assert_eq!(shown(None, View::Masked), "(null: a tombstone)");
        assert_eq!(small(Some(b"user-7"), View::Masked), "<6 bytes>");
        assert_eq!(small(None, View::Raw), "(null)");
    }
}
