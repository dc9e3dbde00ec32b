//! The one place that prints.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the runner's output module")]

/// A finished text.
pub(crate) fn block(text: &str) {
    println!("{}\n", text.trim_end());
}

/// One line of progress.
pub(crate) fn line(text: &str) {
    println!("{text}");
}

/// What ended the run.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("bench: {error:#}");
}
