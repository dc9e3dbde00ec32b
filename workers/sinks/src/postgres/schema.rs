//! What has to be there: our own tables, made here, and the target table, which is looked at and never changed.

use longshore_core::{Failure, Reason};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use super::encode::{Element, Kind};
use super::options::{Column, PostgresOptions, Source, Table};
use super::sqlstate::failure;

/// One row for each pair of each pipeline and sink: who owns it.
pub(super) const PAIRS: &str = "longshore_pairs";
/// One row for each published segment: its trailer.
pub(super) const LEDGER: &str = "longshore_ledger";
/// One row for each pair: the ledger folded up to a number.
pub(super) const CHECKPOINTS: &str = "longshore_checkpoints";

/// Begins to make or change our tables. Two workers that make the same table at once get in each other's way in the catalog, `if not
/// exists` or not.
const BEGIN: &str = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('longshore tables'))";

/// Makes our tables if they are not there, and adds columns that those of an earlier version lack. Needs no right to make or change tables
/// when all is there.
///
/// Pairs have random numbers: rows of an upsert name the pair that they were written from, and a ledger that was made anew must
/// not take them for its own.
pub(super) async fn make(client: &Client, table: &Table) -> Result<(), Failure> {
    let fail = |error| failure("make the ledger's tables", &error);
    let names = [PAIRS, LEDGER, CHECKPOINTS].map(|name| table.beside(name));
    let [pairs, ledger, checkpoints] = &names;
    let ask = "SELECT count(*) FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL";
    let found: i64 = client.query_one(ask, &[&names.to_vec()]).await.map_err(fail)?.get(0);
    if found == names.len() as i64 {
        return widen(client, pairs).await;
    }
    let text = format!(
        "{BEGIN}; \
         CREATE TABLE IF NOT EXISTS {pairs} ( \
             id bigint PRIMARY KEY DEFAULT floor(random() * 9007199254740992), \
             pipeline text NOT NULL, generation integer NOT NULL, sink text NOT NULL, \
             topic text NOT NULL, partition integer NOT NULL, \
             epoch bigint NOT NULL, writer text NOT NULL, claimed timestamptz NOT NULL DEFAULT now(), \
             begins bigint, topic_id text NOT NULL DEFAULT '', \
             UNIQUE (pipeline, generation, sink, topic, partition)); \
         CREATE TABLE IF NOT EXISTS {ledger} ( \
             pair bigint NOT NULL REFERENCES {pairs}, sequence bigint NOT NULL, \
             writer text NOT NULL, epoch bigint NOT NULL, trailer jsonb NOT NULL, \
             published timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (pair, sequence)); \
         CREATE TABLE IF NOT EXISTS {checkpoints} ( \
             pair bigint PRIMARY KEY REFERENCES {pairs}, next bigint NOT NULL, view text NOT NULL); \
         COMMIT"
    );
    // After an error the caller drops the connection, and with it the transaction.
    client.batch_execute(&text).await.map_err(fail)?;
    widen(client, pairs).await
}

/// Whether a table of pairs is of a version that did not note where a generation begins.
const IS_NARROW: &str = "SELECT count(*) < 2 FROM pg_attribute \
    WHERE attrelid = to_regclass($1) AND attname IN ('begins', 'topic_id') AND NOT attisdropped";

/// Adds the columns that a table of pairs of an earlier version lacks. In its rows they say nothing: such a generation begins nowhere, so all
/// of its records win over rows of earlier ones, as they did in that version.
async fn widen(client: &Client, pairs: &str) -> Result<(), Failure> {
    let fail = |error| failure("add columns to the ledger's tables", &error);
    if !client.query_one(IS_NARROW, &[&pairs]).await.map_err(fail)?.get::<_, bool>(0) {
        return Ok(());
    }
    let change = format!(
        "ALTER TABLE {pairs} ADD COLUMN IF NOT EXISTS begins bigint, \
         ADD COLUMN IF NOT EXISTS topic_id text NOT NULL DEFAULT ''"
    );
    client.batch_execute(&format!("{BEGIN}; {change}; COMMIT")).await.map_err(|error| {
        if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            return fail(error);
        }
        let words = "is of an earlier version and belongs to another role, which has to say";
        Failure::halt(Reason::SinkDenied, format_args!("table {PAIRS} {words}: {change}"))
    })
}

/// What a look at the target table gave.
pub(super) struct Seen {
    /// How each column's values are to be written.
    pub(super) kinds: Vec<Kind>,
    /// The operators by which the unique index compares the columns of the key, in the order of the options.
    pub(super) equals: Vec<String>,
}

