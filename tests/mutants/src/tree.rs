//! A copy of the repository that is mutated, and its builds.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// Where a copy lies, and where it is built.
pub struct Tree {
    root: PathBuf,
    target: PathBuf,
}

/// The tests that a mutant is tried with.
pub struct Programs {
    /// Core's unit tests.
    pub units: PathBuf,
    /// The simulation's seeds.
    pub seeds: PathBuf,
}

/// What a build came to.
pub enum Built<T> {
    Whole(T),
    Broken(Vec<Complaint>),
}

/// An error of the compiler.
pub struct Complaint {
    pub text: String,
    /// Files and bytes in them, the most telling place first.
    pub places: Vec<(String, usize)>,
}

#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Said {
    CompilerArtifact {
        executable: Option<PathBuf>,
        target: Named,
    },
    CompilerMessage {
        message: Message,
    },
    #[serde(other)]
    Else,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Message {
    level: String,
    message: String,
    spans: Vec<Place>,
}

#[derive(Deserialize)]
struct Place {
    file_name: String,
    byte_start: usize,
    is_primary: bool,
}

impl Tree {
    /// Copies what Git knows or would take, so that tests count which are not committed yet.
    pub fn copy(repository: &Path, work: &Path) -> Result<Self, Box<dyn Error>> {
        let root = work.join("tree");
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        let list = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
        let files = Command::new("git").current_dir(repository).args(list).output()?.stdout;
        for file in String::from_utf8(files)?.split_terminator('\0') {
            let (from, to) = (repository.join(file), root.join(file));
            if from.is_file() {
                fs::create_dir_all(to.parent().unwrap_or(&root))?;
                fs::copy(from, to)?;
            }
        }
        Ok(Self { root, target: work.join("build") })
    }

    /// Where the tests of core are run.
    pub fn core(&self) -> PathBuf {
        self.root.join("workers/core")
    }

    pub fn read(&self, file: &str) -> Result<String, Box<dyn Error>> {
        Ok(fs::read_to_string(self.root.join(file)).map_err(|error| format!("{file}: {error}"))?)
    }

    pub fn write(&self, file: &str, text: &str) -> Result<(), Box<dyn Error>> {
        Ok(fs::write(self.root.join(file), text).map_err(|error| format!("{file}: {error}"))?)
    }

    /// Checks core alone, which takes seconds.
    pub fn check(&self) -> Result<Built<()>, Box<dyn Error>> {
        // With the feature that testkit wants, as in the build of the tests: code behind it has mutants as well.
        let said =
            self.cargo(&["check", "--package", "longshore-core", "--lib", "--features", "rules-off"])?;
        Ok(match complaints(&said) {
            all if all.is_empty() => Built::Whole(()),
            all => Built::Broken(all),
        })
    }

    pub fn build(&self) -> Result<Built<Programs>, Box<dyn Error>> {
        let packages = ["--package", "longshore-core", "--package", "longshore-testkit"];
        let said = self.cargo(&[&["test", "--no-run", "--lib"][..], &packages].concat())?;
        let broken = complaints(&said);
        if !broken.is_empty() {
            return Ok(Built::Broken(broken));
        }
        let program = |wanted: &str| {
            let found = said.iter().find_map(|said| match said {
                Said::CompilerArtifact { executable: Some(program), target } if target.name == wanted => {
                    Some(program)
                }
                _ => None,
            });
            found.cloned().ok_or(format!("no test program of {wanted}"))
        };
        Ok(Built::Whole(Programs { units: program("longshore_core")?, seeds: program("longshore_testkit")? }))
    }

    fn cargo(&self, words: &[&str]) -> Result<Vec<Said>, Box<dyn Error>> {
        let mut command = Command::new("cargo");
        command.current_dir(&self.root).args(words).args(["--locked", "--message-format", "json"]);
        command.env("CARGO_TARGET_DIR", &self.target).env("CARGO_INCREMENTAL", "1");
        // Nobody debugs it.
        command.env("RUSTFLAGS", LINTS).env("CARGO_PROFILE_DEV_DEBUG", "false");
        let output = command.output()?;
        let text = String::from_utf8(output.stdout)?;
        let said: Vec<Said> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        if !output.status.success() && complaints(&said).is_empty() {
            return Err(
                format!("cargo {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr)).into()
            );
        }
        Ok(said)
    }
}

/// A mutant may leave a variable unused, or overflow where the compiler sees it. But a constant whose loop does not end would be compiled for ever, unless the
/// compiler may give up; a cap on all lints would not let it.
const LINTS: &str = "-A warnings -A arithmetic_overflow -A unconditional_panic -D long_running_const_eval";

fn complaints(said: &[Said]) -> Vec<Complaint> {
    let errors = said.iter().filter_map(|said| match said {
        Said::CompilerMessage { message } if message.level == "error" => Some(message),
        _ => None,
    });
    errors.map(Complaint::of).collect()
}

impl Complaint {
    fn of(message: &Message) -> Self {
        let mut spans: Vec<&Place> = message.spans.iter().collect();
        spans.sort_by_key(|place| !place.is_primary);
        let places = spans.iter().map(|place| (place.file_name.clone(), place.byte_start)).collect();
        Self { text: message.message.clone(), places }
    }
}
