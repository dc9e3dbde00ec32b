//! Parcels of letters, and what is known of their trouble.

use std::collections::VecDeque;
use std::sync::Mutex;

use longshore_core::{ChunkBuilder, Epoch, Lane, Offset, PairId, RecordRef};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

/// Answers each call with what it was told to, and remembers which letters it was given.
struct Scripted {
    answers: Mutex<VecDeque<Vec<Result<(), Failure>>>>,
    given: Mutex<Vec<Vec<u64>>>,
}

impl Scripted {
    fn new(answers: impl IntoIterator<Item = Vec<Result<(), Failure>>>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), given: Mutex::default() }
    }

    fn given(&self) -> Vec<Vec<u64>> {
        self.given.lock().unwrap().clone()
    }
}

impl LetterSink for Scripted {
    fn send<'a>(&'a self, letters: &'a [Letter], _: i64) -> BoxFuture<'a, Vec<Result<(), Failure>>> {
        Box::pin(async move {
            self.given.lock().unwrap().push(letters.iter().map(|letter| letter.id.0).collect());
            self.answers.lock().unwrap().pop_front().expect("one call more than there are answers")
        })
    }
}

fn letter(id: u64, to: Destination) -> Letter {
    let mut chunk = ChunkBuilder::new(PairId::new("in", 0), Lane::Input, Epoch(1));
    chunk.record(Offset(id as i64), 0, None, Some(b"value"));
    Letter {
        id: LetterId(id),
        to,
        origin: Some(Offset(id as i64)),
        record: RecordRef::new(&chunk.build(None), 0).unwrap(),
        failure: Failure::reject(Reason::StepFailed, "no"),
        attempts: 1,
        replays: 0,
        trace: None,
    }
}

fn parcel(letters: u64) -> Parcel {
    let pause = Duration::from_millis(1);
    let pauses = Pauses { base: pause, cap: pause, floor: pause };
    Parcel::new((0..letters).map(|id| letter(id, Destination::DeadLetters)).collect(), 7, pauses)
}

async fn deliver_once(sink: &Scripted, parcel: Parcel) -> (Delivered, UnboundedReceiver<Input>) {
    let (mailbox, inbox) = unbounded_channel();
    (deliver(sink, parcel, Duration::from_secs(30), mailbox).await, inbox)
}

fn classes(delivered: &Delivered) -> Vec<(u64, Option<Class>)> {
    let class = |result: &Result<(), Failure>| result.as_ref().err().map(|failure| failure.class);
    delivered.answers.iter().map(|(letter, result)| (letter.0, class(result))).collect()
}

/// The words about trouble in a mailbox: the reason where it begins or changes and whether it begins, none where it ends; all
/// of the parcel's round.
fn words(inbox: &mut UnboundedReceiver<Input>) -> Vec<Option<(Reason, bool)>> {
    let mut words = Vec::new();
    while let Ok(input) = inbox.try_recv() {
        match input {
            Input::LetterTrouble { round, failure, first } => {
                assert_eq!(round, 7);
                words.push(Some((failure.reason, first)));
            }
            Input::LetterWell { round } => {
                assert_eq!(round, 7);
                words.push(None);
            }
            Input::LetterRetried(_) => {}
            _ => panic!("a word about something else"),
        }
    }
    words
}

/// Scenario: the letters of one parcel are answered in every way there is; the one that is worth another try fails once more in another
/// way, and then comes through.
/// Guarantees: what needs no further try is answered at once and under its own id, only the rest is sent again, and its trouble is told
/// when it begins, when it changes, and when it ends.
#[tokio::test]
async fn each_letter_of_a_parcel_has_its_own_answer() {
    let away = || Err(Failure::target(Reason::BrokerUnavailable, "away"));
    let gone = Err(Failure::target(Reason::BrokerTopicMissing, "gone"));
    let too_large = Err(Failure::reject(Reason::SinkTooLarge, "too large"));
    let denied = Err(Failure::halt(Reason::BrokerAuthorization, "denied"));
    let first = vec![Ok(()), away(), too_large, Ok(()), denied, away()];
    let sink = Scripted::new([first, vec![Ok(()), gone], vec![Ok(())]]);
    let (delivered, mut inbox) = deliver_once(&sink, parcel(6)).await;
    assert_eq!(classes(&delivered), [(0, None), (2, Some(Class::Reject)), (3, None), (4, Some(Class::Halt))]);
    assert_eq!(words(&mut inbox), [Some((Reason::BrokerUnavailable, true))]);
    let (delivered, mut inbox) = deliver_once(&sink, delivered.left.unwrap()).await;
    assert_eq!(classes(&delivered), [(1, None)]);
    assert_eq!(words(&mut inbox), [Some((Reason::BrokerTopicMissing, false))]);
    let (delivered, mut inbox) = deliver_once(&sink, delivered.left.unwrap()).await;
    assert_eq!(classes(&delivered), [(5, None)]);
    assert_eq!(words(&mut inbox), [None]);
    assert!(delivered.left.is_none());
    assert_eq!(sink.given(), [vec![0, 1, 2, 3, 4, 5], vec![1, 5], vec![5]]);
}

