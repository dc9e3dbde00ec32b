//! The question before something is done that cannot be taken back.

use std::io::{IsTerminal, Write};

use crate::cli::dlq::Consent;
use crate::exit::{End, Exit};

/// What a person wants after having read the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Do it.
    Go,
    /// Leave it.
    Leave,
}

/// Asks on a terminal, unless the answer was given on the command line. Without a terminal silence is no consent.
pub(crate) fn ask(consent: Consent, question: &str) -> Result<Answer, End> {
    if consent.dry_run {
        return Ok(Answer::Leave);
    }
    if consent.yes {
        return Ok(Answer::Go);
    }
    if !std::io::stdin().is_terminal() {
        let words = "nothing was done: there is no terminal to ask on\n  next: read the plan, then add --yes";
        return Err(End::new(Exit::Usage, words));
    }
    let mut error = std::io::stderr().lock();
    write!(error, "{question} [y/N] ")?;
    error.flush()?;
    drop(error);
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(if matches!(answer.trim(), "y" | "Y" | "yes") { Answer::Go } else { Answer::Leave })
}
