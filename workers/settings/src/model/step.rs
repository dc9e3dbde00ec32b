//! The steps: a list of maps with one key each, the step's name.

use longshore_conditions::steps::{DelayOptions, FilterOptions, RemoveOptions, RenameOptions, SetOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Kind;

/// One step and its options.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepOptions {
    /// Sets fields, or the key, from CEL expressions.
    Set(SetOptions),
    /// Gives fields other names.
    Rename(RenameOptions),
    /// Takes fields away.
    Remove(RemoveOptions),
    /// Drops or keeps records by a CEL condition; what is dropped is counted by reason.
    Filter(FilterOptions),
    /// Waits per record: for rehearsing slow work.
    Delay(DelayOptions),
}

impl StepOptions {
    /// The word in the pipeline file.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Set(_) => "set",
            Self::Rename(_) => "rename",
            Self::Remove(_) => "remove",
            Self::Filter(_) => "filter",
            Self::Delay(_) => "delay",
        }
    }

    /// The kind of pipeline that the step is for; none for steps of both.
    pub fn only_for(&self) -> Option<Kind> {
        match self {
            Self::Set(_) | Self::Rename(_) | Self::Remove(_) | Self::Filter(_) | Self::Delay(_) => None,
        }
    }
}
