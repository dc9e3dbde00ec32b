//! Reading the ledger back: fast, and only when it is ours and whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use longshore_core::ledger::{LedgerView, Trailer};
use longshore_core::sink::{Sink, WriterContext};
use longshore_core::{Class, Failure, Offset, Reason};

use crate::helper::*;

/// A zstd file without rows, written by hand from the format's description.
fn plant(root: &Path, trailer: &Trailer) {
    let json = serde_json::to_vec(trailer).unwrap();
    let mut frame = Vec::new();
    frame.extend_from_slice(&0x184D_2A57u32.to_le_bytes());
    frame.extend_from_slice(&(json.len() as u32 + 28).to_le_bytes());
    frame.extend_from_slice(&json);
    frame.extend_from_slice(&blake3::hash(&json).as_bytes()[..16]);
    frame.extend_from_slice(&(json.len() as u32).to_le_bytes());
    frame.extend_from_slice(b"LSTRAIL1");
    std::fs::create_dir_all(data_folder(root)).unwrap();
    std::fs::write(data_file(root, trailer.sequence.0, FORMATS[0]), frame).unwrap();
}

async fn recover(root: &Path) -> Result<LedgerView, Failure> {
    sink(root, FORMATS[0]).open(context(99)).recover().await
}

fn assert_halt(result: Result<LedgerView, Failure>, reason: Reason) {
    let failure = result.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Halt, reason), "{failure}");
}

/// Scenario: 10,000 segments, first without any checkpoint, then with one. Guarantee: both are read in well under 2 s.
#[tokio::test]
async fn ten_thousand_segments_are_read_quickly() {
    let folder = tempfile::tempdir().unwrap();
    for sequence in 0..10_000 {
        let start = sequence as i64 * 100;
        plant(folder.path(), &Trailer { rows: 0, ..trailer(sequence, 1, start..start + 100) });
    }
    let begun = Instant::now();
    let view = recover(folder.path()).await.unwrap();
    let bare = begun.elapsed();
    assert_eq!((view.next_sequence.0, view.holdings.held().len()), (10_000, 1_000_000));

    let (mut writer, _) = writer(folder.path(), FORMATS[0], 2).await;
    for sequence in 10_000..10_048 {
        let start = sequence as i64 * 100;
        assert_eq!(write_segment(&mut *writer, sequence, 2, start..start + 100).await, done());
    }
    assert!(names(&ledger_folder(folder.path())).contains(&"00000000000000010048.checkpoint".to_owned()));
    let begun = Instant::now();
    let view = recover(folder.path()).await.unwrap();
    let checkpointed = begun.elapsed();
    assert_eq!((view.next_sequence.0, view.holdings.held().len()), (10_048, 1_004_800));
    use std::io::Write;
    writeln!(std::io::stderr(), "recovery of 10,000 segments: {bare:?} bare, {checkpointed:?} by checkpoint")
        .unwrap();
    assert!(bare < Duration::from_secs(2) && checkpointed < Duration::from_secs(2));
}

/// Scenario: checkpoints are cut, altered, or claim another number. Guarantee: the ledger reads the same.
#[tokio::test]
async fn a_damaged_checkpoint_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = writer(folder.path(), FORMATS[0], 1).await;
    for sequence in 0..130 {
        let start = sequence as i64 * 10;
        assert_eq!(write_segment(&mut *writer, sequence, 1, start..start + 10).await, done());
    }
    let whole = recover(folder.path()).await.unwrap();
    let checkpoint = |number: u64| ledger_folder(folder.path()).join(format!("{number:020}.checkpoint"));
    let text = std::fs::read_to_string(checkpoint(128)).unwrap();
    let altered = text.replace("[[0,1280]]", "[[0,9999]]");
    assert_ne!(altered, text);
    for damaged in [&text[..text.len() / 2], "", altered.as_str()] {
        std::fs::write(checkpoint(128), damaged).unwrap();
        assert_eq!(recover(folder.path()).await.unwrap(), whole);
    }
    std::fs::copy(checkpoint(64), checkpoint(128)).unwrap();
    assert_eq!(recover(folder.path()).await.unwrap(), whole);
    std::fs::write(checkpoint(64), b"\xff").unwrap();
    assert_eq!(recover(folder.path()).await.unwrap(), whole);
}

