//! The schema store: a folder with one file per version and one index of ids.
//!
//! ```text
//! schemas/index.json        {"schemas": [{"id": 1, "subject": "log", "version": 1, "sha256": "..."}]}
//! schemas/log/v1.avsc
//! ```
//!
//! A published version never changes, since records written with it stay in topics; the index holds the SHA-256 of each
//! file's bytes (`sha256sum` prints the same), so that a change is found before it is deployed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::avro::Prepared;

/// The index's file name.
pub const INDEX_FILE: &str = "index.json";

/// Something wrong with the store, for a person to mend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, as a path inside the store.
    pub file: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl Finding {
    pub(crate) fn new(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self { file: file.into(), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.message)
    }
}

/// One version of one subject.
pub struct Entry {
    id: u32,
    subject: String,
    version: u32,
    prepared: Prepared,
}

impl Entry {
    /// The id that stands in the wire format.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The subject: the folder's name.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The version, from 1.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The file, as a path inside the store.
    pub fn file(&self) -> String {
        file_of(&self.subject, self.version)
    }

    pub(crate) fn prepared(&self) -> &Prepared {
        &self.prepared
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} v{} id {})", self.subject, self.version, self.id)
    }
}

/// All schemas of a folder, checked.
#[derive(Debug, Default)]
pub struct Store {
    by_id: HashMap<u32, Arc<Entry>>,
    by_subject: BTreeMap<String, BTreeMap<u32, Arc<Entry>>>,
}

impl Store {
    /// Reads and checks a folder.
    ///
    /// # Errors
    /// Everything that is wrong, at once: an index that is missing or malformed, an id or version that stands twice, a file
    /// that is missing, changed, not listed or not a schema, a gap in the versions.
    pub fn load(folder: &Path) -> Result<Self, Vec<Finding>> {
        let (store, findings) = Self::read(folder);
        if findings.is_empty() { Ok(store) } else { Err(findings) }
    }

    /// Reads what can be read, with everything that is wrong.
    pub(crate) fn read(folder: &Path) -> (Self, Vec<Finding>) {
        let mut loading = Loading::default();
        match read_index(folder) {
            Ok(index) => index.schemas.into_iter().for_each(|line| loading.line(folder, line)),
            Err(finding) => loading.findings.push(finding),
        }
        loading.unlisted(folder);
        loading.gaps();
        loading.findings.sort();
        (loading.store, loading.findings)
    }

    /// The schema with an id.
    pub fn by_id(&self, id: u32) -> Option<&Entry> {
        self.by_id.get(&id).map(Arc::as_ref)
    }

    /// The newest version of a subject.
    pub fn newest(&self, subject: &str) -> Option<&Arc<Entry>> {
        self.by_subject.get(subject)?.values().next_back()
    }

    /// One version of a subject.
    pub fn version(&self, subject: &str, version: u32) -> Option<&Arc<Entry>> {
        self.by_subject.get(subject)?.get(&version)
    }

    /// The subjects in alphabetical order.
    pub fn subjects(&self) -> impl Iterator<Item = &str> {
        self.by_subject.keys().map(String::as_str)
    }

    /// The versions of a subject, rising.
    pub fn versions(&self, subject: &str) -> impl Iterator<Item = &Entry> {
        self.by_subject.get(subject).into_iter().flat_map(|versions| versions.values().map(Arc::as_ref))
    }
}

