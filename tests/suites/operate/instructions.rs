//! What the engine spends on a record, in instructions: counted by valgrind, so that a busy machine changes nothing, and held against what was
//! recorded, so that it does not creep up.

use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_tests::harness::report;

/// The record. Its counts are of the tests' build by the toolchain of `rust-toolchain.toml` with the libraries of `Cargo.lock`.
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/instructions.txt");
/// The engine may spend so much more or less than was recorded. Less is to be recorded too, or the next step up would not be seen.
const BAND: f64 = 0.03;
const RECORDS: u64 = 20_000;

/// What the counts depend on beside build and libraries. Valgrind shows a program the same processor on every machine of one architecture, with
/// AVX2 or without: that is what the C library and `memchr` choose their loops by. Nothing in the engine hashes with a seed of chance. Runs differ by
/// a few instructions of 24,000.
fn kind() -> String {
    #[cfg(target_arch = "x86_64")]
    let with = if std::arch::is_x86_feature_detected!("avx2") { "-avx2" } else { "" };
    #[cfg(not(target_arch = "x86_64"))]
    let with = "";
    format!("{}{with}", std::env::consts::ARCH)
}

/// The example, which the build of everything makes beside this test.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/engine_cost")
}

/// Why the example is not what these sources make, if it is not: nothing builds it when this suite alone is built. Cargo writes beside it what it was
/// made of, registry crates left out, as a rule of a Makefile.
fn staleness(example: &Path, root: &Path) -> Option<String> {
    let again = "build everything first: cargo build --workspace --all-targets";
    let of = |path: &Path| std::fs::metadata(path).and_then(|found| found.modified());
    let Ok(made) = of(example) else { return Some(format!("{} is not there; {again}", example.display())) };
    let rule = std::fs::read_to_string(example.with_extension("d")).unwrap_or_default();
    let (_, sources) = rule.split_once(": ").unwrap_or_default();
    // A space in a path is written with a backslash before it.
    let sources = sources.trim().replace("\\ ", "\0");
    let mut sources = sources.split(' ').map(|path| PathBuf::from(path.replace('\0', " "))).peekable();
    if sources.peek().is_none_or(|first| !first.starts_with(root)) {
        return Some(format!("{} was made of sources elsewhere; {again}", example.display()));
    }
    let newer = sources.find(|source| of(source).is_ok_and(|changed| changed > made))?;
    Some(format!("{} is older than {}; {again}", example.display(), newer.display()))
}

/// Instructions of a run over so many records, which says `told` when it is through.
fn instructions(what: &str, records: u64, told: &str) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(example())
        .args([what, &records.to_string()])
        // The allocator gives memory back by the clock otherwise, and valgrind's time is not the machine's.
        .env("MIMALLOC_PURGE_DELAY", "-1")
        .output()
        .unwrap();
    let (said, heard) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success() && heard.trim() == told, "{heard}{said}");
    let count = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    count.unwrap_or_else(|| panic!("no count of instructions: {said}"))
}

/// Instructions for each record: what starting costs is in both runs.
fn each(what: &str, told: fn(u64) -> String) -> f64 {
    let (few, many) = (RECORDS / 10, RECORDS + RECORDS / 10);
    let of = |records| instructions(what, records, &told(records));
    (of(many) - of(few)) as f64 / (many - few) as f64
}

/// What was recorded for this kind of machine: the engine's figure and that of reading JSON alone.
fn recorded(text: &str, kind: &str) -> Option<(f64, f64)> {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = words.into_iter().find(|words| words.first() == Some(&kind))?;
    Some((line[1].parse().unwrap(), line[2].parse().unwrap()))
}

/// The record with this kind's figures in place of those that it had.
fn with(text: &str, kind: &str, (engine, bare): (f64, f64)) -> String {
    let others = text.lines().filter(|line| line.split_whitespace().next() != Some(kind));
    let mut lines: Vec<_> = others.map(str::to_owned).collect();
    lines.push(format!("{kind} {engine:.0} {bare:.0}"));
    lines.join("\n") + "\n"
}

