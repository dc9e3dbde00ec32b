//! A Postgres table with a ledger: each record once, whatever dies.
//!
//! A pair's rows gather in memory. Publishing is one transaction: the claim on the pair is checked and held, the segment's
//! number is taken in the ledger, the rows go in, and the commit makes all of it visible at once.
//!
//! **How rows go in.** By `COPY`; with a key, into a temporary table first and from there by one statement that lets the offset of
//! the record decide (`write.rs`), except where none of a segment's keys has a row (`straight.rs`).
//!
//! **Who may write.** Every ownership claims its pair by raising an epoch. A transaction holds the claim's row `for share`, so
//! a claim waits for transactions under way and finds what they wrote; none of an earlier epoch commits after it. The number is unique
//! besides.
//!
//! **An answer that was not heard** (the connection broke after `COMMIT` was sent) is no question: the next try meets the number
//! in the ledger, whose row says whether it is ours and what was refused.
//!
//! **Refused rows** are found by halves behind savepoints, so a bad row costs about two tries for each halving of its segment, and
//! the trailer is changed in the same transaction as what is left goes in (`sort.rs`).

mod connect;
mod encode;
mod held;
pub mod inspect;
mod ledger;
mod options;
mod publish;
mod reader;
mod schema;
mod sort;
mod sqlstate;
mod straight;
mod write;
mod writer;

use std::sync::{Arc, OnceLock};

use longshore_core::sink::{SegmentWriter, Sink, WriterContext};
use longshore_core::{BoxFuture, Encode, Failure, Generation};

use self::connect::{Pool, within};
use self::encode::{CopyLines, Kind};
use self::ledger::Ledger;
use self::write::Write;
use self::writer::PostgresWriter;

pub use self::options::{Column, Extract, PostgresOptions, Source, Table, Tls};
pub use self::reader::{PairLedger, read_ledgers};

/// What all writers of a sink share.
#[derive(Debug)]
struct Shared {
    name: String,
    options: PostgresOptions,
    ledger: Ledger,
    looked: Arc<OnceLock<Looked>>,
    pool: Arc<Pool>,
}

/// What is known once the table was looked at, which is before any record is read.
#[derive(Debug)]
struct Looked {
    /// What each column's type asks of a value's text.
    kinds: Vec<Kind>,
    write: Write,
}

/// A `postgres` sink of one pipeline.
#[derive(Debug)]
pub struct PostgresSink {
    shared: Arc<Shared>,
}

impl PostgresSink {
    /// A sink under its name in the pipeline file. Connects to nothing yet.
    ///
    /// # Errors
    /// What is wrong with the certificates, or encryption that this build does not have.
    pub fn new(
        name: &str,
        pipeline: &str,
        generation: Generation,
        options: PostgresOptions,
    ) -> Result<Self, String> {
        let pool = Pool::new(&options, &format!("longshore {pipeline}"))?;
        let ledger = Ledger::new(pipeline, generation, name, &options.table);
        let (name, looked) = (name.to_owned(), Arc::default());
        Ok(Self { shared: Arc::new(Shared { name, options, ledger, looked, pool }) })
    }
}

impl Sink for PostgresSink {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn has_ledger(&self) -> bool {
        true
    }

    fn may_refuse(&self) -> bool {
        true
    }

    fn encoder(&self) -> Arc<dyn Encode> {
        Arc::new(CopyLines::new(&self.shared.options, Arc::clone(&self.shared.looked)))
    }

    /// The table, its columns, and our rights to it and to the ledger's tables; nothing is made or claimed.
    fn examine(&self, _: WriterContext) -> BoxFuture<'_, Result<(), Failure>> {
        let (shared, doing) = (&self.shared, "examine");
        let looking = async move {
            let lease = shared.pool.lend().await?;
            schema::look(lease.client(), &shared.options).await.map(drop)
        };
        Box::pin(async move { within(doing, looking).await.map_err(|failure| failure.at(&shared.name)) })
    }

    fn open(&self, context: WriterContext) -> Box<dyn SegmentWriter> {
        Box::new(PostgresWriter::new(Arc::clone(&self.shared), context))
    }
}
