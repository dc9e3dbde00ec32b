//! The small texts of settings and commands: sizes, spans, shares, starts, addresses, places of records, sets of runs.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use longshore_core::human::{Bytes, Share, Span};
use longshore_core::letter::Place;
use longshore_core::{Origin, RunSet};
use longshore_settings::{Listen, Start};

/// See the module.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    round::<Bytes>(text);
    round::<Span>(text);
    round::<Share>(text);
    round::<Start>(text);
    round::<Listen>(text);
    round::<Origin>(text);
    if let Some(place) = Place::parse(text) {
        assert_eq!(text.parse::<Origin>(), Ok(place.to_origin()), "two readers of one form");
    }
    if let Ok(runs) = serde_json::from_str::<RunSet>(text) {
        let pairs: Vec<(i64, i64)> = runs.iter().map(|(first, end)| (first.0, end.0)).collect();
        assert!(pairs.iter().all(|(first, end)| 0 <= *first && first < end));
        assert!(pairs.windows(2).all(|two| two[0].1 < two[1].0), "{pairs:?}");
        assert_eq!(runs.len(), pairs.iter().map(|(first, end)| (end - first) as u64).sum::<u64>());
        let written = serde_json::to_string(&runs).expect("JSON");
        assert_eq!(serde_json::from_str::<RunSet>(&written).expect("ours"), runs);
        assert_eq!(RunSet::collect(pairs), runs);
    }
}

/// What is read is written as a text that reads the same, and that is written the same.
fn round<T: FromStr + Display + Debug + PartialEq>(text: &str)
where
    T::Err: Display,
{
    match text.parse::<T>() {
        Ok(value) => {
            let written = value.to_string();
            let Ok(again) = written.parse::<T>() else {
                panic!("{value:?} of {text:?} is written {written:?}, which is none")
            };
            assert_eq!(again, value, "{text:?} is written {written:?}");
            assert_eq!(again.to_string(), written);
        }
        Err(error) => assert!(error.to_string().len() <= 256, "{error}"),
    }
}
