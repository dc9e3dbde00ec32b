//! The `objects` sink on real stores: what the stores themselves promise, the sink's contract, and whole workers.
#![expect(clippy::unwrap_used, reason = "tests; clippy spares only test functions")]

#[path = "objects/atomicity.rs"]
mod atomicity;
#[path = "objects/commands.rs"]
mod commands;
#[path = "objects/tools.rs"]
mod tools;
#[path = "objects/worker.rs"]
mod worker;
