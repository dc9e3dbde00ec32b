//! What the pipeline file says of a `files` sink.

use std::path::PathBuf;

use longshore_core::human::{Bytes, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The options of a `files` sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesOptions {
    /// The folder. All workers of the fleet must see the same one.
    pub path: PathBuf,
    /// What the files hold.
    #[serde(default)]
    pub format: Format,
    /// When a file is finished and appears.
    #[serde(default)]
    pub roll: Roll,
    /// The zstd level, 1 to 19. Level 3 writes logs at disk speed; each level above 9 mostly costs time.
    #[serde(default = "default_level")]
    pub level: i32,
    /// A CEL condition: only records that meet it go here. Judged before the sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// What the files hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Format {
    /// JSON lines in zstd frames; `zstdcat` reads them.
    #[default]
    #[serde(rename = "jsonl.zst")]
    JsonlZst,
    /// Plain JSON lines.
    #[serde(rename = "jsonl")]
    Jsonl,
}

impl Format {
    /// The file name's ending, without the first dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::JsonlZst => "jsonl.zst",
            Self::Jsonl => "jsonl",
        }
    }
}

/// When a file is finished and appears: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Roll {
    /// Bytes as stored, so after compression.
    pub bytes: Bytes,
    /// Time since its first record.
    pub age: Span,
    /// Records, those that a filter took out included.
    pub rows: u64,
}

impl Default for Roll {
    fn default() -> Self {
        Self { bytes: Bytes::mebi(64), age: Span::seconds(10), rows: 1_000_000 }
    }
}

fn default_level() -> i32 {
    3
}

/// Options that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// An empty path.
    #[error("path is empty")]
    Path,
    /// A level zstd does not have, or one whose memory breaks every budget.
    #[error("level {0} is not between 1 and 19")]
    Level(i32),
    /// A roll limit of zero would make files without records for ever.
    #[error("roll.{0} must be above zero")]
    Roll(&'static str),
}

impl FilesOptions {
    /// Options with this path and the defaults for the rest.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: Format::default(),
            roll: Roll::default(),
            level: default_level(),
            when: None,
        }
    }

    /// Everything that cannot work, in the order of the fields.
    pub fn mistakes(&self) -> Vec<OptionsError> {
        let mut mistakes = Vec::new();
        if self.path.as_os_str().is_empty() {
            mistakes.push(OptionsError::Path);
        }
        if self.roll.bytes.get() == 0 {
            mistakes.push(OptionsError::Roll("bytes"));
        }
        if self.roll.age.get().is_zero() {
            mistakes.push(OptionsError::Roll("age"));
        }
        if self.roll.rows == 0 {
            mistakes.push(OptionsError::Roll("rows"));
        }
        if !(1..=19).contains(&self.level) {
            mistakes.push(OptionsError::Level(self.level));
        }
        mistakes
    }
}
