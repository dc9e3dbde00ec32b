//! The list of cargo-mutants.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

/// Where the sources lie that are mutated.
pub const SOURCES: &str = "workers/core/src/";

/// One change of one line.
#[derive(Clone, Debug, Deserialize)]
pub struct Mutant {
    /// From the root of the repository.
    pub file: String,
    function: Option<Function>,
    pub genre: Genre,
    pub replacement: String,
    name: String,
    span: Span,
}

/// What is changed. The version of cargo-mutants is pinned, and one that it comes to know is refused here.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

#[derive(Clone, Debug, Deserialize)]
struct Function {
    function_name: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Span {
    start: Place,
    end: Place,
}

/// Counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// Where it is, and what it is called by cargo-mutants.
impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Mutant {
    pub fn start(&self) -> Place {
        self.span.start
    }

    /// The function that it is in.
    pub fn function(&self) -> &str {
        self.function.as_ref().map_or("constant", |function| &function.function_name)
    }

    /// Its file, from [`SOURCES`] on.
    pub fn short_file(&self) -> &str {
        self.file.strip_prefix(SOURCES).unwrap_or(&self.file)
    }

    /// The top module that it is in, whose tests are asked first.
    pub fn module(&self) -> &str {
        let first = self.short_file().split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// The source with this change made.
    pub fn applied(&self, source: &str) -> String {
        let offset = |place: Place| {
            let line: usize = source.split_inclusive('\n').take(place.line - 1).map(str::len).sum();
            let columns = source[line..].char_indices().nth(place.column - 1);
            columns.map_or(source.len(), |(column, _)| line + column)
        };
        format!(
            "{}{}{}",
            &source[..offset(self.span.start)],
            self.replacement,
            &source[offset(self.span.end)..]
        )
    }

    /// The change in words, by the text of its line alone, so that it stays the same when lines come and go before it: what
    /// workers/core/mutants.md says.
    pub fn change(&self, source: &str) -> String {
        let line: Vec<char> =
            source.lines().nth(self.span.start.line - 1).unwrap_or_default().chars().collect();
        let (before, from) = line.split_at((self.span.start.column - 1).min(line.len()));
        let (before, from): (String, String) = (before.iter().collect(), from.iter().collect());
        let to = &self.replacement;
        match self.genre {
            Genre::FnValue => format!("returns `{to}`"),
            Genre::StructField => {
                format!("without `{}`", from.split([',', ':']).next().unwrap_or_default().trim())
            }
            Genre::MatchArm => format!("without the arm `{}`", pattern(&from)),
            Genre::MatchArmGuard => format!("`if {}` as `{to}`", first(pattern(&from), 60)),
            Genre::UnaryOperator => format!("`{}` without `{}`", first(&from, 29).trim(), first(&from, 1)),
            Genre::BinaryOperator => {
                let operator =
                    from.find(|c: char| c.is_alphanumeric() || c.is_whitespace() || "_(".contains(c));
                let (operator, after) = from.split_at(operator.unwrap_or(from.len()));
                format!(
                    "`{} {operator} {}` as `{to}`",
                    words_before(before.trim_end()),
                    words_after(after.trim())
                )
            }
        }
    }
}

/// Up to the arrow of a match arm.
fn pattern(text: &str) -> &str {
    text.split(" =>").next().unwrap_or_default().trim()
}

fn first(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end])
}

/// The last whole words of 26 characters.
fn words_before(text: &str) -> &str {
    const LENGTH: usize = 26;
    let skipped = text.chars().count().saturating_sub(LENGTH);
    let last = text[first(text, skipped).len()..].trim_start();
    match last.split_once(' ') {
        Some((_, words)) if last.chars().count() == LENGTH => words,
        _ => last,
    }
}

/// The first whole words of 24 characters.
fn words_after(text: &str) -> &str {
    const LENGTH: usize = 24;
    let head = first(text, LENGTH).trim_end();
    match head.rsplit_once(' ') {
        Some((words, _)) if head.chars().count() == LENGTH => words,
        _ => head,
    }
}

/// All mutants of these files, paths below [`SOURCES`]; of all files where none is named. `program` is cargo-mutants.
pub fn mutants(root: &Path, program: &str, files: &[String]) -> Result<Vec<Mutant>, Box<dyn Error>> {
    let mut command = Command::new(program);
    command.current_dir(root).args(["mutants", "--list", "--json", "--package", "longshore-core"]);
    for file in files {
        command.arg("--file").arg(format!("{SOURCES}{file}"));
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("cargo-mutants: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
