//! Every example in the documentation is a pipeline without mistakes.

use std::path::PathBuf;

use longshore_settings::{Sources, load};

#[test]
fn every_example_passes() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            if let Err(report) = load(Sources::file(&path)) {
                panic!("{report}");
            }
            count += 1;
        }
    }
    assert!(count >= 2);
}
