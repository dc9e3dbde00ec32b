//! A client that asks questions and reads, and never joins a group.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longshore_core::{Class, Failure, Reason};

use super::Release;
use crate::context::Context;
use crate::errors::{Meaning, failure, meaning};
use crate::ffi::{Callbacks, Change, Client, Code, Delivery, Entry, Kind, Token};
use crate::options::KafkaOptions;
use crate::settings::{Role, settings};

/// How long one attempt to reach a broker may take before what was noted meanwhile is looked at.
const ATTEMPT: Duration = Duration::from_millis(500);

/// A connected client and what its callbacks noted.
pub(crate) struct Session {
    client: Arc<Client>,
    notes: Arc<Notes>,
}

impl Session {
    /// Makes the client and waits until a broker answers. `group` is whose offsets may be asked for; `further`
    /// settings win over all others.
    ///
    /// # Errors
    /// [`Reason::BrokerConfiguration`] when librdkafka refuses the settings, [`Reason::BrokerAuthentication`] when the
    /// broker refuses the credentials, [`Reason::BrokerUnavailable`] when none answers in time.
    pub(crate) fn open(
        options: &KafkaOptions,
        group: &str,
        further: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let mut list = settings(options, &options.buffers.unwrap_or_default(), Role::Reader { group })?;
        list.extend(further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let notes = Arc::new(Notes {
            context: Context::new(options),
            refused: Mutex::new(None),
            release: Mutex::default(),
        });
        let client = Client::new(Kind::Consumer, &list, Arc::clone(&notes) as _)
            .map_err(|reason| Failure::halt(Reason::BrokerConfiguration, reason))?;
        let session = Self { client, notes };
        session.connect(&options.brokers, timeout)?;
        Ok(session)
    }

    /// The client.
    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// What a person has to mend before this client can go on. For a client without a consumer's queue.
    pub(crate) fn refused(&self) -> Option<Failure> {
        // Errors of the connection are only told to whoever polls.
        while self.client.poll(Duration::ZERO) > 0 {}
        self.noted()
    }

    /// The same, as far as the callbacks noted it: for a client whose consumer's queue is polled anyway.
    pub(crate) fn noted(&self) -> Option<Failure> {
        self.notes.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the brokers are, as far as the log told it.
    pub(crate) fn release(&self) -> Release {
        self.notes.release.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tries until a broker answers, or one refuses us: waiting would not mend that.
    fn connect(&self, brokers: &str, timeout: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + timeout;
        loop {
            let code = match self.client.broker_ids(ATTEMPT) {
                Ok(_) => return Ok(()),
                Err(code) => code,
            };
            if let Some(refused) = self.refused() {
                return Err(refused);
            }
            if Instant::now() >= deadline {
                let passed = timeout.as_secs();
                return Err(failure(code, &format!("no broker of {brokers} answered within {passed} s")));
            }
        }
    }
}

/// What the callbacks of such a client leave behind.
struct Notes {
    context: Context,
    refused: Mutex<Option<Failure>>,
    release: Mutex<Release>,
}

impl Callbacks for Notes {
    fn log(&self, level: i32, facility: &str, line: &str) {
        self.release.lock().unwrap_or_else(PoisonError::into_inner).note(facility, line);
        Context::log(level, facility, line);
    }

    fn error(&self, code: Code, reason: &str) {
        tracing::debug!(?code, reason, "kafka client");
        // What is refused to the group is no matter: this client only asks about it.
        if let Meaning::Error(Class::Halt, Reason::BrokerAuthentication) = meaning(code) {
            let refused = failure(code, "connect to the broker");
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
        }
    }

    fn token(&self) -> Result<Token, String> {
        self.context.token()
    }

    /// Never comes: this client joins no group.
    fn rebalance(&self, _: Change) {}

    /// Never comes: this client commits nothing.
    fn committed(&self, _: Vec<Entry>, _: Code) {}

    /// Never comes: this client produces nothing.
    fn delivered(&self, _: Delivery<'_>) {}
}
