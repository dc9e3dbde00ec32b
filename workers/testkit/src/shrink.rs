//! A failure made small: of the scenario as much is taken out as leaves the same promise broken. What is taken out changes the order of
//! what remains, so each smaller scenario is played in many orders.

use crate::case::{Case, Chance, Cut};
use crate::sabotage::Sabotage;
use crate::sim::{self, Broken};

/// In so many orders a smaller scenario is played before it counts as one that breaks nothing.
const SCHEDULES: u64 = 300;
/// So many orders of the smallest scenario are compared for the shortest story.
const SHORTEST: u64 = 1_500;

/// The smallest failure of the same kind that was found, with its story.
pub fn shrink(broken: &Broken, sabotage: Option<Sabotage>) -> Box<Broken> {
    let mut best = Box::new(broken.clone());
    loop {
        let smaller = candidates(&best).into_iter().find_map(|case| fails_alike(&case, &best, sabotage));
        match smaller {
            Some(smaller) => best = smaller,
            None => break,
        }
    }
    for schedule in 1..=SHORTEST {
        let case = Case { schedule, ..best.case.clone() };
        if let Some(found) = fails(&case, &best, sabotage).filter(|found| found.events < best.events) {
            best = found;
        }
    }
    sim::run(&best.case, sabotage, true).err().unwrap_or(best)
}

/// Scenarios with one thing less.
fn candidates(broken: &Broken) -> Vec<Case> {
    let case = &broken.case;
    let mut cuts = Vec::new();
    if !case.cuts.iter().any(|cut| matches!(cut, Cut::Pair(_))) {
        cuts.extend((0..3).map(Cut::Pair));
    }
    let least = |of: fn(&Cut) -> Option<usize>| case.cuts.iter().filter_map(of).min();
    let rounds = least(|cut| if let Cut::Rounds(count) = cut { Some(*count) } else { None }).unwrap_or(12);
    cuts.extend(
        [1, 2, 3, 4, 6]
            .map(Cut::Rounds)
            .into_iter()
            .filter(|cut| matches!(cut, Cut::Rounds(count) if *count < rounds)),
    );
    let chances = Chance::ALL.map(Cut::Without);
    cuts.extend(chances.into_iter().filter(|cut| !case.cuts.contains(cut)));
    let faults = least(|cut| if let Cut::Faults(count) = cut { Some(*count) } else { None }).unwrap_or(7);
    cuts.extend((0..faults).map(Cut::Faults));
    let steps = least(|cut| if let Cut::Steps(count) = cut { Some(*count) } else { None }).unwrap_or(240);
    cuts.extend(
        [steps / 4, steps / 2, steps * 3 / 4].into_iter().filter(|count| *count >= 8).map(Cut::Steps),
    );
    cuts.extend((0..14).rev().map(Cut::Record));
    cuts.into_iter().map(|cut| case.with(cut)).collect()
}

/// Whether a scenario breaks the same in any order; a cut that cuts nothing is none.
fn fails_alike(case: &Case, known: &Broken, sabotage: Option<Sabotage>) -> Option<Box<Broken>> {
    let before = Case { cuts: case.cuts[..case.cuts.len() - 1].to_vec(), ..case.clone() };
    if sim::scenario(case) == sim::scenario(&before) {
        return None;
    }
    let orders = std::iter::once(case.schedule).chain(1..=SCHEDULES);
    let mut cases = orders.map(|schedule| Case { schedule, ..case.clone() });
    cases.find_map(|case| fails(&case, known, sabotage))
}

fn fails(case: &Case, known: &Broken, sabotage: Option<Sabotage>) -> Option<Box<Broken>> {
    sim::run(case, sabotage, false).err().filter(|broken| kind(&broken.what) == kind(&known.what))
}

/// What kind of failure it is: its words without the numbers in it.
fn kind(what: &str) -> String {
    what.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}
