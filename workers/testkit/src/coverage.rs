//! What seeds came to: states of the machine, kinds of faults, and which of them came close together. A simulation that stopped exploring shows here.

use std::fmt::{self, Display, Formatter};

/// An enum whose values have names for people.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident, $count:ident { $($value:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = $text] $value,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$value,)+];

            /// What it is called.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }
        }

        const $count: usize = $name::ALL.len();
    };
}

named! {
    /// What went wrong, or came at a bad time.
    Fault, FAULTS {
        Kill = "worker killed",
        KilledByRecord = "worker killed by a record",
        Zombie = "pair taken from a worker that does not know",
        Lost = "pair lost",
        Revoke = "pair revoked",
        Drain = "worker drained",
        Deadline = "its time is up",
        Rejoin = "pair taken and given back",
        Halt = "pair halted, and started by a person",
        CommitLost = "commit lost on its way",
        CommitUnanswered = "answer to a commit lost",
        CommitRefused = "commit refused",
        ProduceFailed = "produce failed",
        ProduceUnanswered = "answer to a produce lost",
        ProduceLate = "answer to a produce late",
        ProduceRefused = "copy refused for good",
        PublishUnanswered = "answer to a publish lost",
        NameTaken = "segment's name taken by another",
        RowsRefused = "rows refused",
        SinkHeld = "sink away",
        LedgerUnread = "ledger unreadable",
        EndUnknown = "end of the input unknown",
        SpoolFailed = "spool failed",
        Redelivery = "records read again",
        Retention = "copies gone by retention",
        Compaction = "records gone by compaction",
        Growth = "partitions added",
        Forgery = "foreign record in the retry topic",
        Replay = "dead letter replayed",
        TimeLeap = "time leaps",
        Share = "another share of repeats",
    }
}

named! {
    /// Where the machine stands, as [`longshore_core::pair::Pair::state`] says it.
    State, STATES {
        Idle = "idle",
        Recovering = "recovering",
        Running = "running",
        Held = "held",
        Careful = "careful",
        Draining = "draining",
        Revoking = "revoking",
        Contested = "contested",
        Reassigning = "reassigning",
        Dropped = "dropped",
        Halted = "halted",
    }
}

/// Two faults count as a pair when the second comes within so many events of the first.
const CLOSE: u64 = 25;

/// What one seed came to, or many.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// How many seeds.
    pub seeds: u64,
    /// What happened in the simulated world, in all.
    pub events: u64,
    /// How often the pair went to a worker, after the first time.
    pub rebalances: u64,
    /// How many workers were killed.
    pub kills: u64,
    /// The fewest events, rebalances and kills of a seed.
    pub least: (u64, u64, u64),
    faults: [u64; FAULTS],
    /// Of two kinds, the later in [`Fault::ALL`] first.
    pairs: Vec<u32>,
    /// Seeds that came to a state.
    states: [u64; STATES],
    /// From which state to which.
    moves: Vec<u32>,
}

/// What one seed comes to while it is played.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) coverage: Coverage,
    /// At which event each kind of fault came last.
    last: [Option<u64>; FAULTS],
    state: Vec<State>,
}

impl Seen {
    /// Nothing yet, of so many processes.
    pub(crate) fn new(processes: usize) -> Self {
        let coverage = Coverage {
            seeds: 1,
            pairs: vec![0; FAULTS * FAULTS],
            moves: vec![0; STATES * STATES],
            ..Coverage::default()
        };
        Self { coverage, last: [None; FAULTS], state: vec![State::Idle; processes] }
    }

    /// A fault happens.
    pub(crate) fn fault(&mut self, fault: Fault) {
        let now = self.coverage.events;
        let kind = fault as usize;
        self.coverage.faults[kind] += 1;
        for (other, last) in self.last.iter().enumerate() {
            if last.is_some_and(|last| now - last <= CLOSE) {
                self.coverage.pairs[kind.max(other) * FAULTS + kind.min(other)] += 1;
            }
        }
        self.last[kind] = Some(now);
    }

    /// A process's pair stands there now.
    pub(crate) fn state(&mut self, process: usize, state: &str) {
        if self.state[process].name() == state {
            return;
        }
        let Some(to) = State::ALL.iter().find(|known| known.name() == state) else { return };
        let from = std::mem::replace(&mut self.state[process], *to);
        self.coverage.states[*to as usize] = 1;
        self.coverage.moves[from as usize * STATES + *to as usize] += 1;
    }

