use proptest::prelude::*;

use crate::{BRACKETS_MAX, Condition, Expression, LENGTH_MAX, LOOPS_MAX, OPERATORS_MAX};

/// Scenario: texts made to exhaust the stack, on a thread with the 2 MiB of a worker's. Guarantee: an error, no overflow.
#[test]
fn hostile_texts_are_refused() {
    let deep = 10_000;
    for text in [
        format!("{}1{}", "(".repeat(deep), ")".repeat(deep)),
        format!("{}1{}", "[".repeat(deep), "]".repeat(deep)),
        "{'a':".repeat(deep),
        "!".repeat(deep),
        "-".repeat(deep),
        format!("1{}", "+1".repeat(deep)),
        format!("body{}", ".a".repeat(deep)),
        "true?".repeat(deep),
        "x".repeat(deep),
        format!("body == '{}'", "é".repeat(deep)),
        "\"".to_owned(),
        "'\\".to_owned(),
        // What looks like the inside of a text, and is none to the parser.
        format!("r\"\\\" + {}1", "(".repeat(deep)),
        format!("\"\n{}1", "(".repeat(4_000)),
        format!("r\"\\\" + {}1", "(".repeat(4_000)),
        format!("1r\"\\\" + {}1", "(".repeat(4_000)),
        format!("\"\\q{}1\"", "(".repeat(4_000)),
        format!("// \"\n{}1", "(".repeat(4_000)),
        format!("`a//` + {}1", "(".repeat(4_000)),
        format!("// '\n1{}", "+1".repeat(2_000)),
    ] {
        assert!(Condition::compile(&text).is_err());
    }
}

/// Scenario: the largest texts that the limits let through. Guarantee: they compile and evaluate on a worker's stack.
#[test]
fn texts_at_the_limits_fit_the_stack() {
    let item = super::log();
    let half = OPERATORS_MAX / 2;
    for text in [
        format!("{}true{}", "(".repeat(BRACKETS_MAX), ")".repeat(BRACKETS_MAX)),
        format!("{}true{}", "!(".repeat(BRACKETS_MAX), ")".repeat(BRACKETS_MAX)),
        format!("size({}1{}) == 1", "[".repeat(BRACKETS_MAX - 1), "]".repeat(BRACKETS_MAX - 1)),
        format!("1{} > 0", "+1".repeat(OPERATORS_MAX - 2)),
        format!("{}true", "!".repeat(OPERATORS_MAX)),
        format!("{}1 > 0", "-".repeat(OPERATORS_MAX - 2)),
        format!("attributes{} == null", ".a".repeat(OPERATORS_MAX - 2)),
        format!("{}true{}", "true ? ".repeat(half), " : false".repeat(half)),
        format!("true{}", " || true".repeat(half)),
        format!("body == '{}'", "x".repeat(LENGTH_MAX - 10)),
    ] {
        match Condition::compile(&text) {
            Ok(condition) => drop(condition.matches(&item)),
            // The parser has limits of its own.
            Err(error) => assert!(error.message.starts_with("syntax error"), "{text}: {error:?}"),
        }
    }
}

#[test]
fn loops_nest_only_so_deep() {
    let text = |loops: usize| {
        let open: String = (0..loops).map(|n| format!("[1].exists(v{n}, ")).collect();
        format!("{open}true{}", ")".repeat(loops))
    };
    assert!(Condition::compile(&text(LOOPS_MAX)).is_ok());
    let error = Condition::compile(&text(LOOPS_MAX + 1)).unwrap_err();
    assert!(error.message.contains("loops inside each other"), "{error}");
}

/// Scenario: loops inside loops. Guarantee: what a record's size multiplies with itself is refused, what stays in
/// proportion to it is not.
#[test]
fn loops_inside_loops_stay_in_proportion() {
    for text in [
        "attributes.tags.exists(t, ['a', 'b'].exists(p, t.startsWith(p)))",
        "attributes.groups.exists(g, g.members.exists(m, m == 'x'))",
        "attributes.groups.exists(g, attributes[g].exists(m, m == 'x'))",
        "attributes.tags.exists(t, t == 'a') && attributes.tags.exists(t, t == 'b')",
    ] {
        let refused = text.contains("attributes[g]");
        assert_eq!(Condition::compile(text).is_err(), refused, "{text}");
    }
    let error = Condition::compile("attributes.a.exists(x, attributes.b.exists(y, x == y))").unwrap_err();
    assert!(error.message.starts_with("a loop inside a loop"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is written, compiling answers and points inside the text.
    #[test]
    fn any_text_compiles_or_is_pointed_at(text in "[ a-z0-9_.()\\[\\]{}<>=!&|?:'\"\\\\,+*/%é-]{0,60}") {
        if let Err(error) = Expression::compile(&text) {
            prop_assert!(error.offset <= text.len() && text.is_char_boundary(error.offset));
        }
    }
}
