//! How lines become rows of the table: by `COPY` alone, or by way of a temporary table and a merge by key.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::SinkExt;
use longshore_core::{Failure, Offset, Reason};

use super::connect::Lease;
use super::ledger::Claim;
use super::options::{PostgresOptions, quoted};
use super::schema::PAIRS;

/// The temporary table of a session, in which the lines of a merge wait.
const STAGE: &str = "pg_temp.longshore_stage";

/// What became of lines.
pub(super) enum Put {
    /// They are rows, or have newer ones.
    Taken,
    /// One or more records are refused, and which is to be found: why, if it was one.
    Refused(Failure),
    /// These records are refused, all for one reason; of the others nothing is known.
    Named(BTreeSet<Offset>, Failure),
}

/// Writes lines to the table of one sink.
#[derive(Debug)]
pub(super) struct Write {
    copy: String,
    merge: Option<Merge>,
}

/// The statements of mode `upsert`.
#[derive(Debug)]
struct Merge {
    /// Makes the temporary table, once for a session.
    stage: String,
    /// Takes the newest line of each key over, and says how many keys there were and how many rows that made. Parameter: the
    /// pair.
    merge: String,
    /// After a merge that made fewer rows than there were keys: the records whose key has a row of another partition. Parameter: the
    /// pair.
    moved: String,
    /// If there are none: whether some key has no row, or not the newest. The rest had a newer one. Parameter: the pair.
    absent: String,
}

impl Write {
    pub(super) fn new(options: &PostgresOptions) -> Self {
        let table = options.table.quoted();
        let names: Vec<String> = options.columns.iter().map(|column| quoted(&column.name)).collect();
        let columns = names.join(", ");
        let Some(key) = &options.key else {
            return Self { copy: format!("COPY {table} ({columns}) FROM STDIN"), merge: None };
        };
        let key: Vec<String> = key.iter().map(|name| quoted(name)).collect();
        let others: Vec<&String> = names.iter().filter(|name| !key.contains(name)).collect();
        let pairs = options.table.beside(PAIRS);
        Self {
            copy: format!(
                "COPY {STAGE} ({columns}, longshore_offset, longshore_index, longshore_delete) FROM STDIN"
            ),
            merge: Some(Merge {
                // A segment is sorted and waits in memory and not in the server's files.
                stage: format!(
                    "SET work_mem = '32MB'; SET temp_buffers = '32MB'; \
                     CREATE TEMPORARY TABLE longshore_stage ON COMMIT DELETE ROWS AS \
                     SELECT {columns}, 0::bigint AS longshore_offset, 0::bigint AS longshore_index, \
                         false AS longshore_delete FROM {table} WITH NO DATA"
                ),
                merge: merge(&table, &pairs, &columns, &key.join(", "), &others),
                moved: moved(&table, &pairs, &key),
                absent: absent(&table, &key),
            }),
        }
    }

    /// What a session needs before the transaction begins.
    pub(super) async fn prepare(&self, lease: &mut Lease) -> Result<(), tokio_postgres::Error> {
        match &self.merge {
            Some(merge) => lease.once(&merge.stage).await,
            None => Ok(()),
        }
    }

    /// Begins a part of a transaction, with nothing in it of the parts before.
    pub(super) fn begin_part(&self) -> &'static str {
        match &self.merge {
            Some(_) => "SAVEPOINT part; TRUNCATE pg_temp.longshore_stage",
            None => "SAVEPOINT part",
        }
    }

    /// Writes lines of so many rows within the transaction. Not all of them are taken though no statement failed when a trigger keeps rows out,
    /// or when they are not for this partition to change.
    pub(super) async fn put(
        &self,
        lease: &mut Lease,
        claim: Claim,
        lines: Bytes,
        rows: u64,
    ) -> Result<Put, tokio_postgres::Error> {
        let statement = lease.statement(&self.copy).await?;
        let copied = {
            let mut copy = std::pin::pin!(lease.client().copy_in(&statement).await?);
            copy.send(lines).await?;
            copy.finish().await?
        };
        match &self.merge {
            Some(merge) => merge.run(lease, claim).await,
            None if copied == rows => Ok(Put::Taken),
            None => Ok(Put::Refused(kept_out())),
        }
    }
}

