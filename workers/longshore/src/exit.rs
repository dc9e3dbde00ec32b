//! Exit codes (sysexits where one fits) and how every failure finds its own.

use std::fmt;
use std::process::ExitCode;

use longshore_core::{Failure, Reason};

/// How the process ends; the numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Ok = 0,
    /// A check or a test failed.
    Failed = 1,
    /// The command line cannot be understood.
    Usage = 64,
    /// Bad data.
    Data = 65,
    /// The broker, or a sink, is unavailable.
    Unavailable = 69,
    /// Stalled, or a defect of ours.
    Internal = 70,
    /// Temporary: try again.
    Temporary = 75,
    /// No rights.
    Rights = 77,
    /// Bad configuration.
    Configuration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The end of a command that did not go well.
#[derive(Debug)]
pub(crate) struct End {
    /// The code to exit with.
    pub(crate) code: Exit,
    /// What to say: one line, with what to do next; empty when all was said already.
    pub(crate) message: String,
}

impl End {
    pub(crate) fn new(code: Exit, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        let code = code_of(failure.reason);
        let hint = hint_of(failure.reason);
        let message =
            if hint.is_empty() { failure.to_string() } else { format!("{failure}\n  next: {hint}") };
        Self { code, message }
    }
}

impl From<anyhow::Error> for End {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Temporary, format!("{error:#}"))
    }
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Temporary, error)
    }
}

/// The exit code of a reason that ended a command or a worker.
pub(crate) fn code_of(reason: Reason) -> Exit {
    match reason {
        Reason::DecodeJson
        | Reason::DecodeUtf8
        | Reason::DecodeEmpty
        | Reason::DecodeTombstone
        | Reason::DecodeDepth
        | Reason::DecodeTrailing
        | Reason::DecodeTooLarge
        | Reason::DecodeShape
        | Reason::DecodeAvro
        | Reason::DecodeSchemaUnknown
        | Reason::DecodeHeader
        | Reason::DecodeCompression
        | Reason::StepExpression
        | Reason::StepFailed
        | Reason::EncodeAvro
        | Reason::EncodeValue
        | Reason::SinkRejected
        | Reason::SinkKeyMoved
        | Reason::SinkTooLarge
        | Reason::BrokerDamaged
        | Reason::RetryStray
        | Reason::CrashLoop => Exit::Data,
        Reason::SinkUnavailable
        | Reason::SinkNoSpace
        | Reason::BrokerUnavailable
        | Reason::BrokerGroup
        | Reason::BrokerCommits
        | Reason::BrokerFetches => Exit::Unavailable,
        Reason::SinkDenied | Reason::BrokerAuthentication | Reason::BrokerAuthorization => Exit::Rights,
        Reason::SinkMissing
        | Reason::SinkUnfit
        | Reason::LedgerMissing
        | Reason::LedgerForeign
        | Reason::LedgerGeneration
        | Reason::LedgerBroken
        | Reason::OffsetOutOfRange
        | Reason::MetadataBroken
        | Reason::FormatNewer
        | Reason::BrokerTopicMissing
        | Reason::BrokerTopicUnfit
        | Reason::BrokerConfiguration => Exit::Configuration,
        Reason::StepDeadline | Reason::RetryParked | Reason::RejectFlood => Exit::Temporary,
        Reason::StepPanic | Reason::BrokerFatal | Reason::Internal => Exit::Internal,
    }
}

