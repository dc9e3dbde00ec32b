//! The functions a condition may call.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use cel::common::types::{CelBool, CelString, STRING_TYPE};
use cel::common::value::CowVal;
use cel::{Env, ExecutionError};
use regex::Regex;

/// Every function by its plain name, so that a typing error is found when the pipeline is checked and not by the first
/// record. `has`, `all`, `exists`, `exists_one`, `map` and `filter` are macros, gone by the time names are looked up; they
/// stand here to be suggested.
pub(crate) const FUNCTIONS: &[&str] = &[
    "all",
    "bool",
    "bytes",
    "charAt",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "exists",
    "exists_one",
    "filter",
    "format",
    "has",
    "indexOf",
    "int",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "map",
    "matches",
    "replace",
    "reverse",
    "size",
    "split",
    "startsWith",
    "string",
    "substring",
    "trim",
    "type",
    "uint",
    "upperAscii",
];

/// Names of types, which are values as well: `type(body) == string`.
pub(crate) const TYPES: &[&str] =
    &["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// The most patterns that a thread keeps compiled; they come from the pipeline file, hardly ever from a record.
const PATTERNS_MAX: usize = 64;

/// The most memory one compiled pattern may take, bytes.
const PATTERN_BYTES: usize = 1 << 20;

thread_local! {
    static PATTERNS: RefCell<HashMap<String, Regex>> = RefCell::new(HashMap::new());
}

/// The standard functions, the string extensions, and a `matches` that compiles a pattern once instead of per record.
pub(crate) fn environment() -> Result<Arc<Env>, cel::DeclarationError> {
    let mut env = Env::stdlib();
    env.add_extension(cel::extensions::strings)?;
    env.add_overload("matches", "matches", vec![STRING_TYPE, STRING_TYPE], matches)?;
    env.add_member_overload("matches", "string_matches", STRING_TYPE, vec![STRING_TYPE], matches)?;
    Ok(Arc::new(env))
}

/// Compiles a pattern of the `regex` crate's syntax.
pub(crate) fn pattern(text: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES).build()
}

fn matches<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = |index: usize| {
        let value = arguments.get(index).and_then(|value| value.downcast_ref::<CelString>());
        value.ok_or(ExecutionError::MissingArgumentOrTarget)
    };
    let found = is_match(text(0)?.inner(), text(1)?.inner())
        .ok_or_else(|| ExecutionError::function_error("matches", "not a valid pattern"))?;
    Ok(CowVal::owned(CelBool::from(found)))
}

/// Whether the text matches; none when the pattern does not compile.
fn is_match(text: &str, expression: &str) -> Option<bool> {
    PATTERNS.with_borrow_mut(|patterns| {
        if let Some(known) = patterns.get(expression) {
            return Some(known.is_match(text));
        }
        let compiled = pattern(expression).ok()?;
        let found = compiled.is_match(text);
        if patterns.len() >= PATTERNS_MAX {
            patterns.clear();
        }
        patterns.insert(expression.to_owned(), compiled);
        Some(found)
    })
}