/// Scenario: the newest checkpoint is one of version 1, as the first Longshore wrote it, and the segments below it have
/// left. Guarantee: it is read, with its letters and their replay numbers.
#[tokio::test]
async fn a_checkpoint_of_version_1_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = writer(folder.path(), FORMATS[0], 1).await;
    for sequence in 0..66 {
        let start = sequence as i64 * 10;
        assert_eq!(write_segment(&mut *writer, sequence, 1, start..start + 10).await, done());
    }
    let checkpoint = ledger_folder(folder.path()).join(format!("{:020}.checkpoint", 64));
    let text = std::fs::read_to_string(&checkpoint).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    json["version"] = 1.into();
    let view = json["view"].as_object_mut().unwrap();
    view.remove("holdings").unwrap();
    view.insert("held".to_owned(), serde_json::json!([[0, 7], [8, 640]]));
    view.insert("dead".to_owned(), serde_json::json!({"7": 2, "639": 0}));
    let json = json.to_string();
    std::fs::write(&checkpoint, format!("{json}\n{}\n", blake3::hash(json.as_bytes()).to_hex())).unwrap();
    for sequence in 0..64 {
        std::fs::remove_file(data_file(folder.path(), sequence, FORMATS[0])).unwrap();
    }
    let view = recover(folder.path()).await.unwrap();
    let held: Vec<_> = view.holdings.held().iter().map(|(first, end)| (first.0, end.0)).collect();
    assert_eq!((view.next_sequence.0, held), (66, vec![(0, 7), (8, 660)]));
    let letter = |offset| view.holdings.letter(longshore_core::Offset(offset));
    assert_eq!([letter(7), letter(639), letter(8)], [Some(2), Some(0), None]);
}

/// Scenario: old files were moved away by whoever reads them. Guarantee: a checkpoint keeps what they held.
#[tokio::test]
async fn files_below_the_checkpoint_may_leave() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = writer(folder.path(), FORMATS[0], 1).await;
    for sequence in 0..70 {
        let start = sequence as i64 * 10;
        assert_eq!(write_segment(&mut *writer, sequence, 1, start..start + 10).await, done());
    }
    let whole = recover(folder.path()).await.unwrap();
    for sequence in 0..64 {
        std::fs::remove_file(data_file(folder.path(), sequence, FORMATS[0])).unwrap();
    }
    assert_eq!(recover(folder.path()).await.unwrap(), whole);
    // One above it is missed, though: its number must not be given a second time.
    std::fs::remove_file(data_file(folder.path(), 66, FORMATS[0])).unwrap();
    assert_halt(recover(folder.path()).await, Reason::LedgerBroken);
}

/// Scenario: a published file lost its end, or was altered there. Guarantee: the pair halts.
#[tokio::test]
async fn a_truncated_file_halts() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = writer(folder.path(), FORMATS[0], 1).await;
    write_segment(&mut *writer, 0, 1, 0..100).await;
    let path = data_file(folder.path(), 0, FORMATS[0]);
    let whole = std::fs::read(&path).unwrap();
    for keep in [whole.len() - 1, whole.len() - 30, whole.len() / 2, 10, 0] {
        std::fs::write(&path, &whole[..keep]).unwrap();
        assert_halt(recover(folder.path()).await, Reason::LedgerBroken);
    }
    let mut altered = whole.clone();
    let place = whole.len() - 100;
    altered[place] ^= 1;
    std::fs::write(&path, altered).unwrap();
    assert_halt(recover(folder.path()).await, Reason::LedgerBroken);
    // A size that leads before the file's beginning, with the right magic behind it.
    let mut hostile = whole.clone();
    let foot = whole.len() - 12;
    hostile[foot..foot + 4].copy_from_slice(&0x0fff_ffffu32.to_le_bytes());
    std::fs::write(&path, hostile).unwrap();
    assert_halt(recover(folder.path()).await, Reason::LedgerBroken);
}

