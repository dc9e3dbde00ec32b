//! The variables of a condition, bound when it asks for them.

use cel::common::types::{CelInt, CelString};
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use longshore_core::{Item, Map, Value};

use crate::view::{NULL, View, cel_value, text_or_bytes};

/// Every variable that a condition may name.
pub const VARIABLES: &[&str] = &[
    "added",
    "attributes",
    "body",
    "created",
    "event_name",
    "fields",
    "headers",
    "id",
    "key",
    "metadata",
    "offset",
    "partition",
    "resource",
    "severity_number",
    "severity_text",
    "source",
    "span_id",
    "text",
    "time",
    "topic",
    "trace_flags",
    "trace_id",
];

/// What a condition about a dead letter may name besides.
pub const LETTER_VARIABLES: &[&str] = &["letter", "payload"];

/// A dead letter's own part: what its headers say, and its payload as it lies there.
#[derive(Clone, Copy, Debug)]
pub struct LetterValues<'a> {
    /// `letter`: `reason`, `at`, `detail`, `attempt`, `replays`, ... as a map.
    pub letter: &'a Map,
    /// `payload`: text if it is UTF-8, else bytes; null for a tombstone.
    pub payload: Option<&'a [u8]>,
}

/// The field in which a log carries its own time.
const TIME: &str = "time_unix_nano";

const NANOS_PER_MILLI: i64 = 1_000_000;

/// Gives a program the variables of one item, and of the letter it came in.
pub(crate) struct Variables<'a> {
    pub(crate) item: &'a Item,
    pub(crate) letter: Option<LetterValues<'a>>,
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let item = self.item;
        let value = match name {
            "body" => match item.fields() {
                Some(fields) => field_or_null(fields.get(name)),
                None => item.raw().map_or(null(), text_or_bytes),
            },
            "attributes" | "resource" | "severity_number" | "severity_text" | "trace_id" | "span_id"
            | "trace_flags" | "event_name" | "id" | "text" | "source" | "added" | "created" | "metadata" => {
                field_or_null(item.fields().and_then(|fields| fields.get(name)))
            }
            "fields" => item.fields().map_or(null(), |fields| CowVal::owned(View::of_map(fields))),
            "time" => time_ms(item).map_or(null(), int),
            "key" => item.key().map_or(null(), text_or_bytes),
            "headers" => CowVal::owned(View::of_headers(&item.source)),
            "letter" => self.letter.map_or(null(), |own| CowVal::owned(View::of_map(own.letter))),
            "payload" => self.letter.and_then(|own| own.payload).map_or(null(), text_or_bytes),
            "topic" => CowVal::owned(CelString::from(item.source.pair().topic.as_str())),
            "partition" => int(i64::from(item.source.pair().partition.0)),
            "offset" => int(item.source.offset().0),
            // A qualified name such as `attributes.app` is tried as a whole first; its parts come next.
            _ => return None,
        };
        Some(value)
    }
}

/// The record's time in milliseconds since 1970, none when neither the record nor the broker says one.
pub(crate) fn time_ms(item: &Item) -> Option<i64> {
    let own = item.fields().and_then(|fields| fields.get(TIME)).and_then(Value::as_i64);
    let broker = || Some(item.source.timestamp_ms()).filter(|time| *time >= 0);
    own.map(|nanos| nanos.div_euclid(NANOS_PER_MILLI)).or_else(broker)
}

fn field_or_null<'b>(value: Option<&'b Value>) -> CowVal<'b, 'b> {
    value.map_or(null(), cel_value)
}

fn null<'b>() -> CowVal<'b, 'b> {
    CowVal::Borrowed(&NULL)
}

fn int<'b>(number: i64) -> CowVal<'b, 'b> {
    CowVal::owned(CelInt::from(number))
}
