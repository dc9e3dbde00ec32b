//! The state of each pair's ledger in a few numbers.

use futures::{StreamExt, TryStreamExt};
use longshore_core::{Failure, RunSet};

use super::segments::{Pair, Segment};
use super::{PAIRS_AT_ONCE, Source, Tell};
use crate::inspect::{LastSegment, PairSummary, Passed};

/// What each pair's ledger says that has a segment, in the order of generation, topic and partition. `tell` is called with the number of segments read since it was
/// called before.
///
/// # Errors
/// A store that is away, or lacking rights.
pub async fn survey(source: &Source, tell: &Tell) -> Result<Vec<PairSummary>, Failure> {
    let pairs = source.pairs().await?;
    let one = |pair: Pair| {
        let (source, tell) = (source.clone(), tell.clone());
        async move {
            let read = tokio::spawn(async move { summary(&source, &pair, &tell).await }).await;
            read.map_err(|error| Failure::halt(longshore_core::Reason::Internal, error))?
        }
    };
    let read = futures::stream::iter(pairs.into_iter().map(one)).buffered(PAIRS_AT_ONCE);
    let mut summaries: Vec<PairSummary> = read.try_collect().await?;
    // On a disk a pair has folders as soon as a worker has looked at them.
    summaries.retain(|summary| summary.segments > 0);
    Ok(summaries)
}

async fn summary(source: &Source, pair: &Pair, tell: &Tell) -> Result<PairSummary, Failure> {
    let mut summary = PairSummary {
        generation: pair.generation,
        topic: pair.topic.clone(),
        partition: pair.partition,
        objects: Some(0),
        bytes: Some(0),
        ..PairSummary::default()
    };
    let (mut passed, mut writer) = (Passed::default(), None);
    let mut segments = source.segments(pair).await?;
    while let Some(segment) = segments.try_next().await? {
        add(&mut summary, &mut passed, &mut writer, segment);
        tell(1);
    }
    passed.tell(&mut summary);
    Ok(summary)
}

fn add(summary: &mut PairSummary, passed: &mut Passed, writer: &mut Option<String>, segment: Segment) {
    if segment.number != summary.segments && summary.broken.is_none() {
        summary.broken = Some(format!("segment {} is missing", summary.segments));
    }
    summary.segments = segment.number + 1;
    let said = match segment.said {
        Ok(said) => said,
        Err(words) => {
            summary.broken.get_or_insert_with(|| format!("{}: {words}", segment.place));
            return;
        }
    };
    let claim = said.claim;
    summary.rows += claim.rows;
    let sizes = said.objects.iter().map(|object| object.bytes).sum::<u64>();
    summary.bytes = summary.bytes.map(|bytes| bytes + sizes);
    summary.objects = summary.objects.map(|objects| objects + said.objects.len() as u64);
    if writer.as_ref() != Some(&claim.writer) {
        summary.epoch += 1;
        *writer = Some(claim.writer.clone());
    }
    passed.add(&claim, &RunSet::collect(claim.runs()));
    summary.last = Some(LastSegment {
        sequence: segment.number,
        published_ms: segment.written_ms,
        covers: claim.covers,
        rows: claim.rows,
    });
}
