//! Records from files, folders and standard input.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::cli::Unit;
use crate::exit::{End, Exit};

/// The longest line and the largest file that become a record; Kafka's own default limit is 1 MiB, ours is the broker's
/// to judge, but a file without a line end must not fill the memory.
const RECORD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A record to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The key, none for a null key.
    pub(crate) key: Option<Vec<u8>>,
    /// The value, none for a tombstone.
    pub(crate) value: Option<Vec<u8>>,
}

impl Message {
    /// Bytes of the value.
    pub(crate) fn value_bytes(&self) -> usize {
        self.value.as_ref().map_or(0, Vec::len)
    }
}

/// All files below the paths, folders in the order of their names; `-` stands for standard input.
pub(crate) fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, End> {
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            files.push(path.clone());
        } else if path.is_dir() {
            folder(path, &mut files)?;
        } else if path.exists() {
            files.push(path.clone());
        } else {
            return Err(End::new(Exit::Data, format!("{} does not exist", path.display())));
        }
    }
    if paths.is_empty() {
        files.push(PathBuf::from("-"));
    }
    Ok(files)
}

fn folder(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), End> {
    let mut entries = std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        // A link to a folder above would never end, so links to folders are not followed.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            folder(&entry.path(), files)?;
        } else if kind.is_file() || entry.path().is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// How many bytes the files have as stored; none when standard input is among them.
pub(crate) fn stored_bytes(files: &[PathBuf]) -> Option<u64> {
    files.iter().map(|file| std::fs::metadata(file).ok().map(|m| m.len())).sum()
}

/// Hands every record of a file to `each`, until it says stop by an error.
pub(crate) fn read(
    path: &Path,
    unit: Unit,
    each: &mut dyn FnMut(Vec<u8>) -> Result<(), End>,
) -> Result<(), End> {
    let named = |error: std::io::Error| End::new(Exit::Data, format!("{}: {error}", path.display()));
    let reader = open(path).map_err(named)?;
    match unit {
        Unit::Lines | Unit::Tombstone => lines(path, reader, each),
        Unit::File => each(whole(path, reader)?),
        Unit::Document => {
            let text = String::from_utf8(whole(path, reader)?).map_err(|_| {
                End::new(Exit::Data, format!("{}: not UTF-8, so not a text document", path.display()))
            })?;
            let document = serde_json::json!({"text": text, "source": path.display().to_string()});
            each(document.to_string().into_bytes())
        }
    }
}

fn lines(
    path: &Path,
    mut reader: Box<dyn BufRead>,
    each: &mut dyn FnMut(Vec<u8>) -> Result<(), End>,
) -> Result<(), End> {
    for number in 1_u64.. {
        let mut line = Vec::new();
        let read = (&mut reader).take(RECORD_BYTES_MAX + 1).read_until(b'\n', &mut line);
        let read =
            read.map_err(|error| End::new(Exit::Data, format!("{}:{number}: {error}", path.display())))?;
        if read == 0 {
            break;
        }
        if line.len() as u64 > RECORD_BYTES_MAX {
            return Err(End::new(Exit::Data, format!("{}:{number}: a line above 64 MiB", path.display())));
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if !line.is_empty() {
            each(line)?;
        }
    }
    Ok(())
}

fn whole(path: &Path, reader: Box<dyn BufRead>) -> Result<Vec<u8>, End> {
    let mut bytes = Vec::new();
    let read = reader.take(RECORD_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| End::new(Exit::Data, format!("{}: {error}", path.display())))?;
    if bytes.len() as u64 > RECORD_BYTES_MAX {
        return Err(End::new(
            Exit::Data,
            format!("{}: larger than 64 MiB; publish it by lines", path.display()),
        ));
    }
    Ok(bytes)
}

fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    let plain: Box<dyn Read> =
        if path.as_os_str() == "-" { Box::new(std::io::stdin()) } else { Box::new(File::open(path)?) };
    let mut plain = BufReader::with_capacity(256 * 1024, plain);
    // The first bytes decide, not the name: a rotated `app.log.1` may well be packed.
    let head = plain.fill_buf()?;
    Ok(if head.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(plain)))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(BufReader::new(zstd::stream::read::Decoder::with_buffer(plain)?))
    } else if let Some(ending) = packed_ending(path).filter(|_| !head.is_empty()) {
        // Lines of a broken archive would be noise in a topic.
        let words = format!("the name ends with .{ending}, but this is neither gzip nor zstd");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, words));
    } else {
        Box::new(plain)
    })
}

/// The ending by which a file says that it is packed.
fn packed_ending(path: &Path) -> Option<&str> {
    path.extension()?.to_str().filter(|ending| matches!(*ending, "gz" | "zst"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn records(bytes: &[u8], unit: Unit) -> Vec<Vec<u8>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut found = Vec::new();
        read(file.path(), unit, &mut |record| {
            found.push(record);
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn lines_lose_their_ends_and_empty_ones_are_left_out() {
        assert_eq!(records(b"a\r\n\nb", Unit::Lines), [b"a".to_vec(), b"b".to_vec()]);
    }

    #[test]
    fn packed_files_are_known_by_their_first_bytes() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(b"one\ntwo\n").unwrap();
        assert_eq!(records(&gz.finish().unwrap(), Unit::Lines), [b"one".to_vec(), b"two".to_vec()]);
        let zst = zstd::encode_all(&b"one\ntwo\n"[..], 1).unwrap();
        assert_eq!(records(&zst, Unit::Lines), [b"one".to_vec(), b"two".to_vec()]);
    }

    #[test]
    fn a_file_that_claims_to_be_packed_has_to_be() {
        let file = tempfile::Builder::new().suffix(".gz").tempfile().unwrap();
        std::fs::write(file.path(), "not packed\n").unwrap();
        let end = read(file.path(), Unit::Lines, &mut |_| Ok(())).unwrap_err();
        assert!(end.message.contains("neither gzip nor zstd"), "{}", end.message);
    }

    #[test]
    fn a_file_is_one_record_as_it_is() {
        assert_eq!(records(b"# T\n\nx\n", Unit::File), [b"# T\n\nx\n".to_vec()]);
    }
}
