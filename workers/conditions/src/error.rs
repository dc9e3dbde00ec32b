//! What can be wrong with a condition's text and with a step's options.

use std::fmt;

/// Why a condition or expression does not compile, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConditionError {
    /// What is wrong, and the nearest known name when one is near.
    pub message: String,
    /// The byte in the condition's text where it begins.
    pub offset: usize,
    /// How many bytes of the text are meant, at least one unless the text ends there.
    pub len: usize,
}

impl ConditionError {
    pub(crate) fn new(message: impl fmt::Display, offset: usize, len: usize) -> Self {
        Self { message: message.to_string(), offset, len }
    }
}

/// Why a step cannot be built of its options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BuildError {
    /// The option, as a path below the step's name: `drop`, `mapping.time.formats[0]`; for `set` and `rename` the entry's
    /// own name. Empty when the options as a whole are meant.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// The bytes of the option's text that are meant: where they begin and how many; none when it is the whole.
    pub span: Option<(usize, usize)>,
}

impl BuildError {
    /// A mistake in one option.
    pub fn new(field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { field: field.into(), message: message.to_string(), span: None }
    }

    /// A condition or expression in an option that does not compile.
    pub fn condition(field: impl Into<String>, error: &ConditionError) -> Self {
        Self { field: field.into(), message: error.message.clone(), span: Some((error.offset, error.len)) }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}
