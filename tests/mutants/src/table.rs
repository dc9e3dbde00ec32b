//! What came of all mutants.

use std::collections::BTreeMap;

use crate::list::Mutant;
use crate::reasons::Reasons;

/// What came of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    DoesNotCompile,
    Noticed,
    Missed,
}

impl Outcome {
    pub fn of(noticed: bool) -> Self {
        if noticed { Self::Noticed } else { Self::Missed }
    }
}

/// How many of a module came to what.
#[derive(Default)]
struct Row {
    all: usize,
    broken: usize,
    noticed: usize,
    alike: usize,
    missed: usize,
}

/// Prints a row for each module, and each mutant that is missed without a reason; returns how many those are.
pub fn print(
    mutants: &[Mutant],
    outcomes: &BTreeMap<u32, Outcome>,
    sources: &BTreeMap<String, String>,
    reasons: &Reasons,
) -> usize {
    let (mut rows, mut missed) = (BTreeMap::<&str, Row>::new(), Vec::new());
    for (number, mutant) in (1..).zip(mutants) {
        let change = mutant.change(&sources[&mutant.file]);
        for name in [mutant.module(), "\u{7f}all"] {
            let row = rows.entry(name).or_default();
            row.all += 1;
            match outcomes.get(&number) {
                Some(Outcome::DoesNotCompile) => row.broken += 1,
                Some(Outcome::Noticed) => row.noticed += 1,
                _ if reasons.has(mutant.short_file(), mutant.function(), &change) => row.alike += 1,
                _ => row.missed += 1,
            }
        }
        let is_missed = !matches!(outcomes.get(&number), Some(Outcome::DoesNotCompile | Outcome::Noticed));
        if is_missed && !reasons.has(mutant.short_file(), mutant.function(), &change) {
            let (file, line, function) = (mutant.short_file(), mutant.start().line, mutant.function());
            missed.push(format!("{file}:{line}: `{function}`: {change}"));
        }
    }
    println!(
        "{:<12} {:>8} {:>16} {:>8} {:>6} {:>7}",
        "module", "mutants", "does not compile", "noticed", "alike", "missed"
    );
    for (name, row) in &rows {
        let name = name.trim_start_matches('\u{7f}');
        println!(
            "{name:<12} {:>8} {:>16} {:>8} {:>6} {:>7}",
            row.all, row.broken, row.noticed, row.alike, row.missed
        );
    }
    if !missed.is_empty() {
        println!("\nMissed, and without a reason in workers/core/mutants.md:\n\n{}", missed.join("\n"));
    }
    missed.len()
}
