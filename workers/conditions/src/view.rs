//! Record values as CEL sees them: borrowed, and made only where a program looks.

use std::sync::OnceLock;

use cel::ExecutionError;
use cel::common::traits::{self, Container, Indexer, Iterable, Sizer};
use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelInt, CelList, CelNull, CelString, CelUInt, Kind, MAP_TYPE, Type,
};
use cel::common::value::{CowVal, Val};
use longshore_core::{Map, RecordRef, Value};

/// The one null, borrowed wherever something is missing.
pub(crate) static NULL: CelNull = CelNull;

/// A record's value for CEL. Text is borrowed, a map becomes a [`View`], a list is built of such values.
pub(crate) fn cel_value<'b, 'v>(value: &'v Value) -> CowVal<'b, 'v> {
    match value {
        Value::Null => CowVal::Borrowed(&NULL),
        Value::Bool(value) => CowVal::owned(CelBool::from(*value)),
        Value::Int(value) => CowVal::owned(CelInt::from(*value)),
        Value::UInt(value) => CowVal::owned(CelUInt::from(*value)),
        Value::Float(value) => CowVal::owned(CelDouble::from(*value)),
        Value::Number(text) => number(text),
        Value::Text(text) => CowVal::owned(CelString::from(text.as_str())),
        Value::Bytes(bytes) => CowVal::owned(CelBytes::from(&**bytes)),
        Value::Array(values) => {
            let values: Vec<Box<dyn Val + 'v>> =
                values.iter().map(|value| cel_value(value).into_owned()).collect();
            CowVal::owned(CelList::from(values))
        }
        Value::Object(map) => CowVal::owned(View::of_map(map)),
    }
}

/// A number that is kept as text: a fraction is compared as the nearest double, a whole number beyond 64 bits is an id
/// more often than a quantity and stays text.
fn number<'b, 'v>(text: &'v str) -> CowVal<'b, 'v> {
    let whole = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') && text != "-0";
    match text.parse::<f64>() {
        Ok(value) if !whole && value.is_finite() => CowVal::owned(CelDouble::from(value)),
        Ok(_) | Err(_) => CowVal::owned(CelString::from(text)),
    }
}

/// Bytes as text if they are UTF-8, else as bytes.
pub(crate) fn text_or_bytes<'b, 'v>(bytes: &'v [u8]) -> CowVal<'b, 'v> {
    match std::str::from_utf8(bytes) {
        Ok(text) => CowVal::owned(CelString::from(text)),
        Err(_) => CowVal::owned(CelBytes::from(bytes)),
    }
}

/// A map of the record, read in place. A missing field is null, as everywhere in a condition; presence is asked for with
/// `has(map.field)` or `"field" in map`.
#[derive(Clone, Debug)]
pub(crate) struct View<'a> {
    source: Source<'a>,
    names: OnceLock<Vec<CelString<'a>>>,
}

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Map(&'a Map),
    Headers(&'a RecordRef),
}

impl<'a> View<'a> {
    /// A map of fields.
    pub(crate) fn of_map(map: &'a Map) -> Self {
        Self { source: Source::Map(map), names: OnceLock::new() }
    }

    /// The headers of a record.
    pub(crate) fn of_headers(record: &'a RecordRef) -> Self {
        Self { source: Source::Headers(record), names: OnceLock::new() }
    }

    fn find<'b, 'v>(&self, name: &str) -> Option<CowVal<'b, 'v>>
    where
        'a: 'v,
    {
        match self.source {
            Source::Map(map) => map.get(name).map(cel_value),
            Source::Headers(record) => {
                let named =
                    record.headers().filter(|header| header.name == name.as_bytes() && !is_own(header.name));
                named.last().map(|header| header.value.map_or(CowVal::Borrowed(&NULL), text_or_bytes))
            }
        }
    }

    fn names(&self) -> &[CelString<'a>] {
        self.names.get_or_init(|| match self.source {
            Source::Map(map) => map.iter().map(|(name, _)| CelString::from(name)).collect(),
            Source::Headers(record) => {
                let mut names: Vec<&str> = Vec::new();
                for header in record.headers().filter(|header| !is_own(header.name)) {
                    match std::str::from_utf8(header.name) {
                        Ok(name) if !names.contains(&name) => names.push(name),
                        Ok(_) | Err(_) => {}
                    }
                }
                names.into_iter().map(CelString::from).collect()
            }
        })
    }
}

/// Headers of our own are not the record's content, and on an input they may be forged.
fn is_own(name: &[u8]) -> bool {
    name.starts_with(b"longshore.")
}

fn name_of(index: &dyn Val) -> Result<&str, ExecutionError> {
    let name = index.downcast_ref::<CelString>().map(CelString::inner);
    name.ok_or_else(|| ExecutionError::UnexpectedType {
        got: index.get_type().name().to_owned(),
        want: "a field's name".to_owned(),
    })
}

impl Val for View<'_> {
    fn get_type(&self) -> &Type {
        &MAP_TYPE
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        let same_kind = other.get_type().kind() == Kind::Map;
        let size = other.as_sizer().map(|other| *other.size().inner());
        let (Some(others), Some(present)) = (other.as_indexer(), other.as_container()) else { return false };
        same_kind
            && size == Some(self.names().len() as i64)
            && self.names().iter().all(|name| {
                present.contains(name) == Ok(true)
                    && others
                        .get(name)
                        .is_ok_and(|value| self.find(name.inner()).is_some_and(|own| own == value))
            })
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }
}

impl Container for View<'_> {
    fn contains(&self, name: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.find(name_of(name)?).is_some())
    }
}

impl<'a> Indexer for View<'a> {
    fn get<'b, 'v>(&'b self, name: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        Ok(self.find(name_of(name)?).unwrap_or(CowVal::Borrowed(&NULL)))
    }

    fn steal<'v>(self: Box<Self>, name: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        Ok(self.find(name_of(name)?).unwrap_or(CowVal::Borrowed(&NULL)).into_owned())
    }
}

impl Iterable for View<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn traits::Iterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Names(self.names().iter()))
    }
}

struct Names<'b, 'a>(std::slice::Iter<'b, CelString<'a>>);

impl<'b, 'v, 'a: 'v> traits::Iterator<'b, 'v> for Names<'b, 'a> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|name| name as &(dyn Val + 'v))
    }
}

impl Sizer for View<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(self.names().len() as i64)
    }
}
