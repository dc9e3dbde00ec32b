//! The pipeline file.

use longshore_settings::{DumpFormat, Loaded, Report, Sources, load};

/// See the module. A variable holds a secret, which no report and no dump may show (I10).
pub fn run(data: &[u8]) {
    let secret = [("SECRET".to_owned(), crate::PLANTED.to_owned()), ("PORT".to_owned(), "9092".to_owned())];
    // Files that a text names are not looked at: it may name any.
    let loaded = load(Sources::text("pipeline.yaml", data).environment(secret.clone()).without_secrets());
    match &loaded {
        Ok(loaded) => accepted(loaded),
        Err(report) => refused(report),
    }
    if data.windows(7).any(|part| part == b"${file:") {
        return;
    }
    match load(Sources::text("pipeline.yaml", data).environment(secret)) {
        Ok(loaded) => accepted(&loaded),
        Err(report) => refused(&report),
    }
}

fn accepted(loaded: &Loaded) {
    let (yaml, json) = (loaded.dump(DumpFormat::Yaml), loaded.dump(DumpFormat::Json));
    for shown in [&yaml, &json, &format!("{loaded:?}")] {
        assert!(!shown.contains(crate::PLANTED), "a secret is shown");
    }
    serde_json::from_str::<serde::de::IgnoredAny>(&json).expect("a dump in JSON is JSON");
    // What is hidden cannot be loaded again; all else can, and is the same pipeline.
    if yaml.contains("***") || !loaded.references().is_empty() {
        return;
    }
    let again = match load(Sources::text("dump.yaml", yaml.as_bytes())) {
        Ok(again) => again,
        Err(report) => panic!("a dump cannot be loaded:\n{report}\n{yaml}"),
    };
    assert_eq!(again.fingerprint(), loaded.fingerprint(), "{yaml}");
    assert_eq!(again.dump(DumpFormat::Yaml), yaml);
}

fn refused(report: &Report) {
    assert!(!report.is_empty());
    let shown = report.to_string();
    assert!(!shown.contains(crate::PLANTED), "a secret is shown");
    assert_eq!(report.lines().len(), report.len());
}
