//! Scenario: files with known mistakes, `cases/NAME.yaml`. Guarantee: the report is exactly `cases/NAME.txt`, every mistake
//! in it, in the order of the file. `UPDATE_EXPECT=1` writes the reports anew, for a person to read.

use std::path::PathBuf;

use longshore_settings::{Code, Sources, load};

use crate::{GOOD, variables};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn report(name: &str) -> longshore_settings::Report {
    let text = std::fs::read(folder().join(name).with_extension("yaml")).unwrap();
    let environment = variables(&[("KAFKA_HOST", "kafka"), ("HOME", "/nowhere")]);
    load(Sources::text(format!("{name}.yaml"), text).environment(environment)).unwrap_err()
}

#[test]
fn every_broken_file_has_its_report() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "yaml")) {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let found = report(&name).render(false);
        let expected_file = file.with_extension("txt");
        if update {
            std::fs::write(&expected_file, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&expected_file).unwrap_or_default();
        if found != expected {
            wrong.push(format!("--- {name}: expected\n{expected}\n--- found\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn five_mistakes_are_five_findings_in_order() {
    let lines = report("five-mistakes").lines();
    let found: Vec<_> =
        lines.iter().map(|line| (line.code, line.line.unwrap(), line.path.as_str())).collect();
    let expected = [
        (Code::UnknownWord, 2, "kind"),
        (Code::UnknownField, 4, "input.oder"),
        (Code::Expression, 6, "steps[0].filter.drop"),
        (Code::Value, 8, "sinks[0].files.roll.bytes"),
        (Code::Conflict, 9, "limits.drain"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_report_is_json_for_scripts() {
    let json = serde_json::to_value(report("five-mistakes").lines()).unwrap();
    assert_eq!(json[1]["code"], "unknown-field");
    assert_eq!(json[1]["source"], "five-mistakes.yaml");
    assert_eq!(json[1]["line"], 4);
    assert_eq!(json[1]["column"], 30);
}

#[test]
fn a_mistake_in_an_override_is_blamed_on_it() {
    let sources = Sources::text("good.yaml", GOOD)
        .environment(variables(&[("LONGSHORE_LIMITS__MEMORY", "lots"), ("LONGSHORE_KAFKA__BROKRES", "x:1")]))
        .set(["sinks.0.files.paht=x", "sinks.7.topic.name=x", "limits", "limits.drain=soon"]);
    let found = load(sources).unwrap_err().render(false);
    for expected in [
        "LONGSHORE_LIMITS__MEMORY=lots",
        "did you mean `brokers`?",
        "there is no `sinks[0].files.paht`",
        "`sinks` has 2 entries, there is no number 7",
        "expected NAME=VALUE",
        "limits.drain=soon",
    ] {
        assert!(found.contains(expected), "{expected} is not in\n{found}");
    }
}

/// The published schema is the one the code has.
#[test]
fn the_published_schema_is_this_one() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/pipeline.schema.json");
    let schema = format!("{}\n", serde_json::to_string_pretty(&longshore_settings::schema()).unwrap());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &schema).unwrap();
    }
    assert!(
        std::fs::read_to_string(file).unwrap_or_default() == schema,
        "run with UPDATE_EXPECT=1 and commit the result"
    );
}

#[test]
fn the_json_schema_names_every_section() {
    let schema = longshore_settings::schema();
    for section in
        ["pipeline", "kind", "kafka", "input", "steps", "sinks", "failure", "limits", "http", "telemetry"]
    {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
    assert_eq!(schema["additionalProperties"], false);
}
