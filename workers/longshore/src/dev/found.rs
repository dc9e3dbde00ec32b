//! Real input that is on every machine: log files and Markdown documents.

use std::fs;
use std::path::{Path, PathBuf};

use crate::commands::publish::Message;

/// At most so many real log lines, so that a machine with years of logs does not make the demo long.
const LINES_MAX: usize = 20_000;
/// At most so many documents.
const DOCUMENTS_MAX: usize = 2_000;
/// Files above this size are not documents to read.
const DOCUMENT_BYTES_MAX: u64 = 512 * 1024;
/// How deep folders are walked for documents.
const DEPTH_MAX: usize = 6;

/// Lines of log files, each wrapped as a shipper would: `{"message", "level", "file", "line"}`, keyed by file.
pub(crate) fn log_lines(files: &[PathBuf]) -> Vec<Message> {
    let mut lines = Vec::new();
    for file in files {
        // A file that we may not read is left out: the demo shows what it can.
        let Ok(bytes) = fs::read(file) else { continue };
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            if lines.len() >= LINES_MAX {
                return lines;
            }
            let value =
                serde_json::json!({"message": line, "level": level(line), "file": name, "line": number + 1});
            lines.push(Message {
                key: Some(name.clone().into_bytes()),
                value: Some(value.to_string().into_bytes()),
            });
        }
    }
    lines
}

/// The log files of this machine that may be read, and the broker's own.
pub(crate) fn log_files(broker_log: Option<&Path>) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir("/var/log").into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "log"));
    files.sort();
    broker_log.map(Path::to_path_buf).into_iter().chain(files).collect()
}

fn level(line: &str) -> &'static str {
    let found = [("ERROR", "error"), ("WARN", "warn"), ("DEBUG", "debug")];
    found.iter().find(|(word, _)| line.contains(word)).map_or("info", |(_, level)| level)
}

/// Markdown documents `{text, source}` of the folders, keyed by the folder they lie in.
pub(crate) fn documents(roots: &[PathBuf]) -> Vec<Message> {
    let mut found = Vec::new();
    for root in roots {
        walk(root, DEPTH_MAX, &mut found);
    }
    found
}

/// Where documents are: this repository's folder, and the sources of crates that cargo has unpacked.
pub(crate) fn document_roots() -> Vec<PathBuf> {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let registry = cargo.or(home).map(|cargo| cargo.join("registry/src"));
    std::iter::once(PathBuf::from(".")).chain(registry).collect()
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<Message>) {
    let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if found.len() >= DOCUMENTS_MAX {
            return;
        }
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        let skip = entry.file_name().to_string_lossy().starts_with('.') || entry.file_name() == "target";
        if kind.is_dir() && depth > 0 && !skip {
            walk(&path, depth - 1, found);
        } else if kind.is_file() && path.extension().is_some_and(|e| e == "md") {
            found.extend(document(&path));
        }
    }
}

fn document(path: &Path) -> Option<Message> {
    if fs::metadata(path).ok()?.len() > DOCUMENT_BYTES_MAX {
        return None;
    }
    let text = fs::read_to_string(path).ok().filter(|text| !text.trim().is_empty())?;
    let folder =
        path.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let value = serde_json::json!({"text": text, "source": format!("{folder}/{name}")});
    Some(Message { key: Some(folder.into_bytes()), value: Some(value.to_string().into_bytes()) })
}