/// What to say when the engine's figure is out of the band.
fn complaint((engine, bare): (f64, f64), (engine_then, bare_then): (f64, f64)) -> Option<String> {
    let (moved, beside) = (engine / engine_then - 1.0, bare / bare_then - 1.0);
    (moved.abs() > BAND).then(|| {
        format!(
            "{engine:.0} instructions a record, recorded are {engine_then:.0}: {:+.1} % (reading JSON alone: {:+.1} %, so much comes from \
             toolchain and libraries). If it is meant, record it with UPDATE_EXPECT=1",
            moved * 100.0,
            beside * 100.0
        )
    })
}

/// Scenario: logs go through the engine in memory: chunk, machine, steps, rows, settled, committed to the last one. Guarantee: the
/// instructions for each record stay within 3 % of what was recorded; `UPDATE_EXPECT=1` records them anew.
#[test]
fn the_engine_spends_what_it_did() {
    if !cfg!(debug_assertions) {
        return report::skipped("the record is of the tests' build, not of this one");
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        assert!(std::env::var("CI").is_err(), "CI is set, and there is no valgrind");
        return report::skipped("no valgrind");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    if let Some(stale) = staleness(&example(), root) {
        panic!("{stale}");
    }
    let engine = each("engine", |records| format!("{records} records, {records} committed"));
    let found = (engine, each("bare", |records| format!("{records} records")));
    report::used(&format!(
        "valgrind: the engine spends {:.0} instructions a record, reading JSON alone {:.0}",
        found.0, found.1
    ));
    let (kind, text) = (kind(), std::fs::read_to_string(RECORDED).unwrap_or_default());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        return std::fs::write(RECORDED, with(&text, &kind, found)).unwrap();
    }
    let Some(then) = recorded(&text, &kind) else {
        return report::skipped(&format!("no instructions are recorded for {kind}"));
    };
    if let Some(complaint) = complaint(found, then) {
        panic!("{complaint}");
    }
}

/// Guarantee: a step up and a step down beyond the band are told with what to do, those inside of it are not, and a record changes no other
/// machine's.
#[test]
fn a_step_beyond_the_band_is_told() {
    let text = with("# engine bare\nriscv64 9000 1000\n", "x86_64-avx2", (6_000.4, 2_000.0));
    assert_eq!(text, "# engine bare\nriscv64 9000 1000\nx86_64-avx2 6000 2000\n");
    assert_eq!(recorded(&text, "x86_64"), None, "another kind of machine");
    let then = recorded(&text, "x86_64-avx2").unwrap();
    assert_eq!(then, (6_000.0, 2_000.0));
    assert_eq!(complaint((6_150.0, 2_000.0), then), None);
    assert!(complaint((6_300.0, 2_000.0), then).unwrap().contains("+5.0 % (reading JSON alone: +0.0 %"));
    assert!(complaint((5_700.0, 2_000.0), then).unwrap().contains("UPDATE_EXPECT=1"));
    assert_eq!(with(&text, "x86_64-avx2", (5_000.0, 1.0)).lines().count(), 3, "replaced, not added");
}

/// Guarantee: an example that is not there, is of another folder's sources, or is older than one of its own is told with what to do; one that was built
/// last is taken.
#[test]
fn an_example_of_older_sources_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (example, source) = (root.join("an example"), root.join("a source.rs"));
    let told = || staleness(&example, root).unwrap();
    assert!(told().contains("is not there") && told().contains("--all-targets"), "{}", told());
    let write = |path: &Path, text: &str, second: u64| {
        std::fs::write(path, text).unwrap();
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
    };
    write(&source, "", 100);
    write(&example, "", 99);
    let named = |path: &Path| path.display().to_string().replace(' ', "\\ ");
    let rule = |source: &Path| format!("{}: {} {}\n", named(&example), named(source), named(source));
    write(&example.with_extension("d"), &rule(Path::new("/elsewhere/lib.rs")), 0);
    assert!(told().contains("elsewhere"), "{}", told());
    write(&example.with_extension("d"), &rule(&source), 0);
    assert!(told().contains("older than") && told().contains("a source.rs"), "{}", told());
    write(&example, "", 100);
    assert_eq!(staleness(&example, root), None);
}
