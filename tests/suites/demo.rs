//! `longshore dev` and `longshore dev verify` as a newcomer types them, on the JVM broker and on the embedded one.

#![expect(clippy::unwrap_used, reason = "a suite ends at the first thing that is not as it must be")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use longshore_broker::JvmBroker;
use longshore_tests::harness::readback::{Place, Reader, read_back};
use longshore_tests::harness::{Longshore, binary, packed_files};

/// A demo takes half a minute; on a machine that does other things as well it may take three.
const DEADLINE: Duration = Duration::from_secs(300);

/// Runs a small demo and gives back its folder and what it told.
fn demo(broker: &str, more: &[&str]) -> (tempfile::TempDir, PathBuf, String) {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("run");
    let mut command = Command::new(binary());
    command.args(["dev", "--lines", "30000", "--broker", broker, "--dir"]).arg(&dir).args(more);
    command.env_remove("KAFKA_BOOTSTRAP");
    // As in a shell that is set up for another database.
    command.env("PGHOSTADDR", "127.0.0.1").env("PGOPTIONS", "-c default_transaction_read_only=on");
    let mut run = Longshore::start_command(command);
    let status = run.wait(DEADLINE);
    assert!(status.success(), "the demo on {broker} ended with {status}\n{}", run.transcript());
    let told = run.transcript();
    for words in [
        "kill -9",
        "read again",
        "missing                  0",
        "waiting now              0",
        "everything adds up",
    ] {
        assert!(told.contains(words), "{words:?} is missing in\n{told}");
    }
    (home, dir, told)
}

/// The numbers of a row of the account, one for each pipeline.
fn row(told: &str, name: &str) -> Vec<u64> {
    let of = |line: &str| {
        let rest = line.strip_prefix("  ")?.strip_prefix(name)?.trim_start();
        rest.split_whitespace().next()?.replace(',', "").parse().ok()
    };
    told.lines().filter_map(of).collect()
}

fn verify(dir: &Path) -> Output {
    Command::new(binary()).args(["dev", "verify"]).arg(dir).output().unwrap()
}

/// Scenario: the demo on a real Apache Kafka, counted again on the untouched folder, by `zstdcat`, `jq` and `uniq`, and on
/// copies with one row removed, doubled, swapped within its key, and foreign. Guarantee: the untouched folder is
/// right; each planted row is named and ends with code 1.
#[test]
fn on_a_real_broker_the_account_holds_and_each_planted_row_is_found() {
    if JvmBroker::available().is_err() {
        assert!(std::env::var_os("CI").is_none(), "no real broker can run here");
        return;
    }
    let (_home, dir, told) = demo("jvm", &[]);
    let clean = verify(&dir);
    assert!(clean.status.success(), "{}", text(&clean));
    assert_eq!(doubled_by_foreign_tools(&dir), "");
    for place in ["retried", "parked", "replayed"] {
        assert_eq!(row(&told, place), [0, 0], "{place}: nothing fails for a while in the plain demo\n{told}");
    }

    let file = largest(&dir.join("out/logs"));
    let name = file.strip_prefix(&dir).unwrap().display().to_string();
    plant(&dir, &file, "missing: ", |rows| origin(&rows.remove(1)));
    plant(&dir, &file, &format!("doubled row: {name}:"), |rows| {
        rows.insert(2, rows[1].clone());
        origin(&rows[1])
    });
    plant(&dir, &file, &format!("row out of order: {name}:"), |rows| {
        let (first, second) = two_of_a_key(rows);
        rows.swap(first, second);
        origin(&rows[second])
    });
    plant(&dir, &file, &format!("foreign row: {name}:"), |rows| {
        let own = origin(&rows[1]);
        let foreign = own.replace("demo.logs/", "other.logs/");
        rows[1] = rows[1].replace(&own, &foreign);
        foreign
    });
}

/// Scenario: the demo without Java, on the broker inside librdkafka. Guarantee: the same account.
#[test]
fn on_the_embedded_broker_the_account_holds() {
    let (_home, dir, _) = demo("embedded", &[]);
    let clean = verify(&dir);
    assert!(clean.status.success(), "{}", text(&clean));
}

