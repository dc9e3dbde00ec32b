//! Steps that are made of expressions and field names, for logs and documents alike: `set`, `rename`, `remove`, `filter`; and those
//! for rehearsals, `delay` and `fail`.

mod delay;
mod fail;
mod filter;
mod pairs;
mod remove;
mod rename;
mod set;
mod target;

pub use delay::DelayOptions;
pub use fail::{FailClass, FailOptions, FailScope, fail};
pub use filter::{FilterOptions, filter};
pub use pairs::Pairs;
pub use remove::{RemoveOptions, remove};
pub use rename::{RenameOptions, rename};
pub use set::{SetOptions, set};

/// What a pipeline's records are; it decides which fields a bare name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Logs in the OpenTelemetry log data model: a bare name is an attribute.
    Log,
    /// Documents in the shape of Dolma: a bare name is an entry of `metadata`.
    Document,
}
