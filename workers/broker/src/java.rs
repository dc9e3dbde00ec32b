//! Finding a Java that Kafka runs on, and the flags that make it start quickly.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Missing;
use crate::options::{Jit, LogLevel};

/// Apache Kafka 4 brokers need Java 17 (<https://kafka.apache.org/42/operations/java-version/>).
const OLDEST_MAJOR: u32 = 17;

/// A usable Java.
#[derive(Debug, Clone)]
pub(crate) struct Java {
    /// The `java` program.
    pub(crate) program: PathBuf,
    /// `17.0.15+6-Debian-1deb12u1` or alike: a class archive is valid for exactly one build.
    pub(crate) build: String,
}

impl Java {
    /// The Java of `JAVA_HOME`, else of the `PATH`. Takes about 40 ms.
    pub(crate) fn find() -> Result<Self, Missing> {
        let home = env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
        let program = home.filter(|java| java.is_file()).or_else(|| on_path("java")).ok_or(Missing::Java)?;
        let output = Command::new(&program).arg("-version").output().map_err(|_| Missing::Java)?;
        let text = String::from_utf8_lossy(&output.stderr);
        let (major, build) = parse_version(&text).ok_or(Missing::Java)?;
        if major < OLDEST_MAJOR {
            return Err(Missing::OldJava { found: build });
        }
        Ok(Self { program, build })
    }

    /// `keytool` of the same Java, else of the `PATH`.
    pub(crate) fn keytool(&self) -> PathBuf {
        let real = self.program.canonicalize().unwrap_or_else(|_| self.program.clone());
        let sibling = real.with_file_name("keytool");
        if sibling.is_file() { sibling } else { PathBuf::from("keytool") }
    }
}

/// The first file of that name in a folder of the `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Major version and full build from the output of `java -version`.
fn parse_version(text: &str) -> Option<(u32, String)> {
    let (_, rest) = text.split_once(" version \"")?;
    let (version, rest) = rest.split_once('"')?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    let build = rest.split_once("(build ").and_then(|(_, build)| build.split([')', ',']).next());
    Some((digits.parse().ok()?, build.unwrap_or(version).to_owned()))
}

/// What a class archive has to do with this start.
#[derive(Debug, Clone)]
pub(crate) enum Archive {
    /// There is none.
    None,
    /// Map it: ready in a third of the time.
    Use(PathBuf),
    /// Write it at the end of this run.
    Record(PathBuf),
}

/// Everything between `java` and the program's own arguments.
#[derive(Debug, Clone)]
pub(crate) struct Flags<'a> {
    /// Compiler and collector.
    pub(crate) jit: Jit,
    /// Largest heap in MiB.
    pub(crate) heap_mib: u32,
    /// Verbosity of slf4j-simple.
    pub(crate) log_level: LogLevel,
    /// The class archive.
    pub(crate) archive: Archive,
    /// The explicit class path; an archive is valid for exactly one.
    pub(crate) class_path: &'a str,
}

impl Flags<'_> {
    /// The arguments, up to and with the main class.
    pub(crate) fn arguments(&self, main_class: &str) -> Vec<OsString> {
        let level = match self.log_level {
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
        };
        let mut arguments: Vec<OsString> = Vec::new();
        match self.jit {
            Jit::Quick => arguments.extend(["-XX:TieredStopAtLevel=1".into(), "-XX:+UseSerialGC".into()]),
            Jit::Full => {}
        }
        match &self.archive {
            Archive::None => {}
            Archive::Use(file) => arguments.push(flag("-XX:SharedArchiveFile=", file)),
            Archive::Record(file) => arguments.push(flag("-XX:ArchiveClassesAtExit=", file)),
        }
        arguments.extend([
            "-Xms64m".into(),
            format!("-Xmx{}m", self.heap_mib.max(64)).into(),
            // No shared-memory statistics file under /tmp for each start.
            "-XX:-UsePerfData".into(),
            "-Djava.net.preferIPv4Stack=true".into(),
            format!("-Dorg.slf4j.simpleLogger.defaultLogLevel={level}").into(),
            "-Dorg.slf4j.simpleLogger.showDateTime=true".into(),
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX".into(),
            "-cp".into(),
            self.class_path.into(),
            main_class.into(),
        ]);
        arguments
    }
}

fn flag(name: &str, file: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(file);
    flag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_of_several_vendors() {
        let debian = "openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6-Debian-1deb12u1)\n";
        assert_eq!(parse_version(debian), Some((17, "17.0.15+6-Debian-1deb12u1".into())));
        let early =
            "Picked up JAVA_TOOL_OPTIONS: -Dx\nopenjdk version \"25-ea\" 2025-09-16\nRuntime (build 25-ea+3)";
        assert_eq!(parse_version(early), Some((25, "25-ea+3".into())));
        let old = "java version \"1.8.0_392\"\nJava(TM) SE Runtime Environment (build 1.8.0_392-b08)";
        assert_eq!(parse_version(old), Some((1, "1.8.0_392-b08".into())));
        assert_eq!(parse_version("command not found"), None);
    }
}
