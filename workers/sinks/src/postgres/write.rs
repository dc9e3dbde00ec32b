//! How lines become rows of the table: by `COPY` alone, or by way of a temporary table and a merge by key (and where keys are new straight all the
//! same, `straight.rs`).
//!
//! Keys are compared as the unique index compares them, whatever the search path finds for `=`.

use std::collections::BTreeSet;
use std::pin::pin;

use bytes::Bytes;
use futures::SinkExt;
use longshore_core::{Failure, Offset, Reason};

use super::connect::Lease;
use super::ledger::Claim;
use super::options::{PostgresOptions, quoted};
use super::schema::PAIRS;
use super::straight::copy_marked;

/// Lines are sent in pieces, so that the server reads the first while the next is on its way.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// The temporary table of a session, in which the lines of a merge wait. Its columns have names of their own, so that those of the
/// target may have any.
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
    /// Copies lines straight into the target.
    straight: String,
    /// Does nothing, and fails where the target has no unique index over the key any more, as a merge would.
    arbiter: String,
    /// Makes the temporary table, once for a session. Behind a pooler one of an earlier client may be there.
    stage: String,
    /// The names of the columns, in the order of the temporary table.
    names: Vec<String>,
    /// The target, quoted.
    table: String,
    /// Takes the newest line of each key over, and says how many keys there were and how many rows that made. Parameter: the
    /// pair.
    merge: String,
    /// After a merge that made fewer rows than there were keys: the records whose key has a row that no offset can be compared with.
    /// Parameter: the pair.
    moved: String,
    /// If there are none: whether some key has no row, or one that gives way. The rest had a newer one. Parameter: the pair.
    absent: String,
}

/// A segment is sorted and waits in memory and not in the server's files.
const SORT_MEMORY: &str = "SET work_mem = '32MB'";
/// Refused when the session had temporary tables of another size before, as a pooler's may have.
const STAGE_MEMORY: &str = "SET temp_buffers = '32MB'";

/// Whether the temporary table's columns are not the target's any more. Parameters: the target, the stage, the columns' names.
const IS_STALE: &str = "SELECT \
    (SELECT array_agg((atttypid, atttypmod, attcollation)::text ORDER BY array_position($3::text[], attname::text)) \
        FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname::text = ANY($3) AND NOT attisdropped) \
    IS DISTINCT FROM \
    (SELECT array_agg((atttypid, atttypmod, attcollation)::text ORDER BY attnum) FROM pg_attribute \
        WHERE attrelid = to_regclass($2) AND attnum BETWEEN 1 AND cardinality($3))";

impl Write {
    /// `equals` are the operators that compare the columns of the key, in their order.
    pub(super) fn new(options: &PostgresOptions, equals: &[String]) -> Self {
        let table = options.table.quoted();
        let names: Vec<String> = options.columns.iter().map(|column| quoted(&column.name)).collect();
        match &options.key {
            None => Self { copy: format!("COPY {table} ({}) FROM STDIN", names.join(", ")), merge: None },
            Some(key) => {
                let place = |name: &String| options.columns.iter().position(|column| column.name == *name);
                let key = key.iter().filter_map(place).collect();
                let pairs = options.table.beside(PAIRS);
                let statements = Statements { table, pairs, names, key, equals };
                let names = options.columns.iter().map(|column| column.name.clone()).collect();
                Self { copy: format!("COPY {STAGE} FROM STDIN"), merge: Some(statements.merge(names)) }
            }
        }
    }

    /// What a session needs before the transaction begins.
    pub(super) async fn prepare(&self, lease: &mut Lease) -> Result<(), tokio_postgres::Error> {
        let Some(merge) = &self.merge else { return Ok(()) };
        lease.once(SORT_MEMORY).await?;
        lease.once_if_allowed(STAGE_MEMORY).await?;
        lease.once(&merge.stage).await
    }

    /// Whether rows change by key, and so go by way of the temporary table unless their keys are new.
    pub(super) fn merges(&self) -> bool {
        self.merge.is_some()
    }

