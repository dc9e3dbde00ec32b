//! Everything that talks to Kafka; the only user of rdkafka.
