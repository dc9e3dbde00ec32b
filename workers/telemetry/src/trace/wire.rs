//! Spans as OTLP has them (`opentelemetry/proto/trace/v1/trace.proto`, `collector/trace/v1/trace_service.proto`), written in one go: lengths
//! are filled in behind what they count. A test holds it against the messages of the exporters' own crate.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanKind, Status};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;

/// Fields of 64 and of 32 bits, and those that have a length.
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// That flags tell whether the parent is another process's, and that it is.
const KNOWS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// A request with these spans, which are of one scope.
pub(super) fn request(resource: &Resource, spans: &[SpanData]) -> Vec<u8> {
    let mut wire = Wire(Vec::with_capacity(1024 + spans.len() * 512));
    wire.message(1, |wire| {
        wire.message(1, |wire| {
            for (name, value) in resource {
                wire.message(1, |wire| wire.attribute(name.as_str(), value));
            }
        });
        wire.message(2, |wire| {
            if let Some(first) = spans.first() {
                let scope = &first.instrumentation_scope;
                wire.message(1, |wire| {
                    wire.text(1, scope.name());
                    wire.text(2, scope.version().unwrap_or_default());
                });
                for span in spans {
                    wire.message(2, |wire| wire.span(span));
                }
                wire.text(3, scope.schema_url().unwrap_or_default());
            }
        });
    });
    wire.0
}

/// Bytes of a message in the making (<https://protobuf.dev/programming-guides/encoding/>).
struct Wire(Vec<u8>);

impl Wire {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.number(field << 3 | BYTES);
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Text that says nothing is left out.
    fn text(&mut self, field: u64, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    /// A number that is not zero.
    fn count(&mut self, field: u64, number: u64) {
        if number != 0 {
            self.number(field << 3);
            self.number(number);
        }
    }

    fn fixed64(&mut self, field: u64, bytes: [u8; 8]) {
        self.number(field << 3 | FIXED64);
        self.0.extend_from_slice(&bytes);
    }

    fn time(&mut self, field: u64, at: SystemTime) {
        let nanos = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        self.fixed64(field, u64::try_from(nanos).unwrap_or(u64::MAX).to_le_bytes());
    }

    /// A message inside: most are shorter than 128 bytes, whose length is one byte; for the others what was written is moved up.
    fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        self.number(field << 3 | BYTES);
        let at = self.0.len();
        self.0.push(0);
        write(self);
        let length = self.0.len() - at - 1;
        if length < 0x80 {
            self.0[at] = length as u8;
            return;
        }
        let mut prefix = Self(Vec::with_capacity(10));
        prefix.number(length as u64);
        self.0.splice(at..=at, prefix.0);
    }

    fn span(&mut self, span: &SpanData) {
        self.context(&span.span_context);
        if span.parent_span_id != opentelemetry::trace::SpanId::INVALID {
            self.bytes(4, &span.parent_span_id.to_bytes());
        }
        self.text(5, &span.name);
        self.count(6, kind(&span.span_kind));
        self.time(7, span.start_time);
        self.time(8, span.end_time);
        for KeyValue { key, value, .. } in &span.attributes {
            self.message(9, |wire| wire.attribute(key.as_str(), value));
        }
        self.count(10, span.dropped_attributes_count.into());
        for link in &span.links.links {
            self.message(13, |wire| {
                wire.context(&link.span_context);
                wire.flags(6, &link.span_context, link.span_context.is_remote());
            });
        }
        self.count(14, span.links.dropped_count.into());
        match &span.status {
            Status::Unset => self.message(15, |_| {}),
            Status::Ok => self.message(15, |wire| wire.count(3, 1)),
            Status::Error { description } => self.message(15, |wire| {
                wire.text(2, description);
                wire.count(3, 2);
            }),
        }
        self.flags(16, &span.span_context, span.parent_span_is_remote);
    }

    /// Trace, span and state, which spans and links have in the same fields.
    fn context(&mut self, context: &SpanContext) {
        self.bytes(1, &context.trace_id().to_bytes());
        self.bytes(2, &context.span_id().to_bytes());
        self.text(3, &context.trace_state().header());
    }