/// Scenario: the folder belongs to another pipeline, topic, partition, generation, cluster or topic id, by a trailer or
/// by a checkpoint. Guarantee: the pair halts as foreign (trap 19).
#[tokio::test]
async fn a_foreign_ledger_halts() {
    let ours = trailer(0, 1, 0..0);
    let foreign = [
        Trailer { pipeline: "other".into(), ..ours.clone() },
        Trailer { topic: "other".into(), ..ours.clone() },
        Trailer { partition: 4, ..ours.clone() },
        Trailer { generation: longshore_core::Generation(2), ..ours.clone() },
        Trailer { cluster: "cluster-b".into(), ..ours.clone() },
        Trailer { topic_id: "topic-b".into(), ..ours.clone() },
    ];
    for trailer in foreign {
        let folder = tempfile::tempdir().unwrap();
        plant(folder.path(), &trailer);
        assert_halt(recover(folder.path()).await, Reason::LedgerForeign);
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = writer(folder.path(), FORMATS[0], 1).await;
    for sequence in 0..64 {
        write_segment(&mut *writer, sequence, 1, 0..0).await;
    }
    let made_again = WriterContext { topic_id: "topic-b".into(), ..context(2) };
    let mut fresh = sink(folder.path(), FORMATS[0]).open(made_again);
    assert_halt(fresh.recover().await, Reason::LedgerForeign);
    // A broker that gives no topic id contradicts nothing.
    let without = WriterContext { topic_id: String::new(), ..context(3) };
    sink(folder.path(), FORMATS[0]).open(without).recover().await.unwrap();
}

/// Scenario: a number is missing below others; a file's trailer says another number; the folder holds the other format.
/// Guarantee: the pair halts and nothing is written over.
#[tokio::test]
async fn a_ledger_that_does_not_add_up_halts() {
    let folder = tempfile::tempdir().unwrap();
    for sequence in [0, 1, 3] {
        plant(folder.path(), &trailer(sequence, 1, 0..0));
    }
    assert_halt(recover(folder.path()).await, Reason::LedgerBroken);

    let folder = tempfile::tempdir().unwrap();
    plant(folder.path(), &trailer(1, 1, 0..0));
    std::fs::rename(data_file(folder.path(), 1, FORMATS[0]), data_file(folder.path(), 0, FORMATS[0]))
        .unwrap();
    assert_halt(recover(folder.path()).await, Reason::LedgerBroken);

    // Offsets that there are not: what is folded once would be believed for ever.
    for (first, end) in [(-5, 3), (7, 3)] {
        let folder = tempfile::tempdir().unwrap();
        let covers = (Offset(first), Offset(end));
        plant(folder.path(), &Trailer { covers, ..trailer(0, 1, 0..0) });
        assert_halt(recover(folder.path()).await, Reason::LedgerBroken);
    }
    for dead in [-1, i64::MAX] {
        let folder = tempfile::tempdir().unwrap();
        plant(folder.path(), &Trailer { dead: BTreeMap::from([(Offset(dead), 0)]), ..trailer(0, 1, 0..0) });
        assert_halt(recover(folder.path()).await, Reason::LedgerBroken);
    }

    let folder = tempfile::tempdir().unwrap();
    plant(folder.path(), &trailer(0, 1, 0..0));
    let mut plain = sink(folder.path(), FORMATS[1]).open(context(2));
    assert_halt(plain.recover().await, Reason::LedgerForeign);
}

/// Scenario: the path is a file, or lies where nothing may be made. Guarantee: a halt with its reason, at once.
#[tokio::test]
async fn a_folder_that_cannot_be_halts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "").unwrap();
    assert_halt(recover(&path).await, Reason::SinkMissing);
}
