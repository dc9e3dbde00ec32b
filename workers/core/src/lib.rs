//! The pure heart of Longshore: records, the pair state machine, the ledger and header contracts.
//!
//! **Architecture invariant:** nothing here knows a clock, randomness, threads, Kafka or a file. Time comes in as
//! [`Moment`] (monotonic) or as broker timestamps; ids that must be unpredictable come in as arguments. So the
//! simulator drives the very same machine as production.

pub mod budget;
pub mod client;
pub mod failure;
pub mod format;
pub mod headers;
pub mod human;
pub mod ids;
pub mod invariant;
pub mod item;
pub mod journal;
pub mod json;
pub mod ledger;
pub mod letter;
pub mod metadata;
pub mod origin;
mod pages;
pub mod pair;
pub mod record;
pub mod retry;
pub mod rules;
pub mod runs;
pub mod scale;
pub mod scheduler;
pub mod sink;
pub mod source;
pub mod spool;
pub mod trace;
pub mod tracker;
pub mod value;

pub use budget::{Budget, Charge};
pub use failure::{Class, Failure, Reason, Scope};
pub use ids::{
    Epoch, Generation, KeyHash, Lane, Moment, Offset, PairId, Partition, Sequence, SinkIndex, TopicName,
    UnitId, WriterId,
};
pub use item::{Content, FilterReason, Flow, Item, Step, WaitingStep};
pub use origin::Origin;
pub use record::{Chunk, ChunkBuilder, HeaderRef, RecordRef};
pub use runs::RunSet;
pub use sink::{Block, Encode, Row, SinkMask};
pub use spool::{Spool, SpoolError, SpoolUsage, Spooled};
pub use trace::TraceContext;
pub use value::{Map, Value};

/// A boxed future, as traits that are used as objects return it.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
