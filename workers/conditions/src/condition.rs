//! Compiled conditions and expressions.

use cel::common::ast::{Expr, LiteralValue};
use cel::common::types::{CelBool, Kind};
use cel::common::value::CowVal;
use cel::parser::Expression as Tree;
use cel::{Context, ExecutionError, Value as CelValue};
use longshore_core::{Failure, Item, Value};

use crate::compile::{About, compile};
use crate::convert::{failure, is_unknown, record_value, refused};
use crate::error::ConditionError;
use crate::path::Path;
use crate::variables::{LetterValues, Variables};

/// A condition that an item meets or not.
///
/// Source of the language: <https://github.com/google/cel-spec/blob/master/doc/langdef.md>; the variables and the rule for
/// missing values are on the crate's first page.
pub struct Condition {
    program: Program,
    /// What it is for every item: `true` and `false` are not evaluated.
    always: Option<bool>,
}

impl Condition {
    /// Compiles a condition.
    ///
    /// # Errors
    /// The first mistake with its place in the text: syntax, an unknown variable or function, a pattern that does not
    /// compile, or a text beyond the limits.
    pub fn compile(text: &str) -> Result<Self, ConditionError> {
        Program::compile(text, About::Record).map(Self::of)
    }

    /// Compiles a condition about dead letters: it may name `letter` and `payload` besides.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn compile_for_letters(text: &str) -> Result<Self, ConditionError> {
        Program::compile(text, About::Letter).map(Self::of)
    }

    fn of(program: Program) -> Self {
        let always = match &program.tree.expr {
            Expr::Literal(LiteralValue::Boolean(value)) => Some(*value.inner()),
            _ => None,
        };
        Self { program, always }
    }

    /// Whether the item meets the condition. Without a result, because something it works on is missing, it does not.
    ///
    /// # Errors
    /// Reject with `step.expression` when evaluation fails or the result is not a bool.
    pub fn matches(&self, item: &Item) -> Result<bool, Failure> {
        self.judge(item, None)
    }

    /// Whether a letter meets the condition; the item is the record in it.
    ///
    /// # Errors
    /// As [`Self::matches`].
    pub fn matches_letter(&self, item: &Item, letter: LetterValues<'_>) -> Result<bool, Failure> {
        self.judge(item, Some(letter))
    }

    fn judge(&self, item: &Item, letter: Option<LetterValues<'_>>) -> Result<bool, Failure> {
        if let Some(always) = self.always {
            return Ok(always);
        }
        self.program.run(item, letter, |result| match result {
            Ok(value) => match value.downcast_ref::<CelBool>() {
                Some(value) => Ok(*value.inner()),
                None if value.get_type().kind() == Kind::NullType => Ok(false),
                None => Err(refused(&format!("the result is {}, expected bool", value.get_type().name()))),
            },
            Err(error) if is_unknown(&error) => Ok(false),
            Err(error) => Err(failure(&error)),
        })
    }
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Condition").field(&self.program.text).finish()
    }
}

/// An expression that makes a value of an item.
pub struct Expression {
    form: Form,
}

enum Form {
    /// A bare path: copied without CEL, so quicker, and exact for every number.
    Path(Path),
    Program(Program),
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// As [`Condition::compile`].
    pub fn compile(text: &str) -> Result<Self, ConditionError> {
        Self::compile_about(text, About::Record)
    }

    /// Compiles an expression about dead letters: it may name `letter` and `payload` besides.
    ///
    /// # Errors
    /// As [`Condition::compile`].
    pub fn compile_for_letters(text: &str) -> Result<Self, ConditionError> {
        Self::compile_about(text, About::Letter)
    }

    fn compile_about(text: &str, about: About) -> Result<Self, ConditionError> {
        let program = Program::compile(text, about)?;
        let form = match Path::of(&program.tree) {
            Some(path) => Form::Path(path),
            None => Form::Program(program),
        };
        Ok(Self { form })
    }

    /// The value for this item; null when something it works on is missing.
    ///
    /// # Errors
    /// Reject with `step.expression` when evaluation fails or the result is nothing a record can hold.
    pub fn evaluate(&self, item: &Item) -> Result<Value, Failure> {
        self.value(item, None)
    }

    /// The value for a letter; the item is the record in it.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn evaluate_letter(&self, item: &Item, letter: LetterValues<'_>) -> Result<Value, Failure> {
        self.value(item, Some(letter))
    }

    fn value(&self, item: &Item, letter: Option<LetterValues<'_>>) -> Result<Value, Failure> {
        let program = match &self.form {
            Form::Path(path) => return Ok(path.get(item).cloned().unwrap_or_default()),
            Form::Program(program) => program,
        };
        program.run(item, letter, |result| match result {
            Ok(value) => record_value(&*value),
            Err(error) if is_unknown(&error) => Ok(Value::Null),
            Err(error) => Err(failure(&error)),
        })
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.form {
            Form::Path(path) => f.debug_tuple("Expression").field(path).finish(),
            Form::Program(program) => f.debug_tuple("Expression").field(&program.text).finish(),
        }
    }
}

/// What both have in common.
struct Program {
    text: String,
    tree: Tree,
    /// The scope of the functions, made once: one for each evaluation would count a reference that all threads share.
    functions: Context<'static, 'static>,
}

impl Program {
    fn compile(text: &str, about: About) -> Result<Self, ConditionError> {
        let (tree, env) = compile(text, about)?;
        Ok(Self { text: text.to_owned(), tree, functions: Context::with_env(env) })
    }

    /// Evaluates for one item; the result borrows from item and program, so it is used up inside.
    fn run<T>(
        &self,
        item: &Item,
        letter: Option<LetterValues<'_>>,
        finish: impl FnOnce(Result<CowVal<'_, '_>, ExecutionError>) -> T,
    ) -> T {
        let variables = Variables { item, letter };
        let mut context = self.functions.new_inner_scope();
        context.set_variable_resolver(&variables);
        finish(CelValue::resolve_val(&self.tree, &context))
    }
}
