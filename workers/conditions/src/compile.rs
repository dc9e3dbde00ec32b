//! From text to a checked tree: limits first, then the parser, then names.

use std::sync::Arc;

use cel::parser::Expression as Tree;
use cel::{Env, ParseErrors};

use crate::environment::environment;
use crate::error::ConditionError;
use crate::names::Names;
use crate::presence::ask_for_presence;
use crate::texts::{Misfit, outside};

/// The longest text of a condition, bytes.
pub const LENGTH_MAX: usize = 8 * 1024;

/// The deepest nesting of brackets. The parser calls itself some ten times per level, and a worker's thread has 2 MiB of
/// stack.
pub const BRACKETS_MAX: usize = 24;

/// The most operators, dots and commas; a chain of them is as deep a tree as nested brackets are.
pub const OPERATORS_MAX: usize = 200;

/// What a program is about, which decides the names it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// A record of a pipeline.
    Record,
    /// A dead letter and the record in it.
    Letter,
}

/// Parses and checks a text.
pub(crate) fn compile(text: &str, about: About) -> Result<(Tree, Arc<Env>), ConditionError> {
    check_limits(text)?;
    let env = environment().map_err(|error| ConditionError::new(error, 0, text.len()))?;
    let program = env.compile(text).map_err(|errors| syntax_error(text, &errors))?;
    Names::new(text, program.source_info(), about).check(program.expression())?;
    let mut tree = program.expression().clone();
    ask_for_presence(&mut tree);
    Ok((tree, env))
}

/// Refuses what could overflow the stack of the parser, before the parser sees it.
fn check_limits(text: &str) -> Result<(), ConditionError> {
    if text.trim().is_empty() {
        return Err(ConditionError::new("the expression is empty", 0, text.len()));
    }
    if text.len() > LENGTH_MAX {
        let message = format!("the expression is longer than {LENGTH_MAX} bytes");
        return Err(ConditionError::new(message, floor(text, LENGTH_MAX), 1));
    }
    let (mut depth, mut operators) = (0usize, 0usize);
    for letter in outside(text) {
        let (at, letter) = letter.map_err(|misfit| misfit_error(text, misfit))?;
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            letter if letter.is_ascii_punctuation() && letter != '_' => operators += 1,
            _ => {}
        }
        if depth > BRACKETS_MAX {
            let message = format!("brackets nest deeper than {BRACKETS_MAX} levels");
            return Err(ConditionError::new(message, at, 1));
        }
        if operators > OPERATORS_MAX {
            let message = format!("more than {OPERATORS_MAX} operators, split the expression");
            return Err(ConditionError::new(message, at, 1));
        }
    }
    Ok(())
}

fn misfit_error(text: &str, misfit: Misfit) -> ConditionError {
    let (at, message) = match misfit {
        Misfit::Text(at) => (at, "a text that is not closed, or an escape in it that there is not"),
        Misfit::Number(at) => (at, "a text begins where a number has not ended"),
        Misfit::Name(at) => (at, "a quoted name that is not closed, or has letters that no name has"),
    };
    ConditionError::new(format!("syntax error: {message}"), at, text.len().min(at + 1) - at)
}

/// The parser's first complaint, its line and column turned into bytes.
fn syntax_error(text: &str, errors: &ParseErrors) -> ConditionError {
    let Some(first) = errors.errors.first() else {
        return ConditionError::new("syntax error", 0, text.len());
    };
    let line = usize::try_from(first.pos.0).unwrap_or(0).saturating_sub(1);
    let column = usize::try_from(first.pos.1).unwrap_or(0).saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    let offset = start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
    let message = first.msg.strip_prefix("Syntax error: ").unwrap_or(&first.msg);
    let len = text[offset..].chars().next().map_or(0, char::len_utf8);
    ConditionError::new(format!("syntax error: {}", plain_words(message)), offset, len)
}

/// The parser's words without its list of every token that could stand there.
fn plain_words(message: &str) -> String {
    let token = message.split('\'').nth(1).unwrap_or_default();
    let about_a_token = ["mismatched input", "extraneous input", "no viable alternative"]
        .iter()
        .any(|kind| message.starts_with(kind));
    match token {
        "<EOF>" if about_a_token => "the expression ends too early".to_owned(),
        token if about_a_token && !token.is_empty() => format!("unexpected `{token}`"),
        _ => message.to_owned(),
    }
}

/// The last boundary of a letter at or before `at`.
pub(crate) fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
