//! One table over the forms that this crate reads; the sinks have theirs beside their ledgers, and `tests/suites/e2e/ledger.rs` has whole workers.

use super::*;
use crate::headers::{CONTRACT, CopyHeaders, HeaderError, LetterHeaders};
use crate::journal::Journal;
use crate::ledger::Trailer;
use crate::letter::LetterRef;
use crate::metadata::{Metadata, MetadataError};
use crate::{Class, Offset};

/// What somebody makes of a form that says this version.
fn read(format: Format, version: u32) -> Result<(), Newer> {
    let journal = |key: &str, value: String| {
        let mut journal = Journal::default();
        journal.apply(Some(key.as_bytes()), Some(value.as_bytes()));
        assert!(journal.runs.is_empty() && (journal.newer().is_none() || journal.unreadable == 0));
        journal.newer().map_or(Ok(()), Err)
    };
    match format {
        COMMIT_METADATA => match Metadata::decode(&format!("L{version}:AAAA"), Offset(0), Offset(1)) {
            Err(MetadataError::Newer(newer)) => Err(newer),
            _ => Ok(()),
        },
        TRAILER => match TRAILER.read::<Trailer>(format!(r#"{{"version":{version},"more":1}}"#).as_bytes()) {
            Err(FormatError::Newer(newer)) => Err(newer),
            Err(FormatError::Unreadable(_)) => Ok(()),
            Ok(trailer) => panic!("{trailer:?}"),
        },
        JOURNAL => {
            let keys = ["run/r", "selected/r/t.dlq/0/0", "handled/r/t.dlq/0/0"];
            let more = format!(r#"{{"version":{version},"more":1}}"#);
            let said: Vec<_> = keys.map(|key| journal(key, more.clone())).into();
            assert!(said.iter().all(|one| *one == said[0]), "{said:?}");
            said[0]
        }
        HEADERS => {
            let version = version.to_string();
            let list = [("longshore.origin", "t/0/1/0"), (CONTRACT, version.as_str())];
            let headers = || list.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
            let of = |error| match error {
                Some(HeaderError::Newer(newer)) => Err(newer),
                _ => Ok(()),
            };
            let mut letter = LetterRef::default();
            headers().for_each(|(name, value)| letter.take(name, value));
            let copy = of(CopyHeaders::decode(headers()).err());
            assert_eq!(copy, of(LetterHeaders::decode(headers()).err()));
            assert_eq!(copy, of(letter.headers().err()));
            copy
        }
        other => unreachable!("{other:?} is read by the sinks"),
    }
}

/// Scenario: each form says the version that is written here, the next one, with a field that is not known here, and one far ahead. Guarantee:
/// what is newer is refused, whatever else it says, by a message that says both versions and what to do.
#[test]
fn a_newer_version_of_each_form_is_refused_with_what_to_do() {
    for format in [COMMIT_METADATA, TRAILER, JOURNAL, HEADERS] {
        assert_eq!(read(format, format.version), Ok(()), "{}", format.name);
        for found in [format.version + 1, 4_000] {
            let newer = read(format, found).expect_err(format.name);
            assert_eq!((newer.name, newer.found, newer.known), (format.name, found, format.version));
            let failure = newer.into_failure();
            assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::FormatNewer));
            let said = failure.detail();
            let parts =
                [format!("of version {found}"), format!("up to {}", format.version), BUILD.to_owned()];
            let parts =
                parts.iter().map(String::as_str).chain([format.name, "run that version", "docs/versions.md"]);
            parts.for_each(|part| assert!(said.contains(part), "{said} lacks {part}"));
        }
    }
}

/// Guarantee: what says no version is of the first one; there is none before it.
#[test]
fn what_says_no_version_is_of_the_first() {
    assert_eq!(Format::said(b"{}"), Ok(1));
    assert_eq!(TRAILER.check(1), Ok(()));
    assert!(matches!(TRAILER.check(0), Err(FormatError::Unreadable(_))));
}

/// Guarantee: `docs/versions.md` names each form with its version, so that whoever raises one says there what it means for a fleet.
#[test]
fn the_page_names_each_form_with_its_version() {
    let page = std::fs::read_to_string("../../docs/versions.md").unwrap();
    for Format { name, version } in Format::ALL {
        assert!(page.contains(&format!("| {name} | {version} |")), "{name} of version {version}");
    }
}
