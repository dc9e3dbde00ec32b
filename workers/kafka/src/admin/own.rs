//! The topics that a pipeline owns: what they must be, and what differs (design section 4, "The retry lane", 1).

use std::collections::BTreeMap;
use std::time::Duration;

use super::NewTopic;
use crate::names::{dead_letter_topic, journal_topic, retry_topic};

const TIMESTAMPS: &str = "message.timestamp.type";
const CLEANUP: &str = "cleanup.policy";
const RETENTION: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const RECORD_BYTES: &str = "max.message.bytes";

/// The size of a record that a broker takes when nobody says otherwise (`max.message.bytes`, Kafka's documentation).
const DEFAULT_RECORD_BYTES: i64 = 1_048_588;
/// What our headers may add to a record, with a batch's own head; they take at most 2 KiB.
const HEADER_BYTES: i64 = 4 * 1024;
/// The room a topic is made with, for headers that a later version adds.
const HEADER_ROOM_BYTES: i64 = 64 * 1024;
const DAY_MS: i64 = 86_400_000;
/// A copy may wait out a fleet that is down: as long as Kafka keeps an input topic when nobody says otherwise.
const RETRY_RETENTION_MS: i64 = 7 * DAY_MS;
const LETTER_RETENTION_MS: i64 = 30 * DAY_MS;

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Copies of records that are tried again, read beside the input by its owner.
    Retry,
    /// Records that are tried no more.
    Letters,
    /// Replays, audit and quarantine of the whole pipeline.
    Journal,
}

impl Purpose {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Letters => "dead letters",
            Self::Journal => "journal",
        }
    }
}

/// A pipeline whose topics are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnTopics {
    /// The pipeline's name.
    pub pipeline: String,
    /// Its input topics.
    pub inputs: Vec<String>,
    /// The longest wait of a retry; none without retry topics.
    pub retry_cap: Option<Duration>,
}

/// A topic as the broker has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    /// How many partitions it has.
    pub partitions: u32,
    /// Copies of each partition, the fewest that one of them has.
    pub replicas: i32,
    /// Its settings, the broker's defaults among them; none when the broker cannot tell.
    pub settings: Option<BTreeMap<String, String>>,
}

impl TopicState {
    fn number(&self, name: &str) -> Option<i64> {
        self.settings.as_ref()?.get(name)?.parse().ok()
    }
}

/// What a setting must be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    /// This value.
    Is(&'static str),
    /// At least `least`; `made` is what it gets. Where less than zero means without a bound, that will do.
    AtLeast { least: i64, made: i64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    setting: &'static str,
    wanted: Wanted,
    /// Whether a worker may not start without it.
    needed: bool,
    why: &'static str,
}

/// A topic that a pipeline owns, as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnTopic {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub purpose: Purpose,
    /// How many partitions it must have.
    pub partitions: u32,
    /// How many copies of each partition it should have; none leaves it to the broker.
    pub replicas: Option<i32>,
    rules: Vec<Rule>,
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What is found, what is wanted and why, for people.
    pub words: String,
    /// Whether a worker may not start with it.
    pub refused: bool,
    /// What mends it.
    pub mend: Mend,
}

/// What mends a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// Growing the topic to so many partitions.
    Grow(u32),
    /// Setting a setting of the topic.
    Set {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// Nothing that can be asked of a broker here; a person's work.
    Nothing,
}

impl OwnTopics {
    /// All of them, the retry topic of each input first: it must never have fewer partitions than the input. `inputs` are
    /// the inputs as found; one that is missing counts as made with so many `partitions`.
    pub fn wanted(&self, inputs: &[(String, Option<TopicState>)], partitions: u32) -> Vec<OwnTopic> {
        let mut topics = Vec::new();
        let mut replicas: Option<i32> = None;
        for (name, found) in inputs {
            let partitions = found.as_ref().map_or(partitions, |found| found.partitions);
            let copies = found.as_ref().map(|found| found.replicas);
            replicas = replicas.max(copies);
            let largest = found.as_ref().and_then(|found| found.number(RECORD_BYTES));
            let largest = largest.unwrap_or(DEFAULT_RECORD_BYTES);
            if let Some(cap) = self.retry_cap {
                topics.push(OwnTopic {
                    name: retry_topic(name, &self.pipeline),
                    purpose: Purpose::Retry,
                    partitions,
                    replicas: copies,
                    rules: retry_rules(cap, largest),
                });
            }
            topics.push(OwnTopic {
                name: dead_letter_topic(name, &self.pipeline),
                purpose: Purpose::Letters,
                partitions,
                replicas: copies,
                rules: letter_rules(largest),
            });
        }
        topics.push(OwnTopic {
            name: journal_topic(&self.pipeline),
            purpose: Purpose::Journal,
            partitions: 1,
            replicas,
            rules: journal_rules(),
        });
        topics
    }
}

