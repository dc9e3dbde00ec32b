//! Fields by name from a list that may name one twice.

use std::collections::HashMap;

use compact_str::CompactString;
use longshore_core::{Map, Value};

/// Up to this many fields a scan is quicker than a hash map; beyond, a hostile map would cost the square of its length.
const SCAN_FIELDS: usize = 32;

/// Makes the map; a name that stands twice keeps its first place and its last value, as in JSON.
pub(crate) fn distinct(fields: Vec<(CompactString, Value)>) -> Map {
    if fields.len() <= SCAN_FIELDS {
        return fields.into_iter().collect();
    }
    let mut places: HashMap<CompactString, usize> = HashMap::with_capacity(fields.len());
    let mut kept: Vec<(CompactString, Value)> = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        match places.get(&name) {
            Some(place) => kept[*place].1 = value,
            None => {
                places.insert(name.clone(), kept.len());
                kept.push((name, value));
            }
        }
    }
    Map::from_fields(kept)
}
