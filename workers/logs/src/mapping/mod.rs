//! Which of a record's fields mean what, and how they become a log's.

mod roles;
mod severity;
mod time;
mod trace;

use longshore_conditions::BuildError;
use longshore_core::{Map, RecordRef, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use roles::{Found, Role, Roles};
pub use severity::Numbers;
use time::TimeReader;
use trace::Trace;

/// Which of a record's fields mean what. Each list is in order of preference: the first one that is not null wins and the others
/// stay attributes; an empty list switches the mapping off. Names are those of the JSON object's own fields, so
/// `log.level` is a field with a dot in its name. The names of the log model itself (`time_unix_nano`, `severity_number`,
/// `attributes`, `resource`, ...) always have their meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MappingOptions {
    /// The message. Default: body, message, msg, log.
    pub body: Vec<String>,
    /// The time of the event: RFC 3339, seconds, milliseconds, microseconds or nanoseconds since 1970 (told apart by
    /// magnitude), Common Log Format, or one of `time_formats`. A time without an offset is taken as UTC. What cannot be
    /// read stays as attribute `time.unparsed`. Default: time, timestamp, ts, @timestamp, datetime, asctime.
    pub time: Vec<String>,
    /// Patterns of `strptime`, such as `%d.%m.%Y %H:%M:%S`, tried before all other forms.
    pub time_formats: Vec<String>,
    /// The level. Default: severity_text, level, severity, lvl, log.level, log_level, loglevel, levelname.
    pub severity: Vec<String>,
    /// What a level that is a number means. Default `auto`.
    pub severity_numbers: Numbers,
    /// Trace ids: 32 hexadecimal digits, or Datadog's decimal ones. Default: trace_id, traceId, traceid, trace.id,
    /// otelTraceID, dd.trace_id.
    pub trace_id: Vec<String>,
    /// Span ids: 16 hexadecimal digits, or Datadog's decimal ones. Default: span_id, spanId, spanid, span.id, otelSpanID,
    /// dd.span_id.
    pub span_id: Vec<String>,
    /// W3C trace contexts. Default: traceparent.
    pub traceparent: Vec<String>,
    /// Whether the record's headers (`traceparent`, `b3`, `X-B3-*`, `x-datadog-*`) give the trace when its fields do not.
    /// Default true.
    pub trace_headers: bool,
}

impl Default for MappingOptions {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            body: names(&["body", "message", "msg", "log"]),
            time: names(&["time", "timestamp", "ts", "@timestamp", "datetime", "asctime"]),
            time_formats: Vec::new(),
            severity: names(&[
                "severity_text",
                "level",
                "severity",
                "lvl",
                "log.level",
                "log_level",
                "loglevel",
                "levelname",
            ]),
            severity_numbers: Numbers::Auto,
            trace_id: names(&["trace_id", "traceId", "traceid", "trace.id", "otelTraceID", "dd.trace_id"]),
            span_id: names(&["span_id", "spanId", "spanid", "span.id", "otelSpanID", "dd.span_id"]),
            traceparent: names(&["traceparent"]),
            trace_headers: true,
        }
    }
}

/// The attribute that keeps a time nobody could read.
const TIME_UNPARSED: &str = "time.unparsed";

const NANOS_PER_MILLI: i64 = 1_000_000;

/// The mapping, compiled.
pub(crate) struct Model {
    roles: Roles,
    time: TimeReader,
    numbers: Numbers,
    trace_headers: bool,
}

impl Model {
    /// Compiles the options.
    pub(crate) fn new(options: &MappingOptions) -> Result<Self, BuildError> {
        Ok(Self {
            roles: Roles::new(options)?,
            time: TimeReader::new(&options.time_formats)?,
            numbers: options.severity_numbers,
            trace_headers: options.trace_headers,
        })
    }

    /// Turns a record's fields into a log. Nothing is dropped: what has no meaning, or cannot be what its name says, is an
    /// attribute under its own name.
    pub(crate) fn log(&self, fields: Map, source: &RecordRef) -> Map {
        let mut log = Map::with_capacity(12);
        let mut rest = Map::with_capacity(fields.len() + 1);
        let mut found = Found::default();
        for (name, value) in fields {
            self.roles.sort_in(name, value, &mut found, &mut rest);
        }
        self.push_time(&mut log, &mut found, &mut rest, source);
        self.push_trace(&mut log, &mut found, &mut rest, source);
        self.push_severity(&mut log, &mut found, &mut rest);
        if let Some((_, body)) = found.take(Role::Body) {
            log.push("body", body);
        }
        let (resource, attributes) = (found.take(Role::Resource), found.take(Role::Attributes));
        let resource = resource.and_then(|(name, value)| object_or_rest(name, value, &mut rest));
        if let Some((name, inner)) =
            attributes.and_then(|(name, value)| object_or_rest(name, value, &mut rest))
        {
            rest = merged(rest, name, inner);
        }
        let event =
            found.take(Role::EventName).and_then(|(name, value)| text_or_rest(name, value, &mut rest));
        if !rest.is_empty() {
            log.push("attributes", Value::Object(rest));
        }
        if let Some((_, resource)) = resource.filter(|(_, resource)| !resource.is_empty()) {
            log.push("resource", Value::Object(resource));
        }
        if let Some(event) = event {
            log.push("event_name", event);
        }
        log
    }

