//! What all objects of a topic have in common in one generation, so that readers take their folder for one table.
//!
//! Files of two formats, folders by other values, or one column of two types in one folder make readers fail over all of it, or pass
//! over a part. So the first writer says what it makes in an object that is created if absent, and all others look there. Columns may
//! be added: that makes the next number, with all columns that there ever were. Where earlier versions have written objects and said nothing, the
//! objects are asked (`older.rs`).

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_core::format::OBJECTS_SHAPE;
use longshore_core::{Failure, Reason};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::older::{Looks, look};
use super::store::Store;
use super::{Format, ObjectsOptions, PartitionKind, Type};
use crate::pair_ledger::{broken, unreadable};

/// So often others may add columns while one writer does.
const MOST_TURNS: usize = 16;

/// What readers see of a topic's objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shape {
    version: u32,
    /// The ending of the objects' names.
    format: String,
    /// The partition folders, the outermost first, as `name: kind`.
    partition: Vec<String>,
    /// The type of each column in the files; none for JSON lines.
    columns: BTreeMap<String, String>,
}

impl Shape {
    pub(super) fn new(options: &ObjectsOptions) -> Self {
        let folder = |kind| match kind {
            PartitionKind::Text => "text",
            PartitionKind::Date => "date",
            PartitionKind::Hour => "hour",
        };
        let partition =
            options.partition.iter().map(|field| format!("{}: {}", field.name, folder(field.kind)));
        let columns = match options.format {
            Format::JsonlZst => BTreeMap::new(),
            Format::Parquet => {
                let columns = options.columns.columns().iter();
                columns.map(|column| (column.name.clone(), word(column.kind).to_owned())).collect()
            }
        };
        let format = options.format.extension().to_owned();
        Self { version: OBJECTS_SHAPE.version, format, partition: partition.collect(), columns }
    }

    /// Looks whether objects of this shape are one table with those that the topic has already. Notes nothing, since a worker that has
    /// written no row binds nobody.
    ///
    /// # Errors
    /// Halt with [`Reason::LedgerForeign`] when they are not.
    pub(super) async fn check(&self, store: &Store, layout: &Layout) -> Result<(), Failure> {
        self.missing(store, layout, 0, None).await.map(drop)
    }

    /// The same, and notes this shape, so that nobody after it writes another one.
    ///
    /// # Errors
    /// As of [`Self::check`].
    pub(super) async fn agree(&self, store: &Store, layout: &Layout) -> Result<(), Failure> {
        let (mut from, mut known) = (0, None);
        for _ in 0..MOST_TURNS {
            let Some((number, wanted)) = self.missing(store, layout, from, known).await? else {
                return Ok(());
            };
            let place = layout.shape(number);
            let text = serde_json::to_vec(&wanted).map_err(|error| broken(&place, error))?;
            if store.create(&place, Bytes::from(text)).await? {
                return Ok(());
            }
            (from, known) = (number, Some(wanted));
        }
        let detail = "others add columns faster than the columns are read";
        Err(Failure::target(Reason::SinkUnavailable, detail))
    }

    /// What is to be noted and under which number, from this number on; none when there is nothing. By their names, since a list may be older than
    /// what it lists.
    async fn missing(
        &self,
        store: &Store,
        layout: &Layout,
        from: u64,
        mut known: Option<Self>,
    ) -> Result<Option<(u64, Self)>, Failure> {
        for number in from.. {
            let place = layout.shape(number);
            let Some(bytes) = store.get(&place).await? else {
                if number == 0 && known.is_none() {
                    known = self.beside_older(store, layout).await?;
                }
                return Ok(Some((number, known.unwrap_or_else(|| self.clone()))));
            };
            // Those behind it have columns more, and none of ours.
            let Some(more) = self.over(&Self::decode(&bytes, &place)?, &place)? else { return Ok(None) };
            known = Some(more);
        }
        Ok(None)
    }

