//! `longshore lag` from the outside: what it says of a group whose commits are known.

use std::process::Command;
use std::time::Duration;

use longshore_tests::harness::{Longshore, Record, Rig, binary, shared_broker, wait_until};
use rustix::process::Signal;

use super::said::longshore;

const PATIENCE: Duration = Duration::from_secs(30);

/// The rows that `-o ndjson` has printed so far for partition 0.
fn rows(watching: &Longshore) -> Vec<serde_json::Value> {
    let said = watching.stdout();
    let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let rows = whole.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.filter(|row| row["partition"] == 0).collect()
}

/// Scenario: fifty records, of which a group has committed thirty; then it commits ten more while somebody watches.
/// Guarantee: the lag is twenty, and ten with a rate and a time; a group that never committed is told; Ctrl-C ends it.
#[test]
fn lag_is_told_once_and_again() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "lag").with_topics(2);
    let records: Vec<Record> = (0..50).map(|number| Record::new("k", format!("{number}")).to(0)).collect();
    rig.witness.publish(&rig.topic, &records);
    rig.witness.commit("lag-group", &rig.topic, 0, 30, "");
    let bootstrap = rig.witness.bootstrap().to_owned();
    let asked = ["lag", "--broker", &bootstrap, "-t", &rig.topic, "-g", "lag-group"];

    let said = longshore(&asked).well();
    assert!(said.out.lines().any(|line| line.ends_with("30   50   20")), "{}", said.out);
    assert!(said.err.contains("lag of lag-group: 20 in 2 partitions"), "{}", said.err);
    let nobody = longshore(&["lag", "--broker", &bootstrap, "-t", &rig.topic, "-g", "nobody"]).well();
    assert!(nobody.err.contains("committed nothing yet"), "{}", nobody.err);

    // What a shell starts in the background ignores Ctrl-C, and so does all that it starts.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(binary()).args(asked).args(["--watch", "1", "-o", "ndjson"]);
    command.env_remove("KAFKA_BOOTSTRAP");
    let mut watching = Longshore::start_command(command);
    wait_until("the first look", PATIENCE, || !rows(&watching).is_empty());
    let first = rows(&watching).remove(0);
    assert_eq!((&first["lag"], &first["rate"]), (&20.into(), &serde_json::Value::Null));
    rig.witness.commit("lag-group", &rig.topic, 0, 40, "");
    let moved = |row: &serde_json::Value| row["rate"].as_f64().is_some_and(|rate| rate > 0.0);
    wait_until("a look with a rate", PATIENCE, || rows(&watching).iter().any(moved));
    let later = rows(&watching).into_iter().find(moved).unwrap();
    let [rate, drain] = ["rate", "drain_seconds"].map(|name| later[name].as_f64().unwrap());
    assert!(later["lag"] == 10 && rate <= 10.0 && (drain * rate - 10.0).abs() < 0.001, "{later}");
    watching.signal(Signal::INT);
    watching.wait(PATIENCE);
}

/// Scenario: a shell names a broker for trying things, and a pipeline file names another one. Guarantee: what is asked of the pipeline is
/// asked at the file's broker; only without a file the shell's counts.
#[test]
fn the_brokers_of_a_pipeline_file_are_its_own() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "lag-shell").with_topics(1);
    let lag = |shell: &str, arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.arg("lag").args(arguments).env("KAFKA_BOOTSTRAP", shell);
        let mut process = Longshore::start_command(command);
        let status = process.wait(PATIENCE);
        (status.code(), process.transcript())
    };
    let (file, nobody) = (rig.file().display().to_string(), "127.0.0.1:1");
    let (code, told) = lag(nobody, &["-c", &file]);
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = lag(&broker.bootstrap(), &["-g", "nobody", "-t", &rig.topic]);
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = lag(&broker.bootstrap(), &["-c", &file, "--broker", nobody]);
    assert!(code == Some(69) && told.contains(nobody), "{told}");
}
