//! Gathering the fields of an object: duplicates found in constant time, one allocation for the final list.

use std::collections::HashMap;

use compact_str::CompactString;
use longshore_core::{Map, Value};

use super::SCRATCH;

/// From this many fields on, names are looked up in a hash map; below, a scan over fingerprints is quicker.
const SCAN_FIELDS: usize = 32;

/// The most entries that a thread keeps allocated between two payloads.
const KEPT_ENTRIES: usize = 4096;

/// Lists that all levels of one descent share as stacks: each level takes its own end off when it is finished.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) items: Vec<Value>,
    pub(super) fields: Vec<(CompactString, Value)>,
    prints: Vec<u64>,
}

impl Scratch {
    /// Leaves the lists to the next payload on this thread, unless a huge one has grown them.
    pub(super) fn give_back(&mut self) {
        let mut scratch = std::mem::take(self);
        if scratch.items.capacity().max(scratch.fields.capacity()) <= KEPT_ENTRIES {
            scratch.items.clear();
            scratch.fields.clear();
            scratch.prints.clear();
            SCRATCH.set(Some(scratch));
        }
    }
}

/// The fields of one object while it is read.
pub(super) struct Fields {
    start: usize,
    print_start: usize,
    /// Places by name, once there are too many to scan: without it a hostile object costs the square of its length.
    places: Option<HashMap<CompactString, usize>>,
}

impl Fields {
    /// An object that begins where the scratch lists end.
    pub(super) fn begin(scratch: &Scratch) -> Self {
        Self { start: scratch.fields.len(), print_start: scratch.prints.len(), places: None }
    }

    /// Makes room for a field and tells its place, for the value that is read next; a name seen before keeps its place.
    pub(super) fn begin_field(&mut self, scratch: &mut Scratch, name: &str) -> usize {
        match self.place(scratch, name) {
            Some(place) => place,
            None => {
                scratch.fields.push((CompactString::new(name), Value::Null));
                scratch.fields.len() - 1
            }
        }
    }

    /// The place of a known name; a new one is noted.
    fn place(&mut self, scratch: &mut Scratch, name: &str) -> Option<usize> {
        let next = scratch.fields.len();
        if let Some(places) = &mut self.places {
            let place = *places.entry(name.into()).or_insert(next);
            return (place != next).then_some(place);
        }
        let print = fingerprint(name.as_bytes());
        if scratch.prints[self.print_start..].contains(&print) {
            let known = scratch.fields[self.start..].iter().position(|(known, _)| known == name);
            if let Some(place) = known {
                return Some(self.start + place);
            }
        }
        scratch.prints.push(print);
        if next - self.start >= SCAN_FIELDS {
            let names = scratch.fields[self.start..].iter().map(|(name, _)| name.clone());
            let mut places: HashMap<_, _> = names.zip(self.start..).collect();
            places.insert(name.into(), next);
            self.places = Some(places);
        }
        None
    }

    /// Takes the fields off the scratch list.
    pub(super) fn finish(self, scratch: &mut Scratch) -> Map {
        scratch.prints.truncate(self.print_start);
        Map::from_fields(scratch.fields.split_off(self.start))
    }
}

/// Length and ends of a name in one word. Different names may share one, so a match is looked at closely.
fn fingerprint(name: &[u8]) -> u64 {
    let head = name.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    let tail = name.last_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    let (Some(head), Some(tail)) = (head, tail) else {
        let short = name.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        return short << 8 | name.len() as u64;
    };
    head.rotate_left(29)
        .wrapping_add(tail)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(name.len() as u64)
}
