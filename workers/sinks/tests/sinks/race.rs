//! Several writers and readers at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_core::WriterId;
use longshore_core::sink::Published;
use longshore_sinks::verify::{Problem, verify};
use tokio::sync::Barrier;

use crate::helper::*;

/// Scenario: eight writers publish the same number at the same moment, twenty times. Guarantee: one gets it, and all
/// others hear its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn one_of_eight_gets_the_number() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..20u64 {
            let barrier = Arc::new(Barrier::new(8));
            let start = round as i64 * 10;
            let racers = (0..8u128).map(|racer| {
                let (barrier, path) = (Arc::clone(&barrier), folder.path().to_owned());
                let id = u128::from(round) * 100 + racer + 1;
                tokio::spawn(async move {
                    let (mut writer, next) = writer(&path, format, id).await;
                    assert_eq!(next.0, round);
                    writer.append(&block(start..start + 10)).await.unwrap();
                    writer.seal().unwrap();
                    barrier.wait().await;
                    (id, writer.publish(&trailer(round, id, start..start + 10)).await.unwrap())
                })
            });
            let mut outcomes = Vec::new();
            for racer in racers.collect::<Vec<_>>() {
                outcomes.push(racer.await.unwrap());
            }
            let winners: Vec<u128> =
                outcomes.iter().filter(|(_, out)| *out == done()).map(|(id, _)| *id).collect();
            assert_eq!(winners.len(), 1, "{outcomes:?}");
            let lost = Published::TakenByOther(WriterId(winners[0]));
            assert_eq!(outcomes.iter().filter(|(_, out)| *out == lost).count(), 7, "{outcomes:?}");
        }
        assert_eq!(offsets(folder.path()), (0..200).collect::<Vec<_>>());
        assert_eq!(staged(folder.path()), Vec::<String>::new());
    }
}

/// Scenario: new owners recover the pair all the time while one writer works. Guarantee: its staging file is left alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn recovery_leaves_the_living_alone() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (path, stopped) = (folder.path().to_owned(), Arc::clone(&stop));
        let recoveries = tokio::spawn(async move {
            let mut count = 0u128;
            while !stopped.load(Ordering::Relaxed) {
                count += 1;
                writer(&path, format, 1000 + count).await;
            }
            count
        });
        let (mut owner, _) = writer(folder.path(), format, 1).await;
        for sequence in 0..60 {
            let start = sequence as i64 * 10;
            assert_eq!(write_segment(&mut *owner, sequence, 1, start..start + 10).await, done());
        }
        stop.store(true, Ordering::Relaxed);
        assert!(recoveries.await.unwrap() > 0);
        assert_eq!(offsets(folder.path()), (0..600).collect::<Vec<_>>());
    }
}

/// Scenario: a reader globs the folder all the time while a writer works. Guarantee: it sees whole files that do not
/// overlap. (A listing that runs beside a writer may miss a name, so gaps do not count.)
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_sees_whole_files() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let (mut owner, _) = writer(folder.path(), format, 1).await;
        let stop = Arc::new(AtomicBool::new(false));
        let (path, stopped) = (folder.path().to_owned(), Arc::clone(&stop));
        let reader = std::thread::spawn(move || {
            let mut most = 0;
            while !stopped.load(Ordering::Relaxed) {
                let report = verify(&path, |_| {}).unwrap();
                for finding in &report.findings {
                    let gap = matches!(finding.problem, Problem::SequenceMissing(_));
                    // A plain file's data gets its name right after its entry.
                    let between = matches!(finding.problem, Problem::DataMissing);
                    assert!(gap || between, "{finding}");
                }
                most = most.max(report.rows());
            }
            most
        });
        for sequence in 0..60 {
            let start = sequence as i64 * 10;
            assert_eq!(write_segment(&mut *owner, sequence, 1, start..start + 10).await, done());
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        assert_eq!(offsets(folder.path()).len(), 600);
    }
}
