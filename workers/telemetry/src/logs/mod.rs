//! Log lines on stderr, as text for people or as JSON for collectors. What a traced record's processing logs names its trace, and lines that
//! repeat are held back and counted.

mod lines;
mod repeats;

use std::sync::{Arc, Once, OnceLock};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use lines::Lines;
pub use lines::{Named, name_record};
use repeats::Repeats;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, message, fields.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// How a line looks.
    pub format: LogFormat,
    /// A level (`error`, `warn`, `info`, `debug`, `trace`) or directives such as `info,longshore_kafka=debug`.
    pub level: String,
    /// Whether text lines are coloured; the caller knows about terminals and `NO_COLOR`.
    pub colour: bool,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The level is neither a level nor a list of directives.
    #[error("invalid log level {level:?}: {cause}")]
    Level {
        /// What was given.
        level: String,
        /// What the parser said.
        cause: tracing_subscriber::filter::ParseError,
    },
    /// Logging was set up before.
    #[error("logging is set up already")]
    Twice,
}

/// Of the lines that go to stderr.
static REPEATS: OnceLock<Arc<Repeats>> = OnceLock::new();

/// Sends log lines to stderr from now on.
///
/// # Errors
/// [`LogsError::Level`] for a level that cannot be read, [`LogsError::Twice`] when called again.
pub fn init_logs(options: &LogOptions) -> Result<(), LogsError> {
    let repeats = Arc::<Repeats>::default();
    let lines = subscriber(options, std::io::stderr, &repeats)?;
    tracing::subscriber::set_global_default(lines).map_err(|_| LogsError::Twice)?;
    REPEATS.set(repeats).map_err(|_| LogsError::Twice)
}

/// Tells of lines that were held back and not told of yet; for the end of a process.
pub fn tell_repeats() {
    if let Some(repeats) = REPEATS.get() {
        repeats.tell(true);
    }
}

fn subscriber<W>(
    options: &LogOptions,
    to: W,
    repeats: &Arc<Repeats>,
) -> Result<Box<dyn Subscriber + Send + Sync>, LogsError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&options.level)
        .map_err(|cause| LogsError::Level { level: options.level.clone(), cause })?;
    let (format, colour) = (options.format, options.colour);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(to);
    Ok(match format {
        LogFormat::Text => {
            let lines = lines.with_ansi(colour);
            Box::new(
                lines.map_event_format(|own| Lines::new(own.with_ansi(colour), format, repeats)).finish(),
            )
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            Box::new(lines.map_event_format(|own| Lines::new(own, format, repeats)).finish())
        }
    })
}

/// Logs a panic's place instead of its message: the message may quote a payload (a failed slice of text does). The
/// runtime catches panics of steps itself and turns them into failures of the record.
pub fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
            tracing::error!(place, thread, "panic");
        }));
    });
}

#[cfg(test)]
pub(crate) mod tests;
