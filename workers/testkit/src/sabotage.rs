//! Planted mistakes, each a known trap (design section 9). They tamper with what goes between the machine and the world, so
//! production code stays clean; the suite shows that the oracle finds every one of them.

use std::collections::BTreeMap;

use longshore_core::ledger::Holdings;
use longshore_core::metadata::Metadata;
use longshore_core::pair::{CommitResult, Event, Pair, Position};
use longshore_core::rules::Rule;
use longshore_core::sink::Published;
use longshore_core::{Epoch, Offset, RunSet, WriterId};

/// A mistake to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A publish counts as done when it is asked for.
    SettleBeforePublish,
    /// The commit is the highest received offset and not the watermark.
    CommitMaximum,
    /// The answer "refused" is taken for "done", so a zombie goes on committing.
    CommitAfterRefused,
    /// The metadata is the one made for the commit before.
    MetadataOfOtherBase,
    /// A process keeps one writer id over all its ownerships, so another's segment looks like its own try.
    WriterReused,
    /// `except` forgets offsets that were skipped because the metadata called them settled.
    ExceptForgetsSkipped,
    /// A letter counts as acknowledged when it is produced.
    LetterBeforeAcknowledgement,
    /// Answers of an old epoch are taken for answers of the present one.
    StaleEpoch,
    /// Records behind a failed one of their key are run and not deferred.
    KeyOrderBroken,
    /// The word that a sink takes again never comes.
    HoldNeverResumed,
    /// A number taken by another writer counts as published.
    TakenByOtherIgnored,
    /// The recovered ledger forgets what it holds.
    HeldForgotten,
    /// The recovered ledger forgets which letters it decided.
    DeadForgotten,
    /// A lost pair is treated as a revoked one: it commits.
    LostAsRevoked,
    /// Reading begins a few offsets behind the place that was asked for.
    StartPassesOver,
    /// An input commit without an answer is taken for an acknowledged one.
    UnknownAsDone,
    /// A copy forgets how often its record was tried.
    AttemptForgotten,
    /// The trailer of a segment claims the records whose rows were refused.
    RefusedStaysHeld,
    /// A writer that finds its earlier try published says that nothing was refused.
    RefusalForgotten,
    /// The commit is one offset too far.
    CommitOffByOne,
    /// A letter that could not be produced counts as acknowledged.
    LetterFailureIsDone,
    /// Whether a lane is paused is remembered from the ownership before.
    PauseKept,
    /// A segment whose name is taken replaces the one that is there.
    PutOverwrites,
    /// A segment whose name is taken gets the next free one.
    NameAnew,
    /// Rows are there before the ledger tells of them, and their writer dies in between.
    RowsBeforeLedger,
    /// Letters are sent without a decision in the ledger.
    LettersUndecided,
    /// The next copy of a replay forgets which replay it is.
    ReplayForgotten,
    /// Timers never fire.
    TimersForgotten,
    /// A rule of the machine does not hold.
    Without(Rule),
}

impl Sabotage {
    /// All of them, but those that switch a rule off ([`Rule::ALL`]).
    pub const ALL: [Self; 28] = [
        Self::SettleBeforePublish,
        Self::CommitMaximum,
        Self::CommitAfterRefused,
        Self::MetadataOfOtherBase,
        Self::WriterReused,
        Self::ExceptForgetsSkipped,
        Self::LetterBeforeAcknowledgement,
        Self::StaleEpoch,
        Self::KeyOrderBroken,
        Self::HoldNeverResumed,
        Self::TakenByOtherIgnored,
        Self::HeldForgotten,
        Self::DeadForgotten,
        Self::LostAsRevoked,
        Self::StartPassesOver,
        Self::UnknownAsDone,
        Self::AttemptForgotten,
        Self::RefusedStaysHeld,
        Self::RefusalForgotten,
        Self::CommitOffByOne,
        Self::LetterFailureIsDone,
        Self::PauseKept,
        Self::PutOverwrites,
        Self::NameAnew,
        Self::RowsBeforeLedger,
        Self::LettersUndecided,
        Self::ReplayForgotten,
        Self::TimersForgotten,
    ];

    /// The traps of other systems that it is, by their numbers in `docs/reliability.md`, and what it does in a few words.
    pub fn about(self) -> (&'static [u8], &'static str) {
        match self {
            Self::SettleBeforePublish => (&[1, 4], "settle before the publish is acknowledged"),
            Self::CommitMaximum => (&[1], "commit what was polled, past a record that failed"),
            Self::CommitAfterRefused => (&[8], "go on committing after the broker refused"),
            Self::MetadataOfOtherBase => (&[3], "commit metadata made for another offset"),
            Self::WriterReused => (&[8, 10], "one writer id for all ownerships of a process"),
            Self::ExceptForgetsSkipped => (&[3], "the ledger claims what the metadata made it skip"),
            Self::LetterBeforeAcknowledgement => (&[4], "settle a letter before its acknowledgement"),
            Self::StaleEpoch => (&[2], "take answers of an old ownership for the present one's"),
            Self::KeyOrderBroken => (&[], "run what stands behind a failed record of its key"),
            Self::HoldNeverResumed => (&[6], "never resume what a sink paused"),
            Self::TakenByOtherIgnored => (&[8, 10], "take another's segment for the own"),
            Self::HeldForgotten => (&[10], "forget what the ledger holds at recovery"),
            Self::DeadForgotten => (&[4], "forget the decided letters at recovery"),
            Self::LostAsRevoked => (&[11], "treat a lost pair as a revoked one"),
            Self::StartPassesOver => (&[1], "begin a few offsets too late"),
            Self::UnknownAsDone => (&[1], "take a commit without an answer for an acknowledged one"),
            Self::AttemptForgotten => (&[5], "begin to count tries anew at each copy"),
            Self::RefusedStaysHeld => (&[4], "the ledger claims rows that the sink refused"),
            Self::RefusalForgotten => (&[4], "a second try forgets what the first refused"),
            Self::CommitOffByOne => (&[1], "commit one offset too far"),
            Self::LetterFailureIsDone => (&[4], "settle a letter that could not be produced"),
            Self::PauseKept => (&[6], "keep a pause when the pair moves away and back"),
            Self::PutOverwrites => (&[20], "publish without the condition that the name is free"),
            Self::NameAnew => (&[10, 20], "publish under another name when the name is taken"),
            Self::RowsBeforeLedger => (&[10], "write the ledger after the rows"),
            Self::LettersUndecided => (&[4], "send letters that the ledger did not decide"),
            Self::ReplayForgotten => (&[5, 9], "forget the replay number at the next copy"),
            Self::TimersForgotten => (&[6], "lose timers"),
            Self::Without(rule) => (trap_of(rule), rule.about()),
        }
    }

