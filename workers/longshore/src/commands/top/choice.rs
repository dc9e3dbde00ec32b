//! Which partitions are shown, and in which order. Pure.

use std::cmp::Ordering;

use crate::fleet::view::{Partition, View};

/// The column to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Lag,
    Behind,
    Rate,
    Drain,
    Waiting,
    Retries,
    Dead,
    Partition,
    Worker,
}

impl Column {
    pub(super) const ALL: [Self; 9] = [
        Self::Lag,
        Self::Behind,
        Self::Rate,
        Self::Drain,
        Self::Waiting,
        Self::Retries,
        Self::Dead,
        Self::Partition,
        Self::Worker,
    ];

    /// As it is typed and shown.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::Behind => "behind",
            Self::Rate => "rate",
            Self::Drain => "drain",
            Self::Waiting => "waiting",
            Self::Retries => "retries",
            Self::Dead => "dead",
            Self::Partition => "partition",
            Self::Worker => "worker",
        }
    }

    /// The column of a name.
    ///
    /// # Errors
    /// A text that names them all.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        let known = Self::ALL.map(Self::name);
        let found = Self::ALL.into_iter().find(|column| column.name() == name);
        found.ok_or_else(|| format!("there is no column {name:?}; there are {}", known.join(", ")))
    }

    /// The next one, or the one before.
    pub(super) fn next(self, back: bool) -> Self {
        let at = Self::ALL.iter().position(|column| *column == self).unwrap_or(0);
        let step = if back { Self::ALL.len() - 1 } else { 1 };
        Self::ALL[(at + step) % Self::ALL.len()]
    }

    /// Its number; none for what is no number or not known.
    fn number(self, of: &Partition) -> Option<f64> {
        let count = |count: Option<u64>| count.map(|count| count as f64);
        match self {
            Self::Lag => count(of.lag),
            Self::Behind => of.seconds_behind,
            Self::Rate => of.rate,
            // What never ends takes longest.
            Self::Drain if of.drain_seconds.is_none() && of.lag != Some(0) => Some(f64::INFINITY),
            Self::Drain => of.drain_seconds,
            Self::Waiting => count(of.waiting),
            Self::Retries => count(of.retries),
            Self::Dead => count(of.dead_letters),
            Self::Partition | Self::Worker => None,
        }
    }

    /// The order of two partitions: numbers from the largest, what is not known behind them, names from the first.
    fn compare(self, one: &Partition, other: &Partition) -> Ordering {
        match self {
            Self::Partition => Ordering::Equal,
            Self::Worker => one.worker.cmp(&other.worker),
            _ => match (self.number(one), self.number(other)) {
                (Some(one), Some(other)) => other.total_cmp(&one),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => Ordering::Equal,
            },
        }
    }
}

/// An order of partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) column: Column,
    pub(super) reverse: bool,
}

impl Sort {
    /// Sorts; equal ones stand by topic and partition.
    pub(super) fn apply(self, partitions: &mut [Partition]) {
        let place = |one: &Partition| (one.topic.clone(), one.partition);
        partitions.sort_by_cached_key(place);
        partitions.sort_by(|one, other| self.column.compare(one, other));
        if self.reverse {
            partitions.reverse();
        }
    }
}

/// One word of a filter.
#[derive(Clone, Debug, PartialEq)]
enum Term {
    /// A part of a name, in small letters.
    Part(String),
    /// No records are taken.
    Held,
    /// Nobody tells of it.
    Silent,
    /// A number above or below another.
    Number { column: Column, above: bool, bound: f64 },
}

/// Words that all have to fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Filter {
    terms: Vec<Term>,
}