/// What a topic of this name is made with when nothing is known of its input: by the ending that a pipeline's own topics
/// have; nothing for any other.
pub fn own_settings(name: &str) -> Vec<(String, String)> {
    let rules = match name.rsplit('.').next() {
        Some("retry") => retry_rules(Duration::ZERO, DEFAULT_RECORD_BYTES),
        Some("dlq") => letter_rules(DEFAULT_RECORD_BYTES),
        Some("journal") => journal_rules(),
        _ => Vec::new(),
    };
    rules.iter().map(|rule| (rule.setting.to_owned(), rule.made())).collect()
}

fn is(setting: &'static str, value: &'static str, needed: bool, why: &'static str) -> Rule {
    Rule { setting, wanted: Wanted::Is(value), needed, why }
}

/// What a topic needs that holds records of any age: with the record's own time, an old record would be deleted minutes
/// after it lands.
fn arrival_rules() -> Vec<Rule> {
    vec![
        is(TIMESTAMPS, "LogAppendTime", true, "an old record would be deleted minutes after it lands"),
        is(CLEANUP, "delete", true, "compaction would delete records of the same key"),
    ]
}

fn size_rule(input_bytes: i64) -> Rule {
    let wanted = Wanted::AtLeast { least: input_bytes + HEADER_BYTES, made: input_bytes + HEADER_ROOM_BYTES };
    let why = "the input's largest record with our headers";
    Rule { setting: RECORD_BYTES, wanted, needed: false, why }
}

fn retry_rules(cap: Duration, input_bytes: i64) -> Vec<Rule> {
    let least = i64::try_from(cap.as_millis()).unwrap_or(i64::MAX).saturating_add(DAY_MS);
    let mut rules = arrival_rules();
    rules.push(Rule {
        setting: RETENTION,
        wanted: Wanted::AtLeast { least, made: least.max(RETRY_RETENTION_MS) },
        needed: true,
        why: "the longest wait and a day, or copies are lost before they are tried",
    });
    rules.push(is(RETENTION_BYTES, "-1", true, "copies would be lost before they are tried"));
    rules.push(size_rule(input_bytes));
    rules
}

fn letter_rules(input_bytes: i64) -> Vec<Rule> {
    let mut rules = arrival_rules();
    rules.push(Rule {
        setting: RETENTION,
        wanted: Wanted::AtLeast { least: LETTER_RETENTION_MS, made: LETTER_RETENTION_MS },
        needed: false,
        why: "30 days for somebody to look at them",
    });
    rules.push(is(RETENTION_BYTES, "-1", false, "letters would be lost before anybody looks at them"));
    rules.push(size_rule(input_bytes));
    rules
}

fn journal_rules() -> Vec<Rule> {
    vec![is(CLEANUP, "compact", true, "the last word on each letter is kept for ever")]
}

impl Rule {
    fn made(&self) -> String {
        match self.wanted {
            Wanted::Is(value) => value.to_owned(),
            Wanted::AtLeast { made, .. } => made.to_string(),
        }
    }

    fn difference(&self, found: &str) -> Option<Difference> {
        let wanted = match self.wanted {
            Wanted::Is(value) if found == value => return None,
            Wanted::Is(value) => value.to_owned(),
            Wanted::AtLeast { least, .. } => {
                let kept = found.parse::<i64>().ok()?;
                if kept < 0 || kept >= least {
                    return None;
                }
                let days = self.setting == RETENTION && least % DAY_MS == 0;
                if days {
                    format!("{least} ({} days) or more", least / DAY_MS)
                } else {
                    format!("{least} or more")
                }
            }
        };
        let (setting, why) = (self.setting, self.why);
        Some(Difference {
            words: format!("{setting} is {found}; wanted: {wanted} ({why})"),
            refused: self.needed,
            mend: Mend::Set { name: setting, value: self.made() },
        })
    }
}

impl OwnTopic {
    /// The topic to make.
    pub fn new_topic(&self) -> NewTopic {
        NewTopic {
            name: self.name.clone(),
            partitions: self.partitions,
            replicas: self.replicas,
            settings: self.rules.iter().map(|rule| (rule.setting.to_owned(), rule.made())).collect(),
        }
    }

