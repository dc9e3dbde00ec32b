//! Commands that read the ledger of a table: `why`, `dlq replay`, `rewind`.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use longshore_tests::harness::postgres::{ADMIN, shared_postgres};
use longshore_tests::harness::witness::Record;
use longshore_tests::harness::{Rig, binary, shared_broker};

const DRAINED: Duration = Duration::from_secs(60);

/// `longshore COMMAND -c FILE ARGUMENTS...`: exit code, and what it said on both outputs.
fn longshore(command: &[&str], file: &Path, arguments: &[&str]) -> (i32, String) {
    let run = Command::new(binary()).args(command).arg("-c").arg(file).args(arguments).output();
    let Output { status, stdout, stderr } = run.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.code().unwrap(), said)
}

/// Scenario: of five records one is replaced by a later one of its key, one is filtered and one is refused by the table; a letter
/// names a record whose row is there. Then everything is processed again into a new generation.
/// Guarantee: `why` knows from the ledger where each is, `dlq replay` does not send what is held, and after `rewind` the rows are the new
/// generation's and the same; a table that gets a row for each record is not rewound.
#[test]
fn commands_read_the_ledger_of_a_table() {
    let (Some(broker), Some(server)) = (shared_broker(), shared_postgres()) else { return };
    server.database("pg-commands");
    server.sql(
        "pg-commands",
        "create table state (key text primary key, number bigint check (number < 100), _pair bigint, \
             _offset bigint, _deleted timestamptz)",
    );
    let sinks = format!(
        "\n  - postgres: {{ host: 127.0.0.1, port: {}, database: pg-commands, user: {ADMIN}, table: state, mode: upsert, \
         key: [key], columns: {{ key: key, number: 'attributes[\"number\"]' }}, roll: {{ age: 200ms }} }}",
        server.port()
    );
    let rig = Rig::new(&broker.bootstrap(), "pg-commands").sinks(&sinks).with_topics(1);
    let line = |key: &str, level: &str, number: u64| {
        Record::new(key, format!(r#"{{"level":"{level}","number":{number}}}"#)).to(0)
    };
    let records = [
        line("a", "info", 1),
        line("a", "info", 2),
        line("b", "info", 3),
        line("b", "debug", 4),
        line("c", "info", 100),
    ];
    rig.witness.publish(&rig.topic, &records);
    let first = rig.working();
    rig.wait_drained(DRAINED, &[&first]);
    first.stop();
    let rows =
        "select key, number, _offset, generation from state join longshore_pairs on id = _pair order by key";
    assert_eq!(server.rows("pg-commands", rows), ["a|2|1|1", "b|3|2|1"]);

    let file = rig.file();
    for (offset, words) in [
        (0, "in sink postgres: table state, as its ledger says"),
        (3, "filtered by quiet"),
        (4, "sink.rejected"),
    ] {
        let (code, said) = longshore(&["why"], &file, &[&format!("{}/0/{offset}", rig.topic)]);
        assert!(code == 0 && said.contains(words), "{offset}: {said}");
    }
    let letter = records[2]
        .clone()
        .header("longshore.origin", &format!("{}/0/2/0", rig.topic))
        .header("longshore.origin-timestamp", "1700000000000")
        .header("longshore.attempt", "1")
        .header("longshore.replays", "0")
        .header("longshore.reason", "encode.value")
        .header("longshore.pipeline", "test 1")
        .header("longshore.first-failed", "1700000001000")
        .header("longshore.last-failed", "1700000002000");
    rig.witness.publish(&rig.letter_topic(), &[letter]);
    let (code, said) = longshore(&["dlq", "replay"], &file, &["--reason", "encode.value", "--yes"]);
    assert!(code == 0 && said.contains("already held: 1"), "{said}");
    assert_eq!(rig.witness.ends(&rig.retry_topic()), [0]);

    let inserts = rig.folder().join("inserts.yaml");
    let text = std::fs::read_to_string(&file).unwrap().replace("mode: upsert, key: [key], ", "");
    std::fs::write(&inserts, text).unwrap();
    let (code, said) = longshore(&["rewind"], &inserts, &["--to", "earliest", "--yes"]);
    assert!(code == 78 && said.contains("would be in it twice"), "{said}");
    let (code, said) = longshore(&["rewind"], &file, &["--to", "earliest", "--yes"]);
    assert!(code == 0 && said.contains("generation 1 to 2"), "{said}");
    let second = rig.worker_with(&["generation=2"], &[]);
    rig.wait_drained(DRAINED, &[&second]);
    second.stop();
    assert_eq!(server.rows("pg-commands", rows), ["a|2|1|2", "b|3|2|2"]);
    let (code, said) = longshore(&["why"], &file, &[&format!("{}/0/0", rig.topic)]);
    assert!(code == 0 && said.contains("also in generation 2 of postgres: table state"), "{said}");
}

/// Scenario: a worker has added rows to a table; then a row is taken out, another is added twice, and an entry of the ledger goes.
/// Guarantee: `sink ls` counts what the ledger says, `sink verify` finds nothing wrong before and names each fault after, and there are no
/// files to merge.
#[test]
fn sink_commands_read_the_ledger_of_a_table() {
    let (Some(broker), Some(server)) = (shared_broker(), shared_postgres()) else { return };
    server.database("pg-sink");
    server.sql("pg-sink", "create table logs (body text, whole jsonb not null)");
    let sinks = format!(
        "\n  - postgres: {{ host: 127.0.0.1, port: {}, database: pg-sink, user: {ADMIN}, table: logs, \
         columns: {{ body: body }}, record: whole, roll: {{ age: 200ms }} }}",
        server.port()
    );
    let rig = Rig::new(&broker.bootstrap(), "pg-sink").sinks(&sinks).with_topics(2);
    let worker = rig.working();
    for wave in 0..3 {
        let line = |number: i32| {
            Record::new(&format!("k{number}"), format!(r#"{{"level":"info","message":"m{number}"}}"#))
                .to(number % 2)
        };
        rig.witness.publish(&rig.topic, &(wave * 20..wave * 20 + 20).map(line).collect::<Vec<_>>());
        rig.wait_drained(DRAINED, &[&worker]);
    }
    worker.stop();
    let file = rig.file().display().to_string();
    let sink = |arguments: &[&str]| {
        let run = Command::new(binary()).arg("sink").args(arguments).output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        (run.status.code().unwrap(), said)
    };
    let (code, said) = sink(&["ls", &file]);
    assert!(code == 0 && said.contains("pg-sink.in/1") && said.contains("60 rows"), "{said}");
    let (code, said) = sink(&["verify", &file]);
    assert!(code == 0 && said.contains("2 partitions") && said.contains("60 rows: no fault"), "{said}");
    let (code, said) = sink(&["compact", &file, "--out", "merged"]);
    assert!(code == 64 && said.contains("keeps its rows in table logs"), "{said}");
    for (damage, mend, words) in [
        (
            "create table aside as select * from logs limit 1; delete from logs where whole = (select whole from aside)",
            "insert into logs select * from aside; drop table aside",
            "fault rows: ",
        ),
        (
            "create table aside as select * from logs limit 1; insert into logs select * from aside",
            "delete from logs where ctid = (select max(ctid) from logs); drop table aside",
            "fault rows: ",
        ),
        (
            "create table aside as select * from longshore_ledger where sequence = 1 limit 1; \
             delete from longshore_ledger l using aside where (l.pair, l.sequence) = (aside.pair, aside.sequence)",
            "insert into longshore_ledger select * from aside; drop table aside",
            "fault gap: ",
        ),
    ] {
        server.sql("pg-sink", damage);
        let (code, said) = sink(&["verify", &file]);
        assert!(code == 1 && said.contains(words) && said.contains("pg-sink.in/"), "{words}: {said}");
        server.sql("pg-sink", mend);
    }
    let (code, said) = sink(&["verify", &file, "--quick", "-o", "json"]);
    assert!(code == 0 && said.contains("\"faults\": 0"), "{said}");
}
