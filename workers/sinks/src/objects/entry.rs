//! The entry of a segment: its trailer, and the objects that its rows are in.
//!
//! An entry's appearance is what publishes a segment. Its objects are uploaded before, under names that no reader looks at, and
//! get their own names right after; whoever recovers the ledger finishes that for a writer that died between the two.

use longshore_core::format::OBJECTS_ENTRY;
use longshore_core::ledger::Trailer;
use longshore_core::{Failure, WriterId};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use crate::pair_ledger::{self, Owner, broken, unreadable};

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

/// One object of a segment. Names begin below the sink's place, which may be reached by another path, or be copied to another bucket, before
/// the objects have got theirs.
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
        Self { version: OBJECTS_ENTRY.version, trailer, objects }
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

    /// Reads what stands in an entry of the pair.
    pub(super) fn decode(bytes: &[u8], name: &Path, layout: &Layout) -> Result<Self, Failure> {
        let mut entry: Self =
            pair_ledger::entry(OBJECTS_ENTRY, bytes).map_err(|error| unreadable(name, error))?;
        if entry.version == 1 {
            for object in &mut entry.objects {
                object.shorten(layout).ok_or_else(|| broken(name, object.elsewhere()))?;
            }
        }
        Ok(entry)
    }
}

impl Object {
    /// Makes names of version 1 begin below the place that the sink had when they were written. Where that was is told by the staged name, which
    /// ends as the layout says.
    fn shorten(&mut self, layout: &Layout) -> Option<()> {
        let (before, file) = self.staged.rsplit_once('/')?;
        let staging = layout.relative(&layout.staging());
        let place = before.strip_suffix(&staging)?;
        if !place.is_empty() && !place.ends_with('/') {
            return None;
        }
        let name = self.name.strip_prefix(place)?.to_owned();
        (self.name, self.staged) = (name, format!("{staging}/{file}"));
        Some(())
    }

    fn elsewhere(&self) -> String {
        format!("its object {} was staged as {}, which is no place of this pair's", self.name, self.staged)
    }
}
