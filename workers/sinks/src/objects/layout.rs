//! Where things lie in a store.
//!
//! ```text
//! <url>/g0001/<topic>/<partition>/<sequence>.parquet                      what readers glob, without partition folders
//! <url>/g0001/<topic>/<name>=<value>/.../<partition>-<sequence>.parquet   and with them
//! <url>/g0001/__ledger/<topic>/shape/<number>                             what all objects of the topic have in common (`shape.rs`)
//! <url>/g0001/__ledger/<topic>/<partition>/segments/<sequence>             one entry for each segment: its trailer, its objects
//!                                         checkpoints/<next>              the ledger folded, every 64 segments
//!                                         staging/<sequence>-<writer>-<place>           objects before they are published
//!                                                 <sequence>-<writer>-<place>.upload-*  an upload in parts, by its id
//! ```

use longshore_core::{Generation, PairId, Sequence, WriterId};
use object_store::path::Path;

use super::Format;

/// The folder beside the topics' that holds everything which is not data. Spark, Hive and pyarrow pass over names that begin with one underscore,
/// Hugging Face's `load_dataset`, which takes every other file of a folder for data, over those that begin with two.
const LEDGER_FOLDER: &str = "__ledger";
/// Marks the note of an upload in parts, behind the name of what is uploaded.
const UPLOAD: &str = ".upload-";

/// The names of one pair in one generation.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: Path,
    topic: Path,
    partition: i32,
    ledger: Path,
    shapes: Path,
    format: Format,
}

impl Layout {
    pub(super) fn new(root: &Path, generation: Generation, pair: &PairId, format: Format) -> Self {
        let generation = root.clone().join(format!("g{:04}", generation.0));
        let (topic, partition) = (pair.topic.as_str(), pair.partition.0);
        let ledgers = generation.clone().join(LEDGER_FOLDER).join(topic);
        let (ledger, shapes) = (ledgers.clone().join(partition.to_string()), ledgers.join("shape"));
        Self { root: root.clone(), topic: generation.join(topic), partition, ledger, shapes, format }
    }

    /// A name of this layout as it begins below the sink's place.
    pub(super) fn relative(&self, name: &Path) -> String {
        let name = name.as_ref();
        let below = name.strip_prefix(self.root.as_ref()).map(|rest| rest.trim_start_matches('/'));
        below.unwrap_or(name).to_owned()
    }

    /// The published object of a segment's rows in a partition folder; the folder is empty without partition folders.
    pub(super) fn data(&self, sequence: Sequence, folder: &str) -> Path {
        let extension = self.format.extension();
        if folder.is_empty() {
            let folder = self.topic.clone().join(self.partition.to_string());
            return folder.join(format!("{sequence:020}.{extension}"));
        }
        as_written(&format!("{}/{folder}/{}-{sequence:020}.{extension}", self.topic, self.partition))
    }

    /// Where the published objects of all partitions of the topic lie.
    pub(super) fn objects(&self) -> Path {
        self.topic.clone()
    }

    /// Where the entries of segments lie.
    pub(super) fn segments(&self) -> Path {
        self.ledger.clone().join("segments")
    }

    /// The entry of a segment.
    pub(super) fn segment(&self, sequence: Sequence) -> Path {
        self.segments().join(numbered(sequence))
    }

    /// What the objects of the topic have in common, by the number of the change.
    pub(super) fn shape(&self, number: u64) -> Path {
        self.shapes.clone().join(numbered(Sequence(number)))
    }

    /// Where checkpoints lie.
    pub(super) fn checkpoints(&self) -> Path {
        self.ledger.clone().join("checkpoints")
    }

    /// The checkpoint of everything below `next`.
    pub(super) fn checkpoint(&self, next: Sequence) -> Path {
        self.checkpoints().join(numbered(next))
    }

    /// Where objects lie before they are published.
    pub(super) fn staging(&self) -> Path {
        self.ledger.clone().join("staging")
    }

