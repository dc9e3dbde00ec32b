//! Plain files: a publish that stopped between the ledger entry and the data.

use std::path::{Path, PathBuf};

use longshore_core::Reason;
use longshore_core::sink::{Published, Sink};
use longshore_sinks::files::Format;

use crate::helper::*;

fn entry_path(root: &Path, sequence: u64) -> PathBuf {
    ledger_folder(root).join(format!("{sequence:020}.entry"))
}

fn entry(root: &Path, sequence: u64) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(entry_path(root, sequence)).unwrap()).unwrap()
}

/// Takes the data of a published segment back to staging, as a crash before its link leaves it.
async fn half_published(root: &Path) -> PathBuf {
    let (mut writer, _) = writer(root, Format::Jsonl, 1).await;
    write_segment(&mut *writer, 0, 1, 0..10).await;
    let staging = ledger_folder(root).join("staging").join(entry(root, 0)["staging"].as_str().unwrap());
    std::fs::rename(data_file(root, 0, Format::Jsonl), &staging).unwrap();
    staging
}

/// Scenario: the entry stands, the data is still in staging. Guarantee: recovery gives it its name; the number is held.
#[tokio::test]
async fn a_half_done_publish_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    half_published(folder.path()).await;
    let (mut next_writer, next) = writer(folder.path(), Format::Jsonl, 2).await;
    assert_eq!(next.0, 1);
    assert_eq!(staged(folder.path()), Vec::<String>::new());
    assert_eq!(write_segment(&mut *next_writer, 1, 2, 10..20).await, done());
    assert_eq!(offsets(folder.path()), (0..20).collect::<Vec<_>>());
}

/// Scenario: the same, but the staging file is gone, altered, or the entry leads out of the folder. Guarantee: a halt;
/// nothing wrong gets a name.
#[tokio::test]
async fn a_half_done_publish_that_cannot_be_finished_halts() {
    let damages: [fn(&Path, &Path); 4] = [
        |_, staging| std::fs::remove_file(staging).unwrap(),
        |_, staging| std::fs::write(staging, "{}\n").unwrap(),
        |root, _| {
            let mut entry = entry(root, 0);
            entry["staging"] = "../../../../../elsewhere".into();
            std::fs::write(entry_path(root, 0), entry.to_string()).unwrap();
        },
        |root, _| std::fs::write(entry_path(root, 0), "{").unwrap(),
    ];
    for damage in damages {
        let folder = tempfile::tempdir().unwrap();
        let staging = half_published(folder.path()).await;
        damage(folder.path(), &staging);
        let mut recovering = sink(folder.path(), Format::Jsonl).open(context(2));
        assert_eq!(recovering.recover().await.unwrap_err().reason, Reason::LedgerBroken);
        assert_eq!(names(&data_folder(folder.path())), Vec::<String>::new());
    }
}

/// Scenario: a zombie has published its entry, a new owner's recovery gives the data its name, and the zombie goes on.
/// Guarantee: the zombie hears that its own publish came through.
#[tokio::test]
async fn a_zombie_finds_its_publish_finished() {
    let folder = tempfile::tempdir().unwrap();
    let (mut zombie, _) = writer(folder.path(), Format::Jsonl, 1).await;
    zombie.append(&block(0..10)).await.unwrap();
    zombie.seal().unwrap();
    // The data's link fails, the entry stands.
    let (data, away) = (data_folder(folder.path()), folder.path().join("away"));
    std::fs::rename(&data, &away).unwrap();
    zombie.publish(&trailer(0, 1, 0..10)).await.unwrap_err();
    std::fs::rename(&away, &data).unwrap();
    let (mut owner, next) = writer(folder.path(), Format::Jsonl, 2).await;
    assert_eq!(next.0, 1);
    assert_eq!(zombie.publish(&trailer(0, 1, 0..10)).await.unwrap(), done());
    assert_eq!(zombie.publish(&trailer(0, 1, 0..10)).await.unwrap(), Published::TakenByUs);
    assert_eq!(write_segment(&mut *owner, 1, 2, 10..20).await, done());
    assert_eq!(offsets(folder.path()), (0..20).collect::<Vec<_>>());
    assert_eq!(staged(folder.path()), Vec::<String>::new());
}

/// Scenario: the entry stands, its writer is dropped before the data has its name. Guarantee: the data survives.
#[tokio::test]
async fn data_that_an_entry_names_survives_its_writer() {
    let folder = tempfile::tempdir().unwrap();
    let (mut zombie, _) = writer(folder.path(), Format::Jsonl, 1).await;
    zombie.append(&block(0..10)).await.unwrap();
    zombie.seal().unwrap();
    let (data, away) = (data_folder(folder.path()), folder.path().join("away"));
    std::fs::rename(&data, &away).unwrap();
    zombie.publish(&trailer(0, 1, 0..10)).await.unwrap_err();
    drop(zombie);
    std::fs::rename(&away, &data).unwrap();
    let (_owner, next) = writer(folder.path(), Format::Jsonl, 2).await;
    assert_eq!(next.0, 1);
    assert_eq!(offsets(folder.path()), (0..10).collect::<Vec<_>>());
    assert_eq!(staged(folder.path()), Vec::<String>::new());
}
