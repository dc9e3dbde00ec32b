//! Levels as the sources write them, and OpenTelemetry's numbers for them.

use compact_str::{CompactString, ToCompactString};
use longshore_core::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const TRACE: u8 = 1;
const DEBUG: u8 = 5;
const DEBUG2: u8 = 6;
const DEBUG3: u8 = 7;
const INFO: u8 = 9;
const INFO2: u8 = 10;
const WARN: u8 = 13;
const ERROR: u8 = 17;
const ERROR2: u8 = 18;
const ERROR3: u8 = 19;
const FATAL: u8 = 21;

/// The largest number of the model.
const LARGEST: u8 = 24;

/// The longest word that names a level, bytes.
const WORD_MAX: usize = 16;

/// What a level that is a number means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Numbers {
    /// 0 to 7 as in syslog (RFC 5424), 10 to 60 as pino and bunyan count.
    #[default]
    Auto,
    /// 1 (trace) to 24 (fatal), as in the log data model.
    Otel,
    /// 0 (emergency) to 7 (debug), RFC 5424.
    Syslog,
    /// 10 (trace) to 60 (fatal).
    Pino,
    /// 10 (debug) to 50 (critical), the `logging` module.
    Python,
}

/// A number of the model, as its own field `severity_number` holds it. 0 is "not known".
pub(super) fn of_model(number: i64) -> Option<u8> {
    u8::try_from(number).ok().filter(|number| *number <= LARGEST)
}

/// The text to keep and the number it stands for; none when the value is no level at all.
pub(super) fn text_and_number(value: &Value, numbers: Numbers) -> Option<(CompactString, Option<u8>)> {
    match value {
        Value::Text(text) => {
            let number = of_word(text).or_else(|| of_number(text.trim().parse().ok()?, numbers));
            Some((text.clone(), number))
        }
        Value::Int(level) => Some((level.to_compact_string(), of_number(*level, numbers))),
        Value::Null
        | Value::Bool(_)
        | Value::UInt(_)
        | Value::Float(_)
        | Value::Number(_)
        | Value::Bytes(_)
        | Value::Array(_)
        | Value::Object(_) => None,
    }
}

/// The number of a level that is a number.
fn of_number(level: i64, numbers: Numbers) -> Option<u8> {
    match numbers {
        Numbers::Auto => of_syslog(level).or_else(|| of_pino(level)),
        Numbers::Otel => of_model(level).filter(|number| *number > 0),
        Numbers::Syslog => of_syslog(level),
        Numbers::Pino => of_pino(level),
        Numbers::Python => of_python(level),
    }
}

/// RFC 5424, section 6.2.1, with the numbers of the log data model's appendix B.
fn of_syslog(level: i64) -> Option<u8> {
    Some(match level {
        0 => FATAL,
        1 => ERROR3,
        2 => ERROR2,
        3 => ERROR,
        4 => WARN,
        5 => INFO2,
        6 => INFO,
        7 => DEBUG,
        _ => return None,
    })
}

/// <https://github.com/trentm/node-bunyan#levels>; levels between two named ones count as the lower.
fn of_pino(level: i64) -> Option<u8> {
    Some(match level {
        10..20 => TRACE,
        20..30 => DEBUG,
        30..40 => INFO,
        40..50 => WARN,
        50..60 => ERROR,
        60..=100 => FATAL,
        _ => return None,
    })
}

/// <https://docs.python.org/3/library/logging.html#logging-levels>; levels between two named ones count as the lower.
fn of_python(level: i64) -> Option<u8> {
    Some(match level {
        1..10 => TRACE,
        10..20 => DEBUG,
        20..30 => INFO,
        30..40 => WARN,
        40..50 => ERROR,
        50..=100 => ERROR2,
        _ => return None,
    })
}