/// The fingerprint of a schema file as the index holds it: SHA-256 of its bytes, hexadecimal.
pub fn fingerprint(file: &[u8]) -> String {
    Sha256::digest(file).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file_of(subject: &str, version: u32) -> String {
    format!("{subject}/v{version}.avsc")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    schemas: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: u32,
    subject: String,
    version: u32,
    sha256: String,
}

fn read_index(folder: &Path) -> Result<Index, Finding> {
    let bytes = fs::read(folder.join(INDEX_FILE))
        .map_err(|error| Finding::new(INDEX_FILE, format!("cannot be read: {error}")))?;
    serde_json::from_slice(&bytes).map_err(|error| Finding::new(INDEX_FILE, error.to_string()))
}

#[derive(Default)]
struct Loading {
    store: Store,
    listed: HashMap<String, u32>,
    findings: Vec<Finding>,
}

impl Loading {
    fn line(&mut self, folder: &Path, line: Line) {
        let file = file_of(&line.subject, line.version);
        if !is_name(&line.subject) || line.version == 0 {
            let message = format!(
                "id {}: a subject is of letters, digits, '.', '-', '_', a version is from 1",
                line.id
            );
            self.findings.push(Finding::new(INDEX_FILE, message));
            return;
        }
        if let Some(other) = self.store.by_id.get(&line.id) {
            let message = format!("id {} stands twice, for {} and {file}", line.id, other.file());
            self.findings.push(Finding::new(INDEX_FILE, message));
        }
        if let Some(other) = self.listed.insert(file.clone(), line.id) {
            let message = format!("{file} stands twice, with ids {other} and {}", line.id);
            self.findings.push(Finding::new(INDEX_FILE, message));
            return;
        }
        match read_schema(folder, &file, &line.sha256) {
            Ok(prepared) => self.add(line, prepared),
            Err(finding) => self.findings.push(finding),
        }
    }

    fn add(&mut self, line: Line, prepared: Prepared) {
        let entry = Entry { id: line.id, subject: line.subject, version: line.version, prepared };
        let entry = Arc::new(entry);
        self.store.by_id.insert(entry.id, Arc::clone(&entry));
        self.store.by_subject.entry(entry.subject.clone()).or_default().insert(entry.version, entry);
    }

    /// Schema files that the index does not name.
    fn unlisted(&mut self, folder: &Path) {
        let files = match schema_files(folder) {
            Ok(files) => files,
            Err(error) => return self.findings.push(Finding::new(".", format!("cannot be listed: {error}"))),
        };
        let free_id = self.listed.values().max().map_or(1, |id| id + 1);
        for (file, subject, bytes) in files {
            if self.listed.contains_key(&file) {
                continue;
            }
            let message = match version_of(&file) {
                Some(version) => format!(
                    "is not in the index; add {{\"id\": {free_id}, \"subject\": \"{subject}\", \"version\": {version}, \
                     \"sha256\": \"{}\"}}",
                    fingerprint(&bytes)
                ),
                None => "is not named v1.avsc, v2.avsc and so on".to_owned(),
            };
            self.findings.push(Finding::new(file, message));
        }
    }

    /// Versions that are left out in the index.
    fn gaps(&mut self) {
        let mut highest: BTreeMap<&str, u32> = BTreeMap::new();
        for file in self.listed.keys() {
            if let (Some((subject, _)), Some(version)) = (file.rsplit_once('/'), version_of(file)) {
                let known = highest.entry(subject).or_default();
                *known = version.max(*known);
            }
        }
        for (subject, highest) in highest {
            // A wild version number must not print a finding for each number before it.
            let missing = (1..highest).find(|version| !self.listed.contains_key(&file_of(subject, *version)));
            if let Some(version) = missing {
                let message = format!("version {version} of {subject} is left out; versions count up from 1");
                self.findings.push(Finding::new(INDEX_FILE, message));
            }
        }
    }
}

fn read_schema(folder: &Path, file: &str, sha256: &str) -> Result<Prepared, Finding> {
    let bytes = match fs::read(folder.join(file)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Finding::new(file, "is in the index but does not exist"));
        }
        Err(error) => return Err(Finding::new(file, format!("cannot be read: {error}"))),
    };
    let found = fingerprint(&bytes);
    if found != sha256.to_ascii_lowercase() {
        let message =
            format!("was changed: its sha256 is {found}, the index says {sha256}; add a new version instead");
        return Err(Finding::new(file, message));
    }
    let text = String::from_utf8(bytes).map_err(|_| Finding::new(file, "is not UTF-8"))?;
    Prepared::parse(&text).map_err(|error| Finding::new(file, format!("is not a schema: {error}")))
}