    /// A name on which a writer tries whether the store refuses a second object.
    pub(super) fn probe(&self, writer: WriterId) -> Path {
        self.ledger.clone().join("probes").join(writer.to_string())
    }

    /// An object before it is published. The name ends like no data file, so that no reader's glob meets it.
    pub(super) fn staged(&self, sequence: Sequence, writer: WriterId, place: usize) -> Path {
        self.staging().join(format!("{sequence:020}-{writer}-{place}"))
    }
}

/// The generation that a folder at a sink's place is of.
pub(super) fn generation_of(folder: &Path) -> Option<Generation> {
    let digits = folder.filename()?.strip_prefix('g').filter(|digits| digits.len() >= 4)?;
    digits.parse().ok().map(Generation)
}

/// Where the ledgers of a generation lie, by topic and partition.
pub(super) fn ledgers(generation: &Path) -> Path {
    generation.clone().join(LEDGER_FOLDER)
}

/// The note of an upload in parts to `name`; its content is the upload's id.
pub(super) fn upload_note(name: &Path, upload: u64) -> Path {
    as_written(&format!("{name}{UPLOAD}{upload}"))
}

/// What the note of an upload is uploaded to; none for a name that is no note.
pub(super) fn noted(name: &Path) -> Option<Path> {
    name.as_ref().rsplit_once(UPLOAD).map(|(name, _)| as_written(name))
}

/// A name that was one before: `Path::from` would write its escapes once more.
fn as_written(name: &str) -> Path {
    Path::parse(name).unwrap_or_else(|_| Path::from(name))
}

/// The number of an entry's or a checkpoint's name.
pub(super) fn number_of(name: &Path) -> Option<Sequence> {
    let name = name.filename()?;
    (name.len() == 20).then(|| leading_number(name)).flatten()
}

/// The number of the segment that a staged object, or the note of its upload, was made for.
pub(super) fn staged_number(name: &Path) -> Option<Sequence> {
    name.filename().and_then(leading_number)
}

fn leading_number(name: &str) -> Option<Sequence> {
    let digits = name.get(..20).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).map(Sequence)
}

fn numbered(sequence: Sequence) -> String {
    format!("{sequence:020}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::new(&Path::from("lake/raw"), Generation(2), &PairId::new("logs.raw", 7), Format::Parquet)
    }

    #[test]
    fn names_are_where_readers_look() {
        let number = "00000000000000000012";
        assert_eq!(
            layout().data(Sequence(12), "").as_ref(),
            format!("lake/raw/g0002/logs.raw/7/{number}.parquet")
        );
        assert_eq!(
            layout().data(Sequence(12), "date=2026-01-31/source=a%2Fb").as_ref(),
            format!("lake/raw/g0002/logs.raw/date=2026-01-31/source=a%2Fb/7-{number}.parquet")
        );
    }

    #[test]
    fn names_are_read_back() {
        assert_eq!(number_of(&layout().segment(Sequence(12))), Some(Sequence(12)));
        assert_eq!(number_of(&layout().checkpoint(Sequence(64))), Some(Sequence(64)));
        let staged = layout().staged(Sequence(3), WriterId(1), 0);
        let note = upload_note(&staged, 9);
        assert_eq!(staged_number(&staged), Some(Sequence(3)));
        assert_eq!((staged_number(&note), noted(&note)), (Some(Sequence(3)), Some(staged.clone())));
        assert_eq!((noted(&staged), number_of(&staged)), (None, None));
        let odd = Path::parse("teams/~ann/caf\u{e9}%2F/00000000000000000003-1-0").unwrap();
        assert_eq!(noted(&upload_note(&odd, 1)), Some(odd.clone()));
        assert!(upload_note(&odd, 1).as_ref().starts_with(odd.as_ref()));
        assert_eq!(number_of(&Path::from("x/0000000000000000001x")), None);
    }
}
