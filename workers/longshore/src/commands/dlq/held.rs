//! What the pipeline's ledger holds already, where it can be read from here: the folder of a `files` sink.

use std::collections::BTreeMap;

use longshore_core::RunSet;
use longshore_core::letter::Place;
use longshore_settings::{Pipeline, SinkKind};
use longshore_sinks::verify::{list, read_claim};

/// Offsets of the input that the first sink with a ledger holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    pairs: BTreeMap<(String, i32), RunSet>,
}

impl Held {
    /// None when no ledger can be read from here; letters decide in the first sink that has one.
    pub(super) fn of(pipeline: &Pipeline) -> Option<Self> {
        let folder = pipeline.sinks.iter().find_map(|sink| match &sink.kind {
            SinkKind::Files(options) => Some(&options.path),
            SinkKind::Postgres(_) | SinkKind::Topic(_) | SinkKind::Stdout(_) => None,
        })?;
        let listing = list(folder).ok().filter(|listing| !listing.files.is_empty())?;
        let mut held = Self::default();
        for file in listing.files.iter().filter(|file| file.generation == pipeline.generation) {
            // A file that cannot be read is the worker's to judge; a letter sent once more is dropped there.
            let Ok(claim) = read_claim(file) else { continue };
            let runs = RunSet::collect(claim.runs());
            held.pairs.entry((claim.topic, claim.partition)).or_default().union(&runs);
        }
        Some(held)
    }

    /// Whether the record of this origin is held. A record that a step split is held as a whole.
    pub(super) fn contains(&self, place: Place<'_>) -> bool {
        let pair = self.pairs.get(&(place.topic.to_owned(), place.partition));
        pair.is_some_and(|runs| runs.contains(longshore_core::Offset(place.offset)))
    }
}