/// Every `*.avsc` one level down: its path inside the store, its folder's name, its bytes.
fn schema_files(folder: &Path) -> io::Result<Vec<(String, String, Vec<u8>)>> {
    let mut files = Vec::new();
    for subject in fs::read_dir(folder)? {
        let subject = subject?;
        if !subject.file_type()?.is_dir() {
            continue;
        }
        let name = subject.file_name().to_string_lossy().into_owned();
        for file in fs::read_dir(subject.path())? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "avsc") {
                let file =
                    path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
                files.push((format!("{name}/{file}"), name.clone(), fs::read(&path)?));
            }
        }
    }
    Ok(files)
}

fn version_of(file: &str) -> Option<u32> {
    let name = file.rsplit('/').next()?.strip_prefix('v')?.strip_suffix(".avsc")?;
    name.parse().ok().filter(|version: &u32| *version > 0 && name == version.to_string())
}

/// Keeps a subject inside the store's folder, whatever the index says.
fn is_name(subject: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !subject.is_empty() && subject.bytes().all(plain) && !subject.starts_with('.')
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const LONG: &str = r#""long""#;

    fn put(folder: &Path, file: &str, text: &str) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn line(id: u32, subject: &str, version: u32, file: &str) -> String {
        let sha256 = fingerprint(file.as_bytes());
        format!(r#"{{"id":{id},"subject":"{subject}","version":{version},"sha256":"{sha256}"}}"#)
    }

    fn index(folder: &Path, lines: &[String]) {
        put(folder, INDEX_FILE, &format!(r#"{{"schemas":[{}]}}"#, lines.join(",")));
    }

    fn findings(folder: &Path) -> Vec<String> {
        Store::load(folder).unwrap_err().iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_sound_store_is_found_by_id_and_by_subject() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "a/v1.avsc", LONG);
        put(folder.path(), "a/v2.avsc", r#""double""#);
        index(folder.path(), &[line(7, "a", 1, LONG), line(9, "a", 2, r#""double""#)]);
        let store = Store::load(folder.path()).unwrap();
        assert_eq!(store.by_id(7).map(Entry::file), Some("a/v1.avsc".to_owned()));
        assert_eq!(store.newest("a").map(|entry| (entry.id(), entry.version())), Some((9, 2)));
        assert_eq!(store.version("a", 1).map(|entry| entry.id()), Some(7));
        assert!(store.newest("b").is_none() && store.by_id(8).is_none());
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "a/v1.avsc", LONG);
        put(folder.path(), "a/v2.avsc", r#""changed""#);
        put(folder.path(), "a/v04.avsc", LONG);
        put(folder.path(), "b/v1.avsc", "{");
        put(folder.path(), "c/v1.avsc", LONG);
        let lines = [
            line(1, "a", 1, LONG),
            line(2, "a", 2, LONG),
            line(2, "b", 1, "{"),
            line(4, "b", 3, LONG),
            line(1, "../etc", 1, LONG),
            line(1, "a", 1, LONG),
        ];
        index(folder.path(), &lines);
        let findings = findings(folder.path());
        let expected = [
            "a/v04.avsc: is not named v1.avsc",
            "a/v2.avsc: was changed: its sha256 is",
            "b/v1.avsc: is not a schema: ",
            "b/v3.avsc: is in the index but does not exist",
            "c/v1.avsc: is not in the index; add {\"id\": 5, \"subject\": \"c\", \"version\": 1,",
            "index.json: a/v1.avsc stands twice, with ids 1 and 1",
            "index.json: id 1 stands twice",
            "index.json: id 1: a subject is of letters",
            "index.json: version 2 of b is left out",
        ];
        for (finding, expected) in findings.iter().zip(expected) {
            assert!(finding.starts_with(expected), "{finding}");
        }
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
    }

    #[test]
    fn a_missing_or_misspelt_index_is_a_finding() {
        let folder = tempfile::tempdir().unwrap();
        assert!(findings(folder.path())[0].starts_with("index.json: cannot be read: "));
        put(folder.path(), INDEX_FILE, r#"{"schemas":[{"id":1,"subjekt":"a"}]}"#);
        assert!(findings(folder.path())[0].contains("unknown field `subjekt`"));
        assert!(!findings(&folder.path().join("nowhere")).is_empty());
    }
}
