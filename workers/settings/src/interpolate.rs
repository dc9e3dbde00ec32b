//! Fills `${NAME}`, `${NAME:-default}` and `${file:/path}` inside texts; `$${` stands for `${`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};

use config::{Value, ValueKind};

use crate::layers::typed;
use crate::nearest::nearest;
use crate::path::Path;
use crate::report::{Code, Finding};
use crate::source::SourceMap;

/// The largest file that `${file:}` reads: secrets and certificates, not data.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Where variables come from.
pub(crate) struct Variables<'a> {
    pub(crate) environment: &'a BTreeMap<String, String>,
    /// Relative paths begin here: at the pipeline file.
    pub(crate) folder: PathBuf,
    /// Whether files and variables that hold secrets are left alone, and a text stands in for each.
    pub(crate) stand_in: bool,
}

/// Something outside of the pipeline file that a field of it names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The field, as findings write it.
    pub field: String,
    /// The field's text is this and nothing else.
    pub whole: bool,
    /// What is named.
    pub from: Outside,
}

/// What a field can name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outside {
    /// `${NAME}` or `${NAME:-default}`.
    Variable {
        /// Its name.
        name: String,
        /// The field holds a secret.
        secret: bool,
        /// Without it the file's own default is in force.
        default: bool,
    },
    /// `${file:/path}`, as it is written.
    File(PathBuf),
}

/// What stands where a secret is not looked at.
const STAND_IN: &str = "stand-in";

/// What filling a document gave.
#[derive(Default)]
pub(crate) struct Filled {
    /// Values that hold something from the environment or a file, and so are never shown (I10).
    pub(crate) secret: BTreeSet<Path>,
    /// Values whose variable could not be filled; what stands there is not judged any further.
    pub(crate) unknown: BTreeSet<Path>,
    /// Everything outside of the file that is named in it.
    pub(crate) references: BTreeSet<Reference>,
    pub(crate) findings: Vec<Finding>,
}

/// Fills every text below `value`.
pub(crate) fn fill(value: &mut Value, variables: &Variables<'_>, sources: &SourceMap) -> Filled {
    let mut filled = Filled::default();
    fill_below(value, &Path::root(), variables, sources, &mut filled);
    filled
}

fn fill_below(
    value: &mut Value,
    path: &Path,
    variables: &Variables<'_>,
    sources: &SourceMap,
    filled: &mut Filled,
) {
    match &mut value.kind {
        ValueKind::Table(table) => {
            for (name, inner) in table.iter_mut() {
                fill_below(inner, &path.key(name), variables, sources, filled);
            }
        }
        ValueKind::Array(items) => {
            for (index, inner) in items.iter_mut().enumerate() {
                fill_below(inner, &path.index(index), variables, sources, filled);
            }
        }
        ValueKind::String(text) if text.contains("${") => {
            let text = text.clone();
            let asked = Asked { variables, secret: path.is_secret() };
            match fill_text(&text, &asked) {
                Ok(done) => {
                    let field = path.to_string();
                    filled.references.extend(done.outsides.into_iter().map(|from| Reference {
                        field: field.clone(),
                        whole: done.whole,
                        from,
                    }));
                    if done.outside {
                        filled.secret.insert(path.clone());
                    }
                    let origin = value.origin().unwrap_or_default().to_owned();
                    *value = if done.whole {
                        typed(&done.text, path, &origin)
                    } else {
                        Value::new(Some(&origin), ValueKind::String(done.text))
                    };
                }
                Err(mistakes) => {
                    filled.unknown.insert(path.clone());
                    for mistake in mistakes {
                        let place = sources.within(path, &text, mistake.piece);
                        let mut finding = Finding::new(Code::Variable, place, mistake.message).at(path);
                        finding.helps.extend(mistake.help);
                        filled.findings.push(finding);
                    }
                }
            }
        }
        _ => {}
    }
}

struct Done {
    text: String,
    /// Something came from the environment or a file.
    outside: bool,
    /// The text was one variable and nothing else, so it may stand for a number.
    whole: bool,
    outsides: Vec<Outside>,
}

/// Variables for one text.
struct Asked<'a> {
    variables: &'a Variables<'a>,
    /// The text is that of a field that holds a secret.
    secret: bool,
}

struct Mistake {
    piece: Range<usize>,
    message: String,
    help: Option<String>,
}

fn fill_text(text: &str, asked: &Asked<'_>) -> Result<Done, Vec<Mistake>> {
    let mut done = Done { text: String::new(), outside: false, whole: false, outsides: Vec::new() };
    let mut mistakes = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${") {
        let start = at + found;
        if text[..start].ends_with('$') && start > at {
            done.text.push_str(&text[at..start - 1]);
            done.text.push_str("${");
            at = start + 2;
            continue;
        }
        done.text.push_str(&text[at..start]);
        let Some(length) = text[start..].find('}') else {
            mistakes.push(Mistake {
                piece: start..text.len(),
                message: "`${` without its `}`".to_owned(),
                help: Some("write `$${` for the two characters themselves".to_owned()),
            });
            at = text.len();
            break;
        };
        let end = start + length + 1;
        match lookup(&text[start + 2..end - 1], asked) {
            Ok(Found { value, outside, from }) => {
                done.text.push_str(&value);
                done.outside |= outside;
                done.outsides.push(from);
                done.whole = start == 0 && end == text.len();
            }
            Err((message, help)) => mistakes.push(Mistake { piece: start..end, message, help }),
        }
        at = end;
    }
    done.text.push_str(&text[at..]);
    if mistakes.is_empty() { Ok(done) } else { Err(mistakes) }
}

