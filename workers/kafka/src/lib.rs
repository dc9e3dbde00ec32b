//! Everything that talks to Kafka; the only user of rdkafka.

mod admin;
mod consumer;
mod context;
mod embedded;
mod errors;
mod ffi;
mod letters;
mod memory;
mod names;
mod options;
mod partitioner;
mod producer;
mod reader;
mod settings;
mod token;
mod topic_sink;

pub use admin::{
    Admin, BrokerAddress, Committed, Difference, FleetLook, FleetView, GroupLook, LagRow, Member, Mend,
    NewTopic, OwnTopic, OwnTopics, PartitionOffsets, PartitionView, Purpose, Release, Right, Rights,
    TopicInfo, TopicState, Unseen, WriteRule, Writers, check_topics, own_settings, require_topic,
};
pub use consumer::{PollThread, SourceHandle, SourceOptions, StartError, StartPolicy};
pub use embedded::{EmbeddedBroker, KEPT_BYTES, KEPT_RECORDS, REFUSED_COMMANDS};
pub use ffi::{ALLOCATOR, Allocator, keep_freed};
pub use letters::Letters;
pub use memory::ClientMemory;
pub use names::{dead_letter_topic, default_group, http_port, journal_topic, retry_topic};
pub use options::{
    GroupProtocol, KafkaOptions, Mechanism, Protocol, SaslOptions, Scalar, Secret, SecurityOptions,
    TlsOptions,
};
pub use partitioner::partition_for_key;
pub use producer::{
    BatchTicket, BufferedHeader, FailedRecord, OwnedRecord, Producer, ProducerRecord, ProducerTuning,
    RecordBuffer,
};
pub use reader::{ReadFrom, ReadRecord, ReadUntil, Reader, RecordView};
pub use settings::{SESSION_MS, check_client_settings, client_id, heartbeat_ms};
pub use topic_sink::{PartitionBy, TopicOptions, TopicSink};
