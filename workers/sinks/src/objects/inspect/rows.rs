//! The rows of Parquet files, for whoever counts them.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use longshore_core::{Failure, Origin};

use super::Source;
use super::origins::{ORIGIN, texts};
use super::parquet::{ParquetObject, Unread};
use super::segments::Object;

/// Hands the rows of all Parquet files that the ledgers of an `objects` sink name to `visit`, in the order of generation, topic, partition
/// and segment: the file, the row's number in it, its identity, and what it has in `column`. Gives the filtered records by reason, as the
/// trailers count them. What cannot be read is passed over: [`super::verify`] names it.
///
/// # Errors
/// A store that is away.
pub async fn rows_of_parquet(
    source: &Source,
    column: &str,
    mut visit: impl FnMut(&str, u64, &Origin, Option<&str>),
) -> Result<BTreeMap<String, u64>, Failure> {
    let mut filtered = BTreeMap::new();
    for pair in source.pairs().await? {
        let mut segments = source.segments(&pair).await?;
        while let Some(segment) = segments.try_next().await? {
            let Ok(said) = segment.said else { continue };
            for (reason, count) in said.claim.filtered {
                *filtered.entry(reason).or_default() += count;
            }
            for object in &said.objects {
                match object_rows(source, object, column, &mut visit).await {
                    Ok(()) | Err(Unread::File(_)) => {}
                    Err(Unread::Store(failure)) => return Err(failure),
                }
            }
        }
    }
    Ok(filtered)
}

async fn object_rows(
    source: &Source,
    object: &Object,
    column: &str,
    visit: &mut impl FnMut(&str, u64, &Origin, Option<&str>),
) -> Result<(), Unread> {
    let file = ParquetObject::open(&source.store, &object.name, object.bytes).await?;
    let mut batches = file.batches(Some(&[ORIGIN, column]))?;
    let mut number = 0;
    while let Some(batch) = batches.next().await? {
        let (origins, values) = (texts(&batch, ORIGIN)?, texts(&batch, column)?);
        for (origin, value) in origins.iter().zip(values.iter()) {
            number += 1;
            let text = origin.unwrap_or_default();
            let origin = text.parse().map_err(|_| Unread::File(format!("{text} is no {ORIGIN}")))?;
            visit(object.name.as_ref(), number, &origin, value);
        }
    }
    Ok(())
}