/// Looks at the target table.
///
/// # Errors
/// Everything that does not fit, in one failure.
pub(super) async fn look(client: &Client, options: &PostgresOptions) -> Result<Seen, Failure> {
    let fail = |error| failure("look at the table", &error);
    let (table, columns) = (&options.table, &options.columns);
    let found = client.query_opt(FIND_TABLE, &[&table.schema, &table.name]).await.map_err(fail)?;
    let Some(found) = found else {
        return Err(Failure::halt(Reason::SinkMissing, format_args!("table {table} does not exist")));
    };
    let mut findings = Findings::default();
    if !matches!(found.get::<_, &str>(1), "r" | "p") {
        findings.unfit(format!("{table} is no table"));
    }
    if !found.get::<_, bool>(2) {
        findings.denied(format!("no right to use schema {}", table.schema));
    }
    let oid: u32 = found.get(0);
    let rows = client.query(FIND_COLUMNS, &[&oid]).await.map_err(fail)?;
    let kinds = columns.iter().map(|column| findings.column(column, &rows)).collect();
    for row in &rows {
        findings.left_out(row, options);
    }
    if found.get(5) {
        findings.unfit(ROW_SECURITY.to_owned());
    }
    findings.lasting(&client.query(FIND_VOLATILE, &[&oid]).await.map_err(fail)?);
    let rules = client.query(FIND_RULES, &[&oid, &options.key.is_some()]).await.map_err(fail)?;
    for rule in &rules {
        findings
            .unfit(format!("rule {} rewrites statements, which `COPY` passes over", rule.get::<_, &str>(0)));
    }
    let equals = match &options.key {
        None => Vec::new(),
        Some(key) => {
            findings.upsert(options, key, &rows);
            if !found.get::<_, bool>(4) {
                findings.denied("no right to make temporary tables in the database".to_owned());
            }
            indexes(client, oid, key, &mut findings).await.map_err(fail)?
        }
    };
    // Without the right to the schema nothing in it may even be asked about.
    if found.get(2) {
        rights(client, table, found.get(3), &mut findings).await.map_err(fail)?;
    }
    match findings.failure(table) {
        Some(failure) => Err(failure),
        None => Ok(Seen { kinds, equals }),
    }
}

const FIND_TABLE: &str = "SELECT c.oid, c.relkind::text, has_schema_privilege(n.oid, 'USAGE'), \
        has_schema_privilege(n.oid, 'CREATE'), has_database_privilege(current_database(), 'TEMPORARY'), \
        row_security_active(c.oid) \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";

/// Of a domain the type that it is of, since that one reads its values.
const FIND_COLUMNS: &str = "SELECT attname::text, format_type(base.oid, NULL), attnotnull, atthasdef, \
        attidentity::text, attgenerated::text, has_column_privilege(attrelid, attnum, 'INSERT'), \
        has_column_privilege(attrelid, attnum, 'SELECT'), has_column_privilege(attrelid, attnum, 'UPDATE') \
    FROM pg_attribute CROSS JOIN LATERAL ( \
        WITH RECURSIVE step AS ( \
            SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t WHERE t.oid = atttypid \
            UNION ALL SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t JOIN step ON t.oid = step.typbasetype) \
        SELECT oid FROM step WHERE typtype <> 'd') AS base \
    WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum";

/// Parts of the table that a crash of the server empties, or whose rows another server commits by itself: the ledger would say that
/// rows are there which are not.
const FIND_VOLATILE: &str = "SELECT c.relname::text, c.relkind::text FROM pg_class c \
    WHERE c.oid IN (SELECT $1::oid UNION SELECT relid FROM pg_partition_tree($1::oid::regclass)) \
        AND (c.relpersistence = 'u' OR c.relkind = 'f') ORDER BY 1";

/// Rules for what the sink does.
const FIND_RULES: &str = "SELECT rulename::text FROM pg_rewrite \
    WHERE ev_class = $1 AND (ev_type = '3' OR ev_type = '2' AND $2) AND rulename <> '_RETURN' ORDER BY 1";

const ROW_SECURITY: &str =
    "row level security applies to this role, which would hide rows from it: give it BYPASSRLS";