    /// Writes lines of so many rows within the transaction without the temporary table; false when not all of them are taken.
    pub(super) async fn put_straight(
        &self,
        lease: &mut Lease,
        claim: Claim,
        lines: Bytes,
        rows: u64,
    ) -> Result<bool, tokio_postgres::Error> {
        match &self.merge {
            Some(_) if lines.is_empty() => Ok(true),
            Some(merge) => {
                if copy_marked(lease, &merge.straight, claim, &lines).await? != Some(rows) {
                    return Ok(false);
                }
                // Behind the copy, whose lock on the table keeps its indexes until the commit.
                let statement = lease.statement(&merge.arbiter).await?;
                lease.client().execute(&statement, &[]).await?;
                Ok(true)
            }
            None => Ok(false),
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
            let mut copy = pin!(lease.client().copy_in(&statement).await?);
            for at in (0..lines.len()).step_by(PIECE_BYTES) {
                copy.feed(lines.slice(at..lines.len().min(at + PIECE_BYTES))).await?;
            }
            copy.finish().await?
        };
        match &self.merge {
            Some(merge) => merge.run(lease, claim).await,
            None if copied == rows => Ok(Put::Taken),
            None => Ok(Put::Refused(kept_out())),
        }
    }

    /// Whether the lines went by way of columns that the target had once: a value may have been refused or rounded there that the
    /// target takes as it is. Behind a merge in its transaction the answer stays true until the commit.
    pub(super) async fn is_stale(&self, lease: &mut Lease) -> Result<bool, tokio_postgres::Error> {
        let Some(merge) = &self.merge else { return Ok(false) };
        let statement = lease.statement(IS_STALE).await?;
        let row = lease.client().query_one(&statement, &[&merge.table, &STAGE, &merge.names]).await?;
        Ok(row.get(0))
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

/// What the statements of a merge are made of.
struct Statements<'a> {
    /// The target, quoted.
    table: String,
    /// The table of pairs, quoted.
    pairs: String,
    /// Its columns, quoted.
    names: Vec<String>,
    /// Which of them are of the key.
    key: Vec<usize>,
    equals: &'a [String],
}

impl Statements<'_> {
    fn merge(&self, names: Vec<String>) -> Merge {
        Merge {
            straight: self.straight(),
            arbiter: self.arbiter(),
            stage: self.stage(),
            names,
            table: self.table.clone(),
            merge: self.take(),
            moved: self.moved(),
            absent: self.absent(),
        }
    }

    fn straight(&self) -> String {
        format!("COPY {} ({}, _pair, _offset, _deleted) FROM STDIN", self.table, self.names.join(", "))
    }

    fn arbiter(&self) -> String {
        let key: Vec<&str> = self.key.iter().map(|at| self.names[*at].as_str()).collect();
        let (table, key) = (&self.table, key.join(", "));
        // Planned and not run: no trigger of the table sees it.
        format!(
            "EXPLAIN INSERT INTO {table} ({key}) SELECT {key} FROM {table} WHERE false ON CONFLICT ({key}) DO NOTHING"
        )
    }

    fn stage(&self) -> String {
        let columns: Vec<String> =
            self.names.iter().enumerate().map(|(at, name)| format!("{name} AS c{at}")).collect();
        format!(
            "DROP TABLE IF EXISTS {STAGE}; CREATE TEMPORARY TABLE longshore_stage ON COMMIT DELETE ROWS AS \
             SELECT {columns}, 0::bigint AS source_offset, 0::bigint AS source_index, false AS deletes \
             FROM {table} WITH NO DATA",
            columns = columns.join(", "),
            table = self.table,
        )
    }

    /// The lines of each key that is newest: by offset, and of a record's children the last.
    fn newest(&self) -> String {
        let columns: Vec<String> = (0..self.names.len()).map(|at| format!("c{at}")).collect();
        let key: Vec<&str> = self.key.iter().map(|at| columns[*at].as_str()).collect();
        let (columns, key) = (columns.join(", "), key.join(", "));
        format!(
            "SELECT DISTINCT ON ({key}) {columns}, source_offset, deletes FROM {STAGE} \
             ORDER BY {key}, source_offset DESC, source_index DESC"
        )
    }

