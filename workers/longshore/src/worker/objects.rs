//! From the pipeline file's `objects` sink to the sink itself.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::sink::Sink;
use longshore_settings::{ObjectsSinkOptions, Pipeline, SinkEntry};

use super::ledgers::SinkLedger;
use crate::exit::End;

/// The sink. Connects to nothing yet.
#[cfg(not(feature = "objects"))]
pub(super) fn sink(_: &Pipeline, entry: &SinkEntry, _: &ObjectsSinkOptions) -> Result<Arc<dyn Sink>, End> {
    Err(without(entry))
}

/// All ledgers of the sink.
#[cfg(not(feature = "objects"))]
pub(super) fn ledgers(
    _: &Pipeline,
    entry: &SinkEntry,
    _: &ObjectsSinkOptions,
    _: Option<Duration>,
) -> Result<Vec<SinkLedger>, End> {
    Err(without(entry))
}

#[cfg(not(feature = "objects"))]
fn without(entry: &SinkEntry) -> End {
    let message = format!("sink {}: this build was made without the feature `objects`", entry.name);
    super::plan::configuration(message)
}

#[cfg(feature = "objects")]
pub(crate) use with::place;
#[cfg(feature = "objects")]
pub(super) use with::{ledgers, sink};

#[cfg(feature = "objects")]
mod with {
    use std::env::var;

    use longshore_conditions::Expression;
    use longshore_core::{Failure, Generation, Item, Value};
    use longshore_settings::{
        ObjectsFormat, ObjectsPartitionKind, ObjectsPlace, ObjectsRows, ObjectsStore, ObjectsType,
    };
    use longshore_sinks::Extract;
    use longshore_sinks::objects::{
        Bucket, Cloud, CloudKind, Column, Columns, Format, ObjectsOptions, ObjectsSink, PairLedger,
        PartitionField, PartitionKind, Place, Source, Type, read_ledgers,
    };

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;
    use crate::worker::ledgers::answered;
    use crate::worker::plan::configuration;