    /// What is not as it must be. Settings that the broker cannot tell are passed over.
    pub fn judge(&self, found: &TopicState) -> Vec<Difference> {
        let mut differences = Vec::new();
        if found.partitions < self.partitions {
            let (has, needs) = (found.partitions, self.partitions);
            let whose = match self.purpose {
                Purpose::Retry | Purpose::Letters => {
                    format!(
                        "has {has} partitions; its input has {needs}, and a record goes to the same one in both"
                    )
                }
                Purpose::Journal => format!("has {has} partitions; wanted: {needs}"),
            };
            differences.push(Difference { words: whose, refused: true, mend: Mend::Grow(needs) });
        }
        if let Some(wanted) = self.replicas
            && found.replicas < wanted
        {
            let has = found.replicas;
            let words = format!(
                "has {has} copies of a partition; its input has {wanted}, so it would be lost before the input is \
                 (`kafka-reassign-partitions` adds copies)"
            );
            differences.push(Difference { words, refused: false, mend: Mend::Nothing });
        }
        let found = found.settings.iter().flatten();
        for (name, value) in found {
            let rule = self.rules.iter().find(|rule| rule.setting == name.as_str());
            differences.extend(rule.and_then(|rule| rule.difference(value)));
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(partitions: u32, settings: &[(&str, &str)]) -> TopicState {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        TopicState { partitions, replicas: 3, settings: Some(settings.collect()) }
    }

    fn wanted() -> Vec<OwnTopic> {
        let own = OwnTopics {
            pipeline: "p".to_owned(),
            inputs: vec!["in".to_owned()],
            retry_cap: Some(Duration::from_secs(3600)),
        };
        own.wanted(&[("in".to_owned(), Some(state(4, &[(RECORD_BYTES, "2000000")])))], 8)
    }

    /// What a topic has after it was made, as a broker would tell.
    fn made(topic: &OwnTopic) -> TopicState {
        let new = topic.new_topic();
        let settings = new.settings.into_iter().collect();
        TopicState { partitions: new.partitions, replicas: new.replicas.unwrap(), settings: Some(settings) }
    }

    /// Guarantee: what is made is what is asked for: partitions and copies as the input, room for its largest record.
    #[test]
    fn what_is_made_will_do() {
        let names: Vec<_> = wanted().into_iter().map(|topic| topic.name).collect();
        assert_eq!(names, ["in.p.retry", "in.p.dlq", "longshore.p.journal"]);
        for topic in wanted() {
            assert_eq!(topic.judge(&made(&topic)), []);
            assert_eq!(topic.replicas, Some(3));
        }
        let settings = made(&wanted()[0]).settings.unwrap();
        assert_eq!(settings[RETENTION], (7 * DAY_MS).to_string());
        assert_eq!(settings[RECORD_BYTES], (2_000_000 + HEADER_ROOM_BYTES).to_string());
    }

    #[test]
    fn every_difference_is_told_with_what_mends_it() {
        let found = state(
            3,
            &[
                (TIMESTAMPS, "CreateTime"),
                (CLEANUP, "compact,delete"),
                (RETENTION, "89999999"),
                (RETENTION_BYTES, "1000"),
                (RECORD_BYTES, "2000000"),
            ],
        );
        let differences = wanted()[0].judge(&TopicState { replicas: 1, ..found.clone() });
        let refused: Vec<_> = differences.iter().map(|difference| difference.refused).collect();
        // Partitions, copies; then the settings by name.
        assert_eq!(refused, [true, false, true, false, true, true, true], "{differences:#?}");
        assert_eq!(differences[0].mend, Mend::Grow(4));
        assert_eq!(differences[1].mend, Mend::Nothing);
        let last = differences.last().unwrap();
        assert!(
            last.words.starts_with("message.timestamp.type is") || last.words.starts_with("retention"),
            "{last:?}"
        );
        // A letter topic that keeps less is the owner's choice; a worker starts with it.
        let letters = wanted()[1].judge(&state(4, &[(RETENTION, "604800000")]));
        assert_eq!(letters.iter().map(|difference| difference.refused).collect::<Vec<_>>(), [false]);
        assert!(letters[0].words.contains("2592000000 (30 days) or more"), "{letters:?}");
        let journal = wanted()[2].judge(&state(1, &[(CLEANUP, "delete")]));
        assert_eq!(journal[0].mend, Mend::Set { name: CLEANUP, value: "compact".to_owned() });
    }

    /// Longer is no fault, nor for ever, nor a broker that cannot tell.
    #[test]
    fn more_is_as_good() {
        let retry = &wanted()[0];
        let mut found = made(retry);
        let settings = found.settings.as_mut().unwrap();
        settings.insert(RETENTION.to_owned(), "-1".to_owned());
        settings.insert(RECORD_BYTES.to_owned(), "90000000".to_owned());
        found.partitions = 9;
        assert_eq!(retry.judge(&found), []);
        assert_eq!(retry.judge(&TopicState { settings: None, ..found }), []);
    }

    /// The topic that grows last would leave records without a place to wait.
    #[test]
    fn the_retry_topic_comes_before_the_letters_and_is_left_out_without_retries() {
        let own = OwnTopics { pipeline: "p".to_owned(), inputs: vec!["in".to_owned()], retry_cap: None };
        let names: Vec<_> =
            own.wanted(&[("in".to_owned(), None)], 8).into_iter().map(|topic| topic.name).collect();
        assert_eq!(names, ["in.p.dlq", "longshore.p.journal"]);
    }
}