/// What a person does next, empty when there is nothing to say beyond the failure.
fn hint_of(reason: Reason) -> &'static str {
    match reason {
        Reason::BrokerUnavailable => {
            "does the broker run, is its address right (`kafka.brokers`, or --broker), and is `kafka.security` what it speaks there?"
        }
        Reason::BrokerAuthentication => {
            "check `kafka.security`: protocol, mechanism, user and password; of an SSL error `tls.ca`"
        }
        Reason::BrokerAuthorization => {
            "the user needs Read on the input and the group, Write on sinks, and all of the pipeline's own topics"
        }
        Reason::BrokerTopicMissing => {
            "is the name right? `longshore topics apply PIPELINE` makes the topics of a pipeline"
        }
        Reason::BrokerTopicUnfit => {
            "mend it: longshore topics apply PIPELINE; `topics plan` only shows what differs"
        }
        Reason::BrokerConfiguration => {
            "check `kafka.client`, and the files of `kafka.security`: they have to be there, and readable, on this machine"
        }
        Reason::BrokerGroup | Reason::BrokerCommits | Reason::BrokerFetches => {
            "longshore doctor -c PIPELINE; docs/runbooks.md says what to look at"
        }
        Reason::BrokerDamaged => {
            "restore the partition from another replica or a backup; skipping records takes a new start and a new group"
        }
        Reason::LedgerMissing => "the sink's folder lost segments (a pod-local disk?): mount the old folder",
        Reason::LedgerForeign => {
            "this sink holds another topic's records: give the pipeline a folder of its own"
        }
        Reason::LedgerGeneration => {
            "the group was rewound: set `generation` in the pipeline file to the one that is committed, on all workers"
        }
        Reason::LedgerBroken => "change nothing there; longshore sink verify PIPELINE says what is damaged",
        Reason::OffsetOutOfRange => {
            "retention ran past the group; choose a start with `input.start` and a new group"
        }
        Reason::RejectFlood => {
            "longshore dlq ls -c PIPELINE says what was rejected; mend it, then start a worker"
        }
        Reason::SinkUnavailable | Reason::SinkMissing => {
            "longshore doctor -c PIPELINE looks at the sink from here"
        }
        Reason::SinkDenied => {
            "docs/pipeline.md and docs/postgres.md list the rights; longshore doctor -c PIPELINE looks at a worker's"
        }
        // These say it all themselves, or are a single record's.
        Reason::DecodeJson
        | Reason::DecodeUtf8
        | Reason::DecodeEmpty
        | Reason::DecodeTombstone
        | Reason::DecodeDepth
        | Reason::DecodeTrailing
        | Reason::DecodeTooLarge
        | Reason::DecodeShape
        | Reason::DecodeAvro
        | Reason::DecodeSchemaUnknown
        | Reason::DecodeHeader
        | Reason::DecodeCompression
        | Reason::StepExpression
        | Reason::StepFailed
        | Reason::StepPanic
        | Reason::StepDeadline
        | Reason::EncodeAvro
        | Reason::EncodeValue
        | Reason::SinkRejected
        | Reason::SinkKeyMoved
        | Reason::SinkTooLarge
        | Reason::SinkNoSpace
        | Reason::SinkUnfit
        | Reason::MetadataBroken
        | Reason::FormatNewer
        | Reason::BrokerFatal
        | Reason::RetryParked
        | Reason::RetryStray
        | Reason::CrashLoop
        | Reason::Internal => "",
    }
}

/// Prints clap's own message; help and version are no errors.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let asked = !error.use_stderr();
    // Nothing can be done when even the message cannot be written.
    let _ = error.print();
    if asked { Exit::Ok.into() } else { Exit::Usage.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halt_by_rights_or_configuration_has_its_documented_code() {
        assert_eq!(code_of(Reason::BrokerAuthentication) as u8, 77);
        assert_eq!(code_of(Reason::LedgerMissing) as u8, 78);
        assert_eq!(code_of(Reason::BrokerUnavailable) as u8, 69);
    }

    #[test]
    fn commands_that_are_hinted_at_exist() {
        use clap::CommandFactory;
        let known = crate::cli::Cli::command();
        let mut count = 0;
        for hint in Reason::ALL.iter().map(|reason| hint_of(*reason)) {
            for after in hint.split("longshore ").skip(1) {
                let named = after.split(' ').next().unwrap_or_default();
                assert!(known.find_subcommand(named).is_some(), "{hint}");
                count += 1;
            }
        }
        assert!(count > 5);
    }

    /// What stands before the table of `docs/reasons.md`.
    const REASONS_HEAD: &str = "\
# Reason codes

Every failure carries one of these codes: in a dead letter's headers, in the log, and in the last message of a command that
failed. They are part of the interface: one that is renamed or given another meaning is a breaking change. Reasons of filtered
records are not among them; the pipeline file names those.

Which reason asks for what stands in [when records fail](when-records-fail.md#which-reason-asks-for-what).

The exit code is that of a worker or command that ends with the reason. A record's own fault (`decode.*`, `encode.*`, most of
`step.*`) ends no worker: the record becomes a dead letter and the worker goes on.

| code | what it means | exit code |
|---|---|---|
";

    fn reasons_page() -> String {
        let lines = Reason::ALL.iter().map(|reason| {
            format!("| `{}` | {} | {} |\n", reason.code(), reason.words(), code_of(*reason) as u8)
        });
        REASONS_HEAD.to_owned() + &lines.collect::<String>()
    }

    /// The documented list of reasons is the one the code has. `UPDATE_EXPECT=1` writes it anew, for a person to read.
    #[test]
    fn every_reason_is_documented() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reasons.md");
        let page = reasons_page();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&file, &page).unwrap();
        }
        let found = std::fs::read_to_string(file).unwrap_or_default();
        assert!(found == page, "run with UPDATE_EXPECT=1 and commit the result");
    }
}
