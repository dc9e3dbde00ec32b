//! The value that records are made of once they are read: JSON's shapes plus bytes, numbers kept exact.

use compact_str::CompactString;

/// A value. Numbers keep what was written: integers in 64 bits are exact, everything else that a float would change is
/// kept as its decimal text.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// A whole number above `i64::MAX`.
    UInt(u64),
    /// A number whose shortest decimal form reads back as the same float.
    Float(f64),
    /// A number that neither form keeps exactly, as it was written.
    Number(Box<str>),
    /// Text.
    Text(CompactString),
    /// Bytes, from Avro; base64 in JSON.
    Bytes(Box<[u8]>),
    /// A list.
    Array(Vec<Value>),
    /// Fields by name.
    Object(Map),
}

impl Value {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if it is one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::UInt(number) => i64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The fields, if it has any.
    pub fn as_object(&self) -> Option<&Map> {
        match self {
            Self::Object(map) => Some(map),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// Fields by name in their order of arrival. Records have few fields, so a list beats a hash map in time and space.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    fields: Vec<(CompactString, Value)>,
}

impl Map {
    /// An empty map with room.
    pub fn with_capacity(fields: usize) -> Self {
        Self { fields: Vec::with_capacity(fields) }
    }

    /// Takes a finished list over; for readers that have made sure that no name stands twice.
    pub fn from_fields(fields: Vec<(CompactString, Value)>) -> Self {
        Self { fields }
    }

    /// The field of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The field of that name, to change.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.fields.iter_mut().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Sets a field: in place when the name is known, else at the end. Gives back the old value.
    pub fn insert(&mut self, name: impl Into<CompactString>, value: Value) -> Option<Value> {
        let name = name.into();
        match self.get_mut(&name) {
            Some(known) => Some(std::mem::replace(known, value)),
            None => {
                self.fields.push((name, value));
                None
            }
        }
    }

    /// Adds a field at the end without looking for its name; for readers that have checked it.
    pub fn push(&mut self, name: impl Into<CompactString>, value: Value) {
        self.fields.push((name.into(), value));
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.fields.iter().position(|(known, _)| known == name)?;
        Some(self.fields.remove(at).1)
    }

    /// The fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl IntoIterator for Map {
    type Item = (CompactString, Value);
    type IntoIter = std::vec::IntoIter<(CompactString, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.fields.into_iter()
    }
}

impl FromIterator<(CompactString, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (CompactString, Value)>>(fields: I) -> Self {
        let mut map = Self::default();
        for (name, value) in fields {
            map.insert(name, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> Map {
        [("a", 1), ("b", 2), ("a", 3)]
            .map(|(name, number)| (name.into(), Value::from(number)))
            .into_iter()
            .collect()
    }

    /// Guarantee: a value is told as what it is, and as nothing else.
    #[test]
    fn values_are_what_they_are() {
        assert_eq!((Value::from("x").as_str(), Value::Int(1).as_str()), (Some("x"), None));
        assert_eq!((Value::from(-7).as_i64(), Value::UInt(7).as_i64()), (Some(-7), Some(7)));
        assert_eq!((Value::UInt(u64::MAX).as_i64(), Value::from("7").as_i64()), (None, None));
        assert_eq!(Value::Object(map()).as_object(), Some(&map()));
        assert_eq!(Value::Null.as_object(), None);
    }

    /// Guarantee: a name stands once, where it stood first, with what was said last.
    #[test]
    fn fields_keep_their_order() {
        let told = |map: &Map| -> Vec<(String, Value)> {
            map.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
        };
        let mut map = map();
        assert_eq!(told(&map), [("a".to_owned(), Value::Int(3)), ("b".to_owned(), Value::Int(2))]);
        assert_eq!((map.len(), map.is_empty(), Map::default().is_empty()), (2, false, true));
        assert_eq!((map.get("b"), map.get("c")), (Some(&Value::Int(2)), None));
        assert_eq!(map.insert("b", Value::Null), Some(Value::Int(2)));
        assert_eq!(map.insert("c", Value::Bool(true)), None);
        if let Some(value) = map.get_mut("c") {
            *value = Value::from("x");
        }
        assert_eq!(map.get_mut("d"), None);
        assert_eq!(map.remove("d"), None);
        assert_eq!((map.remove("a"), map.len()), (Some(Value::Int(3)), 2));
        let fields = vec![("b".into(), Value::Null), ("c".into(), Value::from("x"))];
        assert_eq!(map, Map::from_fields(fields.clone()));
        assert_eq!(map.into_iter().collect::<Vec<_>>(), fields);
        assert!(Map::with_capacity(9).fields.capacity() >= 9);
    }
}