/// How the columns of a key (`$2`) are compared by an index that can tell which row is meant: one on these columns alone, on all rows, judged at
/// once, by the columns' own collations, and by an equality that their types have by default, since a segment's newest records are found
/// by that.
const FIND_UNIQUE: &str = "SELECT array_agg(format('OPERATOR(%I.%s)', n.nspname, o.oprname) ORDER BY w.place) \
    FROM pg_index i \
    CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[], i.indcollation::oid[]) AS k(number, class, sorted) \
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND a.attcollation = k.sorted \
    JOIN unnest($2::text[]) WITH ORDINALITY AS w(name, place) ON w.name = a.attname::text \
    JOIN pg_opclass c ON c.oid = k.class \
    JOIN pg_amop e ON e.amopfamily = c.opcfamily AND e.amopstrategy = 3 \
        AND (e.amoplefttype, e.amoprighttype) = (c.opcintype, c.opcintype) \
    JOIN pg_operator o ON o.oid = e.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace \
    WHERE i.indrelid = $1 AND i.indisunique AND i.indimmediate AND i.indisvalid \
        AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = cardinality($2) \
        AND EXISTS (SELECT 1 FROM pg_opclass d JOIN pg_amop f ON f.amopfamily = d.opcfamily AND f.amopstrategy = 3 \
            WHERE d.opcmethod = c.opcmethod AND d.opcdefault AND d.opcintype = c.opcintype AND f.amopopr = e.amopopr) \
    GROUP BY i.indexrelid HAVING count(*) = cardinality($2) LIMIT 1";

/// Other unique indexes in which a null is like another null (Postgres 15): two deleted rows would exclude each other there. One that leaves
/// deleted rows out has a condition.
const FIND_NULLS: &str = "SELECT r.relname::text FROM pg_index i JOIN pg_class r ON r.oid = i.indexrelid \
    WHERE i.indrelid = $1 AND i.indisunique AND i.indpred IS NULL \
        AND coalesce((to_jsonb(i)->>'indnullsnotdistinct')::boolean, false) AND EXISTS ( \
            SELECT 1 FROM unnest($2::text[]) AS key WHERE key NOT IN ( \
                SELECT a.attname::text FROM pg_attribute a \
                WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey::int2[])))";

/// Looks for the index of the key, and for those that a deleted row would break. Gives how the key is compared.
async fn indexes(
    client: &Client,
    table: u32,
    key: &Vec<String>,
    findings: &mut Findings,
) -> Result<Vec<String>, tokio_postgres::Error> {
    for row in client.query(FIND_NULLS, &[&table, key]).await? {
        let name: &str = row.get(0);
        findings.unfit(format!("unique index {name} takes null once, and deleted rows have null there"));
    }
    let equals = client.query_opt(FIND_UNIQUE, &[&table, key]).await?;
    if equals.is_none() {
        let key = key.join(", ");
        findings
            .unfit(format!("no unique index on exactly ({key}), by the columns' own collation and equality"));
    }
    Ok(equals.map_or_else(Vec::new, |row| row.get(0)))
}

/// The columns in which a row of an upsert says which record it is of, and whether that deleted it.
pub(super) const MARKS: [(&str, &str); 3] =
    [("_pair", "bigint"), ("_offset", "bigint"), ("_deleted", "timestamp with time zone")];

/// The rights on our own tables, or the right to make them.
async fn rights(
    client: &Client,
    table: &Table,
    may_make: bool,
    findings: &mut Findings,
) -> Result<(), tokio_postgres::Error> {
    let ask = "SELECT to_regclass($1) IS NOT NULL, \
        CASE WHEN to_regclass($1) IS NULL THEN '' ELSE concat_ws(', ', \
            CASE WHEN NOT has_table_privilege(to_regclass($1), 'SELECT') THEN 'select' END, \
            CASE WHEN NOT has_table_privilege(to_regclass($1), 'INSERT') THEN 'insert' END, \
            CASE WHEN NOT has_table_privilege(to_regclass($1), 'UPDATE') THEN 'update' END, \
            CASE WHEN NOT has_table_privilege(to_regclass($1), 'DELETE') THEN 'delete' END) END, \
        CASE WHEN to_regclass($1) IS NULL THEN false ELSE row_security_active(to_regclass($1)::oid) END";
    for name in [PAIRS, LEDGER, CHECKPOINTS] {
        let row = client.query_one(ask, &[&table.beside(name)]).await?;
        let (there, lacks): (bool, &str) = (row.get(0), row.get(1));
        if !there && !may_make {
            findings.denied(format!("no right to make {name} in schema {}", table.schema));
        }
        if !lacks.is_empty() {
            findings.denied(format!("no right to {lacks} in {name}"));
        }
        if row.get(2) {
            findings.unfit(format!("{name}: {ROW_SECURITY}"));
        }
    }
    Ok(())
}

/// What does not fit, all of it.
#[derive(Default)]
struct Findings {
    missing: Vec<String>,
    unfit: Vec<String>,
    denied: Vec<String>,
}

impl Findings {
    fn unfit(&mut self, what: String) {
        self.unfit.push(what);
    }

    fn denied(&mut self, what: String) {
        self.denied.push(what);
    }

