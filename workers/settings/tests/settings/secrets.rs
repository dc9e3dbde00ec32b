//! I10: a planted secret is in no dump, no report, no Debug, wherever it came from.

use longshore_settings::{DumpFormat, Sources, load};

use crate::{GOOD, variables};

const PLANTED: &str = "planted-hunter2";

const SECURE: &str = "\
pipeline: web-logs
kind: logs
kafka:
  brokers: \"localhost:9092\"
  security:
    sasl: { mechanism: SCRAM-SHA-256, username: me, password: PASSWORD }
  client: { ssl.truststore.password: PASSWORD, linger.ms: 5 }
input: { topics: [logs.raw] }
sinks:
  - files: { path: \"${FOLDER:-out}\" }
";

#[test]
fn a_secret_is_in_no_dump_and_no_debug() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{PLANTED}\n")).unwrap();
    for password in [PLANTED.to_owned(), "${SECRET}".to_owned(), format!("${{file:{}}}", file.display())] {
        let text = SECURE.replace("PASSWORD", &format!("\"{password}\""));
        let environment = variables(&[("SECRET", PLANTED), ("FOLDER", &format!("out/{PLANTED}"))]);
        let sources = Sources::text("f", text).environment(environment);
        let loaded = load(sources.clone()).unwrap();
        let sasl = loaded.pipeline.kafka.security.sasl.clone().unwrap();
        assert_eq!(sasl.password.unwrap().expose(), PLANTED);
        let shown = [
            loaded.dump(DumpFormat::Yaml),
            loaded.dump(DumpFormat::Json),
            format!("{loaded:?} {:?} {:?} {sources:?}", loaded.pipeline, loaded.pipeline.kafka),
            serde_json::to_string(&loaded.pipeline.kafka).unwrap(),
            loaded.fingerprint(),
        ];
        for text in shown {
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert!(loaded.dump(DumpFormat::Yaml).contains("***"));
    }
}

#[test]
fn a_secret_is_in_no_report() {
    let broken = [
        // A secret of the wrong type, under an unknown name, beside a mistake on its own line, and in broken YAML.
        SECURE.replace("password: PASSWORD", &format!("password: [{PLANTED}]")),
        SECURE.replace("username: me", &format!("usrname: me, token: {PLANTED}")),
        SECURE.replace("mechanism: SCRAM-SHA-256", "mechanism: NONE").replace("PASSWORD", PLANTED),
        SECURE.replace("PASSWORD }", &format!("{PLANTED} ]")),
        SECURE.replace("\"localhost:9092\"", "\"${SECRET}\""),
        GOOD.replace("severity_number < 9", "${SECRET}"),
        GOOD.replace("logs.out", "${SECRET} ${SECRET}"),
        GOOD.replace("kind: logs", "kind: ${SECRET}"),
    ];
    for text in broken {
        let environment = variables(&[("SECRET", PLANTED)]);
        let report = load(Sources::text("f", text.clone()).environment(environment)).unwrap_err();
        let lines = serde_json::to_string(&report.lines()).unwrap();
        for shown in
            [report.render(false), report.render(true), report.to_string(), format!("{report:?}"), lines]
        {
            assert!(!shown.contains("hunter2"), "{text}\n{shown}");
        }
    }
}

#[test]
fn a_secret_in_an_override_is_in_no_report() {
    let sets = [
        format!("kafka.security.sasl={{mechanism: NONE, password: {PLANTED}}}"),
        format!("kafka.security.sasl.passwort={PLANTED}"),
        format!("kafka.client.sasl.password={PLANTED}"),
        format!("kafka.client.sasl.password.{PLANTED}"),
    ];
    for set in &sets[..3] {
        let report = load(Sources::text("f", GOOD).set([set.as_str()])).unwrap_err();
        assert!(!report.render(false).contains("hunter2"), "{}", report.render(false));
    }
    let environment = variables(&[("LONGSHORE_KAFKA__SECURITY__SASL__PASSWORD", PLANTED)]);
    let report = load(Sources::text("f", GOOD).environment(environment)).unwrap_err();
    assert!(!report.render(false).contains("hunter2"), "{}", report.render(false));
}

/// Bad input: tokens of the console that are short, long, or cannot stand in a header. Guarantee: refused, and never shown.
#[test]
fn a_token_that_is_none_is_refused() {
    let with = |token: &str| Sources::text("f", GOOD).set([format!("http.console.token={token}")]);
    for token in [
        PLANTED.to_owned(),
        format!("{PLANTED} {PLANTED}"),
        format!("{PLANTED}-\u{e4}\u{e4}"),
        PLANTED.repeat(40),
    ] {
        let report = load(with(&token)).unwrap_err().render(false);
        assert!(
            report.contains("16 to 512 visible ASCII characters") && !report.contains(PLANTED),
            "{report}"
        );
    }
    let loaded = load(with("planted-hunter2-long-enough")).unwrap();
    assert!(!loaded.dump(DumpFormat::Yaml).contains(PLANTED) && !format!("{loaded:?}").contains(PLANTED));
    let other = load(Sources::text("f", GOOD)).unwrap();
    assert_eq!(
        loaded.fingerprint(),
        other.fingerprint(),
        "what is served is no part of what is done with records"
    );
}
