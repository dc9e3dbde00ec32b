//! How fast the `postgres` sink publishes, beside `psql` that copies the same lines in one transaction into the same table with the same
//! indexes:
//! `cargo run --release --features postgres --example copy_rate -- PORT USER DATABASE` (a server on 127.0.0.1 that asks for no password).

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_core::ledger::{TRAILER_VERSION, Trailer};
use longshore_core::sink::{Published, Sink, WriterContext};
use longshore_core::{
    Block, Failure, Generation, Item, Offset, PairId, Row, RunSet, Sequence, Value, WriterId,
};
use longshore_sinks::postgres::{Column, Extract, PostgresOptions, PostgresSink, Source, Table};

type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROWS_IN_SEGMENT: i64 = 10_000;
const SEGMENTS: i64 = 40;
const ROUNDS: usize = 5;
const COLUMNS: [&str; 4] = ["seen", "service", "severity", "whole"];

/// A column whose text the bench writes by itself.
struct Given;

impl Extract for Given {
    fn extract(&self, _: &Item) -> Result<Value, Failure> {
        Ok(Value::Null)
    }
}

/// The lines of one segment, about 300 bytes each, as `COPY` reads them.
fn lines(first: i64, marks: bool) -> Block {
    let mut block = Block::default();
    for offset in first..first + ROWS_IN_SEGMENT {
        let noise = (offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let service = noise % 40;
        let mut line = format!(
            "2026-01-31 12:00:{:02}.{:09}+00\tservice-{service}\t9\t{{\"body\":\"request finished and the answer was written to the \
             client\",\"attributes\":{{\"http.request.method\":\"GET\",\"url.path\":\"/api/v1/items/{}\",\"duration_ms\":{},\
             \"trace\":\"{noise:032x}\"}},\"_origin\":\"logs.raw/0/{offset}/0\"}}",
            offset % 60,
            noise % 1_000_000_000,
            noise % 100_000,
            noise % 1_000,
        );
        if marks {
            let _ = write!(line, "\t{offset}\t{offset}\t0\tf");
        }
        line.push('\n');
        let start = block.bytes.len() as u32;
        block.bytes.extend_from_slice(line.as_bytes());
        let value = Some(start..block.bytes.len() as u32);
        block.rows.push(Row { offset: Offset(offset), key: None, value, headers: Vec::new() });
    }
    block
}

fn trailer(sequence: i64, partition: i32) -> Trailer {
    Trailer {
        version: TRAILER_VERSION,
        pipeline: "bench".into(),
        generation: Generation::FIRST,
        cluster: String::new(),
        topic: "logs.raw".into(),
        topic_id: String::new(),
        partition,
        partitions: 8,
        sequence: Sequence(sequence as u64),
        writer: WriterId(1),
        covers: (Offset(sequence * ROWS_IN_SEGMENT), Offset((sequence + 1) * ROWS_IN_SEGMENT)),
        except: RunSet::default(),
        also: RunSet::default(),
        dead: Default::default(),
        rows: ROWS_IN_SEGMENT as u64,
        filtered: Default::default(),
        decides: Some(Default::default()),
    }
}

/// The server to measure on.
#[derive(Clone)]
struct Server {
    port: u16,
    user: String,
    database: String,
}

impl Server {
    fn psql(&self, text: &str) -> Done<()> {
        let port = self.port.to_string();
        let place = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &port, "-U", &self.user];
        let status = Command::new("psql").args(place).args(["-d", &self.database, "-c", text]).status()?;
        if status.success() { Ok(()) } else { Err(format!("psql: {status}").into()) }
    }

    /// The table anew, and no ledger.
    fn clear(&self, upsert: bool) -> Done<()> {
        let (key, marks) = if upsert {
            ("id bigint primary key, ", ", _pair bigint, _offset bigint, _deleted timestamptz")
        } else {
            ("", "")
        };
        self.psql(&format!(
            "set client_min_messages = error; drop table if exists bench, longshore_checkpoints, longshore_ledger, \
                 longshore_pairs; \
             create table bench ({key}seen timestamptz, service text, severity integer, whole jsonb{marks})"
        ))?;
        self.psql("checkpoint")
    }

    fn options(&self, upsert: bool) -> PostgresOptions {
        let names = if upsert { [&COLUMNS[..], &["id"]].concat() } else { COLUMNS.to_vec() };
        let column = |name: &&str| Column { name: (*name).into(), source: Source::Value(Arc::new(Given)) };
        PostgresOptions {
            host: "127.0.0.1".into(),
            port: self.port,
            user: self.user.clone(),
            password: None,
            database: self.database.clone(),
            tls: None,
            connections: 4,
            table: Table { schema: "public".into(), name: "bench".into() },
            columns: names.iter().map(column).collect(),
            key: upsert.then(|| vec!["id".to_owned()]),
        }
    }

    /// Publishes all segments, those of each of `pairs` partitions one after the other. Gives the time, and how much of it the writers spent
    /// with taking rows over, which is all that waits for the publish before: rows are encoded on other threads meanwhile.
    async fn sink(&self, upsert: bool, pairs: i32) -> Done<(Duration, Duration)> {
        self.clear(upsert)?;
        let sink = PostgresSink::new("postgres", "bench", Generation::FIRST, self.options(upsert))?;
        let mut writers = Vec::new();
        for partition in 0..pairs {
            let (pair, writer) = (PairId::new("logs.raw", partition), WriterId(1));
            let context = WriterContext { pair, writer, cluster: String::new(), topic_id: String::new() };
            let mut writer = sink.open(context);
            writer.recover().await?;
            let segments = SEGMENTS / i64::from(pairs);
            // The keys of the partitions are apart.
            let lines: Vec<Block> = (0..segments)
                .map(|segment| lines((i64::from(partition) * segments + segment) * ROWS_IN_SEGMENT, upsert))
                .collect();
            writers.push((writer, lines, partition));
        }
        let begun = Instant::now();
        let publish = writers.into_iter().map(|(mut writer, lines, partition)| {
            tokio::spawn(async move {
                let mut appending = Duration::ZERO;
                for (sequence, block) in (0..).zip(&lines) {
                    let begun = Instant::now();
                    writer.append(block).await?;
                    writer.seal()?;
                    appending += begun.elapsed();
                    match writer.publish(&trailer(sequence, partition)).await? {
                        Published::Done(refused) if refused.is_empty() => {}
                        other => return Err(format!("{other:?}").into()),
                    }
                }
                Done::Ok(appending)
            })
        });
        let mut appending = Duration::ZERO;
        for task in publish.collect::<Vec<_>>() {
            appending += task.await??;
        }
        Ok((begun.elapsed(), appending / pairs as u32))
    }

    /// `psql` copies the same lines from a file; with `upsert` into the table that has a key.
    fn plain(&self, file: &str, upsert: bool) -> Done<Duration> {
        self.clear(upsert)?;
        let columns = if upsert { "(seen, service, severity, whole, id)" } else { "" };
        let begun = Instant::now();
        self.psql(&format!("\\copy bench {columns} from '{file}'"))?;
        Ok(begun.elapsed())
    }
}