/// Scenario: the demo with its rows in a Postgres of its own; then a row is taken out of what was read back, and one put in twice.
/// Guarantee: the same account, counted from the tables and their ledger; each planted row is named.
#[test]
fn rows_in_tables_are_counted_by_sql() {
    let installed = fs::read_dir("/usr/lib/postgresql").is_ok_and(|mut found| found.next().is_some());
    if !installed {
        assert!(std::env::var_os("CI").is_none(), "no Postgres can run here");
        return;
    }
    let (_home, dir, told) = demo("embedded", &["--sink", "postgres"]);
    assert!(told.contains("rows of longshore_demo.logs, read back by SQL"), "{told}");
    let place = told.lines().find_map(|line| Some(line.split_once("a private cluster, in ")?.1)).unwrap();
    let file = fs::read_to_string(dir.join("pipelines/logs.yaml")).unwrap();
    assert!(file.contains(&format!("host: {place:?}")), "{place} is not in\n{file}");
    assert!(!Path::new(place).exists(), "{place} is left");
    let clean = verify(&dir);
    assert!(clean.status.success(), "{}", text(&clean));
    let file = dir.join("tables/longshore_demo.logs.ndjson.zst");
    let before = fs::read(&file).unwrap();
    let rows = String::from_utf8(zstd::decode_all(&before[..]).unwrap()).unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    for (words, edited) in [
        ("missing: ", rows[1..].to_vec()),
        ("doubled row: longshore_demo.logs row 2 ", [&rows[..1], &rows[..]].concat()),
    ] {
        fs::write(&file, zstd::encode_all((edited.join("\n") + "\n").as_bytes(), 1).unwrap()).unwrap();
        let found = verify(&dir);
        let (told, row) = (text(&found), origin(rows[0]));
        assert_eq!(found.status.code(), Some(1), "{told}");
        let named = told.lines().any(|line| line.contains(words) && line.contains(&row));
        assert!(named, "no finding {words:?} names {row}:\n{told}");
        assert!(told.contains("rows in the ledger"), "{told}");
    }
}

/// Scenario: the demo with its rows in Parquet files, read back by pyarrow and by DuckDB as well; then the run's folder is moved, and a file
/// taken out. Guarantee: the same account, with as many rows as foreign readers find; the file that is missing is named, and its records.
#[test]
fn rows_in_parquet_are_counted_by_a_reader() {
    let (_home, dir, told) = demo("embedded", &["--sink", "parquet"]);
    assert!(told.contains("distinct rows, read back from the Parquet files"), "{told}");
    let rows: u64 = row(&told, "= in files").iter().sum();
    for reader in [Reader::Pyarrow, Reader::Duckdb] {
        for (folder, found) in [("out/logs", 0), ("out/documents", 1)] {
            let Some(read) = read_back(reader, Place::Folder(&dir.join(folder))) else { continue };
            assert_eq!(
                read.rows.len() as u64,
                row(&told, "= in files")[found],
                "{reader:?}: {folder}\n{told}"
            );
        }
    }
    assert!(rows > 20_000, "{told}");
    let moved = dir.with_file_name("moved");
    fs::rename(&dir, &moved).unwrap();
    let clean = verify(&moved);
    assert!(clean.status.success(), "{}", text(&clean));
    let find =
        Command::new("find").arg(moved.join("out/logs")).args(["-name", "*.parquet"]).output().unwrap();
    let files = String::from_utf8(find.stdout).unwrap();
    let file = Path::new(files.lines().next().unwrap());
    fs::remove_file(file).unwrap();
    let found = verify(&moved);
    let told = text(&found);
    assert_eq!(found.status.code(), Some(1), "{told}");
    let name = file.strip_prefix(&moved).unwrap().display().to_string();
    assert!(told.lines().any(|line| line.contains("is not there") && line.contains(&name)), "{told}");
    assert!(told.contains("missing: demo.logs/"), "{told}");
}

