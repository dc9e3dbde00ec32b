//! `longshore doctor`: a pipeline that is well, and one thing wrong at a time. What it says to type is typed, and then it has to be well.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use longshore_broker::{BrokerOptions, JvmBroker, Listener, SASL_PASSWORD, SASL_USER, Tool};
use longshore_tests::harness::postgres::{ADMIN, Postgres};
use longshore_tests::harness::witness::now_ms;
use longshore_tests::harness::{Collector, Record, Rig, binary, free_port, shared_broker, start_broker};
use serde_json::Value;

/// What the doctor said.
struct Said {
    code: i32,
    findings: Vec<Value>,
    told: String,
    took: Duration,
}

impl Said {
    /// Findings that are not `ok`, as `check about`.
    fn wrong(&self, level: &str) -> Vec<String> {
        let of_level = self.findings.iter().filter(|finding| finding["level"] == level);
        of_level.map(|finding| format!("{} {}", text(finding, "check"), text(finding, "about"))).collect()
    }

    /// The only finding of a check about something that is not `ok`.
    #[track_caller]
    fn one(&self, check: &str, about: &str) -> &Value {
        let wanted = |finding: &&Value| {
            finding["level"] != "ok" && finding["check"] == check && text(finding, "about").contains(about)
        };
        let found: Vec<&Value> = self.findings.iter().filter(wanted).collect();
        assert_eq!(found.len(), 1, "{check} {about}: {:#?}\n{}", self.findings, self.told);
        found[0]
    }

    /// The commands of all findings of a check.
    fn commands(&self, check: &str) -> Vec<String> {
        let of_check = self.findings.iter().filter(|finding| finding["check"] == check);
        of_check.filter_map(|finding| finding["next"]["command"].as_str().map(str::to_owned)).collect()
    }
}

fn text<'a>(finding: &'a Value, field: &str) -> &'a str {
    finding[field].as_str().unwrap_or_default()
}

/// Asks the doctor. Whatever is not well has to come with a command or a setting, and with nothing secret.
fn doctor(rig: &Rig, settings: &[&str], environment: &[(&str, &str)]) -> Said {
    let mut command = Command::new(binary());
    command.args(["doctor", "-o", "json", "-c"]).arg(rig.file());
    let spool = format!("limits.spool_folder={}", rig.folder().display());
    let all = rig.settings.iter().map(String::as_str).chain(settings.iter().copied()).chain([spool.as_str()]);
    command.args(all.flat_map(|setting| ["--set", setting])).env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
    let began = Instant::now();
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let data = String::from_utf8(output.stdout).unwrap();
    let findings: Vec<Value> =
        serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}{told}"));
    for finding in &findings {
        let (command, setting) = (&finding["next"]["command"], &finding["next"]["setting"]);
        let advised = command.as_str().or(setting.as_str()).is_some_and(|next| next.len() > 5);
        assert_eq!(advised, finding["level"] != "ok", "{finding:#}");
    }
    assert!(!data.contains(SASL_PASSWORD) && !told.contains(SASL_PASSWORD), "{data}{told}");
    Said { code: output.status.code().unwrap(), findings, told, took: began.elapsed() }
}