    fn flags(&mut self, field: u64, context: &SpanContext, remote: bool) {
        let remote = if remote { IS_REMOTE } else { 0 };
        self.number(field << 3 | FIXED32);
        let flags = u32::from(context.trace_flags().to_u8()) | KNOWS_REMOTE | remote;
        self.0.extend_from_slice(&flags.to_le_bytes());
    }

    fn attribute(&mut self, name: &str, value: &Value) {
        self.text(1, name);
        self.message(2, |wire| wire.value(value));
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.bytes(1, text.as_str().as_bytes()),
            Value::Bool(truth) => {
                self.number(2 << 3);
                self.number(u64::from(*truth));
            }
            Value::I64(number) => {
                self.number(3 << 3);
                self.number(*number as u64);
            }
            Value::F64(number) => self.fixed64(4, number.to_le_bytes()),
            Value::Array(array) => self.message(5, |wire| wire.array(array)),
            other => self.bytes(1, other.as_str().as_bytes()),
        }
    }

    /// None of ours is a list, but the operator's may be: as texts.
    fn array(&mut self, array: &Array) {
        let texts: Vec<String> = match array {
            Array::String(texts) => texts.iter().map(|text| text.as_str().to_owned()).collect(),
            Array::Bool(list) => list.iter().map(ToString::to_string).collect(),
            Array::I64(list) => list.iter().map(ToString::to_string).collect(),
            Array::F64(list) => list.iter().map(ToString::to_string).collect(),
            other => vec![other.to_string()],
        };
        for text in texts {
            self.message(1, |wire| wire.bytes(1, text.as_bytes()));
        }
    }
}

fn kind(kind: &SpanKind) -> u64 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Link, SpanId, TraceFlags, TraceId, TraceState};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
    use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
    use prost::Message;

    use super::*;
    use crate::trace::spans;

    /// Guarantee: what is written is what the exporters' own crate says of the same spans.
    #[test]
    fn spans_are_written_as_others_write_them() {
        let resource = Resource::builder_empty()
            .with_attributes([KeyValue::new("service.name", "logs"), KeyValue::new("x", "y".repeat(200))])
            .build();
        let mut rich = spans::tests::span();
        let remote = |flags| {
            let state = TraceState::from_key_value([("a", "b")]).unwrap();
            let flags = TraceFlags::new(flags);
            SpanContext::new(TraceId::from_bytes([7; 16]), SpanId::from_bytes([9; 8]), flags, true, state)
        };
        rich.span_context = remote(1);
        rich.parent_span_id = SpanId::from_bytes([5; 8]);
        rich.parent_span_is_remote = true;
        rich.status = Status::error("decode.json");
        rich.attributes.extend([
            KeyValue::new("truth", true),
            KeyValue::new("minus", -3_i64),
            KeyValue::new("none", ""),
            KeyValue::new("half", 0.5),
            KeyValue::new("long", "ä".repeat(20_000)),
        ]);
        rich.links.links = vec![Link::with_context(remote(0)); 128];
        rich.links.dropped_count = 3;
        let all = vec![spans::tests::span(), rich];
        let theirs =
            group_spans_by_resource_and_scope(all.clone(), &ResourceAttributesWithSchema::from(&resource));
        let theirs = ExportTraceServiceRequest { resource_spans: theirs };
        let mut ours = ExportTraceServiceRequest::decode(request(&resource, &all).as_slice()).unwrap();
        // Who has neither told a schema has none, and a resource's attributes are in no order.
        let sort = |request: &mut ExportTraceServiceRequest| {
            for resource in &mut request.resource_spans {
                resource.resource.as_mut().unwrap().attributes.sort_by(|one, other| one.key.cmp(&other.key));
            }
        };
        let mut theirs = theirs;
        sort(&mut ours);
        sort(&mut theirs);
        assert_eq!(ours, theirs);
    }
}
