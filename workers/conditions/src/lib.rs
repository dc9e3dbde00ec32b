//! CEL conditions and expressions over an [`Item`](longshore_core::Item), and the steps that are made of them.
//!
//! The language is the Common Expression Language (<https://github.com/google/cel-spec>) with its standard functions, the
//! string extensions of cel-go, and these variables, bound only when a program asks for them:
//!
//! | name | value |
//! |---|---|
//! | `body`, `attributes`, `resource`, `severity_number`, `severity_text`, `trace_id`, `span_id`, `trace_flags`, `event_name` | a log's fields; `body` of a record that no step has read yet is its whole value as text |
//! | `id`, `text`, `source`, `added`, `created`, `metadata`, `attributes` | a document's fields |
//! | `fields` | all fields of the record as one map |
//! | `time` | milliseconds since 1970: the record's own time if it has one, else the broker's timestamp |
//! | `key` | text if it is UTF-8, else bytes |
//! | `headers` | a map of name to text, without the `longshore.*` ones; of equal names the last wins |
//! | `topic`, `partition`, `offset` | where the record stands |
//! | `letter`, `payload` | in conditions about dead letters alone: what the headers say, and the payload as it lies there |
//!
//! **A missing value is null**, and one rule covers what follows from it: an operation on null (`null < 9`,
//! `null.contains("x")`) has no result; a condition without a result is *not met*, an expression without a result is null.
//! That is how SQL treats unknown values. `==` and `!=` compare with null as with any other value, and
//! `has(attributes.x)` asks for presence. Any other mistake (text compared with a number, a result that is not a bool)
//! fails the record with `step.expression`.
//!
//! Whole numbers are CEL ints, above `i64::MAX` uints; a fraction is a double; a whole number beyond 64 bits is the text
//! it was written as. A bare path such as `attributes["app"]` copies the value as it is and so keeps every number exact.
//!
//! **Architecture invariant:** the `cel` crate appears nowhere else, and none of its types is public here.

mod compile;
mod condition;
mod convert;
mod environment;
mod error;
mod names;
mod path;
mod presence;
pub mod steps;
mod texts;
mod transform;
mod variables;
mod view;

pub use compile::{BRACKETS_MAX, LENGTH_MAX, OPERATORS_MAX};
pub use condition::{Condition, Expression};
pub use error::{BuildError, ConditionError};
pub use names::LOOPS_MAX;
pub use transform::{Transform, Transformed};
pub use variables::{LETTER_VARIABLES, LetterValues, VARIABLES};

#[cfg(test)]
mod tests;
