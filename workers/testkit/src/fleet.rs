//! One seed's fleet: one to three pairs of a topic, each a world of its own, and the processes that serve them. Pairs share nothing but their
//! processes: who is killed in one pair is killed in all.

use longshore_core::PairId;

use crate::Random;
use crate::case::{Case, Cut};
use crate::coverage::Coverage;
use crate::plan::Plan;
use crate::sabotage::Sabotage;
use crate::schedule::Step;
use crate::world::World;

/// How long the calm after a storm may take before it counts as a livelock, for each pair.
const CALM_STEPS: usize = 3_000;
/// Storms and calms of a seed.
const ROUNDS: usize = 12;
/// What each seed comes to at least.
const EVENTS: u64 = 200;
const REBALANCES: u64 = 2;
const KILLS: u64 = 1;

/// All that one seed plays.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) worlds: Vec<World>,
    random: Random,
    /// Storms and calms at most.
    pub(crate) rounds: usize,
}

impl Fleet {
    pub(crate) fn new(case: &Case, sabotage: Option<Sabotage>, traced: bool) -> Self {
        let mut random = Random::new(case.seed);
        let mut plans = vec![Plan::of(&mut random)];
        for _ in 1..random.pick(&[1, 1, 1, 1, 2, 3]) {
            plans.push(plans[0].sibling(&mut random));
        }
        for cut in &case.cuts {
            plans.iter_mut().for_each(|plan| plan.cut(*cut));
        }
        if case.schedule > 0 {
            random = Random::new(case.seed ^ case.schedule.rotate_left(32));
        }
        let only = case.cuts.iter().find_map(|cut| match cut {
            Cut::Pair(number) => Some(*number),
            _ => None,
        });
        let rounds = case.cuts.iter().find_map(|cut| match cut {
            Cut::Rounds(most) => Some(*most),
            _ => None,
        });
        let pairs =
            plans.into_iter().enumerate().filter(|(number, _)| only.is_none_or(|only| only == *number));
        let worlds = pairs.map(|(number, plan)| {
            let own = Random::new(random.bits());
            World::new(plan, PairId::new("sim", number as i32), own, sabotage, traced)
        });
        Self { worlds: worlds.collect(), random, rounds: rounds.unwrap_or(ROUNDS) }
    }

    /// Storms and calms, until enough has happened.
    pub(crate) fn play(&mut self) {
        for round in 1.. {
            self.storm();
            self.calm();
            if self.broken().is_some() || self.is_enough() || round >= self.rounds {
                return;
            }
            self.worlds.iter_mut().for_each(World::begin_round);
        }
    }

    /// The pair in which a promise was broken.
    pub(crate) fn broken(&self) -> Option<usize> {
        self.worlds.iter().position(|world| world.bug.is_some())
    }

    /// What the seed came to.
    pub(crate) fn coverage(self) -> Coverage {
        let mut all = Coverage::default();
        self.worlds.into_iter().for_each(|world| all.add(&world.seen.finish()));
        all.one_seed()
    }

    fn count(&self, of: impl Fn(&Coverage) -> u64) -> u64 {
        self.worlds.iter().map(|world| of(&world.seen.coverage)).sum()
    }

    fn is_enough(&self) -> bool {
        self.count(|seen| seen.events) >= EVENTS
            && self.count(|seen| seen.rebalances) >= REBALANCES
            && self.count(|seen| seen.kills) >= KILLS
    }

    fn storm(&mut self) {
        let steps: usize = self.worlds.iter().map(|world| world.plan.steps).sum();
        for _ in 0..steps {
            let at = if self.worlds.len() > 1 { self.random.below(self.worlds.len()) } else { 0 };
            let world = &mut self.worlds[at];
            world.disturb();
            let step = world.choose(true);
            world.take(step);
            self.share_kills(at);
            if self.worlds[at].bug.is_some() {
                return;
            }
        }
        let moved =
            self.count(|seen| seen.rebalances) >= REBALANCES && self.count(|seen| seen.kills) >= KILLS;
        if !moved && self.worlds[0].plan.faulty {
            self.worlds[0].go_wrong_enough();
            self.share_kills(0);
        }
    }

    /// Whoever was killed in one pair is gone from the others.
    fn share_kills(&mut self, at: usize) {
        for process in std::mem::take(&mut self.worlds[at].killed) {
            let others = self.worlds.iter_mut().enumerate().filter(|(other, _)| *other != at);
            others.for_each(|(_, world)| world.die_with_others(process));
        }
    }

    /// Everything comes to its end, and is looked at.
    fn calm(&mut self) {
        if self.broken().is_some() {
            return;
        }
        for at in 0..self.worlds.len() {
            self.worlds[at].calm();
            self.share_kills(at);
        }
        let mut busy = 0;
        for _ in 0..CALM_STEPS {
            let mut quiet = true;
            for at in 0..self.worlds.len() {
                let world = &mut self.worlds[at];
                match world.choose(false) {
                    Step::None => {}
                    step => {
                        (quiet, busy) = (false, at);
                        world.take(step);
                        self.share_kills(at);
                    }
                }
            }
            if self.broken().is_some() || (quiet && self.is_over()) {
                return;
            }
        }
        self.worlds[busy].broken("livelock".into());
    }

    /// Looks at what nothing happens to any more; false when a person has found something to do.
    fn is_over(&mut self) -> bool {
        if let Some(world) = self.worlds.iter_mut().find(|world| world.leaving().is_some()) {
            world.broken("I6 a worker that was asked to leave never does".into());
            return true;
        }
        // A person looks at the letters once more before the end.
        let look = |world: &mut World| !std::mem::replace(&mut world.replayed_late, true) && world.replay();
        if self.worlds.iter_mut().any(look) {
            return false;
        }
        self.worlds.iter_mut().for_each(World::check_end);
        true
    }
}
