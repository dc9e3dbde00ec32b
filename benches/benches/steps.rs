//! Codecs and steps in memory, over logs of 300 bytes.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench may end with a panic")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use longshore_benches::lines::log_lines;
use longshore_codec::{AvroReader, AvroWriter, Limits, Store, json};
use longshore_conditions::steps::{FilterOptions, filter};
use longshore_core::{ChunkBuilder, Epoch, Item, Lane, Offset, PairId, RecordRef, Step};
use longshore_logs::{Format, ParseOptions, parse};

const LINES: u32 = 1_000;

fn items() -> Vec<Item> {
    let mut chunk = ChunkBuilder::new(PairId::new("in", 0), Lane::Input, Epoch(1));
    for (offset, line) in (0..).zip(log_lines(LINES)) {
        chunk.record(Offset(offset), 1_769_860_000_000, Some(b"key"), Some(line.as_bytes()));
    }
    let chunk = chunk.build(None);
    (0..LINES).map(|index| Item::new(RecordRef::new(&chunk, index).expect("in the chunk"))).collect()
}

fn parsed() -> Vec<Item> {
    let step = parse(&ParseOptions::new(Format::Json), &Arc::default()).unwrap();
    let mut items = items();
    for item in &mut items {
        step.apply(item).unwrap();
    }
    items
}

fn codecs(criterion: &mut Criterion) {
    let lines = log_lines(LINES);
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(LINES.into()));
    group.bench_function("json parse", |bencher| {
        bencher.iter(|| {
            for line in &lines {
                std::hint::black_box(json::parse(line.as_bytes(), &Limits::default()).unwrap());
            }
        });
    });
    let items = parsed();
    let mut out = Vec::new();
    group.bench_function("json write", |bencher| {
        bencher.iter(|| {
            out.clear();
            for item in &items {
                item.fields().unwrap().write_json(&mut out).unwrap();
            }
        });
    });
    avro(&mut group, &items);
    group.finish();
}

fn avro(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>, items: &[Item]) {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
    let store = Arc::new(Store::load(&schemas).expect("the schemas are sound"));
    let writer = AvroWriter::newest(&store, "log").unwrap();
    let mut out = Vec::new();
    group.bench_function("avro write", |bencher| {
        bencher.iter(|| {
            out.clear();
            for item in items {
                writer.write_fields(item.fields().unwrap(), &mut out).unwrap();
            }
        });
    });
    let written: Vec<Vec<u8>> = items
        .iter()
        .map(|item| {
            let mut bytes = Vec::new();
            writer.write_fields(item.fields().unwrap(), &mut bytes).unwrap();
            bytes
        })
        .collect();
    let reader = AvroReader::new(store, None);
    group.bench_function("avro read", |bencher| {
        bencher.iter(|| {
            for bytes in &written {
                std::hint::black_box(reader.read(bytes, &Limits::default()).unwrap());
            }
        });
    });
}

fn apply(items: &mut [Item], step: &dyn Step) {
    for item in items {
        std::hint::black_box(step.apply(item).unwrap());
    }
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    group.throughput(Throughput::Elements(LINES.into()));
    let (raw, read) = (items(), parsed());
    let step = parse(&ParseOptions::new(Format::Json), &Arc::default()).unwrap();
    group.bench_function("parse to a log", |bencher| {
        bencher.iter_batched_ref(|| raw.clone(), |items| apply(items, &*step), BatchSize::LargeInput);
    });
    let drop = Some("severity_number < 9".to_owned());
    let step = filter(&FilterOptions { drop, ..FilterOptions::default() }, 1).unwrap();
    group.bench_function("filter by severity", |bencher| {
        bencher.iter_batched_ref(|| read.clone(), |items| apply(items, &*step), BatchSize::LargeInput);
    });
    let drop = Some("attributes[\"app\"] == \"shop-3\" && attributes[\"status\"] == 200".to_owned());
    let step = filter(&FilterOptions { drop, ..FilterOptions::default() }, 1).unwrap();
    group.bench_function("filter by attributes", |bencher| {
        bencher.iter_batched_ref(|| read.clone(), |items| apply(items, &*step), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2));
    targets = codecs, steps
}
criterion_main!(benches);
