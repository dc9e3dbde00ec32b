//! The pipeline file: layers, strict checks with spans, JSON Schema; the only user of the config crate.

pub mod model;

pub use model::*;
