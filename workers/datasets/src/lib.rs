//! Dataset steps: documents for AI training, in the shape of Dolma
//! (<https://github.com/allenai/dolma/blob/main/docs/data-format.md>).
//!
//! A document's fields, in this order and left out when absent: `id`, `text` or `messages` (a chat), `source`, `added`,
//! `created`, `metadata` (everything else that the record holds), `attributes`. What a step measures lies in
//! `attributes["<step>@<version>"]`, so that a threshold can be changed later without reading the text again; the version
//! rises whenever the same text would be measured differently.
//!
//! **Architecture invariant:** nothing here knows a clock or chance: the same document always gives the same result.

mod accept;
mod document;
mod fingerprint;
mod length;
mod normalize;

pub use accept::{AcceptOptions, Format, Tombstone, accept};
pub use fingerprint::{FingerprintOptions, fingerprint};
pub use length::{LengthOptions, Unit, length};
pub use normalize::{Form, NormalizeOptions, normalize};

#[cfg(test)]
mod tests;
