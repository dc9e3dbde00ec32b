//! What a newer version has left in a folder of files. The forms of objects and of Postgres have the same tests beside them.

use std::path::Path;

use longshore_core::ledger::LedgerView;
use longshore_core::sink::Sink;
use longshore_core::{Class, Failure, Reason};
use longshore_sinks::files::Format;
use longshore_sinks::verify::verify;
use serde_json::{Value, json};

use crate::helper::*;

async fn recover(root: &Path, format: Format) -> Result<LedgerView, Failure> {
    sink(root, format).open(context(99)).recover().await
}

/// That the pair halts with one sentence which says what was found, up to which version this build reads, and what to do.
fn assert_newer(result: Result<LedgerView, Failure>, name: &str, found: u32, known: u32) {
    let failure = result.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::FormatNewer), "{failure}");
    let said = failure.detail();
    let words = [
        format!("{name} of version {found}, of which longshore"),
        format!("reads up to {known}: a newer longshore wrote it; run that version or a later one"),
    ];
    words.iter().for_each(|words| assert!(said.contains(words.as_str()), "{said} lacks {words}"));
}

/// What whoever judges the folder says of it.
fn judged(root: &Path) -> String {
    let findings = verify(root, |_| ()).unwrap().findings;
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The same JSON of another version, with a field that nobody knows here.
fn of_version(mut json: Value, version: u32) -> Value {
    (json["version"], json["more"]) = (json!(version), json!({ "what": [1] }));
    json
}

/// Puts another trailer at the end of a zstd file.
fn replace_trailer(path: &Path, change: impl Fn(Value) -> Value) {
    let bytes = std::fs::read(path).unwrap();
    let size_at = bytes.len() - 12;
    let size = u32::from_le_bytes(bytes[size_at..size_at + 4].try_into().unwrap()) as usize;
    let json_at = size_at - 16 - size;
    let trailer = change(serde_json::from_slice(&bytes[json_at..json_at + size]).unwrap());
    let json = serde_json::to_vec(&trailer).unwrap();
    let mut new = bytes[..json_at - 4].to_vec();
    new.extend_from_slice(&(json.len() as u32 + 28).to_le_bytes());
    new.extend_from_slice(&json);
    new.extend_from_slice(&blake3::hash(&json).as_bytes()[..16]);
    new.extend_from_slice(&(json.len() as u32).to_le_bytes());
    new.extend_from_slice(b"LSTRAIL1");
    std::fs::write(path, new).unwrap();
}

/// Scenario: the trailer of a zstd file, the entry of a plain file, and the trailer in that entry say the next version or one far ahead, and
/// something that is not known here. Guarantee: the pair halts with `format.newer`, not as one with a damaged ledger; nothing in the folder changes; and
/// `sink verify` says that a newer longshore wrote it.
#[tokio::test]
async fn a_newer_trailer_or_entry_halts() {
    for found in [2, 4_000] {
        let folder = tempfile::tempdir().unwrap();
        let (mut packed, _) = writer(folder.path(), Format::JsonlZst, 1).await;
        write_segment(&mut *packed, 0, 1, 0..10).await;
        let file = data_file(folder.path(), 0, Format::JsonlZst);
        replace_trailer(&file, |trailer| of_version(trailer, 1));
        assert!(recover(folder.path(), Format::JsonlZst).await.unwrap_err().reason == Reason::LedgerBroken);
        replace_trailer(&file, |trailer| of_version(trailer, found));
        let left = std::fs::read(&file).unwrap();
        assert_newer(recover(folder.path(), Format::JsonlZst).await, "ledger trailer", found, 1);
        assert_eq!(std::fs::read(&file).unwrap(), left);
        assert!(judged(folder.path()).contains("a newer longshore wrote it"), "{}", judged(folder.path()));

        type Change = fn(Value, u32) -> Value;
        let changes: [(&str, Change); 2] = [
            ("ledger entry of files", of_version),
            ("ledger trailer", |mut entry, found| {
                entry["trailer"] = of_version(entry["trailer"].take(), found);
                entry
            }),
        ];
        for (name, change) in changes {
            let folder = tempfile::tempdir().unwrap();
            let (mut plain, _) = writer(folder.path(), Format::Jsonl, 1).await;
            write_segment(&mut *plain, 0, 1, 0..10).await;
            let path = ledger_folder(folder.path()).join(format!("{:020}.entry", 0));
            let entry = change(serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap(), found);
            std::fs::write(&path, entry.to_string()).unwrap();
            assert_newer(recover(folder.path(), Format::Jsonl).await, name, found, 1);
            assert_eq!(names(&data_folder(folder.path())).len(), 1);
            assert!(
                judged(folder.path()).contains("a newer longshore wrote it"),
                "{}",
                judged(folder.path())
            );
        }
    }
}

/// Scenario: the newest checkpoint is a newer version's; all files are there, then those below it have left, then all. Guarantee: while the
/// trailers tell the same it is passed over; what only it tells of is neither damage nor an empty ledger: the pair halts with `format.newer`.
#[tokio::test]
async fn a_newer_checkpoint_is_passed_over_only_while_the_trailers_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = writer(folder.path(), Format::JsonlZst, 1).await;
    for sequence in 0..66 {
        let start = sequence as i64 * 10;
        assert_eq!(write_segment(&mut *writer, sequence, 1, start..start + 10).await, done());
    }
    let whole = recover(folder.path(), Format::JsonlZst).await.unwrap();
    let path = ledger_folder(folder.path()).join(format!("{:020}.checkpoint", 64));
    let text = std::fs::read_to_string(&path).unwrap();
    let json = of_version(serde_json::from_str(text.lines().next().unwrap()).unwrap(), 3).to_string();
    std::fs::write(&path, format!("{json}\n{}\n", blake3::hash(json.as_bytes()).to_hex())).unwrap();
    assert_eq!(recover(folder.path(), Format::JsonlZst).await.unwrap(), whole);
    for leave in [0..64, 64..66] {
        leave.for_each(|sequence| {
            std::fs::remove_file(data_file(folder.path(), sequence, Format::JsonlZst)).unwrap()
        });
        assert_newer(recover(folder.path(), Format::JsonlZst).await, "ledger checkpoint", 3, 2);
    }
}
