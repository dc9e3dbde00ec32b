//! `longshore retry`: records that wait in the retry topic for their next try.

mod backlog;
mod ls;
mod now;

use crate::cli::retry::{Retry, RetryAction};
use crate::exit::End;
use crate::output::Output;

pub(crate) use backlog::{Backlog, Lanes, Waiting, pass};

pub(crate) fn run(arguments: &Retry, output: &Output) -> Result<(), End> {
    match &arguments.action {
        RetryAction::Ls(arguments) => ls::run(arguments, output),
        RetryAction::Now(arguments) => now::run(arguments, output),
    }
}
