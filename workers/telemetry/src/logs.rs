//! Log lines on stderr, as text for people or as JSON for collectors.

use std::sync::Once;

use tracing_subscriber::EnvFilter;

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

/// Sends log lines to stderr from now on.
///
/// # Errors
/// [`LogsError::Level`] for a level that cannot be read, [`LogsError::Twice`] when called again.
pub fn init_logs(options: &LogOptions) -> Result<(), LogsError> {
    let filter = EnvFilter::try_new(&options.level)
        .map_err(|cause| LogsError::Level { level: options.level.clone(), cause })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = match options.format {
        LogFormat::Text => tracing::subscriber::set_global_default(lines.with_ansi(options.colour).finish()),
        LogFormat::Json => tracing::subscriber::set_global_default(lines.json().flatten_event(true).finish()),
    };
    outcome.map_err(|_| LogsError::Twice)
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
mod tests {
    use super::*;

    #[test]
    fn a_level_that_cannot_be_read_is_named() {
        let options = LogOptions { format: LogFormat::Json, level: "info,=,x=loud".into(), colour: false };
        let error = init_logs(&options).unwrap_err().to_string();
        assert!(error.contains("info,=,x=loud"), "{error}");
    }
}
