//! What one worker says of itself.

use std::sync::Arc;

use longshore_core::Budget;
use longshore_runtime::{PairState, PairStatus, Phase, Status};

use super::view::{Detail, Outcomes, Partition, StatusPage, Worker, drain};
use crate::cli::VERSION;

/// This worker, as `/status` shows it.
pub(crate) struct Own {
    pub(crate) pipeline: String,
    pub(crate) pipeline_version: String,
    pub(crate) group: String,
    /// Its `client.id` in the group.
    pub(crate) client_id: String,
    pub(crate) port: u16,
    pub(crate) status: Arc<Status>,
    pub(crate) budget: Arc<Budget>,
}

impl Own {
    /// The page at this moment.
    pub(crate) fn page(&self) -> StatusPage {
        let pairs = self.status.pairs();
        let worker = Worker {
            name: self.client_id.clone(),
            client_id: self.client_id.clone(),
            host: None,
            port: Some(self.port),
            answers: true,
            version: Some(VERSION.to_owned()),
            state: Some(self.state(&pairs).to_owned()),
            partitions: pairs.len() as u64,
            rate: Some(pairs.iter().map(|pair| pair.lag.rate).sum()),
            memory: Some(self.budget.used()),
            budget: Some(self.budget.limit()),
            in_flight: Some(pairs.iter().map(|pair| pair.in_flight).sum()),
            uptime_seconds: Some(self.status.uptime().as_secs()),
        };
        StatusPage {
            pipeline: self.pipeline.clone(),
            pipeline_version: self.pipeline_version.clone(),
            group: self.group.clone(),
            worker,
            partitions_detail: pairs.iter().map(|pair| self.detail(pair)).collect(),
            outcomes: self.status.outcomes().into(),
        }
    }

    fn state(&self, pairs: &[PairStatus]) -> &'static str {
        let stands = |pair: &PairStatus| matches!(pair.state, PairState::Held | PairState::Halted);
        match self.status.phase() {
            Phase::Starting => "starting",
            Phase::Draining | Phase::Ended => "draining",
            Phase::Running if self.status.trouble().is_some() => "holding",
            Phase::Running if !pairs.is_empty() && pairs.iter().all(stands) => "holding",
            Phase::Running => "running",
        }
    }

    fn detail(&self, pair: &PairStatus) -> Detail {
        let (lag, rate) = (Some(pair.lag.records), Some(pair.lag.rate));
        let partition = Partition {
            topic: pair.pair.topic.to_string(),
            partition: pair.pair.partition.0,
            worker: Some(self.client_id.clone()),
            committed: pair.committed.map(|offset| offset.0),
            end: pair.log_end.0,
            lag,
            seconds_behind: pair.lag.seconds,
            rate,
            drain_seconds: drain(lag, rate),
            waiting: Some(pair.waiting),
            parked: Some(pair.parked),
            retries: Some(pair.outcomes.retried),
            dead_letters: Some(pair.outcomes.dead),
            held: pair.reason.as_ref().map(ToString::to_string),
        };
        Detail { state: pair.state.name().to_owned(), partition }
    }
}

impl From<longshore_runtime::Outcomes> for Outcomes {
    fn from(of: longshore_runtime::Outcomes) -> Self {
        let longshore_runtime::Outcomes { sunk, filtered, dead, already_held, retried } = of;
        Self { sunk, filtered, dead, already_held, retried }
    }
}
