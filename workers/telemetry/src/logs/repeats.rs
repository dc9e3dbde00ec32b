//! Lines that repeat: a flood of them would hide all others and fill a disk. Of each kind some are written in a minute; the others are
//! counted, and one line tells how many they were and which traces they named, so that no trace is lost to whoever searches for it.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_core::TraceContext;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::lines::trace_id;

/// Lines of a kind that are written in each window.
const BURST: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// How often it is looked whether a window is over.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The most kinds that are kept in mind; lines of further kinds are written.
const KINDS: usize = 1_024;
/// The most traces that the line about held-back lines names.
const TRACES: usize = 32;
/// The fields that say whose line it is (the facility is a part of librdkafka; of brokers there are as many as a cluster has). Lines of two partitions are no repetition of each other; lines about
/// two offsets are.
const WHOSE: [&str; 7] = ["pair", "topic", "partition", "sink", "path", "facility", "broker"];
/// Where the lines about other lines come from, which are written always.
const OURS: &str = "longshore::repeats";

/// Lines of one place in the code, about one subject.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    /// The address of what describes the place, which stays where it is.
    place: usize,
    whose: u64,
}

struct Window {
    began: Instant,
    written: u32,
    held: Option<Held>,
}

/// Lines that were not written.
struct Held {
    level: Level,
    /// The first one's message.
    line: String,
    count: u64,
    traces: Vec<TraceContext>,
    more_traces: bool,
}

impl Held {
    fn add(&mut self, record: Option<TraceContext>) {
        self.count += 1;
        let Some(record) = record else { return };
        if self.traces.iter().any(|known| known.trace == record.trace) {
            return;
        }
        if self.traces.len() < TRACES {
            self.traces.push(record);
        } else {
            self.more_traces = true;
        }
    }

    fn tell(self) {
        let Self { level, line, count, traces, more_traces } = self;
        let mut traces: Vec<String> = traces.iter().map(trace_id).collect();
        if more_traces {
            traces.push("more".to_owned());
        }
        let traces = traces.join(",");
        let traces = Some(traces.as_str()).filter(|traces| !traces.is_empty());
        let words = "log lines that repeat were held back";
        match level {
            Level::ERROR => tracing::error!(target: OURS, count, line, trace_ids = traces, "{words}"),
            Level::WARN => tracing::warn!(target: OURS, count, line, trace_ids = traces, "{words}"),
            _ => tracing::info!(target: OURS, count, line, trace_ids = traces, "{words}"),
        }
    }
}

/// Which lines came how often.
#[derive(Default)]
pub(super) struct Repeats {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    windows: HashMap<Kind, Window>,
    /// Of windows that are over.
    over: Vec<Held>,
    /// Whether somebody looks for windows that are over.
    watched: bool,
}

impl Repeats {
    /// Whether a line is written. Whoever asks for `debug` wants all of it, and gets it.
    pub(super) fn lets_through(self: &Arc<Self>, event: &Event<'_>, record: Option<TraceContext>) -> bool {
        let described = event.metadata();
        if *described.level() > Level::INFO || described.target() == OURS {
            return true;
        }
        let place = std::ptr::from_ref(described) as usize;
        let kind = Kind { place, whose: whose(event) };
        let (lets, watch) = self.lock().count(kind, Instant::now(), event, record);
        if watch {
            self.watch();
        }
        lets
    }

    /// Tells of the lines that were held back in windows that are over, or in all.
    pub(super) fn tell(&self, all: bool) {
        let over = self.lock().over(Instant::now(), all);
        // Without the lock, since what is told comes here again.
        over.into_iter().for_each(Held::tell);
    }

    /// A thread, for as long as there are log lines. Where the system refuses one, the end of the process tells.
    fn watch(self: &Arc<Self>) {
        let repeats = Arc::downgrade(self);
        let look = move || {
            while let Some(repeats) = repeats.upgrade() {
                repeats.tell(false);
                drop(repeats);
                std::thread::sleep(LOOK_EVERY);
            }
        };
        let _ = std::thread::Builder::new().name("longshore-logs".to_owned()).spawn(look);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the line is written, and whether it is the first one ever that is not.
    fn count(
        &mut self,
        kind: Kind,
        now: Instant,
        event: &Event<'_>,
        record: Option<TraceContext>,
    ) -> (bool, bool) {
        if self.windows.len() >= KINDS && !self.windows.contains_key(&kind) {
            let over = self.over(now, false);
            self.over.extend(over);
            if self.windows.len() >= KINDS {
                return (true, false);
            }
        }
        let fresh = || Window { began: now, written: 0, held: None };
        let window = self.windows.entry(kind).or_insert_with(fresh);
        if now.duration_since(window.began) >= WINDOW {
            let before = std::mem::replace(window, fresh());
            self.over.extend(before.held);
        }
        if window.written < BURST {
            window.written += 1;
            return (true, false);
        }
        let level = *event.metadata().level();
        let nothing =
            || Held { level, line: message(event), count: 0, traces: Vec::new(), more_traces: false };
        window.held.get_or_insert_with(nothing).add(record);
        (false, !std::mem::replace(&mut self.watched, true))
    }

    /// What is to be told now; windows that are over are forgotten.
    fn over(&mut self, now: Instant, all: bool) -> Vec<Held> {
        let mut told = std::mem::take(&mut self.over);
        let ends = |window: &Window| all || now.duration_since(window.began) >= WINDOW;
        let ended = self.windows.extract_if(|_, window| ends(window));
        told.extend(ended.filter_map(|(_, window)| window.held));
        told
    }
}

fn whose(event: &Event<'_>) -> u64 {
    struct Whose(DefaultHasher);
    impl Visit for Whose {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if WHOSE.contains(&field.name()) {
                format!("{value:?}").hash(&mut self.0);
            }
        }
    }
    let mut whose = Whose(DefaultHasher::new());
    event.record(&mut whose);
    whose.0.finish()
}

fn message(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}
