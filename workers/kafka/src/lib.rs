//! Everything that talks to Kafka; the only user of rdkafka.

mod consumer;
mod context;
mod errors;
mod ffi;
mod memory;
mod options;
mod producer;
mod settings;
mod token;

pub use consumer::{PollThread, SourceHandle, SourceOptions, StartError, StartPolicy};
pub use memory::ClientMemory;
pub use options::{
    GroupProtocol, KafkaOptions, Mechanism, Protocol, SaslOptions, Scalar, Secret, SecurityOptions, TlsOptions,
};
pub use producer::{Compression, ProducerTuning};
pub use settings::{OWNED_SETTINGS, check_client_settings};
