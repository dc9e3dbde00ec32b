use std::os::unix::fs::PermissionsExt;

use longshore_core::{Epoch, Lane, Offset, PairId, RecordRef};
use proptest::prelude::*;

use super::*;

/// Records of these values, each with a key, a header and one without a value.
fn chunk(values: &[Option<Vec<u8>>]) -> Arc<Chunk> {
    let mut builder = ChunkBuilder::new(PairId::new("in", 0), Lane::Retry, Epoch(1));
    for (at, value) in (0i64..).zip(values) {
        let key = (at % 3 > 0).then(|| at.to_le_bytes());
        builder.record(Offset(at * 2), 1_000 + at, key.as_ref().map(<[u8; 8]>::as_slice), value.as_deref());
        builder.header(b"x", Some(b""));
        builder.header(b"", None);
    }
    builder.build(None)
}

fn back(spooled: &dyn Spooled, index: u32) -> Result<RecordRef, SpoolError> {
    let mut builder = ChunkBuilder::new(PairId::new("in", 0), Lane::Retry, Epoch(1));
    spooled.give(index, &mut builder)?;
    Ok(RecordRef::new(&builder.build(None), 0).unwrap())
}

fn assert_same(a: &RecordRef, b: &RecordRef) {
    assert_eq!((a.lane_offset(), a.landed_ms()), (b.lane_offset(), b.landed_ms()));
    assert_eq!((a.key(), a.value()), (b.key(), b.value()));
    assert!(a.headers().eq(b.headers()));
}

fn used(spool: &FileSpool) -> u64 {
    spool.usage().used_bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Scenario: chunks of any records are taken. Guarantee: each record comes back as it was, in any order.
    #[test]
    fn gives_back_what_it_took(values in proptest::collection::vec(
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..2_000)), 1..40)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let spool = FileSpool::open(folder.path(), 1 << 30).unwrap();
        let chunks = [chunk(&values), chunk(&values[..1])];
        let kept = chunks.each_ref().map(|chunk| spool.take(chunk).unwrap());
        for (chunk, kept) in chunks.iter().zip(&kept) {
            let largest = (0..chunk.len() as u32).map(|index| chunk.record_bytes(index)).max();
            prop_assert!(kept.largest_bytes() >= largest.unwrap_or(0) as u64);
            for index in (0..chunk.len() as u32).rev() {
                assert_same(&back(kept.as_ref(), index).unwrap(), &RecordRef::new(chunk, index).unwrap());
            }
        }
    }
}

/// Scenario: chunks come and go for long, ten times the bound in all. Guarantee: nothing is refused as long as what is there fits, what
/// does not fit is refused and counted, and in the end all room is free.
#[test]
fn room_is_free_again_when_a_chunk_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let spool = FileSpool::open(folder.path(), 4 << 20).unwrap();
    let large = chunk(&[Some(vec![7; 1 << 20])]);
    let mut kept = std::collections::VecDeque::new();
    for round in 0..40 {
        if kept.len() == 3 {
            kept.pop_front();
        }
        kept.push_back(spool.take(&large).unwrap_or_else(|error| panic!("round {round}: {error}")));
    }
    assert!(matches!(spool.take(&large), Err(SpoolError::Full)));
    assert_eq!(spool.usage().refused, 1);
    kept.clear();
    assert_eq!(used(&spool), 0);
    spool.take(&large).unwrap();
}

/// Scenario: the folder is looked at while chunks are kept. Guarantee: nothing is seen there, so nothing can be left behind.
#[test]
fn nobody_sees_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let spool = FileSpool::open(folder.path(), 1 << 20).unwrap();
    let _kept = spool.take(&chunk(&[Some(vec![1; 1000])])).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(used(&spool) > 0);
}

