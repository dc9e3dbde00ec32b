//! `remove`: fields that no sink should see.

use longshore_core::{Failure, Flow, Item, Step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Kind;
use super::target::Target;
use crate::BuildError;

/// `remove: [NAME, ...]` with names as in `set`; also whole maps (`attributes`). A missing field is no mistake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RemoveOptions(pub Vec<String>);

/// Builds the step.
///
/// # Errors
/// A name that means no field; the field is its place in the list, such as `[1]`.
pub fn remove(options: &RemoveOptions, kind: Kind) -> Result<Box<dyn Step>, BuildError> {
    if options.0.is_empty() {
        return Err(BuildError::new("", "expected at least one name"));
    }
    let mut targets = Vec::new();
    for (index, name) in options.0.iter().enumerate() {
        let field = format!("[{index}]");
        let target = Target::parse(name, kind).map_err(|message| BuildError::new(&field, message))?;
        if target.is_key() {
            return Err(BuildError::new(field, "a key cannot be removed"));
        }
        targets.push(target);
    }
    Ok(Box::new(Remove { targets }))
}

struct Remove {
    targets: Vec<Target>,
}

impl Step for Remove {
    fn name(&self) -> &str {
        "remove"
    }

    fn apply(&self, item: &mut Item) -> Result<Flow, Failure> {
        for target in &self.targets {
            target.take(item)?;
        }
        Ok(Flow::Keep)
    }
}