    /// The expression of a column or a folder.
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
        options: &ObjectsSinkOptions,
    ) -> Result<Arc<dyn Sink>, End> {
        let refused = |message: String| configuration(format!("sink {}: {message}", entry.name));
        raise_open_files();
        let given = given(pipeline, options).map_err(refused)?;
        let generation = Generation(pipeline.generation);
        let sink = ObjectsSink::new(&entry.name, &pipeline.pipeline, generation, given);
        Ok(Arc::new(sink.map_err(refused)?))
    }

    /// Asks for as many open files as the process may have: what it has without asking is 1,024 on many machines, and each pair has files
    /// and connections of its own.
    fn raise_open_files() {
        let limit = getrlimit(Resource::Nofile);
        if limit.current == limit.maximum {
            return;
        }
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
            tracing::warn!(%error, limit = limit.current, "the limit of open files stays as it is");
        }
    }

    /// All ledgers of the sink, of every generation.
    pub(in crate::worker) fn ledgers(
        pipeline: &Pipeline,
        entry: &SinkEntry,
        options: &ObjectsSinkOptions,
        left: Option<Duration>,
    ) -> Result<Vec<SinkLedger>, End> {
        let place =
            place(options).map_err(|message| configuration(format!("sink {}: {message}", entry.name)))?;
        let ledger = |pair: PairLedger| SinkLedger {
            generation: pair.generation.0,
            topic: pair.topic,
            partition: pair.partition,
            view: pair.view,
        };
        let read = async {
            read_ledgers(&pipeline.pipeline, &place).await.map_err(|failure| failure.at(&entry.name))
        };
        Ok(answered(left, read)?.into_iter().map(ledger).collect())
    }

    fn given(pipeline: &Pipeline, options: &ObjectsSinkOptions) -> Result<ObjectsOptions, String> {
        Ok(ObjectsOptions {
            place: place(options)?,
            format: match options.format {
                ObjectsFormat::Parquet => Format::Parquet,
                ObjectsFormat::JsonlZst => Format::JsonlZst,
            },
            columns: Arc::new(columns(pipeline, options)?),
            partition: partition(options)?,
            level: options.level,
            row_group: usize::try_from(options.row_group.get())
                .map_err(|error| format!("row_group: {error}"))?,
            full: options.roll.bytes.get(),
            staging: options.staging.clone().unwrap_or_else(std::env::temp_dir),
        })
    }

    /// Where the sink writes to.
    pub(crate) fn place(options: &ObjectsSinkOptions) -> Result<Place, String> {
        // What is no text is no setting of a client.
        let told = std::env::vars_os()
            .filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
        let environment = told.collect();
        let cloud = |kind, name, prefix| Ok(Place::Cloud(Cloud { kind, name, prefix, environment }));
        let (name, prefix) = match options.place().map_err(|message| format!("url: {message}"))? {
            ObjectsPlace::Folder(folder) => return Ok(Place::Folder(folder)),
            ObjectsPlace::Bucket { store, bucket, prefix } => match store {
                ObjectsStore::S3 => (bucket, prefix),
                ObjectsStore::Google => return cloud(CloudKind::Google, bucket, prefix),
                ObjectsStore::Azure => return cloud(CloudKind::Azure, bucket, prefix),
            },
        };
        let secret = options.secret_access_key.as_ref().map(|secret| secret.expose().to_owned());
        let endpoint = options.store_endpoint(|name| var(name).ok()).map_err(|error| error.to_string())?;
        // Stores that are not Amazon's mostly have one name for all buckets, and Amazon's certificate covers no name with a dot in it.
        let path_style = options.path_style.unwrap_or(endpoint.is_some() || name.contains('.'));
        Ok(Place::Bucket(Box::new(Bucket {
            name,
            prefix,
            endpoint,
            region: options.region.clone(),
            keys: options.access_key_id.clone().zip(secret),
            virtual_hosts: !path_style,
        })))
    }

    fn columns(pipeline: &Pipeline, options: &ObjectsSinkOptions) -> Result<Columns, String> {
        if options.columns.is_empty() {
            return Ok(match options.rows(pipeline.steps.iter()) {
                ObjectsRows::Log => Columns::log(),
                ObjectsRows::Document => Columns::document(),
                ObjectsRows::Record => Columns::record(),
            });
        }
        let mut columns = Vec::new();
        for (name, column) in &options.columns.0 {
            let value = made(&column.value).map_err(|error| format!("columns.{name}: {error}"))?;
            columns.push(Column {
                name: name.clone(),
                kind: kind(column.kind),
                source: Source::Value(value),
            });
        }
        Columns::of(columns)
    }

    fn kind(kind: ObjectsType) -> Type {
        match kind {
            ObjectsType::Text => Type::Text,
            ObjectsType::Json => Type::Json,
            ObjectsType::Int => Type::Int,
            ObjectsType::Float => Type::Float,
            ObjectsType::Bool => Type::Bool,
            ObjectsType::Time => Type::Time,
            ObjectsType::Bytes => Type::Bytes,
        }
    }

    fn partition(options: &ObjectsSinkOptions) -> Result<Vec<PartitionField>, String> {
        let mut fields = Vec::new();
        for field in &options.partition {
            fields.push(PartitionField {
                name: field.name.clone(),
                value: made(&field.value).map_err(|error| format!("partition {}: {error}", field.name))?,
                kind: match field.kind {
                    ObjectsPartitionKind::Text => PartitionKind::Text,
                    ObjectsPartitionKind::Date => PartitionKind::Date,
                    ObjectsPartitionKind::Hour => PartitionKind::Hour,
                },
            });
        }
        Ok(fields)
    }

    fn made(text: &str) -> Result<Arc<dyn Extract>, String> {
        let expression = Expression::compile(text).map_err(|error| error.to_string())?;
        Ok(Arc::new(Made(expression)))
    }

    #[cfg(test)]
    mod tests {
        use longshore_settings::OBJECTS_OWN_COLUMNS;

        use super::*;

        /// Scenario: the process may have more files than it has now. Guarantee: a worker with this sink has all that it may have.
        #[test]
        fn as_many_files_as_there_may_be() {
            let limit = getrlimit(Resource::Nofile);
            setrlimit(Resource::Nofile, Rlimit { current: Some(900), ..limit }).unwrap();
            raise_open_files();
            assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
        }

        /// Guarantee: what `check` says about a name that the files have as a column is true of the files.
        #[test]
        fn the_settings_know_the_columns_of_the_files() {
            for (rows, columns) in [
                (ObjectsRows::Log, Columns::log()),
                (ObjectsRows::Document, Columns::document()),
                (ObjectsRows::Record, Columns::record()),
            ] {
                let known: Vec<&str> = rows.names().iter().copied().chain(OBJECTS_OWN_COLUMNS).collect();
                assert_eq!(columns.names().collect::<Vec<&str>>(), known);
            }
        }
    }
}
