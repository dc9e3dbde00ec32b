//! Precedence: `--set` over the environment over the file; variables inside texts.

use longshore_settings::model::kafka::Scalar;
use longshore_settings::{DumpFormat, Listen, Loaded, Sources, load};

use crate::{GOOD, variables};

fn loaded(sources: Sources) -> Loaded {
    load(sources).unwrap()
}

fn dumped(loaded: &Loaded) -> serde_json::Value {
    serde_json::from_str(&loaded.dump(DumpFormat::Json)).unwrap()
}

#[test]
fn set_wins_over_environment_over_file() {
    let file = format!("{GOOD}limits: {{ memory: 100MiB, drain: 10s, halt: 1m }}\n");
    let sources = Sources::text("f", file)
        .environment(variables(&[("LONGSHORE_LIMITS__MEMORY", "200MiB"), ("LONGSHORE_LIMITS__DRAIN", "20s")]))
        .set(["limits.memory=300MiB"]);
    let limits = loaded(sources).pipeline.limits;
    assert_eq!(limits.memory.to_string(), "300MiB");
    assert_eq!(limits.drain.to_string(), "20s");
    assert_eq!(limits.halt.to_string(), "1m");
}

#[test]
fn the_last_of_equal_sets_counts() {
    let sources = Sources::text("f", GOOD).set(["limits.memory=300MiB", "limits.memory=400MiB"]);
    assert_eq!(loaded(sources).pipeline.limits.memory.to_string(), "400MiB");
}

#[test]
fn lists_are_reached_by_number_and_replaced_as_a_whole() {
    let sources = Sources::text("f", GOOD)
        .environment(variables(&[("LONGSHORE_SINKS__0__FILES__PATH", "elsewhere")]))
        .set(["input.topics=[a, b]", "sinks.1.topic.when=severity_number > 3", "input.topics.1=c"]);
    let dump = dumped(&loaded(sources));
    assert_eq!(dump["sinks"][0]["files"]["path"], "elsewhere");
    assert_eq!(dump["sinks"][1]["topic"]["when"], "severity_number > 3");
    assert_eq!(dump["input"]["topics"], serde_json::json!(["a", "c"]));
}

#[test]
fn client_settings_keep_their_dots() {
    let sources = Sources::text("f", GOOD)
        .environment(variables(&[("LONGSHORE_KAFKA__CLIENT__SOCKET_TIMEOUT_MS", "1000")]))
        .set(["kafka.client.linger.ms=5", "kafka.client.client.id=007"]);
    let client = loaded(sources).pipeline.kafka.client;
    let client: Vec<_> = client.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    let expected = [("client.id", "007"), ("linger.ms", "5"), ("socket.timeout.ms", "1000")];
    assert_eq!(client, expected.map(|(name, value)| (name, value.to_owned())));
    assert_eq!(Scalar::Number(7).expose(), "7");
}

#[test]
fn other_variables_of_ours_are_left_alone() {
    let sources = Sources::text("f", GOOD)
        .environment(variables(&[("LONGSHORE_CACHE", "x"), ("LONGSHORE_PIPELINE", "renamed")]));
    assert_eq!(loaded(sources).pipeline.pipeline, "renamed");
}

#[test]
fn a_text_of_digits_stays_a_text_where_texts_belong() {
    let sources = Sources::text("f", GOOD).set(["pipeline=123", "input.group=true"]);
    let pipeline = loaded(sources).pipeline;
    assert_eq!(pipeline.pipeline, "123");
    assert_eq!(pipeline.group(), "true");
}

#[test]
fn variables_are_filled_with_the_type_the_place_wants() {
    let file = format!("{GOOD}generation: ${{GENERATION}}\nhttp: {{ listen: '127.0.0.1:${{PORT:-0}}' }}\n");
    let sources = Sources::text("f", file).environment(variables(&[("GENERATION", "3")]));
    let pipeline = loaded(sources).pipeline;
    assert_eq!(pipeline.generation, 3);
    assert_eq!(pipeline.http.listen.to_string(), "127.0.0.1:0");
    assert_ne!(pipeline.http.listen, Listen::Off);
}

#[test]
fn files_are_read_beside_the_pipeline_and_lose_their_last_line_break() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("topic"), "from-file\n").unwrap();
    let file = folder.path().join("pipeline.yaml");
    std::fs::write(&file, GOOD.replace("logs.out", "\"${file:topic}\"")).unwrap();
    let loaded = loaded(Sources::file(&file));
    assert_eq!(loaded.pipeline.sinks[1].name, "from-file");
}

#[test]
fn a_dump_is_a_pipeline_file_again_with_every_default() {
    let first = loaded(Sources::text("f", GOOD));
    let yaml = first.dump(DumpFormat::Yaml);
    let second = loaded(Sources::text("dump", yaml.clone()));
    assert_eq!(second.dump(DumpFormat::Yaml), yaml);
    assert_eq!(second.fingerprint(), first.fingerprint());
    let dump = dumped(&first);
    assert_eq!(dump["limits"]["memory"], "256MiB");
    assert_eq!(dump["failure"]["retry"]["attempts"], 8);
    assert_eq!(dump["input"]["order"], "key");
    assert_eq!(dump["sinks"][0]["files"]["roll"]["bytes"], "64MiB");
    assert_eq!(dump["sinks"][1]["topic"]["compression"], "lz4");
}

#[test]
fn the_fingerprint_follows_what_the_pipeline_does() {
    let version = |sources: Sources| loaded(sources).fingerprint();
    let base = version(Sources::text("f", GOOD));
    assert_eq!(base.len(), 12);
    assert_eq!(base, version(Sources::text("other-name", format!("# a comment\n{GOOD}"))));
    assert_eq!(base, version(Sources::text("f", GOOD).set(["http.listen=off", "telemetry.level=debug"])));
    assert_ne!(base, version(Sources::text("f", GOOD).set(["steps.1.filter.drop=severity_number < 10"])));
    let with_password = |password: &str| {
        let sets = ["kafka.security.sasl.mechanism=PLAIN", "kafka.security.sasl.username=me"];
        let sources =
            Sources::text("f", GOOD).set(sets).set([format!("kafka.security.sasl.password={password}")]);
        version(sources)
    };
    assert_eq!(with_password("one"), with_password("two"));
}
