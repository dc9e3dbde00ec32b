use crate::environment::FUNCTIONS;
use crate::{Condition, VARIABLES};

/// What is wrong, where, and how much of the text is meant.
fn mistake(text: &str) -> (String, String) {
    let error = Condition::compile(text).expect_err(text);
    (error.message, text[error.offset..].chars().take(error.len).collect())
}

#[test]
fn unknown_names_are_pointed_at_and_the_nearest_is_named() {
    let (message, at) = mistake("true && severty_number < 9");
    assert_eq!(message, "unknown variable `severty_number`, did you mean `severity_number`?");
    assert_eq!(at, "severty_number");

    let (message, at) = mistake("body == 'é' || atributes.x == 1");
    assert_eq!(message, "unknown variable `atributes`, did you mean `attributes`?");
    assert_eq!(at, "atributes");

    let (message, _) = mistake("body.startWith('x')");
    assert_eq!(message, "unknown function `startWith`, did you mean `startsWith`?");

    let (message, _) = mistake("zzzzzzzzzzzzzzzz");
    assert!(message.contains("known are added, attributes, body"), "{message}");
}

#[test]
fn a_loop_brings_its_name_only_inside() {
    assert!(Condition::compile("[1].exists(x, [2].exists(y, x < y))").is_ok());
    let (message, at) = mistake("[1].exists(x, x > 0) && x > 0");
    assert!(message.starts_with("unknown variable `x`"), "{message}");
    assert_eq!(at, "x");
}

#[test]
fn syntax_errors_have_a_place() {
    for (text, at) in [("severity_number <", ""), ("(body == 'x'", ""), ("body == 'é' == = 3", "=")] {
        let error = Condition::compile(text).expect_err(text);
        assert!(error.message.starts_with("syntax error"), "{text}: {}", error.message);
        assert!(text[error.offset..].starts_with(at), "{text}: {error:?}");
        assert!(error.offset <= text.len());
    }
    assert_eq!(mistake(" \n").0, "the expression is empty");
    let second_line = Condition::compile("body == 'x' &&\n  foo_bar").unwrap_err();
    assert_eq!(second_line.offset, 17);
}

#[test]
fn patterns_are_compiled_when_the_pipeline_is_checked() {
    let (message, _) = mistake("body.matches('(foo')");
    assert!(message.starts_with("not a valid pattern: unclosed group"), "{message}");
}

#[test]
fn what_is_not_supported_says_so() {
    assert!(mistake("attributes.?x == 1").0.contains("a missing field is null"));
    assert!(mistake("Foo{a: 1} == 1").0.contains("types of your own"));
}

/// Scenario: every function that a misspelt one may be corrected to. Guarantee: the environment knows it.
#[test]
fn every_function_that_is_suggested_exists() {
    let item = super::log();
    for name in FUNCTIONS
        .iter()
        .filter(|name| !["all", "exists", "exists_one", "filter", "has", "map"].contains(name))
    {
        let forms = [
            format!("{name}('x')"),
            format!("'x'.{name}()"),
            format!("['x'].{name}()"),
            format!("'x'.{name}('y')"),
        ];
        let known = forms.iter().any(|text| match Condition::compile(text).unwrap().matches(&item) {
            Ok(_) => true,
            Err(failure) => !failure.detail().contains("is not known"),
        });
        assert!(known, "{name}");
    }
    for name in VARIABLES {
        assert!(Condition::compile(&format!("{name} == null")).unwrap().matches(&item).is_ok(), "{name}");
    }
}
