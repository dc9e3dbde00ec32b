//! Sets of scattered offsets, kept small.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metadata::wire;
use crate::{Offset, RunSet};

/// So many offsets share a page; the low bits of an offset are its place there.
const PAGE_BITS: u32 = 16;
/// So many 64-bit words hold one bit for each place of a page.
const WORDS: usize = 1 << (PAGE_BITS - 6);
/// A list of more places than this would be no smaller than the bits of the whole page.
const LONGEST_LIST: usize = WORDS * 4 - 1;

/// A set of offsets that lie anywhere: two bytes an offset where few of them share a page of 65,536, and never more
/// than 8 KiB a page (a quarter of a byte each when every other offset is in the set). [`RunSet`] is the better
/// one where most neighbours are in the set; here, neighbours cost as much as strangers.
///
/// Serialised as a map from page number to base64 of the page, rising; reading refuses what writing never makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OffsetPages {
    pages: BTreeMap<i64, Page>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Page {
    /// The places, rising; never empty, at most [`LONGEST_LIST`].
    List(Vec<u16>),
    /// A bit for each place; more than [`LONGEST_LIST`] of them unless some were removed.
    Bits(Box<[u64; WORDS]>),
}

impl OffsetPages {
    /// Adds an offset; true when it was not there.
    pub(crate) fn insert(&mut self, offset: Offset) -> bool {
        let (page, place) = split(offset.0);
        self.pages.entry(page).or_insert_with(|| Page::List(Vec::new())).insert(place)
    }

    /// Takes an offset out; true when it was there.
    pub(crate) fn remove(&mut self, offset: Offset) -> bool {
        let (number, place) = split(offset.0);
        let Some(page) = self.pages.get_mut(&number) else { return false };
        let removed = page.remove(place);
        if page.is_empty() {
            self.pages.remove(&number);
        }
        removed
    }

    pub(crate) fn contains(&self, offset: Offset) -> bool {
        let (page, place) = split(offset.0);
        self.pages.get(&page).is_some_and(|page| page.contains(place))
    }

    /// The offsets in `[first, end)`, rising.
    pub(crate) fn within(&self, first: Offset, end: Offset) -> impl Iterator<Item = Offset> + '_ {
        let last = end.0.max(first.0);
        let pages = self.pages.range(first.0 >> PAGE_BITS..=last >> PAGE_BITS);
        pages
            .flat_map(move |(number, page)| {
                let base = number << PAGE_BITS;
                let place = |offset: i64| offset.saturating_sub(base).clamp(0, 1 << PAGE_BITS) as u32;
                let (low, high) = (place(first.0), place(last));
                page.within(low, high).map(move |place| base + i64::from(place))
            })
            .map(Offset)
    }

    /// All offsets, rising.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Offset> + '_ {
        self.within(Offset(i64::MIN), Offset(i64::MAX))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The part of `runs` that is in the set.
    pub(crate) fn common(&self, runs: &RunSet) -> RunSet {
        let found = runs.iter().flat_map(|(first, end)| self.within(first, end));
        RunSet::collect(found.map(|offset| (offset.0, offset.0 + 1)).collect())
    }

    /// What lies on the heap, in bytes, less the map's own nodes.
    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        let page = |page: &Page| match page {
            Page::List(places) => places.capacity() * 2,
            Page::Bits(_) => WORDS * 8,
        };
        self.pages.values().map(|each| page(each) + size_of::<(i64, Page)>()).sum()
    }
}

impl Page {
    fn insert(&mut self, place: u16) -> bool {
        match self {
            Self::List(places) => {
                // They come rising, most of the time.
                let at = match places.last() {
                    Some(last) if *last < place => places.len(),
                    _ => match places.binary_search(&place) {
                        Ok(_) => return false,
                        Err(at) => at,
                    },
                };
                if places.len() < LONGEST_LIST {
                    places.insert(at, place);
                } else {
                    let mut bits = Box::new([0; WORDS]);
                    places.iter().chain([&place]).for_each(|place| set(&mut bits, *place));
                    *self = Self::Bits(bits);
                }
                true
            }
            Self::Bits(bits) => {
                let new = !is_set(bits, place);
                set(bits, place);
                new
            }
        }
    }

