//! `normalize`: one spelling for every text.

use longshore_conditions::BuildError;
use longshore_core::{Failure, Flow, Item, Step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::document::{change_texts, fields};

/// `normalize: { form: nfc }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NormalizeOptions {
    /// The Unicode normalisation form. Default `nfc`.
    pub form: Form,
}

/// A Unicode normalisation form (UAX #15).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Canonical composition: `e` with a combining accent becomes `é`.
    #[default]
    Nfc,
}

/// Builds the step.
///
/// # Errors
/// None today; every step is built the same way.
pub fn normalize(options: &NormalizeOptions) -> Result<Box<dyn Step>, BuildError> {
    match options.form {
        Form::Nfc => Ok(Box::new(Normalize)),
    }
}

struct Normalize;

impl Step for Normalize {
    fn name(&self) -> &str {
        "normalize"
    }

    fn apply(&self, item: &mut Item) -> Result<Flow, Failure> {
        if item.is_tombstone() {
            return Ok(Flow::Keep);
        }
        change_texts(fields(item)?, |text| {
            if let Some(composed) = composed(text) {
                *text = composed.into();
            }
        })?;
        Ok(Flow::Keep)
    }
}

/// The text in NFC, none when it is so already. Nearly every text is: ASCII always, the rest by UAX #15's quick check.
pub(crate) fn composed(text: &str) -> Option<String> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return None;
    }
    let composed: String = text.nfc().collect();
    (composed != text).then_some(composed)
}
