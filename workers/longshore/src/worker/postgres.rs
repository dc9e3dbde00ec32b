//! From the pipeline file's `postgres` sink to the sink itself, and to what its ledger says.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::sink::Sink;
use longshore_settings::{Pipeline, PostgresSinkOptions, SinkEntry};

use super::ledgers::SinkLedger;
use crate::exit::End;

/// The sink. Connects to nothing yet.
#[cfg(not(feature = "postgres"))]
pub(super) fn sink(_: &Pipeline, entry: &SinkEntry, _: &PostgresSinkOptions) -> Result<Arc<dyn Sink>, End> {
    Err(without(entry))
}

/// All ledgers of the sink.
#[cfg(not(feature = "postgres"))]
pub(super) fn ledgers(
    _: &Pipeline,
    entry: &SinkEntry,
    _: &PostgresSinkOptions,
    _: Option<Duration>,
) -> Result<Vec<SinkLedger>, End> {
    Err(without(entry))
}

#[cfg(not(feature = "postgres"))]
fn without(entry: &SinkEntry) -> End {
    let message = format!("sink {}: this build was made without the feature `postgres`", entry.name);
    super::plan::configuration(message)
}

#[cfg(feature = "postgres")]
pub(crate) use with::given;
#[cfg(feature = "postgres")]
pub(super) use with::{ledgers, sink};

#[cfg(feature = "postgres")]
mod with {
    use longshore_conditions::Expression;
    use longshore_core::{Failure, Generation, Item, Value};
    use longshore_settings::PostgresMode;
    use longshore_sinks::postgres::{
        Column, Extract, PairLedger, PostgresOptions, PostgresSink, Source, Table, Tls, read_ledgers,
    };

    use super::*;
    use crate::worker::ledgers::answered;
    use crate::worker::plan::configuration;

    /// A column's expression.
    struct Made(Expression);

    impl Extract for Made {
        fn extract(&self, item: &Item) -> Result<Value, Failure> {
            self.0.evaluate(item)
        }
    }

    /// The sink. Connects to nothing yet.
    pub(in crate::worker) fn sink(
        pipeline: &Pipeline,
        entry: &SinkEntry,
        options: &PostgresSinkOptions,
    ) -> Result<Arc<dyn Sink>, End> {
        let generation = Generation(pipeline.generation);
        let sink = PostgresSink::new(&entry.name, &pipeline.pipeline, generation, given(entry, options)?);
        Ok(Arc::new(sink.map_err(|message| refused(entry, &message))?))
    }

    /// All ledgers of the sink, of every generation.
    pub(in crate::worker) fn ledgers(
        pipeline: &Pipeline,
        entry: &SinkEntry,
        options: &PostgresSinkOptions,
        left: Option<Duration>,
    ) -> Result<Vec<SinkLedger>, End> {
        let given = given(entry, options)?;
        let read = read_ledgers(&pipeline.pipeline, &entry.name, &given);
        let ledger = |pair: PairLedger| SinkLedger {
            generation: pair.generation.0,
            topic: pair.topic,
            partition: pair.partition,
            view: pair.view,
        };
        Ok(answered(left, read)?.into_iter().map(ledger).collect())
    }

    fn refused(entry: &SinkEntry, message: &str) -> End {
        configuration(format!("sink {}: {message}", entry.name))
    }

    /// What the sink is given.
    pub(crate) fn given(entry: &SinkEntry, options: &PostgresSinkOptions) -> Result<PostgresOptions, End> {
        let table = Table::parse(&options.table)
            .ok_or_else(|| refused(entry, &format!("table: `{}` is no table", options.table)))?;
        let tls = options.tls.as_ref().map(|tls| Tls {
            ca: tls.ca.clone(),
            identity: tls.certificate.clone().zip(tls.key.clone()),
            verify_hostname: tls.verify_hostname,
        });
        Ok(PostgresOptions {
            host: options.host.clone(),
            port: options.port,
            user: options.user.clone(),
            password: options.password.as_ref().map(|password| password.expose().to_owned()),
            database: options.database.clone(),
            tls,
            connections: usize::from(options.connections),
            table,
            columns: columns(options).map_err(|message| refused(entry, &message))?,
            key: (options.mode == PostgresMode::Upsert).then(|| options.key.clone()),
        })
    }

    fn columns(options: &PostgresSinkOptions) -> Result<Vec<Column>, String> {
        let mut columns = Vec::new();
        for (name, text) in &options.columns {
            let expression = Expression::compile(text).map_err(|error| format!("columns.{name}: {error}"))?;
            columns.push(Column { name: name.clone(), source: Source::Value(Arc::new(Made(expression))) });
        }
        let record = options.record_column();
        columns.extend(record.map(|name| Column { name: name.to_owned(), source: Source::Record }));
        Ok(columns)
    }
}
