//! Dead letters on their way to whoever keeps them.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use longshore_core::pair::{Destination, Letter, LetterId};
use longshore_core::{BoxFuture, Class, Failure, Reason};
use tokio::sync::mpsc::UnboundedSender;

use crate::clock;
use crate::crash;
use crate::mailbox::Input;
use crate::trouble::{Pause, Pauses};

/// Keeps dead letters; the binary adapts the Kafka producer to it.
pub trait LetterSink: Send + Sync {
    /// Resolves when all of these letters are answered for, to the answers in their order. `wall_ms` is the time of day for their headers,
    /// milliseconds since 1970, of the clock by which the worker will read them.
    ///
    /// A failure of class Retry is tried again with backoff for as long as the pair is ours; class Reject and Halt go to the
    /// pair.
    fn send<'a>(&'a self, letters: &'a [Letter], wall_ms: i64) -> BoxFuture<'a, Vec<Result<(), Failure>>>;

    /// Why letters are not acknowledged at the moment, as far as the sink knows.
    fn trouble(&self) -> Option<Failure> {
        None
    }
}

/// The most letters that are sent together: the first of them is answered for when the last one is.
const PARCEL: usize = 1024;

/// Letters by what is sent together: a letter alone costs nearly as much as a hundred together. A parcel is answered as a whole, so each
/// topic has its own: while the dead-letter topic is away, the retry topic's letters settle.
pub(crate) fn parcels(letters: Vec<Letter>) -> Vec<Vec<Letter>> {
    let is_dead = |letter: &Letter| letter.to == Destination::DeadLetters;
    let (dead, copies): (Vec<_>, Vec<_>) = letters.into_iter().partition(is_dead);
    let mut parcels = Vec::new();
    for mut letters in [dead, copies] {
        while !letters.is_empty() {
            let rest = letters.split_off(letters.len().min(PARCEL));
            parcels.push(std::mem::replace(&mut letters, rest));
        }
    }
    parcels
}

/// The trouble that letters of one pair are known to have.
#[derive(Default)]
pub(crate) struct Troubles {
    round: u64,
    parcels: u64,
    hold: Option<Failure>,
}

impl Troubles {
    /// What parcels that are sent now belong to.
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// Why the pair is held.
    pub(crate) fn hold(&self) -> Option<&Failure> {
        self.hold.as_ref()
    }

    /// The parcels under way were dropped. What they told may still be in the mailbox, and none of them will ever say that it is well.
    pub(crate) fn forget(&mut self) {
        *self = Self { round: self.round + 1, ..Self::default() };
    }

    /// A parcel has trouble, for the first time or of another kind.
    pub(crate) fn told(&mut self, round: u64, failure: Failure, first: bool) {
        if round != self.round {
            return;
        }
        self.parcels += u64::from(first);
        // That there is no answer is only said until more is known.
        if self.hold.as_ref().is_none_or(|known| known.reason == Reason::BrokerUnavailable) {
            self.hold = Some(failure);
        }
    }

    /// A parcel that had trouble came through.
    pub(crate) fn ended(&mut self, round: u64) {
        if round != self.round {
            return;
        }
        self.parcels = self.parcels.saturating_sub(1);
        if self.parcels == 0 {
            self.hold = None;
        }
    }
}

/// Letters that go out together.
pub(crate) struct Parcel {
    letters: Vec<Letter>,
    /// [`Troubles::round`].
    round: u64,
    pause: Pause,
    /// Why they have to be sent again.
    failed: Option<Failure>,
    /// The trouble that was told of them.
    told: Option<Reason>,
}

/// What became of a parcel.
pub(crate) struct Delivered {
    /// The letters that need no further try, each with its answer.
    pub(crate) answers: Vec<(LetterId, Result<(), Failure>)>,
    /// The others.
    pub(crate) left: Option<Parcel>,
}

impl Parcel {
    /// Letters that were not sent yet.
    pub(crate) fn new(letters: Vec<Letter>, round: u64, pauses: Pauses) -> Self {
        Self { letters, round, pause: Pause::new(pauses), failed: None, told: None }
    }

    /// Says once what the trouble with these letters is, and again when it is another one. A closed mailbox means that the
    /// pair is gone, and whoever delivers this with it.
    fn tell(&mut self, failure: Failure, mailbox: &UnboundedSender<Input>) {
        if self.told != Some(failure.reason) {
            let first = self.told.replace(failure.reason).is_none();
            let _ = mailbox.send(Input::LetterTrouble { round: self.round, failure, first });
        }
    }
}

/// Sends letters, those that failed before after a pause; what is worth another try is left. Says once through the mailbox that the
/// sink has trouble, and once that it is over. Letters without an answer for `patience` are trouble too: their producer waits for
/// the broker as long as it takes, and who waits for a broker is held and no stall (I6). They are not sent a second time
/// meanwhile, since in an outage that would heap up copies. Cancel-safe: a letter sent twice is the same letter.
pub(crate) async fn deliver(
    sink: &dyn LetterSink,
    mut parcel: Parcel,
    patience: Duration,
    mailbox: UnboundedSender<Input>,
) -> Delivered {
    if let Some(failure) = parcel.failed.take() {
        parcel.pause.after(&failure).await;
    }
    let letters = std::mem::take(&mut parcel.letters);
    let results = {
        let mut sending = pin!(send_once(sink, &letters));
        match tokio::time::timeout(patience, &mut sending).await {
            Ok(results) => results,
            Err(_) => {
                let vague =
                    || unanswered(letters.first().map_or("a letter", |letter| word(letter.to)), patience);
                parcel.tell(sink.trouble().unwrap_or_else(vague), &mailbox);
                sending.await
            }
        }
    };
    let forgotten = || Err(Failure::halt(Reason::Internal, "the letter sink forgot a letter"));
    let mut answers = Vec::with_capacity(letters.len());
    for (letter, result) in
        letters.into_iter().zip(results.into_iter().chain(std::iter::repeat_with(forgotten)))
    {
        match result {
            Err(failure) if matches!(failure.class, Class::Retry { .. }) => {
                let _ = mailbox.send(Input::LetterRetried(failure.clone()));
                parcel.tell(failure.clone(), &mailbox);
                parcel.failed = Some(failure);
                parcel.letters.push(letter);
            }
            result => answers.push((letter.id, result)),
        }
    }
    if !parcel.letters.is_empty() {
        return Delivered { answers, left: Some(parcel) };
    }
    if parcel.told.is_some() {
        let _ = mailbox.send(Input::LetterWell { round: parcel.round });
    }
    Delivered { answers, left: None }
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

/// A panic in the sink is a defect of ours, not of the letters.
async fn send_once(sink: &dyn LetterSink, letters: &[Letter]) -> Vec<Result<(), Failure>> {
    letters.iter().for_each(|letter| crash::at(crash::around(letter).0));
    let sent =
        AssertUnwindSafe(async move { sink.send(letters, clock::wall_ms()).await }).catch_unwind().await;
    let Ok(results) = sent else {
        let panicked = || Err(Failure::halt(Reason::Internal, "the letter sink panicked"));
        return letters.iter().map(|_| panicked()).collect();
    };
    for (letter, _) in letters.iter().zip(&results).filter(|(_, result)| result.is_ok()) {
        crash::at(crash::around(letter).1);
    }
    results
}

#[cfg(test)]
mod tests;
