//! Tries all mutants of workers/core and prints a table. Ends with 2 when one is missed that has no reason in workers/core/mutants.md.
//!
//!     longshore-mutants REPOSITORY WORK CARGO_MUTANTS [FILE...]
//!
//! A build for each of four thousand mutants takes days. So all of them are compiled into one program, each behind a number (`switch`), and a process is told
//! its number: most are noticed within a tenth of a second. Those in constants are there before a number is known, and have a build each.

mod attempt;
mod edit;
mod list;
mod reasons;
mod switch;
mod table;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use attempt::Tests;
use list::{Mutant, SOURCES};
use reasons::Reasons;
use table::Outcome;
use tree::{Built, Complaint, Programs, Tree};

/// What compiles shows when what does not is out: an error of borrows, say, comes after those of types.
const ROUNDS: usize = 8;

type Outcomes = BTreeMap<u32, Outcome>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [repository, work, program, files @ ..] = &words[..] else {
        eprintln!("usage: longshore-mutants REPOSITORY WORK CARGO_MUTANTS [FILE...]");
        return ExitCode::from(64);
    };
    match run(Path::new(repository), Path::new(work), program, files) {
        Ok(missed) => ExitCode::from(if missed == 0 { 0 } else { 2 }),
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many are missed.
fn run(repository: &Path, work: &Path, program: &str, files: &[String]) -> Result<usize, Box<dyn Error>> {
    let mutants = list::mutants(repository, program, files)?;
    if mutants.is_empty() {
        return Err("no mutants there".into());
    }
    let tree = Tree::copy(repository, work)?;
    let sources = Sources::of(&tree, &mutants)?;
    let mut outcomes = Outcomes::new();
    let constants = compile(&tree, &sources, &mutants, &mut outcomes)?;
    let programs = match tree.build()? {
        Built::Whole(programs) => programs,
        Built::Broken(all) => {
            let said: Vec<String> = all.into_iter().map(|complaint| complaint.text).collect();
            return Err(format!("the tests do not compile: {}", said.join("; ")).into());
        }
    };
    let tests = Tests::measure(&programs, tree.core())?;
    let mut log = File::create(work.join("tried.txt"))?;
    try_switched(&mutants, &constants, &tests, &programs, &mut log, &mut outcomes);
    try_alone(&tree, &sources, &mutants, &constants, &tests, &mut outcomes)?;
    let reasons = Reasons::read(&tree.read("workers/core/mutants.md")?);
    Ok(table::print(&mutants, &outcomes, &sources.0, &reasons))
}

/// The sources as they are, by file.
struct Sources(BTreeMap<String, String>);

impl Sources {
    fn of(tree: &Tree, mutants: &[Mutant]) -> Result<Self, Box<dyn Error>> {
        let library = format!("{SOURCES}lib.rs");
        let files: BTreeSet<&String> = mutants.iter().map(|mutant| &mutant.file).chain([&library]).collect();
        let read = |file: &String| Ok((file.clone(), tree.read(file)?));
        Ok(Self(files.into_iter().map(read).collect::<Result<_, Box<dyn Error>>>()?))
    }
}

/// The mutants with their numbers, from 1.
fn numbered(mutants: &[Mutant]) -> impl Iterator<Item = (u32, &Mutant)> {
    (1..).zip(mutants)
}

/// Writes the sources with all mutants that compile. Returns those that need a build of their own.
fn compile(
    tree: &Tree,
    sources: &Sources,
    mutants: &[Mutant],
    outcomes: &mut Outcomes,
) -> Result<Vec<u32>, Box<dyn Error>> {
    for _ in 0..ROUNDS {
        let (texts, constants) = write_switched(tree, sources, mutants, outcomes)?;
        let Built::Broken(complaints) = tree.check()? else { return Ok(constants) };
        for complaint in complaints {
            let number =
                culprit(&complaint, &texts).ok_or(format!("no mutant's error: {}", complaint.text))?;
            outcomes.insert(number, Outcome::DoesNotCompile);
        }
    }
    Err("there are always new errors".into())
}

/// Writes the sources with all mutants that nothing is known of.
fn write_switched(
    tree: &Tree,
    sources: &Sources,
    mutants: &[Mutant],
    outcomes: &mut Outcomes,
) -> Result<(BTreeMap<String, String>, Vec<u32>), Box<dyn Error>> {
    let (mut texts, mut constants) = (BTreeMap::new(), Vec::new());
    for (file, source) in &sources.0 {
        let new = |(number, mutant): &(u32, &Mutant)| mutant.file == *file && !outcomes.contains_key(number);
        let of_file: Vec<(u32, &Mutant)> = numbered(mutants).filter(new).collect();
        let mut switched = switch::switch(source, &of_file)?;
        constants.append(&mut switched.constants);
        outcomes.extend(switched.never.iter().map(|number| (*number, Outcome::DoesNotCompile)));
        if file.ends_with("core/src/lib.rs") {
            switched.text += "\n#[allow(missing_docs)]\npub mod mx;\n";
        }
        tree.write(file, &switched.text)?;
        texts.insert(file.clone(), switched.text);
    }
    tree.write(&format!("{SOURCES}mx.rs"), include_str!("../mx.rs"))?;
    Ok((texts, constants))
}

/// The mutant whose text an error is in: the innermost one.
fn culprit(complaint: &Complaint, texts: &BTreeMap<String, String>) -> Option<u32> {
    complaint.places.iter().find_map(|(file, byte)| {
        let text = texts.get(file)?;
        let around = text.match_indices("/*M").filter_map(|(from, _)| {
            let number: u32 = text[from + 3..].split('*').next()?.parse().ok()?;
            let to = from + text[from..].find(&format!("/*E{number}*/"))?;
            (from..=to).contains(byte).then_some((to - from, number))
        });
        around.min().map(|(_, number)| number)
    })
}

/// Tries all mutants of the one program, on all cores.
fn try_switched(
    mutants: &[Mutant],
    constants: &[u32],
    tests: &Tests,
    programs: &Programs,
    log: &mut File,
    outcomes: &mut Outcomes,
) {
    let is_tried = |number: &u32| !outcomes.contains_key(number) && !constants.contains(number);
    let tried: Vec<(u32, &Mutant)> = numbered(mutants).filter(|(number, _)| is_tried(number)).collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new((Outcomes::new(), log)));
    let work = || {
        while let Some((number, mutant)) = tried.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = Outcome::of(tests.notice(programs, *number, mutant.module()));
            let Ok(mut found) = found.lock() else { return };
            found.0.insert(*number, outcome);
            // For whoever waits; the table does not need it.
            let _ = writeln!(found.1, "{outcome:?} {mutant}");
            if found.0.len() % 100 == 0 {
                eprintln!("mutants: {} of {} were tried", found.0.len(), tried.len());
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    if let Ok((mut found, _)) = found.into_inner() {
        outcomes.append(&mut found);
    }
}

/// Builds each of these alone and tries it.
fn try_alone(
    tree: &Tree,
    sources: &Sources,
    mutants: &[Mutant],
    constants: &[u32],
    tests: &Tests,
    outcomes: &mut Outcomes,
) -> Result<(), Box<dyn Error>> {
    for (file, source) in &sources.0 {
        tree.write(file, source)?;
    }
    for (number, mutant) in numbered(mutants).filter(|(number, _)| constants.contains(number)) {
        eprintln!("mutants: {}:{} has a build of its own", mutant.file, mutant.start().line);
        let source = &sources.0[&mutant.file];
        tree.write(&mutant.file, &mutant.applied(source))?;
        let outcome = match tree.build()? {
            Built::Broken(_) => Outcome::DoesNotCompile,
            Built::Whole(programs) => Outcome::of(tests.notice(&programs, 0, mutant.module())),
        };
        outcomes.insert(number, outcome);
        tree.write(&mutant.file, source)?;
    }
    Ok(())
}
