//! What all looks are told: the pipeline, how its brokers are reached, and how it was typed.

use std::fmt::Write;

use longshore_core::{Failure, Reason};
use longshore_kafka::{KafkaOptions, Mechanism, Right};
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

    /// The command that gives these rights.
    pub(super) fn grant(&self, kind: &str, name: &str, rights: &[Right]) -> Next {
        let mut command = format!(
            "kafka-acls --bootstrap-server {} --add --allow-principal {}",
            self.options.brokers,
            quoted(&self.principal())
        );
        for right in rights {
            let _ = write!(command, " --operation {}", right.word());
        }
        let _ = write!(command, " --{kind} {}", quoted(name));
        Next::Command(command)
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
            Reason::BrokerAuthorization => {
                self.grant(if check == Check::Group { "group" } else { "topic" }, about, &[Right::Describe])
            }
            Reason::BrokerTopicMissing | Reason::BrokerTopicUnfit => self.command("topics apply"),
            Reason::LedgerForeign | Reason::OffsetOutOfRange => Next::Setting(format!(
                "input.group: another one than {}, with input.start where it is to begin",
                self.pipeline().group()
            )),
            _ => Next::Setting(format!(
                "kafka.brokers: addresses of brokers that run; now {}",
                self.options.brokers
            )),
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
    #[test]
    fn words_are_quoted_where_a_shell_would_take_them_apart() {
        assert_eq!(super::quoted("a/b.yaml"), "a/b.yaml");
        assert_eq!(super::quoted("it's $HOME"), "'it'\\''s $HOME'");
    }
}
