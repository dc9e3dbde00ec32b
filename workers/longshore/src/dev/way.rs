//! The places on a record's way, counted from the retry topic and the dead-letter topic: which records failed and came back,
//! which waited behind one of their key, which letters were made, and which were sent again.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use longshore_core::Origin;
use serde::Serialize;

use super::account::Account;
use super::evidence::{self, Copy, Letter, Pipeline, Published};
use super::expect::{FLOODED, Place, REHEARSED, Rehearsal};

/// The reason of a copy that waits behind another record.
const PARKED: &str = "retry.parked";

/// Records on their way, by place; each counts once, however many copies there are.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Way {
    /// Records that failed and went through the retry topic, by reason.
    pub(crate) retried: BTreeMap<String, u64>,
    /// Records that waited in the retry topic behind one of their key.
    pub(crate) parked: u64,
    /// Records of the retry topic that are not settled.
    pub(crate) waiting: u64,
    /// Dead letters that were made, those of replays included.
    pub(crate) letters: u64,
    /// Dead letters that were sent again.
    pub(crate) replayed: u64,
    /// Records that came while everything was rejected, and how many of them became letters; none when nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flood: Option<Flooded>,
}

/// What a flood of rejects did.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Flooded {
    /// Records that came meanwhile.
    pub(crate) came: u64,
    /// Those that became dead letters before the breaker held, or by its probes.
    pub(crate) letters: u64,
}

/// What stood in the retry topic and the dead-letter topic of one record.
#[derive(Default)]
struct Steps {
    /// The first reason for which it failed and came back.
    retried: Option<String>,
    parked: bool,
    /// The highest number of a replay that was sent.
    replays: u32,
    /// Reason of its first letter, by replay number.
    letters: BTreeMap<u32, String>,
}

/// All records that were anywhere but straight in their final place.
#[derive(Default)]
pub(super) struct Ways {
    records: HashMap<Origin, Steps>,
    rehearsal: Option<Rehearsal>,
    /// By partition, the first offset of what came while everything was rejected.
    flood_from: Vec<i64>,
}

impl Ways {
    /// Reads what stood in both topics; notes what must not be there.
    pub(super) fn read(
        folder: &Path,
        pipeline: &Pipeline,
        published: &HashMap<Origin, Published>,
        account: &mut Account,
    ) -> anyhow::Result<Self> {
        let flood_from = pipeline.flood_from.clone();
        let mut ways = Self { records: HashMap::new(), rehearsal: pipeline.rehearsal, flood_from };
        if let Some(retry) = &pipeline.retry {
            for copy in evidence::rows::<Copy>(&evidence::topic_file(folder, retry))? {
                ways.copy(copy, published, account);
            }
        }
        for letter in evidence::rows::<Letter>(&evidence::topic_file(folder, &pipeline.letters))? {
            ways.letter(letter, published, account);
        }
        for row in &pipeline.retry_committed {
            let waiting = u64::try_from(row.end - row.committed.unwrap_or(0)).unwrap_or(0);
            account.way.waiting += waiting;
            if waiting > 0 {
                let partition = row.partition;
                account.fault(format!("retry partition {partition}: {waiting} records are not settled"));
            }
        }
        Ok(ways)
    }

    fn copy(&mut self, copy: Copy, published: &HashMap<Origin, Published>, account: &mut Account) {
        let Some(origin) = copy.origin.filter(|origin| published.contains_key(origin)) else {
            return account
                .fault("a record of the retry topic that is no copy of a published one".to_owned());
        };
        if !copy.payload_same {
            account.fault(format!("changed copy: one of {origin} does not hold the published payload"));
        }
        let steps = self.records.entry(origin).or_default();
        if copy.replays > 0 {
            steps.replays = steps.replays.max(copy.replays);
        } else if copy.reason == PARKED {
            if !std::mem::replace(&mut steps.parked, true) {
                account.way.parked += 1;
            }
        } else if steps.retried.is_none() {
            *account.way.retried.entry(copy.reason.clone()).or_default() += 1;
            steps.retried = Some(copy.reason);
        }
    }

