//! What spans look like: the semantic conventions 1.44 for messaging
//! (<https://opentelemetry.io/docs/specs/semconv/messaging/kafka/>), and a few attributes of our own under `longshore.`. No payload, no
//! header and no detail of a failure is in a span, whose readers are others than those of dead letters (I10); a key is, by the
//! convention, when it is short and readable.

use std::time::SystemTime;

use longshore_core::{Failure, Lane, Offset, PairId, RecordRef, TraceContext};
use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::Story;

/// The most bytes of a key that are told.
const KEY_BYTES: usize = 128;

/// What became of a record in the steps.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// It goes to sinks.
    Routed,
    /// It was filtered, for this reason.
    Filtered(&'a str),
    /// It failed.
    Failed(&'a Failure),
}

/// Where a record was read.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its pair.
    pub pair: &'a PairId,
    /// The lane it came by.
    pub lane: Lane,
    /// Its offset in the topic of its lane.
    pub lane_offset: Offset,
    /// Its offset in the input topic.
    pub offset: Offset,
}

impl<'a> Place<'a> {
    /// Of a record.
    pub fn of(record: &'a RecordRef) -> Self {
        Self {
            pair: record.pair(),
            lane: record.chunk().lane(),
            lane_offset: record.lane_offset(),
            offset: record.offset(),
        }
    }
}

/// A span in the making.
pub(super) struct Draft {
    data: SpanData,
}

impl Draft {
    /// A span of a story, from `started` to now.
    pub(super) fn new(
        story: &Story,
        name: String,
        kind: SpanKind,
        started: SystemTime,
        scope: &InstrumentationScope,
    ) -> Self {
        let state = story.state.as_deref().and_then(|state| state.parse::<TraceState>().ok());
        let data = SpanData {
            span_context: context(&story.context, state.unwrap_or_default(), false),
            parent_span_id: story.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
            parent_span_is_remote: story.remote,
            span_kind: kind,
            name: name.into(),
            start_time: started,
            // A clock that was set back makes no span end before it began.
            end_time: SystemTime::now().max(started),
            attributes: Vec::with_capacity(12),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: scope.clone(),
        };
        Self { data }.with("messaging.system", "kafka")
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<opentelemetry::Value>) -> Self {
        self.data.attributes.push(KeyValue::new(name, value));
        self
    }

    pub(super) fn with_some(
        self,
        name: &'static str,
        value: Option<impl Into<opentelemetry::Value>>,
    ) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// What is done, and to which topic.
    pub(super) fn operation(self, name: &'static str, kind: &'static str, topic: &str) -> Self {
        self.with("messaging.operation.name", name)
            .with("messaging.operation.type", kind)
            .with("messaging.destination.name", topic.to_owned())
    }

    /// The partition, which is text by the convention.
    pub(super) fn partition(self, partition: i32) -> Self {
        self.with("messaging.destination.partition.id", partition.to_string())
    }

    /// The record's key, if it is one to be told.
    pub(super) fn key(self, key: Option<&[u8]>) -> Self {
        let text = key.filter(|key| key.len() <= KEY_BYTES).and_then(|key| std::str::from_utf8(key).ok());
        let text = text.filter(|text| !text.chars().any(char::is_control));
        self.with_some("messaging.kafka.message.key", text.map(str::to_owned))
    }

    /// The record's identity, which is not where a copy of it was read.
    pub(super) fn origin(self, place: Place<'_>) -> Self {
        let Place { pair, offset, .. } = place;
        self.with("longshore.origin", format!("{}/{}/{}", pair.topic, pair.partition.0, offset.0))
    }

    pub(super) fn failure(self, failure: Option<&Failure>) -> Self {
        let Some(failure) = failure else { return self };
        let code = failure.reason.code();
        let at = Some(failure.at.to_string()).filter(|at| !at.is_empty());
        let mut draft = self.with("error.type", code).with_some("longshore.at", at);
        draft.data.status = Status::Error { description: code.into() };
        draft
    }

    /// That it went wrong, for a reason that is a word.
    pub(super) fn error(mut self, why: Option<&'static str>) -> Self {
        let Some(why) = why else { return self };
        self.data.status = Status::Error { description: why.into() };
        self.with("error.type", why)
    }

    /// Contexts that the span has to do with.
    pub(super) fn links(mut self, links: impl Iterator<Item = TraceContext>) -> Self {
        let link = |linked: TraceContext| Link::with_context(context(&linked, TraceState::default(), true));
        self.data.links.links.extend(links.map(link));
        self
    }

    pub(super) fn end(self) -> SpanData {
        self.data
    }
}

/// What a span takes in memory.
pub(super) fn bytes_of(span: &SpanData) -> u64 {
    let attributes: usize = span.attributes.iter().map(|attribute| size_of_text(&attribute.value)).sum();
    let names = span.name.len() + span.span_context.trace_state().header().len();
    let lists =
        span.attributes.capacity() * size_of::<KeyValue>() + span.links.links.capacity() * size_of::<Link>();
    (size_of::<SpanData>() + names + attributes + lists) as u64
}

fn size_of_text(value: &opentelemetry::Value) -> usize {
    match value {
        opentelemetry::Value::String(text) => text.as_str().len(),
        _ => 0,
    }
}

fn context(context: &TraceContext, state: TraceState, remote: bool) -> SpanContext {
    let TraceContext { trace, span, flags } = *context;
    let flags = TraceFlags::new(flags);
    SpanContext::new(TraceId::from_bytes(trace), SpanId::from_bytes(span), flags, remote, state)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Some span.
    pub(in crate::trace) fn span() -> SpanData {
        let story = Story::of(TraceContext::sampled([1; 16], [2; 8]));
        let scope = InstrumentationScope::builder("longshore").build();
        Draft::new(&story, "process logs".into(), SpanKind::Consumer, SystemTime::now(), &scope).end()
    }

    fn keys(key: &[u8]) -> usize {
        let draft = Draft { data: span() }.key(Some(key));
        draft.data.attributes.iter().filter(|told| told.key.as_str() == "messaging.kafka.message.key").count()
    }

    #[test]
    fn only_short_readable_keys_are_told() {
        assert_eq!(keys(b"user-7"), 1);
        assert_eq!(keys(&[0xff]), 0);
        assert_eq!(keys(b"a\nb"), 0);
        assert_eq!(keys(&[b'a'; 129]), 0);
    }

    #[test]
    fn a_failure_is_told_by_its_code_alone() {
        let failure = Failure::reject(longshore_core::Reason::DecodeJson, "password=x").at("parse");
        let span = Draft { data: span() }.failure(Some(&failure)).end();
        let told = format!("{span:?}");
        assert!(
            told.contains("decode.json") && told.contains("parse") && !told.contains("password"),
            "{told}"
        );
        assert_eq!(span.status, Status::error("decode.json"));
    }
}
