//! From text to a checked tree: limits first, then the parser, then names.

use std::rc::Rc;
use std::sync::Arc;

use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SelectExpr, SourceInfo, operators};
use cel::parser::Expression as Tree;
use cel::{Env, ParseErrors};

use crate::environment::{FUNCTIONS, TYPES, environment, pattern};
use crate::error::ConditionError;
use crate::variables::VARIABLES;

/// The longest text of a condition, bytes.
pub const LENGTH_MAX: usize = 8 * 1024;

/// The deepest nesting of brackets. The parser calls itself some ten times per level, and a worker's thread has 2 MiB of
/// stack.
pub const BRACKETS_MAX: usize = 24;

/// The most operators, dots and commas; a chain of them is as deep a tree as nested brackets are.
pub const OPERATORS_MAX: usize = 200;

/// The most loops (`all`, `exists`, `map`, `filter`) inside each other: each multiplies the work by a list of the record.
pub const COMPREHENSIONS_MAX: usize = 2;

/// The furthest that a suggested name may be from what was written, in edits.
const SUGGESTION_EDITS: usize = 3;

/// Parses and checks a text.
pub(crate) fn compile(text: &str) -> Result<(Tree, Arc<Env>), ConditionError> {
    check_limits(text)?;
    let env = environment().map_err(|error| ConditionError::new(error, 0, text.len()))?;
    let program = env.compile(text).map_err(|errors| syntax_error(text, &errors))?;
    let names = Names { text, info: program.source_info() };
    names.check(program.expression())?;
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
    let mut quote = None;
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        if let Some(open) = quote {
            let closes = letter == open && !escaped;
            escaped = letter == '\\' && !escaped;
            quote = (!closes).then_some(open);
            continue;
        }
        match letter {
            '"' | '\'' => quote = Some(letter),
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
    ConditionError::new(format!("syntax error: {message}"), offset, len)
}

/// The last boundary of a letter at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Names that a loop brought in, innermost first.
struct Scope {
    names: [String; 3],
    outer: Option<Rc<Scope>>,
}

/// A part of the tree that waits to be looked at: in which scope, inside how many loops.
type Waiting<'t> = (&'t Tree, Option<Rc<Scope>>, usize);

/// Looks for names that nothing stands behind.
struct Names<'t> {
    text: &'t str,
    info: &'t SourceInfo,
}

impl<'t> Names<'t> {
    fn check(&self, tree: &'t Tree) -> Result<(), ConditionError> {
        let mut waiting: Vec<Waiting<'t>> = vec![(tree, None, 0)];
        while let Some((tree, scope, loops)) = waiting.pop() {
            match &tree.expr {
                Expr::Unspecified | Expr::Literal(_) => {}
                Expr::Ident(name) => self.variable(tree, name, scope.as_deref())?,
                Expr::Select(select) => waiting.push((&select.operand, scope, loops)),
                Expr::Call(call) => {
                    self.function(tree, call)?;
                    let parts = call.target.as_deref().into_iter().chain(&call.args);
                    waiting.extend(parts.map(|part| (part, scope.clone(), loops)));
                }
                Expr::List(list) => {
                    waiting.extend(list.elements.iter().map(|part| (part, scope.clone(), loops)));
                }
                Expr::Map(map) => {
                    let entries = map.entries.iter().flat_map(|entry| entry_parts(&entry.expr));
                    waiting.extend(entries.map(|part| (part, scope.clone(), loops)));
                }
                Expr::Struct(_) => return Err(self.error(tree, "types of your own are not known here")),
                Expr::Comprehension(each) => {
                    if loops == COMPREHENSIONS_MAX {
                        let message = format!("more than {COMPREHENSIONS_MAX} loops inside each other");
                        return Err(self.error(tree, message));
                    }
                    let names =
                        [each.iter_var.clone(), each.iter_var2.clone().unwrap_or_default(), each.accu_var.clone()];
                    waiting.push((&each.iter_range, scope.clone(), loops));
                    waiting.push((&each.accu_init, scope.clone(), loops));
                    let inner = Some(Rc::new(Scope { names, outer: scope }));
                    let parts = [&each.loop_cond, &each.loop_step, &each.result];
                    waiting.extend(parts.map(|part| (part, inner.clone(), loops + 1)));
                }
            }
        }
        Ok(())
    }

