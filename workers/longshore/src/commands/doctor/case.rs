//! What all looks are told: the pipeline, how its brokers are reached, and how it was typed.

use std::fmt::Write;

use longshore_core::{Failure, Reason};
use longshore_kafka::{KafkaOptions, Mechanism, Right, dead_letter_topic, journal_topic, retry_topic};
use longshore_settings::{Loaded, Pipeline};

use super::finding::{Check, Finding, Next};
use crate::cli::Doctor;
use crate::worker::connect;

/// The pipeline that is looked at.
pub(super) struct Case {
    loaded: Loaded,
    pub(super) options: KafkaOptions,
    /// The pipeline file as it was typed.
    file: String,
    sets: String,
}

impl Case {
    pub(super) fn new(loaded: Loaded, arguments: &Doctor) -> Self {
        let options = connect::options(&loaded.pipeline.kafka);
        let file = quoted(&arguments.config.display().to_string());
        // Their values may be secrets, so they are only asked for again.
        let sets = if arguments.overrides.set.is_empty() { "" } else { " --set ..." };
        Self { loaded, options, file, sets: sets.to_owned() }
    }

    pub(super) fn pipeline(&self) -> &Pipeline {
        &self.loaded.pipeline
    }

    /// `longshore COMMAND FILE`.
    pub(super) fn command(&self, command: &str) -> Next {
        Next::Command(format!("longshore {command} {}{}", self.file, self.sets))
    }

    /// The command that gives these rights to what is named after its kind, `topic` or `group`.
    pub(super) fn grant(&self, places: &[(&str, &str)], rights: &[Right]) -> Next {
        let principal = quoted(&self.principal());
        let mut command = format!("{} --add --allow-principal {principal}", self.tool("kafka-acls"));
        for right in rights {
            let _ = write!(command, " --operation {}", right.word());
        }
        for (kind, name) in places {
            let _ = write!(command, " --{kind} {}", quoted(name));
        }
        Next::Command(command)
    }

    /// Kafka's own tool of this name, up to how it reaches the brokers.
    pub(super) fn tool(&self, name: &str) -> String {
        let security = &self.options.security;
        let plain = security.sasl.is_none() && security.tls.is_none() && security.protocol.is_none();
        let login = if plain { "" } else { " --command-config ADMIN.properties" };
        format!("{name} --bootstrap-server {}{login}", self.options.brokers)
    }

    /// The pipeline's inputs, and its own topics.
    fn topics(&self) -> Vec<String> {
        let pipeline = self.pipeline();
        let name = &pipeline.pipeline;
        let mut topics = vec![journal_topic(name)];
        for input in &pipeline.input.topics {
            topics.extend([input.clone(), dead_letter_topic(input, name)]);
            if pipeline.has_retry_topics() {
                topics.push(retry_topic(input, name));
            }
        }
        topics
    }

    /// Who we are to the brokers; with a certificate or a token only they can tell.
    pub(super) fn principal(&self) -> String {
        let sasl = self.options.security.sasl.as_ref();
        let named = sasl.filter(|sasl| sasl.mechanism != Mechanism::OauthBearer);
        match named.and_then(|sasl| sasl.username.as_ref()) {
            Some(user) => format!("User:{user}"),
            None if self.options.security.sasl.is_none() && self.options.security.tls.is_none() => {
                "User:ANONYMOUS".to_owned()
            }
            None => "User:NAME".to_owned(),
        }
    }

    /// A librdkafka setting of the pipeline file, as a number.
    pub(super) fn client_setting(&self, name: &str) -> Option<u64> {
        self.options.client.get(name).and_then(|value| value.to_string().parse().ok())
    }

    /// What a look at a part of Kafka ended with.
    pub(super) fn failed(&self, check: Check, about: &str, failure: &Failure) -> Finding {
        let next = match failure.reason {
            Reason::BrokerAuthentication => Next::Setting(
                "kafka.security: protocol, mechanism, username, password or token_file, tls.ca".to_owned(),
            ),
            // Which of them was refused stands in the words alone.
            Reason::BrokerAuthorization => {
                let (topics, group) = (self.topics(), self.pipeline().group());
                let mut places: Vec<_> = topics.iter().map(|topic| ("topic", topic.as_str())).collect();
                places.extend((check == Check::Group).then_some(("group", group.as_str())));
                self.grant(&places, &[Right::Describe])
            }
            Reason::BrokerTopicMissing | Reason::BrokerTopicUnfit => self.command("topics apply"),
            Reason::LedgerForeign | Reason::OffsetOutOfRange => Next::Setting(format!(
                "input.group: another one than {}, with input.start where it is to begin",
                self.pipeline().group()
            )),
            Reason::BrokerConfiguration => Next::Setting(
                "kafka.client, and the files of kafka.security: there, and readable, on this machine"
                    .to_owned(),
            ),
            Reason::BrokerUnavailable if check == Check::Broker => Next::Setting(format!(
                "kafka.brokers: addresses of brokers that run, now {}; and kafka.security: what they speak there",
                self.options.brokers
            )),
            // One broker answered: others are lacking, or partitions are, those of `__consumer_offsets` among them.
            Reason::BrokerUnavailable | Reason::BrokerGroup => {
                Next::Command(format!("{} --describe --under-min-isr-partitions", self.tool("kafka-topics")))
            }
            other => {
                Next::Setting(format!("what {} asks for stands in docs/when-records-fail.md", other.code()))
            }
        };
        Finding::error(check, about, failure.to_string(), next)
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:,=@%+".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use longshore_settings::Sources;

    use super::*;
    use crate::cli::Overrides;

    /// Scenario: looks that fail for other reasons than that no broker runs. Guarantee: what is said to do about it fits the reason.
    #[test]
    fn what_to_do_fits_what_was_found() {
        let text = "pipeline: p\nkind: logs\nkafka: { brokers: 'a:1' }\ninput: { topics: [in] }\nsinks: [ { stdout: {} } ]\n";
        let loaded = longshore_settings::load(Sources::text("p.yaml", text)).unwrap();
        let case = Case::new(loaded, &Doctor { config: "p.yaml".into(), overrides: Overrides::default() });
        let next = |check, reason| {
            let failure = Failure::halt(reason, "x");
            serde_json::to_string(&case.failed(check, "p", &failure)).unwrap()
        };
        let wanted = [
            (Check::Broker, Reason::BrokerUnavailable, "kafka.brokers: addresses"),
            (Check::Broker, Reason::BrokerConfiguration, "kafka.client"),
            (
                Check::Group,
                Reason::BrokerUnavailable,
                "kafka-topics --bootstrap-server a:1 --describe --under-min-isr",
            ),
            (Check::Group, Reason::FormatNewer, "format.newer asks for"),
            (
                Check::Topic,
                Reason::BrokerAuthorization,
                "--operation Describe --topic longshore.p.journal --topic in --topic in.p.dlq --topic in.p.retry\"",
            ),
            (Check::Group, Reason::BrokerAuthorization, "--topic in.p.retry --group longshore.p"),
        ];
        for (check, reason, words) in wanted {
            let said = next(check, reason);
            assert!(said.contains(words), "{words}: {said}");
        }
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_take_them_apart() {
        assert_eq!(super::quoted("a/b.yaml"), "a/b.yaml");
        assert_eq!(super::quoted("it's $HOME"), "'it'\\''s $HOME'");
    }
}
