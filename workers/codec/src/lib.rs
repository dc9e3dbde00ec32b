//! Reading and writing payloads: raw, JSON, Avro with the Confluent wire format; the schema store.
//!
//! Everything here is pure but [`store`] and [`compat`], which read a folder. All input is taken for hostile: sizes, depth
//! and counts are bounded before they are believed (I5, I9), and no error quotes a payload (I10).
//!
//! **Architecture invariant:** nothing outside this crate knows `apache-avro`, and its types do not show in our signatures.

pub mod avro;
pub mod compat;
mod fields;
pub mod format;
pub mod json;
pub mod store;
pub mod unpack;

pub use avro::{AvroReader, AvroWriter};
pub use format::{Decode, Format, ValueEncoder};
pub use json::Limits;
pub use store::{Finding, Store};
pub use unpack::Compression;
