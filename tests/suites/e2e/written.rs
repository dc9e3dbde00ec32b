//! Commands as they stand in the README, the documentation and the command's own help: each has to be one that can be typed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_tests::harness::binary;

/// A command, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Written {
    at: String,
    words: Vec<String>,
}

/// Pages in which people find commands.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md"), root.join("CONTRIBUTING.md"), root.join("ARCHITECTURE.md")];
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    pages.extend(docs.filter(|path| path.extension().is_some_and(|end| end == "md")));
    pages
}

/// Lines with those that end in a backslash joined.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let (kept, goes_on) = line.strip_suffix('\\').map_or((line, false), |kept| (kept, true));
        match lines.last_mut().filter(|_| open) {
            Some(last) => *last = format!("{last} {}", kept.trim()),
            None => lines.push(kept.to_owned()),
        }
        open = goes_on;
    }
    lines
}

/// Commands of a page: lines of its blocks, and what stands in backticks.
fn of_page(path: &Path) -> BTreeSet<Written> {
    let at = path.file_name().unwrap().to_string_lossy().into_owned();
    let text = fs::read_to_string(path).unwrap();
    let mut found = BTreeSet::new();
    let mut fenced = false;
    let mut prose = String::new();
    for line in lines(&text) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced || line.starts_with("    ") {
            found.extend(typed(&at, &line));
        } else {
            prose.push_str(&line);
            prose.push('\n');
        }
    }
    for span in prose.split('`').skip(1).step_by(2) {
        found.extend(typed(&at, &span.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    found
}

/// The commands of one line: behind a prompt, `&&` or `|`, or wrapped in another command.
fn typed(at: &str, line: &str) -> Vec<Written> {
    let mut commands = Vec::new();
    for words in parts(line) {
        let Some(place) = words.iter().position(|word| word == "longshore") else { continue };
        // Behind a prompt, variables, or `exec ... --`; a sentence that names us is none.
        let before = &words[..place];
        let is_typed = before.iter().all(|word| word == "$" || word.contains('='))
            || before.last().is_some_and(|word| word == "--");
        let words = &words[place + 1..];
        let is_command = words.first().is_some_and(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
        if is_typed && is_command {
            commands.extend(variants(words).into_iter().map(|words| Written { at: at.to_owned(), words }));
        }
    }
    commands
}

/// A line as a shell takes it apart: words, without quotes, up to a comment or a second column; a list for each command of it.
fn parts(line: &str) -> Vec<Vec<String>> {
    let mut parts = vec![Vec::new()];
    let (mut word, mut quote, mut quoted) = (String::new(), None, false);
    for letter in line.trim().chars().chain([' ']) {
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => word.push(letter),
            None if matches!(letter, '\'' | '"') => (quote, quoted) = (Some(letter), true),
            None if letter.is_whitespace() => {
                match (word.as_str(), quoted) {
                    ("#" | "", false) => return parts,
                    ("|" | "&&" | "&" | ";", false) => parts.push(Vec::new()),
                    _ => parts.last_mut().unwrap().push(word.clone()),
                }
                (word, quoted) = (String::new(), false);
            }
            None => word.push(letter),
        }
    }
    parts
}

/// A synopsis as what it stands for: `a|b` is either, `[SINK]` may be there, `...` is anything, `NUMBER` is one. What follows a redirection is
/// the shell's.
fn variants(words: &[String]) -> Vec<Vec<String>> {
    let plain = words.iter().take_while(|word| !matches!(word.as_str(), ">" | "2>" | "<"));
    let mut all = vec![Vec::new()];
    for word in plain {
        let word = if word.contains(' ') { word.as_str() } else { word.trim_matches(['[', ']']) };
        let choices: Vec<&str> = match word {
            "" | "..." | "<COMMAND>" => continue,
            // An expression or a file's text, and no choice.
            _ if word.contains([' ', '(', '"']) => vec![word],
            _ => word.split('|').filter(|choice| !choice.is_empty()).collect(),
        };
        let choices =
            choices.iter().map(|choice| if matches!(*choice, "N" | "NUMBER") { "1" } else { choice });
        let begun = std::mem::take(&mut all);
        for choice in choices {
            all.extend(begun.iter().map(|begun: &Vec<String>| [&begun[..], &[choice.to_owned()]].concat()));
        }
    }
    all
}

/// Why the command does not take these words; none when it does. Help that is asked for behind them is given only where everything before it was
/// understood.
fn refusal(written: &Written) -> Option<String> {
    let output = Command::new(binary()).args(&written.words).arg("--help").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success())
        .then(|| format!("{}: longshore {}\n{said}", written.at, written.words.join(" ")))
}

/// All subcommands by their words, from the help.
fn commands(words: &[String], all: &mut Vec<(Vec<String>, String)>) {
    let output = Command::new(binary()).args(words).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let listed = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
    let listed = listed.lines().take_while(|line| !line.is_empty());
    let names: Vec<String> = listed
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
        .collect();
    all.push((words.to_vec(), help));
    for name in names {
        commands(&[words, &[name]].concat(), all);
    }
}

/// Guarantee: every command that people read somewhere is understood: its subcommands, its options, and their values.
#[test]
fn what_is_written_can_be_typed() {
    let mut written: BTreeSet<Written> = pages().iter().flat_map(|page| of_page(page)).collect();
    assert!(written.len() > 100, "{} commands in the pages", written.len());
    let mut all = Vec::new();
    commands(&[], &mut all);
    assert!(all.len() > 25, "{} commands", all.len());
    let before = written.len();
    for (words, help) in &all {
        let at = format!("longshore {} --help", words.join(" "));
        written.extend(lines(help).iter().flat_map(|line| typed(&at, line)));
    }
    assert!(written.len() > before + 40, "{} commands in the help", written.len() - before);
    let refused: Vec<String> = written.iter().filter_map(refusal).collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// Guarantee: an option that is gone, a value that is none and a command that never was are found, so that the test above can fail.
#[test]
fn what_cannot_be_typed_is_found() {
    for line in [
        "    $ longshore dlq ls -c pipeline.yaml --group-by reason",
        "longshore dlq replay -c x.yaml --rate quick | jq .",
        "kubectl exec deploy/x -- longshore doctors -c x.yaml",
        "A=b longshore check x.yaml && longshore topics plans x.yaml  # no",
    ] {
        let found: Vec<String> = typed("here", line).iter().filter_map(refusal).collect();
        assert_eq!(found.len(), 1, "{line}: {found:?}");
    }
    assert_eq!(typed("here", "the longshore crew works"), []);
    let synopsis = typed("here", "longshore sink ls|verify PIPELINE [SINK] [--generation NUMBER]");
    assert_eq!(synopsis.len(), 2);
    assert!(synopsis.iter().all(|written| refusal(written).is_none()), "{synopsis:?}");
}
