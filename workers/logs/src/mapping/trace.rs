//! Trace contexts: W3C, B3 and Datadog, from fields and headers.

use compact_str::CompactString;
use longshore_core::{Map, RecordRef, Value};

/// What is known of a log's trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trace {
    /// 16 bytes, never all zero.
    pub(super) id: Option<u128>,
    /// 8 bytes, never all zero.
    pub(super) span: Option<u64>,
    /// The flags of W3C's trace context; bit 0 is "sampled".
    pub(super) flags: Option<u8>,
}

impl Trace {
    /// Adds what is known to a log.
    pub(super) fn push_to(&self, log: &mut Map) {
        if let Some(id) = self.id {
            log.push("trace_id", Value::Text(hex(id, 32)));
        }
        if let Some(span) = self.span {
            log.push("span_id", Value::Text(hex(u128::from(span), 16)));
        }
        if let Some(flags) = self.flags {
            log.push("trace_flags", Value::Int(i64::from(flags)));
        }
    }
}

/// Lower-case hexadecimal of so many digits, at most 32.
fn hex(number: u128, digits: usize) -> CompactString {
    let mut text = [b'0'; 32];
    for (place, digit) in text[..digits].iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * place) & 15) as usize];
    }
    CompactString::from_utf8_lossy(&text[..digits])
}

/// A trace id in a field: 32 hexadecimal digits, 16 of them (B3's short form), or a decimal number of 64 bits (Datadog).
pub(super) fn trace_id(name: &str, value: &Value) -> Option<u128> {
    let text = match value {
        Value::Text(text) => text.as_str(),
        other => return whole(other).map(u128::from),
    };
    match text.len() {
        32 => of_hex(text),
        16 if !is_datadog(name) => of_hex(text),
        _ => of_decimal(text).map(u128::from),
    }
}

/// A span id in a field: 16 hexadecimal digits, or a decimal number of 64 bits (Datadog).
pub(super) fn span_id(name: &str, value: &Value) -> Option<u64> {
    let text = match value {
        Value::Text(text) => text.as_str(),
        other => return whole(other),
    };
    match text.len() {
        16 if !is_datadog(name) => of_hex(text).and_then(|id| u64::try_from(id).ok()),
        _ => of_decimal(text),
    }
}

/// Datadog's own names hold decimal numbers, also where they could be read as hexadecimal.
fn is_datadog(name: &str) -> bool {
    name.starts_with("dd.")
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok().filter(|number| *number > 0),
        Value::UInt(number) => Some(*number),
        _ => None,
    }
}

fn of_decimal(text: &str) -> Option<u64> {
    let digits = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|number| *number > 0)
}

/// Hexadecimal digits of either case and nothing else, not all zero.
fn of_hex(text: &str) -> Option<u128> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u128::from_str_radix(text, 16).ok()).flatten().filter(|number| *number > 0)
}

