//! CEL conditions and expressions over an item; the only user of the cel crate.
