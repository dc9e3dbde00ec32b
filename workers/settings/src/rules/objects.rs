//! What an `objects` sink cannot mean.

use std::collections::BTreeMap;

use longshore_conditions::Expression;
use longshore_core::human::Bytes;

use super::{Context, sinks};
use crate::model::{
    OBJECTS_OWN_COLUMNS, ObjectsFormat, ObjectsPlace, ObjectsSinkOptions, ObjectsStore, is_amazons,
};
use crate::path::Path;
use crate::report::Code;

/// Below it a row group is mostly its own description, above it one takes the memory of many records.
const ROW_GROUPS: std::ops::RangeInclusive<Bytes> = Bytes::mebi(1)..=Bytes::mebi(256);
/// A published object is a copy within the store, made in one request that must end in half a minute.
const MOST_BYTES: Bytes = Bytes::mebi(512);
/// The longest prefix in a bucket, bytes: a key has 1,024 in all.
const PREFIX_MAX: usize = 200;
/// The longest name of a column or a partition, bytes.
const NAME_MAX: usize = 64;

pub(super) fn check(context: &mut Context<'_>, path: &Path, options: &ObjectsSinkOptions) {
    place(context, path, options);
    format(context, path, options);
    if !(1..=19).contains(&options.level) {
        refuse(context, &path.key("level"), format!("level {} is not between 1 and 19", options.level));
    }
    if !ROW_GROUPS.contains(&options.row_group) {
        let message = format!("expected {} to {}", ROW_GROUPS.start(), ROW_GROUPS.end());
        refuse(context, &path.key("row_group"), message);
    }
    let roll = path.key("roll");
    let zeros = [
        ("bytes", options.roll.bytes.get() == 0),
        ("age", options.roll.age.get().is_zero()),
        ("rows", options.roll.rows == 0),
    ];
    for (field, _) in zeros.into_iter().filter(|(_, zero)| *zero) {
        refuse(context, &roll.key(field), format!("roll.{field} must be above zero"));
    }
    if options.roll.bytes > MOST_BYTES {
        refuse(context, &roll.key("bytes"), format!("expected at most {MOST_BYTES}"));
    }
    if options.staging.as_ref().is_some_and(|folder| folder.as_os_str().is_empty()) {
        refuse(context, &path.key("staging"), "expected a folder");
    }
    columns(context, path, options);
    partition(context, path, options);
}

/// Whether one of them writes into what is the other's.
pub(super) fn overlap(
    a: &ObjectsSinkOptions,
    b: &ObjectsSinkOptions,
    environment: &BTreeMap<String, String>,
) -> bool {
    let store = |options: &ObjectsSinkOptions| {
        let endpoint = options.store_endpoint(|name| environment.get(name).cloned());
        endpoint.map(|endpoint| endpoint.filter(|endpoint| !is_amazons(endpoint)))
    };
    match (a.place(), b.place()) {
        (Ok(ObjectsPlace::Folder(a)), Ok(ObjectsPlace::Folder(b))) => sinks::overlap(&a, &b),
        (
            Ok(ObjectsPlace::Bucket { store: a_kind, bucket: ours, prefix: a_prefix }),
            Ok(ObjectsPlace::Bucket { store: b_kind, bucket: theirs, prefix: b_prefix }),
        ) => {
            let same = a_kind == b_kind && (a_kind != ObjectsStore::S3 || store(a) == store(b));
            same && ours == theirs && is_within(&a_prefix, &b_prefix)
        }
        _ => false,
    }
}

/// Whether an `objects` sink and a folder write into what is the other's.
pub(super) fn is_in_folder(objects: &ObjectsSinkOptions, folder: &std::path::Path) -> bool {
    objects.place().is_ok_and(|place| match place {
        ObjectsPlace::Folder(own) => sinks::overlap(&own, folder),
        ObjectsPlace::Bucket { .. } => false,
    })
}

