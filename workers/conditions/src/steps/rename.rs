//! `rename`: fields under other names.

use longshore_core::{Failure, Flow, Item, Step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::target::Target;
use super::{Kind, Pairs};
use crate::BuildError;

/// `rename: { FROM: TO, ... }` with names as in `set`. A missing field is left alone; an existing target is overwritten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RenameOptions(pub Pairs);

/// Builds the step.
///
/// # Errors
/// A name that means no single field; the field is the old name as written.
pub fn rename(options: &RenameOptions, kind: Kind) -> Result<Box<dyn Step>, BuildError> {
    if options.0.0.is_empty() {
        return Err(BuildError::new("", "expected at least one old name with a new one"));
    }
    let mut moves = Vec::new();
    for (from, to) in options.0.iter() {
        let parse = |text: &str| match Target::parse_single(text, kind) {
            Ok(target) if target.is_key() => Err("a key cannot be renamed, copy it with `set`".to_owned()),
            other => other,
        };
        let mistake = |message| BuildError::new(from, message);
        moves.push((parse(from).map_err(mistake)?, parse(to).map_err(mistake)?));
    }
    Ok(Box::new(Rename { moves }))
}

struct Rename {
    moves: Vec<(Target, Target)>,
}

impl Step for Rename {
    fn name(&self) -> &str {
        "rename"
    }

    fn apply(&self, item: &mut Item) -> Result<Flow, Failure> {
        for (from, to) in &self.moves {
            if let Some(value) = from.take(item)? {
                to.put(item, value)?;
            }
        }
        Ok(Flow::Keep)
    }
}
