//! Reading a file's rows and judging each.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

use longshore_core::Origin;
use serde::Deserialize;

use super::claim::{Claim, Held};
use super::{Finding, Problem, RowSeen, SinkFile};

#[derive(Deserialize)]
struct OriginOnly<'a> {
    #[serde(borrow, rename = "_origin")]
    origin: Option<Cow<'a, str>>,
}

/// Checks every row of a file and hands each whole one to the visitor. Gives the number of lines.
pub(super) fn check(
    file: &SinkFile,
    claim: Option<&Claim>,
    earlier: &Held,
    findings: &mut Vec<Finding>,
    visit: &mut dyn FnMut(&RowSeen<'_>),
) -> u64 {
    let mut judge = Judge { file, claimed: claim.map(Held::of), earlier, seen: HashMap::new(), findings };
    let mut lines = 0;
    let read = unpacked(file).and_then(|mut reader| {
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            lines += 1;
            judge.row(lines, &line, visit);
            line.clear();
        }
        Ok(())
    });
    if let Err(error) = read {
        let problem = Problem::Unreadable(error.to_string());
        judge.findings.push(Finding::of_row(&file.path, lines + 1, None, problem));
    }
    lines
}

/// The lines (from 1) of a file that hold rows of this record.
///
/// # Errors
/// When the file cannot be read.
pub fn lines_of(file: &SinkFile, offset: i64) -> io::Result<Vec<u64>> {
    let (mut reader, mut line, mut number, mut found) = (unpacked(file)?, Vec::new(), 0, Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        number += 1;
        if parse(&line).is_ok_and(|(_, origin)| origin.offset.0 == offset) {
            found.push(number);
        }
        line.clear();
    }
    Ok(found)
}

fn unpacked(file: &SinkFile) -> io::Result<Box<dyn BufRead>> {
    let data = File::open(&file.path)?;
    if file.compressed {
        Ok(Box::new(BufReader::with_capacity(256 * 1024, zstd::stream::read::Decoder::new(data)?)))
    } else {
        Ok(Box::new(BufReader::with_capacity(256 * 1024, data)))
    }
}

struct Judge<'a> {
    file: &'a SinkFile,
    /// What the file claims; none when its trailer cannot be read.
    claimed: Option<Held>,
    earlier: &'a Held,
    /// Offset and index to line.
    seen: HashMap<(i64, u32), u64>,
    findings: &'a mut Vec<Finding>,
}

impl Judge<'_> {
    fn row(&mut self, line: u64, bytes: &[u8], visit: &mut dyn FnMut(&RowSeen<'_>)) {
        match parse(bytes) {
            Ok((json, origin)) => {
                if let Some(problem) = self.problem(line, &origin) {
                    self.findings.push(Finding::of_row(&self.file.path, line, Some(&origin), problem));
                }
                visit(&RowSeen { file: self.file, line, origin: &origin, json });
            }
            Err(words) => {
                let problem = Problem::RowBroken(words);
                self.findings.push(Finding::of_row(&self.file.path, line, None, problem));
            }
        }
    }

    fn problem(&mut self, line: u64, origin: &Origin) -> Option<Problem> {
        let offset = origin.offset.0;
        if origin.topic.as_str() != self.file.topic || origin.partition.0 != self.file.partition {
            return Some(Problem::RowForeign);
        }
        if let Some(first) = self.seen.insert((offset, origin.index), line) {
            return Some(Problem::RowTwice(first));
        }
        if self.earlier.contains(offset) {
            return Some(Problem::RowHeldEarlier);
        }
        self.claimed
            .as_ref()
            .is_some_and(|claimed| !claimed.contains(offset))
            .then_some(Problem::RowUnclaimed)
    }
}

/// A line as JSON, and whose row it is.
pub(crate) fn parse(bytes: &[u8]) -> Result<(&str, Origin), String> {
    let Some(bytes) = bytes.strip_suffix(b"\n") else { return Err("it has no end".into()) };
    let json = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let parsed: OriginOnly<'_> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let origin = parsed.origin.ok_or("it has no _origin")?;
    Ok((json, origin.parse().map_err(|_| "its _origin is none".to_owned())?))
}