/// Whether one prefix is the other or lies in it.
fn is_within(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    long.strip_prefix(short).is_some_and(|rest| short.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

fn refuse(context: &mut Context<'_>, path: &Path, message: impl Into<String>) {
    let finding = context.find(Code::Value, path, message);
    context.push(finding);
}

/// A bucket has an address and keys, a folder has not.
fn place(context: &mut Context<'_>, path: &Path, options: &ObjectsSinkOptions) {
    match options.place() {
        Err(message) => refuse(context, &path.key("url"), message),
        Ok(ObjectsPlace::Bucket { store, prefix, .. }) => {
            if prefix.len() > PREFIX_MAX {
                refuse(context, &path.key("url"), format!("expected a prefix of at most {PREFIX_MAX} bytes"));
            }
            if prefix.split('/').any(|part| matches!(part, "." | "..")) || prefix.contains("//") {
                refuse(context, &path.key("url"), "expected a prefix without empty parts, `.` and `..`");
            }
            match store {
                ObjectsStore::S3 => bucket(context, path, options),
                ObjectsStore::Google => without_keys(
                    context,
                    path,
                    "only `s3://` has this; for `gs://` the variables `GOOGLE_*` or the machine's role say it",
                ),
                ObjectsStore::Azure => without_keys(
                    context,
                    path,
                    "only `s3://` has this; for `az://` the variables `AZURE_*` or the machine's role say it",
                ),
            }
        }
        Ok(ObjectsPlace::Folder(_)) => {
            without_keys(context, path, "only a bucket has this, and `url` is a folder");
        }
    }
}

/// Refuses what only a store of S3's protocol is told.
fn without_keys(context: &mut Context<'_>, path: &Path, words: &str) {
    let told = ["endpoint", "region", "access_key_id", "secret_access_key", "path_style"];
    for field in told.map(|field| path.key(field)) {
        if context.is_written(&field) {
            refuse(context, &field, words);
        }
    }
}

fn bucket(context: &mut Context<'_>, path: &Path, options: &ObjectsSinkOptions) {
    let environment = context.environment;
    if let Err(error) = options.store_endpoint(|name| environment.get(name).cloned()) {
        match error.variable {
            Some(_) => refuse(context, &path.key("url"), error.to_string()),
            None => refuse(context, &path.key("endpoint"), error.expected),
        }
    }
    let given = match (&options.access_key_id, &options.secret_access_key) {
        (Some(_), None) => "access_key_id",
        (None, Some(_)) => "secret_access_key",
        (Some(_), Some(_)) | (None, None) => return,
    };
    refuse(context, &path.key(given), "`access_key_id` and `secret_access_key` go together");
}

/// What only Parquet has.
fn format(context: &mut Context<'_>, path: &Path, options: &ObjectsSinkOptions) {
    match options.format {
        ObjectsFormat::Parquet if options.rows.is_some() && !options.columns.is_empty() => {
            refuse(context, &path.key("rows"), "`columns` stand in place of `rows`");
        }
        ObjectsFormat::Parquet => {}
        ObjectsFormat::JsonlZst => {
            for field in ["rows", "columns", "row_group"].map(|field| path.key(field)) {
                if context.is_written(&field) {
                    refuse(context, &field, "only `format: parquet` has this");
                }
            }
        }
    }
}

fn columns(context: &mut Context<'_>, path: &Path, options: &ObjectsSinkOptions) {
    for (name, column) in &options.columns.0 {
        let place = path.key("columns").key(name);
        if OBJECTS_OWN_COLUMNS.contains(&name.as_str()) {
            refuse(context, &place, format!("every file has {name}, with what its name says"));
        } else if name.is_empty() || name.len() > NAME_MAX {
            refuse(context, &place, format!("expected a name of 1 to {NAME_MAX} bytes"));
        }
        expression(context, &place.key("value"), &column.value);
    }
}

fn partition(context: &mut Context<'_>, path: &Path, options: &ObjectsSinkOptions) {
    if options.partition.len() > 8 {
        refuse(context, &path.key("partition"), "expected at most 8 levels of folders");
    }
    for (index, field) in options.partition.iter().enumerate() {
        let place = path.key("partition").index(index);
        let name = &field.name;
        if !is_folder_name(name) || name.len() > NAME_MAX {
            let expected = format!(
                "expected a letter and then letters, digits and `_`, {NAME_MAX} at most: readers pass over what begins with `_`, and some read escapes as they are"
            );
            refuse(context, &place.key("name"), expected);
        } else if options.partition[..index].iter().any(|earlier| earlier.name == *name) {
            refuse(context, &place.key("name"), format!("{name} stands twice"));
        } else if has_column(context, options, name) {
            // DuckDB takes the folder's, pyarrow refuses two types of one name, so the files would read differently.
            let finding = context.find(
                Code::Conflict,
                &place.key("name"),
                format!("the files have a column {name}, and readers take folders for columns as well"),
            );
            context.push(finding.help("give the folders another name"));
        }
        expression(context, &place.key("value"), &field.value);
    }
}

/// Whether all readers of partition folders take a name for the same column.
fn is_folder_name(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// Whether the Parquet files have a column of this name.
fn has_column(context: &Context<'_>, options: &ObjectsSinkOptions, name: &str) -> bool {
    if options.format == ObjectsFormat::JsonlZst {
        return false;
    }
    let steps = context.parts.steps.iter().flatten();
    let chosen = || options.columns.0.iter().any(|(known, _)| known == name);
    OBJECTS_OWN_COLUMNS.contains(&name)
        || if options.columns.is_empty() { options.rows(steps).names().contains(&name) } else { chosen() }
}

fn expression(context: &mut Context<'_>, path: &Path, text: &str) {
    if let Err(error) = Expression::compile(text) {
        context.inside(path, text, Some((error.offset, error.len)), &error.message);
    }
}
