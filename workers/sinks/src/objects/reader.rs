//! What the ledgers say, for commands that look and do not write.

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use longshore_core::ledger::LedgerView;
use longshore_core::sink::WriterContext;
use longshore_core::{Failure, Generation, PairId, Reason, WriterId};
use object_store::path::Path;

use super::layout::{Layout, generation_of, ledgers};
use super::recover::read_view;
use super::store::Store;
use super::{Format, Place};
use crate::pair_ledger::Owner;

/// So many pairs are read at once.
const PAIRS_AT_ONCE: usize = 8;

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

/// All ledgers of a pipeline at a place, of every generation. None where nothing was written yet.
///
/// # Errors
/// A store that is away, lacking rights, or a ledger that cannot be read or is another pipeline's.
pub async fn read_ledgers(pipeline: &str, place: &Place) -> Result<Vec<PairLedger>, Failure> {
    let store = Store::new(place).map_err(|message| Failure::halt(Reason::SinkUnfit, message))?;
    let mut pairs = Vec::new();
    for folder in store.folders(store.root()).await? {
        let Some(generation) = generation_of(&folder) else { continue };
        for topic in store.folders(&ledgers(&folder)).await? {
            let partitions = store.folders(&topic).await?;
            pairs.extend(partitions.into_iter().map(|partition| (generation, topic.clone(), partition)));
        }
    }
    // Boxed, or the compiler does not see that what borrows the names may be sent.
    let reads: Vec<BoxFuture<'_, _>> = pairs
        .iter()
        .map(|(generation, topic, partition)| {
            read_pair(&store, pipeline, *generation, topic, partition).boxed()
        })
        .collect();
    let read: Vec<Option<PairLedger>> =
        futures::stream::iter(reads).buffered(PAIRS_AT_ONCE).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

async fn read_pair(
    store: &Store,
    pipeline: &str,
    generation: Generation,
    topic: &Path,
    partition: &Path,
) -> Result<Option<PairLedger>, Failure> {
    let (Some(topic), Some(Ok(partition))) = (topic.filename(), partition.filename().map(str::parse)) else {
        return Ok(None);
    };
    let pair = PairId::new(topic, partition);
    // What is read does not depend on what the objects hold.
    let layout = Layout::new(store.root(), generation, &pair, Format::Parquet);
    let (cluster, topic_id, writer) = (String::new(), String::new(), WriterId(0));
    let owner = Owner::new(pipeline, generation, &WriterContext { pair, writer, cluster, topic_id });
    let view = read_view(store, &layout, &owner).await?;
    Ok(Some(PairLedger { generation, topic: topic.to_owned(), partition, view }))
}
