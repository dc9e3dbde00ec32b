//! Dead letters on their way to whoever keeps them.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use longshore_core::pair::{Letter, LetterId};
use longshore_core::{BoxFuture, Class, Failure, Reason};
use tokio::sync::mpsc::UnboundedSender;

use crate::crash::{self, Point};
use crate::mailbox::Input;
use crate::trouble::{Pause, Pauses};

/// Keeps dead letters; the binary adapts the Kafka producer to it.
pub trait LetterSink: Send + Sync {
    /// Resolves when the letter is acknowledged.
    ///
    /// # Errors
    /// Class Retry is tried again with backoff for as long as the pair is ours; class Reject and Halt go to the pair.
    fn send(&self, letter: Letter) -> BoxFuture<'_, Result<(), Failure>>;
}

/// Sends a letter until it is acknowledged or not worth another try. Says once through the mailbox that the sink has
/// trouble, and once that it is over. Cancel-safe: a letter sent twice is the same letter.
pub(crate) async fn deliver(
    sink: &dyn LetterSink,
    letter: Letter,
    pauses: Pauses,
    mailbox: UnboundedSender<Input>,
) -> (LetterId, Result<(), Failure>) {
    let id = letter.id;
    let mut pause = Pause::new(pauses);
    let result = loop {
        let failure = match send_once(sink, letter.clone()).await {
            Ok(()) => break Ok(()),
            Err(failure) => failure,
        };
        match failure.class {
            Class::Retry { .. } => {}
            Class::Reject | Class::Halt => break Err(failure),
        }
        // A closed mailbox means that the pair is gone, and this future with it.
        let first = pause.attempts() == 0;
        let _ = mailbox.send(Input::LetterTrouble { failure: failure.clone(), first });
        pause.after(&failure).await;
    };
    if pause.attempts() > 0 {
        let _ = mailbox.send(Input::LetterWell);
    }
    (id, result)
}

/// A panic in the sink is a defect of ours, not of the letter.
async fn send_once(sink: &dyn LetterSink, letter: Letter) -> Result<(), Failure> {
    crash::at(Point::LetterBefore);
    let sent = AssertUnwindSafe(async move { sink.send(letter).await }).catch_unwind().await;
    if matches!(sent, Ok(Ok(()))) {
        crash::at(Point::LetterAfter);
    }
    sent.unwrap_or_else(|_| Err(Failure::halt(Reason::Internal, "the letter sink panicked")))
}
