//! Simulated broker, sink, clock and fault plan for tests.