    /// The time at which the record was first seen: the broker's timestamp.
    pub(crate) fn push_observed(&self, log: &mut Map, source: &RecordRef) {
        if let Some(nanos) = observed_nanos(source) {
            log.push("observed_time_unix_nano", Value::Int(nanos));
        }
    }

    /// The trace that the record's headers name.
    pub(crate) fn push_header_trace(&self, log: &mut Map, source: &RecordRef) {
        if self.trace_headers {
            trace::of_headers(source).push_to(log);
        }
    }

    fn push_time(&self, log: &mut Map, found: &mut Found, rest: &mut Map, source: &RecordRef) {
        let exact = |(name, value): (_, Value), rest: &mut Map| match time::exact_nanos(&value) {
            Some(nanos) => Some(nanos),
            None => {
                rest.push(name, value);
                None
            }
        };
        let own = found.take(Role::TimeNanos).and_then(|field| exact(field, rest));
        let read = match (own, found.take(Role::Time)) {
            (None, Some((name, value))) => match self.time.nanos(&value) {
                Some(nanos) => Some(nanos),
                None => {
                    let name = if value == Value::Null { name } else { TIME_UNPARSED.into() };
                    rest.insert(name, value);
                    None
                }
            },
            (Some(nanos), Some((name, value))) => {
                rest.push(name, value);
                Some(nanos)
            }
            (own, None) => own,
        };
        if let Some(nanos) = read {
            log.push("time_unix_nano", Value::Int(nanos));
        }
        let observed = found.take(Role::ObservedNanos).and_then(|field| exact(field, rest));
        if let Some(nanos) = observed.or_else(|| observed_nanos(source)) {
            log.push("observed_time_unix_nano", Value::Int(nanos));
        }
    }

    fn push_trace(&self, log: &mut Map, found: &mut Found, rest: &mut Map, source: &RecordRef) {
        let mut trace = Trace::default();
        if let Some((name, value)) = found.take(Role::TraceParent) {
            match value.as_str().and_then(trace::of_traceparent) {
                Some(context) => trace = context,
                None => rest.push(name, value),
            }
        }
        if let Some((name, value)) = found.take(Role::TraceId) {
            match trace::trace_id(&name, value) {
                Ok(id) if trace.id.as_ref().is_none_or(|known| *known == id) => trace.id = Some(id),
                Ok(other) => rest.push(name, Value::Text(other)),
                Err(value) => rest.push(name, value),
            }
        }
        if let Some((name, value)) = found.take(Role::SpanId) {
            match trace::span_id(&name, value) {
                // The log's own span is nearer than the one that a propagated context came from.
                Ok(span) => trace.span = Some(span),
                Err(value) => rest.push(name, value),
            }
        }
        if let Some((name, value)) = found.take(Role::TraceFlags) {
            match value.as_i64().and_then(|flags| u8::try_from(flags).ok()) {
                Some(flags) => trace.flags = Some(flags),
                None => rest.push(name, value),
            }
        }
        if trace.id.is_none() && trace.span.is_none() && self.trace_headers {
            trace = trace::of_headers(source);
        }
        trace.push_to(log);
    }

    fn push_severity(&self, log: &mut Map, found: &mut Found, rest: &mut Map) {
        let mut number = None;
        if let Some((name, value)) = found.take(Role::SeverityNumber) {
            number = value.as_i64().and_then(severity::of_model);
            if number.is_none() {
                rest.push(name, value);
            }
        }
        if let Some((name, value)) = found.take(Role::Severity) {
            match severity::text_and_number(&value, self.numbers) {
                Some((text, derived)) => {
                    log.push("severity_text", Value::Text(text));
                    number = number.or(derived);
                }
                None => rest.push(name, value),
            }
        }
        if let Some(number) = number {
            log.push("severity_number", Value::Int(i64::from(number)));
        }
    }
}

fn observed_nanos(source: &RecordRef) -> Option<i64> {
    Some(source.timestamp_ms()).filter(|time| *time >= 0)?.checked_mul(NANOS_PER_MILLI)
}

type Name = compact_str::CompactString;

fn object_or_rest(name: Name, value: Value, rest: &mut Map) -> Option<(Name, Map)> {
    match value {
        Value::Object(map) => Some((name, map)),
        other => {
            rest.push(name, other);
            None
        }
    }
}

fn text_or_rest(name: Name, value: Value, rest: &mut Map) -> Option<Value> {
    match value {
        Value::Text(_) => Some(value),
        other => {
            rest.push(name, other);
            None
        }
    }
}

/// Attributes that came as such, and those that stood beside them. When both know a name, the inner ones stay together as
/// one attribute, so that neither is lost.
fn merged(rest: Map, name: Name, inner: Map) -> Map {
    if rest.is_empty() {
        return inner;
    }
    let mut all = rest;
    if inner.iter().any(|(known, _)| all.get(known).is_some()) {
        all.push(name, Value::Object(inner));
        return all;
    }
    for (name, value) in inner {
        all.push(name, value);
    }
    all
}
