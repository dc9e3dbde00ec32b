//! The sink `postgres` beside `psql` that copies the same lines into the same table, on a private cluster that syncs to disk.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_broker::postgres::{ADMIN, PORT, PrivatePostgres};
use longshore_core::{Block, Failure, Generation, Item, Offset, Row, Value};
use longshore_sinks::Extract;
use longshore_sinks::postgres::{Column, PostgresOptions, PostgresSink, Source, Table};

use super::rows::{noise, publish, take_over, trailer};

const ROWS_IN_SEGMENT: i64 = 10_000;
const SEGMENTS: i64 = 40;
const COLUMNS: [&str; 4] = ["seen", "service", "severity", "whole"];

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
    /// A table with a primary key, in the mode `upsert`.
    Keyed,
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
            Into::Keyed => {
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

    /// As many `psql`, each in one transaction, from files.
    fn plain(&self, into: Into, at_once: i64) -> anyhow::Result<Duration> {
        self.clear(into)?;
        let columns = match into {
            Into::Plain => "",
            Into::Keyed => "(seen, service, severity, whole, id)",
        };
        let each = self.segments / at_once;
        let files = (0..at_once).map(|part| {
            let mut file = tempfile::NamedTempFile::new()?;
            for segment in part * each..(part + 1) * each {
                file.write_all(&lines(segment * ROWS_IN_SEGMENT, into, Whose::Copy).bytes)?;
            }
            Ok(file)
        });
        let files = files.collect::<anyhow::Result<Vec<_>>>()?;
        let began = Instant::now();
        let copies = files.iter().map(|file| {
            let text = format!("\\copy bench {columns} from '{}'", file.path().display());
            self.cluster.psql().args(["-c", &text]).spawn()
        });
        for mut copy in copies.collect::<Result<Vec<_>, _>>()? {
            let status = copy.wait()?;
            anyhow::ensure!(status.success(), "psql: {status}");
        }
        Ok(began.elapsed())
    }

    /// Publishes all segments, those of a partition one after the other.
    async fn ours(&self, into: Into, at_once: i64) -> anyhow::Result<Duration> {
        self.clear(into)?;
        let sink = self.sink(ADMIN, into)?;
        let mut writers = Vec::new();
        for part in 0..at_once {
            let each = self.segments / at_once;
            // The keys of the partitions are apart.
            let segments: Vec<Block> = (part * each..(part + 1) * each)
                .map(|segment| lines(segment * ROWS_IN_SEGMENT, into, Whose::Sink))
                .collect();
            let partition = i32::try_from(part)?;
            writers.push((take_over(&sink, partition).await?.0, segments, partition));
        }
        let began = Instant::now();
        let publishing = writers.into_iter().map(|(mut writer, segments, partition)| {
            tokio::spawn(async move {
                for (sequence, block) in (0..).zip(&segments) {
                    let appended = writer.append(block).await;
                    appended.map_err(|failure| anyhow::anyhow!("append: {failure:?}"))?;
                    publish(&mut *writer, &trailer(sequence, partition, ROWS_IN_SEGMENT)).await?;
                }
                anyhow::Ok(())
            })
        });
        for task in publishing.collect::<Vec<_>>() {
            task.await??;
        }
        Ok(began.elapsed())
    }

    fn sink(&self, database: &str, into: Into) -> anyhow::Result<PostgresSink> {
        let key = (into == Into::Keyed).then(|| vec!["id".to_owned()]);
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

/// Who reads lines: the sink adds what orders rows of one key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Copy,
    Sink,
}

/// The lines of one segment, about 300 bytes each, as `COPY` reads them.
fn lines(first: i64, into: Into, whose: Whose) -> Block {
    let mut block = Block::default();
    for offset in first..first + ROWS_IN_SEGMENT {
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
        if into == Into::Keyed {
            let _ = write!(line, "\t{offset}");
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
