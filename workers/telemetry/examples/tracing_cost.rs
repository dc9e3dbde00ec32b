//! What tracing costs, for a count of instructions: looks at so many records that name no trace, and tells two spans for each one that is
//! sampled, which are encoded and sent to a listener in this process. Without records it tells what starting and ending cost.
//!
//! `valgrind --tool=callgrind target/debug/examples/tracing_cost RECORDS`, with `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`
#![expect(clippy::print_stdout, reason = "an example tells its figures on stdout")]
#![expect(clippy::expect_used, reason = "an example may end with a panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use longshore_core::{Chunk, ChunkBuilder, Epoch, Lane, Offset, PairId, RecordRef};
use longshore_telemetry::trace::{Outcome, Place, TraceOptions};
use longshore_telemetry::{Metrics, Tracer};

const CHUNK: usize = 500;
const CHUNKS: usize = 40;

/// Answers each request with nothing.
fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = bytes.trim().parse().unwrap_or_default();
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}

/// Takes connections at the port of the endpoint.
fn listen() -> std::io::Result<()> {
    let endpoint = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or_default();
    let listener = TcpListener::bind(endpoint.trim_start_matches("http://"))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(|| answer(stream));
        }
    });
    Ok(())
}

fn chunk(number: usize) -> Arc<Chunk> {
    let mut chunk = ChunkBuilder::new(PairId::new("logs.web", 3), Lane::Input, Epoch(1));
    let first = (number * CHUNK) as i64;
    for offset in first..first + CHUNK as i64 {
        chunk.record(Offset(offset), 1_700_000_000_000 + offset, Some(b"key-17"), Some(&[b'x'; 200]));
        chunk.header(b"content-type", Some(b"application/json"));
    }
    chunk.build(None)
}

fn main() {
    let records: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100_000);
    listen().expect("OTEL_EXPORTER_OTLP_ENDPOINT is an address of this host");
    let options = TraceOptions { service: "cost".into(), version: "1".into(), ..TraceOptions::default() };
    let tracer =
        Tracer::start(options, Metrics::new("1").spans()).expect("an exporter").expect("an endpoint");
    let chunks: Vec<_> = (0..CHUNKS).map(chunk).collect();
    let mut spans = 0;
    for at in 0..records {
        let chunk = &chunks[at / CHUNK % CHUNKS];
        let record = RecordRef::new(chunk, (at % CHUNK) as u32).expect("it is there");
        let Some(story) = tracer.story(&record) else { continue };
        let started = SystemTime::now();
        tracer.process(&story, &record, 1, started, Outcome::Routed);
        tracer.write(&tracer.child(&story), Place::of(&record), "files", started, None);
        spans += 2;
    }
    let lost = tracer.stop(Duration::from_secs(60)).lost;
    println!("{records} records, {spans} spans, {lost} lost");
}