    /// A process begins from nothing.
    pub(crate) fn restarted(&mut self, process: usize) {
        self.state[process] = State::Idle;
    }

    /// All of it, at the seed's end.
    pub(crate) fn finish(self) -> Coverage {
        self.coverage
    }
}

impl Coverage {
    /// Takes in what other seeds came to.
    pub fn add(&mut self, other: &Self) {
        self.least = match self.seeds {
            0 => other.least,
            _ => {
                let (ours, theirs) = (self.least, other.least);
                (ours.0.min(theirs.0), ours.1.min(theirs.1), ours.2.min(theirs.2))
            }
        };
        self.seeds += other.seeds;
        self.events += other.events;
        self.rebalances += other.rebalances;
        self.kills += other.kills;
        self.pairs.resize(FAULTS * FAULTS, 0);
        self.moves.resize(STATES * STATES, 0);
        let sum = |ours: &mut u64, theirs: &u64| *ours += theirs;
        self.faults.iter_mut().zip(&other.faults).for_each(|(ours, theirs)| sum(ours, theirs));
        self.states.iter_mut().zip(&other.states).for_each(|(ours, theirs)| sum(ours, theirs));
        let sum = |ours: &mut u32, theirs: &u32| *ours = ours.saturating_add(*theirs);
        self.pairs.iter_mut().zip(&other.pairs).for_each(|(ours, theirs)| sum(ours, theirs));
        self.moves.iter_mut().zip(&other.moves).for_each(|(ours, theirs)| sum(ours, theirs));
    }

    /// The pairs of one seed's topic together.
    pub(crate) fn one_seed(mut self) -> Self {
        self.seeds = 1;
        self.least = (self.events, self.rebalances, self.kills);
        self.states.iter_mut().for_each(|count| *count = (*count).min(1));
        self
    }

    /// How often a kind of fault came.
    pub fn faults(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// How many seeds came to a state.
    pub fn states(&self, state: State) -> u64 {
        self.states[state as usize]
    }

    /// How often two kinds of faults came close together.
    pub fn pair(&self, one: Fault, other: Fault) -> u32 {
        let (low, high) = ((one as usize).min(other as usize), (one as usize).max(other as usize));
        self.pairs.get(high * FAULTS + low).copied().unwrap_or(0)
    }

    /// Each two kinds of faults with how often they came close together, the rarest first.
    pub fn pairs(&self) -> Vec<(u32, Fault, Fault)> {
        let mut pairs = Vec::new();
        for (place, one) in Fault::ALL.iter().enumerate() {
            pairs.extend(Fault::ALL[..=place].iter().map(|other| (self.pair(*one, *other), *one, *other)));
        }
        pairs.sort_by_key(|(count, ..)| *count);
        pairs
    }

    /// How many ways from one state to another were taken.
    pub fn moves(&self) -> usize {
        self.moves.iter().filter(|count| **count > 0).count()
    }
}

impl Display for Coverage {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let (events, rebalances, kills) = self.least;
        let line = |formatter: &mut Formatter<'_>, name: &str, count: u64, least: u64| {
            writeln!(formatter, "  {name:<48} {count:>12}   at least {least} a seed")
        };
        writeln!(formatter, "  {:<48} {:>12}", "seeds", self.seeds)?;
        line(formatter, "events", self.events, events)?;
        line(formatter, "rebalances", self.rebalances, rebalances)?;
        line(formatter, "kills", self.kills, kills)?;
        writeln!(formatter, "faults by kind")?;
        for fault in Fault::ALL {
            writeln!(formatter, "  {:<48} {:>12}", fault.name(), self.faults(*fault))?;
        }
        writeln!(formatter, "states of the machine, by seeds that came to them")?;
        for state in State::ALL {
            writeln!(formatter, "  {:<48} {:>12}", state.name(), self.states(*state))?;
        }
        writeln!(formatter, "  {:<48} {:>12}", "ways from one state to another", self.moves())?;
        let pairs = self.pairs();
        let reached = pairs.iter().filter(|(count, ..)| *count > 0).count();
        writeln!(
            formatter,
            "pairs of faults within {CLOSE} events: {reached} of {}; the rarest",
            pairs.len()
        )?;
        for (count, one, other) in pairs.iter().take(8) {
            let both = format!("{} + {}", one.name(), other.name());
            writeln!(formatter, "  {both:<84} {count:>8}")?;
        }
        Ok(())
    }
}
