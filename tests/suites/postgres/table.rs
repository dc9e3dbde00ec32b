//! A table in a database of its own, and writers to it.

use std::sync::Arc;

use longshore_core::ledger::{TRAILER_VERSION, Trailer};
use longshore_core::sink::{Published, SegmentWriter, Sink, WriterContext};
use longshore_core::{
    Block, Failure, Generation, Item, Offset, PairId, Row, RunSet, Sequence, Value, WriterId,
};
use longshore_sinks::postgres::{Column, Extract, PostgresOptions, PostgresSink, Source, Table};
use longshore_tests::harness::postgres::{ADMIN, Postgres};

/// The table that most tests write to.
pub(crate) const TABLE: &str =
    "create table t (id integer primary key, name text not null check (name <> 'bad'))";

/// A column that the test writes by itself.
struct Given;

impl Extract for Given {
    fn extract(&self, _: &Item) -> Result<Value, Failure> {
        Ok(Value::Null)
    }
}

/// Options for a database of this server, as its superuser, with these columns.
pub(crate) fn options(server: &Postgres, database: &str, columns: &[&str]) -> PostgresOptions {
    let column = |name: &&str| Column { name: (*name).to_owned(), source: Source::Value(Arc::new(Given)) };
    PostgresOptions {
        host: "127.0.0.1".into(),
        port: server.port(),
        user: ADMIN.into(),
        password: None,
        database: database.into(),
        tls: None,
        connections: 4,
        table: Table::parse("t").unwrap(),
        columns: columns.iter().map(column).collect(),
        key: None,
    }
}

/// The same with `mode: upsert` by these columns.
pub(crate) fn upsert(server: &Postgres, database: &str, columns: &[&str], key: &[&str]) -> PostgresOptions {
    let key = Some(key.iter().map(|name| (*name).to_owned()).collect());
    PostgresOptions { key, ..options(server, database, columns) }
}

pub(crate) fn sink(options: PostgresOptions) -> PostgresSink {
    PostgresSink::new("postgres", "web-logs", Generation::FIRST, options).unwrap()
}

/// A writer of the pair `logs.raw/3`.
pub(crate) fn writer(sink: &PostgresSink, id: u128) -> Box<dyn SegmentWriter> {
    writer_of(sink, id, 3)
}

/// A writer of a partition of `logs.raw`.
pub(crate) fn writer_of(sink: &PostgresSink, id: u128, partition: i32) -> Box<dyn SegmentWriter> {
    sink.open(WriterContext {
        pair: PairId::new("logs.raw", partition),
        writer: WriterId(id),
        cluster: "cluster-a".into(),
        topic_id: "topic-a".into(),
    })
}

/// Rows of the table: offset, and the line as `COPY` reads it.
pub(crate) fn block(lines: &[(i64, &str)]) -> Block {
    let mut block = Block::default();
    for (offset, line) in lines {
        let start = block.bytes.len() as u32;
        block.bytes.extend_from_slice(line.as_bytes());
        block.bytes.push(b'\n');
        let value = Some(start..block.bytes.len() as u32);
        block.rows.push(Row { offset: Offset(*offset), key: None, value, headers: Vec::new() });
    }
    block
}

/// The trailer of a segment that holds all of `covers`, in a ledger that decides letters.
pub(crate) fn trailer(sequence: u64, writer: u128, covers: std::ops::Range<i64>) -> Trailer {
    Trailer {
        version: TRAILER_VERSION,
        pipeline: "web-logs".into(),
        generation: Generation::FIRST,
        cluster: "cluster-a".into(),
        topic: "logs.raw".into(),
        topic_id: "topic-a".into(),
        partition: 3,
        partitions: 8,
        sequence: Sequence(sequence),
        writer: WriterId(writer),
        covers: (Offset(covers.start), Offset(covers.end)),
        except: RunSet::default(),
        also: RunSet::default(),
        dead: Default::default(),
        rows: (covers.end - covers.start) as u64,
        filtered: Default::default(),
        decides: Some(Default::default()),
    }
}

/// Appends and seals.
pub(crate) async fn seal(writer: &mut dyn SegmentWriter, lines: &[(i64, &str)]) {
    writer.append(&block(lines)).await.unwrap();
    writer.seal().unwrap();
}

/// The offsets that were refused, with the reasons' codes; panics when the segment was not published.
pub(crate) fn refused(published: Published) -> Vec<(i64, &'static str)> {
    let Published::Done(refused) = published else { panic!("{published:?}") };
    refused.into_iter().map(|(offset, failure)| (offset.0, failure.reason.code())).collect()
}
