//! The sink `postgres` beside `psql` that copies the same lines into the same table, on a private cluster that syncs to disk.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_broker::postgres::{ADMIN, PORT, PrivatePostgres};
use longshore_core::sink::SegmentWriter;
use longshore_core::{Block, Failure, Generation, Item, Offset, Row, Value};
use longshore_sinks::Extract;
use longshore_sinks::postgres::{Column, PostgresOptions, PostgresSink, Source, Table};

use super::rows::{noise, publish, take_over, trailer};

const ROWS_IN_SEGMENT: i64 = 10_000;
const SEGMENTS: i64 = 40;
const COLUMNS: [&str; 4] = ["seen", "service", "severity", "whole"];

/// The columns of a table with a key, in the order of the lines.
const KEYED: &str = "(seen, service, severity, whole, id)";

/// A database for a long ledger.
const LEDGER: &str = "ledger";

/// A column whose text the bench writes by itself.
struct Given;

impl Extract for Given {
    fn extract(&self, _: &Item) -> Result<Value, Failure> {
        Ok(Value::Null)
    }
}

/// What is written into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// A table without a key.
    Plain,
    /// A table with a primary key and no row of these keys, in the mode `upsert`.
    Keyed,
    /// The same with a row of each key, which changes.
    Changed,
}

/// A cluster with the table of the bench.
pub(super) struct Copy {
    cluster: PrivatePostgres,
    segments: i64,
}

impl Copy {
    pub(super) fn new(quick: bool) -> anyhow::Result<Self> {
        let segments = if quick { SEGMENTS / 10 } else { SEGMENTS };
        Ok(Self { cluster: PrivatePostgres::start()?, segments })
    }

    /// The cluster's own `COPY` and ours in thousands of rows a second, over so many connections or partitions at once.
    pub(super) async fn measure(&self, into: Into, at_once: i64) -> anyhow::Result<(f64, f64)> {
        let rate = |spent: Duration| (self.segments * ROWS_IN_SEGMENT) as f64 / 1e3 / spent.as_secs_f64();
        Ok((rate(self.plain(into, at_once)?), rate(self.ours(into, at_once).await?)))
    }

    fn sql(&self, text: &str) -> anyhow::Result<()> {
        let status = self.cluster.psql().args(["-c", text]).status()?;
        anyhow::ensure!(status.success(), "psql: {status}");
        Ok(())
    }

    /// The table anew, and no ledger.
    fn clear(&self, into: Into) -> anyhow::Result<()> {
        let (key, marks) = match into {
            Into::Plain => ("", ""),
            Into::Keyed | Into::Changed => {
                ("id bigint primary key, ", ", _pair bigint, _offset bigint, _deleted timestamptz")
            }
        };
        self.sql(&format!(
            "set client_min_messages = error; drop table if exists bench, longshore_checkpoints, longshore_ledger, \
                 longshore_pairs; \
             create table bench ({key}seen timestamptz, service text, severity integer, whole jsonb{marks})"
        ))?;
        self.sql("checkpoint")
    }

    /// As many `psql`, each in one transaction, from files. Rows that are there change by way of a temporary table, the usual way to do so.
    fn plain(&self, into: Into, at_once: i64) -> anyhow::Result<Duration> {
        self.clear(into)?;
        let each = self.segments / at_once;
        let files = (0..at_once).map(|part| {
            let mut file = tempfile::NamedTempFile::new()?;
            for segment in part * each..(part + 1) * each {
                let first = segment * ROWS_IN_SEGMENT;
                file.write_all(&lines(first, first, into, Whose::Copy).bytes)?;
            }
            Ok(file)
        });
        let files = files.collect::<anyhow::Result<Vec<_>>>()?;
        if into == Into::Changed {
            self.copy(&files, Into::Keyed)?;
            self.sql("checkpoint")?;
        }
        let began = Instant::now();
        self.copy(&files, into)?;
        Ok(began.elapsed())
    }

    fn copy(&self, files: &[tempfile::NamedTempFile], into: Into) -> anyhow::Result<()> {
        let copies = files.iter().map(|file| {
            let path = file.path().display();
            let mut psql = self.cluster.psql();
            match into {
                Into::Plain => psql.args(["-c", &format!("\\copy bench from '{path}'")]),
                Into::Keyed => psql.args(["-c", &format!("\\copy bench {KEYED} from '{path}'")]),
                Into::Changed => psql.args([
                    "-c",
                    &format!("begin; create temporary table stage on commit drop as select {} from bench with no data", &KEYED[1..KEYED.len() - 1]),
                    "-c",
                    &format!("\\copy stage from '{path}'"),
                    "-c",
                    &format!(
                        "insert into bench {KEYED} select * from stage on conflict (id) do update set seen = excluded.seen, \
                             service = excluded.service, severity = excluded.severity, whole = excluded.whole"
                    ),
                    "-c",
                    "commit",
                ]),
            };
            psql.spawn()
        });
        for mut copy in copies.collect::<Result<Vec<_>, _>>()? {
            let status = copy.wait()?;
            anyhow::ensure!(status.success(), "psql: {status}");
        }
        Ok(())
    }

