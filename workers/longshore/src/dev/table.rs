//! Rows in tables: read back by `psql` when all is done, and counted from what it printed. The ledger beside them is read as its
//! format says, by none of the sink's code.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use longshore_core::Origin;
use longshore_sinks::verify::Claim;
use serde::Deserialize;

use super::account::Count;
use super::database::{Database, SCHEMA};
use super::evidence;
use super::expect::{Demo, Place};
use super::pipelines::Prepared;
use crate::exit::End;
use crate::output::Output;

/// The reason of a record that no text of Postgres can hold.
const ZERO: &str = "encode.value";

/// As [`Demo::expect`]; a record with a zero byte in one of its texts is a dead letter here.
pub(crate) fn expect(demo: Demo, value: Option<&[u8]>) -> (Place, Option<String>) {
    let (place, text) = demo.expect(value);
    let parsed = value.and_then(|value| serde_json::from_slice(value).ok());
    if place == Place::File && parsed.as_ref().is_some_and(has_zero) {
        return (Place::Dead(ZERO.to_owned()), None);
    }
    (place, text)
}

fn has_zero(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(list) => list.iter().any(has_zero),
        serde_json::Value::Object(map) => {
            map.iter().any(|(name, value)| name.contains('\0') || has_zero(value))
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => false,
    }
}

/// Reads tables and ledgers, and leaves what they held for the account.
pub(crate) fn read_back(
    dir: &Path,
    database: &Database,
    prepared: &[Prepared],
    output: &Output,
) -> Result<(), End> {
    for pipeline in prepared {
        let Some(table) = &pipeline.table else { continue };
        let name = &table.name;
        let mut rows = evidence::Writer::create(&evidence::table_file(dir, name))?;
        database.each(&format!("select whole from {name}"), |row| rows.line(row))?;
        rows.finish()?;
        let mut ledger = evidence::Writer::create(&evidence::ledger_file(dir, name))?;
        let trailers = format!(
            "select l.trailer from {SCHEMA}.longshore_ledger l join {SCHEMA}.longshore_pairs p on p.id = l.pair \
             where p.pipeline = '{}' order by p.topic, p.partition, l.sequence",
            pipeline.name
        );
        database.each(&trailers, |row| ledger.line(row))?;
        ledger.finish()?;
        // What anybody would ask first.
        let asked = format!("select count(*), count(distinct whole->>'_origin') from {name}");
        let answer = database.sql(&asked)?;
        output.note(format_args!("sql> {asked};  {}", answer.trim().replace('|', " | ")));
    }
    Ok(())
}

/// The identity in a row.
#[derive(Deserialize)]
struct Row {
    #[serde(rename = "_origin")]
    origin: String,
}

impl Count {
    /// Counts what stood in a table, and holds it against the ledger. A table keeps no order, so there is none to judge.
    pub(super) fn table(&mut self, table: &str, folder: &Path) -> anyhow::Result<()> {
        let mut held = Held::default();
        for claim in evidence::rows::<Claim>(&evidence::ledger_file(folder, table))? {
            for (reason, count) in &claim.filtered {
                *self.account.filtered.entry(reason.clone()).or_default() += count;
            }
            held.add(&claim);
        }
        let file = evidence::table_file(folder, table);
        evidence::each(&file, |number, json| {
            let row: Row = serde_json::from_str(json).with_context(|| format!("{table}: row {number}"))?;
            let origin: Origin = row.origin.parse().map_err(|_| anyhow::anyhow!("{table}: row {number}"))?;
            let place = format!("{table} row {number} ({origin})");
            held.meet(&origin);
            if self.row(&place, &origin, json) && held.claims(&origin) != 1 {
                let claims = held.claims(&origin);
                self.account.fault(format!("ledger: {place} is in {claims} transactions of the ledger"));
            }
            Ok(())
        })?;
        for (partition, (claimed, found)) in held.rows {
            if claimed != found {
                let words = format!(
                    "ledger: partition {partition}: {claimed} rows in the ledger, {found} in {table}"
                );
                self.account.fault(words);
            }
        }
        Ok(())
    }
}

/// What a ledger says, by partition.
#[derive(Default)]
struct Held {
    /// The offsets of each transaction as runs `[first, end)`, sorted by their first.
    runs: BTreeMap<i32, BTreeMap<i64, Vec<i64>>>,
    /// How many rows it counts, and how many were met.
    rows: BTreeMap<i32, (u64, u64)>,
    /// No run is longer.
    longest: i64,
}

impl Held {
    fn add(&mut self, claim: &Claim) {
        let runs = self.runs.entry(claim.partition).or_default();
        for (first, end) in claim.runs() {
            runs.entry(first).or_default().push(end);
            self.longest = self.longest.max(end - first);
        }
        self.rows.entry(claim.partition).or_default().0 += claim.rows;
    }

    fn meet(&mut self, origin: &Origin) {
        self.rows.entry(origin.partition.0).or_default().1 += 1;
    }

    /// How many transactions say that they hold the record.
    fn claims(&self, origin: &Origin) -> usize {
        let Some(runs) = self.runs.get(&origin.partition.0) else { return 0 };
        let offset = origin.offset.0;
        let near = runs.range(offset - self.longest..=offset);
        near.flat_map(|(_, ends)| ends).filter(|end| offset < **end).count()
    }
}
