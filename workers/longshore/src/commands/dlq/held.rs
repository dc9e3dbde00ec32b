//! What the pipeline's ledger holds already, where it can be read from here: the folder of a `files` sink, a store, a database.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_core::RunSet;
use longshore_core::letter::Place;
use longshore_settings::{Pipeline, SinkEntry, SinkKind};
use longshore_sinks::verify::{list, read_claim};

use crate::commands::common::folder::{self, Until};
use crate::exit::End;
use crate::output::Output;
use crate::worker::ledgers::ledgers;

/// Offsets of the input that the first sink with a ledger holds.
#[derive(Debug, Default)]
pub(super) struct Held {
    pairs: BTreeMap<(String, i32), RunSet>,
}

impl Held {
    /// None when no ledger can be read from here; letters decide in the first sink that has one. A letter of a record that is
    /// held, sent all the same, is dropped by the worker.
    pub(super) fn of(pipeline: &Pipeline, output: &Output) -> Option<Self> {
        pipeline.sinks.iter().find_map(|sink| match &sink.kind {
            SinkKind::Files(options) => Some(Self::in_folder(&options.path, pipeline, sink, output)),
            SinkKind::Objects(_) | SinkKind::Postgres(_) => Some(Self::in_ledger(pipeline, sink, output)),
            SinkKind::Topic(_) | SinkKind::Stdout(_) => None,
        })?
    }

    fn in_ledger(pipeline: &Pipeline, sink: &SinkEntry, output: &Output) -> Option<Self> {
        let ledgers = ledgers(pipeline, sink, output.left()).unwrap_or_else(|end| {
            output.note(format_args!("what {} holds already is not known: {}", sink.name, end.message));
            None
        })?;
        let mut held = Self::default();
        for ledger in ledgers.iter().filter(|ledger| ledger.generation == pipeline.generation) {
            held.add((ledger.topic.clone(), ledger.partition), &ledger.view.holdings.held());
        }
        Some(held)
    }

    fn in_folder(folder: &Path, pipeline: &Pipeline, sink: &SinkEntry, output: &Output) -> Option<Self> {
        let (folder, generation) = (folder.to_path_buf(), pipeline.generation);
        let read = folder::read(output.left(), move |until| Self::of_files(&folder, generation, until));
        read.unwrap_or_else(|end| {
            output.note(format_args!("what {} holds already is not known: {}", sink.name, end.message));
            None
        })
    }

    fn of_files(folder: &Path, generation: u32, until: &Until) -> Result<Option<Self>, End> {
        let Some(listing) = list(folder).ok().filter(|listing| !listing.files.is_empty()) else {
            return Ok(None);
        };
        let mut held = Self::default();
        for file in listing.files.iter().filter(|file| file.generation == generation) {
            until.go_on()?;
            // A file that cannot be read is the worker's to judge; a letter sent once more is dropped there.
            let Ok(claim) = read_claim(file) else { continue };
            let runs = RunSet::collect(claim.runs());
            held.add((claim.topic, claim.partition), &runs);
        }
        Ok(Some(held))
    }

    fn add(&mut self, pair: (String, i32), runs: &RunSet) {
        self.pairs.entry(pair).or_default().union(runs);
    }

    /// Whether the record of this origin is held. A record that a step split is held as a whole.
    pub(super) fn contains(&self, place: Place<'_>) -> bool {
        let pair = self.pairs.get(&(place.topic.to_owned(), place.partition));
        pair.is_some_and(|runs| runs.contains(longshore_core::Offset(place.offset)))
    }
}