/// Types what was said, but for the program's place and the rig's settings.
fn longshore(rig: &Rig, typed: &str) {
    let mut command = Command::new(binary());
    let words = typed.strip_prefix("longshore ").unwrap_or_else(|| panic!("{typed}"));
    command.args(words.split(' ').take_while(|word| *word != "--set"));
    command.args(rig.settings.iter().flat_map(|setting| ["--set", setting]));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{typed}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes the pipeline's topics as its own command does.
fn with_topics(rig: Rig, partitions: i32) -> Rig {
    rig.witness.create_topic(&rig.topic, partitions, &[]);
    longshore(&rig, &format!("longshore topics apply {}", rig.file().display()));
    rig
}

fn healthy(rig: &Rig) {
    let said = doctor(rig, &[], &[]);
    assert_eq!(
        (said.code, said.wrong("error"), said.wrong("warn")),
        (0, vec![], vec![]),
        "{:#?}",
        said.findings
    );
}

/// Scenario: everything is there; then a worker runs. Guarantee: all is well, each check
/// has said so, nothing is left behind, and the broker's release is told.
#[test]
fn a_pipeline_that_is_well() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "doctor-well");
    let (files, objects) = (rig.files(), rig.folder().join("lake"));
    let sinks = format!(
        "\n  - files: {{ path: {}, roll: {{ age: 300ms }} }}\n  - objects: {{ url: {}, roll: {{ age: 300ms }} }}",
        files.display(),
        objects.display()
    );
    let rig = with_topics(rig.sinks(&sinks), 3);
    healthy(&rig);
    assert!(!rig.files().exists(), "a look made the sink's folder");
    let port = free_port();
    let listen = format!("http.listen=127.0.0.1:{port}");
    let mut worker = rig.worker_with(&[&listen], &[]);
    worker.wait_for_partitions();
    let said = doctor(&rig, &[&listen], &[]);
    assert_eq!(
        (said.code, said.wrong("error"), said.wrong("warn")),
        (0, vec![], vec![]),
        "{:#?}",
        said.findings
    );
    let checks: Vec<&str> = said.findings.iter().map(|finding| text(finding, "check")).collect();
    for check in ["broker", "topic", "rights", "group", "timing", "clock", "sink", "spool", "http", "traces"]
    {
        assert!(checks.contains(&check), "{check}: {checks:?}");
    }
    let found = |check: &str, words: &str| {
        let found = said
            .findings
            .iter()
            .any(|finding| finding["check"] == check && text(finding, "found").contains(words));
        assert!(found, "{check} {words}: {:#?}", said.findings);
    };
    found("broker", "Apache Kafka 4.1 or later");
    found("broker", "is reached where it says");
    found("group", "stable, 1 member");
    found("http", "a worker of version");
    found("rights", "Read, Write, Describe, DescribeConfigs on the topic");
    let address = format!("127.0.0.1:{port}");
    let well = |more: &[&str]| health(&address, more);
    assert_eq!((well(&[]), well(&["--ready"])), (0, 0));
    worker.stop();
    assert_eq!(well(&[]), 1);
}

/// `longshore health` of a worker whose pages are at an address, as a container's health check runs it.
fn health(address: &str, more: &[&str]) -> i32 {
    let mut command = Command::new(binary());
    let output = command.arg("health").args(more).env("LONGSHORE_HTTP__LISTEN", address).output().unwrap();
    output.status.code().unwrap()
}

/// Scenario: nobody listens; somebody listens and never answers. Guarantee: 69 within its time, progress is shown meanwhile, and what needs no
/// broker was looked at all the same.
#[test]
fn no_broker() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    for address in [format!("127.0.0.1:{}", free_port()), address] {
        let rig = Rig::new(&address, "doctor-alone");
        let said = doctor(&rig, &[], &[]);
        assert_eq!(said.code, 69, "{}", said.told);
        assert!(said.took < Duration::from_secs(40), "{:?}", said.took);
        let found = said.one("broker", &address);
        assert!(text(found, "found").contains("broker.unavailable"), "{found}");
        assert!(said.findings.iter().any(|finding| finding["check"] == "sink" && finding["level"] == "ok"));
        assert!(said.told.contains("looks so far"), "{}", said.told);
    }
}

