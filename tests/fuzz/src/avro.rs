//! Avro in the Confluent wire format, by the schemas of the repository and by awkward ones.
//!
//! The first byte chooses the schema; the rest is the datum.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use longshore_codec::json::Limits;
use longshore_codec::{AvroReader, AvroWriter, Store};
use longshore_core::Value;

const LIMITS: Limits = Limits { depth: 32, bytes: 1 << 16, values: 1_000 };

static STORES: LazyLock<[Arc<Store>; 2]> = LazyLock::new(|| {
    ["../../schemas", "schemas"].map(|folder| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        Arc::new(Store::load(&folder).expect("the schemas are sound"))
    })
});

/// See the module.
pub fn run(data: &[u8]) {
    let Some((choice, datum)) = data.split_first() else { return };
    let store = &STORES[usize::from(choice & 1)];
    let reader = AvroReader::new(Arc::clone(store), None);
    let wire = |datum: &[u8]| [&[0, 0, 0, 0, choice >> 1][..], datum].concat();
    if let Err(failure) = reader.read(&wire(&crate::planted(datum)), &LIMITS) {
        crate::judge(&failure);
    }
    let value = match reader.read(&wire(datum), &LIMITS) {
        Ok(value) => value,
        Err(failure) => return crate::judge(&failure),
    };
    let count = crate::json::count(&value);
    assert!(count <= LIMITS.values as usize * 2, "{count} values");
    let mut text = Vec::new();
    value.write_json(&mut text).expect("what is read can be said in JSON");
    serde_json::from_slice::<serde::de::IgnoredAny>(&text).expect("JSON");
    let entry = store.by_id(u32::from(choice >> 1)).expect("it was read by it");
    let (Some(writer), Value::Object(fields)) = (AvroWriter::newest(store, entry.subject()), &value) else {
        return;
    };
    if store.newest(entry.subject()).map(|newest| newest.id()) != Some(entry.id()) {
        return;
    }
    // A value that was read by a schema can be written by it, and reads the same; what only another branch of a union could say is refused.
    let mut written = Vec::new();
    match writer.write_fields(fields, &mut written) {
        Ok(()) => {
            let again = reader.read(&written, &LIMITS).expect("ours");
            let mut second = Vec::new();
            if let Value::Object(fields) = &again {
                writer.write_fields(fields, &mut second).expect("it was written before");
            }
            assert_eq!(second, written, "writing is not stable");
        }
        Err(failure) => crate::judge(&failure),
    }
}
