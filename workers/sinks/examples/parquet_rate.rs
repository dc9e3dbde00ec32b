//! How fast the `objects` sink makes Parquet files of logs, beside the `parquet` crate alone that writes the same columns from arrays
//! that lie ready: `cargo run --release --features objects --example parquet_rate`. Without `--release` the crate is optimized and the
//! sink is not.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use longshore_core::ledger::{TRAILER_VERSION, Trailer};
use longshore_core::sink::{Published, Sink, WriterContext};
use longshore_core::{
    Block, ChunkBuilder, Content, Encode, Epoch, Generation, Item, Lane, Map, Offset, PairId, RecordRef,
    RunSet, Sequence, Value, WriterId,
};
use longshore_sinks::objects::{Columns, Format, ObjectsOptions, ObjectsSink, Place};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROWS_IN_BLOCK: i64 = 1024;
const BLOCKS: i64 = 200;
const ROWS: i64 = ROWS_IN_BLOCK * BLOCKS;
const ROUNDS: usize = 5;
const LEVEL: i32 = 3;
const ROW_GROUP: usize = 16 << 20;

/// Log records of about 400 bytes.
fn item(source: RecordRef) -> Item {
    let offset = source.offset().0;
    let noise = (offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut attributes = Map::default();
    attributes.push("http.request.method", Value::from(["GET", "POST", "PUT"][noise as usize % 3]));
    attributes.push("url.path", Value::from(format!("/api/v1/items/{}", noise % 100_000).as_str()));
    attributes.push("http.response.status_code", Value::Int([200, 201, 404, 500][noise as usize % 4]));
    attributes.push("duration_ms", Value::Float((noise % 1_000_000) as f64 / 1000.0));
    let mut resource = Map::default();
    resource.push("service.name", Value::from(["cart", "search", "checkout"][noise as usize % 3]));
    let mut fields = Map::default();
    fields.push("time_unix_nano", Value::Int(1_700_000_000_000_000_000 + offset * 1_234_567));
    fields.push("trace_id", Value::from(format!("{noise:032x}").as_str()));
    fields.push("span_id", Value::from(format!("{noise:016x}").as_str()));
    fields.push("severity_text", Value::from("INFO"));
    fields.push("severity_number", Value::Int(9));
    let body = format!("request {} finished and the answer was written to the client", noise % 77_777);
    fields.push("body", Value::from(body.as_str()));
    fields.push("attributes", Value::Object(attributes));
    fields.push("resource", Value::Object(resource));
    Item { content: Content::Fields(fields), ..Item::new(source) }
}

fn block(encoder: &dyn Encode, start: i64) -> Done<(Block, Duration)> {
    let mut chunk = ChunkBuilder::new(PairId::new("logs.raw", 0), Lane::Input, Epoch(1));
    for offset in start..start + ROWS_IN_BLOCK {
        chunk.record(Offset(offset), 1_700_000_000_000 + offset, Some(b"key"), Some(b"{}"));
    }
    let chunk = chunk.build(None);
    let items: Vec<Item> =
        (0..chunk.len() as u32).filter_map(|index| RecordRef::new(&chunk, index)).map(item).collect();
    let mut block = Block::default();
    let begun = Instant::now();
    for item in &items {
        encoder.encode(item, &mut block)?;
    }
    Ok((block, begun.elapsed()))
}

fn sink(folder: &Path) -> Done<ObjectsSink> {
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
    Ok(ObjectsSink::new("objects", "bench", Generation::FIRST, options)?)
}

fn trailer() -> Trailer {
    Trailer {
        version: TRAILER_VERSION,
        pipeline: "bench".into(),
        generation: Generation::FIRST,
        cluster: String::new(),
        topic: "logs.raw".into(),
        topic_id: String::new(),
        partition: 0,
        partitions: 1,
        sequence: Sequence(0),
        writer: WriterId(1),
        covers: (Offset(0), Offset(ROWS)),
        except: RunSet::default(),
        also: RunSet::default(),
        dead: Default::default(),
        rows: ROWS as u64,
        filtered: Default::default(),
        decides: Some(Default::default()),
    }
}

/// Appends all blocks and publishes them as one object.
async fn through(folder: &Path, blocks: &[Block]) -> Done<Duration> {
    let sink = sink(folder)?;
    let (pair, writer) = (PairId::new("logs.raw", 0), WriterId(1));
    let context = WriterContext { pair, writer, cluster: String::new(), topic_id: String::new() };
    let mut writer = sink.open(context);
    writer.recover().await?;
    let begun = Instant::now();
    for block in blocks {
        writer.append(block).await?;
    }
    writer.seal()?;
    match writer.publish(&trailer()).await? {
        Published::Done(refused) if refused.is_empty() => Ok(begun.elapsed()),
        other => Err(format!("{other:?}").into()),
    }
}

/// The object of the only segment.
fn object(folder: &Path) -> PathBuf {
    folder.join(format!("objects/g0001/logs.raw/0/{:020}.parquet", 0))
}

/// The crate alone, with what it does by default and our compression.
fn bare(file: &Path, batches: &[RecordBatch], rows_in_group: usize) -> Done<(Duration, u64)> {
    let begun = Instant::now();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL)?))
        .set_max_row_group_row_count(Some(rows_in_group))
        .build();
    let schema = batches.first().ok_or("no batches")?.schema();
    let mut writer = ArrowWriter::try_new(File::create(file)?, schema, Some(properties))?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.close()?;
    let spent = begun.elapsed();
    Ok((spent, file.metadata()?.len()))
}

#[tokio::main]
async fn main() -> Done<()> {
    let encoder = sink(Path::new("."))?.encoder();
    let (mut blocks, mut encoding) = (Vec::new(), Duration::ZERO);
    for number in 0..BLOCKS {
        let (block, spent) = block(&*encoder, number * ROWS_IN_BLOCK)?;
        blocks.push(block);
        encoding += spent;
    }
    let bytes: usize = blocks.iter().map(|block| block.bytes.len()).sum();
    let rate = |spent: Duration| bytes as f64 / 1e6 / spent.as_secs_f64();
    let mut out = std::io::stdout();
    let per_second = ROWS as f64 / encoding.as_secs_f64() / 1e3;
    writeln!(
        out,
        "{ROWS} rows, {bytes} bytes as rows; to rows {:.0} MB/s, {per_second:.0} k rows/s",
        rate(encoding)
    )?;
    for _ in 0..ROUNDS {
        let folder = tempfile::tempdir()?;
        let ours = through(folder.path(), &blocks).await?;
        let object = object(folder.path());
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&object)?)?;
        let groups = reader.metadata().num_row_groups();
        let batches = reader.with_batch_size(8192).build()?.collect::<Result<Vec<RecordBatch>, _>>()?;
        let rows_in_group = (ROWS as usize).div_ceil(groups);
        let (bare, bare_stored) = bare(&folder.path().join("bare"), &batches, rows_in_group)?;
        writeln!(
            out,
            "append and publish {:.0} MB/s, {} bytes, {groups} row groups; bare {:.0} MB/s, {bare_stored} bytes; ratio {:.2}",
            rate(ours),
            object.metadata()?.len(),
            rate(bare),
            bare.as_secs_f64() / ours.as_secs_f64(),
        )?;
    }
    Ok(())
}