impl Merge {
    async fn run(&self, lease: &mut Lease, claim: Claim) -> Result<Put, tokio_postgres::Error> {
        let statement = lease.statement(&self.merge).await?;
        let row = lease.client().query_one(&statement, &[&claim.pair]).await?;
        let (keys, made): (i64, i64) = (row.get(0), row.get(1));
        if keys == made {
            return Ok(Put::Taken);
        }
        let statement = lease.statement(&self.moved).await?;
        let moved = lease.client().query(&statement, &[&claim.pair]).await?;
        if !moved.is_empty() {
            let words = "the row of its key was written from another partition";
            let offsets = moved.iter().map(|row| Offset(row.get(0))).collect();
            return Ok(Put::Named(offsets, Failure::reject(Reason::SinkKeyMoved, words)));
        }
        let statement = lease.statement(&self.absent).await?;
        let absent: bool = lease.client().query_one(&statement, &[&claim.pair]).await?.get(0);
        Ok(if absent { Put::Refused(kept_out()) } else { Put::Taken })
    }
}

fn kept_out() -> Failure {
    Failure::reject(Reason::SinkRejected, "a trigger of the table kept its row out")
}

/// The lines of each key that is newest: by offset, and of a record's children the last.
fn newest(columns: &str, key: &str) -> String {
    format!(
        "SELECT DISTINCT ON ({key}) {columns}, longshore_offset, longshore_delete FROM {STAGE} \
         ORDER BY {key}, longshore_offset DESC, longshore_index DESC"
    )
}

/// A row gives way to a record of its own pair that is not older, to any record of a later generation of its pipeline's sink, and
/// to any record at all when it names no pair.
fn merge(table: &str, pairs: &str, columns: &str, key: &str, others: &[&String]) -> String {
    let sets: Vec<String> = others.iter().map(|name| format!("{name} = excluded.{name}, ")).collect();
    format!(
        "WITH newest AS ({newest}), made AS ( \
             INSERT INTO {table} AS known ({columns}, _pair, _offset, _deleted) \
             SELECT {columns}, $1::bigint, longshore_offset, CASE WHEN longshore_delete THEN now() END FROM newest \
             ON CONFLICT ({key}) DO UPDATE SET {sets}_pair = excluded._pair, _offset = excluded._offset, \
                 _deleted = excluded._deleted \
             WHERE CASE WHEN known._pair IS NULL THEN true \
                 WHEN known._pair = excluded._pair THEN known._offset <= excluded._offset \
                 ELSE EXISTS ({earlier}) END \
             RETURNING 1) \
         SELECT (SELECT count(*) FROM newest), (SELECT count(*) FROM made)",
        newest = newest(columns, key),
        sets = sets.concat(),
        earlier = other_generation(pairs, "known._pair", "<"),
    )
}

/// The records of the stage whose key has a row that is neither this pair's nor of a later generation. All records of such a
/// key, since a merge that is repeated without the newest one would find the next.
fn moved(table: &str, pairs: &str, key: &[String]) -> String {
    format!(
        "SELECT DISTINCT stage.longshore_offset FROM {STAGE} AS stage JOIN {table} AS known ON {same} \
         WHERE known._pair <> $1 AND NOT EXISTS ({later})",
        later = other_generation(pairs, "known._pair", ">"),
        same = same(key, "stage"),
    )
}

/// Whether a key of the stage has no row, or one of this pair that is older.
fn absent(table: &str, key: &[String]) -> String {
    let (columns, same) = (key.join(", "), same(key, "newest"));
    format!(
        "WITH newest AS ({newest}) SELECT EXISTS (SELECT 1 FROM newest LEFT JOIN {table} AS known ON {same} \
         WHERE known._pair IS NULL OR known._pair = $1 AND known._offset < newest.longshore_offset)",
        newest = newest(&columns, &columns),
    )
}

/// The row of the same key.
fn same(key: &[String], stage: &str) -> String {
    let same: Vec<String> = key.iter().map(|name| format!("known.{name} = {stage}.{name}")).collect();
    same.join(" AND ")
}

/// A subquery that has a row when the pair belongs to the same sink of the same pipeline and to a generation before or after.
fn other_generation(pairs: &str, pair: &str, before_or_after: &str) -> String {
    format!(
        "SELECT 1 FROM {pairs} AS was JOIN {pairs} AS own ON (was.pipeline, was.sink) = (own.pipeline, own.sink) \
         WHERE was.id = {pair} AND own.id = $1::bigint AND was.generation {before_or_after} own.generation"
    )
}
