//! The JSON Schema of the pipeline file, and a way to walk it.

use std::sync::OnceLock;

use serde_json::{Map, Value as Json};

use crate::model::Pipeline;
use crate::path::{Path, Segment};

/// The JSON Schema (draft 2020-12) of the whole pipeline file, with descriptions and defaults. Editors that speak YAML
/// complete and check with it.
pub fn schema() -> Json {
    root().clone()
}

/// The same, made once.
pub(crate) fn root() -> &'static Json {
    static ROOT: OnceLock<Json> = OnceLock::new();
    ROOT.get_or_init(|| schemars::schema_for!(Pipeline).to_value())
}

/// Follows `$ref`. Fields beside a reference (description, default) are the caller's to read first.
pub(crate) fn resolve(mut schema: &'static Json) -> &'static Json {
    // Each step follows one reference of a finite, acyclic chain; the bound only guards against a broken schema.
    for _ in 0..16 {
        let Some(reference) = schema.get("$ref").and_then(Json::as_str) else { return schema };
        let Some(target) = reference.strip_prefix('#').and_then(|pointer| root().pointer(pointer)) else {
            return schema;
        };
        schema = target;
    }
    schema
}

/// The alternatives of a schema: its `oneOf` or `anyOf`, resolved; none when it has only one form.
pub(crate) fn branches(schema: &'static Json) -> Vec<&'static Json> {
    ["oneOf", "anyOf"]
        .iter()
        .filter_map(|word| schema.get(word).and_then(Json::as_array))
        .flatten()
        .map(resolve)
        .collect()
}

/// The types a schema accepts, alternatives included; empty when it says nothing about types.
pub(crate) fn types(schema: &'static Json) -> Vec<&'static str> {
    let schema = resolve(schema);
    let mut types: Vec<&'static str> = match schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    };
    if types.is_empty() {
        match schema.get("const").or_else(|| schema.get("enum").and_then(|words| words.get(0))) {
            Some(Json::String(_)) => types.push("string"),
            Some(Json::Number(_)) => types.push("integer"),
            Some(Json::Bool(_)) => types.push("boolean"),
            _ => {}
        }
    }
    for branch in branches(schema) {
        types.extend(self::types(branch));
    }
    types.sort_unstable();
    types.dedup();
    types
}

/// Every field a schema knows, of all its alternatives, each with its schema.
pub(crate) fn fields(schema: &'static Json) -> Vec<(&'static str, &'static Json)> {
    let schema = resolve(schema);
    let own = schema.get("properties").and_then(Json::as_object).into_iter().flat_map(Map::iter);
    let mut fields: Vec<_> = own.map(|(name, schema)| (name.as_str(), schema)).collect();
    for branch in branches(schema) {
        fields.extend(self::fields(branch));
    }
    for part in schema.get("allOf").and_then(Json::as_array).into_iter().flatten() {
        fields.extend(self::fields(part));
    }
    fields
}

/// The schema of every entry of a map with free names; none for a map with fixed fields.
pub(crate) fn free_names(schema: &'static Json) -> Option<&'static Json> {
    let schema = resolve(schema);
    schema
        .get("additionalProperties")
        .filter(|extra| extra.is_object())
        .or_else(|| branches(schema).into_iter().find_map(free_names))
}

/// The schema of list entries.
pub(crate) fn items(schema: &'static Json) -> Option<&'static Json> {
    let schema = resolve(schema);
    schema
        .get("items")
        .filter(|items| items.is_object())
        .or_else(|| branches(schema).into_iter().find_map(items))
}

/// The schema one level down.
pub(crate) fn child(schema: &'static Json, segment: &Segment) -> Option<&'static Json> {
    match segment {
        Segment::Index(_) => items(schema),
        Segment::Key(key) => fields(schema)
            .into_iter()
            .find_map(|(name, schema)| (name == key).then_some(schema))
            .or_else(|| free_names(schema)),
    }
}

/// The schema of a place in the document; none where the file format has no such place.
pub(crate) fn of(path: &Path) -> Option<&'static Json> {
    path.segments().iter().try_fold(root(), child)
}
