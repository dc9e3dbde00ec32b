//! Conditions and expressions, of the pipeline file, of the command line and of the console, over a record of anybody's.
//!
//! The bytes are the condition, and behind the first zero byte the record as JSON.

use longshore_codec::Decode;
use longshore_conditions::{Condition, ConditionError, Expression, LetterValues};
use longshore_core::{Content, Map, Value};

/// Functions that make long texts of short ones. One of them makes at most the product of two; several in a row are what whoever writes a
/// pipeline has to answer for (`SECURITY.md`), and the fuzzer would find nothing else.
const GROWING: &[&str] = &["replace", "join", "format"];

/// See the module.
pub fn run(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else { return };
    // What the author of a condition says may be told; what the record says may not.
    if text.contains("planted") {
        return;
    }
    if GROWING.iter().map(|name| text.matches(name).count()).sum::<usize>() > 1 {
        return;
    }
    let mut item = crate::item(Some(crate::PLANTED.as_bytes()), parts.next());
    if let Ok(Value::Object(fields)) = Decode::json().decode(parts_value(&item)) {
        item.content = Content::Fields(fields);
    }
    match Condition::compile(text) {
        Ok(condition) => {
            let met = condition.matches(&item);
            assert_eq!(met.is_ok(), condition.matches(&item).is_ok(), "not the same twice");
            if let Err(failure) = met {
                crate::judge(&failure);
            }
        }
        Err(error) => placed(text, &error),
    }
    match Expression::compile(text) {
        Ok(expression) => {
            let (first, second) = (expression.evaluate(&item), expression.evaluate(&item));
            match (first, second) {
                (Ok(first), Ok(second)) => assert_eq!(format!("{first:?}"), format!("{second:?}")),
                (Err(failure), Err(_)) => crate::judge(&failure),
                (first, second) => panic!("not the same twice: {first:?}, {second:?}"),
            }
        }
        Err(error) => placed(text, &error),
    }
    letters(text, &item);
}

fn parts_value(item: &longshore_core::Item) -> &[u8] {
    item.source.value().unwrap_or_default()
}

fn letters(text: &str, item: &longshore_core::Item) {
    let Ok(condition) = Condition::compile_for_letters(text) else { return };
    let mut letter = Map::default();
    letter.insert("reason", Value::from("decode.json"));
    let values = LetterValues { letter: &letter, payload: item.source.value() };
    if let Err(failure) = condition.matches_letter(item, values) {
        crate::judge(&failure);
    }
}

/// A mistake is a place of the text.
fn placed(text: &str, error: &ConditionError) {
    assert!(!error.message.is_empty());
    assert!(text.get(error.offset..error.offset + error.len).is_some(), "{error:?} of {} bytes", text.len());
}
