//! Publishing a sealed segment: everything made durable under its staging name, then one `link(2)` that either creates
//! the number's name or finds it taken. Every function may run again after an error at any point.

use std::fs::File;

use longshore_core::Failure;
use longshore_core::ledger::Trailer;
use longshore_core::sink::Published;

use super::Format;
use super::entry::{self, Entry, broken};
use super::layout::Layout;
use super::spool::{Spool, sync_folder};
use super::trailer::{self, TrailerError};
use crate::io::classify;
use crate::pair_ledger::unreadable;

/// What is published, beside its spool.
pub(super) struct Job {
    pub(super) layout: Layout,
    pub(super) trailer: Trailer,
    /// Bytes of rows in the spool.
    pub(super) stored: u64,
    /// Their hash, for plain files.
    pub(super) hash: blake3::Hash,
}

impl Job {
    /// Publishes the spool's rows under the trailer's number.
    pub(super) fn run(&self, spool: &mut Spool) -> Result<Published, Failure> {
        match self.layout.format {
            Format::JsonlZst => self.publish_compressed(spool),
            Format::Jsonl => self.publish_plain(spool),
        }
    }

    /// What stands under the trailer's number; none when it is free.
    pub(super) fn look(&self) -> Result<Option<Published>, Failure> {
        let found = read_trailer(&self.layout, &self.trailer)?;
        Ok(found.map(|found| self.taken_by(&found)))
    }

    fn publish_compressed(&self, spool: &mut Spool) -> Result<Published, Failure> {
        let name = self.layout.data_file(self.trailer.sequence);
        // Once the name stands the file is visible and must not be touched again, whatever became of the answer.
        if !spool.is(&name)? {
            let frame = trailer::encode(&self.trailer).map_err(|error| trailer_failure(&name, error))?;
            spool.write(&frame, self.stored)?;
            spool.finish(self.stored + frame.len() as u64)?;
            if !spool.link(&name)? {
                return self.taken();
            }
        }
        sync_folder(&self.layout.data)?;
        Ok(Published::Done(Vec::new()))
    }

    fn publish_plain(&self, spool: &mut Spool) -> Result<Published, Failure> {
        let name = self.layout.entry_file(self.trailer.sequence);
        let entry = Entry {
            trailer: self.trailer.clone(),
            bytes: self.stored,
            blake3: self.hash.to_hex().to_string(),
            staging: spool.name(),
        };
        if entry::read(&name)?.is_none() {
            spool.finish(self.stored)?;
            self.publish_entry(spool, &entry)?;
        }
        // Whoever published it: only what the entry itself says decides.
        match entry::read(&name)? {
            Some(found) if found == entry => {}
            Some(found) => {
                spool.release();
                return Ok(self.taken_by(&found.trailer));
            }
            None => return Err(broken(&name, "the ledger entry vanished")),
        }
        spool.keep();
        sync_folder(&self.layout.ledger)?;
        let data = self.layout.data_file(self.trailer.sequence);
        if !spool.link(&data)? {
            return Err(broken(&data, "the name is taken by data that no ledger entry stands for"));
        }
        sync_folder(&self.layout.data)?;
        spool.release();
        Ok(Published::Done(Vec::new()))
    }

    /// Creates the entry's name. When it is taken, so be it: the caller reads what stands there.
    fn publish_entry(&self, spool: &mut Spool, entry: &Entry) -> Result<(), Failure> {
        let name = self.layout.entry_file(self.trailer.sequence);
        let json = serde_json::to_vec(entry).map_err(|error| broken(&name, error))?;
        let aside = Spool::create(&self.layout.staging, self.trailer.writer)?;
        aside.write(&json, 0)?;
        aside.finish(json.len() as u64)?;
        // The data must survive us from the moment the entry may stand.
        spool.keep();
        match aside.link(&name) {
            Ok(true) => Ok(()),
            Ok(false) => {
                spool.release();
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    fn taken(&self) -> Result<Published, Failure> {
        let name = self.layout.commit_file(self.trailer.sequence);
        match read_trailer(&self.layout, &self.trailer)? {
            Some(found) => {
                sync_folder(&self.layout.data)?;
                Ok(self.taken_by(&found))
            }
            None => Err(broken(&name, "the number was taken and is free again")),
        }
    }

    fn taken_by(&self, found: &Trailer) -> Published {
        if found.writer == self.trailer.writer {
            Published::TakenByUs
        } else {
            Published::TakenByOther(found.writer)
        }
    }
}

/// The trailer that stands under the number of `trailer`.
fn read_trailer(layout: &Layout, trailer: &Trailer) -> Result<Option<Trailer>, Failure> {
    match layout.format {
        Format::JsonlZst => read_compressed(layout, trailer.sequence),
        Format::Jsonl => Ok(entry::read(&layout.entry_file(trailer.sequence))?.map(|entry| entry.trailer)),
    }
}

/// The trailer of a published zstd file, none when the number is free.
pub(super) fn read_compressed(
    layout: &Layout,
    sequence: longshore_core::Sequence,
) -> Result<Option<Trailer>, Failure> {
    let path = layout.data_file(sequence);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(classify("open", &path, &error)),
    };
    trailer::read(&file).map(Some).map_err(|error| trailer_failure(&path, error))
}

fn trailer_failure(path: &std::path::Path, error: TrailerError) -> Failure {
    match error {
        TrailerError::Io(error) => classify("read", path, &error),
        TrailerError::Format(error) => unreadable(path.display(), error),
        TrailerError::Broken(detail) => broken(path, detail),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use longshore_core::ledger::TRAILER_VERSION;
    use longshore_core::{Generation, Offset, PairId, RunSet, Sequence, WriterId};

    use super::*;

    fn job(root: &std::path::Path, format: Format) -> Job {
        let layout = Layout::new(root, Generation::FIRST, &PairId::new("logs.raw", 0), format);
        std::fs::create_dir_all(&layout.data).unwrap();
        std::fs::create_dir_all(&layout.staging).unwrap();
        let trailer = Trailer {
            version: TRAILER_VERSION,
            pipeline: "web-logs".into(),
            generation: Generation::FIRST,
            cluster: String::new(),
            topic: "logs.raw".into(),
            topic_id: String::new(),
            partition: 0,
            partitions: 1,
            sequence: Sequence(0),
            writer: WriterId(1),
            covers: (Offset(0), Offset(1)),
            except: RunSet::default(),
            also: RunSet::default(),
            dead: std::collections::BTreeMap::new(),
            rows: 0,
            filtered: std::collections::BTreeMap::new(),
            decides: None,
        };
        Job { layout, trailer, stored: 0, hash: blake3::hash(b"") }
    }

    /// Scenario: the name stands, but the answer was lost, and the publish is made again. Guarantee: it is done, and what
    /// readers see by then is not written to again, not even with the same bytes.
    #[test]
    fn a_visible_file_is_not_touched() {
        for format in [Format::JsonlZst, Format::Jsonl] {
            let folder = tempfile::tempdir().unwrap();
            let job = job(folder.path(), format);
            let mut spool = Spool::create(&job.layout.staging, WriterId(1)).unwrap();
            assert_eq!(job.run(&mut spool).unwrap(), Published::Done(Vec::new()));
            let data = job.layout.data_file(Sequence(0));
            File::open(&data).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(job.run(&mut spool).unwrap(), Published::Done(Vec::new()));
            let modified = std::fs::metadata(&data).unwrap().modified().unwrap();
            assert_eq!(modified, SystemTime::UNIX_EPOCH, "{format:?}");
            drop(spool);
            assert_eq!(job.look().unwrap(), Some(Published::TakenByUs));
        }
    }
}
