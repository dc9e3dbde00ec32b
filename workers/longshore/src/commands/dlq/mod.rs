//! `longshore dlq`: dead letters found, understood, sent again, given up, and taken away.
//!
//! Letters are never changed where they lie. Which of them are done with stands in the pipeline's journal
//! (`longshore_core::journal`); an *open* letter is one that no run there has handled and that is not a second copy.

mod again;
mod arrived;
pub(crate) mod asked;
mod batch;
mod discard;
mod held;
mod ls;
mod plan;
mod replay;
mod runs;
mod scan;
mod scope;
mod send;
mod show;
mod trim;

use crate::cli::dlq::{Dlq, DlqAction, ReplayAction};
use crate::exit::End;
use crate::output::Output;

pub(crate) fn run(arguments: &Dlq, output: &Output) -> Result<(), End> {
    match &arguments.action {
        DlqAction::Ls(arguments) => ls::run(arguments, output),
        DlqAction::Show(arguments) => show::run(arguments, output),
        DlqAction::Replay(replay) => match &replay.action {
            None => replay::start(&replay.start, output),
            Some(ReplayAction::Ls { connection }) => runs::ls(connection, output),
            Some(ReplayAction::Status { connection, id }) => runs::status(connection, id, output),
            Some(ReplayAction::Resume { connection, id, rate }) => {
                replay::resume(connection, id, *rate, output)
            }
            Some(ReplayAction::Cancel { connection, id }) => runs::cancel(connection, id, output),
        },
        DlqAction::Discard(arguments) => discard::run(arguments, output),
        DlqAction::Trim(arguments) => trim::run(arguments, output),
    }
}
