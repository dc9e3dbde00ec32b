//! How long a pair's new owner reads the ledger of many segments.

use std::time::{Duration, Instant};

use anyhow::Context;
use longshore_core::Sequence;
use longshore_core::ledger::Trailer;
use longshore_core::sink;

use super::copy::Copy;
use super::rows::{publish, take_over, trailer};
use super::stored::{files, objects};

/// Segments in the ledger, as after weeks of a minute each.
const SEGMENTS: u64 = 10_000;

/// Whose ledger.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sink {
    Files,
    Objects,
    Postgres,
}

/// Where the ledgers of files and objects lie. One is written when it is first asked for.
pub(super) struct Ledgers {
    folder: tempfile::TempDir,
    segments: u64,
}

impl Ledgers {
    pub(super) fn new(quick: bool) -> anyhow::Result<Self> {
        Ok(Self { folder: tempfile::tempdir()?, segments: if quick { SEGMENTS / 10 } else { SEGMENTS } })
    }

    /// Takes a pair over whose ledger has all the segments.
    pub(super) async fn take_over(&self, sink: Sink, copy: Option<&Copy>) -> anyhow::Result<Duration> {
        let folder = self.folder.path();
        let sink: Box<dyn sink::Sink> = match sink {
            Sink::Files => Box::new(files(folder)?),
            Sink::Objects => Box::new(objects(folder)?),
            Sink::Postgres => Box::new(copy.context("no cluster")?.ledger()?),
        };
        self.fill(&*sink).await?;
        let began = Instant::now();
        let (_, view) = take_over(&*sink, 0).await?;
        let took = began.elapsed();
        anyhow::ensure!(view.next_sequence == Sequence(self.segments), "{:?} is next", view.next_sequence);
        Ok(took)
    }

    /// Publishes what is missing, each segment with one record that has no row.
    async fn fill(&self, sink: &dyn sink::Sink) -> anyhow::Result<()> {
        let (mut owner, view) = take_over(sink, 0).await?;
        for sequence in view.next_sequence.0..self.segments {
            let nothing = Trailer { rows: 0, ..trailer(sequence, 0, 1) };
            publish(&mut *owner, &nothing).await?;
        }
        Ok(())
    }
}
