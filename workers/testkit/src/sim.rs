//! Random schedules over the real machine: one seed, one fleet, one of all possible things at every step.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use longshore_core::rules::Rule;

use crate::case::Case;
use crate::coverage::Coverage;
use crate::fleet::Fleet;
use crate::sabotage::Sabotage;
use crate::world::World;

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The run; the same one breaks it again.
    pub case: Case,
    /// What was broken.
    pub what: String,
    /// How many events it took.
    pub events: u64,
    /// What happened until then, one line each; empty unless it was asked for.
    pub story: Vec<String>,
}

/// Plays one run; a planted mistake and its story are optional.
///
/// # Errors
/// The broken promise, which may also be a panic of the machine's own checks.
pub fn run(case: &Case, sabotage: Option<Sabotage>, told: bool) -> Result<Coverage, Box<Broken>> {
    Rule::switch_off(match sabotage {
        Some(Sabotage::Without(rule)) => Some(rule),
        Some(_) => None,
        None => Rule::switched_off_by_environment(),
    });
    let mut fleet = Fleet::new(case, sabotage, told);
    let panicked = quietly(|| fleet.play());
    Rule::switch_off(None);
    let at = fleet.broken();
    let what = panicked.or_else(|| at.and_then(|at| fleet.worlds[at].bug.take()).map(|bug| bug.0));
    let Some(what) = what else { return Ok(fleet.coverage()) };
    // A panic is one of the pair that something happened to last.
    let latest = |world: &&mut World| world.seen.coverage.events;
    let world = match at {
        Some(at) => fleet.worlds.get_mut(at),
        None => fleet.worlds.iter_mut().max_by_key(latest),
    };
    let story = world.map(|world| if told { world.story() } else { Vec::new() });
    let events = fleet.worlds.iter().map(|world| world.seen.coverage.events).sum();
    Err(Box::new(Broken { case: case.clone(), what, events, story: story.unwrap_or_default() }))
}

/// What happens in a run, one line each.
pub fn trace(case: &Case) -> Vec<String> {
    let mut fleet = Fleet::new(case, None, true);
    let _ = quietly(|| fleet.play());
    fleet.worlds.iter_mut().flat_map(|world| world.trace.take().unwrap_or_default()).collect()
}

/// What a run's scenario is, to compare it with another's.
pub(crate) fn scenario(case: &Case) -> String {
    let fleet = Fleet::new(&Case { schedule: 0, ..case.clone() }, None, false);
    format!("{} {:?}", fleet.rounds, fleet.worlds.iter().map(|world| &world.plan).collect::<Vec<_>>())
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs the closure and returns the message if it panicked; nothing is printed then.
fn quietly(play: impl FnOnce()) -> Option<String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(play));
    QUIET.set(false);
    outcome.err().map(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other.downcast_ref::<&str>().map_or("panicked".to_owned(), |text| (*text).to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: few seeds, for whoever has no time for more, such as a run of mutants of the machine. Guarantee: the promises hold.
    #[test]
    fn promises_hold_on_a_few_seeds() {
        for seed in 0..1_000 {
            let broken = run(&Case::of(seed), None, false).err();
            assert!(broken.is_none(), "{broken:?}");
        }
    }
}
