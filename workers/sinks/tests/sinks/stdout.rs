//! Standard output: whole lines, no ledger.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use longshore_core::sink::Sink;
use longshore_core::{Class, Reason};
use longshore_sinks::StdoutSink;

use crate::helper::*;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    /// Takes few bytes at a time, as a pipe may.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(100);
        self.0.lock().unwrap().extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Scenario: eight pairs write at once to an output that takes a hundred bytes at a time. Guarantee: lines are whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lines_are_never_mixed() {
    let output = Shared::default();
    let sink = StdoutSink::new("stdout", Box::new(output.clone()));
    assert!(!sink.has_ledger());
    let pairs = (0..8i64).map(|pair| {
        let mut writer = sink.open(context(pair as u128));
        tokio::spawn(async move {
            assert_eq!(writer.recover().await.unwrap().next_sequence.0, 0);
            for round in 0..20 {
                let start = (pair * 20 + round) * 10;
                let block = block(start..start + 10);
                assert_eq!(writer.append(&block).await.unwrap(), block.bytes.len() as u64);
                writer.seal().unwrap();
                assert_eq!(writer.publish(&trailer(0, 1, 0..0)).await.unwrap(), done());
            }
        })
    });
    for pair in pairs.collect::<Vec<_>>() {
        pair.await.unwrap();
    }
    let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
    let mut origins = std::collections::BTreeSet::new();
    for line in text.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        origins.insert(row["_origin"].as_str().unwrap().to_owned());
    }
    assert_eq!(origins.len(), 1600);
}

/// Scenario: the reader of the pipe is gone. Guarantee: the pair halts, since it will not come back.
#[tokio::test]
async fn a_closed_pipe_halts() {
    let mut writer = StdoutSink::new("stdout", Box::new(Closed)).open(context(1));
    let failure = writer.append(&block(0..1)).await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::SinkMissing));
}
