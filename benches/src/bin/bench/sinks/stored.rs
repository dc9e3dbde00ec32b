//! Files and objects beside the libraries that they use, over the same bytes, each synced to disk.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use arrow_array::RecordBatch;
use longshore_core::sink::Sink;
use longshore_core::{Block, Generation};
use longshore_sinks::objects::{Columns, Format, ObjectsOptions, ObjectsSink, Place};
use longshore_sinks::{FilesOptions, FilesSink};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::rows::{ROWS_IN_BLOCK, TOPIC, blocks, publish, take_over, trailer};

/// Blocks in the one segment that is written; about 80 MB of JSON.
const BLOCKS: i64 = 200;
/// zstd's level, of ours and of the bound.
const LEVEL: i32 = 3;
/// The default of `row_group`, in bytes.
const ROW_GROUP: usize = 16 << 20;

/// The rows, as the sinks' encoders make them; made once.
pub(super) struct Stored {
    lines: Vec<Block>,
    columns: Vec<Block>,
}

impl Stored {
    pub(super) fn new(quick: bool) -> anyhow::Result<Self> {
        let count = if quick { BLOCKS / 10 } else { BLOCKS };
        let nowhere = Path::new(".");
        let lines = blocks(&*files(nowhere)?.encoder(), count)?;
        let columns = blocks(&*objects(nowhere)?.encoder(), count)?;
        Ok(Self { lines, columns })
    }

    /// zstd and the sink `files`, in MB of lines a second.
    pub(super) async fn lines(&self) -> anyhow::Result<(f64, f64)> {
        let folder = tempfile::tempdir()?;
        let bound = zstd_alone(&folder.path().join("bare"), &self.lines)?;
        let ours = through(&files(folder.path())?, &self.lines).await?;
        Ok((rate(&self.lines, bound), rate(&self.lines, ours)))
    }

    /// The `parquet` crate and the sink `objects`, in MB of rows a second. The crate is given the very columns that ours made, as arrays
    /// that lie ready, and as many row groups.
    pub(super) async fn parquet(&self) -> anyhow::Result<(f64, f64)> {
        let folder = tempfile::tempdir()?;
        let ours = through(&objects(folder.path())?, &self.columns).await?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(object(folder.path()))?)?;
        let groups = reader.metadata().num_row_groups();
        let batches = reader.with_batch_size(8192).build()?.collect::<Result<Vec<RecordBatch>, _>>()?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        anyhow::ensure!(rows == self.columns.len() * ROWS_IN_BLOCK as usize, "the object holds {rows} rows");
        let bound = parquet_alone(&folder.path().join("bare"), &batches, rows.div_ceil(groups))?;
        Ok((rate(&self.columns, bound), rate(&self.columns, ours)))
    }
}

fn rate(blocks: &[Block], spent: Duration) -> f64 {
    let bytes: usize = blocks.iter().map(|block| block.bytes.len()).sum();
    bytes as f64 / 1e6 / spent.as_secs_f64()
}

/// A `files` sink into a folder.
pub(super) fn files(folder: &Path) -> anyhow::Result<FilesSink> {
    let options = FilesOptions { level: LEVEL, ..FilesOptions::new(folder.join("files")) };
    Ok(FilesSink::new("files", "bench", Generation::FIRST, options)?)
}

/// An `objects` sink into a folder.
pub(super) fn objects(folder: &Path) -> anyhow::Result<ObjectsSink> {
    let options = ObjectsOptions {
        place: Place::Folder(folder.join("objects")),
        format: Format::Parquet,
        columns: Arc::new(Columns::log()),
        partition: Vec::new(),
        level: LEVEL,
        row_group: ROW_GROUP,
        full: 1 << 30,
        staging: folder.join("staging"),
    };
    ObjectsSink::new("objects", "bench", Generation::FIRST, options).map_err(anyhow::Error::msg)
}

/// Where the object of the first segment is.
fn object(folder: &Path) -> PathBuf {
    folder.join(format!("objects/g0001/{TOPIC}/0/{:020}.parquet", 0))
}

/// Appends all blocks and publishes them as one segment.
async fn through(sink: &dyn Sink, blocks: &[Block]) -> anyhow::Result<Duration> {
    let (mut writer, _) = take_over(sink, 0).await?;
    let began = Instant::now();
    for block in blocks {
        writer.append(block).await.map_err(|failure| anyhow::anyhow!("append: {failure:?}"))?;
    }
    publish(&mut *writer, &trailer(0, 0, blocks.len() as i64 * ROWS_IN_BLOCK)).await?;
    Ok(began.elapsed())
}

fn zstd_alone(path: &Path, blocks: &[Block]) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut encoder = zstd::stream::Encoder::new(File::create(path)?, LEVEL)?;
    for block in blocks {
        encoder.write_all(&block.bytes)?;
    }
    encoder.finish()?.sync_all()?;
    Ok(began.elapsed())
}

/// The crate with what it does by default, and our compression.
fn parquet_alone(path: &Path, batches: &[RecordBatch], rows_in_group: usize) -> anyhow::Result<Duration> {
    let schema = batches.first().context("no batches")?.schema();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL)?))
        .set_max_row_group_row_count(Some(rows_in_group))
        .build();
    let began = Instant::now();
    let mut writer = ArrowWriter::try_new(File::create(path)?, schema, Some(properties))?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.into_inner()?.sync_all()?;
    Ok(began.elapsed())
}
