//! The `objects` sink on real stores: what the stores themselves promise, the sink's contract, and whole workers.
#![expect(clippy::unwrap_used, reason = "tests; clippy spares only test functions")]

#[path = "objects/atomicity.rs"]
mod atomicity;
#[path = "objects/commands.rs"]
mod commands;
#[path = "objects/disk.rs"]
mod disk;
#[path = "objects/input.rs"]
mod input;
#[path = "objects/tools.rs"]
mod tools;
#[path = "objects/worker.rs"]
mod worker;
