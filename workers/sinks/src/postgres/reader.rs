//! What the ledgers say, for commands that look and do not write.

use longshore_core::ledger::LedgerView;
use longshore_core::{Failure, Generation};

use super::connect::{Pool, within};
use super::ledger::{Claim, Ledger};
use super::options::PostgresOptions;
use super::schema::PAIRS;
use super::sqlstate::failure;

/// What a sink's ledger holds of one pair in one generation.
#[derive(Clone, Debug)]
pub struct PairLedger {
    /// The generation.
    pub generation: Generation,
    /// The pair's topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// All of its segments.
    pub view: LedgerView,
}

/// All ledgers of a sink by its name in the pipeline file, of every generation. None while no worker has made the ledger's tables.
///
/// # Errors
/// A server that is away, lacking rights, or a ledger that cannot be read.
pub async fn read_ledgers(
    pipeline: &str,
    sink: &str,
    options: &PostgresOptions,
) -> Result<Vec<PairLedger>, Failure> {
    within("read the ledger", read(pipeline, sink, options)).await.map_err(|failure| failure.at(sink))
}

async fn read(pipeline: &str, sink: &str, options: &PostgresOptions) -> Result<Vec<PairLedger>, Failure> {
    let fail = |error| failure("read the ledger", &error);
    let unfit = |words| Failure::halt(longshore_core::Reason::SinkUnfit, words);
    let pool = Pool::new(options, &format!("longshore {pipeline}")).map_err(unfit)?;
    let lease = pool.lend().await?;
    let client = lease.client();
    let pairs = options.table.beside(PAIRS);
    let there: bool =
        client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&pairs]).await.map_err(fail)?.get(0);
    if !there {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT id, generation, topic, partition FROM {pairs} WHERE pipeline = $1 AND sink = $2 \
         ORDER BY generation, topic, partition"
    );
    let mut found = Vec::new();
    for row in client.query(text.as_str(), &[&pipeline, &sink]).await.map_err(fail)? {
        let generation = Generation(u32::try_from(row.get::<_, i32>(1)).unwrap_or(0));
        let ledger = Ledger::new(pipeline, generation, sink, &options.table);
        // Reading asks for no claim: whatever is committed while it goes on is the next one's to see.
        let view = ledger.recover(client, Claim { pair: row.get(0), epoch: 0 }).await?;
        found.push(PairLedger { generation, topic: row.get(2), partition: row.get(3), view });
    }
    Ok(found)
}
