//! Publishing: a number is given once, and asking again is harmless.

use longshore_core::sink::{Published, Sink};
use longshore_core::{Class, Reason, WriterId};

use crate::helper::*;

/// Scenario: several segments, one of them without rows, the next one open while one is sealed. Guarantee: each file
/// holds its own rows, and a new reader of the ledger sees all of them.
#[tokio::test]
async fn segments_follow_each_other() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, first) = writer(folder.path(), format, 1).await;
        assert_eq!(first.0, 0);
        writer.append(&block(0..10)).await.unwrap();
        writer.seal().unwrap();
        writer.append(&block(10..20)).await.unwrap();
        assert_eq!(writer.publish(&trailer(0, 1, 0..10)).await.unwrap(), done());
        writer.seal().unwrap();
        assert_eq!(writer.publish(&trailer(1, 1, 10..20)).await.unwrap(), done());
        writer.seal().unwrap();
        let empty = longshore_core::ledger::Trailer { rows: 0, ..trailer(2, 1, 20..25) };
        assert_eq!(writer.publish(&empty).await.unwrap(), done());
        assert_eq!(offsets(folder.path()), (0..20).collect::<Vec<_>>());
        assert_eq!(staged(folder.path()), Vec::<String>::new());

        let view = sink(folder.path(), format).open(context(2)).recover().await.unwrap();
        assert_eq!(view.next_sequence.0, 3);
        assert_eq!((view.holdings.held().len(), view.holdings.held().run_count()), (25, 1));
        assert_eq!((view.cluster.as_str(), view.topic_id.as_str()), ("cluster-a", "topic-a"));
        assert_eq!(view.partitions_at_birth, 8);
    }
}

/// Scenario: the answer to a publish was not heard, and it is asked again. Guarantee: one file.
#[tokio::test]
async fn publishing_twice_is_publishing_once() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, _) = writer(folder.path(), format, 1).await;
        assert_eq!(write_segment(&mut *writer, 0, 1, 0..5).await, done());
        assert_eq!(writer.publish(&trailer(0, 1, 0..5)).await.unwrap(), Published::TakenByUs);
        assert_eq!(write_segment(&mut *writer, 1, 1, 5..9).await, done());
        assert_eq!(offsets(folder.path()), (0..9).collect::<Vec<_>>());
    }
}

/// Scenario: another writer took the number, and the loser asks again. Guarantee: it hears who has it, both times; a new
/// ownership goes on behind it.
#[tokio::test]
async fn a_taken_number_is_told() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let (mut zombie, _) = writer(folder.path(), format, 1).await;
        let (mut owner, _) = writer(folder.path(), format, 2).await;
        zombie.append(&block(0..5)).await.unwrap();
        zombie.seal().unwrap();
        assert_eq!(write_segment(&mut *owner, 0, 2, 0..7).await, done());
        for _ in 0..2 {
            let taken = zombie.publish(&trailer(0, 1, 0..5)).await.unwrap();
            assert_eq!(taken, Published::TakenByOther(WriterId(2)));
        }
        drop(zombie);
        let (mut third, next) = writer(folder.path(), format, 3).await;
        assert_eq!(write_segment(&mut *third, next.0, 3, 7..9).await, done());
        assert_eq!(offsets(folder.path()), (0..9).collect::<Vec<_>>());
        assert_eq!(staged(folder.path()), Vec::<String>::new());
    }
}

/// Scenario: a publish fails because the folder cannot be written, until it can. Guarantee: the same call then comes
/// through, and nothing was visible before.
#[tokio::test]
async fn a_failed_publish_is_made_again() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, _) = writer(folder.path(), format, 1).await;
        writer.append(&block_of(0..200, 2000)).await.unwrap();
        writer.seal().unwrap();
        let (data, away) = (data_folder(folder.path()), folder.path().join("away"));
        std::fs::rename(&data, &away).unwrap();
        for _ in 0..2 {
            let failure = writer.publish(&trailer(0, 1, 0..200)).await.unwrap_err();
            assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::SinkMissing));
            assert_eq!(failure.at, "files");
        }
        std::fs::rename(&away, &data).unwrap();
        assert_eq!(writer.publish(&trailer(0, 1, 0..200)).await.unwrap(), done());
        assert_eq!(offsets(folder.path()), (0..200).collect::<Vec<_>>());
        assert_eq!(staged(folder.path()), Vec::<String>::new());
    }
}

/// Scenario: trailers that do not fit the writer. Guarantee: a defect is named, nothing is written.
#[tokio::test]
async fn trailers_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = writer(folder.path(), FORMATS[0], 1).await;
    writer.seal().unwrap();
    let foreign = longshore_core::ledger::Trailer { pipeline: "other".into(), ..trailer(0, 1, 0..0) };
    for wrong in [trailer(1, 1, 0..0), trailer(0, 9, 0..0), foreign] {
        assert_eq!(writer.publish(&wrong).await.unwrap_err().reason, Reason::Internal);
    }
    assert!(writer.seal().is_err(), "the sealed segment is not published");
    assert_eq!(writer.publish(&trailer(0, 1, 0..0)).await.unwrap(), done());
}
