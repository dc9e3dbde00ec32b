//! The least memory with which a pipeline works, and where it goes.

use longshore_core::human::Bytes;

use super::{Context, at};
use crate::model::{ObjectsFormat, ObjectsSinkOptions, Pipeline, SinkKind};
use crate::report::Code;

/// Code, stacks and the allocator's slack of a worker, measured (`longshore_runtime::MemoryShares`).
const WORKER: Bytes = Bytes::mebi(24);
/// The Kafka client's least: 1 MiB of prefetch, 1 MiB of one answer, 4 MiB of unacknowledged records.
const CLIENT: Bytes = Bytes::mebi(6);
/// Records at work and rows on their way. Below this, batches get so small that the broker is asked for each of them.
const RECORDS: Bytes = Bytes::mebi(16);
/// Compression and open segments of one `files` sink: zstd's tables for its writers and some dozen segments.
const FILES_SINK: Bytes = Bytes::mebi(8);
/// Uploads of one `objects` sink (16 MiB, `longshore_sinks::objects`), rows of open segments, and files that wait for their next row group.
const OBJECTS_SINK: Bytes = Bytes::mebi(24);
/// Rows of a `postgres` sink that wait for their transaction, beside the records at work, and its connections.
const POSTGRES_SINK: Bytes = Bytes::mebi(4);
/// Any other sink's rows.
const OTHER_SINK: Bytes = Bytes::mebi(1);

/// The least memory with which a pipeline works, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryNeed {
    /// What needs how much.
    pub parts: Vec<(String, Bytes)>,
}

impl MemoryNeed {
    /// All of it.
    pub fn total(&self) -> Bytes {
        Bytes(self.parts.iter().map(|(_, bytes)| bytes.get()).sum())
    }

    fn of<'a>(sinks: impl Iterator<Item = (&'a str, &'a SinkKind)>) -> Self {
        let mut parts = vec![
            ("the worker itself".to_owned(), WORKER),
            ("the Kafka client".to_owned(), CLIENT),
            ("records at work".to_owned(), RECORDS),
        ];
        for (name, kind) in sinks {
            let bytes = match kind {
                SinkKind::Files(_) => FILES_SINK,
                SinkKind::Objects(options) => objects(options),
                SinkKind::Postgres(_) => POSTGRES_SINK,
                SinkKind::Topic(_) | SinkKind::Stdout(_) => OTHER_SINK,
            };
            parts.push((format!("sink `{name}`"), bytes));
        }
        Self { parts }
    }
}

/// A row group is made of its rows in one piece, and is in memory as well until it is in a file: measured, one and a half of it with texts
/// that compress by half. Two may be made at once.
fn objects(options: &ObjectsSinkOptions) -> Bytes {
    let group = match options.format {
        ObjectsFormat::Parquet => options.row_group.get(),
        ObjectsFormat::JsonlZst => 0,
    };
    Bytes(OBJECTS_SINK.get().saturating_add(group.saturating_mul(3)))
}

impl Pipeline {
    /// The least memory with which this pipeline works.
    pub fn memory_need(&self) -> MemoryNeed {
        MemoryNeed::of(self.sinks.iter().map(|sink| (sink.name.as_str(), &sink.kind)))
    }
}

pub(crate) fn check(context: &mut Context<'_>) {
    let parts = context.parts;
    let Some(limits) = &parts.limits else { return };
    // With a broken sink the sum would be too small, never too large, so the finding stays right.
    let names: Vec<(String, &SinkKind)> = parts
        .sinks
        .iter()
        .flatten()
        .enumerate()
        .map(|(index, sink)| {
            let path = at(["sinks"]).index(index).key(sink.kind.word()).key("name");
            (context.show(&path, &sink.name), &sink.kind)
        })
        .collect();
    let need = MemoryNeed::of(names.iter().map(|(name, kind)| (name.as_str(), *kind)));
    if limits.memory >= need.total() {
        return;
    }
    let message =
        format!("{} of memory are too little: this pipeline needs at least {}", limits.memory, need.total());
    let sum: Vec<String> = need.parts.iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
    let finding = context.find(Code::Value, &at(["limits", "memory"]), message);
    context.push(finding.help(sum.join(" + ")));
}
