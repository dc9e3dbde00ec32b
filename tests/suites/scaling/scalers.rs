//! Who says how many pods there are to be. All three go through the rules of Kubernetes' HorizontalPodAutoscaler (autoscaling/v2, its defaults):
//! a look every 15 s, a tolerance of 10 %, up by the larger of 4 pods and 100 % in 15 s, down to the most that was wanted in a window.

use std::collections::VecDeque;
use std::time::Duration;

use longshore_core::scale::{Answer, Cause, Look, Policy, Scaler};

use super::model::{PARTITIONS, RATE, Seen, TARGET};

/// A scaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Longshore,
    LagThreshold,
    LowLagThreshold,
    Cpu,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Longshore, Self::LagThreshold, Self::LowLagThreshold, Self::Cpu];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Longshore => "longshore",
            Self::LagThreshold => "KEDA `lagThreshold`",
            Self::LowLagThreshold => "KEDA `lagThreshold`, a quarter",
            Self::Cpu => "HPA on CPU",
        }
    }
}

/// What the autoscaler looks at every 15 s.
enum Metric {
    /// Of all pods together, each of which is to have so much.
    Sum(f64),
    /// Of a pod on average, with the value that is wanted.
    Mean(f64, f64),
    /// Nobody can tell: the number of pods stays.
    Unknown,
}

/// One autoscaler over one scaler.
pub(crate) struct Autoscaler {
    kind: Kind,
    scaler: Scaler,
    /// The last answer; none when there is none.
    pub(crate) answer: Option<Answer>,
    pub(crate) causes: Vec<Cause>,
    wanted: VecDeque<(u64, u32)>,
}

impl Autoscaler {
    pub(crate) fn new(kind: Kind) -> Self {
        let policy = Policy {
            drain: Duration::from_secs(TARGET),
            min: 0,
            max: None,
            down_after: Duration::from_secs(300),
        };
        Self { kind, scaler: Scaler::new(policy), answer: None, causes: Vec::new(), wanted: VecDeque::new() }
    }

    /// Every five seconds.
    pub(crate) fn look(&mut self, look: Option<&Look>) {
        self.answer = look.and_then(|look| self.scaler.look(look).ok());
        if let Some(answer) = &self.answer
            && !self.causes.contains(&answer.cause)
        {
            self.causes.push(answer.cause);
        }
    }

    fn metric(&self, seen: &Seen) -> Metric {
        match self.kind {
            Kind::Longshore => {
                self.answer.as_ref().map_or(Metric::Unknown, |it| Metric::Sum(f64::from(it.pods)))
            }
            Kind::LagThreshold | Kind::LowLagThreshold if !seen.known => Metric::Unknown,
            // With the threshold that somebody would choose who knows a pod's rate: what one works off within the target.
            Kind::LagThreshold => Metric::Sum(seen.lag / (RATE * TARGET as f64)),
            // With a quarter of it, by somebody who has seen that lag at the threshold is lag that stays.
            Kind::LowLagThreshold => Metric::Sum(seen.lag / (RATE * TARGET as f64 / 4.0)),
            Kind::Cpu => Metric::Mean(seen.cpu, 0.7),
        }
    }

    /// Every fifteen seconds: how many pods there are to be. `pods` are those that were asked for, `ready` those that answer.
    pub(crate) fn sync(&mut self, second: u64, pods: u32, ready: u32, seen: &Seen) -> u32 {
        let raw = match self.metric(seen) {
            Metric::Unknown => return pods,
            Metric::Sum(sum) if pods == 0 => u32::from(sum > 0.0),
            Metric::Sum(sum) if (sum / f64::from(pods) - 1.0).abs() <= 0.1 => pods,
            Metric::Sum(sum) => sum.ceil() as u32,
            Metric::Mean(mean, target) if (mean / target - 1.0).abs() <= 0.1 || ready == 0 => pods,
            Metric::Mean(mean, target) => (f64::from(ready) * mean / target).ceil() as u32,
        };
        let least = match self.kind {
            Kind::Longshore | Kind::LagThreshold | Kind::LowLagThreshold => 0,
            Kind::Cpu => 1,
        };
        let raw = raw.clamp(least, PARTITIONS as u32);
        let window = match self.kind {
            Kind::Longshore => 60,
            Kind::LagThreshold | Kind::LowLagThreshold | Kind::Cpu => 300,
        };
        self.wanted.push_back((second, raw));
        while self.wanted.front().is_some_and(|(at, _)| second - at > window) {
            self.wanted.pop_front();
        }
        let most = self.wanted.iter().map(|(_, pods)| *pods).max().unwrap_or(raw);
        let up = (pods + 4).max(2 * pods);
        if raw > pods { raw.min(up) } else { most.min(pods) }
    }
}