/// Scenario: topics that are missing, wrong in their settings, or too small. Guarantee: each is an error that names the topic, and the
/// command that it says mends it.
#[test]
fn topics_are_judged_and_mended() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "doctor-topics");
    rig.witness.create_topic(&rig.topic, 4, &[]);
    let said = doctor(&rig, &[], &[]);
    assert_eq!(said.code, 1);
    for topic in [rig.retry_topic(), rig.letter_topic(), rig.journal_topic()] {
        assert!(text(said.one("topic", &topic), "found").contains("does not exist"));
    }
    rig.witness.create_topic(&rig.retry_topic(), 2, &[("cleanup.policy", "compact")]);
    let said = doctor(&rig, &[], &[]);
    let retry: Vec<String> = said
        .findings
        .iter()
        .filter(|finding| finding["level"] == "error" && finding["about"] == rig.retry_topic())
        .map(|finding| text(finding, "found").to_owned())
        .collect();
    for words in ["has 2 partitions", "cleanup.policy is compact", "message.timestamp.type is CreateTime"] {
        assert!(retry.iter().any(|found| found.contains(words)), "{words}: {retry:#?}");
    }
    let commands = said.commands("topic");
    assert!(commands.iter().all(|command| *command == commands[0]), "{commands:?}");
    longshore(&rig, &commands[0]);
    healthy(&rig);
}

/// Scenario: session and poll intervals that do not fit the drain. Guarantee: each is told with the setting that mends it.
#[test]
fn spans_that_do_not_fit() {
    let Some(broker) = shared_broker() else { return };
    let rig = with_topics(Rig::new(&broker.bootstrap(), "doctor-spans"), 1);
    let said = doctor(&rig, &["kafka.client.session.timeout.ms=60000"], &[]);
    assert_eq!((said.code, said.wrong("warn")), (0, vec!["timing session".to_owned()]));
    let next = &said.one("timing", "session")["next"]["setting"];
    assert_eq!(next, "kafka.client.session.timeout.ms: 10000");
    let said = doctor(&rig, &["kafka.client.max.poll.interval.ms=2500"], &[]);
    assert_eq!((said.code, said.wrong("error")), (1, vec!["timing polls".to_owned()]));
}

/// Scenario: another application is in the group; the log begins behind the group's commit; a commit lies beyond the end. Guarantee: errors.
#[test]
fn a_group_that_cannot_go_on() {
    let Some(broker) = shared_broker() else { return };
    let rig = with_topics(Rig::new(&broker.bootstrap(), "doctor-group"), 2);
    rig.witness.publish(&rig.topic, &[Record::new("k", "1").to(0), Record::new("k", "2").to(0)]);
    rig.witness.commit(&rig.group(), &rig.topic, 0, 0, "");
    let request = format!(
        "{{\"partitions\":[{{\"topic\":\"{}\",\"partition\":0,\"offset\":2}}],\"version\":1}}",
        rig.topic
    );
    let file = rig.folder().join("delete.json");
    std::fs::write(&file, request).unwrap();
    broker.tool(Tool::DeleteRecords, &["--offset-json-file", &file.display().to_string()]).unwrap();
    let said = doctor(&rig, &[], &[]);
    let found = said.one("group", &rig.group());
    assert!(text(found, "found").contains("committed offset 0 is gone, the log begins at 2"), "{found}");
    rig.witness.commit(&rig.group(), &rig.topic, 0, 9, "");
    let said = doctor(&rig, &[], &[]);
    assert!(
        text(said.one("group", &rig.group()), "found").contains("ledger.foreign"),
        "{:#?}",
        said.findings
    );
    let said = doctor(&rig, &["kafka.group_protocol=consumer"], &[]);
    assert_eq!(said.wrong("error"), [format!("group {}", rig.group())]);
}

