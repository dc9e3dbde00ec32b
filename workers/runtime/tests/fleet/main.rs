//! The runtime against a source, steps and sinks in memory: every test states its scenario and what it guarantees.

mod flow;
mod sink;
mod source;
mod stopping;
mod trouble;
mod world;
