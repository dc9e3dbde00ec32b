//! What an `objects` sink is given.

use std::path::PathBuf;
use std::sync::Arc;

use super::Columns;
use super::folder::PartitionField;

/// The options of an `objects` sink.
#[derive(Clone)]
pub struct ObjectsOptions {
    /// The store and the place in it.
    pub place: Place,
    /// What the objects hold.
    pub format: Format,
    /// The columns of Parquet files.
    pub columns: Arc<Columns>,
    /// What makes a record's partition folders, outermost first; none for no folders.
    pub partition: Vec<PartitionField>,
    /// The zstd level, 1 to 19.
    pub level: i32,
    /// Bytes of rows, not compressed, that make a row group of a Parquet file.
    pub row_group: usize,
    /// The size at which the pair seals a segment, in bytes as stored; one with too many folders is said to have it.
    pub full: u64,
    /// A folder of this machine for rows that are not uploaded yet.
    pub staging: PathBuf,
}

/// What the objects hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Parquet, compressed with zstd.
    Parquet,
    /// JSON lines in zstd frames.
    JsonlZst,
}

impl Format {
    /// The name's ending, without the first dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::JsonlZst => "jsonl.zst",
        }
    }
}

/// A store and a place in it.
#[derive(Clone)]
pub enum Place {
    /// A folder of a file system that all workers see.
    Folder(PathBuf),
    /// A bucket of a store with S3's protocol.
    Bucket(Box<Bucket>),
    /// A bucket of another cloud, in builds with its feature.
    Cloud(Cloud),
}

/// A bucket of Google Cloud Storage or a container of Azure Blob Storage.
#[derive(Clone)]
pub struct Cloud {
    /// Whose.
    pub kind: CloudKind,
    /// The bucket's or container's name.
    pub name: String,
    /// What all names begin with; may be empty.
    pub prefix: String,
    /// The process's variables by name and value. Those that begin with `GOOGLE_` or `AZURE_` say who we are; without them the machine's role does.
    pub environment: Vec<(String, String)>,
}

/// The clouds that have a protocol of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudKind {
    /// Google Cloud Storage: feature `gcp`.
    Google,
    /// Azure Blob Storage: feature `azure`.
    Azure,
}

impl CloudKind {
    /// What an address there begins with.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Google => "gs://",
            Self::Azure => "az://",
        }
    }
}

/// A bucket of a store with S3's protocol. What is not said here comes from the `AWS_*` variables or the instance's role.
#[derive(Clone)]
pub struct Bucket {
    /// The bucket's name.
    pub name: String,
    /// What all names begin with; may be empty.
    pub prefix: String,
    /// The store's address; Amazon's without it.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The access key's id and its secret.
    pub keys: Option<(String, String)>,
    /// Whether the bucket stands in the host's name instead of the path.
    pub virtual_hosts: bool,
}