/// Scenario: the newest record of the dead-letter topic was stamped by a clock that is an hour ahead of ours; one that a worker sent says that it
/// had failed a minute after its stamp. Guarantee: both clocks are told.
#[test]
fn clocks_that_differ() {
    let Some(broker) = shared_broker() else { return };
    let rig = with_topics(Rig::new(&broker.bootstrap(), "doctor-clock"), 1);
    // A topic that takes the sender's time holds what a broker with another clock would have stamped.
    let stamps = |kind| rig.witness.alter_topic(&rig.letter_topic(), &[("message.timestamp.type", kind)]);
    stamps("CreateTime");
    rig.witness.publish(&rig.letter_topic(), &[Record::new("k", "1").at(now_ms() + 3_600_000)]);
    let late = (now_ms() + 60_000).to_string();
    rig.witness.publish(&rig.retry_topic(), &[Record::new("k", "1").header("longshore.last-failed", &late)]);
    stamps("LogAppendTime");
    let said = doctor(&rig, &[], &[]);
    assert_eq!(said.code, 1);
    let found = said.one("clock", "this machine");
    assert!(text(found, "found").contains("59m") || text(found, "found").contains("1h"), "{found}");
    assert_eq!(said.one("clock", "a worker")["level"], "warn");
}

/// Scenario: a folder that is none, a table that is not there, a server that never answers, a port that somebody else has, a Collector that
/// is not there. Guarantee: each is told, in time, and only the last is no error.
#[test]
fn places_that_will_not_do() {
    let (Some(broker), Some(postgres)) = (shared_broker(), Postgres::start()) else { return };
    postgres.database("doctor");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let table = |name: &str, port: u16, table: &str| {
        format!(
            "\n  - postgres: {{ name: {name}, host: 127.0.0.1, port: {port}, database: doctor, user: {ADMIN}, table: {table}, columns: {{ body: body }} }}"
        )
    };
    let sinks = [
        "\n  - files: { name: nowhere, path: /proc/nowhere/out }".to_owned(),
        "\n  - objects: { name: lost, url: /proc/nowhere/lake }".to_owned(),
        table("missing", postgres.port(), "missing"),
        table("silent", silent.local_addr().unwrap().port(), "missing"),
        table("there", postgres.port(), "there"),
    ];
    postgres.sql("doctor", "create table there (body text)");
    let rig = with_topics(Rig::new(&broker.bootstrap(), "doctor-places").sinks(&sinks.concat()), 1);
    let listen = format!("http.listen={}", silent.local_addr().unwrap());
    let otlp = format!("http://user:{SASL_PASSWORD}@127.0.0.1:{}", free_port());
    let said = doctor(&rig, &[&listen], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &otlp)]);
    let port = format!("http {}", silent.local_addr().unwrap());
    assert_eq!(
        said.wrong("error"),
        ["sink nowhere", "sink lost", "sink missing", "sink silent", &port],
        "{:#?}",
        said.findings
    );
    assert_eq!(said.wrong("warn"), ["traces OTLP"], "{:#?}", said.findings);
    assert!(text(said.one("sink", "missing"), "found").contains("does not exist"));
    assert!(said.took < Duration::from_secs(40), "{:?}", said.took);
    let Some(collector) = Collector::start() else { return };
    let said = doctor(&rig, &[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())]);
    assert_eq!(said.wrong("warn"), Vec::<String>::new(), "{:#?}", said.findings);
}

/// The commands of `kafka-acls` as typed: words, some of them quoted.
fn words(command: &str) -> Vec<String> {
    command.split(' ').map(|word| word.trim_matches('\'').to_owned()).collect()
}

fn types(broker: &JvmBroker, command: &str) {
    let words = words(command);
    assert_eq!(words[..2], ["kafka-acls", "--bootstrap-server"], "{command}");
    // A person who may change rights types it; here that is the listener that every test has, without a login.
    let login = |word: &&str| !["--command-config", "ADMIN.properties"].contains(word);
    let rest: Vec<&str> = words[3..].iter().map(String::as_str).filter(login).chain(["--force"]).collect();
    broker.tool(Tool::Acls, &rest).unwrap();
}