impl Filter {
    /// Reads words with spaces between.
    ///
    /// # Errors
    /// What is wrong with one, for people.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let terms = text.split_whitespace().map(Term::parse);
        Ok(Self { terms: terms.collect::<Result<_, _>>()? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    pub(super) fn fits(&self, partition: &Partition) -> bool {
        self.terms.iter().all(|term| term.fits(partition))
    }
}

impl Term {
    fn parse(word: &str) -> Result<Self, String> {
        let Some(at) = word.find(['<', '>']) else {
            return Ok(match word {
                "held" => Self::Held,
                "silent" => Self::Silent,
                part => Self::Part(part.to_lowercase()),
            });
        };
        let (name, bound) = (&word[..at], &word[at + 1..]);
        let column = Column::parse(name)?;
        if matches!(column, Column::Partition | Column::Worker) {
            return Err(format!("{name} is no number; write a part of it alone"));
        }
        let bound: f64 = bound.parse().map_err(|_| format!("{word:?}: {bound:?} is no number"))?;
        Ok(Self::Number { column, above: word.as_bytes()[at] == b'>', bound })
    }

    fn fits(&self, partition: &Partition) -> bool {
        match self {
            Self::Held => partition.held.is_some(),
            Self::Silent => partition.retries.is_none(),
            Self::Number { column, above, bound } => column
                .number(partition)
                .is_some_and(|number| if *above { number > *bound } else { number < *bound }),
            Self::Part(part) => {
                let place = format!("{}/{}", partition.topic, partition.partition);
                let texts = [Some(&place), partition.worker.as_ref(), partition.held.as_ref()];
                texts.into_iter().flatten().any(|text| text.to_lowercase().contains(part))
            }
        }
    }
}

/// The view with the partitions that fit, in their order.
pub(super) fn chosen(view: &View, filter: &Filter, sort: Sort) -> View {
    let mut view = view.clone();
    view.partitions.retain(|partition| filter.fits(partition));
    sort.apply(&mut view.partitions);
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32, lag: Option<u64>, rate: f64) -> Partition {
        Partition {
            topic: "logs.raw".to_owned(),
            partition: number,
            worker: Some(format!("10.0.0.{}:8080", 9 - number)),
            lag,
            rate: Some(rate),
            drain_seconds: crate::fleet::view::drain(lag, Some(rate)),
            retries: (number != 3).then_some(number as u64),
            held: (number == 2).then(|| "the sink is away".to_owned()),
            ..Partition::default()
        }
    }

    fn some() -> Vec<Partition> {
        vec![
            partition(2, Some(5), 0.0),
            partition(0, Some(7), 7.0),
            partition(3, None, 1.0),
            partition(1, Some(7), 1.0),
        ]
    }

    fn sorted(column: Column, reverse: bool) -> Vec<i32> {
        let mut partitions = some();
        Sort { column, reverse }.apply(&mut partitions);
        partitions.iter().map(|partition| partition.partition).collect()
    }

    /// Guarantee: the largest first and the unknown last; equal ones by their number; what never ends is the slowest; names from the first; reverse is the very
    /// reverse.
    #[test]
    fn partitions_are_sorted_by_a_column() {
        assert_eq!(sorted(Column::Lag, false), [0, 1, 2, 3]);
        assert_eq!(sorted(Column::Lag, true), [3, 2, 1, 0]);
        assert_eq!(sorted(Column::Drain, false), [2, 3, 1, 0]);
        assert_eq!(sorted(Column::Rate, false), [0, 1, 3, 2]);
        assert_eq!(sorted(Column::Retries, false), [2, 1, 0, 3]);
        assert_eq!(sorted(Column::Partition, false), [0, 1, 2, 3]);
        assert_eq!(sorted(Column::Worker, false), [3, 2, 1, 0]);
        assert!(Column::ALL.iter().all(|column| column.next(false).next(true) == *column));
        assert!(Column::ALL.iter().all(|column| Column::parse(column.name()) == Ok(*column)));
        assert!(Column::parse("age").unwrap_err().contains("behind"));
    }

    fn fitting(words: &str) -> Vec<i32> {
        let filter = Filter::parse(words).unwrap();
        some()
            .iter()
            .filter(|partition| filter.fits(partition))
            .map(|partition| partition.partition)
            .collect()
    }

    /// Guarantee: all words have to fit; what is wrong with one is told.
    #[test]
    fn words_choose_partitions() {
        assert_eq!(fitting(""), [2, 0, 3, 1]);
        assert_eq!(fitting("LOGS"), [2, 0, 3, 1]);
        assert_eq!(fitting("raw/1"), [1]);
        assert_eq!(fitting("10.0.0.9"), [0]);
        assert_eq!(fitting("held"), [2]);
        assert_eq!(fitting("sink away"), [2]);
        assert_eq!(fitting("silent"), [3]);
        assert_eq!(fitting("lag>5"), [0, 1]);
        assert_eq!(fitting("lag>0 rate<5"), [2, 1]);
        assert_eq!(fitting("drain>100"), [2, 3]);
        for (wrong, why) in
            [("age>1", "no column"), ("lag>x", "no number"), ("worker>1", "no number"), ("lag>", "no number")]
        {
            let said = Filter::parse(wrong).unwrap_err();
            assert!(said.contains(why), "{wrong}: {said}");
        }
    }
}