    /// What the machine is told instead, none when it is told nothing.
    pub(crate) fn event(self, event: Event, present: Epoch) -> Option<Event> {
        Some(match (self, event) {
            (
                Self::CommitAfterRefused,
                Event::Committed { epoch, lane, offset, result: CommitResult::Refused },
            ) => Event::Committed { epoch, lane, offset, result: CommitResult::Done },
            (
                Self::TakenByOtherIgnored,
                Event::Published { epoch, sink, sequence, outcome: Published::TakenByOther(_) },
            ) => Event::Published { epoch, sink, sequence, outcome: Published::Done(Vec::new()) },
            (
                Self::UnknownAsDone,
                Event::Committed { epoch, lane, offset, result: CommitResult::Unknown },
            ) => Event::Committed { epoch, lane, offset, result: CommitResult::Done },
            (Self::LetterFailureIsDone, Event::LettersDelivered { epoch, answers }) => {
                let answers = answers.into_iter().map(|(letter, _)| (letter, Ok(()))).collect();
                Event::LettersDelivered { epoch, answers }
            }
            (Self::TimersForgotten, Event::Tick) => return None,
            (Self::HoldNeverResumed, Event::SinkResumed { .. }) => return None,
            (Self::LostAsRevoked, Event::Lost) => Event::Revoke,
            (Self::HeldForgotten, Event::Recovered { epoch, sink, ledger: Ok(mut view) }) => {
                let letters = view.holdings.letters().collect();
                view.holdings = Holdings::default();
                view.holdings.add(&RunSet::default(), &letters);
                Event::Recovered { epoch, sink, ledger: Ok(view) }
            }
            (Self::DeadForgotten, Event::Recovered { epoch, sink, ledger: Ok(mut view) }) => {
                let held = view.holdings.held();
                view.holdings = Holdings::default();
                view.holdings.add(&held, &BTreeMap::new());
                Event::Recovered { epoch, sink, ledger: Ok(view) }
            }
            (Self::StaleEpoch, event) => restamp(event, present),
            (_, event) => event,
        })
    }

    /// What is committed instead.
    pub(crate) fn position(self, position: Position, pair: &Pair, before: Option<&str>) -> Position {
        match self {
            Self::CommitMaximum => {
                let offset = pair.position().max(position.offset);
                Position { offset, metadata: Metadata::default().encode(offset).text }
            }
            Self::CommitOffByOne => {
                let offset = position.offset.next();
                Position { offset, metadata: Metadata::default().encode(offset).text }
            }
            Self::MetadataOfOtherBase => {
                Position { metadata: before.unwrap_or(&position.metadata).to_owned(), ..position }
            }
            _ => position,
        }
    }

    /// Where reading begins instead.
    pub(crate) fn start(self, offset: Offset) -> Offset {
        if self == Self::StartPassesOver { Offset(offset.0 + 3) } else { offset }
    }

    /// The `except` of a trailer instead; `skipped` are the runs of the metadata.
    pub(crate) fn except(self, except: &mut RunSet, skipped: &RunSet) {
        if self == Self::ExceptForgetsSkipped {
            except.subtract(skipped);
        }
    }

    /// The writer id of a new ownership instead.
    pub(crate) fn writer(self, fresh: WriterId, process: usize) -> WriterId {
        if self == Self::WriterReused { WriterId(process as u128) } else { fresh }
    }
}

/// The traps that a rule of the machine is for.
fn trap_of(rule: Rule) -> &'static [u8] {
    match rule {
        Rule::EpochDoor => &[2, 8],
        Rule::CapsBeyondOrigins | Rule::ReadToEnd => &[6],
        Rule::DecidedStands | Rule::RefusalDecides | Rule::CopyWaitsForItself => &[4],
        Rule::LaterCopyCounts | Rule::ReplayOutranks => &[5],
        Rule::CoverOrigin | Rule::AlsoTellsLate => &[1],
        Rule::CompareCopies | Rule::AskBeyondEnd | Rule::CommitBehindStrays => &[19],
        Rule::StraysByName | Rule::StraysInherited | Rule::RetentionKeepsRuns => &[3, 19],
        _ => &[],
    }
}

fn restamp(event: Event, epoch: Epoch) -> Event {
    match event {
        Event::UnitDone { result, .. } => Event::UnitDone { epoch, result },
        Event::Appended { sink, bytes, .. } => Event::Appended { epoch, sink, bytes },
        Event::Published { sink, sequence, outcome, .. } => {
            Event::Published { epoch, sink, sequence, outcome }
        }
        Event::LettersDelivered { answers, .. } => Event::LettersDelivered { epoch, answers },
        Event::Committed { lane, offset, result, .. } => Event::Committed { epoch, lane, offset, result },
        other => other,
    }
}
