//! The options of `delay`, a step for rehearsals. The step itself needs a timer, so the worker has it.

use longshore_core::human::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BuildError, Condition};

/// `delay: { for: 10ms, when: CONDITION }`: waits per record, to see how a pipeline bears a slow dependency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DelayOptions {
    /// How long each record waits.
    #[serde(rename = "for")]
    pub span: Span,
    /// Only records that meet this CEL condition wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

impl DelayOptions {
    /// The compiled condition, none when every record waits.
    ///
    /// # Errors
    /// A condition that does not compile.
    pub fn condition(&self) -> Result<Option<Condition>, BuildError> {
        let compile =
            |text: &String| Condition::compile(text).map_err(|error| BuildError::condition("when", &error));
        self.when.as_ref().map(compile).transpose()
    }
}
