//! Looks for pairs that have work and do not move (I6), and for a worker in which nothing can move any more.

use std::collections::HashMap;
use std::time::Duration;

use longshore_core::{Class, Failure, Moment, Offset, PairId, Reason};
use longshore_telemetry::metrics::PairState;

use crate::status::Figures;

/// What is to be done about a pair without progress.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Remedy {
    /// Begin it anew.
    Rebuild(PairId),
    /// It was begun anew and has not moved since: end the worker.
    GiveUp(Failure),
}

/// Remembers which pairs were begun anew.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    rebuilt: HashMap<PairId, Rebuilt>,
}

#[derive(Debug)]
struct Rebuilt {
    at: Moment,
    watermark: Option<Offset>,
}

impl Watchdog {
    /// What to do about pairs that have not moved for `limit`.
    pub(crate) fn inspect(
        &mut self,
        pairs: &[(PairId, Figures)],
        now: Moment,
        limit: Duration,
    ) -> Vec<Remedy> {
        self.rebuilt.retain(|pair, _| pairs.iter().any(|(known, _)| known == pair));
        let mut remedies = Vec::new();
        for (pair, figures) in pairs.iter().filter(|(_, figures)| has_work(figures)) {
            let known = self.rebuilt.get(pair);
            let quiet = figures.quiet_since();
            let since = known.map_or(quiet, |rebuilt| rebuilt.at.max(quiet));
            if now.since(since) < limit {
                continue;
            }
            // A new beginning helped when the watermark moved: whatever hangs pins it.
            if known.is_some_and(|rebuilt| rebuilt.watermark == figures.watermark) {
                let detail = format_args!("{pair} made no progress after it was begun anew");
                remedies.push(Remedy::GiveUp(Failure::halt(Reason::Internal, detail)));
            } else {
                self.rebuilt.insert(pair.clone(), Rebuilt { at: now, watermark: figures.watermark });
                remedies.push(Remedy::Rebuild(pair.clone()));
            }
        }
        remedies
    }
}

/// Whether a pair should be moving. Held and halted ones have said why they do not, and stopping ones have a deadline.
fn has_work(figures: &Figures) -> bool {
    match figures.state {
        PairState::Starting | PairState::Running | PairState::Careful => figures.busy,
        PairState::Held | PairState::Halted | PairState::Stopping => false,
    }
}

/// Why the worker cannot do anything any more: every pair has been held or halted for `limit`, or there is no pair and
/// the brokers have refused us for good for as long. Trouble that may pass is waited out while no pair is held.
pub(crate) fn hopeless(
    pairs: &[(PairId, Figures)],
    trouble: Option<(&Failure, Moment)>,
    now: Moment,
    limit: Duration,
) -> Option<Failure> {
    if pairs.is_empty() {
        let (failure, since) = trouble?;
        return (failure.class == Class::Halt && now.since(since) >= limit).then(|| failure.clone());
    }
    let stuck = |figures: &Figures| {
        matches!(figures.state, PairState::Held | PairState::Halted) && now.since(figures.since) >= limit
    };
    if !pairs.iter().all(|(_, figures)| stuck(figures)) {
        return None;
    }
    let halted = pairs.iter().find(|(_, figures)| figures.state == PairState::Halted);
    halted.or(pairs.first()).and_then(|(_, figures)| figures.reason.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(300);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn working(received: u64, settled: u64) -> Figures {
        let busy = received > settled;
        Figures { state: PairState::Running, received, settled, busy, ..Figures::new(at(0)) }
    }

    #[test]
    fn a_pair_without_progress_is_rebuilt_once_and_then_given_up() {
        let pair = PairId::new("logs", 0);
        let mut watchdog = Watchdog::default();
        let pairs = [(pair.clone(), working(10, 4))];
        assert_eq!(watchdog.inspect(&pairs, at(299), LIMIT), []);
        assert_eq!(watchdog.inspect(&pairs, at(300), LIMIT), [Remedy::Rebuild(pair.clone())]);
        assert_eq!(watchdog.inspect(&pairs, at(599), LIMIT), []);
        let last = watchdog.inspect(&pairs, at(600), LIMIT);
        assert!(matches!(&last[..], [Remedy::GiveUp(_)]), "{last:?}");
    }

    #[test]
    fn a_rebuild_that_helped_earns_another_one() {
        let pair = PairId::new("logs", 0);
        let mut watchdog = Watchdog::default();
        let mut pairs = [(pair.clone(), working(10, 4))];
        assert_eq!(watchdog.inspect(&pairs, at(300), LIMIT), [Remedy::Rebuild(pair.clone())]);
        pairs[0].1.watermark = Some(Offset(7));
        pairs[0].1.progress_at = at(310);
        assert_eq!(watchdog.inspect(&pairs, at(601), LIMIT), []);
        assert_eq!(watchdog.inspect(&pairs, at(610), LIMIT), [Remedy::Rebuild(pair)]);
    }

    #[test]
    fn one_unit_that_hangs_is_a_stall_whatever_else_moves() {
        let pair = PairId::new("logs", 0);
        let figures = Figures { progress_at: at(299), oldest_unit: Some(at(0)), ..working(10, 4) };
        let remedies = Watchdog::default().inspect(&[(pair.clone(), figures)], at(300), LIMIT);
        assert_eq!(remedies, [Remedy::Rebuild(pair)]);
    }

    #[test]
    fn idle_held_and_long_working_pairs_are_left_alone() {
        let mut watchdog = Watchdog::default();
        let held = Figures { state: PairState::Held, ..working(5, 0) };
        let long = Figures { busy: false, ..working(5, 0) };
        let pairs =
            [(PairId::new("a", 0), working(5, 5)), (PairId::new("a", 1), held), (PairId::new("a", 2), long)];
        assert_eq!(watchdog.inspect(&pairs, at(10_000), LIMIT), []);
    }

    #[test]
    fn the_worker_is_hopeless_only_when_every_pair_is_stuck_for_long() {
        let failure = Failure::halt(Reason::LedgerMissing, "gone");
        let halted = Figures { state: PairState::Halted, reason: Some(failure.clone()), ..working(1, 0) };
        let (a, b) = (PairId::new("a", 0), PairId::new("a", 1));
        assert_eq!(hopeless(&[(a.clone(), halted.clone())], None, at(299), LIMIT), None);
        assert_eq!(hopeless(&[(a.clone(), halted.clone())], None, at(300), LIMIT), Some(failure.clone()));
        assert_eq!(hopeless(&[(a, halted), (b, working(0, 0))], None, at(900), LIMIT), None);
        let passing = Failure::target(Reason::BrokerUnavailable, "down");
        assert_eq!(hopeless(&[], Some((&passing, at(0))), at(900), LIMIT), None);
        assert_eq!(hopeless(&[], Some((&failure, at(0))), at(900), LIMIT), Some(failure));
    }
}