/// Scenario: the bytes on the disk change. Guarantee: the record is not given, and that is counted.
#[test]
fn what_is_damaged_is_not_given() {
    let folder = tempfile::tempdir().unwrap();
    let spool = FileSpool::open(folder.path(), 1 << 20).unwrap();
    let kept = spool.take(&chunk(&[Some(vec![1; 1000]), Some(vec![2; 1000])])).unwrap();
    let state = spool.state.lock().unwrap();
    let file = &state.segment.as_ref().unwrap().file;
    std::os::unix::fs::FileExt::write_all_at(file, b"!", 500).unwrap();
    assert!(matches!(back(kept.as_ref(), 0), Err(SpoolError::Damaged)));
    assert_eq!(back(kept.as_ref(), 1).unwrap().value(), Some(&[2; 1000][..]));
    assert_eq!(spool.usage().lost, 1);
}

/// Scenario: the table of places changes, so that it names the place of another record of the chunk. Guarantee: that one is not given for it.
#[test]
fn another_record_is_not_given_for_the_one_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let spool = FileSpool::open(folder.path(), 1 << 20).unwrap();
    let kept = spool.take(&chunk(&[Some(vec![1; 1000]), Some(vec![2; 1000])])).unwrap();
    let state = spool.state.lock().unwrap();
    let file = &state.segment.as_ref().unwrap().file;
    let mut places = [0; 16];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut places, 8).unwrap();
    std::os::unix::fs::FileExt::write_all_at(file, &places, 0).unwrap();
    assert!(matches!(back(kept.as_ref(), 0), Err(SpoolError::Damaged)));
}

/// Scenario: the folder is missing, or is a file. Guarantee: that is said at once.
#[test]
fn a_folder_that_cannot_be_used_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(FileSpool::open(&folder.path().join("none"), 1).unwrap_err().kind(), io::ErrorKind::NotFound);
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(FileSpool::open(&file, 1).is_err());
}

/// Scenario: the disk is full. Guarantee: a chunk is refused with the disk's own error and counted, takes no room of the bound, and for a
/// while the disk is not asked again, which is told apart from a full spool; with another file all goes on.
#[test]
fn a_full_disk_refuses_and_is_left_alone_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let spool = FileSpool::open(folder.path(), 1 << 20).unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    spool.state.lock().unwrap().segment = Some(Arc::new(Segment::new(full, Arc::clone(&spool.counts))));
    let chunk = chunk(&[Some(vec![1; 1000])]);
    let Err(SpoolError::Io(error)) = spool.take(&chunk) else { panic!("taken by a full disk") };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(matches!(spool.take(&chunk), Err(SpoolError::Rests)));
    assert_eq!(spool.usage().refused, 2);
    let mut state = spool.state.lock().unwrap();
    (state.segment, state.rests_until) = (None, None);
    drop(state);
    assert_eq!(used(&spool), 0);
    assert_eq!(back(spool.take(&chunk).unwrap().as_ref(), 0).unwrap().value(), Some(&[1; 1000][..]));
}

/// Scenario: two workers have one folder. Guarantee: neither sees what the other has, and each has its own bound.
#[test]
fn two_workers_may_have_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let spools = [(); 2].map(|()| FileSpool::open(folder.path(), 4 << 20).unwrap());
    let kept = [3, 4].map(|byte| chunk(&[Some(vec![byte; 3 << 20])]));
    let kept = [0, 1].map(|at| spools[at].take(&kept[at]).unwrap());
    for (byte, kept) in [3, 4].into_iter().zip(&kept) {
        assert_eq!(back(kept.as_ref(), 0).unwrap().value(), Some(&vec![byte; 3 << 20][..]));
    }
}

/// Scenario: folders in memory and on a disk. Guarantee: they are told apart.
#[test]
fn a_folder_in_memory_is_told_from_one_on_a_disk() {
    assert!(is_in_memory(Path::new("/dev/shm")).unwrap());
    assert!(!is_in_memory(Path::new("/proc")).unwrap());
    assert!(is_in_memory(Path::new("/dev/null/none")).is_err());
}