    /// Writes the newest line of each key, unless its row does not give way.
    fn take(&self) -> String {
        let written: Vec<String> = (0..self.names.len()).map(|at| format!("c{at}")).collect();
        let (key, others): (Vec<_>, Vec<_>) =
            self.names.iter().enumerate().partition(|(at, _)| self.key.contains(at));
        let key: Vec<&str> = key.into_iter().map(|(_, name)| name.as_str()).collect();
        let sets: Vec<String> =
            others.into_iter().map(|(_, name)| format!("{name} = excluded.{name}, ")).collect();
        format!(
            "WITH newest AS ({newest}), made AS ( \
                 INSERT INTO {table} AS known ({names}, _pair, _offset, _deleted) \
                 SELECT {written}, $1::bigint, source_offset, CASE WHEN deletes THEN now() END FROM newest \
                 ON CONFLICT ({key}) DO UPDATE SET {sets}_pair = excluded._pair, _offset = excluded._offset, \
                     _deleted = excluded._deleted \
                 WHERE {gives_way} \
                 RETURNING 1) \
             SELECT (SELECT count(*) FROM newest), (SELECT count(*) FROM made)",
            newest = self.newest(),
            table = self.table,
            names = self.names.join(", "),
            written = written.join(", "),
            key = key.join(", "),
            sets = sets.concat(),
            gives_way = self.gives_way("<=", "excluded._offset"),
        )
    }

    /// The records of the stage whose key has a row with which no offset can be compared, and which is not of a later generation: then it
    /// is newer. All records of such a key, since a merge that is repeated without the newest one would find the next.
    fn moved(&self) -> String {
        format!(
            "SELECT DISTINCT stage.source_offset FROM {STAGE} AS stage JOIN {table} AS known ON {same} \
             WHERE known._pair <> $1 AND known._offset IS NOT NULL AND NOT EXISTS ({generations} \
                 AND (was.generation > own.generation OR was.generation < own.generation \
                     AND ({again} OR {comparable})))",
            table = self.table,
            same = self.same("stage"),
            generations = self.generations(),
            again = read_again("stage.source_offset"),
            comparable = COMPARABLE,
        )
    }

    /// Whether a key of the stage has no row, or one that gives way.
    fn absent(&self) -> String {
        format!(
            "WITH newest AS ({newest}) SELECT EXISTS (SELECT 1 FROM newest LEFT JOIN {table} AS known ON {same} \
             WHERE {gives_way})",
            newest = self.newest(),
            table = self.table,
            same = self.same("newest"),
            gives_way = self.gives_way("<", "newest.source_offset"),
        )
    }

    /// The row of the same key, by the operators of its index.
    fn same(&self, stage: &str) -> String {
        let compared = self.key.iter().zip(self.equals);
        let same: Vec<String> = compared
            .map(|(at, equals)| format!("known.{} {equals} {stage}.c{at}", self.names[*at]))
            .collect();
        same.join(" AND ")
    }

    /// Whether the row `known` gives way to a record of this offset (ADR 0013): one that names no record; an older one of this pair
    /// (`older` says whether the very record is); and one of an earlier generation, if the record is read again in this one, or if
    /// it is not older in the same partition of the same topic.
    fn gives_way(&self, older: &str, offset: &str) -> String {
        format!(
            "CASE WHEN known._pair IS NULL OR known._offset IS NULL THEN true \
                 WHEN known._pair = $1 THEN known._offset {older} {offset} \
                 ELSE EXISTS ({generations} AND was.generation < own.generation \
                     AND ({again} OR {comparable} AND known._offset <= {offset})) END",
            generations = self.generations(),
            again = read_again(offset),
            comparable = COMPARABLE,
        )
    }

    /// The pair of the row `known` beside this one, if it is of the same sink of the same pipeline.
    fn generations(&self) -> String {
        format!(
            "SELECT 1 FROM {pairs} AS was JOIN {pairs} AS own ON (was.pipeline, was.sink) = (own.pipeline, own.sink) \
             WHERE was.id = known._pair AND own.id = $1::bigint",
            pairs = self.pairs,
        )
    }
}

/// Whether the offsets of two pairs count in one log.
const COMPARABLE: &str = "(was.topic, was.partition) = (own.topic, own.partition) \
    AND (was.topic_id = own.topic_id OR '' IN (was.topic_id, own.topic_id))";

/// Whether the generation `own` reads this offset from the input; it comes late otherwise.
fn read_again(offset: &str) -> String {
    format!("{offset} >= coalesce(own.begins, 0)")
}
