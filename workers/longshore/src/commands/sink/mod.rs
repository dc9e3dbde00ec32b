//! `longshore sink`: what sinks hold, told from their ledgers and their data. No worker and no broker is asked.

mod compact;
mod look;
mod ls;
mod verify;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use longshore_settings::{Pipeline, SinkEntry, SinkKind};

use super::check;
use crate::cli::sink::{Sink, SinkAction, SinkMeant};
use crate::exit::{End, Exit};
use crate::output::{Output, Progress};

pub(crate) fn run(arguments: &Sink, output: &Output) -> Result<(), End> {
    match &arguments.action {
        SinkAction::Ls(arguments) => ls::run(arguments, output),
        SinkAction::Verify(arguments) => verify::run(arguments, output),
        SinkAction::Compact(arguments) => compact::run(arguments, output),
    }
}

/// The pipeline that was named.
fn pipeline(meant: &SinkMeant, output: &Output) -> Result<Pipeline, End> {
    Ok(check::load(&meant.pipeline, &meant.overrides, output)?.pipeline)
}

/// The sinks that are meant: the one that was named, or all that keep a ledger.
fn chosen<'a>(pipeline: &'a Pipeline, meant: &SinkMeant, output: &Output) -> Result<Vec<&'a SinkEntry>, End> {
    let kept = |sink: &&SinkEntry| match &sink.kind {
        SinkKind::Files(_) | SinkKind::Objects(_) | SinkKind::Postgres(_) => true,
        SinkKind::Topic(_) | SinkKind::Stdout(_) => false,
    };
    let none = |name: &str| format!("sink {name} keeps no ledger: what it holds nobody can tell");
    let Some(name) = &meant.sink else {
        pipeline.sinks.iter().filter(|sink| !kept(sink)).for_each(|sink| output.note(none(&sink.name)));
        return Ok(pipeline.sinks.iter().filter(kept).collect());
    };
    let Some(sink) = pipeline.sinks.iter().find(|sink| sink.name == *name) else {
        let names: Vec<&str> = pipeline.sinks.iter().map(|sink| sink.name.as_str()).collect();
        let words = format!("pipeline {} has no sink {name}; it has {}", pipeline.pipeline, names.join(", "));
        return Err(End::new(Exit::Usage, words));
    };
    if kept(&sink) { Ok(vec![sink]) } else { Err(End::new(Exit::Usage, none(name))) }
}

/// Shows that something goes on, from whichever thread it does.
#[derive(Clone)]
struct Told {
    done: Arc<AtomicU64>,
    bar: Arc<Mutex<Option<Progress>>>,
}

impl Told {
    fn new(output: &Output, what: &str, unit: &'static str) -> Self {
        let bar = Some(output.progress(what, None, unit));
        Self { done: Arc::default(), bar: Arc::new(Mutex::new(bar)) }
    }

    fn more(&self, count: u64) {
        let done = self.done.fetch_add(count, Ordering::Relaxed) + count;
        // Whoever shows it now shows this as well, nearly.
        if let Ok(mut bar) = self.bar.try_lock()
            && let Some(bar) = bar.as_mut()
        {
            bar.tick(done);
        }
    }

    fn finish(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish();
        }
    }
}

/// A size in the largest unit that leaves a digit before the point: `12.3MiB`.
fn size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, shift)| bytes >> shift > 0);
    unit.map_or_else(
        || format!("{bytes}B"),
        |(name, shift)| format!("{:.1}{name}", bytes as f64 / (1_u64 << shift) as f64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_their_unit() {
        let sizes = [0, 1_023, 1_024, 1_572_864, 5 << 30, 3 << 40].map(size);
        assert_eq!(sizes, ["0B", "1023B", "1.0KiB", "1.5MiB", "5.0GiB", "3.0TiB"]);
    }
}