    fn variable(&self, tree: &Tree, name: &str, scope: Option<&Scope>) -> Result<(), ConditionError> {
        let mut scope = scope;
        while let Some(known) = scope {
            if known.names.iter().any(|known| known == name) {
                return Ok(());
            }
            scope = known.outer.as_deref();
        }
        let plain = name.strip_prefix('.').unwrap_or(name);
        if VARIABLES.contains(&plain) || TYPES.contains(&plain) {
            return Ok(());
        }
        Err(self.error(tree, format!("unknown variable `{plain}`{}", suggestion(plain, VARIABLES))))
    }

    fn function(&self, tree: &Tree, call: &CallExpr) -> Result<(), ConditionError> {
        let name = call.func_name.as_str();
        if matches!(name, operators::OPT_INDEX | operators::OPT_SELECT) {
            return Err(self.error(tree, "optional selection is not needed, a missing field is null"));
        }
        let is_operator = name.starts_with('@') || name.contains('_') && !name.starts_with(|c: char| c.is_alphabetic());
        if is_operator {
            return Ok(());
        }
        if !FUNCTIONS.contains(&name) {
            return Err(self.error(tree, format!("unknown function `{name}`{}", suggestion(name, FUNCTIONS))));
        }
        if name != "matches" {
            return Ok(());
        }
        match call.args.last().map(|argument| &argument.expr) {
            Some(Expr::Literal(LiteralValue::String(text))) => match pattern(text.inner()) {
                Ok(_) => Ok(()),
                Err(error) => Err(self.error(tree, format!("not a valid pattern: {}", last_line(&error.to_string())))),
            },
            _ => Ok(()),
        }
    }

    /// An error at a part of the tree, whose last byte the parser notes as well.
    fn error(&self, tree: &Tree, message: impl std::fmt::Display) -> ConditionError {
        let (start, stop) = self.info.offset_for(tree.id).unwrap_or((0, 0));
        let offset = floor(self.text, start as usize);
        let end = floor(self.text, stop.max(start).saturating_add(1) as usize);
        ConditionError::new(message, offset, end.saturating_sub(offset).max(1))
    }
}

fn entry_parts(entry: &EntryExpr) -> impl Iterator<Item = &Tree> {
    let (first, second) = match entry {
        EntryExpr::MapEntry(entry) => (&entry.key, Some(&entry.value)),
        EntryExpr::StructField(field) => (&field.value, None),
    };
    std::iter::once(first).chain(second)
}

/// `, did you mean ...` when a known name is near, else the whole list if that helps.
fn suggestion(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
    match nearest {
        Some((edits, nearest)) if edits <= SUGGESTION_EDITS && edits < name.len() => {
            format!(", did you mean `{nearest}`?")
        }
        Some(_) | None => format!(", known are {}", known.join(", ")),
    }
}

/// The `regex` crate draws its message over several lines; the last says what is wrong.
fn last_line(message: &str) -> &str {
    message.lines().last().unwrap_or(message).trim_start_matches("error: ")
}

/// Turns `has(a.b)` into `"b" in a`. A missing field reads as null here, so a presence test by reading would always
/// succeed.
fn ask_for_presence(tree: &mut Tree) {
    match &mut tree.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => {}
        Expr::Select(select) => {
            ask_for_presence(&mut select.operand);
            if select.test {
                tree.expr = presence(std::mem::take(select));
            }
        }
        Expr::Call(call) => {
            call.target.as_deref_mut().into_iter().chain(&mut call.args).for_each(ask_for_presence);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(ask_for_presence),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                match &mut entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        ask_for_presence(&mut entry.key);
                        ask_for_presence(&mut entry.value);
                    }
                    EntryExpr::StructField(field) => ask_for_presence(&mut field.value),
                }
            }
        }
        Expr::Struct(_) => {}
        Expr::Comprehension(each) => {
            let each = &mut **each;
            let parts = [
                &mut each.iter_range,
                &mut each.accu_init,
                &mut each.loop_cond,
                &mut each.loop_step,
                &mut each.result,
            ];
            parts.into_iter().for_each(ask_for_presence);
        }
    }
}

fn presence(select: SelectExpr) -> Expr {
    let id = select.operand.id;
    let name = Tree { id, expr: Expr::Literal(LiteralValue::String(select.field.into())) };
    Expr::Call(CallExpr { func_name: operators::IN.to_owned(), target: None, args: vec![name, *select.operand] })
}
