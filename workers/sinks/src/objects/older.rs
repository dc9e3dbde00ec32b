//! The form of objects that were written before forms were noted, as far as their names and one of their footers tell it.

use std::collections::BTreeMap;

use ::parquet::basic::{ConvertedType, Type as Physical};
use ::parquet::schema::types::ColumnDescriptor;
use futures::{StreamExt, TryStreamExt};
use longshore_core::Failure;
use object_store::path::Path;

use super::Format;
use super::folder::NO_VALUE;
use super::inspect::{ParquetObject, Unread};
use super::layout::Layout;
use super::look::Listed;
use super::store::Store;

/// So many objects are looked at for the newest of them: what a store lists in one request.
const MOST_LISTED: usize = 1_000;

/// What is known of objects without a noted form.
#[derive(Debug)]
pub(super) struct Older {
    /// The object that tells it.
    pub(super) name: Path,
    pub(super) format: Format,
    /// Its folders, the outermost first: name, and what their values look like.
    pub(super) folders: Vec<(String, Looks)>,
    /// The columns of its footer in the words of a form; none of JSON lines.
    pub(super) columns: BTreeMap<String, String>,
}

/// What a folder's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    /// A day, or a text that is one.
    Day,
    /// An hour, or a text that is one.
    Hour,
    /// A text alone.
    Text,
    /// Nothing, which every kind has.
    Nothing,
}

/// What an object of the topic says of the others; none where there is none.
pub(super) async fn look(store: &Store, layout: &Layout) -> Result<Option<Older>, Failure> {
    let listed = store.walk(&layout.objects()).take(MOST_LISTED).try_collect::<Vec<Listed>>().await?;
    let known = listed.iter().filter_map(|object| Some((object, of_name(layout, &object.name)?)));
    let Some((object, (format, folders))) = known.max_by_key(|(object, _)| object.written_ms) else {
        return Ok(None);
    };
    let name = object.name.clone();
    let columns = match format {
        Format::JsonlZst => BTreeMap::new(),
        Format::Parquet => columns(store, object).await?,
    };
    Ok(Some(Older { name, format, folders, columns }))
}

/// An object's format and folders; none for a name that no worker gives.
fn of_name(layout: &Layout, name: &Path) -> Option<(Format, Vec<(String, Looks)>)> {
    let formats = [Format::Parquet, Format::JsonlZst];
    let file = name.filename()?;
    let format = formats
        .into_iter()
        .find(|format| file.strip_suffix(format.extension()).is_some_and(|number| number.ends_with('.')))?;
    let topic = layout.objects();
    let parts: Vec<_> = name.prefix_match(&topic)?.collect();
    let (_, folders) = parts.split_last()?;
    if let [partition] = folders
        && partition.as_ref().bytes().all(|byte| byte.is_ascii_digit())
    {
        return Some((format, Vec::new()));
    }
    let folder = |part: &object_store::path::PathPart<'_>| {
        let (name, value) = part.as_ref().split_once('=')?;
        Some((name.to_owned(), looks(value)))
    };
    Some((format, folders.iter().map(folder).collect::<Option<Vec<_>>>()?))
}

fn looks(value: &str) -> Looks {
    let like = |form: &str| {
        let fits =
            |(letter, form): (u8, u8)| if form == b'0' { letter.is_ascii_digit() } else { letter == form };
        value.len() == form.len() && value.bytes().zip(form.bytes()).all(fits)
    };
    match value {
        NO_VALUE => Looks::Nothing,
        _ if like("0000-00-00") => Looks::Day,
        _ if like("0000-00-00T00") => Looks::Hour,
        _ => Looks::Text,
    }
}

/// The columns that an object's footer names. One that is damaged names none.
async fn columns(store: &Store, object: &Listed) -> Result<BTreeMap<String, String>, Failure> {
    let file = match ParquetObject::open(store, &object.name, object.bytes).await {
        Ok(file) => file,
        Err(Unread::Store(failure)) => return Err(failure),
        Err(Unread::File(why)) => {
            tracing::warn!(name = %object.name, why, "the footer cannot be read, so it does not say which columns there are");
            return Ok(BTreeMap::new());
        }
    };
    let known = file.metadata.file_metadata().schema_descr().columns().iter();
    Ok(known.map(|column| (column.name().to_owned(), word(column).to_owned())).collect())
}

/// A column's type in the words of a form.
fn word(column: &ColumnDescriptor) -> &'static str {
    match (column.physical_type(), column.converted_type()) {
        (Physical::BYTE_ARRAY, ConvertedType::UTF8) => "string",
        (Physical::BYTE_ARRAY, _) => "binary",
        (Physical::INT64, ConvertedType::TIMESTAMP_MICROS) => "timestamp",
        (Physical::INT64, _) => "int64",
        (Physical::INT32, _) => "int32",
        (Physical::DOUBLE, _) => "double",
        (Physical::BOOLEAN, _) => "boolean",
        (Physical::INT96 | Physical::FLOAT | Physical::FIXED_LEN_BYTE_ARRAY, _) => "a type of another writer",
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::{Generation, PairId};

    use super::*;

    #[test]
    fn names_tell_format_and_folders() {
        let layout =
            Layout::new(&Path::from("lake"), Generation(1), &PairId::new("logs.raw", 0), Format::Parquet);
        let told = |name: &str| of_name(&layout, &Path::from(format!("lake/g0001/logs.raw/{name}")));
        assert_eq!(told("7/00000000000000000000.parquet"), Some((Format::Parquet, vec![])));
        let folders = vec![("day".to_owned(), Looks::Day), ("at".to_owned(), Looks::Nothing)];
        let name = format!("day=2026-01-31/at={NO_VALUE}/7-00000000000000000000.jsonl.zst");
        assert_eq!(told(&name), Some((Format::JsonlZst, folders)));
        assert_eq!(told("README.md"), None);
        assert_eq!(told("copies/old/00000000000000000000.parquet"), None);
    }
}
