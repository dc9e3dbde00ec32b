//! Corrections of a letter's record before it is sent again: a map of places in the payload to expressions.

use bytes::Bytes;
use longshore_core::item::{Content, Key};
use longshore_core::{Failure, Item, Map, Value};

use crate::convert::refused;
use crate::{BuildError, Expression, LetterValues};

/// The name that stands for the record's key.
const KEY: &str = "key";
/// The name that stands for the payload as a whole.
const PAYLOAD: &str = "payload";

/// `{ PLACE: EXPRESSION, ... }`. A place is `key`, `payload` (all of it: text becomes the payload as it is, anything else
/// its JSON), or a field of a JSON object with dots between names (`user.id`); what is missing on the way is made. Later
/// entries see what earlier ones set. An expression without a result fails the record: a correction that silently changes
/// nothing would be sent for nothing.
#[derive(Debug)]
pub struct Transform {
    assignments: Vec<Assignment>,
}

#[derive(Debug)]
struct Assignment {
    name: String,
    place: Place,
    expression: Expression,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Key,
    Payload,
    Field(Vec<String>),
}

/// What a transform made of a record; none is what it left as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transformed {
    /// The new key.
    pub key: Option<Bytes>,
    /// The new payload.
    pub payload: Option<Vec<u8>>,
}

impl Transform {
    /// Compiles the expressions.
    ///
    /// # Errors
    /// The first place or expression that makes no sense; the field is the place as written.
    pub fn compile<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, BuildError> {
        let mut assignments = Vec::new();
        for (name, text) in pairs {
            let expression = Expression::compile_for_letters(text);
            let expression = expression.map_err(|error| BuildError::condition(name, &error))?;
            let place = match name {
                KEY => Place::Key,
                PAYLOAD => Place::Payload,
                _ => Place::Field(name.split('.').map(str::to_owned).collect()),
            };
            if matches!(&place, Place::Field(names) if names.iter().any(|part| part.trim().is_empty())) {
                return Err(BuildError::new(name, "names no field; write for example `user.id`"));
            }
            assignments.push(Assignment { name: name.to_owned(), place, expression });
        }
        if assignments.is_empty() {
            return Err(BuildError::new("", "expected at least one place with an expression"));
        }
        let whole = assignments.iter().any(|one| one.place == Place::Payload);
        let parts = assignments.iter().find(|one| matches!(one.place, Place::Field(_)));
        match parts {
            Some(part) if whole => {
                Err(BuildError::new(&part.name, "cannot stand beside `payload`, which replaces all of it"))
            }
            _ => Ok(Self { assignments }),
        }
    }

    /// Applies it to the record of a letter, whose content is its payload's fields where that is a JSON object.
    ///
    /// # Errors
    /// Reject with `step.expression` for an expression that fails or has no result, and for a place that does not exist.
    pub fn apply(&self, item: &mut Item, letter: LetterValues<'_>) -> Result<Transformed, Failure> {
        let mut made = Transformed::default();
        let mut fields_changed = false;
        for one in &self.assignments {
            let value =
                one.expression.evaluate_letter(item, letter).map_err(|error| one.failed(error.detail()))?;
            if value == Value::Null {
                return Err(one.failed("no result"));
            }
            match &one.place {
                Place::Key => {
                    let key = Bytes::from(bytes_of(value).ok_or_else(|| one.failed("a number without end"))?);
                    item.key = Key::Set(Some(key.clone()));
                    made.key = Some(key);
                }
                Place::Payload => {
                    made.payload = Some(bytes_of(value).ok_or_else(|| one.failed("a number without end"))?);
                }
                Place::Field(names) => {
                    let fields =
                        item.fields_mut().ok_or_else(|| one.failed("the payload is no JSON object"))?;
                    put(fields, names, value).ok_or_else(|| one.failed("a part on the way is no map"))?;
                    fields_changed = true;
                }
            }
        }
        if let (true, Content::Fields(fields)) = (fields_changed, &item.content) {
            let mut out = Vec::new();
            fields.write_json(&mut out).map_err(|error| refused(&error.to_string()))?;
            made.payload = Some(out);
        }
        Ok(made)
    }
}

impl Assignment {
    fn failed(&self, what: &str) -> Failure {
        refused(&format!("{}: {what}", self.name))
    }
}

/// Text and bytes as they are, everything else as JSON; none for what JSON has no word for.
fn bytes_of(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::Text(text) => Some(text.as_bytes().to_vec()),
        Value::Bytes(bytes) => Some(bytes.into_vec()),
        other => {
            let mut out = Vec::new();
            other.write_json(&mut out).ok().map(|()| out)
        }
    }
}

/// Puts a value below names; none when something on the way is no map.
fn put(fields: &mut Map, names: &[String], value: Value) -> Option<()> {
    match names {
        [] => None,
        [name] => {
            fields.insert(name.as_str(), value);
            Some(())
        }
        [name, rest @ ..] => {
            if fields.get(name).is_none_or(|known| *known == Value::Null) {
                fields.insert(name.as_str(), Value::Object(Map::default()));
            }
            match fields.get_mut(name) {
                Some(Value::Object(inner)) => put(inner, rest, value),
                _ => None,
            }
        }
    }
}
