//! Which run is meant, in one word: a seed, another order of its events, and what was cut from its scenario.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// A run that can be played again: `SEED`, or `SEED:SCHEDULE:CUT,CUT`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    /// What the scenario is drawn from.
    pub seed: u64,
    /// In which order things happen; 0 is the order that the seed itself draws.
    pub schedule: u64,
    /// What is taken out of the scenario.
    pub cuts: Vec<Cut>,
}

/// Something that a scenario has less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// No other pair than this one.
    Pair(usize),
    /// So many rounds of storm and calm at most.
    Rounds(usize),
    /// The record at this place of the log is never written.
    Record(usize),
    /// So many faults at most.
    Faults(usize),
    /// So many steps of storm.
    Steps(usize),
    /// Something never happens.
    Without(Chance),
}

/// What a scenario may do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chance {
    /// Foreign records in the retry topic.
    Forger,
    /// People who replay letters.
    Replays,
    /// A spool that fails.
    Spool,
    /// A retry topic that refuses copies.
    Refusals,
    /// Sinks that are away.
    Holds,
    /// Retention of the retry topic.
    Retention,
    /// Compaction of the input.
    Compaction,
    /// Pairs that halt for a reason that only a person can mend.
    Halts,
    /// The breaker for floods.
    Flood,
    /// Large values that stay in the topic.
    Large,
    /// Answers that are late or lost.
    Answers,
}

impl Chance {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Forger,
        Self::Replays,
        Self::Spool,
        Self::Refusals,
        Self::Holds,
        Self::Retention,
        Self::Compaction,
        Self::Halts,
        Self::Flood,
        Self::Large,
        Self::Answers,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Forger => "forger",
            Self::Replays => "replays",
            Self::Spool => "spool",
            Self::Refusals => "refusals",
            Self::Holds => "holds",
            Self::Retention => "retention",
            Self::Compaction => "compaction",
            Self::Halts => "halts",
            Self::Flood => "flood",
            Self::Large => "large",
            Self::Answers => "answers",
        }
    }
}

impl Case {
    /// A seed as it is.
    pub fn of(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// The same with one thing less.
    pub(crate) fn with(&self, cut: Cut) -> Self {
        let mut case = self.clone();
        case.cuts.push(cut);
        case
    }
}

impl Display for Case {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.seed)?;
        if self.schedule == 0 && self.cuts.is_empty() {
            return Ok(());
        }
        let cuts: Vec<String> = self.cuts.iter().map(ToString::to_string).collect();
        write!(formatter, ":{}:{}", self.schedule, cuts.join(","))
    }
}

impl Display for Cut {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair(number) => write!(formatter, "pair={number}"),
            Self::Rounds(count) => write!(formatter, "rounds={count}"),
            Self::Record(place) => write!(formatter, "record={place}"),
            Self::Faults(count) => write!(formatter, "faults={count}"),
            Self::Steps(count) => write!(formatter, "steps={count}"),
            Self::Without(chance) => write!(formatter, "no={}", chance.name()),
        }
    }
}

/// A word that names no run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCase;

impl Display for NoCase {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("a run is named SEED, or SEED:SCHEDULE:CUT,CUT as a failure prints it")
    }
}

impl std::error::Error for NoCase {}

impl FromStr for Case {
    type Err = NoCase;

    fn from_str(text: &str) -> Result<Self, NoCase> {
        let mut parts = text.splitn(3, ':');
        let mut number = || parts.next().map(|part| part.parse().map_err(|_| NoCase)).transpose();
        let (seed, schedule) = (number()?.ok_or(NoCase)?, number()?.unwrap_or(0));
        let cuts = parts.next().unwrap_or_default();
        let cuts = cuts.split(',').filter(|cut| !cut.is_empty()).map(str::parse);
        Ok(Self { seed, schedule, cuts: cuts.collect::<Result<_, _>>()? })
    }
}

impl FromStr for Cut {
    type Err = NoCase;

    fn from_str(text: &str) -> Result<Self, NoCase> {
        let (name, value) = text.split_once('=').ok_or(NoCase)?;
        if name == "no" {
            let chance = Chance::ALL.into_iter().find(|chance| chance.name() == value);
            return chance.map(Self::Without).ok_or(NoCase);
        }
        let number = value.parse().map_err(|_| NoCase)?;
        match name {
            "pair" => Ok(Self::Pair(number)),
            "rounds" => Ok(Self::Rounds(number)),
            "record" => Ok(Self::Record(number)),
            "faults" => Ok(Self::Faults(number)),
            "steps" => Ok(Self::Steps(number)),
            _ => Err(NoCase),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_and_found_again() {
        let mut case = Case::of(7);
        assert_eq!(case.to_string(), "7");
        assert_eq!("7".parse(), Ok(case.clone()));
        case.schedule = 3;
        case.cuts = vec![Cut::Pair(1), Cut::Rounds(1), Cut::Record(4), Cut::Faults(0), Cut::Steps(60)];
        case.cuts.extend(Chance::ALL.map(Cut::Without));
        assert_eq!(case.to_string().parse(), Ok(case));
        for wrong in ["", "x", "1:2:record", "1:2:no=luck", "1:2:pairs=1"] {
            assert_eq!(wrong.parse::<Case>(), Err(NoCase), "{wrong}");
        }
    }
}
