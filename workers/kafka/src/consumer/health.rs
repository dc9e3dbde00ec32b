//! Troubles of the connection: said once, looked after, and said to be over.

use std::time::{Duration, Instant};

use longshore_core::source::SourceEvent;
use longshore_core::{Class, Failure, Reason};

use super::place::Place;
use super::poll::Poll;
use super::standing::Denials;
use crate::errors::{Meaning, failure, meaning};
use crate::ffi::Code;

/// How often the scout looks whether a trouble is over.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The present trouble, if any.
#[derive(Debug)]
pub(super) struct Health {
    trouble: Option<Failure>,
    /// The trouble is the group's, so a look at the topics cannot tell that it is over.
    of_group: bool,
    /// Why we stand still though brokers may answer, if we do ([`super::standing`]).
    standing: Option<Failure>,
    /// Whether we have our place in the group.
    pub(super) place: Place,
    pub(super) denials: Denials,
    probed: Option<Instant>,
}

impl Health {
    pub(super) fn new(place: Place) -> Self {
        let denials = Denials::default();
        Self { trouble: None, of_group: false, standing: None, place, denials, probed: None }
    }

    /// The present trouble.
    pub(super) fn known(&self) -> Option<&Failure> {
        self.trouble.as_ref()
    }

    /// Whether the scout should look again now.
    pub(super) fn wants_probe(&mut self, now: Instant) -> bool {
        let due = self.probed.is_none_or(|probed| now.duration_since(probed) >= PROBE_INTERVAL);
        if self.trouble.is_some() && due {
            self.probed = Some(now);
            return true;
        }
        false
    }

    /// Notes a trouble; true when it is news. What only a person can mend is not covered up by what follows from it:
    /// a refused password also looks like a broker that does not answer. Nor is what we stand still for by brokers that come and go.
    fn note(&mut self, failure: &Failure) -> bool {
        if let Some(known) = &self.trouble {
            let stands = self.standing.as_ref().is_some_and(|standing| standing.reason == known.reason);
            let outlasts = known.class == Class::Halt || stands;
            let covered = outlasts && failure.class != Class::Halt;
            if covered || known.reason == failure.reason {
                return false;
            }
        }
        self.trouble = Some(failure.clone());
        true
    }
}

impl Poll<'_> {
    /// Says a trouble, once.
    pub(super) fn trouble(&mut self, failure: Failure) {
        if self.health.note(&failure) {
            self.say(SourceEvent::Trouble(failure));
        }
    }

    /// The topics can be seen again. That says nothing of the group, whose troubles end when it gives something.
    pub(super) fn topics_well(&mut self) {
        if !self.health.of_group {
            self.all_well();
        }
    }

    /// The broker answered as it should. While we stand still nothing is well, whatever else answers.
    pub(super) fn all_well(&mut self) {
        self.health.of_group = false;
        let Some(standing) = &self.health.standing else {
            if self.health.trouble.take().is_some() {
                self.say(SourceEvent::Well);
            }
            return;
        };
        if self.health.trouble.take_if(|known| known.reason != standing.reason).is_some() {
            self.trouble(standing.clone());
        }
    }

    /// Whether we stand still, and why: said when it begins, and when it is over.
    pub(super) fn stand(&mut self, standing: Option<Failure>) {
        let reason = |standing: &Option<Failure>| standing.as_ref().map(|failure| failure.reason);
        let before = reason(&self.health.standing);
        if reason(&standing) == before {
            return;
        }
        self.health.standing.clone_from(&standing);
        match standing {
            Some(failure) => self.trouble(failure),
            // A trouble that has covered it ends by itself.
            None if self.health.trouble.take_if(|known| Some(known.reason) == before).is_some() => {
                self.say(SourceEvent::Well);
            }
            None => {}
        }
    }

    /// The group does not let us in.
    pub(super) fn group_trouble(&mut self, failure: Failure) {
        self.trouble(failure);
        self.health.of_group = true;
    }

    /// An error of the connection as a whole. Of single brokers that come and go nothing is said: librdkafka finds
    /// others, and when there is none it says so.
    pub(super) fn connection_error(&mut self, code: Code) {
        if code == Code::RD_KAFKA_RESP_ERR__FATAL {
            return self.fatal();
        }
        match meaning(code) {
            _ if code == Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED => {
                self.group_trouble(failure(code, "consumer group"));
            }
            Meaning::Error(Class::Halt, _) => self.trouble(failure(code, "connection")),
            Meaning::Error(..) if code == Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN => {
                self.trouble(failure(code, "connection"));
            }
            Meaning::Control | Meaning::Fenced | Meaning::Error(..) => {}
        }
    }

    /// Librdkafka has given up for good; only a new client helps.
    pub(super) fn fatal(&mut self) {
        let code = self.client().fatal().map_or(Code::RD_KAFKA_RESP_ERR__FATAL, |(code, _)| code);
        let detail = failure(code, "consumer").detail().to_owned();
        self.end(Err(Failure::target(Reason::BrokerFatal, detail)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::KafkaOptions;

    #[test]
    fn a_cause_is_not_covered_up_by_its_consequence() {
        let mut health = Health::new(Place::new(&KafkaOptions::plain("x:1")));
        assert!(health.note(&Failure::halt(Reason::BrokerAuthentication, "x")));
        assert!(!health.note(&Failure::target(Reason::BrokerUnavailable, "y")));
        assert!(!health.note(&Failure::halt(Reason::BrokerAuthentication, "z")));
        assert!(health.wants_probe(Instant::now()));
        assert!(!health.wants_probe(Instant::now()), "not twice within a second");
    }

    /// Scenario: no place in the group, and beside that brokers come and go and rights are refused. Guarantee: only the last is news.
    #[test]
    fn a_missed_place_is_covered_by_a_halt_alone() {
        let mut health = Health::new(Place::new(&KafkaOptions::plain("x:1")));
        assert!(health.note(&Failure::target(Reason::BrokerUnavailable, "w")));
        let standing = Failure::target(Reason::BrokerGroup, "x");
        health.standing = Some(standing.clone());
        assert!(health.note(&standing));
        assert!(!health.note(&Failure::target(Reason::BrokerUnavailable, "y")));
        assert!(health.note(&Failure::halt(Reason::BrokerAuthorization, "z")));
        assert!(!health.note(&standing));
    }

    /// Scenario: a worker stands still for one thing, then for another. Guarantee: the later one is news, the earlier one covers it no more.
    #[test]
    fn what_we_stand_still_for_may_change() {
        let mut health = Health::new(Place::new(&KafkaOptions::plain("x:1")));
        for reason in [Reason::BrokerGroup, Reason::BrokerCommits, Reason::BrokerFetches] {
            let standing = Failure::target(reason, "x");
            health.standing = Some(standing.clone());
            assert!(health.note(&standing));
            assert!(
                !health.note(&standing) && !health.note(&Failure::target(Reason::BrokerUnavailable, "y"))
            );
        }
    }
}
