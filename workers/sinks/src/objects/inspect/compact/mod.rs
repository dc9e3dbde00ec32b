//! Compaction: the data of one generation once more, in fewer and larger files of a new place. The original stays as it is.
//!
//! Files are made one after another in a file of this machine and go up under names that no reader looks at. When all are there, a
//! list of them is created if absent, which decides, and only then do they get their names, as a segment's objects do (ADR 0015). In a
//! folder all of that happens in a folder beside it, whose name is given last, so that there is all or nothing. Whoever comes after a crash
//! ends what has its list, and begins anew what has none; what is left then was staged by runs that have not ended and is removed once the
//! list stands, since none of them can end any more.

mod lines;
mod merge;
mod target;

use std::collections::BTreeMap;

use futures::TryStreamExt;
use longshore_core::{Failure, Reason, RunSet};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use self::merge::Merge;
use self::target::{State, Target};
use super::segments::{Object, Pair, depth};
use super::{Source, Tell};
use crate::objects::Place;
use crate::objects::entry;
use crate::pair_ledger::broken;

/// How to compact.
#[derive(Clone)]
pub struct Compaction {
    /// Where to: a folder that is not there or empty, or names in a bucket that nothing has.
    pub out: Place,
    /// A file is ended when it has so many bytes.
    pub bytes: u64,
    /// Bytes of rows, not compressed, that make a row group of a Parquet file.
    pub row_group: u64,
    /// The zstd level of Parquet files; JSON lines are taken over as they are.
    pub level: i32,
}

/// What a compaction has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Objects that were read, and their bytes; 0 when an earlier run had read them.
    pub objects_before: u64,
    /// Their bytes.
    pub bytes_before: u64,
    /// Objects that there are now.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows.
    pub rows: u64,
    /// Whether an earlier run had made the files, and this one gave them their names.
    pub resumed: bool,
}

/// What stands beside the data of a compaction, in `__ledger/compacted`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: u32,
    pipeline: String,
    generation: u32,
    /// What it was made of.
    pairs: Vec<PairHeld>,
    /// The objects, by names below the place.
    objects: Vec<entry::Object>,
}

/// What a compaction holds of a pair.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PairHeld {
    topic: String,
    partition: i32,
    /// The first segment that is not in it.
    next: u64,
    held: RunSet,
}

/// A data object on its way, with its pair's partition and its segment.
struct Input {
    partition: i32,
    number: u64,
    object: Object,
}

/// Merges the data of the source's generation, folder by folder, into a new place. `tell` is called with the number of objects read since it
/// was called before.
///
/// # Errors
/// A place that is not empty or is the sink's own; a ledger or an object that is not whole; a store that is away.
pub async fn compact(source: &Source, asked: &Compaction, tell: &Tell) -> Result<Compacted, Failure> {
    let Some(generation) = source.generation else {
        return Err(Failure::halt(Reason::Internal, "compact: of which generation is not said"));
    };
    let target = Target::open(source, &asked.out)?;
    let begun = target.state().await?;
    if let State::Decided(manifest) = begun {
        if (manifest.pipeline.as_str(), manifest.generation) != (source.pipeline.as_str(), generation) {
            let words = "holds an unfinished compaction of another pipeline or generation";
            return Err(target.refused(words));
        }
        return target.finish(&manifest, Compacted { resumed: true, ..Compacted::default() }).await;
    }
    let (folders, pairs) = inputs(source).await?;
    let mut done = Compacted::default();
    let mut objects = Vec::new();
    for (folder, mut inputs) in folders {
        inputs.sort_unstable_by_key(|input| (input.partition, input.number));
        done.objects_before += inputs.len() as u64;
        done.bytes_before += inputs.iter().map(|input| input.object.bytes).sum::<u64>();
        let merge = Merge { source, target: &target, asked, folder: &folder, generation };
        objects.extend(merge.run(inputs, objects.len(), tell).await?);
    }
    let pipeline = source.pipeline.clone();
    let manifest = Manifest { version: 1, pipeline, generation, pairs, objects };
    target.decide(&manifest).await?;
    target.finish(&manifest, done).await
}

type Inputs = BTreeMap<String, Vec<Input>>;

/// All objects that the ledgers name, by the folder they go to, and what they hold.
async fn inputs(source: &Source) -> Result<(Inputs, Vec<PairHeld>), Failure> {
    let (mut folders, mut pairs) = (Inputs::new(), Vec::new());
    for pair in source.pairs().await? {
        let (mut next, mut held) = (0, RunSet::default());
        let mut segments = source.segments(&pair).await?;
        while let Some(segment) = segments.try_next().await? {
            let unfit =
                |words: &str| broken(&segment.place, format_args!("{words}; `sink verify` says more"));
            if segment.number != next {
                return Err(unfit("a segment before it is missing"));
            }
            next += 1;
            let said = segment.said.map_err(|words| unfit(&words))?;
            held.union(&RunSet::collect(said.claim.runs()));
            for object in said.objects.into_iter().filter(|object| object.rows > 0) {
                let folder =
                    folder_of(&pair, &object.name).ok_or_else(|| unfit("it names an object elsewhere"))?;
                let (partition, number) = (pair.partition, segment.number);
                folders.entry(folder).or_default().push(Input { partition, number, object });
            }
        }
        drop(segments);
        pairs.push(PairHeld { topic: pair.topic.clone(), partition: pair.partition, next, held });
    }
    Ok((folders, pairs))
}

/// The folder that an object's rows go to: its topic, and the partition folders in its name.
fn folder_of(pair: &Pair, name: &Path) -> Option<String> {
    if !name.prefix_matches(&pair.folder) {
        return None;
    }
    let parts: Vec<_> = name.parts().skip(depth(&pair.folder)).collect();
    let (_, folders) = parts.split_last()?;
    let (topic, folders) = folders.split_first()?;
    let kept = folders.iter().map(|part| part.as_ref()).filter(|part| part.contains('='));
    Some(std::iter::once(topic.as_ref()).chain(kept).collect::<Vec<_>>().join("/"))
}

/// An object was not found to be what its entry says.
fn unlike(object: &Object, words: impl std::fmt::Display) -> Failure {
    broken(&object.name, format_args!("{words}; `sink verify` says more"))
}
