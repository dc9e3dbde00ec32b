//! Ledgers that a command reads by asking the sink's store; those of files it reads from their folder.

use std::time::Duration;

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

/// All ledgers of a sink, of every generation; none where no ledger is kept, or one that lies in files. Waits for the store as long as it
/// takes, or `left` at the most.
pub(crate) fn ledgers(
    pipeline: &Pipeline,
    sink: &SinkEntry,
    left: Option<Duration>,
) -> Result<Option<Vec<SinkLedger>>, End> {
    match &sink.kind {
        SinkKind::Objects(options) => objects::ledgers(pipeline, sink, options, left).map(Some),
        SinkKind::Postgres(options) => postgres::ledgers(pipeline, sink, options, left).map(Some),
        SinkKind::Files(_) | SinkKind::Topic(_) | SinkKind::Stdout(_) => Ok(None),
    }
}

/// What a store answers, waited for as long as it takes, or `left` at the most.
#[cfg(any(feature = "objects", feature = "postgres"))]
pub(super) fn answered<T>(
    left: Option<Duration>,
    read: impl Future<Output = Result<T, longshore_core::Failure>>,
) -> Result<T, End> {
    use crate::commands::common::answer::runtime;
    use crate::exit::Exit;

    let runtime = runtime()?;
    let read = runtime.block_on(async {
        match left {
            Some(left) => tokio::time::timeout(left, read).await.ok(),
            None => Some(read.await),
        }
    });
    // A question that hangs in the store's client is nobody's to wait for.
    runtime.shutdown_background();
    let late = || End::new(Exit::Temporary, "its store does not answer in time");
    Ok(read.ok_or_else(late)??)
}

#[cfg(all(test, any(feature = "objects", feature = "postgres")))]
mod tests {
    use super::*;

    /// Scenario: a store takes a question and says nothing. Guarantee: whoever waits for a time is told when it is over.
    #[test]
    fn a_silent_store_is_not_waited_for() {
        let silent = std::future::pending::<Result<(), longshore_core::Failure>>();
        let end = answered(Some(Duration::from_millis(10)), silent).unwrap_err();
        assert_eq!(end.code, crate::exit::Exit::Temporary);
        assert_eq!(answered(None, async { Ok(7) }).unwrap(), 7);
    }
}
