//! How lines become rows of the table: by `COPY` alone, or by way of a temporary table and a merge by key.

use bytes::Bytes;
use futures::SinkExt;
use longshore_core::{Failure, Reason};

use super::connect::Lease;
use super::ledger::Claim;
use super::options::{PostgresOptions, quoted};
use super::schema::PAIRS;

/// The temporary table of a session, in which the lines of a merge wait.
const STAGE: &str = "pg_temp.longshore_stage";

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
    /// After a merge that made fewer rows than there were keys: how many keys have a row of another partition, and
    /// how many have no row. The rest had a newer one. Parameter: the pair.
    judge: String,
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
                judge: judge(&table, &pairs, &key),
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

    /// Ends a part of a transaction, so that nothing of it is merged a second time with the next one.
    pub(super) fn end_of_part(&self) -> &'static str {
        match &self.merge {
            Some(_) => "TRUNCATE pg_temp.longshore_stage; RELEASE part",
            None => "RELEASE part",
        }
    }

    /// Writes lines of so many rows within the transaction. `Some` when the table did not take all of them though no statement
    /// failed: why that was, if it was one record.
    pub(super) async fn put(
        &self,
        lease: &mut Lease,
        claim: Claim,
        lines: Bytes,
        rows: u64,
    ) -> Result<Option<Failure>, tokio_postgres::Error> {
        let statement = lease.statement(&self.copy).await?;
        let copied = {
            let mut copy = std::pin::pin!(lease.client().copy_in(&statement).await?);
            copy.send(lines).await?;
            copy.finish().await?
        };
        match &self.merge {
            Some(merge) => merge.run(lease, claim).await,
            None => Ok((copied != rows).then(kept_out)),
        }
    }
}

impl Merge {
    async fn run(&self, lease: &mut Lease, claim: Claim) -> Result<Option<Failure>, tokio_postgres::Error> {
        let statement = lease.statement(&self.merge).await?;
        let row = lease.client().query_one(&statement, &[&claim.pair]).await?;
        let (keys, made): (i64, i64) = (row.get(0), row.get(1));
        if keys == made {
            return Ok(None);
        }
        let statement = lease.statement(&self.judge).await?;
        let row = lease.client().query_one(&statement, &[&claim.pair]).await?;
        let (moved, absent): (i64, i64) = (row.get(0), row.get(1));
        Ok(match (moved, absent) {
            (0, 0) => None,
            (0, _) => Some(kept_out()),
            (_, _) => {
                let words = "the row of its key was written from another partition";
                Some(Failure::reject(Reason::SinkKeyMoved, words))
            }
        })
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

/// Which keys of the stage have a row that is neither this pair's nor of a later generation, and which have none.
fn judge(table: &str, pairs: &str, key: &[String]) -> String {
    let same: Vec<String> = key.iter().map(|name| format!("known.{name} = newest.{name}")).collect();
    let key = key.join(", ");
    format!(
        "WITH newest AS ({newest}) \
         SELECT count(*) FILTER (WHERE known._pair <> $1 AND NOT EXISTS ({later})), \
             count(*) FILTER (WHERE known._pair IS NULL \
                 OR known._pair = $1 AND known._offset < newest.longshore_offset) \
         FROM newest LEFT JOIN {table} AS known ON {same}",
        newest = newest(&key, &key),
        later = other_generation(pairs, "known._pair", ">"),
        same = same.join(" AND "),
    )
}

/// A subquery that has a row when the pair belongs to the same sink of the same pipeline and to a generation before or after.
fn other_generation(pairs: &str, pair: &str, before_or_after: &str) -> String {
    format!(
        "SELECT 1 FROM {pairs} AS was JOIN {pairs} AS own ON (was.pipeline, was.sink) = (own.pipeline, own.sink) \
         WHERE was.id = {pair} AND own.id = $1::bigint AND was.generation {before_or_after} own.generation"
    )
}
