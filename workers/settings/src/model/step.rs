//! The steps: a list of maps with one key each, the step's name.

use longshore_conditions::steps::{
    DelayOptions, FailOptions, FilterOptions, RemoveOptions, RenameOptions, SetOptions,
};
use longshore_datasets::{AcceptOptions, FingerprintOptions, LengthOptions, NormalizeOptions};
use longshore_logs::ParseOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Kind;

/// One step and its options.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepOptions {
    /// Reads a record's bytes into the OpenTelemetry log data model. For `kind: logs`.
    Parse(ParseOptions),
    /// Reads a record's bytes into a document. For `kind: dataset`.
    Accept(AcceptOptions),
    /// Sets fields, or the key, from CEL expressions.
    Set(SetOptions),
    /// Gives fields other names.
    Rename(RenameOptions),
    /// Takes fields away.
    Remove(RemoveOptions),
    /// Drops or keeps records by a CEL condition; what is dropped is counted by reason.
    Filter(FilterOptions),
    /// Brings a document's text to one Unicode spelling. For `kind: dataset`.
    Normalize(NormalizeOptions),
    /// Drops documents that are too short or too long. For `kind: dataset`.
    Length(LengthOptions),
    /// Notes the hash of a document's text. For `kind: dataset`.
    Fingerprint(FingerprintOptions),
    /// Waits per record: for rehearsing slow work.
    Delay(DelayOptions),
    /// Fails records on purpose: for rehearsing what becomes of them.
    Fail(FailOptions),
}

impl StepOptions {
    /// The word in the pipeline file.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Parse(_) => "parse",
            Self::Accept(_) => "accept",
            Self::Normalize(_) => "normalize",
            Self::Length(_) => "length",
            Self::Fingerprint(_) => "fingerprint",
            Self::Set(_) => "set",
            Self::Rename(_) => "rename",
            Self::Remove(_) => "remove",
            Self::Filter(_) => "filter",
            Self::Delay(_) => "delay",
            Self::Fail(_) => "fail",
        }
    }

    /// The kind of pipeline that the step is for; none for steps of both.
    pub fn only_for(&self) -> Option<Kind> {
        match self {
            Self::Parse(_) => Some(Kind::Logs),
            Self::Accept(_) | Self::Normalize(_) | Self::Length(_) | Self::Fingerprint(_) => {
                Some(Kind::Dataset)
            }
            Self::Set(_)
            | Self::Rename(_)
            | Self::Remove(_)
            | Self::Filter(_)
            | Self::Delay(_)
            | Self::Fail(_) => None,
        }
    }

    /// The subject to which a step that reads Avro keeps, none when it takes any; none for other steps.
    pub fn avro(&self) -> Option<Option<&str>> {
        match self {
            Self::Parse(options) if options.format == longshore_logs::Format::Avro => {
                Some(options.subject.as_deref())
            }
            Self::Accept(options) if options.format == longshore_datasets::Format::Avro => {
                Some(options.subject.as_deref())
            }
            _ => None,
        }
    }

    /// Whether the step reads a record's bytes, so that later ones find fields.
    pub fn reads(&self) -> bool {
        matches!(self, Self::Parse(_) | Self::Accept(_))
    }
}
