//! How fast a segment takes rows, beside bare zstd over the same bytes: `cargo run --release --example append_rate`.

use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use longshore_core::sink::{Sink, WriterContext};
use longshore_core::{
    Block, ChunkBuilder, Content, Encode, Epoch, Generation, Item, Lane, Map, Offset, PairId, RecordRef,
    Value, WriterId,
};
use longshore_sinks::files::Format;
use longshore_sinks::jsonl::JsonLines;
use longshore_sinks::{FilesOptions, FilesSink};

const ROWS_IN_BLOCK: i64 = 1024;
const BLOCKS: i64 = 300;
const ROUNDS: usize = 5;

/// Log records of about 300 bytes.
fn block(start: i64) -> (Block, Duration) {
    let mut chunk = ChunkBuilder::new(PairId::new("logs.raw", 0), Lane::Input, Epoch(1));
    (start..start + ROWS_IN_BLOCK).for_each(|offset| chunk.record(Offset(offset), 0, None, Some(b"{}")));
    let chunk = chunk.build(None);
    let items: Vec<Item> =
        (0..chunk.len() as u32).filter_map(|index| RecordRef::new(&chunk, index)).map(item).collect();
    let mut block = Block::default();
    let begun = Instant::now();
    for item in &items {
        let _ = JsonLines.encode(item, &mut block);
    }
    (block, begun.elapsed())
}

fn item(source: RecordRef) -> Item {
    let offset = source.offset().0;
    let noise = (offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut attributes = Map::default();
    attributes.push("http.request.method", Value::from(["GET", "POST", "PUT"][noise as usize % 3]));
    attributes.push("url.path", Value::from(format!("/api/v1/items/{}", noise % 100_000).as_str()));
    attributes.push("http.response.status_code", Value::Int([200, 201, 404, 500][noise as usize % 4]));
    attributes.push("duration_ms", Value::Float((noise % 1_000_000) as f64 / 1000.0));
    attributes.push("trace", Value::from(format!("{noise:032x}").as_str()));
    let mut fields = Map::default();
    fields.push("time_unix_nano", Value::Int(1_700_000_000_000_000_000 + offset * 1_234_567));
    fields.push("severity_text", Value::from("INFO"));
    fields.push("severity_number", Value::Int(9));
    fields.push("body", Value::from("request finished and the answer was written to the client"));
    fields.push("attributes", Value::Object(attributes));
    Item { content: Content::Fields(fields), ..Item::new(source) }
}

async fn append(format: Format, blocks: &[Block]) -> Result<(Duration, usize), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let options = FilesOptions { format, ..FilesOptions::new(folder.path()) };
    let sink = FilesSink::new("files", "bench", Generation::FIRST, options)?;
    let pair = PairId::new("logs.raw", 0);
    let (cluster, topic_id) = (String::new(), String::new());
    let mut writer = sink.open(WriterContext { pair, writer: WriterId(1), cluster, topic_id });
    writer.recover().await?;
    let begun = Instant::now();
    let mut stored = 0;
    for block in blocks {
        stored = writer.append(block).await?;
    }
    Ok((begun.elapsed(), stored as usize))
}

fn bare_stream(blocks: &[Block]) -> Result<(Duration, usize), Box<dyn Error>> {
    let begun = Instant::now();
    let mut file = tempfile::tempfile()?;
    let mut encoder = zstd::stream::Encoder::new(&mut file, 3)?;
    for block in blocks {
        encoder.write_all(&block.bytes)?;
    }
    encoder.finish()?;
    Ok((begun.elapsed(), file.metadata()?.len() as usize))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut encoding = Duration::ZERO;
    let mut blocks = Vec::new();
    for number in 0..BLOCKS {
        let (block, spent) = block(number * ROWS_IN_BLOCK);
        encoding += spent;
        blocks.push(block);
    }
    let bytes: usize = blocks.iter().map(|block| block.bytes.len()).sum();
    let rate = |spent: Duration| bytes as f64 / 1e6 / spent.as_secs_f64();
    let mut out = std::io::stdout();
    writeln!(out, "{} rows, {} bytes, encode {:.0} MB/s", BLOCKS * ROWS_IN_BLOCK, bytes, rate(encoding))?;
    for _ in 0..ROUNDS {
        let (bare, bare_stored) = bare_stream(&blocks)?;
        let (framed, framed_stored) = append(Format::JsonlZst, &blocks).await?;
        let (plain, _) = append(Format::Jsonl, &blocks).await?;
        writeln!(
            out,
            "bare zstd stream {:.0} MB/s ratio {:.2}; append jsonl.zst {:.0} MB/s = {:.2} of it, ratio {:.2}; append jsonl {:.0} MB/s",
            rate(bare),
            bytes as f64 / bare_stored as f64,
            rate(framed),
            bare.as_secs_f64() / framed.as_secs_f64(),
            bytes as f64 / framed_stored as f64,
            rate(plain),
        )?;
    }
    Ok(())
}
