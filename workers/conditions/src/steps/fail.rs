//! `fail`: a step for rehearsals that fails records on purpose, the same ones whenever they are read.

use std::path::PathBuf;

use longshore_core::failure::{Class, Scope};
use longshore_core::human::Share;
use longshore_core::{Failure, Flow, Item, Reason, RecordRef, Step};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BuildError, Condition};

/// `fail: { ratio: 5%, class: retry, times: 2 }`: fails records on purpose, to see what a pipeline and its people do about it.
/// Which records fail follows from their topic, partition and offset (and `seed`), so they fail again when they are read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FailOptions {
    /// The share of records that fail; of those that meet `when`, if it is given.
    pub ratio: Share,
    /// What their failure asks for.
    pub class: FailClass,
    /// Who else a failure of class `retry` affects: `record` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<FailScope>,
    /// Only records that meet this CEL condition fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Tries of a record that fail before one succeeds; all of them when left out. A replay begins anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub times: Option<u32>,
    /// The reason code of the failures, one of `docs/reasons.md`.
    pub reason: String,
    /// Another seed chooses other records.
    pub seed: u64,
    /// Nothing fails while this file is not there: an outage or a mistake that is over when the file is removed.
    #[serde(rename = "while", skip_serializing_if = "Option::is_none")]
    pub while_file: Option<PathBuf>,
}

/// What a failure asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FailClass {
    /// Another try.
    #[default]
    Retry,
    /// The dead letter, at once.
    Reject,
    /// A person: the partition stops.
    Halt,
    /// The end of the worker process at once, as by a defect in native code: a rehearsal of crash loops.
    Crash,
}

/// Who else is affected by a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FailScope {
    /// Nobody: the record goes to the retry topic.
    Record,
    /// All records: the partition waits until the target answers again, and no try is counted.
    Target,
}

impl Default for FailOptions {
    fn default() -> Self {
        Self {
            ratio: Share::ALL,
            class: FailClass::Retry,
            scope: None,
            when: None,
            times: None,
            reason: Reason::StepFailed.code().to_owned(),
            seed: 0,
            while_file: None,
        }
    }
}

impl FailOptions {
    /// What it does, in a few words: `5% retry`.
    pub fn words(&self) -> String {
        let class = match (self.class, self.scope) {
            (FailClass::Retry, None | Some(FailScope::Record)) => "retry",
            (FailClass::Retry, Some(FailScope::Target)) => "retry of the target",
            (FailClass::Reject, _) => "reject",
            (FailClass::Halt, _) => "halt",
            (FailClass::Crash, _) => "crash",
        };
        let of = if self.when.is_some() { " of those that meet a condition" } else { "" };
        let while_file = self.while_file.as_ref();
        let until = while_file.map(|file| format!(" while {} is there", file.display())).unwrap_or_default();
        format!("{} {class}{of}{until}", self.ratio)
    }

    fn class(&self) -> Result<Class, BuildError> {
        match (self.class, self.scope) {
            (FailClass::Retry, scope) => {
                let scope = match scope.unwrap_or(FailScope::Record) {
                    FailScope::Record => Scope::Record,
                    FailScope::Target => Scope::Target,
                };
                Ok(Class::Retry { scope, after: None })
            }
            (FailClass::Reject | FailClass::Halt | FailClass::Crash, Some(_)) => {
                Err(BuildError::new("scope", "only a failure of class `retry` has a scope"))
            }
            (FailClass::Reject, None) => Ok(Class::Reject),
            // Nobody sees the failure: the process ends before.
            (FailClass::Halt | FailClass::Crash, None) => Ok(Class::Halt),
        }
    }
}

/// Builds the step.
///
/// # Errors
/// A condition that does not compile, an unknown reason code, a scope or a number of times that the class does not have.
pub fn fail(options: &FailOptions) -> Result<Box<dyn Step>, BuildError> {
    let class = options.class()?;
    let counts = matches!(class, Class::Retry { scope: Scope::Record, .. });
    if options.times.is_some() && !counts {
        let message = "tries are counted for a failure of class `retry` and scope `record` alone";
        return Err(BuildError::new("times", message));
    }
    let reason = Reason::from_code(&options.reason)
        .ok_or_else(|| BuildError::new("reason", "no such reason code; `docs/reasons.md` lists them"))?;
    let compile =
        |text: &String| Condition::compile(text).map_err(|error| BuildError::condition("when", &error));
    let when = options.when.as_ref().map(compile).transpose()?;
    let times = options.times.unwrap_or(u32::MAX);
    let crashes = options.class == FailClass::Crash;
    let (ratio, seed, while_file) = (options.ratio, options.seed, options.while_file.clone());
    Ok(Box::new(Fail { ratio, class, crashes, when, times, reason, seed, while_file }))
}

struct Fail {
    ratio: Share,
    class: Class,
    crashes: bool,
    when: Option<Condition>,
    times: u32,
    reason: Reason,
    seed: u64,
    while_file: Option<PathBuf>,
}

impl Fail {
    /// Whether this record is one of those that fail. Of a split record all children are, or none.
    fn chooses(&self, record: &RecordRef) -> bool {
        let pair = record.pair();
        // FNV-1a (Fowler, Noll, Vo) over the name, then two rounds of the mixer of SplitMix64, so that neighbouring offsets fall
        // anywhere. Part of the step's contract: another version has to choose the same records.
        let topic = pair.topic.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let place = mixed(topic ^ self.seed).wrapping_add(pair.partition.0.cast_unsigned().into());
        let draw = mixed(mixed(place) ^ record.offset().0.cast_unsigned());
        draw % u64::from(Share::WHOLE) < u64::from(self.ratio.get())
    }
}

/// The output function of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Step for Fail {
    fn name(&self) -> &str {
        "fail"
    }

    fn apply(&self, item: &mut Item) -> Result<Flow, Failure> {
        if item.attempt > self.times || !self.chooses(&item.source) {
            return Ok(Flow::Keep);
        }
        if let Some(when) = &self.when
            && !when.matches(item)?
        {
            return Ok(Flow::Keep);
        }
        // Last, since it asks the file system.
        if self.while_file.as_ref().is_some_and(|file| !file.exists()) {
            return Ok(Flow::Keep);
        }
        if self.crashes {
            std::process::abort();
        }
        let detail = format_args!("a rehearsal: try {} fails on purpose", item.attempt);
        Err(Failure::new(self.class, self.reason, detail))
    }
}
