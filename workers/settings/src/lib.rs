//! The pipeline file: layers, strict checks with places, JSON Schema.
//!
//! [`load()`] reads a file, lays the environment and `--set` over it (with the crate `config`), fills `${...}`, holds all of
//! it against the JSON Schema and the rules across fields, and returns either a [`Loaded`] pipeline or a [`Report`] with
//! *every* mistake, each with its line and a caret.
//!
//! **Architecture invariant:** nothing here opens a connection or links Kafka's client, so that a check takes milliseconds
//! anywhere. No secret reaches a report, a dump or Debug (I10).

mod document;
mod dump;
mod expressions;
mod interpolate;
mod layers;
mod load;
pub mod model;
mod nearest;
mod parts;
mod path;
mod render;
mod report;
mod rules;
mod schema;
mod source;
mod walk;

pub use expressions::expressions;
pub use interpolate::{Outside, Reference};
pub use load::{DumpFormat, Loaded, Sources, load};
pub use model::*;
pub use report::{Code, FindingLine, Report};
pub use rules::memory::MemoryNeed;
pub use schema::schema;
