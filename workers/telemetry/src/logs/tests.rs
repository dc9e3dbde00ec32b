use std::io::Write;
use std::sync::{Mutex, PoisonError};

use longshore_core::TraceContext;

use super::*;

/// Keeps what is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines that are logged meanwhile, and those about what was held back.
pub(crate) fn logged(format: LogFormat, log: impl FnOnce()) -> Vec<String> {
    let (kept, repeats) = (Kept::default(), Arc::default());
    let options = LogOptions { format, level: "debug".into(), colour: false };
    let to = kept.clone();
    let lines = subscriber(&options, move || to.clone(), &repeats).unwrap();
    tracing::subscriber::with_default(lines, || {
        log();
        repeats.tell(true);
    });
    let bytes = kept.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

fn context(number: u8) -> TraceContext {
    TraceContext::sampled([number; 16], [number; 8])
}

#[test]
fn a_level_that_cannot_be_read_is_named() {
    let options = LogOptions { format: LogFormat::Json, level: "info,=,x=loud".into(), colour: false };
    let error = init_logs(&options).unwrap_err().to_string();
    assert!(error.contains("info,=,x=loud"), "{error}");
}

/// Guarantee: a line that is logged while a traced record is worked on names its trace, as text and as JSON that stays whole; a line before
/// or behind it does not.
#[test]
fn lines_name_the_record_that_is_worked_on() {
    let (trace, span) = ("01".repeat(16), "01".repeat(8));
    let log = || {
        tracing::info!("before");
        {
            let _outer = name_record(context(2));
            let _named = name_record(context(1));
            tracing::warn!(step = "parse", "within");
        }
        tracing::info!("behind");
    };
    let text = logged(LogFormat::Text, log);
    assert!(text[1].ends_with(&format!("within step=\"parse\" trace_id={trace} span_id={span}")), "{text:?}");
    let json = logged(LogFormat::Json, log);
    let ids = format!(
        ",\"step\":\"parse\",\"target\":\"{}\",\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}",
        module_path!()
    );
    assert!(json[1].starts_with('{') && json[1].ends_with(&ids), "{json:?}");
    for lines in [text, json] {
        assert!(
            lines.len() == 3 && !lines[0].contains("trace_id") && !lines[2].contains("trace_id"),
            "{lines:?}"
        );
    }
}

/// Scenario: a step panics for a thousand records, of which some are traced, and another partition has a few lines of the same kind.
/// Guarantee: some lines are written, one tells how many were not and which traces they named, and others are not affected; `debug` is
/// written as it comes.
#[test]
fn lines_that_repeat_are_counted_and_keep_their_traces() {
    let panics = |pair: &str, offset: u32| tracing::error!(pair, offset, "panic");
    let lines = logged(LogFormat::Text, || {
        for offset in 0..1_000 {
            let traced = offset % 250 == 100;
            let _named = traced.then(|| name_record(context((offset / 250) as u8 + 1)));
            panics("logs/0", offset);
        }
        (0..5).for_each(|offset| panics("logs/1", offset));
        (0..100).for_each(|offset| tracing::debug!(offset, "a traced record failed"));
    });
    let of = |word: &str| lines.iter().filter(|line| line.contains(word)).count();
    assert_eq!((of("logs/0"), of("logs/1"), of("a traced record failed")), (20, 5, 100), "{lines:?}");
    let held: Vec<_> = lines.iter().filter(|line| line.contains("held back")).collect();
    let [held] = held[..] else { panic!("{held:?}") };
    let traces: Vec<String> = (1..=4).map(|number: u8| format!("{number:02x}").repeat(16)).collect();
    let said = format!("count=980 line=\"panic\" trace_ids=\"{}\"", traces.join(","));
    assert!(held.contains("ERROR") && held.contains(&said), "{held}");
}

/// Scenario: one broker fails without end, then another one does twice. Guarantee: its lines are told apart from the first one's.
#[test]
fn lines_of_two_brokers_are_no_repetition_of_each_other() {
    let fails = |broker: &str| tracing::warn!(facility = "REQTMOUT", broker, "requests without an answer");
    let lines = logged(LogFormat::Text, || {
        (0..100).for_each(|_| fails("a:9092/1"));
        (0..2).for_each(|_| fails("b:9092/2"));
    });
    let of = |word: &str| lines.iter().filter(|line| line.contains(word)).count();
    assert_eq!((of("a:9092/1"), of("b:9092/2"), of("count=80")), (20, 2, 1), "{lines:?}");
}

/// Scenario: far more kinds of lines come than are kept in mind. Guarantee: none of the first of a kind is lost.
#[test]
fn the_first_line_of_a_kind_is_always_written() {
    let lines = logged(LogFormat::Text, || (0..3_000).for_each(|n| tracing::info!(pair = n, "assigned")));
    assert_eq!(lines.len(), 3_000);
}
