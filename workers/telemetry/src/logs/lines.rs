//! How a line is written: as tracing-subscriber has it, with the trace of the record that the thread works on, or not at all where
//! its like came too often.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use longshore_core::TraceContext;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;
use super::repeats::Repeats;

thread_local! {
    static RECORD: Cell<Option<TraceContext>> = const { Cell::new(None) };
}

/// While it lives, log lines of its thread have `trace_id` and `span_id` of a record.
#[derive(Debug)]
#[must_use = "lines name the record only while this lives"]
pub struct Named {
    before: Option<TraceContext>,
    of_this_thread: PhantomData<*const ()>,
}

/// The thread works on a traced record from now on: whatever logs there, steps and panics included, names its trace. Costs two moves;
/// nobody calls it for a record that is not traced.
pub fn name_record(context: TraceContext) -> Named {
    Named { before: RECORD.replace(Some(context)), of_this_thread: PhantomData }
}

impl Drop for Named {
    fn drop(&mut self) {
        RECORD.set(self.before);
    }
}

/// A trace's id as log lines have it.
pub(super) fn trace_id(context: &TraceContext) -> String {
    format!("{:032x}", u128::from_be_bytes(context.trace))
}

/// Writes lines.
pub(super) struct Lines<F> {
    inner: F,
    format: LogFormat,
    repeats: Arc<Repeats>,
}

impl<F> Lines<F> {
    pub(super) fn new(inner: F, format: LogFormat, repeats: &Arc<Repeats>) -> Self {
        Self { inner, format, repeats: Arc::clone(repeats) }
    }

    /// The line with the ids at its end, where also those see them who cut long lines from the front.
    fn named(&self, line: &str, context: &TraceContext) -> String {
        let (trace, span) = (trace_id(context), u64::from_be_bytes(context.span));
        let line = line.trim_end_matches('\n');
        match (self.format, line.strip_suffix('}')) {
            (LogFormat::Json, Some(open)) => {
                format!("{open},\"trace_id\":\"{trace}\",\"span_id\":\"{span:016x}\"}}\n")
            }
            (LogFormat::Json, None) | (LogFormat::Text, _) => {
                format!("{line} trace_id={trace} span_id={span:016x}\n")
            }
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let record = RECORD.get();
        if !self.repeats.lets_through(event, record) {
            return Ok(());
        }
        let Some(record) = record else { return self.inner.format_event(context, writer, event) };
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&self.named(&line, &record))
    }
}
