//! Sinks that write outside Kafka: files with a ledger, stdout.
