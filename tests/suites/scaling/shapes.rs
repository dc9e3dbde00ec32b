//! What comes, and what goes wrong meanwhile.

use super::model::PARTITIONS;

/// A load, second by second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Calm,
    Step,
    Sawtooth,
    Daily,
    Burst,
    Poison,
    SlowSink,
    BrokerLoss,
}

impl Shape {
    pub(crate) const ALL: [Self; 8] = [
        Self::Calm,
        Self::Step,
        Self::Sawtooth,
        Self::Daily,
        Self::Burst,
        Self::Poison,
        Self::SlowSink,
        Self::BrokerLoss,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Step => "step",
            Self::Sawtooth => "sawtooth",
            Self::Daily => "daily",
            Self::Burst => "burst",
            Self::Poison => "poison",
            Self::SlowSink => "slow sink",
            Self::BrokerLoss => "broker loss",
        }
    }

    /// How long it is played, in seconds.
    pub(crate) fn seconds(self) -> u64 {
        match self {
            Self::Daily => 24 * 3_600,
            _ => 3 * 3_600,
        }
    }

    /// Records a second that are published.
    pub(crate) fn arrival(self, second: u64) -> f64 {
        match self {
            Self::Calm | Self::Poison | Self::SlowSink | Self::BrokerLoss => 4_000.0,
            Self::Step if (1_800..7_200).contains(&second) => 7_000.0,
            Self::Step => 500.0,
            Self::Sawtooth => (second % 1_800) as f64 / 1_800.0 * 9_000.0,
            Self::Daily => {
                let turn = second as f64 / 86_400.0 * std::f64::consts::TAU;
                4_500.0 - 4_200.0 * turn.cos()
            }
            Self::Burst if second % 3_600 == 1_800 => 900_000.0,
            Self::Burst => 0.0,
        }
    }

    /// Whether a partition makes no progress.
    pub(crate) fn stands(self, second: u64, partition: usize) -> bool {
        self == Self::Poison && partition == PARTITIONS / 4 && (2_400..7_200).contains(&second)
    }

    /// Records a second that the sink takes from the whole fleet.
    pub(crate) fn sink(self, second: u64) -> f64 {
        if self == Self::SlowSink && (2_400..6_000).contains(&second) { 2_500.0 } else { 40_000.0 }
    }

    /// Whether something is wrong that more pods do not mend.
    pub(crate) fn is_ill(self, second: u64) -> bool {
        self.sink(second) < self.arrival(second)
            || (0..PARTITIONS).any(|partition| self.stands(second, partition))
    }

    /// Whether no broker answers: nothing is published, nothing is read, nothing is known.
    pub(crate) fn is_away(self, second: u64) -> bool {
        self == Self::BrokerLoss && (3_600..4_200).contains(&second)
    }
}