    /// Whether the rows are kept as long as the ledger that says so.
    fn lasting(&mut self, volatile: &[Row]) {
        for row in volatile {
            let (name, kind): (&str, &str) = (row.get(0), row.get(1));
            let why = match kind {
                "f" => "is a foreign table, whose rows are not committed with the ledger",
                _ => {
                    "is unlogged: a crash of the server empties it, and the ledger would say that its rows are there"
                }
            };
            self.unfit(format!("{name} {why}"));
        }
    }

    /// Whether a column takes what is written to it.
    fn column(&mut self, column: &Column, rows: &[Row]) -> Kind {
        let name = &column.name;
        let Some(row) = rows.iter().find(|row| row.get::<_, &str>(0) == name) else {
            self.missing.push(format!("column {name} does not exist"));
            return Kind::Plain;
        };
        let (kind, identity, generated): (&str, &str, &str) = (row.get(1), row.get(4), row.get(5));
        if identity == "a" || !generated.is_empty() {
            self.unfit(format!("column {name} is generated by the database"));
        }
        if !row.get::<_, bool>(6) {
            self.denied(format!("no right to insert into column {name}"));
        }
        if matches!(column.source, Source::Record) && !matches!(kind, "json" | "jsonb" | "text") {
            self.unfit(format!("column {name} is {kind}, a whole record needs jsonb, json or text"));
        }
        match kind {
            "json" | "jsonb" => Kind::Json,
            "timestamp with time zone" | "timestamp without time zone" => Kind::Time,
            "bytea" => Kind::Bytes,
            "json[]" | "jsonb[]" => Kind::Array(Element::Json),
            "timestamp with time zone[]" | "timestamp without time zone[]" => Kind::Array(Element::Time),
            "bytea[]" => Kind::Array(Element::Bytes),
            array if array.ends_with("[]") => Kind::Array(Element::Plain),
            _ => Kind::Plain,
        }
    }

    /// Whether a column that nothing is written to can be left out.
    fn left_out(&mut self, row: &Row, options: &PostgresOptions) {
        let name: &str = row.get(0);
        let (identity, generated): (&str, &str) = (row.get(4), row.get(5));
        let needed =
            row.get::<_, bool>(2) && !row.get::<_, bool>(3) && identity.is_empty() && generated.is_empty();
        let mark = options.key.is_some() && MARKS.iter().any(|(mark, _)| *mark == name);
        if needed && !mark && !options.columns.iter().any(|column| column.name == name) {
            self.unfit(format!("column {name} must have a value, and nothing is written to it"));
        }
    }

    /// What rows that change ask of the columns: the marks, a key that is always there, everything else left out in a deleted
    /// row, and the rights to read and change.
    fn upsert(&mut self, options: &PostgresOptions, key: &[String], rows: &[Row]) {
        let find = |name: &str| rows.iter().find(|row| row.get::<_, &str>(0) == name);
        for (mark, kind) in MARKS {
            match find(mark) {
                None => self.missing.push(format!("column {mark} ({kind}) does not exist")),
                Some(row) if row.get::<_, &str>(1) != kind => {
                    self.unfit(format!("column {mark} is {}, expected {kind}", row.get::<_, &str>(1)));
                }
                Some(row) if mark == "_deleted" && row.get(2) => {
                    self.unfit(format!("column {mark} must take null"));
                }
                Some(_) => {}
            }
        }
        let written = options.columns.iter().map(|column| column.name.as_str());
        for name in written.chain(MARKS.map(|(mark, _)| mark)) {
            let Some(row) = find(name) else { continue };
            let (of_key, needed) = (key.iter().any(|key| key == name), row.get::<_, bool>(2));
            let mark = MARKS.iter().any(|(mark, _)| *mark == name);
            if of_key && !needed {
                self.unfit(format!("column {name} takes null, and is of the key"));
            }
            if !of_key && !mark && needed {
                self.unfit(format!("column {name} must take null, since a deleted row keeps its key alone"));
            }
            if mark && !row.get::<_, bool>(6) {
                self.denied(format!("no right to insert into column {name}"));
            }
            if !row.get::<_, bool>(7) {
                self.denied(format!("no right to select column {name}"));
            }
            if !of_key && !row.get::<_, bool>(8) {
                self.denied(format!("no right to update column {name}"));
            }
        }
    }

    fn failure(self, table: &Table) -> Option<Failure> {
        let reason = match (&self.missing[..], &self.unfit[..], &self.denied[..]) {
            ([], [], []) => return None,
            ([], [], _) => Reason::SinkDenied,
            ([], _, _) => Reason::SinkUnfit,
            (_, _, _) => Reason::SinkMissing,
        };
        let all: Vec<String> = [self.missing, self.unfit, self.denied].concat();
        Some(Failure::halt(reason, format_args!("table {table}: {}", all.join("; "))))
    }
}