/// Scenario: a twentieth of the records fails on purpose while a worker is killed, then every record for a while; the cause is mended and
/// the letters are sent again. Guarantee: the breaker holds, and opens again by itself; the account names who went through the retry topic, who waited there, and which letters were sent again, each
/// as many as the seed says; nothing waits, and it adds up, also when it is counted again. A copy that is not settled, and a record
/// that never went through retry, are found.
fn rehearsed(broker: &str) {
    let (_home, dir, told) = demo(broker, &["--fail", "5%"]);
    let (retried, replayed, letters) =
        (row(&told, "retried"), row(&told, "replayed"), row(&told, "letters made"));
    assert!(retried[0] > 30_000 * 4 / 100, "{told}");
    assert!(replayed[0] > 30_000 * 4 / 1_000 && letters[0] > replayed[0], "{told}");
    assert!(row(&told, "parked")[0] > 0, "{told}");
    for words in ["partitions hold: reject.flood", "the same workers go on by themselves"] {
        assert!(told.contains(words), "{words:?} is missing in\n{told}");
    }
    let [flooded] = row(&told, "flood")[..] else { panic!("one pipeline is flooded\n{told}") };
    assert!(flooded > 0 && replayed[0] > flooded, "{told}");
    let clean = verify(&dir);
    assert!(clean.status.success(), "{}", text(&clean));
    let run = dir.join("run.json");
    let before = fs::read_to_string(&run).unwrap();
    let mut edited: serde_json::Value = serde_json::from_str(&before).unwrap();
    let committed = &mut edited["pipelines"][0]["retry_committed"][0]["committed"];
    *committed = (committed.as_i64().unwrap() - 1).into();
    let share = &mut edited["pipelines"][1]["rehearsal"]["retry"];
    *share = (share.as_i64().unwrap() * 2).into();
    fs::write(&run, edited.to_string()).unwrap();
    let found = verify(&dir);
    assert_eq!(found.status.code(), Some(1));
    for words in ["retry partition 0: 1 records are not settled", "never went through retry"] {
        assert!(text(&found).contains(words), "{words}: {}", text(&found));
    }
}

#[test]
fn a_rehearsal_on_a_real_broker_adds_up() {
    if JvmBroker::available().is_err() {
        assert!(std::env::var_os("CI").is_none(), "no real broker can run here");
        return;
    }
    rehearsed("jvm");
}

#[test]
fn a_rehearsal_on_the_embedded_broker_adds_up() {
    rehearsed("embedded");
}

/// Scenario: `dev` is pointed at a folder with somebody's files. Guarantee: it refuses with code 64 and removes nothing.
#[test]
fn a_folder_that_is_not_a_run_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("thesis.txt"), "years of work").unwrap();
    let ran = Command::new(binary())
        .args(["dev", "--broker", "embedded", "--dir"])
        .arg(home.path())
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(64), "{}", text(&ran));
    assert_eq!(fs::read_to_string(home.path().join("thesis.txt")).unwrap(), "years of work");
}

/// Changes one file of the run, expects `verify` to end with 1 and to name the row, and puts the file back.
fn plant(dir: &Path, file: &Path, words: &str, change: impl FnOnce(&mut Vec<String>) -> String) {
    let before = fs::read(file).unwrap();
    let foot = before.len() - 12;
    let json = u32::from_le_bytes(before[foot..foot + 4].try_into().unwrap()) as usize;
    // The trailer's frame: 8 bytes of head, 16 of magic and length around the JSON, as `sinks` documents it.
    let trailer = &before[before.len() - json - 36..];
    let rows = String::from_utf8(zstd::decode_all(&before[..]).unwrap()).unwrap();
    let mut rows: Vec<String> = rows.lines().map(str::to_owned).collect();
    let row = change(&mut rows);
    let mut edited = zstd::encode_all((rows.join("\n") + "\n").as_bytes(), 1).unwrap();
    edited.extend_from_slice(trailer);
    fs::write(file, edited).unwrap();
    let found = verify(dir);
    fs::write(file, before).unwrap();
    let told = text(&found);
    assert_eq!(found.status.code(), Some(1), "{words}: {told}");
    let named = told.lines().any(|line| line.contains(words) && line.contains(&row));
    assert!(named, "no finding {words:?} names {row}:\n{told}");
}

fn origin(row: &str) -> String {
    let row: serde_json::Value = serde_json::from_str(row).unwrap();
    row["_origin"].as_str().unwrap().to_owned()
}

/// The places of two neighbouring rows of one key.
fn two_of_a_key(rows: &[String]) -> (usize, usize) {
    let mut last = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let Some(user) = row["attributes"]["user"].as_str() else { continue };
        if let Some(first) = last.insert(user.to_owned(), place) {
            return (first, place);
        }
    }
    panic!("no key stands twice in this file")
}

fn largest(folder: &Path) -> PathBuf {
    let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
    packed_files(folder).into_iter().max_by_key(size).unwrap()
}

/// The README's check: origins that stand twice, by tools that are not ours.
fn doubled_by_foreign_tools(dir: &Path) -> String {
    let script = "find out -name '*.jsonl.zst' -exec zstdcat {} + | jq -r ._origin | sort | uniq -d";
    let ran = Command::new("sh").args(["-c", script]).current_dir(dir).output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran));
    String::from_utf8(ran.stdout).unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
