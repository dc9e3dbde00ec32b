//! What the benches share.

pub mod lines;
