//! The `postgres` sink on a real Postgres: its contract against the writer itself, and whole workers on a real Apache Kafka.
#![expect(clippy::unwrap_used, reason = "tests; clippy spares only test functions")]

#[path = "postgres/commands.rs"]
mod commands;
#[path = "postgres/contract.rs"]
mod contract;
#[path = "postgres/cut.rs"]
mod cut;
#[path = "postgres/fit.rs"]
mod fit;
#[path = "postgres/generations.rs"]
mod generations;
#[path = "postgres/held.rs"]
mod held;
#[path = "postgres/input.rs"]
mod input;
#[path = "postgres/kinds.rs"]
mod kinds;
#[path = "postgres/odd.rs"]
mod odd;
#[path = "postgres/straight.rs"]
mod straight;
#[path = "postgres/table.rs"]
mod table;
#[path = "postgres/upsert.rs"]
mod upsert;
#[path = "postgres/versions.rs"]
mod versions;
#[path = "postgres/worker.rs"]
mod worker;
