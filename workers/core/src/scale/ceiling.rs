//! What a pod can do, and where more pods help no more.
//!
//! Every call for more pods is a question to what the records go to: the rate before is kept, and when the new ones have worked for a
//! while the rate has to have risen. If it has not, the fleet is at a ceiling, is told so, and asks again later.

use std::time::Duration;

use super::measure::Paced;
use crate::Moment;

/// The share of what more pods should bring, below which they did not help.
const HELPED: f64 = 0.4;
/// A pod that does less than this share of what pods did before is suspected to wait for something that more of them wait for as well.
const SUSPECT: f64 = 0.6;
/// A fleet this much quicker than its ceiling has none any more.
const RISEN: f64 = 1.3;
/// How long a ceiling is believed at first, and at most; each time that it is found again doubles it.
const BELIEVED: Duration = Duration::from_secs(600);
const BELIEVED_MOST: Duration = Duration::from_secs(3_600);
/// What a fleet did longer ago is nothing to compare with.
const REMEMBERED: Duration = Duration::from_secs(900);
/// A fleet that does less than this share of what as many pods did before is suspected as well.
const FELL: f64 = 0.75;
/// How much a new measurement moves what is known.
const WEIGHT: f64 = 0.25;

/// What pods can do.
#[derive(Debug, Default)]
pub(super) struct Capacity {
    /// Of one pod; a lower bound until it was once busy.
    per_pod: Option<f64>,
    /// Whether that was measured under load.
    loaded: bool,
    /// The best that one was seen to do under load.
    best: f64,
    /// The quickest that the whole fleet was.
    proven: f64,
    /// The fleet under load with as many members as last time.
    before: Option<(Paced, Moment)>,
    /// The quickest that so many members were.
    peak: (u32, f64),
    /// Under load the fleet does clearly less than it did.
    suspect: bool,
    limit: Option<Limit>,
    /// How long the next ceiling is believed.
    believed: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// So many pods reach it.
    pub(super) pods: u32,
    /// Offsets a second of the whole fleet.
    pub(super) rate: f64,
    until: Moment,
}

impl Capacity {
    pub(super) fn per_pod(&self) -> Option<f64> {
        self.per_pod
    }

    /// Whether that was measured under load, and is no lower bound.
    pub(super) fn is_loaded(&self) -> bool {
        self.loaded
    }

    pub(super) fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// The most pods to ask for at once, when so many are there.
    pub(super) fn step(&self, members: u32) -> u32 {
        let Some(per_pod) = self.per_pod else { return members.max(1) };
        if self.suspect && members > 0 {
            // Those that came last are judged first.
            let judged = self.before.is_none_or(|(before, _)| before.members >= members);
            return if judged { members + (members / 4).max(1) } else { members };
        }
        ((2.0 * self.proven / per_pod).ceil() as u32).max(2)
    }

    pub(super) fn learn(&mut self, paced: &Paced, now: Moment) {
        self.before = self.before.filter(|(_, at)| now.since(*at) < REMEMBERED);
        if self.peak.0 != paced.members {
            self.peak = (paced.members, paced.rate);
        }
        self.peak.1 = self.peak.1.max(paced.rate);
        if !paced.busy {
            self.suspect &= !paced.keeps_up;
            let least = self.per_pod.map_or(paced.per_pod, |known| known.max(paced.per_pod));
            self.per_pod = (least > 0.0).then_some(least);
            // What was in force under load says nothing of a fleet that keeps up.
            self.limit = self.limit.filter(|limit| limit.until > now && paced.rate <= limit.rate * RISEN);
            self.proven = self.proven.max(paced.rate);
            self.best = self.best.max(paced.per_pod);
            return;
        }
        if let Some(limit) = self.limit {
            if limit.until > now && paced.rate <= limit.rate * RISEN {
                return;
            }
            self.limit = None;
        }
        if self.has_not_helped(paced) {
            return self.found(paced, now);
        }
        self.grew(paced);
        self.suspect = paced.per_pod < SUSPECT * self.best || paced.rate < FELL * self.peak.1;
        let known = self.per_pod.filter(|_| self.loaded);
        let per_pod = known.map_or(paced.per_pod, |known| known + WEIGHT * (paced.per_pod - known));
        (self.per_pod, self.loaded) = (Some(per_pod), true);
        self.best = self.best.max(per_pod);
        self.proven = self.proven.max(paced.rate);
        self.before = Some((*paced, now));
    }

    /// Whether more pods than before brought less than they should.
    fn has_not_helped(&self, paced: &Paced) -> bool {
        self.before.is_some_and(|(before, _)| {
            let more = f64::from(paced.members) / f64::from(before.members) - 1.0;
            more > 0.0 && paced.rate - before.rate < HELPED * more * before.rate
        })
    }

    fn found(&mut self, paced: &Paced, now: Moment) {
        let Some((before, _)) = self.before else { return };
        // A quarter of a pod is noise.
        let pods = (f64::from(before.members) * paced.rate / before.rate.max(1.0) - 0.25).ceil() as u32;
        let believed = self.believed.unwrap_or(BELIEVED);
        self.believed = Some((believed * 2).min(BELIEVED_MOST));
        let pods = pods.clamp(before.members, paced.members);
        self.limit = Some(Limit { pods, rate: paced.rate, until: now.after(believed) });
        self.proven = paced.rate;
    }

    /// More pods did help: it is the records that have become slower, and no ceiling.
    fn grew(&mut self, paced: &Paced) {
        if self.before.is_some_and(|(before, _)| before.members < paced.members) {
            self.believed = None;
            self.best = paced.per_pod;
            self.per_pod = Some(paced.per_pod);
        }
    }
}

#[cfg(test)]
mod tests;
