//! Where things lie in a sink's folder.
//!
//! ```text
//! <path>/g0001/<topic>/<partition>/<sequence>.jsonl.zst      what readers glob
//! <path>/g0001/_ledger/<topic>/<partition>/<next>.checkpoint  the ledger folded, every 64 segments
//!                                          <sequence>.entry   plain JSON lines only: the trailer beside the data
//!                                          staging/           files that are being written
//! ```

use std::path::{Path, PathBuf};

use longshore_core::{Failure, Generation, PairId, Reason, Sequence};

use super::Format;

/// The folder beside the topics' that holds everything which is not data.
pub(super) const LEDGER_FOLDER: &str = "_ledger";
/// That of an `objects` sink.
const OBJECTS_LEDGER_FOLDER: &str = "__ledger";
const CHECKPOINT: &str = "checkpoint";
const ENTRY: &str = "entry";

/// The paths of one pair in one generation.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The sink's folder.
    pub(super) root: PathBuf,
    /// Published files.
    pub(super) data: PathBuf,
    /// Checkpoints and entries.
    pub(super) ledger: PathBuf,
    /// Files that are being written.
    pub(super) staging: PathBuf,
    /// What the files hold.
    pub(super) format: Format,
}

impl Layout {
    /// The paths of a pair.
    pub(super) fn new(root: &Path, generation: Generation, pair: &PairId, format: Format) -> Self {
        let generation = root.join(format!("g{:04}", generation.0));
        let (topic, partition) = (pair.topic.as_str(), pair.partition.to_string());
        let ledger = generation.join(LEDGER_FOLDER).join(topic).join(&partition);
        Self {
            root: root.to_owned(),
            data: generation.join(topic).join(&partition),
            staging: ledger.join("staging"),
            ledger,
            format,
        }
    }

    /// The published file of a number.
    pub(super) fn data_file(&self, sequence: Sequence) -> PathBuf {
        self.data.join(format!("{sequence:020}.{}", self.format.extension()))
    }

    /// The ledger entry of a number (plain JSON lines only).
    pub(super) fn entry_file(&self, sequence: Sequence) -> PathBuf {
        self.ledger.join(format!("{sequence:020}.{ENTRY}"))
    }

    /// The checkpoint of everything below `next`.
    pub(super) fn checkpoint_file(&self, next: Sequence) -> PathBuf {
        self.ledger.join(format!("{next:020}.{CHECKPOINT}"))
    }

    /// The file whose appearance publishes a number.
    pub(super) fn commit_file(&self, sequence: Sequence) -> PathBuf {
        match self.format {
            Format::JsonlZst => self.data_file(sequence),
            Format::Jsonl => self.entry_file(sequence),
        }
    }

    /// What a name in the data folder says.
    pub(super) fn segment_of(name: &str) -> Option<(Sequence, Format)> {
        let (number, extension) = name.split_once('.')?;
        let format =
            [Format::JsonlZst, Format::Jsonl].into_iter().find(|format| format.extension() == extension)?;
        Some((number_of(number)?, format))
    }

    /// The number of an entry's name.
    pub(super) fn entry_of(name: &str) -> Option<Sequence> {
        name.split_once('.')
            .filter(|(_, extension)| *extension == ENTRY)
            .and_then(|(number, _)| number_of(number))
    }

    /// The number of a checkpoint's name.
    pub(super) fn checkpoint_of(name: &str) -> Option<Sequence> {
        name.split_once('.')
            .filter(|(_, extension)| *extension == CHECKPOINT)
            .and_then(|(number, _)| number_of(number))
    }
}

/// A topic's name becomes a folder's, so it must be one that Kafka allows, and not one that is ours.
pub(crate) fn check_topic(pair: &PairId) -> Result<(), Failure> {
    let name = pair.topic.as_str();
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if letters && !name.is_empty() && !matches!(name, "." | ".." | LEDGER_FOLDER | OBJECTS_LEDGER_FOLDER) {
        return Ok(());
    }
    Err(Failure::halt(Reason::BrokerTopicUnfit, format!("a topic named {name:?} cannot become a folder")))
}

fn number_of(digits: &str) -> Option<Sequence> {
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok().map(Sequence))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let layout =
            Layout::new(Path::new("out"), Generation(2), &PairId::new("logs.raw", 7), Format::JsonlZst);
        let name = "00000000000000000012.jsonl.zst";
        assert_eq!(layout.data_file(Sequence(12)), Path::new("out/g0002/logs.raw/7").join(name));
        assert_eq!(Layout::segment_of(name), Some((Sequence(12), Format::JsonlZst)));
        for stray in ["12.jsonl", "0000000000000000001x.jsonl", "00000000000000000012.json", "notes"] {
            assert_eq!(Layout::segment_of(stray), None);
        }
    }

    #[test]
    fn topics_that_cannot_be_folders_halt() {
        for name in ["..", "", "a/b", "_ledger", "__ledger"] {
            assert!(check_topic(&PairId::new(name, 0)).is_err(), "{name}");
        }
        assert!(check_topic(&PairId::new("logs.raw_v1-x", 0)).is_ok());
    }
}
