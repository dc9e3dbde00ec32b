//! `filter`: records that go no further, counted by reason.

use longshore_core::{Failure, FilterReason, Flow, Item, Step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BuildError, Condition};

/// The longest name of a filter reason, bytes.
const NAME_MAX: usize = 64;

/// `filter: { drop: CONDITION }` or `filter: { keep: CONDITION }`. A condition without a result (it works on something that
/// is missing) is not met: `drop` keeps such a record, `keep` drops it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterOptions {
    /// Records that meet this CEL condition go no further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<String>,
    /// Only records that meet this CEL condition go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
    /// The reason under which dropped records are counted; without it `filter.N`, N being the step's place from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Builds the step; `number` is its place among the pipeline's steps, from 1.
///
/// # Errors
/// Not exactly one of `drop` and `keep`, a condition that does not compile, or an unusable name.
pub fn filter(options: &FilterOptions, number: usize) -> Result<Box<dyn Step>, BuildError> {
    let (field, text, drops) = match (&options.drop, &options.keep) {
        (Some(text), None) => ("drop", text, true),
        (None, Some(text)) => ("keep", text, false),
        (Some(_), Some(_)) => return Err(BuildError::new("keep", "either `drop` or `keep`, not both")),
        (None, None) => return Err(BuildError::new("", "expected `drop` or `keep` with a condition")),
    };
    let condition = Condition::compile(text).map_err(|error| BuildError::condition(field, &error))?;
    let name = match &options.name {
        Some(name) if is_reason(name) => name.clone(),
        Some(_) => {
            let message = format!("expected letters, digits, `.`, `-` and `_`, at most {NAME_MAX}");
            return Err(BuildError::new("name", message));
        }
        None => format!("filter.{number}"),
    };
    Ok(Box::new(Filter { condition, drops, reason: FilterReason::new(&name) }))
}

/// Reasons are metric labels and stand in file trailers.
fn is_reason(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(fits)
}

struct Filter {
    condition: Condition,
    drops: bool,
    reason: FilterReason,
}

impl Step for Filter {
    fn name(&self) -> &str {
        "filter"
    }

    fn apply(&self, item: &mut Item) -> Result<Flow, Failure> {
        let met = self.condition.matches(item)?;
        Ok(if met == self.drops { Flow::Drop(self.reason.clone()) } else { Flow::Keep })
    }
}
