//! `set`: fields from expressions.

use longshore_core::{Failure, Flow, Item, Step, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::target::Target;
use super::{Kind, Pairs};
use crate::{BuildError, Expression};

/// `set: { TARGET: EXPRESSION, ... }`. A target is `key`, a field of the record (`body`, `severity_number`, `text`, ...),
/// `attributes.NAME`, `resource.NAME`, `metadata.NAME`, or a bare name: an attribute of a log, metadata of a document.
/// Later entries see what earlier ones set. **A null result changes nothing** (as OpenTelemetry's `set` has it), so that a
/// missing source leaves no empty field behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SetOptions(pub Pairs);

/// Builds the step.
///
/// # Errors
/// A target or expression that makes no sense; the field is the target as written.
pub fn set(options: &SetOptions, kind: Kind) -> Result<Box<dyn Step>, BuildError> {
    if options.0.0.is_empty() {
        return Err(BuildError::new("", "expected at least one target with an expression"));
    }
    let mut assignments = Vec::new();
    for (target, expression) in options.0.iter() {
        let compiled =
            Expression::compile(expression).map_err(|error| BuildError::condition(target, &error))?;
        let place = Target::parse_single(target, kind).map_err(|message| BuildError::new(target, message))?;
        assignments.push((place, compiled));
    }
    Ok(Box::new(Set { assignments }))
}

struct Set {
    assignments: Vec<(Target, Expression)>,
}

impl Step for Set {
    fn name(&self) -> &str {
        "set"
    }

    fn apply(&self, item: &mut Item) -> Result<Flow, Failure> {
        for (target, expression) in &self.assignments {
            match expression.evaluate(item)? {
                Value::Null => {}
                value => target.put(item, value)?,
            }
        }
        Ok(Flow::Keep)
    }
}
