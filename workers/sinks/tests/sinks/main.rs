//! The sinks' behaviour: what is published once stays whole, whoever dies, races or runs out of space.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod append;
mod crash;
mod foreign_tools;
mod helper;
mod plain;
mod publish;
mod race;
mod recovery;
mod space;
mod stdout;
mod verify;
mod versions;
