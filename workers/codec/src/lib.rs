//! Reading and writing payloads: raw, JSON, Avro with the Confluent wire format; the schema store.

pub mod json;
