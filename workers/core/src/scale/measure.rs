//! Rates, from looks that lie apart.

use std::collections::{BTreeMap, VecDeque};

use super::{BUSY_SECONDS, LEAST, Look, PartitionLook, STANDS, TORN, WINDOW};
use crate::{Moment, PairId};

/// What the last looks say.
#[derive(Debug, Default)]
pub(super) struct Measure {
    looks: VecDeque<Look>,
    /// Since when the members were the same and nothing was dealt out.
    calm_since: Moment,
    /// When each partition moved last, and how far it was then.
    moved: BTreeMap<PairId, (Moment, i64)>,
}

/// A partition, and how it moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moving {
    pub(super) backlog: u64,
    /// Offsets worked off each second.
    pub(super) rate: f64,
    /// Offsets that come each second.
    pub(super) arrival: f64,
    pub(super) held: bool,
    /// It is behind, has an owner, and does not move.
    pub(super) stands: bool,
    /// It has more to do than it could for a while.
    pub(super) busy: bool,
}

impl Moving {
    /// Whether a pod more or less makes a difference to it.
    pub(super) fn counts(&self) -> bool {
        !self.held && !self.stands
    }
}

/// What the members do together, measured while nothing was dealt out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paced {
    pub(super) members: u32,
    /// Offsets a second of the whole fleet.
    pub(super) rate: f64,
    /// The same for one pod of those that had work.
    pub(super) per_pod: f64,
    /// Whether each pod had more to do than it could.
    pub(super) busy: bool,
    /// Whether no pod is behind.
    pub(super) keeps_up: bool,
}

impl Measure {
    /// Takes a look in; whether what is known of the time before it still holds.
    pub(super) fn look(&mut self, look: &Look) -> bool {
        let torn = self.looks.back().is_some_and(|last| look.at.since(last.at) > TORN);
        if torn {
            self.looks.clear();
            self.moved.clear();
        }
        let same = self.looks.back().is_some_and(|last| last.members == look.members);
        if look.rebalancing || !same {
            self.calm_since = look.at;
        }
        self.note_moves(look);
        while self.looks.get(1).is_some_and(|second| look.at.since(second.at) >= WINDOW) {
            self.looks.pop_front();
        }
        self.looks.push_back(look.clone());
        !torn
    }

    fn note_moves(&mut self, look: &Look) {
        let calm = look.at == self.calm_since || look.members == 0;
        for seen in &look.partitions {
            let entry = self.moved.entry(seen.pair.clone()).or_insert((look.at, worked(seen)));
            // Nobody stands who has no owner, has one only now, or has nothing to do.
            if calm || worked(seen) != entry.1 || seen.backlog == 0 {
                *entry = (look.at, worked(seen));
            }
        }
    }

    /// How long the looks reach back.
    pub(super) fn span(&self) -> std::time::Duration {
        match (self.looks.front(), self.looks.back()) {
            (Some(first), Some(last)) => last.at.since(first.at),
            _ => std::time::Duration::ZERO,
        }
    }

    /// All partitions, none before there are rates.
    pub(super) fn partitions(&self) -> Option<Vec<Moving>> {
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        (self.span() >= LEAST).then(|| self.between(first, last))
    }

    fn between(&self, first: &Look, last: &Look) -> Vec<Moving> {
        let seconds = last.at.since(first.at).as_secs_f64();
        let moving = |(place, now): (usize, &PartitionLook)| {
            let then = before(first, place, &now.pair);
            let a_second = |of: fn(&PartitionLook) -> i64| {
                then.map_or(0.0, |then| (of(now) - of(then)).max(0) as f64 / seconds)
            };
            let rate = a_second(worked);
            let least = then.map_or(0, |then| then.backlog.min(now.backlog));
            let since = self.moved.get(&now.pair).map_or(last.at, |(at, _)| *at);
            let stands = last.at.since(since) >= STANDS;
            let busy = least as f64 > BUSY_SECONDS * rate && rate > 0.0;
            let arrival = a_second(|seen| seen.end);
            Moving { backlog: now.backlog, rate, arrival, held: now.held, stands, busy }
        };
        last.partitions.iter().enumerate().map(moving).collect()
    }

    /// What the members do together; none while there are none, or they have not worked side by side for long enough.
    pub(super) fn pace(&self) -> Option<Paced> {
        let last = self.looks.back()?;
        let first = self.looks.iter().find(|look| look.at > self.calm_since)?;
        if last.members == 0 || last.at.since(first.at) < LEAST {
            return None;
        }
        let moving = self.between(first, last);
        let all = || moving.iter().filter(|partition| partition.counts());
        let rate: f64 = all().map(|partition| partition.rate).sum();
        let (mut behind, mut keeping, mut busy_rate) = (0u32, 0u32, 0.0);
        for partition in all().filter(|one| one.backlog > 0 || one.arrival > 0.0) {
            if partition.busy {
                (behind, busy_rate) = (behind + 1, busy_rate + partition.rate);
            } else {
                keeping += 1;
            }
        }
        let members = last.members.min(last.partitions.len() as u32).max(1);
        let busy = keeping == 0 && behind >= members;
        // With few partitions behind, the pods that have them are at work and the others keep up.
        let alone = busy_rate / f64::from(behind.max(1));
        let per_pod = alone.max(rate / f64::from(members));
        let backlog: u64 = all().map(|partition| partition.backlog).sum();
        let keeps_up = behind == 0 && backlog as f64 <= BUSY_SECONDS * rate;
        Some(Paced { members, rate, per_pod, busy, keeps_up })
    }
}

/// The same partition in an earlier look: nearly always at the same place.
fn before<'a>(look: &'a Look, place: usize, pair: &PairId) -> Option<&'a PartitionLook> {
    let there = look.partitions.get(place).filter(|seen| seen.pair == *pair);
    there.or_else(|| look.partitions.iter().find(|seen| seen.pair == *pair))
}

/// How far a partition is worked off.
fn worked(seen: &PartitionLook) -> i64 {
    seen.end - seen.backlog as i64
}

#[cfg(test)]
mod tests;