/// The log data model's appendix B, the model's own short names, and abbreviations seen in the wild.
fn of_word(text: &str) -> Option<u8> {
    let text = text.trim();
    let mut buffer = [0u8; WORD_MAX];
    let word = buffer.get_mut(..text.len())?;
    word.copy_from_slice(text.as_bytes());
    word.make_ascii_lowercase();
    Some(match &*word {
        b"trace" | b"trc" | b"finest" | b"t" => TRACE,
        b"trace2" => TRACE + 1,
        b"trace3" => TRACE + 2,
        b"trace4" => TRACE + 3,
        b"debug" | b"dbg" | b"verbose" | b"finer" | b"d" => DEBUG,
        b"debug2" | b"fine" => DEBUG2,
        b"debug3" | b"config" => DEBUG3,
        b"debug4" => DEBUG3 + 1,
        b"info" | b"inf" | b"information" | b"informational" | b"i" => INFO,
        b"info2" | b"notice" => INFO2,
        b"info3" => INFO2 + 1,
        b"info4" => INFO2 + 2,
        b"warn" | b"warning" | b"wrn" | b"w" => WARN,
        b"warn2" => WARN + 1,
        b"warn3" => WARN + 2,
        b"warn4" => WARN + 3,
        b"error" | b"err" | b"severe" | b"e" => ERROR,
        b"error2" | b"critical" | b"crit" | b"dpanic" | b"c" => ERROR2,
        b"error3" | b"alert" | b"panic" => ERROR3,
        b"error4" => ERROR3 + 1,
        b"fatal" | b"ftl" | b"emergency" | b"emerg" | b"f" => FATAL,
        b"fatal2" => FATAL + 1,
        b"fatal3" => FATAL + 2,
        b"fatal4" => LARGEST,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: &Value, numbers: Numbers) -> Option<u8> {
        text_and_number(value, numbers)?.1
    }

    /// Every cell of the data model's appendix B that is a word of its own, and what our sources add.
    #[test]
    fn words() {
        for (words, expected) in [
            ("TRACE FINEST trace t", 1),
            ("Debug VERBOSE DEBUG FINER dbg", 5),
            ("FINE DEBUG2", 6),
            ("CONFIG DEBUG3", 7),
            ("Informational Information INFO info I", 9),
            ("Notice INFO2", 10),
            ("Warning WARN warn W", 13),
            ("Error ERROR SEVERE err E", 17),
            ("Critical DPanic crit", 18),
            ("Alert panic", 19),
            ("Emergency FATAL Fatal emerg F", 21),
            ("FATAL4", 24),
        ] {
            for word in words.split(' ') {
                assert_eq!(number(&Value::from(word), Numbers::Auto), Some(expected), "{word}");
            }
        }
        for word in ["", "loud", "informationalissimo", "ï", "INFOS", "warn5"] {
            assert_eq!(number(&Value::from(word), Numbers::Auto), None, "{word}");
        }
    }

    #[test]
    fn numbers_by_their_source() {
        for (numbers, level, expected) in [
            (Numbers::Auto, 0, Some(21)),
            (Numbers::Auto, 3, Some(17)),
            (Numbers::Auto, 7, Some(5)),
            (Numbers::Auto, 10, Some(1)),
            (Numbers::Auto, 30, Some(9)),
            (Numbers::Auto, 35, Some(9)),
            (Numbers::Auto, 60, Some(21)),
            (Numbers::Auto, 8, None),
            (Numbers::Auto, -1, None),
            (Numbers::Auto, 1000, None),
            (Numbers::Syslog, 30, None),
            (Numbers::Pino, 3, None),
            (Numbers::Python, 10, Some(5)),
            (Numbers::Python, 30, Some(13)),
            (Numbers::Python, 50, Some(18)),
            (Numbers::Otel, 17, Some(17)),
            (Numbers::Otel, 25, None),
            (Numbers::Otel, 0, None),
        ] {
            assert_eq!(number(&Value::Int(level), numbers), expected, "{numbers:?} {level}");
            assert_eq!(
                number(&Value::from(level.to_string().as_str()), numbers),
                expected,
                "{numbers:?} text {level}"
            );
        }
    }

    #[test]
    fn the_text_stays_as_it_was_written() {
        assert_eq!(text_and_number(&Value::from("WaRn "), Numbers::Auto), Some(("WaRn ".into(), Some(13))));
        assert_eq!(text_and_number(&Value::Int(30), Numbers::Auto), Some(("30".into(), Some(9))));
        assert_eq!(text_and_number(&Value::from("loud"), Numbers::Auto), Some(("loud".into(), None)));
        assert_eq!(text_and_number(&Value::Bool(true), Numbers::Auto), None);
    }
}
