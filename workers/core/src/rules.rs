//! Rules of the pair, most of them of its retry lane, that a test build can switch off one at a time, to show that the simulation finds what each one
//! is for. Without the feature `rules-off` they all hold, and asking costs nothing.

/// A rule of the retry lane, of parking, of crash loops, or of refused rows (design section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The input lane begins when the retry partition was read to its end.
    ReadToEnd,
    /// An input record whose copy waits already is not run again.
    SkipWhatWaits,
    /// An input record of a key that waits follows it.
    ParkNewcomers,
    /// So do records of the key that are with the scheduler.
    DivertQueued,
    /// Only the first record of a parked key is tried.
    HeadOnly,
    /// Only what the input lane has passed is tried.
    WaitForInput,
    /// The caps on what waits pause the input lane only beyond the highest origin that waits.
    CapsBeyondOrigins,
    /// A copy of what the input lane has at work, or is through with, is no new work.
    SupersedeAtWork,
    /// A copy of what waits in a segment settles at its publish, not at once.
    JoinAtPublish,
    /// A copy that was run settles at its own publish or letter, whatever the letter that it came by is answered.
    CopyWaitsForItself,
    /// A record whose next copy is on its way stays the head of its key.
    StayWhileLeaving,
    /// A replay that is read while older bytes of its record are under way waits for their end.
    ReplayWaits,
    /// Of two copies alike the later one counts.
    LaterCopyCounts,
    /// A decided letter is sent again and not tried again.
    DecidedStands,
    /// What waits is not carried forward for its own number.
    CarryWhatHelps,
    /// A copy that waits is compared with its record when the input lane comes to it.
    CompareCopies,
    /// A copy that names what is beyond the end of the input is not believed before that end is asked for.
    AskBeyondEnd,
    /// The input's commit waits for a stray's.
    CommitBehindStrays,
    /// Owners that crashed are counted, and after two of them records are tried alone.
    CountCrashes,
    /// The note about a record is committed before it runs.
    NoteBeforeTry,
    /// After a crash copies run a few at a time, once the note about them is committed.
    NoteCopies,
    /// A record that the deciding ledger refuses is a dead letter from that very segment on.
    RefusalDecides,
    /// A chunk of which a record is at work stays in memory.
    HeldStays,
    /// A record that waits and that compaction took from the input is no part of a gap.
    GapsKeepWhatWaits,
    /// A copy is committed only when an acknowledged commit of the input has passed its record.
    CoverOrigin,
    /// The key of a record whose copy the retry topic refuses waits for the decision over its letter.
    RefusedKeyWaits,
    /// Strays are told by name, before all other runs.
    StraysByName,
    /// What an owner told of strays its successors tell again.
    StraysInherited,
    /// A replay outranks all copies of earlier ones, whatever their attempts.
    ReplayOutranks,
    /// What stands behind a letter waits for the decision, where another run may end otherwise.
    BehindLetterWaits,
    /// An answer of another ownership is dropped.
    EpochDoor,
    /// A segment tells as well of what it holds behind its span.
    AlsoTellsLate,
    /// What a commit says of copies is believed behind retention as well.
    RetentionKeepsRuns,
}

