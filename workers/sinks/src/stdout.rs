//! Rows as JSON lines to standard output, for trying things out and for pipes. It keeps no ledger, so rows may repeat.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use longshore_core::ledger::{LedgerView, Trailer};
use longshore_core::sink::{Published, SegmentWriter, Sink, WriterContext};
use longshore_core::{Block, BoxFuture, Encode, Failure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blocking::Turns;
use crate::io::classify;
use crate::jsonl::JsonLines;

/// What the pipeline file says of a `stdout` sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StdoutOptions {
    /// A CEL condition: only records that meet it go here. Judged before the sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

type Output = Arc<Mutex<Box<dyn Write + Send>>>;

/// Writes rows as JSON lines to one output that all pairs share. The rows of an append are written together, so lines
/// are never mixed.
pub struct StdoutSink {
    name: String,
    output: Output,
}

impl StdoutSink {
    /// A sink that writes to `output`, in production the process's standard output.
    pub fn new(name: &str, output: Box<dyn Write + Send>) -> Self {
        Self { name: name.to_owned(), output: Arc::new(Mutex::new(output)) }
    }
}

impl Sink for StdoutSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn has_ledger(&self) -> bool {
        false
    }

    fn encoder(&self) -> Arc<dyn Encode> {
        Arc::new(JsonLines)
    }

    fn open(&self, _context: WriterContext) -> Box<dyn SegmentWriter> {
        Box::new(StdoutWriter { turns: Turns::default(), output: Arc::clone(&self.output), written_bytes: 0 })
    }
}

struct StdoutWriter {
    turns: Turns,
    output: Output,
    written_bytes: u64,
}

impl SegmentWriter for StdoutWriter {
    fn recover(&mut self) -> BoxFuture<'_, Result<LedgerView, Failure>> {
        Box::pin(std::future::ready(Ok(LedgerView::default())))
    }

    fn append<'a>(&'a mut self, block: &'a Block) -> BoxFuture<'a, Result<u64, Failure>> {
        Box::pin(async move {
            let mut lines = Vec::with_capacity(block.bytes.len());
            for row in &block.rows {
                if let Some(value) = &row.value {
                    lines.extend_from_slice(&block.bytes[value.start as usize..value.end as usize]);
                }
            }
            let bytes = lines.len() as u64;
            // A reader may be slow, so a write can block for long; it must not hold a thread of the runtime.
            let write = move |output: &mut Box<dyn Write + Send>| {
                let written = output.write_all(&lines).and_then(|()| output.flush());
                written.map_err(|error| classify("write", Path::new("standard output"), &error))
            };
            self.turns.next().run(&self.output, write).await?;
            self.written_bytes += bytes;
            Ok(self.written_bytes)
        })
    }

    fn seal(&mut self) -> Result<(), Failure> {
        self.written_bytes = 0;
        Ok(())
    }

    fn publish<'a>(&'a mut self, _trailer: &'a Trailer) -> BoxFuture<'a, Result<Published, Failure>> {
        Box::pin(std::future::ready(Ok(Published::Done(Vec::new()))))
    }
}
