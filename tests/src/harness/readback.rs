//! Readers that have nothing of ours: pyarrow and DuckDB, in one Python process for the whole suite.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::{Map, Value, json};

use super::report;
use super::store::{KEY, REGION, SECRET, Store};
use super::tools::tool;

/// The program that answers; see there for what each reader does.
const SCRIPT: &str = include_str!("readback.py");

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// File by file with `pyarrow.parquet`, footers too.
    Pyarrow,
    /// `pyarrow.dataset`, with the fields of partition folders.
    Dataset,
    /// DuckDB's `read_parquet`; folders alone.
    Duckdb,
}

/// What is read.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// A folder of this machine.
    Folder(&'a Path),
    /// A bucket's names below a prefix, by S3's protocol.
    Bucket(&'a Store, &'a str, &'a str),
}

/// What a reader found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The Parquet files in the order of their paths; what is told of each depends on the reader.
    pub files: Vec<Value>,
    /// All rows, in the order of the files and in that of each file.
    pub rows: Vec<Map<String, Value>>,
}

struct Process {
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Ends when its standard input does, so with this process at the latest.
    _child: Child,
}

/// Reads all Parquet files of a place, those under names that begin with `_` or `.` excepted. None where Python's parts cannot be
/// had: then the test returns, and is counted as skipped.
///
/// # Panics
/// When the reader fails, and with `CI` set when it cannot be had.
#[must_use]
#[track_caller]
pub fn read_back(reader: Reader, place: Place<'_>) -> Option<Found> {
    let reader = match reader {
        Reader::Pyarrow => "pyarrow",
        Reader::Dataset => "dataset",
        Reader::Duckdb => "duckdb",
    };
    let question = match place {
        Place::Folder(folder) => json!({ "reader": reader, "folder": folder }),
        Place::Bucket(store, bucket, prefix) => json!({
            "reader": reader,
            "folder": prefix,
            "bucket": {
                "name": bucket, "key": KEY, "secret": SECRET, "region": REGION,
                "address": format!("127.0.0.1:{}", store.port()),
            },
        }),
    };
    let mut answer = ask(&question)?;
    let list = |value: Value| if let Value::Array(list) = value { list } else { Vec::new() };
    let row = |value: Value| if let Value::Object(row) = value { Some(row) } else { None };
    let files = list(answer["files"].take());
    Some(Found { files, rows: list(answer["rows"].take()).into_iter().filter_map(row).collect() })
}

#[track_caller]
fn ask(question: &Value) -> Option<Value> {
    static SHARED: OnceLock<Option<Mutex<Process>>> = OnceLock::new();
    let process = SHARED.get_or_init(|| start().map(Mutex::new)).as_ref()?;
    let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = exchange(&mut process, question).unwrap_or_else(|error| panic!("{question}: {error}"));
    if let Some(error) = answer.get("error") {
        panic!("{question}: {error}");
    }
    Some(answer)
}

fn start() -> Option<Process> {
    let python = tool("python")?;
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("python: {error}"));
    let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
        panic!("python has no standard input and output");
    };
    let mut process = Process { questions, answers: BufReader::new(answers), _child: child };
    let versions = exchange(&mut process, &json!({ "reader": "versions" }));
    let versions = versions.unwrap_or_else(|error| panic!("python: {error}"));
    report::used(versions["versions"].as_str().unwrap_or_default());
    Some(process)
}

fn exchange(process: &mut Process, question: &Value) -> std::io::Result<Value> {
    writeln!(process.questions, "{question}")?;
    process.questions.flush()?;
    let mut line = String::new();
    process.answers.read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
