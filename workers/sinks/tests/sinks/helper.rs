//! What all tests need: sinks in temporary folders, blocks of rows, trailers.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use longshore_core::ledger::{TRAILER_VERSION, Trailer};
use longshore_core::sink::{Published, SegmentWriter, Sink, WriterContext};
use longshore_core::{
    Block, ChunkBuilder, Encode, Epoch, Generation, Item, Lane, Offset, PairId, RecordRef, RunSet, Sequence,
    WriterId,
};
use longshore_sinks::files::Format;
use longshore_sinks::jsonl::JsonLines;
use longshore_sinks::verify::{Report, verify};
use longshore_sinks::{FilesOptions, FilesSink};

pub(crate) const TOPIC: &str = "logs.raw";
pub(crate) const FORMATS: [Format; 2] = [Format::JsonlZst, Format::Jsonl];

pub(crate) fn sink(folder: &Path, format: Format) -> FilesSink {
    let options = FilesOptions { format, ..FilesOptions::new(folder) };
    FilesSink::new("files", "web-logs", Generation::FIRST, options).unwrap()
}

pub(crate) fn context(writer: u128) -> WriterContext {
    WriterContext {
        pair: PairId::new(TOPIC, 3),
        writer: WriterId(writer),
        cluster: "cluster-a".into(),
        topic_id: "topic-a".into(),
    }
}

/// A writer that has read its ledger.
pub(crate) async fn writer(folder: &Path, format: Format, id: u128) -> (Box<dyn SegmentWriter>, Sequence) {
    let mut writer = sink(folder, format).open(context(id));
    let view = writer.recover().await.unwrap();
    (writer, view.next_sequence)
}

/// One row for each offset, its value `bytes` long and hard to compress.
pub(crate) fn block_of(offsets: Range<i64>, bytes: usize) -> Block {
    let mut chunk = ChunkBuilder::new(PairId::new(TOPIC, 3), Lane::Input, Epoch(1));
    let mut state = offsets.start as u64 + 1;
    for offset in offsets {
        let letters = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            b'a' + (state >> 60) as u8
        });
        let value: Vec<u8> = letters.take(bytes).collect();
        chunk.record(Offset(offset), 0, None, Some(&value));
    }
    let chunk = chunk.build(None);
    let mut block = Block::default();
    for index in 0..chunk.len() as u32 {
        JsonLines.encode(&Item::new(RecordRef::new(&chunk, index).unwrap()), &mut block).unwrap();
    }
    block
}

pub(crate) fn block(offsets: Range<i64>) -> Block {
    block_of(offsets, 100)
}

pub(crate) fn trailer(sequence: u64, writer: u128, covers: Range<i64>) -> Trailer {
    Trailer {
        version: TRAILER_VERSION,
        pipeline: "web-logs".into(),
        generation: Generation::FIRST,
        cluster: "cluster-a".into(),
        topic: TOPIC.into(),
        topic_id: "topic-a".into(),
        partition: 3,
        partitions: 8,
        sequence: Sequence(sequence),
        writer: WriterId(writer),
        covers: (Offset(covers.start), Offset(covers.end)),
        except: RunSet::default(),
        also: RunSet::default(),
        dead: BTreeMap::new(),
        rows: (covers.end - covers.start) as u64,
        filtered: BTreeMap::new(),
        decides: None,
    }
}

/// Appends, seals and publishes the offsets as one segment.
pub(crate) async fn write_segment(
    writer: &mut dyn SegmentWriter,
    sequence: u64,
    id: u128,
    offsets: Range<i64>,
) -> Published {
    writer.append(&block(offsets.clone())).await.unwrap();
    writer.seal().unwrap();
    writer.publish(&trailer(sequence, id, offsets)).await.unwrap()
}

pub(crate) fn done() -> Published {
    Published::Done(Vec::new())
}

pub(crate) fn data_folder(root: &Path) -> PathBuf {
    root.join("g0001").join(TOPIC).join("3")
}

pub(crate) fn ledger_folder(root: &Path) -> PathBuf {
    root.join("g0001/_ledger").join(TOPIC).join("3")
}

pub(crate) fn data_file(root: &Path, sequence: u64, format: Format) -> PathBuf {
    data_folder(root).join(format!("{sequence:020}.{}", format.extension()))
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn staged(root: &Path) -> Vec<String> {
    names(&ledger_folder(root).join("staging"))
}

/// The offsets of all rows in the order of the files, after a check that found nothing.
pub(crate) fn offsets(root: &Path) -> Vec<i64> {
    let mut offsets = Vec::new();
    let report = verify(root, |row| offsets.push(row.origin.offset.0)).unwrap();
    assert_clean(&report);
    offsets
}

pub(crate) fn assert_clean(report: &Report) {
    let words: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(words.is_empty(), "{words:#?}");
}

/// The command that runs one test of this binary in a process of its own, which that test knows by `variable`.
pub(crate) fn child(test: &str, variable: &str, value: &std::ffi::OsStr) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(variable, value);
    command
}