    fn remove(&mut self, place: u16) -> bool {
        match self {
            Self::List(places) => places.binary_search(&place).map(|at| places.remove(at)).is_ok(),
            Self::Bits(bits) => {
                let was = is_set(bits, place);
                bits[usize::from(place >> 6)] &= !(1 << (place & 63));
                was
            }
        }
    }

    fn contains(&self, place: u16) -> bool {
        match self {
            Self::List(places) => places.binary_search(&place).is_ok(),
            Self::Bits(bits) => is_set(bits, place),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::List(places) => places.is_empty(),
            Self::Bits(bits) => bits.iter().all(|word| *word == 0),
        }
    }

    /// The places in `[low, high)`, rising; both at most the page's width.
    fn within(&self, low: u32, high: u32) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::List(places) => {
                let at = |bound: u32| places.partition_point(|place| u32::from(*place) < bound);
                let (from, to) = (at(low), at(high.max(low)));
                Box::new(places[from..to].iter().map(|place| u32::from(*place)))
            }
            Self::Bits(bits) => {
                let first = (low >> 6) as usize;
                let words =
                    bits.iter().enumerate().skip(first).take_while(move |(at, _)| (at << 6) < high as usize);
                let places = words.flat_map(|(at, word)| {
                    let mut left = *word;
                    std::iter::from_fn(move || {
                        let bit = (left != 0).then(|| left.trailing_zeros())?;
                        left &= left - 1;
                        Some(((at as u32) << 6) + bit)
                    })
                });
                Box::new(places.skip_while(move |place| *place < low).take_while(move |place| *place < high))
            }
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::List(places) => places.iter().flat_map(|place| place.to_le_bytes()).collect(),
            Self::Bits(bits) => bits.iter().flat_map(|word| word.to_le_bytes()).collect(),
        }
    }

    /// The page again: exactly 8 KiB are bits, less is a list.
    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() == WORDS * 8 {
            let mut bits = Box::new([0; WORDS]);
            for (word, bytes) in bits.iter_mut().zip(bytes.as_chunks().0) {
                *word = u64::from_le_bytes(*bytes);
            }
            return Some(Self::Bits(bits)).filter(|page| !page.is_empty());
        }
        let (pairs, rest) = bytes.as_chunks();
        let places: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        let whole = rest.is_empty() && !places.is_empty() && places.len() <= LONGEST_LIST;
        (whole && places.windows(2).all(|two| two[0] < two[1])).then_some(Self::List(places))
    }
}

/// Page number and place; works for negative offsets as well.
fn split(offset: i64) -> (i64, u16) {
    (offset >> PAGE_BITS, (offset & 0xffff) as u16)
}

fn set(bits: &mut [u64; WORDS], place: u16) {
    bits[usize::from(place >> 6)] |= 1 << (place & 63);
}

fn is_set(bits: &[u64; WORDS], place: u16) -> bool {
    bits[usize::from(place >> 6)] >> (place & 63) & 1 == 1
}

impl Serialize for OffsetPages {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_map(self.pages.iter().map(|(number, page)| (number, wire::to_base64(&page.to_bytes()))))
    }
}

