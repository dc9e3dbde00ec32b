//! What `make test` tells about a run beyond passed and failed.

use std::fs::OpenOptions;
use std::io::Write;

/// Notes what a suite used, for example a broker and its version.
#[expect(clippy::print_stdout, reason = "test output")]
pub fn used(what: &str) {
    println!("uses {what}");
    append("uses", what);
}

/// Notes that the running test was skipped, and why.
#[expect(clippy::print_stdout, reason = "test output")]
pub fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    println!("skipped {test}: {why}");
    append("skipped", &format!("{test}: {why}"));
}

/// Notes what was measured and what is promised of it: a row of the table that `make test` and `make faults` end with.
#[expect(clippy::print_stdout, reason = "test output")]
pub fn figure(what: &str, found: &str, promised: &str) {
    println!("{what}: {found} ({promised})");
    append("figure", &format!("{what}\t{found}\t{promised}"));
}

/// One line in one write, so that lines of several threads and processes do not mix.
fn append(kind: &str, text: &str) {
    let Some(path) = std::env::var_os("LONGSHORE_TEST_REPORT") else { return };
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let line = format!("{kind}\t{text}\n");
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        panic!("cannot write the test report {}: {error}", path.display());
    }
}
