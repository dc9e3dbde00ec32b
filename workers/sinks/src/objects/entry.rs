//! The entry of a segment: its trailer, and the objects that its rows are in.
//!
//! An entry's appearance is what publishes a segment. Its objects are uploaded before, under names that no reader looks at, and
//! get their own names right after; whoever recovers the ledger finishes that for a writer that died between the two.

use longshore_core::ledger::Trailer;
use longshore_core::{Failure, WriterId};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use crate::pair_ledger::{Owner, broken};

/// Written by this code.
const VERSION: u32 = 1;

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    version: u32,
    /// What the segment holds.
    pub(super) trailer: Trailer,
    /// Its objects, in the order of their folders.
    pub(super) objects: Vec<Object>,
}

/// One object of a segment. Names begin with the store's root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Object {
    /// Its name.
    pub(super) name: String,
    /// Its name before it was published.
    pub(super) staged: String,
    /// Its size.
    pub(super) bytes: u64,
    /// Its rows.
    pub(super) rows: u64,
}

impl Entry {
    pub(super) fn new(trailer: Trailer, objects: Vec<Object>) -> Self {
        Self { version: VERSION, trailer, objects }
    }

    /// An entry without rows that takes a number, so that no earlier writer of the pair publishes any more.
    pub(super) fn fence(owner: &Owner, writer: WriterId, view: &longshore_core::ledger::LedgerView) -> Self {
        let end = view.end().unwrap_or(longshore_core::Offset(0));
        let trailer = Trailer {
            version: longshore_core::ledger::TRAILER_VERSION,
            pipeline: owner.identity.pipeline.clone(),
            generation: owner.identity.generation,
            cluster: owner.cluster.clone(),
            topic: owner.identity.topic.clone(),
            topic_id: owner.topic_id.clone(),
            partition: owner.identity.partition,
            partitions: 0,
            sequence: view.next_sequence,
            writer,
            covers: (end, end),
            except: Default::default(),
            also: Default::default(),
            dead: Default::default(),
            rows: 0,
            filtered: Default::default(),
            decides: None,
        };
        Self::new(trailer, Vec::new())
    }

    pub(super) fn encode(&self, layout: &Layout) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec(self).map_err(|error| broken(layout.segment(self.trailer.sequence), error))
    }

    pub(super) fn decode(bytes: &[u8], name: &Path) -> Result<Self, Failure> {
        let entry: Self = serde_json::from_slice(bytes).map_err(|error| broken(name, error))?;
        if entry.version == VERSION {
            Ok(entry)
        } else {
            Err(broken(name, format!("entry version {} is not known here", entry.version)))
        }
    }
}
