//! What a run leaves for the account: `run.json`, and for each topic what stood in it, read back from the broker.
//! With these and the sink's files a finished run can be counted again without a broker.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use longshore_core::Origin;
use serde::{Deserialize, Serialize};

use super::expect::{Demo, Place, Rehearsal};

/// The name of the file that makes a folder a run.
pub(crate) const RUN_FILE: &str = "run.json";

/// What was run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    /// The broker, in words.
    pub(crate) broker: String,
    /// The pipelines.
    pub(crate) pipelines: Vec<Pipeline>,
}

/// One pipeline of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pipeline {
    /// Its name.
    pub(crate) name: String,
    /// Which rules judge it.
    pub(crate) demo: Demo,
    /// Its input topic.
    pub(crate) topic: String,
    /// Its dead-letter topic.
    pub(crate) letters: String,
    /// Where its files are, relative to the run's folder.
    pub(crate) files: PathBuf,
    /// Whether they are Parquet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) parquet: bool,
    /// The table that its rows are in instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<String>,
    /// Records that the producer got confirmed.
    pub(crate) published: u64,
    /// Per partition: the group's committed offset and the log's end.
    pub(crate) committed: Vec<Committed>,
    /// Its retry topic; none in a run of a version that had none.
    #[serde(default)]
    pub(crate) retry: Option<String>,
    /// The same of the retry topic.
    #[serde(default)]
    pub(crate) retry_committed: Vec<Committed>,
    /// Which records failed on purpose.
    #[serde(default)]
    pub(crate) rehearsal: Option<Rehearsal>,
    /// By partition, the first offset of what came while everything was rejected; empty when nothing was.
    #[serde(default)]
    pub(crate) flood_from: Vec<i64>,
}

/// Where the group stood at the end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Committed {
    /// The partition.
    pub(crate) partition: i32,
    /// The committed offset, none when nothing was.
    pub(crate) committed: Option<i64>,
    /// The offset behind the last record.
    pub(crate) end: i64,
}

/// One published record.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Published {
    /// Where it stands.
    pub(crate) origin: Origin,
    /// The first bytes of blake3 of its key, none for a null key.
    pub(crate) key: Option<String>,
    /// Where it must end.
    pub(crate) place: Place,
    /// The first bytes of blake3 of the text its row must have.
    pub(crate) text: Option<String>,
}

/// One dead letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Letter {
    /// What its headers name as the origin; none when they cannot be read.
    pub(crate) origin: Option<Origin>,
    /// Its reason code.
    pub(crate) reason: String,
    /// Its replay number.
    #[serde(default)]
    pub(crate) replays: u32,
    /// Whether its payload is, byte for byte, that of the origin.
    pub(crate) payload_same: bool,
}

/// One record of the retry topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Copy {
    /// What its headers name as the origin; none when they cannot be read.
    pub(crate) origin: Option<Origin>,
    /// Why it is there.
    pub(crate) reason: String,
    /// Its replay number: above 0 for what a replay sent.
    pub(crate) replays: u32,
    /// Whether its payload is, byte for byte, that of the origin.
    pub(crate) payload_same: bool,
}

/// A short digest, enough to tell 2^60 texts apart.
pub(crate) fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_owned()
}

/// Where what stood in a topic is kept.
pub(crate) fn topic_file(run: &Path, topic: &str) -> PathBuf {
    run.join("topics").join(format!("{topic}.ndjson.zst"))
}

/// Where what stood in a table is kept: the whole records.
pub(crate) fn table_file(run: &Path, table: &str) -> PathBuf {
    run.join("tables").join(format!("{table}.ndjson.zst"))
}

/// The same of the trailers in the sink's ledger.
pub(crate) fn ledger_file(run: &Path, table: &str) -> PathBuf {
    run.join("tables").join(format!("{table}.ledger.ndjson.zst"))
}

/// Writes rows, one JSON document a line, packed.
pub(crate) struct Writer {
    out: zstd::stream::write::Encoder<'static, BufWriter<File>>,
}

impl Writer {
    pub(crate) fn create(path: &Path) -> std::io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(Self { out: zstd::stream::write::Encoder::new(BufWriter::new(File::create(path)?), 1)? })
    }

    pub(crate) fn row<T: Serialize>(&mut self, row: &T) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.out, row)?;
        self.out.write_all(b"\n")
    }

    /// A row that is JSON already.
    pub(crate) fn line(&mut self, json: &str) -> std::io::Result<()> {
        self.out.write_all(json.as_bytes())?;
        self.out.write_all(b"\n")
    }

    pub(crate) fn finish(self) -> std::io::Result<()> {
        self.out.finish()?.flush()
    }
}

/// Reads rows back.
pub(crate) fn rows<T: for<'de> Deserialize<'de>>(path: &Path) -> anyhow::Result<Vec<T>> {
    let mut rows = Vec::new();
    each(path, |number, line| {
        rows.push(serde_json::from_str(line).with_context(|| format!("{}:{number}", path.display()))?);
        Ok(())
    })?;
    Ok(rows)
}

/// Hands every row over as it stands there, with its number from 1.
pub(crate) fn each(
    path: &Path,
    mut visit: impl FnMut(u64, &str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let reader = BufReader::new(zstd::stream::read::Decoder::new(file)?);
    for (number, line) in (1..).zip(reader.lines()) {
        visit(number, &line.with_context(|| format!("cannot read {}", path.display()))?)?;
    }
    Ok(())
}
