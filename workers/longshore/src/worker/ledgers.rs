//! Ledgers that a command reads by asking the sink's store; those of files it reads from their folder.

use longshore_core::ledger::LedgerView;
use longshore_settings::{Pipeline, SinkEntry, SinkKind};

use super::{objects, postgres};
use crate::exit::End;

/// What the ledger of a sink holds of one pair in one generation.
pub(crate) struct SinkLedger {
    pub(crate) generation: u32,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) view: LedgerView,
}

/// All ledgers of a sink, of every generation; none where no ledger is kept, or one that lies in files.
pub(crate) fn ledgers(pipeline: &Pipeline, sink: &SinkEntry) -> Result<Option<Vec<SinkLedger>>, End> {
    match &sink.kind {
        SinkKind::Objects(options) => objects::ledgers(pipeline, sink, options).map(Some),
        SinkKind::Postgres(options) => postgres::ledgers(pipeline, sink, options).map(Some),
        SinkKind::Files(_) | SinkKind::Topic(_) | SinkKind::Stdout(_) => Ok(None),
    }
}
