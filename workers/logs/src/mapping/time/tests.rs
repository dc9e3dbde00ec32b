use super::*;
use proptest::prelude::*;

fn read(value: &Value) -> Option<i64> {
    TimeReader::new(&[]).unwrap().nanos(value)
}

/// 2024-02-29T13:14:15Z in seconds.
const LEAP_DAY: i64 = 1_709_212_455;

#[test]
fn texts_that_are_times() {
    for (text, nanos) in [
        ("2024-02-29T13:14:15Z", LEAP_DAY * 1_000_000_000),
        ("2024-02-29t13:14:15z", LEAP_DAY * 1_000_000_000),
        ("2024-02-29 13:14:15Z", LEAP_DAY * 1_000_000_000),
        ("2024-02-29T13:14:15.123Z", LEAP_DAY * 1_000_000_000 + 123_000_000),
        ("2024-02-29T13:14:15.123456789Z", LEAP_DAY * 1_000_000_000 + 123_456_789),
        ("2024-02-29T15:14:15+02:00", LEAP_DAY * 1_000_000_000),
        ("2024-02-29T15:14:15.5+0200", LEAP_DAY * 1_000_000_000 + 500_000_000),
        (" 2024-02-29T13:14:15Z ", LEAP_DAY * 1_000_000_000),
        ("2024-02-29T13:14:15", LEAP_DAY * 1_000_000_000),
        ("2024-02-29 13:14:15,123", LEAP_DAY * 1_000_000_000 + 123_000_000),
        ("29/Feb/2024:13:14:15 +0000", LEAP_DAY * 1_000_000_000),
        ("[29/Feb/2024:08:14:15 -0500]", LEAP_DAY * 1_000_000_000),
        ("20240229T131415Z", LEAP_DAY * 1_000_000_000),
        ("20240229T131415", LEAP_DAY * 1_000_000_000),
        ("1709212455", LEAP_DAY * 1_000_000_000),
        ("1709212455.25", LEAP_DAY * 1_000_000_000 + 250_000_000),
        ("1709212455123", LEAP_DAY * 1_000_000_000 + 123_000_000),
        ("1970-01-01T00:00:00Z", 0),
        ("2262-04-11T23:47:16.854775807Z", i64::MAX),
    ] {
        assert_eq!(read(&Value::from(text)), Some(nanos), "{text}");
    }
}

#[test]
fn numbers_count_in_the_unit_of_their_size() {
    for value in [
        Value::Int(LEAP_DAY),
        Value::Int(LEAP_DAY * 1_000),
        Value::Int(LEAP_DAY * 1_000_000),
        Value::Int(LEAP_DAY * 1_000_000_000),
        Value::UInt(LEAP_DAY as u64 * 1_000_000_000),
        Value::Float(LEAP_DAY as f64),
        Value::Number("1709212455.000".into()),
    ] {
        assert_eq!(read(&value), Some(LEAP_DAY * 1_000_000_000), "{value:?}");
    }
    assert_eq!(read(&Value::Float(1_709_212_455.123_456)), Some(LEAP_DAY * 1_000_000_000 + 123_456_000));
    assert_eq!(read(&Value::Float(1_709_212_455_123.5)), Some(LEAP_DAY * 1_000_000_000 + 123_500_000));
    assert_eq!(
        read(&Value::Number("1709212455.1234567890123".into())),
        Some(LEAP_DAY * 1_000_000_000 + 123_456_789)
    );
}

/// Scenario: what stands in a time field and is none. Guarantee: nobody guesses.
#[test]
fn what_is_no_time_is_none() {
    for text in [
        "",
        "soon",
        "2024-02-30T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-02-29T24:00:00Z",
        "2024-02-29T23:60:00Z",
        "2024-02-29T13:14:15.Z",
        "1969-12-31T23:59:59Z",
        "2300-01-01T00:00:00Z",
        "20240229",
        "2024-02-29",
        "12:30",
        "99999999999999999999",
        "1e9",
        "-1709212455",
        "1709212455.1.2",
        "۱۷۰۹۲۱۲۴۵۵",
    ] {
        assert_eq!(read(&Value::from(text)), None, "{text}");
    }
    for value in [
        Value::Int(-5),
        Value::Int(12_345),
        Value::Float(f64::MAX),
        Value::Float(-1.5),
        Value::Bool(true),
        Value::Null,
        Value::Array(vec![]),
        Value::UInt(u64::MAX),
        Value::Number("1.7e9".into()),
    ] {
        assert_eq!(read(&value), None, "{value:?}");
    }
}

#[test]
fn own_patterns_come_first_and_are_checked() {
    let reader = TimeReader::new(&["%d.%m.%Y %H:%M:%S".into(), "%b %d %Y %I:%M:%S %p %z".into()]).unwrap();
    assert_eq!(reader.nanos(&Value::from("29.02.2024 13:14:15")), Some(LEAP_DAY * 1_000_000_000));
    assert_eq!(reader.nanos(&Value::from("Feb 29 2024 01:14:15 PM +0000")), Some(LEAP_DAY * 1_000_000_000));
    assert_eq!(reader.nanos(&Value::from("2024-02-29T13:14:15Z")), Some(LEAP_DAY * 1_000_000_000));
    for (index, broken) in ["%Y-%m-%d %H:%M:%S", "%Q!", "%"].iter().enumerate().skip(1) {
        let error = TimeReader::new(&["%Y-%m-%d %H:%M:%S".into(), (*broken).into()]).err().unwrap();
        assert_eq!(error.field, "mapping.time_formats[1]", "{index} {broken}");
    }
    assert!(TimeReader::new(&["%H:%M".into()]).is_err(), "a time of day alone is no time");
}

proptest! {
    /// The short way and the full parser agree wherever the short way answers.
    #[test]
    fn the_short_way_reads_as_the_full_parser(nanos in 0i64..=i64::MAX, digits in 0usize..=9) {
        let time = Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
        let text = format!("{time:.digits$}");
        prop_assert_eq!(of_rfc3339(&text), in_range(text.parse().unwrap()));
    }

    #[test]
    fn any_text_is_read_or_not(text in "\\PC{0,40}") {
        let _ = read(&Value::from(text.as_str()));
    }

    #[test]
    fn almost_a_time_is_read_or_not(text in "[0-9]{4}[-/.][0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}[.,]?[0-9]{0,10}[Zz+]?[0-9:]{0,5}") {
        let full = text.parse::<Timestamp>().ok().and_then(in_range);
        if let Some(short) = of_rfc3339(&text) {
            prop_assert_eq!(Some(short), full);
        }
    }
}