/// `00-<trace>-<span>-<flags>`, <https://www.w3.org/TR/trace-context/#traceparent-header>. Later versions may add parts.
pub(super) fn of_traceparent(text: &str) -> Option<Trace> {
    let mut parts = text.trim().split('-');
    let (version, id, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let sizes = (version.len(), id.len(), span.len(), flags.len()) == (2, 32, 16, 2);
    let lower = text.bytes().all(|byte| !byte.is_ascii_uppercase());
    let version = byte(version)?;
    if !sizes || !lower || version == 0xff || version == 0 && parts.next().is_some() {
        return None;
    }
    Some(Trace { id: Some(of_hex(id)?), span: Some(u64::try_from(of_hex(span)?).ok()?), flags: Some(byte(flags)?) })
}

fn byte(text: &str) -> Option<u8> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

/// `<trace>-<span>[-<sampled>[-<parent>]]`, <https://github.com/openzipkin/b3-propagation#single-header>.
fn of_b3(text: &str) -> Option<Trace> {
    let mut parts = text.trim().split('-');
    let (id, span) = (parts.next()?, parts.next()?);
    Some(Trace { id: b3_id(id), span: b3_span(span), flags: parts.next().and_then(b3_sampled) })
        .filter(|trace| trace.id.is_some() && trace.span.is_some())
}

fn b3_id(text: &str) -> Option<u128> {
    if matches!(text.len(), 16 | 32) { of_hex(text) } else { None }
}

fn b3_span(text: &str) -> Option<u64> {
    if text.len() == 16 { of_hex(text).and_then(|id| u64::try_from(id).ok()) } else { None }
}

fn b3_sampled(text: &str) -> Option<u8> {
    match text {
        "1" | "d" | "true" => Some(1),
        "0" | "false" => Some(0),
        _ => None,
    }
}

/// The trace that a record's headers name: `traceparent` before B3 before Datadog. Of equal names the last one counts.
pub(super) fn of_headers(source: &RecordRef) -> Trace {
    let (mut w3c, mut b3, mut long_b3, mut datadog) = (None, None, Trace::default(), Trace::default());
    for header in source.headers() {
        let Some(text) = header.value.and_then(|value| std::str::from_utf8(value).ok()) else { continue };
        let is = |name: &str| header.name.eq_ignore_ascii_case(name.as_bytes());
        match header.name.len() {
            2 if is("b3") => b3 = of_b3(text),
            11 if is("traceparent") => w3c = of_traceparent(text),
            11 if is("x-b3-spanid") => long_b3.span = b3_span(text),
            12 if is("x-b3-traceid") => long_b3.id = b3_id(text),
            12 if is("x-b3-sampled") => long_b3.flags = b3_sampled(text),
            18 if is("x-datadog-trace-id") => datadog.id = of_decimal(text).map(u128::from),
            19 if is("x-datadog-parent-id") => datadog.span = of_decimal(text),
            _ => {}
        }
    }
    let whole = |trace: Trace| trace.id.is_some().then_some(trace);
    w3c.or(b3).or(whole(long_b3)).or(whole(datadog)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use longshore_core::{ChunkBuilder, Epoch, Lane, Offset, PairId};

    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn headers(headers: &[(&str, &str)]) -> Trace {
        let mut builder = ChunkBuilder::new(PairId::new("t", 0), Lane::Input, Epoch(1));
        builder.record(Offset(0), 0, None, None);
        for (name, value) in headers {
            builder.header(name.as_bytes(), Some(value.as_bytes()));
        }
        of_headers(&RecordRef::new(&builder.build(None), 0).unwrap())
    }

    fn known(flags: Option<u8>) -> Trace {
        Trace { id: Some(0x4bf92f3577b34da6a3ce929d0e0e4736), span: Some(0x00f067aa0ba902b7), flags }
    }

    #[test]
    fn w3c() {
        assert_eq!(of_traceparent(&format!("00-{ID}-{SPAN}-01")), Some(known(Some(1))));
        assert_eq!(of_traceparent(&format!("cc-{ID}-{SPAN}-00-what-else")), Some(known(Some(0))));
        for broken in [
            format!("00-{ID}-{SPAN}-01-more"),
            format!("ff-{ID}-{SPAN}-01"),
            format!("00-{ID}-{SPAN}"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{ID}-{}-01", "0".repeat(16)),
            format!("00-{}-{SPAN}-01", ID.to_uppercase()),
            format!("0-{ID}-{SPAN}-01"),
            format!("00-{ID}-{SPAN}-+1"),
            String::new(),
            "----".into(),
        ] {
            assert_eq!(of_traceparent(&broken), None, "{broken}");
        }
    }

    #[test]
    fn ids_in_fields() {
        assert_eq!(trace_id("trace_id", &Value::from(ID)), known(None).id);
        assert_eq!(trace_id("trace_id", &Value::from(ID.to_uppercase().as_str())), known(None).id);
        assert_eq!(span_id("span_id", &Value::from(SPAN)), known(None).span);
        assert_eq!(trace_id("dd.trace_id", &Value::from("1234567890123456")), Some(1234567890123456));
        assert_eq!(trace_id("trace_id", &Value::from("1234567890123456")), Some(0x1234567890123456));
        assert_eq!(trace_id("dd.trace_id", &Value::from("18446744073709551615")), Some(u128::from(u64::MAX)));
        assert_eq!(span_id("dd.span_id", &Value::UInt(u64::MAX)), Some(u64::MAX));
        assert_eq!(span_id("dd.span_id", &Value::Int(7)), Some(7));
        for broken in ["", "0", "xyz", "18446744073709551616", &"0".repeat(32), &ID[1..], "+123456789012345"] {
            assert_eq!(trace_id("trace_id", &Value::from(broken)), None, "{broken}");
            assert_eq!(span_id("span_id", &Value::from(broken)), None, "{broken}");
        }
        assert_eq!(trace_id("trace_id", &Value::Int(-1)), None);
        assert_eq!(trace_id("trace_id", &Value::Bool(true)), None);
    }

    #[test]
    fn contexts_in_headers() {
        assert_eq!(headers(&[("TraceParent", &format!("00-{ID}-{SPAN}-01"))]), known(Some(1)));
        assert_eq!(headers(&[("b3", &format!("{ID}-{SPAN}-d"))]), known(Some(1)));
        assert_eq!(headers(&[("b3", &format!("{ID}-{SPAN}"))]), known(None));
        assert_eq!(headers(&[("b3", "0")]), Trace::default());
        let long = [("X-B3-TraceId", ID), ("X-B3-SpanId", SPAN), ("X-B3-Sampled", "0")];
        assert_eq!(headers(&long), known(Some(0)));
        let datadog = headers(&[("x-datadog-trace-id", "10"), ("x-datadog-parent-id", "255")]);
        assert_eq!(datadog, Trace { id: Some(10), span: Some(255), flags: None });
        assert_eq!(headers(&[("X-B3-SpanId", SPAN)]), Trace::default(), "a span without its trace says nothing");
        let both = [("x-datadog-trace-id", "10"), ("traceparent", &format!("00-{ID}-{SPAN}-01"))];
        assert_eq!(headers(&both), known(Some(1)));
    }

    #[test]
    fn ids_are_written_in_full() {
        let mut log = Map::default();
        Trace { id: Some(0xab), span: Some(1), flags: Some(1) }.push_to(&mut log);
        assert_eq!(log.get("trace_id"), Some(&Value::from("000000000000000000000000000000ab")));
        assert_eq!(log.get("span_id"), Some(&Value::from("0000000000000001")));
    }
}