type Refusal = (String, Option<String>);

/// The value of one variable.
struct Found {
    value: String,
    /// It comes from outside the file.
    outside: bool,
    from: Outside,
}

fn lookup(inside: &str, asked: &Asked<'_>) -> Result<Found, Refusal> {
    let variables = asked.variables;
    if let Some(path) = inside.strip_prefix("file:") {
        let value =
            if variables.stand_in { STAND_IN.to_owned() } else { read(&variables.folder.join(path))? };
        return Ok(Found { value, outside: true, from: Outside::File(PathBuf::from(path)) });
    }
    let (name, default) =
        inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
    let valid = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if !valid(name) {
        let help =
            "write ${NAME}, ${NAME:-default} or ${file:/path}; `$${` for the two characters themselves";
        return Err(("this is no variable".to_owned(), Some(help.to_owned())));
    }
    let from = Outside::Variable { name: name.to_owned(), secret: asked.secret, default: default.is_some() };
    let found = |value: &str, outside| Ok(Found { value: value.to_owned(), outside, from });
    if variables.stand_in && asked.secret {
        return found(STAND_IN, true);
    }
    match (variables.environment.get(name), default) {
        (Some(value), None) => found(value, true),
        (Some(value), Some(_)) if !value.is_empty() => found(value, true),
        (_, Some(default)) => found(default, false),
        (None, None) => {
            let help = match nearest(name, variables.environment.keys().map(String::as_str)) {
                Some(known) => format!("did you mean `{known}`? A default is written ${{{name}:-default}}"),
                None => format!("set it, or give a default: ${{{name}:-default}}"),
            };
            Err((format!("the environment variable `{name}` is not set"), Some(help)))
        }
    }
}

fn read(path: &FilePath) -> Result<String, Refusal> {
    let refused = |why: String| (format!("cannot read `{}`: {why}", path.display()), None);
    let size = std::fs::metadata(path).map_err(|error| refused(plain(&error)))?;
    if !size.is_file() {
        return Err(refused("not a file".to_owned()));
    }
    if size.len() > MAX_SECRET_BYTES {
        return Err(refused("larger than 64 KiB".to_owned()));
    }
    let bytes = std::fs::read(path).map_err(|error| refused(plain(&error)))?;
    let text = String::from_utf8(bytes).map_err(|_| refused("not UTF-8".to_owned()))?;
    // Editors and `echo` end files with a line break that is no part of the secret.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// An error of the operating system without its number.
pub(crate) fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, String> {
        let environment =
            BTreeMap::from([("HOST".to_owned(), "kafka".to_owned()), ("EMPTY".to_owned(), String::new())]);
        let variables =
            Variables { environment: &environment, folder: PathBuf::from("/nowhere"), stand_in: false };
        fill_text(text, &Asked { variables: &variables, secret: false })
            .map(|done| done.text)
            .map_err(|mistakes| mistakes[0].message.clone())
    }

    #[test]
    fn variables_are_filled_and_escapes_kept() {
        assert_eq!(filled("${HOST}:9092"), Ok("kafka:9092".to_owned()));
        assert_eq!(filled("${NONE:-local}:9092,${HOST}"), Ok("local:9092,kafka".to_owned()));
        assert_eq!(filled("${EMPTY:-local}"), Ok("local".to_owned()));
        assert_eq!(filled("$${HOST} $HOST"), Ok("${HOST} $HOST".to_owned()));
    }

    /// Guarantee: where secrets are not looked at, nothing of them is read, and everything that is named is known.
    #[test]
    fn stand_ins_are_told() {
        let environment = BTreeMap::from([("TOKEN".to_owned(), "planted".to_owned())]);
        let variables = Variables { environment: &environment, folder: PathBuf::new(), stand_in: true };
        let done = fill_text("${TOKEN}-${file:/nowhere/x}", &Asked { variables: &variables, secret: true });
        let done = done.map_err(|_| ()).unwrap();
        assert_eq!(done.text, "stand-in-stand-in");
        let token = Outside::Variable { name: "TOKEN".to_owned(), secret: true, default: false };
        assert_eq!(done.outsides, [token, Outside::File(PathBuf::from("/nowhere/x"))]);
    }

    #[test]
    fn what_cannot_be_filled_is_said() {
        assert_eq!(filled("${NONE}"), Err("the environment variable `NONE` is not set".to_owned()));
        assert_eq!(filled("${HOST"), Err("`${` without its `}`".to_owned()));
        assert_eq!(filled("${a-b}"), Err("this is no variable".to_owned()));
        assert_eq!(filled("${file:x}"), Err("cannot read `/nowhere/x`: no such file".to_owned()));
    }
}
