//! The answer: what is needed, what bounds it, and how slowly it follows.

use std::collections::VecDeque;
use std::time::Duration;

use super::ceiling::Capacity;
use super::measure::{Measure, Moving};
use super::{Answer, Cause, DOWN_TOLERANCE, FULL, Look, Policy, REBALANCE_PATIENCE, TooEarly, UP_TOLERANCE};
use crate::Moment;

/// Answers for one fleet, look by look.
#[derive(Debug)]
pub struct Scaler {
    policy: Policy,
    measure: Measure,
    capacity: Capacity,
    /// Since when the group is watched without a break.
    watched_since: Option<Moment>,
    rebalancing_since: Option<Moment>,
    /// What was asked for last.
    asked: Option<u32>,
    /// What would have been needed, falling, no older than `down_after`.
    needed: VecDeque<(Moment, f64)>,
}

/// What is needed, before it is damped.
struct Need {
    /// In pods, with fractions.
    pods: f64,
    cause: Cause,
    reason: String,
}

impl Need {
    fn of(pods: f64, cause: Cause, reason: String) -> Self {
        Self { pods, cause, reason }
    }
}

impl Scaler {
    /// Knows nothing yet.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            measure: Measure::default(),
            capacity: Capacity::default(),
            watched_since: None,
            rebalancing_since: None,
            asked: None,
            needed: VecDeque::new(),
        }
    }

    /// Takes a look in and answers. Looks come every few seconds.
    ///
    /// # Errors
    /// [`TooEarly`] after the first looks, and again after a time without any.
    pub fn look(&mut self, look: &Look) -> Result<Answer, TooEarly> {
        if !self.measure.look(look) {
            self.watched_since = None;
        }
        let watched_since = *self.watched_since.get_or_insert(look.at);
        self.rebalancing_since = look.rebalancing.then(|| self.rebalancing_since.unwrap_or(look.at));
        if let Some(paced) = self.measure.pace() {
            self.capacity.learn(&paced, look.at);
        }
        let moving = self.measure.partitions().ok_or_else(|| TooEarly(self.measure.span()))?;
        let need = self.bounded(self.need(look, &moving), look, &moving);
        let watched = look.at.since(watched_since);
        let need = self.damped(need, look, watched);
        Ok(self.answer(need, &moving))
    }

    fn answer(&mut self, need: Need, moving: &[Moving]) -> Answer {
        let pods = need.pods as u32;
        self.asked = Some(pods);
        let lag = moving.iter().map(|partition| partition.backlog).sum();
        let rate: f64 = moving.iter().map(|partition| partition.rate).sum();
        let drain_seconds = match lag {
            0 => Some(0.0),
            lag => (rate > 0.0).then(|| lag as f64 / rate),
        };
        let (cause, reason) = (need.cause, need.reason);
        Answer { pods, cause, reason, lag, rate_per_pod: self.capacity.per_pod(), drain_seconds }
    }

    /// What it takes, by what is known of a pod.
    fn need(&self, look: &Look, moving: &[Moving]) -> Need {
        let behind: Vec<&Moving> = moving.iter().filter(|partition| partition.backlog > 0).collect();
        let arrives = moving.iter().any(|partition| partition.arrival > 0.0);
        if behind.is_empty() && !arrives {
            let waiting: u64 = look.partitions.iter().map(|partition| partition.waiting).sum();
            if waiting == 0 {
                return Need::of(0.0, Cause::Idle, "nothing is behind and nothing arrives".to_owned());
            }
            let words = format!(
                "nothing is behind; {waiting} records in open segments or in the retry topic wait for their time, and one pod stays for them"
            );
            return Need::of(1.0, Cause::Waiting, words);
        }
        let moves = |one: &Moving| one.counts() && (one.backlog > 0 || one.arrival > 0.0);
        if !moving.iter().any(moves) {
            return self.standing(look, &behind);
        }
        let Some(rate) = self.capacity.per_pod() else {
            let words = "there is work, and no pod has been seen at it yet: one more look first";
            return Need::of(f64::from(self.present(look).max(1)), Cause::Fresh, words.to_owned());
        };
        let need = self.demand(moving, rate);
        match self.measure.pace() {
            // What nobody has seen at its limit may be able to do much more.
            Some(paced) if paced.keeps_up && !self.capacity.is_loaded() => {
                let pods = (f64::from(paced.members) / 2.0).min(need.pods);
                let words = format!(
                    "{} pods keep up with {:.0}/s, and none was seen at its limit: half of them are tried{}",
                    paced.members,
                    paced.rate,
                    still(moving)
                );
                Need::of(pods, Cause::Demand, words)
            }
            _ => need,
        }
    }

    /// Nothing that is behind moves: more pods would stand as well.
    fn standing(&self, look: &Look, behind: &[&Moving]) -> Need {
        let pods = f64::from(self.present(look).max(1));
        let held = behind.iter().filter(|partition| partition.held).count();
        if held > 0 {
            let words = format!(
                "{held} of {} partitions that are behind are held back by a sink, a target or the flood breaker, and the others stand: more pods would wait as well",
                behind.len()
            );
            return Need::of(pods, Cause::Held, words);
        }
        let words =
            format!("{} partitions are behind and none moves: more pods would stand as well", behind.len());
        Need::of(pods, Cause::Stuck, words)
    }

    fn demand(&self, moving: &[Moving], rate: f64) -> Need {
        let drain = self.policy.drain.as_secs_f64().max(1.0);
        let (mut pods, mut alone) = (0.0, 0);
        for partition in moving.iter().filter(|partition| partition.counts()) {
            let wanted = (partition.arrival / FULL + partition.backlog as f64 / drain) / rate;
            alone += usize::from(wanted > 1.0);
            // One partition is read by one pod, however far it is behind.
            pods += wanted.min(1.0);
        }
        let arrival: f64 = moving.iter().map(|partition| partition.arrival).sum();
        let backlog: u64 =
            moving.iter().filter(|partition| partition.counts()).map(|partition| partition.backlog).sum();
        let mut words = format!(
            "{backlog} behind and {arrival:.0}/s arriving, at {rate:.0}/s a pod, take {pods:.1} pods to drain in {drain:.0} s{}",
            still(moving)
        );
        let pods = packed(f64::max(pods, 0.001), moving.len(), self.asked.unwrap_or(0) as usize);
        if alone > 0 && alone < moving.len() && pods.ceil() <= alone as f64 + 1.0 {
            words += &format!(
                "; {alone} of {} partitions would take longer than that alone, and more pods hardly help: one partition is read by one pod",
                moving.len()
            );
            return Need::of(pods, Cause::Skew, words);
        }
        Need::of(pods, Cause::Demand, words)
    }

    /// Pods that are there or were asked for.
    fn present(&self, look: &Look) -> u32 {
        look.members.max(self.asked.unwrap_or(0))
    }

    /// Holds it against what the sinks take, the partitions and the file.
    fn bounded(&self, mut need: Need, look: &Look, moving: &[Moving]) -> Need {
        if let Some(limit) = self.capacity.limit().filter(|limit| need.pods > f64::from(limit.pods)) {
            let words = format!(
                "more pods did not help: what the records go to takes {:.0}/s, and {} pods reach that",
                limit.rate, limit.pods
            );
            need = Need::of(f64::from(limit.pods), Cause::Sink, words);
        }
        let step = self.capacity.step(look.members);
        if matches!(need.cause, Cause::Demand | Cause::Skew) && need.pods.ceil() > f64::from(step) {
            let words = format!("{}; {step} first, and more when these have helped", need.reason);
            need = Need::of(f64::from(step), Cause::Step, words);
        }
        let partitions = moving.len() as u32;
        let (most, cause) = match self.policy.max {
            Some(max) if max < partitions => (max, Cause::Max),
            _ => (partitions, Cause::Partitions),
        };
        if need.pods > f64::from(most) || (need.pods.ceil() >= f64::from(most) && need.cause == Cause::Demand)
        {
            let words = match cause {
                Cause::Max => format!("{}; `scale.max` allows {most}", need.reason),
                _ => format!("{}; there are {most} partitions, and one is read by one pod", need.reason),
            };
            need = Need::of(need.pods.min(f64::from(most)), cause, words);
        }
        let least = self.policy.min.min(most);
        if need.pods < f64::from(least) {
            need =
                Need::of(f64::from(least), Cause::Min, format!("{}; `scale.min` keeps {least}", need.reason));
        }
        need
    }

    /// Up at once when it is worth it, down when it was so for long enough, and not at all while the group deals out.
    fn damped(&mut self, need: Need, look: &Look, watched: Duration) -> Need {
        let asked = self.asked.unwrap_or(look.members.max(need.pods.ceil() as u32));
        let most = self.most_needed(look.at, need.pods);
        let keep = |cause: Cause, words: &str| {
            Need::of(f64::from(asked), cause, format!("{words}: {}", need.reason))
        };
        let since = self.rebalancing_since.filter(|_| asked > 0);
        if since.is_some_and(|since| look.at.since(since) < REBALANCE_PATIENCE) {
            return keep(Cause::Rebalance, "the group is dealing out its partitions");
        }
        let wanted = need.pods.ceil();
        if wanted > f64::from(asked) {
            // Up to a bound every pod is worth it.
            let bounded = !matches!(need.cause, Cause::Demand | Cause::Skew);
            if bounded || need.pods > f64::from(asked) * UP_TOLERANCE {
                return Need { pods: wanted, ..need };
            }
            return keep(Cause::Steady, "a pod more is not worth a rebalance");
        }
        if wanted == f64::from(asked) {
            return Need { pods: wanted, ..need };
        }
        if need.cause == Cause::Sink {
            self.needed.clear();
            return need;
        }
        self.fewer(need, asked, most, watched)
    }

    fn fewer(&self, need: Need, asked: u32, most: f64, watched: Duration) -> Need {
        let after = self.policy.down_after;
        if watched < after {
            let words = format!(
                "watched for {} s of {}, too short to send anybody home: {}",
                watched.as_secs(),
                after.as_secs(),
                need.reason
            );
            return Need::of(f64::from(asked), Cause::Watching, words);
        }
        let target = most.ceil();
        if target >= f64::from(asked) {
            let words = format!(
                "{:.1} pods were needed within the last {} s: {}",
                most,
                after.as_secs(),
                need.reason
            );
            return Need::of(f64::from(asked), Cause::Cooling, words);
        }
        if most > f64::from(asked) * DOWN_TOLERANCE {
            let words = format!("a pod less is not worth a rebalance: {}", need.reason);
            return Need::of(f64::from(asked), Cause::Steady, words);
        }
        Need { pods: target, ..need }
    }

    /// The most that was needed within `down_after`.
    fn most_needed(&mut self, now: Moment, pods: f64) -> f64 {
        while self.needed.back().is_some_and(|(_, before)| *before <= pods) {
            self.needed.pop_back();
        }
        self.needed.push_back((now, pods));
        while self.needed.front().is_some_and(|(at, _)| now.since(*at) > self.policy.down_after) {
            self.needed.pop_front();
        }
        self.needed.front().map_or(pods, |(_, most)| *most)
    }
}

/// What is said of partitions that do not count.
fn still(moving: &[Moving]) -> String {
    match moving.iter().filter(|partition| !partition.counts() && partition.backlog > 0).count() {
        0 => String::new(),
        1 => "; 1 partition stands still or is held, and is not counted".to_owned(),
        more => format!("; {more} partitions stand still or are held, and are not counted"),
    }
}

/// Whole partitions are dealt out: with 12 of them the fullest of 7 pods reads two, as with 6, so where six are too few it takes
/// twelve. The least number whose fullest pod is not too full; fewer than were asked for need more room, else the number would swing.
fn packed(pods: f64, partitions: usize, asked: usize) -> f64 {
    let each = pods / partitions.max(1) as f64;
    let room = |count: usize| if count < asked { 1.0 } else { 1.0 / FULL };
    let fits = |count: &usize| partitions.div_ceil(*count) as f64 * each <= room(*count);
    let first = (pods.ceil() as usize).clamp(1, partitions.max(1));
    match (first..=partitions).find(fits) {
        Some(count) if count > first => count as f64,
        _ => pods,
    }
}

#[cfg(test)]
mod tests;
