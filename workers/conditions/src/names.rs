//! Names that nothing stands behind, and loops that multiply the work.

use std::rc::Rc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SourceInfo, operators};
use cel::parser::Expression as Tree;

use crate::compile::{About, floor};
use crate::environment::{FUNCTIONS, TYPES, pattern};
use crate::error::ConditionError;
use crate::variables::{LETTER_VARIABLES, VARIABLES};

/// The most loops (`all`, `exists`, `map`, `filter`) inside each other.
pub const LOOPS_MAX: usize = 3;

/// The furthest that a suggested name may be from what was written, in edits.
const SUGGESTION_EDITS: usize = 3;

/// Names that a loop brought in, innermost first.
struct Scope {
    names: [String; 3],
    outer: Option<Rc<Scope>>,
}

/// A part of the tree that waits to be looked at: in which scope, inside how many loops.
type Waiting<'t> = (&'t Tree, Option<Rc<Scope>>, usize);

impl Scope {
    fn holds(scope: Option<&Self>, name: &str) -> bool {
        let mut scope = scope;
        while let Some(known) = scope {
            if known.names.iter().any(|known| known == name) {
                return true;
            }
            scope = known.outer.as_deref();
        }
        false
    }
}

/// Looks at every part of a tree; without calling itself, since trees come from outside.
pub(crate) struct Names<'t> {
    text: &'t str,
    info: &'t SourceInfo,
    about: About,
}

impl<'t> Names<'t> {
    /// For a text and where the parser found its parts.
    pub(crate) fn new(text: &'t str, info: &'t SourceInfo, about: About) -> Self {
        Self { text, info, about }
    }

    /// The first mistake.
    pub(crate) fn check(&self, tree: &'t Tree) -> Result<(), ConditionError> {
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
                    self.range(tree, each, scope.as_deref(), loops)?;
                    let names = [
                        each.iter_var.clone(),
                        each.iter_var2.clone().unwrap_or_default(),
                        each.accu_var.clone(),
                    ];
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
        if Scope::holds(scope, name) {
            return Ok(());
        }
        let plain = name.strip_prefix('.').unwrap_or(name);
        let of_letters = match self.about {
            About::Letter => LETTER_VARIABLES,
            About::Record => &[],
        };
        if VARIABLES.contains(&plain) || TYPES.contains(&plain) || of_letters.contains(&plain) {
            return Ok(());
        }
        let known = [VARIABLES, of_letters].concat();
        Err(self.error(tree, format!("unknown variable `{plain}`{}", suggestion(plain, &known))))
    }

    /// A loop inside a loop may go over a list that the condition spells out, or over a part of what the outer loop is
    /// at. Over anything else, a record with a long list could keep a worker busy for hours.
    fn range(
        &self,
        tree: &Tree,
        each: &ComprehensionExpr,
        scope: Option<&Scope>,
        loops: usize,
    ) -> Result<(), ConditionError> {
        if loops == LOOPS_MAX {
            return Err(self.error(tree, format!("more than {LOOPS_MAX} loops inside each other")));
        }
        let spelled_out = matches!(each.iter_range.expr, Expr::List(_) | Expr::Map(_));
        let inner_part = root(&each.iter_range).is_some_and(|name| Scope::holds(scope, name));
        if loops == 0 || spelled_out || inner_part {
            return Ok(());
        }
        Err(self.error(
            tree,
            "a loop inside a loop must go over a part of the outer loop's value, or over a list written here",
        ))
    }

    fn function(&self, tree: &Tree, call: &CallExpr) -> Result<(), ConditionError> {
        let name = call.func_name.as_str();
        if matches!(name, operators::OPT_INDEX | operators::OPT_SELECT) {
            return Err(self.error(tree, "optional selection is not needed, a missing field is null"));
        }
        let is_operator =
            name.starts_with('@') || name.contains('_') && !name.starts_with(|c: char| c.is_alphabetic());
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
                Err(error) => {
                    Err(self.error(tree, format!("not a valid pattern: {}", last_line(&error.to_string()))))
                }
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

/// The variable that a path begins with.
fn root(tree: &Tree) -> Option<&str> {
    let mut tree = tree;
    loop {
        tree = match &tree.expr {
            Expr::Ident(name) => return Some(name),
            Expr::Select(select) if !select.test => &select.operand,
            Expr::Call(call) if call.func_name == operators::INDEX => call.args.first()?,
            _ => return None,
        };
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
