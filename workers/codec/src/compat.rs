//! What `longshore schema check` says: the store's own findings, and whether neighbouring versions read each other.
//!
//! Rolling updates need both directions: **backward** (new workers read what is still in the topic) and **forward** (old
//! workers, consumers elsewhere included, read what new ones write already). Each version is compared with the one before.

use std::path::Path;

use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};

use crate::store::{Entry, Finding, Store};

/// What a check looked at and found.
#[derive(Debug)]
pub struct Report {
    /// How many schema versions could be read.
    pub schemas: usize,
    /// Everything that is wrong, by file.
    pub findings: Vec<Finding>,
}

/// Checks a store's folder: index, files and compatibility, all findings at once.
pub fn check(folder: &Path) -> Report {
    let (store, mut findings) = Store::read(folder);
    findings.extend(compatibility(&store));
    findings.sort();
    let schemas = store.subjects().map(|subject| store.versions(subject).count()).sum();
    Report { schemas, findings }
}

/// Compares each version of each subject with the one before it.
pub fn compatibility(store: &Store) -> Vec<Finding> {
    let mut findings = Vec::new();
    for subject in store.subjects() {
        let mut older: Option<&Entry> = None;
        for entry in store.versions(subject) {
            if let Some(older) = older {
                compare(older, entry, &mut findings);
            }
            older = Some(entry);
        }
    }
    findings
}

fn compare(older: &Entry, newer: &Entry, findings: &mut Vec<Finding>) {
    let directions = [("backward", older, newer), ("forward", newer, older)];
    for (direction, writer, reader) in directions {
        let problem =
            match SchemaCompatibility::can_read(writer.prepared().schema(), reader.prepared().schema()) {
                Ok(Compatibility::Full) => continue,
                Ok(Compatibility::Partial) => "only some of the values can be read".to_owned(),
                Err(error) => error.to_string(),
            };
        let (reader, writer) = (reader.version(), writer.version());
        let message =
            format!("not {direction} compatible: v{reader} cannot read what v{writer} writes: {problem}");
        findings.push(Finding::new(newer.file(), message));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::{INDEX_FILE, fingerprint};

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
    }

    /// What a check says about versions of one subject, without the words of the library.
    fn findings(versions: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        let mut lines = Vec::new();
        for (version, text) in (1..).zip(versions) {
            fs::write(folder.path().join(format!("a/v{version}.avsc")), text).unwrap();
            let sha256 = fingerprint(text.as_bytes());
            lines
                .push(format!(r#"{{"id":{version},"subject":"a","version":{version},"sha256":"{sha256}"}}"#));
        }
        fs::write(folder.path().join(INDEX_FILE), format!(r#"{{"schemas":[{}]}}"#, lines.join(","))).unwrap();
        let report = check(folder.path());
        assert_eq!(report.schemas, versions.len());
        report.findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn the_schemas_of_the_repository_have_no_findings() {
        let report = check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas"));
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        assert!(report.schemas >= 2);
    }

    #[test]
    fn a_field_with_a_default_may_come_and_go() {
        let one = record(r#"{"name":"a","type":"long"}"#);
        let two =
            record(r#"{"name":"a","type":"long"},{"name":"b","type":["null","string"],"default":null}"#);
        assert_eq!(findings(&[&one, &two, &one]), [""; 0]);
    }

    #[test]
    fn breaking_changes_are_named_with_file_and_direction() {
        let one = record(r#"{"name":"a","type":"long"}"#);
        let added = record(r#"{"name":"a","type":"long"},{"name":"b","type":"string"}"#);
        let found = findings(&[&one, &added]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("a/v2.avsc: not backward compatible: v2 cannot read what v1 writes: "),
            "{found:?}"
        );
        assert!(found[0].contains("'b'"), "{found:?}");

        let found = findings(&[&added, &one]);
        assert!(
            found[0].starts_with("a/v2.avsc: not forward compatible: v1 cannot read what v2 writes: "),
            "{found:?}"
        );

        // A wider type is read by the new version only.
        let wider = record(r#"{"name":"a","type":"double"}"#);
        let found = findings(&[&one, &wider]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("not forward"), "{found:?}");

        let other = record(r#"{"name":"a","type":"string"}"#);
        assert_eq!(findings(&[&one, &other]).len(), 2);
    }

    #[test]
    fn a_new_branch_or_symbol_is_read_only_in_part() {
        let found = findings(&[r#"["null","long"]"#, r#"["null","long","string"]"#]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("not forward compatible"), "{found:?}");
    }
}