    fn letter(&mut self, letter: Letter, published: &HashMap<Origin, Published>, account: &mut Account) {
        let Some(origin) = letter.origin else {
            return account.fault("a dead letter without a readable origin".to_owned());
        };
        let Some(record) = published.get(&origin) else {
            return account.fault(format!("unexpected letter: {origin} was never published"));
        };
        let rehearsed = letter.reason == REHEARSED
            && letter.replays == 0
            && self.rehearsal.is_some_and(|rehearsal| rehearsal.rejects(&origin));
        let rehearsed =
            rehearsed || letter.reason == FLOODED && letter.replays == 0 && self.is_flooded(&origin);
        let steps = self.records.entry(origin.clone()).or_default();
        if steps.letters.contains_key(&letter.replays) {
            account.letter_copies += 1;
            return;
        }
        let words = &letter.reason;
        match &record.place {
            _ if !letter.payload_same => {
                account.fault(format!("wrong letter: that of {origin} does not hold the published payload"));
            }
            Place::Dead(reason) if reason == words || rehearsed => {}
            Place::Dead(reason) => {
                account.fault(format!("wrong letter: {origin} says {words}, expected {reason}"));
            }
            Place::File | Place::Filtered(_) if rehearsed => {}
            Place::File | Place::Filtered(_) => {
                account.fault(format!("unexpected letter: {origin} with {words}"));
            }
        }
        account.way.letters += 1;
        steps.letters.insert(letter.replays, letter.reason);
    }

    /// Whether the record came while everything was rejected.
    fn is_flooded(&self, origin: &Origin) -> bool {
        let from =
            usize::try_from(origin.partition.0).ok().and_then(|partition| self.flood_from.get(partition));
        from.is_some_and(|from| origin.offset.0 >= *from)
    }

    /// How many records came while everything was rejected, and how many of them the breaker let become letters.
    fn flooded(&self, published: &HashMap<Origin, Published>, account: &mut Account) {
        if self.flood_from.is_empty() {
            return;
        }
        let came = published.keys().filter(|origin| self.is_flooded(origin));
        let lettered = |origin: &Origin| {
            let steps = self.records.get(origin);
            steps.is_some_and(|steps| steps.letters.get(&0).is_some_and(|reason| reason == FLOODED))
        };
        let mut flood = Flooded::default();
        for origin in came {
            flood.came += 1;
            flood.letters += u64::from(lettered(origin));
        }
        account.way.flood = Some(flood);
        if flood.letters == 0 || flood.letters == flood.came {
            let Flooded { came, letters } = flood;
            account.fault(format!("flood: {letters} of {came} records became letters, so no breaker held"));
        }
    }

    /// Whether a replay sent the record, so that it may stand behind younger ones of its key.
    pub(super) fn is_replayed(&self, origin: &Origin) -> bool {
        self.records.get(origin).is_some_and(|steps| steps.replays > 0)
    }

    /// The reason of a letter that nobody has sent again: the record's final place.
    pub(super) fn open_letter(&self, origin: &Origin) -> Option<&str> {
        let steps = self.records.get(origin)?;
        let (replays, reason) = steps.letters.last_key_value()?;
        (*replays >= steps.replays).then_some(reason)
    }

    /// Counts what was sent again, and holds the rehearsal against what it should have done.
    pub(super) fn finish(&self, published: &HashMap<Origin, Published>, account: &mut Account) {
        for steps in self.records.values() {
            account.way.replayed += steps.letters.range(..steps.replays).count() as u64;
        }
        self.flooded(published, account);
        let mut wrong = Vec::new();
        for origin in published.keys() {
            let steps = self.records.get(origin);
            let retried = steps.is_some_and(|steps| steps.retried.as_deref() == Some(REHEARSED));
            let lettered =
                steps.is_some_and(|steps| steps.letters.get(&0).is_some_and(|reason| reason == REHEARSED));
            let (retries, rejects) =
                self.rehearsal.map_or((false, false), |fails| (fails.retries(origin), fails.rejects(origin)));
            if retries != retried {
                wrong.push((origin, if retries { "never went through retry" } else { "failed uncalled" }));
            }
            if rejects && !lettered {
                wrong.push((origin, "has no letter"));
            }
        }
        wrong.sort();
        for (origin, words) in wrong {
            account.fault(format!("rehearsal: {origin} {words}"));
        }
    }
}
