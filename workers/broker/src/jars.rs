//! Fetching Kafka's jars by our own `pom.xml`, and proving that they are the ones this version was made with.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::cache;
use crate::error::{BrokerError, Missing};
use crate::java::on_path;
use crate::process;

const POM: &str = include_str!("../kafka/pom.xml");
/// `sha256sum` format, sorted by name: this is also the order of the class path.
const CHECKSUMS: &str = include_str!("../kafka/jars.sha256");
/// Pinned, so that the same plugin runs everywhere.
const COPY_GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

/// Version of Apache Kafka in `pom.xml`.
pub(crate) const KAFKA_VERSION: &str = "4.2.0";

/// File name and SHA-256 of each jar.
pub(crate) fn listed() -> impl Iterator<Item = (&'static str, &'static str)> {
    CHECKSUMS.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (name, sum))
}

/// A short name for exactly this list of jars, so that another version gets another cache folder.
pub(crate) fn fingerprint() -> String {
    hex(&Sha256::digest(CHECKSUMS.as_bytes()))[..12].to_owned()
}

/// Whether `folder` holds every jar. They were verified before the folder got its name.
pub(crate) fn complete(folder: &Path) -> bool {
    listed().all(|(name, _)| folder.join(name).is_file())
}

/// Fetches all jars and renames them to `folder`. The caller holds the lock of `cache`.
pub(crate) fn fetch(cache: &Path, folder: &Path) -> Result<(), BrokerError> {
    let mvn = on_path("mvn").ok_or_else(|| Missing::Maven { cache: cache.to_owned() })?;
    let staging = cache::staging(cache)?;
    let pom = staging.path().join("pom.xml");
    let jars = staging.path().join("jars");
    fs::write(&pom, POM).map_err(BrokerError::io("write pom.xml"))?;
    let finished =
        process::run(&mvn, maven_arguments(&pom, &jars, &staging.path().join("repository")), None)?;
    if !finished.status.success() {
        return Err(BrokerError::Fetch { output: finished.tail() });
    }
    verify(&jars)?;
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(BrokerError::io("remove an incomplete jar folder"))?;
    }
    fs::rename(&jars, folder).map_err(BrokerError::io(format!("rename jars to {}", folder.display())))
}

/// A Maven repository of its own: a damaged `~/.m2` cannot get in the way, and nothing but the jars is kept.
fn maven_arguments(pom: &Path, jars: &Path, repository: &Path) -> Vec<OsString> {
    let with = |name: &str, path: &Path| {
        let mut argument = OsString::from(name);
        argument.push(path);
        argument
    };
    vec![
        "--batch-mode".into(),
        "--quiet".into(),
        "--file".into(),
        pom.into(),
        COPY_GOAL.into(),
        "-DincludeScope=runtime".into(),
        with("-DoutputDirectory=", jars),
        with("-Dmaven.repo.local=", repository),
    ]
}

/// Compares each listed jar in `folder` with its checksum. Jars that are not listed never reach the class path.
fn verify(folder: &Path) -> Result<(), BrokerError> {
    for (name, expected) in listed() {
        let found = match fs::read(folder.join(name)) {
            Ok(bytes) => hex(&Sha256::digest(&bytes)),
            Err(_) => "no file".to_owned(),
        };
        if found != expected {
            return Err(BrokerError::Checksum { jar: name.to_owned(), expected: expected.to_owned(), found });
        }
    }
    Ok(())
}

/// The explicit class path of `folder`, in the order of the list.
pub(crate) fn class_path(folder: &Path) -> String {
    let paths: Vec<PathBuf> = listed().map(|(name, _)| folder.join(name)).collect();
    paths.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>().join(":")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_is_complete_and_of_this_version() {
        assert_eq!(listed().count(), 36);
        assert!(listed().all(|(_, sum)| sum.len() == 64));
        assert!(listed().any(|(name, _)| name == format!("kafka_2.13-{KAFKA_VERSION}.jar")));
        assert!(POM.contains(&format!("<kafka.version>{KAFKA_VERSION}</kafka.version>")));
    }

    /// Scenario: a mirror serves another file under a known name. Guarantee: it is named and refused.
    #[test]
    fn another_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = listed().next().unwrap().0;
        fs::write(folder.path().join(first), b"not the jar").unwrap();
        let error = verify(folder.path()).unwrap_err();
        assert!(matches!(&error, BrokerError::Checksum { jar, .. } if jar == first), "{error}");
        assert!(!complete(folder.path()));
    }
}