impl<'de> Deserialize<'de> for OffsetPages {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = BTreeMap::<i64, String>::deserialize(deserializer)?;
        let read = |text: &str| Page::of_bytes(&wire::from_base64(text)?);
        // A page beyond those that offsets lie in would be taken for one of them.
        let there = |number: &i64| (number << PAGE_BITS) >> PAGE_BITS == *number;
        let pages = texts.into_iter().map(|(number, text)| Some((Some(number).filter(there)?, read(&text)?)));
        let pages = pages.collect::<Option<_>>();
        Ok(Self { pages: pages.ok_or_else(|| serde::de::Error::custom("no page of offsets"))? })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Offsets that crowd some pages beyond what a list holds, and leave others nearly empty.
    fn blocks() -> impl Strategy<Value = Vec<(bool, i64, i64, i64)>> {
        let block = (any::<bool>(), -70_000..200_000i64, 1..9_000i64, 1..4i64);
        proptest::collection::vec(block, 0..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Scenario: blocks of offsets come and go. Guarantee: the set is what a plain one would be, by every question,
        /// and also after it was written and read.
        #[test]
        fn agrees_with_a_plain_set(blocks in blocks(), first in -80_000..210_000i64, len in 0..100_000i64) {
            let (mut pages, mut plain) = (OffsetPages::default(), BTreeSet::new());
            for (add, first, count, step) in blocks {
                for offset in (0..count).map(|at| first + at * step) {
                    if add {
                        prop_assert_eq!(pages.insert(Offset(offset)), plain.insert(offset));
                    } else {
                        prop_assert_eq!(pages.remove(Offset(offset)), plain.remove(&offset));
                    }
                }
            }
            prop_assert!(pages.iter().map(|offset| offset.0).eq(plain.iter().copied()));
            let inside = pages.within(Offset(first), Offset(first + len)).map(|offset| offset.0);
            prop_assert!(inside.eq(plain.range(first..first + len).copied()));
            for offset in [first, first + 1, first + len] {
                prop_assert_eq!(pages.contains(Offset(offset)), plain.contains(&offset));
            }
            let read: OffsetPages = serde_json::from_str(&serde_json::to_string(&pages).unwrap()).unwrap();
            prop_assert!(read.iter().eq(pages.iter()));
        }
    }

    /// Guarantee: a page is what it was after it was written and read, with as many places as a list holds, one less and one more, and with all of
    /// them; and it stays until its last place is taken out.
    #[test]
    fn a_page_is_whole_at_the_edges_of_its_forms() {
        for count in [4_095, 4_096, 4_097, 1 << PAGE_BITS] {
            let mut pages = OffsetPages::default();
            (0..count).for_each(|offset| assert!(pages.insert(Offset(offset))));
            let read: OffsetPages = serde_json::from_str(&serde_json::to_string(&pages).unwrap()).unwrap();
            assert!(read.iter().map(|offset| offset.0).eq(0..count), "{count}");
            for offset in 1..count {
                assert!(pages.remove(Offset(offset)), "{offset} of {count}");
            }
            assert!(pages.contains(Offset(0)) && pages.remove(Offset(0)) && pages.is_empty(), "{count}");
        }
    }

    /// Guarantee: of both forms of a page a range begins at its beginning and ends before its end.
    #[test]
    fn a_range_ends_before_its_end() {
        for count in [100, 5_000] {
            let mut pages = OffsetPages::default();
            (0..count).for_each(|offset| assert!(pages.insert(Offset(offset))));
            for (first, end) in [(3, 7), (60, 64), (63, 66), (64, 64)] {
                let found = pages.within(Offset(first), Offset(end)).map(|offset| offset.0);
                assert!(found.eq(first..end), "{first} to {end} of {count}");
            }
        }
    }

    /// Guarantee: two bytes an offset where few of them share a page, and 8 KiB a page at most.
    #[test]
    fn a_page_takes_no_more_than_it_says() {
        let mut pages = OffsetPages::default();
        (0..100).for_each(|at| assert!(pages.insert(Offset(at * 600))));
        assert!(pages.heap_bytes() < 400, "{} bytes for a hundred", pages.heap_bytes());
        (0..1_500).for_each(|at| assert!(pages.insert(Offset(at * 40 + 1))));
        assert!(pages.heap_bytes() < 4_300, "{} bytes for 1,600", pages.heap_bytes());
        for offset in 0..1 << PAGE_BITS {
            pages.insert(Offset(offset));
        }
        assert!(pages.heap_bytes() < 8_300, "{} bytes for all", pages.heap_bytes());
    }

    #[test]
    fn reading_refuses_what_is_no_page() {
        for bad in [
            r#"{"0":""}"#,
            r#"{"0":"AA"}"#,
            r#"{"0":"AQAAAA"}"#,
            r#"{"0":"AQABAA"}"#,
            r#"{"x":"AQA"}"#,
            r#"{"281474976710656":"AQA"}"#,
        ] {
            assert!(serde_json::from_str::<OffsetPages>(bad).is_err(), "{bad}");
        }
        let good: OffsetPages = serde_json::from_str(r#"{"0":"AQACAA"}"#).unwrap();
        assert!(good.iter().eq([Offset(1), Offset(2)]));
    }
}
