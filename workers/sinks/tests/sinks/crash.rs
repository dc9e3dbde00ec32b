//! Workers that die without a word, in processes of their own.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use longshore_sinks::files::Format;

use crate::helper::*;

const FOLDER: &str = "LONGSHORE_TEST_CRASH_FOLDER";
const POINT: &str = "LONGSHORE_TEST_CRASH_POINT";

/// Not a test by itself: the process that dies at a point.
#[tokio::test]
async fn dying_worker() {
    let (Some(folder), Ok(point)) = (std::env::var_os(FOLDER), std::env::var(POINT)) else { return };
    let folder = Path::new(&folder);
    let (point, format) = point.split_once(' ').unwrap();
    let format = format_named(format);
    let (mut worker, next) = writer(folder, format, 7).await;
    let start = next.0 as i64 * 1000;
    worker.append(&block_of(start..start + 500, 1000)).await.unwrap();
    if point == "append" {
        std::process::abort();
    }
    worker.append(&block_of(start + 500..start + 1000, 1000)).await.unwrap();
    worker.seal().unwrap();
    if point == "seal" {
        std::process::abort();
    }
    worker.append(&block_of(start + 1000..start + 1500, 1000)).await.unwrap();
    worker.publish(&trailer(next.0, 7, start..start + 1000)).await.unwrap();
    std::process::abort();
}

fn format_named(name: &str) -> Format {
    FORMATS.into_iter().find(|format| format.extension() == name).unwrap()
}

fn worker(folder: &Path, point: &str, format: Format) -> Command {
    let mut command = child("crash::dying_worker", FOLDER, folder.as_os_str());
    command.env(POINT, format!("{point} {}", format.extension()));
    command
}

/// Scenario: a worker aborts after an append, after the seal, and after a publish with the next segment open.
/// Guarantee: what it published is held and nothing else is visible; its staging files go at the next recovery.
#[tokio::test]
async fn a_crash_leaves_only_what_was_published() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        for (point, published) in [("append", 0), ("seal", 0), ("publish", 1), ("publish", 2)] {
            let ended =
                worker(folder.path(), point, format).stdout(Stdio::null()).stderr(Stdio::null()).status();
            assert!(!ended.unwrap().success());
            assert!(!staged(folder.path()).is_empty(), "{point}: the crash left a staging file");
            let (_writer, next) = writer(folder.path(), format, 100).await;
            assert_eq!(next.0, published, "{point}");
            assert_eq!(staged(folder.path()), Vec::<String>::new(), "{point}");
            let expected: Vec<i64> = (0..published as i64 * 1000).collect();
            assert_eq!(offsets(folder.path()), expected, "{point}");
        }
    }
}

/// Not a test by itself: publishes until it is killed, and says so each time.
#[tokio::test]
async fn busy_worker() {
    let Some(spec) = std::env::var_os("LONGSHORE_TEST_BUSY") else { return };
    let spec = spec.into_string().unwrap();
    let (format, folder) = spec.split_once(' ').unwrap();
    let id = u128::from(std::process::id());
    let (mut worker, next) = writer(Path::new(folder), format_named(format), id).await;
    for sequence in next.0.. {
        let start = sequence as i64 * 10;
        let published = write_segment(&mut *worker, sequence, id, start..start + 10).await;
        writeln!(std::io::stdout(), "\npublished {sequence} {}", published == done()).unwrap();
    }
}

/// Scenario: a worker is killed after some publishes, wherever it is by then, again and again. Guarantee: every publish
/// that was answered is there, rows are unique, numbers have no gaps, and the next recovery cleans up.
#[tokio::test]
async fn kills_at_any_point_lose_nothing() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..12 {
            let spec = OsString::from(format!("{} {}", format.extension(), folder.path().display()));
            let mut busy = child("crash::busy_worker", "LONGSHORE_TEST_BUSY", &spec);
            let mut busy = busy.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let lines = BufReader::new(busy.stdout.take().unwrap()).lines().map(Result::unwrap);
            let answered =
                lines.filter(|line| line.starts_with("published")).take(1 + round * 7).last().unwrap();
            busy.kill().unwrap();
            busy.wait().unwrap();
            let last: u64 = answered.split(' ').nth(1).unwrap().parse().unwrap();
            assert!(answered.ends_with("true"), "{answered}");
            let (_writer, next) = writer(folder.path(), format, 1).await;
            assert!(next.0 > last, "published {last}, but the ledger ends before {}", next.0);
            assert_eq!(offsets(folder.path()), (0..next.0 as i64 * 10).collect::<Vec<_>>());
            assert_eq!(staged(folder.path()), Vec::<String>::new());
        }
    }
}

/// Scenario: a crash between the link and the removal of the staging name. Guarantee: recovery removes the staging name
/// alone.
#[tokio::test]
async fn a_staging_name_beside_a_published_one_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (mut worker, _) = writer(folder.path(), FORMATS[0], 1).await;
    write_segment(&mut *worker, 0, 1, 0..10).await;
    drop(worker);
    let staging = ledger_folder(folder.path()).join("staging/dead-0.spool");
    std::fs::hard_link(data_file(folder.path(), 0, FORMATS[0]), staging).unwrap();
    let (_writer, next) = writer(folder.path(), FORMATS[0], 2).await;
    assert_eq!(next.0, 1);
    assert_eq!(staged(folder.path()), Vec::<String>::new());
    assert_eq!(offsets(folder.path()).len(), 10);
}