    /// Publishes all segments, those of a partition one after the other.
    async fn ours(&self, into: Into, at_once: i64) -> anyhow::Result<Duration> {
        self.clear(into)?;
        let sink = self.sink(ADMIN, into)?;
        let (each, rows) = (self.segments / at_once, self.segments * ROWS_IN_SEGMENT);
        let mut writers = Vec::new();
        for part in 0..at_once {
            let partition = i32::try_from(part)?;
            let mut writer = take_over(&sink, partition).await?.0;
            // The keys of the partitions are apart.
            let keys = (part * each..(part + 1) * each).map(|segment| segment * ROWS_IN_SEGMENT);
            let blocks = |base: i64| keys.clone().map(move |key| lines(base + key, key, into, Whose::Sink));
            let mut segments: Vec<Block> = blocks(0).collect();
            let mut first = 0;
            if into == Into::Changed {
                write(&mut *writer, &segments, partition, first).await?;
                (segments, first) = (blocks(rows).collect(), each as u64);
            }
            writers.push((writer, segments, partition, first));
        }
        if into == Into::Changed {
            self.sql("checkpoint")?;
        }
        let began = Instant::now();
        let publishing = writers.into_iter().map(|(mut writer, segments, partition, first)| {
            tokio::spawn(async move { write(&mut *writer, &segments, partition, first).await })
        });
        for task in publishing.collect::<Vec<_>>() {
            task.await??;
        }
        Ok(began.elapsed())
    }

    fn sink(&self, database: &str, into: Into) -> anyhow::Result<PostgresSink> {
        let key = (into != Into::Plain).then(|| vec!["id".to_owned()]);
        let names = COLUMNS.into_iter().chain(key.is_some().then_some("id"));
        let column = |name: &str| Column { name: name.into(), source: Source::Value(Arc::new(Given)) };
        let options = PostgresOptions {
            host: self.cluster.host().display().to_string(),
            port: PORT,
            user: ADMIN.into(),
            password: None,
            database: database.into(),
            tls: None,
            connections: 4,
            table: Table { schema: "public".into(), name: "bench".into() },
            columns: names.map(column).collect(),
            key,
        };
        PostgresSink::new("postgres", "bench", Generation::FIRST, options).map_err(anyhow::Error::msg)
    }

    /// A sink into a table of a database of its own, which the measurements above leave alone.
    pub(super) fn ledger(&self) -> anyhow::Result<PostgresSink> {
        let made = self.cluster.psql().args(["-d", LEDGER, "-c", "select from bench"]).output()?;
        if !made.status.success() {
            self.sql(&format!("create database {LEDGER}"))?;
            let text = "create table bench (seen timestamptz, service text, severity integer, whole jsonb)";
            let made = self.cluster.psql().args(["-d", LEDGER, "-c", text]).status()?;
            anyhow::ensure!(made.success(), "psql: {made}");
        }
        self.sink(LEDGER, Into::Plain)
    }
}

/// Publishes each block as a segment, from the number `first` on.
async fn write(
    writer: &mut dyn SegmentWriter,
    segments: &[Block],
    partition: i32,
    first: u64,
) -> anyhow::Result<()> {
    for (sequence, block) in (first..).zip(segments) {
        let appended = writer.append(block).await;
        appended.map_err(|failure| anyhow::anyhow!("append: {failure:?}"))?;
        publish(writer, &trailer(sequence, partition, ROWS_IN_SEGMENT)).await?;
    }
    Ok(())
}

/// Who reads lines: the sink adds what orders rows of one key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Copy,
    Sink,
}

/// The lines of one segment from an offset and a key on, about 300 bytes each, as `COPY` reads them.
fn lines(first: i64, first_key: i64, into: Into, whose: Whose) -> Block {
    let mut block = Block::default();
    for (offset, key) in (first..first + ROWS_IN_SEGMENT).zip(first_key..) {
        let noise = noise(offset);
        let mut line = format!(
            "2026-01-31 12:00:{:02}.{:09}+00\tservice-{}\t9\t{{\"body\":\"request finished and the answer was written to the \
             client\",\"attributes\":{{\"http.request.method\":\"GET\",\"url.path\":\"/api/v1/items/{}\",\"duration_ms\":{},\
             \"trace\":\"{noise:032x}\"}},\"_origin\":\"bench.rows/0/{offset}/0\"}}",
            offset % 60,
            noise % 1_000_000_000,
            noise % 40,
            noise % 100_000,
            noise % 1_000,
        );
        if into != Into::Plain {
            let _ = write!(line, "\t{key}");
            if whose == Whose::Sink {
                let _ = write!(line, "\t{offset}\t0\tf");
            }
        }
        line.push('\n');
        let start = block.bytes.len() as u32;
        block.bytes.extend_from_slice(line.as_bytes());
        let value = Some(start..block.bytes.len() as u32);
        block.rows.push(Row { offset: Offset(offset), key: None, value, headers: Vec::new() });
    }
    block
}