    /// What is to be noted where objects are there whose form nobody has noted: an earlier version's. None without any.
    async fn beside_older(&self, store: &Store, layout: &Layout) -> Result<Option<Self>, Failure> {
        let Some(older) = look(store, layout).await? else { return Ok(None) };
        let folders = older.folders.iter().enumerate().map(|(level, (name, looks))| {
            let ours = self.partition.get(level).and_then(|own| own.strip_prefix(name)?.strip_prefix(": "));
            format!("{name}: {}", kind(*looks, ours))
        });
        let format = older.format.extension().to_owned();
        let known = Self {
            version: OBJECTS_SHAPE.version,
            format,
            partition: folders.collect(),
            columns: older.columns,
        };
        Ok(Some(self.over(&known, &older.name)?.unwrap_or(known)))
    }

    /// What is to be noted so that objects of this shape may come to those of the known one; none when nothing is.
    fn over(&self, known: &Self, place: &Path) -> Result<Option<Self>, Failure> {
        let foreign = |what: String| {
            let detail = format!(
                "{place}: {what}; readers take a generation's objects for one table, so take the change back or give the pipeline \
                 the next `generation`"
            );
            Err(Failure::halt(Reason::LedgerForeign, detail))
        };
        if known.format != self.format {
            return foreign(format!("the objects are {}, not {}", known.format, self.format));
        }
        if known.partition != self.partition {
            let words = |shape: &Self| shape.partition.join(", ");
            return foreign(format!("the folders are by [{}], not [{}]", words(known), words(self)));
        }
        let mut columns = known.columns.clone();
        for (name, kind) in &self.columns {
            match columns.get(name) {
                Some(known) if known != kind => {
                    return foreign(format!("column {name} is {known} in the files, not {kind}"));
                }
                Some(_) => {}
                None => drop(columns.insert(name.clone(), kind.clone())),
            }
        }
        let is_more = columns.len() > known.columns.len();
        Ok(is_more.then(|| Self { columns, ..known.clone() }))
    }

    fn decode(bytes: &[u8], name: &Path) -> Result<Self, Failure> {
        OBJECTS_SHAPE.read(bytes).map_err(|error| unreadable(name, error))
    }
}

/// What a folder whose values look so is by, when ours would be by `ours`: any value may be a text.
fn kind(looks: Looks, ours: Option<&str>) -> &str {
    match (looks, ours) {
        (_, Some("text")) => "text",
        (Looks::Nothing, Some(ours)) => ours,
        (Looks::Day, _) => "date",
        (Looks::Hour, _) => "hour",
        (Looks::Text | Looks::Nothing, _) => "text",
    }
}

