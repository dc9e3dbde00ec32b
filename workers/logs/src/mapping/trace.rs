//! Trace contexts: W3C, B3 and Datadog, from fields and headers.

use compact_str::CompactString;
use longshore_core::{Map, RecordRef, Value};

/// What is known of a log's trace. Ids are lower-case hexadecimal of their full length, never all zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trace {
    /// 32 digits.
    pub(super) id: Option<CompactString>,
    /// 16 digits.
    pub(super) span: Option<CompactString>,
    /// The flags of W3C's trace context; bit 0 is "sampled".
    pub(super) flags: Option<u8>,
}

const ID_DIGITS: usize = 32;
const SPAN_DIGITS: usize = 16;

impl Trace {
    /// Adds what is known to a log.
    pub(super) fn push_to(self, log: &mut Map) {
        if let Some(id) = self.id {
            log.push("trace_id", Value::Text(id));
        }
        if let Some(span) = self.span {
            log.push("span_id", Value::Text(span));
        }
        if let Some(flags) = self.flags {
            log.push("trace_flags", Value::Int(i64::from(flags)));
        }
    }
}

/// A trace id in a field: 32 hexadecimal digits, 16 of them (B3's short form), or a decimal number of 64 bits (Datadog).
/// Gives the value back when it is none of these.
pub(super) fn trace_id(name: &str, value: Value) -> Result<CompactString, Value> {
    let id = match &value {
        Value::Text(text) if text.len() == ID_DIGITS => return of_long_text(value),
        Value::Text(text) if text.len() == SPAN_DIGITS && !is_datadog(name) => padded(text),
        Value::Text(text) => of_decimal(text).map(|number| hex(number, ID_DIGITS)),
        other => whole(other).map(|number| hex(number, ID_DIGITS)),
    };
    id.ok_or(value)
}

/// A span id in a field: 16 hexadecimal digits, or a decimal number of 64 bits (Datadog). Gives the value back when it is
/// neither.
pub(super) fn span_id(name: &str, value: Value) -> Result<CompactString, Value> {
    let span = match &value {
        Value::Text(text) if text.len() == SPAN_DIGITS && !is_datadog(name) => return of_long_text(value),
        Value::Text(text) => of_decimal(text).map(|number| hex(number, SPAN_DIGITS)),
        other => whole(other).map(|number| hex(number, SPAN_DIGITS)),
    };
    span.ok_or(value)
}

/// A text of full length that is an id, without a copy: nearly every source writes lower case.
fn of_long_text(value: Value) -> Result<CompactString, Value> {
    match value {
        Value::Text(mut text) if is_id(text.as_bytes()) => {
            text.make_ascii_lowercase();
            Ok(text)
        }
        other => Err(other),
    }
}

/// Hexadecimal digits of either case, not all zero.
fn is_id(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit) && digits.iter().any(|digit| *digit != b'0')
}

/// A short id in the length of a trace's.
fn padded(short: &str) -> Option<CompactString> {
    is_id(short.as_bytes()).then(|| compact_str::format_compact!("{:0>32}", short.to_ascii_lowercase()))
}

/// Lower-case hexadecimal of so many digits.
fn hex(number: u64, digits: usize) -> CompactString {
    compact_str::format_compact!("{number:0digits$x}")
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

/// `00-<trace>-<span>-<flags>`, <https://www.w3.org/TR/trace-context/#traceparent-header>. Later versions may add parts.
pub(super) fn of_traceparent(text: &str) -> Option<Trace> {
    let mut parts = text.trim().split('-');
    let (version, id, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let sizes = (version.len(), id.len(), span.len(), flags.len()) == (2, 32, 16, 2);
    let lower = text.bytes().all(|byte| !byte.is_ascii_uppercase());
    let version = byte(version)?;
    let ids = is_id(id.as_bytes()) && is_id(span.as_bytes());
    if !sizes || !lower || !ids || version == 0xff || version == 0 && parts.next().is_some() {
        return None;
    }
    Some(Trace { id: Some(id.into()), span: Some(span.into()), flags: Some(byte(flags)?) })
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

fn b3_id(text: &str) -> Option<CompactString> {
    match text.len() {
        ID_DIGITS => is_id(text.as_bytes()).then(|| text.to_ascii_lowercase().into()),
        SPAN_DIGITS => padded(text),
        _ => None,
    }
}

fn b3_span(text: &str) -> Option<CompactString> {
    let fits = text.len() == SPAN_DIGITS && is_id(text.as_bytes());
    fits.then(|| text.to_ascii_lowercase().into())
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
            18 if is("x-datadog-trace-id") => datadog.id = of_decimal(text).map(|id| hex(id, ID_DIGITS)),
            19 if is("x-datadog-parent-id") => {
                datadog.span = of_decimal(text).map(|span| hex(span, SPAN_DIGITS))
            }
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
        Trace { id: Some(ID.into()), span: Some(SPAN.into()), flags }
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
        let id = |name: &str, value: Value| trace_id(name, value).ok();
        let span = |name: &str, value: Value| span_id(name, value).ok();
        let number = |number: u64| Some(hex(number, 32));
        assert_eq!(id("trace_id", Value::from(ID)), known(None).id);
        assert_eq!(id("trace_id", Value::from(ID.to_uppercase().as_str())), known(None).id);
        assert_eq!(span("span_id", Value::from(SPAN)), known(None).span);
        assert_eq!(id("dd.trace_id", Value::from("1234567890123456")), number(1234567890123456));
        assert_eq!(id("trace_id", Value::from("ABCDEF7890123456")), number(0xabcdef7890123456));
        assert_eq!(id("dd.trace_id", Value::from("18446744073709551615")), number(u64::MAX));
        assert_eq!(span("dd.span_id", Value::UInt(u64::MAX)), Some("ffffffffffffffff".into()));
        assert_eq!(span("dd.span_id", Value::Int(7)), Some("0000000000000007".into()));
        for broken in ["", "0", "xyz", "18446744073709551616", &"0".repeat(32), &ID[1..], "+123456789012345"]
        {
            assert_eq!(trace_id("trace_id", Value::from(broken)), Err(Value::from(broken)));
            assert_eq!(span_id("span_id", Value::from(broken)), Err(Value::from(broken)));
        }
        assert_eq!(id("trace_id", Value::Int(-1)), None);
        assert_eq!(id("trace_id", Value::Bool(true)), None);
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
        assert_eq!(datadog, Trace { id: Some(hex(10, 32)), span: Some(hex(255, 16)), flags: None });
        assert_eq!(
            headers(&[("X-B3-SpanId", SPAN)]),
            Trace::default(),
            "a span without its trace says nothing"
        );
        let both = [("x-datadog-trace-id", "10"), ("traceparent", &format!("00-{ID}-{SPAN}-01"))];
        assert_eq!(headers(&both), known(Some(1)));
    }
}
