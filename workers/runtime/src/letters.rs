//! Dead letters on their way to whoever keeps them.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use longshore_core::pair::{Destination, Letter, LetterId};
use longshore_core::{BoxFuture, Class, Failure, Reason};
use tokio::sync::mpsc::UnboundedSender;

use crate::crash;
use crate::mailbox::Input;
use crate::trouble::{Pause, Pauses};

/// Keeps dead letters; the binary adapts the Kafka producer to it.
pub trait LetterSink: Send + Sync {
    /// Resolves when the letter is acknowledged.
    ///
    /// # Errors
    /// Class Retry is tried again with backoff for as long as the pair is ours; class Reject and Halt go to the pair.
    fn send(&self, letter: Letter) -> BoxFuture<'_, Result<(), Failure>>;

    /// Why letters are not acknowledged at the moment, as far as the sink knows.
    fn trouble(&self) -> Option<Failure> {
        None
    }
}

/// Sends a letter until it is acknowledged or not worth another try. Says once through the mailbox that the sink has
/// trouble, and once that it is over. A letter without an answer for `patience` is trouble too: its producer waits for
/// the broker as long as it takes, and who waits for a broker is held and no stall (I6). It is not sent a second time
/// meanwhile, since in an outage that would heap up copies. Cancel-safe: a letter sent twice is the same letter.
pub(crate) async fn deliver(
    sink: &dyn LetterSink,
    letter: Letter,
    pauses: Pauses,
    patience: Duration,
    mailbox: UnboundedSender<Input>,
) -> (LetterId, Result<(), Failure>) {
    let (id, what) = (letter.id, word(letter.to));
    let mut pause = Pause::new(pauses);
    let mut told = None;
    // A closed mailbox means that the pair is gone, and this future with it.
    let mut tell = |failure: Failure| {
        if told != Some(failure.reason) {
            let first = told.replace(failure.reason).is_none();
            let _ = mailbox.send(Input::LetterTrouble { failure, first });
        }
    };
    let result = loop {
        let mut sending = pin!(send_once(sink, letter.clone()));
        let sent = match tokio::time::timeout(patience, &mut sending).await {
            Ok(sent) => sent,
            Err(_) => {
                tell(sink.trouble().unwrap_or_else(|| unanswered(what, patience)));
                sending.await
            }
        };
        let failure = match sent {
            Ok(()) => break Ok(()),
            Err(failure) => failure,
        };
        match failure.class {
            Class::Retry { .. } => {}
            Class::Reject | Class::Halt => break Err(failure),
        }
        let _ = mailbox.send(Input::LetterRetried(failure.clone()));
        tell(failure.clone());
        pause.after(&failure).await;
    };
    if told.is_some() {
        let _ = mailbox.send(Input::LetterWell);
    }
    (id, result)
}

/// What a letter is, for people.
fn word(to: Destination) -> &'static str {
    match to {
        Destination::DeadLetters => "a dead letter",
        Destination::Retry { .. } | Destination::Tail => "a copy for the retry topic",
    }
}

fn unanswered(what: &str, patience: Duration) -> Failure {
    let detail = format!("{what} was not acknowledged within {} s", patience.as_secs_f32());
    Failure::target(Reason::BrokerUnavailable, detail)
}

/// A panic in the sink is a defect of ours, not of the letter.
async fn send_once(sink: &dyn LetterSink, letter: Letter) -> Result<(), Failure> {
    let (before, after) = crash::around(&letter);
    crash::at(before);
    let sent = AssertUnwindSafe(async move { sink.send(letter).await }).catch_unwind().await;
    if matches!(sent, Ok(Ok(()))) {
        crash::at(after);
    }
    sent.unwrap_or_else(|_| Err(Failure::halt(Reason::Internal, "the letter sink panicked")))
}
