//! Appends: whatever their size, and whatever became of one that failed, each row goes out once and in order.

use longshore_core::sink::SegmentWriter;
use proptest::prelude::*;

use crate::helper::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Scenario: blocks of any size, from empty to several pieces, into one segment of either format.
    /// Guarantee: the file holds their rows in order, and nothing else.
    #[test]
    fn rows_keep_their_order(sizes in prop::collection::vec((0i64..60, 1usize..60_000), 1..6), plain in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let format = FORMATS[usize::from(plain)];
            let (mut writer, _) = writer(folder.path(), format, 1).await;
            let mut next = 0;
            let mut last = 0;
            for (rows, bytes) in sizes {
                let size = writer.append(&block_of(next..next + rows, bytes)).await.unwrap();
                assert!(plain <= (size >= last), "a plain segment grows");
                (next, last) = (next + rows, size);
            }
            writer.seal().unwrap();
            assert_eq!(writer.publish(&trailer(0, 1, 0..next)).await.unwrap(), done());
            assert_eq!(offsets(folder.path()), (0..next).collect::<Vec<_>>());
        });
    }
}

/// Scenario: the file is read while the segment is open. Guarantee: the reported size of a plain segment is exact, that
/// of a compressed one is within the 64 KiB that wait in memory.
#[tokio::test]
async fn the_reported_size_is_the_stored_one() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, _) = writer(folder.path(), format, 1).await;
        let mut reported = 0;
        for start in (0..2000).step_by(100) {
            reported = writer.append(&block_of(start..start + 100, 1000)).await.unwrap();
        }
        writer.seal().unwrap();
        writer.publish(&trailer(0, 1, 0..2000)).await.unwrap();
        let stored = std::fs::metadata(data_file(folder.path(), 0, format)).unwrap().len();
        assert!(reported.abs_diff(stored) < 64 * 1024, "{format:?}: reported {reported}, stored {stored}");
    }
}

/// Polls a call once and drops it; its blocking work may have begun by then or not. Says whether it was done already.
async fn drop_midway<T>(call: impl Future<Output = T>) -> bool {
    tokio::select! {
        biased;
        _ = call => true,
        () = std::future::ready(()) => false,
    }
}

/// Scenario: an append is dropped in the middle, again and again, and then made again. Guarantee: its rows are there
/// once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_append_leaves_nothing() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, _) = writer(folder.path(), format, 1).await;
        let mut next = 0;
        for round in 0..30 {
            let block = block_of(next..next + 40, 20_000);
            let mut taken = false;
            for _ in 0..round % 4 {
                taken = taken || drop_midway(writer.append(&block)).await;
            }
            if !taken {
                writer.append(&block).await.unwrap();
            }
            next += 40;
        }
        if drop_midway(writer.append(&block_of(next..next + 40, 20_000))).await {
            next += 40;
        }
        writer.seal().unwrap();
        for _ in 0..3 {
            drop_midway(writer.publish(&trailer(0, 1, 0..next))).await;
        }
        writer.publish(&trailer(0, 1, 0..next)).await.unwrap();
        assert_eq!(offsets(folder.path()), (0..next).collect::<Vec<_>>(), "{format:?}");
    }
}

/// Scenario: a writer is dropped with an open and a sealed segment. Guarantee: nothing stays behind.
#[tokio::test]
async fn a_dropped_writer_leaves_nothing() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, _) = writer(folder.path(), format, 1).await;
        let append = |writer: Box<dyn SegmentWriter>, start: i64| async move {
            let mut writer = writer;
            writer.append(&block_of(start..start + 200, 2000)).await.unwrap();
            writer
        };
        writer = append(writer, 0).await;
        writer.seal().unwrap();
        writer = append(writer, 200).await;
        assert_eq!(staged(folder.path()).len(), 2);
        drop(writer);
        assert_eq!(staged(folder.path()), Vec::<String>::new());
        assert_eq!(offsets(folder.path()), Vec::<i64>::new());
    }
}
