//! JSON of records.

use longshore_codec::json::{Limits, parse};
use longshore_core::Value;

const LIMITS: Limits = Limits { depth: 64, bytes: 1 << 13, values: 1_000 };

/// See the module.
pub fn run(data: &[u8]) {
    if let Err(failure) = parse(&crate::planted(data), &LIMITS) {
        crate::judge(&failure);
    }
    let Ok(value) = parse(data, &LIMITS) else { return };
    assert!(data.len() <= LIMITS.bytes);
    assert!(count(&value) <= LIMITS.values as usize + 1, "{} values", count(&value));
    // Whatever is read is JSON to others as well.
    serde_json::from_slice::<serde::de::IgnoredAny>(data).expect("others cannot read it");
    let mut written = Vec::new();
    value.write_json(&mut written).expect("JSON has no float that it cannot say");
    assert_eq!(parse(&written, &LIMITS).expect("ours"), value, "{}", String::from_utf8_lossy(&written));
    let mut again = Vec::new();
    parse(&written, &LIMITS).expect("ours").write_json(&mut again).expect("as above");
    assert_eq!(again, written);
}

/// How many values there are in one.
pub fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(count).sum(),
        Value::Object(map) => map.iter().map(|(_, value)| count(value)).sum(),
        _ => 0,
    }
}