/// Scenario: brokers with access lists, and a user without any right, who gets what the doctor says, round by round; then lacks one right at
/// a time; then somebody else may write to the retry topic. Guarantee: what a worker needs is asked for and no more, a worker runs with
/// exactly that, each right that is taken away is missed by name, and strangers are told.
#[test]
fn rights_are_asked_for_one_by_one() {
    let options =
        BrokerOptions { listeners: vec![Listener::SaslPlain], acls: true, ..BrokerOptions::default() };
    let Some(broker) = start_broker(options) else { return };
    let sasl = format!("sasl: {{ mechanism: PLAIN, username: {SASL_USER}, password: {SASL_PASSWORD} }}");
    let kafka =
        format!("{{ brokers: \"{}\", security: {{ {sasl} }} }}", broker.bootstrap_of(Listener::SaslPlain));
    let sinks = "\n  - topic: { name: doctor-rights.out }";
    let rig = Rig::new(&broker.bootstrap(), "doctor-rights").sinks(sinks);
    // Made by somebody who may.
    let rig = with_topics(rig, 2).kafka(&kafka);

    let said = doctor(&rig, &[], &[]);
    assert_eq!(said.code, 1);
    // What the topics and the group cannot be looked at for is named, and nothing else.
    for (check, place) in [("topic", rig.topic.clone()), ("group", rig.group())] {
        let command = said.commands(check).remove(0);
        let places = [("--topic ", rig.retry_topic()), ("--topic ", rig.topic.clone())];
        assert!(places.iter().all(|(flag, name)| command.contains(&format!("{flag}{name}"))), "{command}");
        assert!(
            command.contains("--command-config") && command.contains(&format!("--{check} {place}")),
            "{command}"
        );
    }
    let mut asked = said.commands("rights");
    assert_eq!(asked.len(), 6, "{asked:#?}");
    asked.iter().for_each(|command| types(&broker, command));
    // What only the commands need is a warning, once a worker has all of its own.
    let said = doctor(&rig, &[], &[]);
    assert_eq!(said.code, 0, "{:#?}", said.findings);
    let more = said.commands("rights");
    assert_eq!(said.wrong("error"), Vec::<String>::new());
    let mut worker = rig.working();
    rig.witness
        .publish(&rig.topic, &[Record::new("k", "{\"severity_number\":9}"), Record::new("k", "no json")]);
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    assert!(worker.terminate(Duration::from_secs(25)).success());
    more.iter().for_each(|command| types(&broker, command));
    healthy(&rig);

    asked.extend(more);
    for (kind, name, right) in [
        ("topic", rig.topic.clone(), "Read"),
        ("group", rig.group(), "Read"),
        ("topic", rig.letter_topic(), "Write"),
        ("topic", "doctor-rights.out".to_owned(), "Write"),
    ] {
        let change = |verb: &str| {
            let command = format!(
                "kafka-acls --bootstrap-server x {verb} --allow-principal User:{SASL_USER} --operation {right} --{kind} {name}"
            );
            types(&broker, &command);
        };
        change("--remove");
        let said = doctor(&rig, &[], &[]);
        assert_eq!(
            (said.code, said.wrong("error")),
            (1, vec![format!("rights {name}")]),
            "{:#?}",
            said.findings
        );
        assert!(text(said.one("rights", &name), "found").contains(&format!("lacks {right} on the {kind}")));
        change("--add");
    }

    let stranger = format!(
        "kafka-acls --bootstrap-server x --add --allow-principal User:stranger --operation Write --topic {}",
        rig.retry_topic()
    );
    types(&broker, &stranger);
    types(
        &broker,
        &format!(
            "kafka-acls --bootstrap-server x --add --allow-principal User:{SASL_USER} --operation Describe --cluster"
        ),
    );
    let said = doctor(&rig, &[], &[]);
    assert_eq!(
        (said.code, said.wrong("warn")),
        (0, vec![format!("rights {}", rig.retry_topic())]),
        "{:#?}",
        said.findings
    );
    types(&broker, said.one("rights", &rig.retry_topic())["next"]["command"].as_str().unwrap());
    healthy(&rig);
}
