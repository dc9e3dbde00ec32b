//! Conditions and transforms over dead letters.

use longshore_core::{Map, Value};

use super::{item, raw};
use crate::{Condition, LetterValues, Transform};

fn headers() -> Map {
    let mut map = Map::default();
    map.push("reason", Value::from("decode.json"));
    map.push("replays", Value::Int(1));
    map
}

fn letter<'a>(map: &'a Map, payload: &'a str) -> LetterValues<'a> {
    LetterValues { letter: map, payload: Some(payload.as_bytes()) }
}

#[test]
fn a_condition_sees_the_letter_and_its_payload() {
    let map = headers();
    let broken = raw(Some(b"{\"user\":"));
    for (text, met) in [
        ("letter.reason == 'decode.json' && letter.replays < 3", true),
        ("payload.startsWith('{') && key == 'user-7'", true),
        ("letter.reason.startsWith('sink.')", false),
        ("letter.nothing == 'x'", false),
        ("fields.user == 'x'", false),
    ] {
        let condition = Condition::compile_for_letters(text).unwrap();
        assert_eq!(condition.matches_letter(&broken, letter(&map, "{\"user\":")), Ok(met), "{text}");
    }
    let error = Condition::compile_for_letters("leter.reason == ''").unwrap_err();
    assert!(error.message.contains("`letter`"), "{}", error.message);
    // A pipeline's own conditions know nothing of letters.
    assert!(Condition::compile("letter.reason == ''").is_err());
}

fn transformed(pairs: &[(&str, &str)], payload: &str) -> Result<String, String> {
    let map = headers();
    let mut item = if payload.starts_with('{') && payload.ends_with('}') {
        item(payload)
    } else {
        raw(Some(payload.as_bytes()))
    };
    let transform = Transform::compile(pairs.iter().copied()).map_err(|error| error.to_string())?;
    let made =
        transform.apply(&mut item, letter(&map, payload)).map_err(|failure| failure.detail().to_owned())?;
    let key = made.key.map(|key| format!("{} ", String::from_utf8_lossy(&key)));
    let payload = made.payload.map(|payload| String::from_utf8_lossy(&payload).into_owned());
    Ok(key.unwrap_or_default() + &payload.unwrap_or_default())
}

#[test]
fn a_transform_corrects_fields_key_and_payload() {
    let payload = r#"{"n":12345678901234567890,"user":{"id":"7"}}"#;
    let pairs = [("user.id", "int(fields.user.id)"), ("a.b", "fields.user.id + 1"), ("key", "'k'")];
    assert_eq!(
        transformed(&pairs, payload).unwrap(),
        r#"k {"n":12345678901234567890,"user":{"id":7},"a":{"b":8}}"#
    );
    let pairs = [("payload", "payload.replace(\"'\", '\"')")];
    assert_eq!(transformed(&pairs, "{'a':1").unwrap(), "{\"a\":1");
    assert_eq!(transformed(&[("key", "key + '!'")], "x").unwrap(), "user-7! ");
}

/// Guarantee: a transform that fails, or gives nothing, says which place and why; nothing of it is sent.
#[test]
fn a_transform_that_fails_or_gives_nothing_says_so() {
    for (pairs, payload, words) in [
        (&[("user", "fields.missing")][..], "{}", "user: no result"),
        (&[("user", "int('x')")], "{}", "user: "),
        (&[("user", "1")], "no json", "user: the payload is no JSON object"),
        (&[("user.id", "1")], r#"{"user":"text"}"#, "user.id: a part on the way is no map"),
        (&[], "{}", "expected at least one place"),
        (&[("a..b", "1")], "{}", "names no field"),
        (&[("a", "1 +")], "{}", "a: syntax error"),
        (&[("payload", "'x'"), ("a", "1")], "{}", "cannot stand beside `payload`"),
    ] {
        let error = transformed(pairs, payload).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}