/// Scenario: the sink answers for fewer letters than it was given. Guarantee: the others are a defect and not acknowledged (I4).
#[tokio::test]
async fn a_letter_without_an_answer_is_not_acknowledged() {
    let sink = Scripted::new([vec![Ok(())]]);
    let (delivered, mut inbox) = deliver_once(&sink, parcel(2)).await;
    assert_eq!(classes(&delivered), [(0, None), (1, Some(Class::Halt))]);
    assert!(delivered.left.is_none() && words(&mut inbox).is_empty());
}

/// Scenario: more letters than a parcel takes, for both topics, mixed. Guarantee: no parcel is larger than 1,024 or holds letters of both
/// topics, none is empty, and every letter is in one, in its order.
#[test]
fn letters_are_sent_by_topic_and_a_thousand_at_a_time() {
    let sizes = |dead: u64, copies: u64| {
        let pairs = (0..dead.max(copies)).flat_map(|n| {
            let copy = if n.is_multiple_of(2) {
                Destination::Tail
            } else {
                Destination::Retry { delay: Duration::ZERO }
            };
            let dead = (n < dead).then(|| letter(2 * n, Destination::DeadLetters));
            [dead, (n < copies).then(|| letter(2 * n + 1, copy))]
        });
        let letters: Vec<Letter> = pairs.flatten().collect();
        let parcels = parcels(letters);
        for parcel in &parcels {
            assert!(parcel.windows(2).all(|two| two[0].id < two[1].id));
            let is_dead = |letter: &Letter| letter.to == Destination::DeadLetters;
            assert!(parcel.iter().all(|letter| is_dead(letter) == is_dead(&parcel[0])));
        }
        parcels.iter().map(Vec::len).collect::<Vec<_>>()
    };
    assert!(sizes(0, 0).is_empty());
    assert_eq!(sizes(1, 0), [1]);
    assert_eq!(sizes(1024, 1), [1024, 1]);
    assert_eq!(sizes(1025, 0), [1024, 1]);
    assert_eq!(sizes(3, 1025), [3, 1024, 1]);
    assert_eq!(sizes(2049, 2048), [1024, 1024, 1, 1024, 1024]);
}

/// Scenario: two parcels have trouble and end; a third one is dropped with its pair's work when what it told is still in the
/// mailbox.
/// Guarantees: the pair is held until the last one came through, for the cause that says more; a dropped parcel, which will never say
/// that it is well, does not hold it (I6).
#[test]
fn a_dropped_parcel_holds_nothing() {
    let (vague, cause) = (|| Failure::target(Reason::BrokerUnavailable, "away"), Reason::BrokerTopicMissing);
    let mut troubles = Troubles::default();
    let held = |troubles: &Troubles| troubles.hold().map(|failure| failure.reason);
    let round = troubles.round();
    troubles.told(round, vague(), true);
    troubles.told(round, Failure::target(cause, "gone"), true);
    troubles.told(round, vague(), false);
    assert_eq!(held(&troubles), Some(cause));
    troubles.ended(round);
    assert_eq!(held(&troubles), Some(cause));
    troubles.ended(round);
    assert_eq!(held(&troubles), None);
    troubles.forget();
    troubles.told(round, vague(), true);
    assert_eq!(held(&troubles), None);
    let (old, round) = (round, troubles.round());
    troubles.told(round, vague(), true);
    troubles.ended(old);
    assert_eq!(held(&troubles), Some(Reason::BrokerUnavailable));
    troubles.ended(round);
    assert_eq!(held(&troubles), None);
}