/// A type as the files have it, in Parquet's words: what is alike there is one type to readers.
fn word(kind: Type) -> &'static str {
    match kind {
        Type::Text | Type::Json => "string",
        Type::Int | Type::Nanos => "int64",
        Type::Int32 => "int32",
        Type::Float => "double",
        Type::Bool => "boolean",
        Type::Time => "timestamp",
        Type::Bytes => "binary",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use longshore_core::{Generation, PairId};
    use object_store::memory::InMemory;

    use super::super::{Column, Columns, Place, Source};
    use super::*;

    fn layout() -> Layout {
        let pair = PairId::new("logs.raw", 0);
        Layout::new(&Path::from("lake"), Generation(1), &pair, Format::Parquet)
    }

    fn shape(columns: &[(&str, Type)]) -> Shape {
        let columns = columns.iter().map(|(name, kind)| Column {
            name: (*name).to_owned(),
            kind: *kind,
            source: Source::Field((*name).to_owned()),
        });
        Shape::new(&ObjectsOptions {
            place: Place::Folder("unused".into()),
            format: Format::Parquet,
            columns: Arc::new(Columns::of(columns.collect()).unwrap()),
            partition: Vec::new(),
            level: 1,
            row_group: 1024,
            full: 1 << 20,
            staging: std::env::temp_dir(),
        })
    }

    /// Scenario: a pipeline's columns change from one deployment to the next. Guarantee: columns may come, go and come again; one that has
    /// another type than ever before in the generation halts, whoever has forgotten it since.
    #[tokio::test]
    async fn columns_may_come_and_go_and_keep_their_types() {
        let store = Store::over(Arc::new(InMemory::new()), Path::from("lake"));
        for columns in [
            &[("user", Type::Text)][..],
            &[("user", Type::Json), ("size", Type::Int)],
            &[("user", Type::Text)],
            &[("seen", Type::Time)],
            &[("size", Type::Int), ("seen", Type::Time)],
        ] {
            shape(columns).agree(&store, &layout()).await.unwrap();
        }
        assert!(store.get(&layout().shape(2)).await.unwrap().is_some());
        assert!(store.get(&layout().shape(3)).await.unwrap().is_none(), "what is known is not noted again");
        for columns in [[("size", Type::Text)], [("seen", Type::Int)], [("_more", Type::Text)]] {
            let agreed = shape(&columns).agree(&store, &layout()).await;
            if columns[0].0 == "_more" {
                agreed.unwrap();
                continue;
            }
            let failure = agreed.unwrap_err();
            assert_eq!(failure.reason, Reason::LedgerForeign);
            assert!(failure.detail().contains(columns[0].0) && failure.detail().contains("`generation`"));
        }
    }

    /// Scenario: folders or the format change inside a generation. Guarantee: that halts, and leaves the first writer's word as it was.
    #[tokio::test]
    async fn folders_and_the_format_stay() {
        let store = Store::over(Arc::new(InMemory::new()), Path::from("lake"));
        let first = shape(&[("user", Type::Text)]);
        first.agree(&store, &layout()).await.unwrap();
        let folders = Shape { partition: vec!["day: date".into()], ..first.clone() };
        let lines = Shape { format: "jsonl.zst".into(), columns: BTreeMap::new(), ..first.clone() };
        for other in [folders, lines] {
            let failure = other.agree(&store, &layout()).await.unwrap_err();
            assert_eq!(failure.reason, Reason::LedgerForeign, "{}", failure.detail());
        }
        first.agree(&store, &layout()).await.unwrap();
        assert!(store.get(&layout().shape(1)).await.unwrap().is_none());
    }

    /// Scenario: first owners note the form of a generation at the same moment, time and again: two formats, and two of one format with a column
    /// more each. Guarantee: of the two formats one is noted and the other's owner halts; both columns are noted, and what was noted first stays.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_first_owners_that_race_one_says_the_form() {
        for round in 0..200 {
            let store = Arc::new(Store::over(Arc::new(InMemory::new()), Path::from("lake")));
            let parquet = [shape(&[("user", Type::Text)]), shape(&[("size", Type::Int)])];
            let lines = Shape { format: "jsonl.zst".into(), columns: BTreeMap::new(), ..parquet[0].clone() };
            let (together, mut racers) = (Arc::new(tokio::sync::Barrier::new(3)), Vec::new());
            let [user, size] = parquet;
            for shape in [user, size, lines] {
                let (store, together) = (Arc::clone(&store), Arc::clone(&together));
                racers.push(tokio::spawn(async move {
                    together.wait().await;
                    let agreed = shape.agree(&store, &layout()).await;
                    (shape.format, agreed.map_err(|failure| failure.reason))
                }));
            }
            let mut agreed = Vec::new();
            for racer in racers {
                agreed.push(racer.await.unwrap());
            }
            let noted = store.get(&layout().shape(0)).await.unwrap().unwrap();
            let noted = Shape::decode(&noted, &layout().shape(0)).unwrap();
            for (format, agreed) in agreed {
                let expected = if format == noted.format { Ok(()) } else { Err(Reason::LedgerForeign) };
                assert_eq!(agreed, expected, "round {round}: {format}, and {} is noted", noted.format);
            }
            let last = store.get(&layout().shape(1)).await.unwrap();
            assert_eq!(last.is_some(), noted.format == "parquet", "round {round}");
            if let Some(last) = last {
                let last = Shape::decode(&last, &layout().shape(1)).unwrap();
                assert!(last.columns.contains_key("user") && last.columns.contains_key("size"));
            }
        }
    }
}
