//! What the sinks are given: logs as rows, and the trailers of their segments.

use longshore_core::ledger::{LedgerView, TRAILER_VERSION, Trailer};
use longshore_core::sink::{Published, SegmentWriter, Sink, WriterContext};
use longshore_core::{
    Block, ChunkBuilder, Content, Encode, Epoch, Generation, Item, Lane, Map, Offset, PairId, RecordRef,
    RunSet, Sequence, Value, WriterId,
};

/// The topic that all rows say they are from.
pub(super) const TOPIC: &str = "bench.rows";
/// Rows in a block that a sink is given at once.
pub(super) const ROWS_IN_BLOCK: i64 = 1024;

/// A number that looks like chance and is the same in every run.
pub(super) fn noise(offset: i64) -> u64 {
    (offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The columns of a log record, about 400 bytes as JSON.
fn item(source: RecordRef) -> Item {
    let offset = source.offset().0;
    let noise = noise(offset);
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

/// Blocks of rows as a sink's encoder makes them.
pub(super) fn blocks(encoder: &dyn Encode, count: i64) -> anyhow::Result<Vec<Block>> {
    (0..count).map(|number| block(encoder, number * ROWS_IN_BLOCK)).collect()
}

fn block(encoder: &dyn Encode, start: i64) -> anyhow::Result<Block> {
    let mut chunk = ChunkBuilder::new(PairId::new(TOPIC, 0), Lane::Input, Epoch(1));
    for offset in start..start + ROWS_IN_BLOCK {
        chunk.record(Offset(offset), 1_700_000_000_000 + offset, Some(b"key"), Some(b"{}"));
    }
    let chunk = chunk.build(None);
    let mut block = Block::default();
    for source in (0..chunk.len() as u32).filter_map(|index| RecordRef::new(&chunk, index)) {
        let encoded = encoder.encode(&item(source), &mut block);
        encoded.map_err(|failure| anyhow::anyhow!("a row of the bench: {failure:?}"))?;
    }
    Ok(block)
}

/// The trailer of a segment that holds so many records behind all that came before, each of them with a row.
pub(super) fn trailer(sequence: u64, partition: i32, records: i64) -> Trailer {
    let first = sequence as i64 * records;
    Trailer {
        version: TRAILER_VERSION,
        pipeline: "bench".into(),
        generation: Generation::FIRST,
        cluster: String::new(),
        topic: TOPIC.into(),
        topic_id: String::new(),
        partition,
        partitions: 8,
        sequence: Sequence(sequence),
        writer: WriterId(1),
        covers: (Offset(first), Offset(first + records)),
        except: RunSet::default(),
        also: RunSet::default(),
        dead: Default::default(),
        rows: records as u64,
        filtered: Default::default(),
        decides: Some(Default::default()),
    }
}

/// A writer that has taken its pair over, and what the ledger says.
pub(super) async fn take_over(
    sink: &dyn Sink,
    partition: i32,
) -> anyhow::Result<(Box<dyn SegmentWriter>, LedgerView)> {
    let (pair, writer) = (PairId::new(TOPIC, partition), WriterId(1));
    let context = WriterContext { pair, writer, cluster: String::new(), topic_id: String::new() };
    let mut writer = sink.open(context);
    let view = writer.recover().await;
    let view = view.map_err(|failure| anyhow::anyhow!("{}: {failure:?}", sink.name()))?;
    Ok((writer, view))
}

/// Seals and publishes what a writer was given.
pub(super) async fn publish(writer: &mut dyn SegmentWriter, trailer: &Trailer) -> anyhow::Result<()> {
    writer.seal().map_err(|failure| anyhow::anyhow!("seal: {failure:?}"))?;
    match writer.publish(trailer).await {
        Ok(Published::Done(refused)) if refused.is_empty() => Ok(()),
        other => anyhow::bail!("publish: {other:?}"),
    }
}
