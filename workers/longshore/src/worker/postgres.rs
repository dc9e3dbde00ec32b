//! From the pipeline file's `postgres` sink to the sink itself.

use std::sync::Arc;

use longshore_core::sink::Sink;
use longshore_settings::{Pipeline, PostgresSinkOptions, SinkEntry};

use crate::exit::End;

/// The sink. Connects to nothing yet.
#[cfg(not(feature = "postgres"))]
pub(super) fn sink(_: &Pipeline, entry: &SinkEntry, _: &PostgresSinkOptions) -> Result<Arc<dyn Sink>, End> {
    let message = format!("sink {}: this build was made without the feature `postgres`", entry.name);
    Err(super::plan::configuration(message))
}

#[cfg(feature = "postgres")]
pub(super) use with::sink;

#[cfg(feature = "postgres")]
mod with {
    use longshore_conditions::Expression;
    use longshore_core::{Failure, Generation, Item, Value};
    use longshore_settings::PostgresMode;
    use longshore_sinks::postgres::{Column, Extract, PostgresOptions, PostgresSink, Source, Table, Tls};

    use super::*;
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
        let refused = |message: String| configuration(format!("sink {}: {message}", entry.name));
        let table = Table::parse(&options.table);
        let table = table.ok_or_else(|| refused(format!("table: `{}` is no table", options.table)))?;
        let tls = options.tls.as_ref().map(|tls| Tls {
            ca: tls.ca.clone(),
            identity: tls.certificate.clone().zip(tls.key.clone()),
            verify_hostname: tls.verify_hostname,
        });
        let options = PostgresOptions {
            host: options.host.clone(),
            port: options.port,
            user: options.user.clone(),
            password: options.password.as_ref().map(|password| password.expose().to_owned()),
            database: options.database.clone(),
            tls,
            connections: usize::from(options.connections),
            table,
            columns: columns(options).map_err(refused)?,
            key: (options.mode == PostgresMode::Upsert).then(|| options.key.clone()),
        };
        let generation = Generation(pipeline.generation);
        let sink =
            PostgresSink::new(&entry.name, &pipeline.pipeline, generation, options).map_err(refused)?;
        Ok(Arc::new(sink))
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
