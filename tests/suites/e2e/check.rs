//! `longshore check` from the outside.

use super::said::longshore;

/// Bad input: a pipeline file with two mistakes. Guarantee: `-o ndjson` is a line for each, `-o json` a list of the same, exit code 78.
#[test]
fn mistakes_are_data_in_both_forms() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.yaml");
    let sections = "pipeline: p\nkind: logs\nkafka: { brokers: 'a:1' }\ninput: { topics: [in] }\nsinks: [ { stdout: {} } ]\n";
    std::fs::write(&file, format!("{sections}limitz: 1\nhttp: {{ lisen: off }}\n")).unwrap();
    let file = file.display().to_string();
    let said = longshore(&["check", &file, "-o", "ndjson"]);
    let places: Vec<_> = said.lines().iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!((said.code, places), (78, vec!["limitz".to_owned(), "http.lisen".to_owned()]));
    assert_eq!(longshore(&["check", &file, "-o", "json"]).rows(), said.lines());
}