impl Rule {
    /// What goes wrong without it, in a few words.
    #[cfg(feature = "rules-off")]
    pub fn about(self) -> &'static str {
        match self {
            Self::ReadToEnd => "begin with the input before the retry lane was read",
            Self::SkipWhatWaits => "run an input record whose copy waits",
            Self::ParkNewcomers => "run new records of a key that waits",
            Self::DivertQueued => "run queued records of a key that waits",
            Self::HeadOnly => "try any record of a parked key: released early",
            Self::WaitForInput => "try a copy that the input lane has not come to",
            Self::CapsBeyondOrigins => "pause the input for a cap that only the input can relieve",
            Self::SupersedeAtWork => "try a copy of what the input lane has at work",
            Self::JoinAtPublish => "settle a copy while its record waits in a segment",
            Self::CopyWaitsForItself => "settle a copy with another letter of its record",
            Self::StayWhileLeaving => "release a key while its head's next copy is on its way",
            Self::ReplayWaits => "run a replay beside older bytes of its record",
            Self::LaterCopyCounts => "let the earlier one of two copies count",
            Self::DecidedStands => "try a record again whose letter is decided",
            Self::CarryWhatHelps => "carry copies forward for their own number, for ever",
            Self::CompareCopies => "believe a copy without comparing it with its record",
            Self::AskBeyondEnd => "believe a copy of what is not written",
            Self::CommitBehindStrays => "commit the input past a stray that would be believed later",
            Self::CountCrashes => "never count crashes",
            Self::NoteBeforeTry => "try a suspect without a note about it",
            Self::NoteCopies => "try suspect copies without a note about them",
            Self::RefusalDecides => "do not decide letters of refused rows in the same segment",
            Self::HeldStays => "let go of a payload that is at work",
            Self::GapsKeepWhatWaits => "take a record that waits for a gap, once compaction took it",
            Self::CoverOrigin => "commit a copy before its origin",
            Self::RefusedKeyWaits => "let a key go on whose record the retry topic refused",
            Self::StraysByName => "tell strays among all other runs",
            Self::StraysInherited => "forget the strays that the owner before told of",
            Self::ReplayOutranks => "let the attempts of old bytes outrank a replay",
            Self::BehindLetterWaits => "go on behind a letter that is not decided",
            Self::EpochDoor => "remove the epoch check",
            Self::RetentionKeepsRuns => "forget what a commit says of copies once retention passed it",
            Self::AlsoTellsLate => "leave out of the ledger what finished behind its span",
        }
    }

    /// All of them.
    pub const ALL: [Self; 33] = [
        Self::ReadToEnd,
        Self::SkipWhatWaits,
        Self::ParkNewcomers,
        Self::DivertQueued,
        Self::HeadOnly,
        Self::WaitForInput,
        Self::CapsBeyondOrigins,
        Self::SupersedeAtWork,
        Self::JoinAtPublish,
        Self::CopyWaitsForItself,
        Self::StayWhileLeaving,
        Self::ReplayWaits,
        Self::LaterCopyCounts,
        Self::DecidedStands,
        Self::CarryWhatHelps,
        Self::CompareCopies,
        Self::AskBeyondEnd,
        Self::CommitBehindStrays,
        Self::CountCrashes,
        Self::NoteBeforeTry,
        Self::NoteCopies,
        Self::RefusalDecides,
        Self::HeldStays,
        Self::GapsKeepWhatWaits,
        Self::CoverOrigin,
        Self::RefusedKeyWaits,
        Self::StraysByName,
        Self::StraysInherited,
        Self::ReplayOutranks,
        Self::BehindLetterWaits,
        Self::EpochDoor,
        Self::AlsoTellsLate,
        Self::RetentionKeepsRuns,
    ];

    /// Whether it holds.
    #[cfg(not(feature = "rules-off"))]
    #[inline]
    pub(crate) const fn holds(self) -> bool {
        true
    }

    /// Whether it holds, on this thread.
    #[cfg(feature = "rules-off")]
    pub(crate) fn holds(self) -> bool {
        off::OFF.get() != Some(self)
    }

    /// The rule that the environment switches off for a whole run of tests, as `LONGSHORE_RULE_OFF=HeadOnly`.
    #[cfg(feature = "rules-off")]
    pub fn switched_off_by_environment() -> Option<Self> {
        let name = std::env::var("LONGSHORE_RULE_OFF").ok()?;
        Self::ALL.into_iter().find(|rule| format!("{rule:?}") == name)
    }

    /// Switches one rule off on this thread, or all on again.
    #[cfg(feature = "rules-off")]
    pub fn switch_off(rule: Option<Self>) {
        off::OFF.set(rule);
    }
}

#[cfg(feature = "rules-off")]
mod off {
    use std::cell::Cell;

    thread_local! {
        pub(super) static OFF: Cell<Option<super::Rule>> = Cell::new(super::Rule::switched_off_by_environment());
    }
}
