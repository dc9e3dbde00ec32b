use longshore_core::{Class, Item, Reason, Value};

use super::{item, log, raw};
use crate::{Condition, Expression};

fn met(item: &Item, text: &str) -> bool {
    Condition::compile(text)
        .unwrap_or_else(|e| panic!("{text}: {e}"))
        .matches(item)
        .unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn made(item: &Item, text: &str) -> Value {
    Expression::compile(text)
        .unwrap_or_else(|e| panic!("{text}: {e}"))
        .evaluate(item)
        .unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn conditions_that_are_met() {
    let log = log();
    for text in [
        "severity_number < 17",
        "severity_number >= 9 && severity_text == 'WARN'",
        r#"attributes["app"] == "api""#,
        "attributes.app == 'api'",
        "attributes.status >= 500",
        "attributes.ratio < 1.0",
        "attributes.http.method == 'GET'",
        "attributes['http.route'] == '/x'",
        "attributes.big == 18446744073709551615u",
        "attributes.tags.exists(t, t == 'b')",
        "attributes.tags[0] == 'a'",
        "size(attributes.tags) == 2",
        "'app' in attributes",
        "attributes.exists(name, name.startsWith('http'))",
        "has(attributes.app)",
        "has(attributes.none)",
        "!has(attributes.absent)",
        "attributes.absent == null",
        "attributes.absent != 'x'",
        "attributes == attributes",
        "attributes.http == {'method': 'GET'}",
        "body.contains('full')",
        "body.matches('^disk .* f[u]ll$')",
        "matches(body, 'almost')",
        "body.lowerAscii().startsWith('disk')",
        "resource.host == 'h1'",
        "fields.severity_text == 'WARN'",
        "time == 1700000000456",
        "key == 'user-7'",
        "topic == 'logs.raw' && partition == 3 && offset == 42",
        "headers.tenant == 'acme'",
        "!('longshore.origin' in headers)",
        "size(headers) == 2",
        "headers.empty == null && has(headers.empty)",
        "headers.absent == null",
        "type(body) == string",
        "[1, 2].all(x, x < 3) && {'a': 1}.a == 1 && has({'a': 1}.a) && !has({'a': 1}.b)",
        "attributes.tags.map(t, t + '!') == ['a!', 'b!']",
        "attributes.tags.filter(t, t != 'a') == ['b']",
    ] {
        assert!(met(&log, text), "{text}");
    }
}

/// Scenario: a record lacks what the condition works on. Guarantee: the condition is not met, either way round, and the
/// record does not fail.
#[test]
fn a_condition_on_something_missing_is_not_met() {
    let bare = item("{}");
    for text in [
        "severity_number < 9",
        "severity_number >= 9",
        "!(severity_number < 9)",
        "attributes.absent > 1",
        "attributes.deep.deeper == 'x'",
        "attributes.deep.deeper.deepest > 1",
        "has(attributes.deep.deeper)",
        "body.contains('x')",
        "body.matches('x')",
        "attributes.flag",
        "!attributes.flag",
        "attributes.a + 1 > 2",
        "1 + attributes.a > 2",
        "-attributes.a < 0",
        "'x' in attributes.list",
        "attributes.list.exists(x, x == 1)",
        "size(attributes.list) > 0",
        "attributes.flag ? true : true",
        "severity_number < 9 && true",
    ] {
        assert!(!met(&bare, text), "{text}");
    }
    assert!(met(&bare, "severity_number < 9 || true"));
    assert!(met(&bare, "true || severity_number < 9"));
    assert!(met(&bare, "time == 1700000000123"), "the broker's time stands in");
}

#[test]
fn a_raw_record_has_its_text_as_body() {
    let text = raw(Some(b"hello"));
    assert!(met(&text, "body == 'hello' && fields == null && attributes == null"));
    assert!(met(&raw(None), "body == null"));
    assert!(met(&raw(Some(b"\xff")), "type(body) == bytes && body == b'\\xff'"));
}

#[test]
fn mistakes_reject_the_record_without_its_payload() {
    let log = log();
    for text in [
        "body > 3",
        "body",
        "severity_number",
        "severity_number + 'x' == ''",
        "attributes.tags[9] == 'a'",
        "1 / (severity_number - 13) > 0",
        "body.matches(body + '(')",
        "attributes.app.foo == 1",
        "9223372036854775807 + severity_number > 0",
    ] {
        let failure = Condition::compile(text).unwrap().matches(&log).expect_err(text);
        assert_eq!((failure.class, failure.reason), (Class::Reject, Reason::StepExpression), "{text}");
        assert!(
            !failure.detail().contains("full") && !failure.detail().contains("api"),
            "{text}: {}",
            failure.detail()
        );
    }
}

#[test]
fn expressions_make_exact_values() {
    let log = log();
    for (text, expected) in [
        ("attributes.app", Value::from("api")),
        ("attributes['http'].method", Value::from("GET")),
        ("attributes.big", Value::UInt(u64::MAX)),
        ("attributes.status + 1", Value::Int(504)),
        ("18446744073709551615u", Value::UInt(u64::MAX)),
        ("uint(5)", Value::Int(5)),
        ("attributes.ratio * 2.0", Value::Float(1.0)),
        ("attributes.app + '-' + string(attributes.status)", Value::from("api-503")),
        ("body", Value::from("disk almost full")),
        ("attributes.absent", Value::Null),
        ("attributes.absent + 1", Value::Null),
        ("attributes.tags", Value::Array(vec![Value::from("a"), Value::from("b")])),
        (
            "[attributes.app, null, true]",
            Value::Array(vec![Value::from("api"), Value::Null, Value::Bool(true)]),
        ),
        ("b'ab'", Value::Bytes(Box::from(*b"ab"))),
        ("type(1)", Value::from("int")),
    ] {
        assert_eq!(made(&log, text), expected, "{text}");
    }
    let Value::Object(map) = made(&log, "{'z': 1, 'a': attributes.http}") else { panic!() };
    assert_eq!(map.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "z"]);
    assert_eq!(
        map.get("a").and_then(Value::as_object).and_then(|m| m.get("method")),
        Some(&Value::from("GET"))
    );
    let Value::Object(all) = made(&log, "[attributes][0]") else { panic!() };
    assert_eq!(all.iter().next().map(|(name, _)| name.to_owned()), log_first_attribute(&log));
}

fn log_first_attribute(log: &Item) -> Option<String> {
    let attributes = log.fields()?.get("attributes")?.as_object()?;
    attributes.iter().next().map(|(name, _)| name.to_owned())
}

#[test]
fn numbers_kept_as_text_compare_as_doubles_unless_they_are_long_ids() {
    let mut item = item(r#"{"attributes": {}}"#);
    let Some(Value::Object(attributes)) = item.fields_mut().and_then(|f| f.get_mut("attributes")) else {
        panic!()
    };
    attributes.insert("price", Value::Number("1.10".into()));
    attributes.insert("id", Value::Number("123456789012345678901234567890".into()));
    assert!(met(&item, "attributes.price > 1.0"));
    assert!(met(&item, "attributes.id == '123456789012345678901234567890'"));
    assert_eq!(made(&item, "attributes.price"), Value::Number("1.10".into()), "a bare path copies exactly");
}

#[test]
fn a_double_that_json_cannot_say_is_refused() {
    let failure = Expression::compile("1.0 / 0.0").unwrap().evaluate(&log()).unwrap_err();
    assert_eq!(failure.reason, Reason::StepExpression);
}