#[tokio::main]
async fn main() -> Done<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), Some(user), Some(database)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("copy_rate PORT USER DATABASE".into());
    };
    let server = Server { port: port.parse()?, user, database };
    let (mut file, mut keyed) = (tempfile::NamedTempFile::new()?, tempfile::NamedTempFile::new()?);
    for segment in 0..SEGMENTS {
        let block = lines(segment * ROWS_IN_SEGMENT, false);
        file.write_all(&block.bytes)?;
        for row in &block.rows {
            let line = row.value.as_ref().map(|at| &block.bytes[at.start as usize..at.end as usize - 1]);
            keyed.write_all(line.unwrap_or_default())?;
            writeln!(keyed, "\t{}", row.offset)?;
        }
    }
    let [path, keyed_path] = [&file, &keyed].map(|file| file.path().display().to_string());
    let rows = SEGMENTS * ROWS_IN_SEGMENT;
    let rate = |spent: Duration| rows as f64 / spent.as_secs_f64() / 1e3;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{rows} rows, {} bytes, segments of {ROWS_IN_SEGMENT}; k rows/s",
        file.as_file().metadata()?.len()
    )?;
    for round in 0..=ROUNDS {
        let (plain, keyed) = (server.plain(&path, false)?, server.plain(&keyed_path, true)?);
        let (one, appending) = server.sink(false, 1).await?;
        let (four, _) = server.sink(false, 4).await?;
        let (upsert, _) = server.sink(true, 1).await?;
        let (upsert_four, _) = server.sink(true, 4).await?;
        let ratio = |plain: Duration, spent: Duration| plain.as_secs_f64() / spent.as_secs_f64();
        writeln!(
            out,
            "round {round}: psql {:.1}; insert {:.1} = {:.2}; four pairs {:.1} = {:.2}; \
             psql with key {:.1}; upsert {:.1} = {:.2}; four pairs {:.1} = {:.2}; taking rows over {:.1} % of insert",
            rate(plain),
            rate(one),
            ratio(plain, one),
            rate(four),
            ratio(plain, four),
            rate(keyed),
            rate(upsert),
            ratio(keyed, upsert),
            rate(upsert_four),
            ratio(keyed, upsert_four),
            100.0 * appending.as_secs_f64() / one.as_secs_f64(),
        )?;
    }
    Ok(())
}
