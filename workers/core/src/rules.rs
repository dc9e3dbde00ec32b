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
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 23] = [
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
        pub(super) static OFF: Cell<Option<super::Rule>> = const { Cell::new(None) };
    }
}
