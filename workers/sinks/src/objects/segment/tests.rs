//! Segments with many folders.

use ::parquet::file::reader::{FileReader, SerializedFileReader};

use super::super::folder::Rows;
use super::super::tests::{options, rows_of};
use super::*;

/// How many of a segment's folders have a file.
fn open(segment: &Segment) -> usize {
    segment.folders.values().filter(|folder| folder.object.is_some()).count()
}

fn groups(finished: &Finished) -> Vec<i64> {
    let file = SerializedFileReader::new(finished.file.try_clone().unwrap()).unwrap();
    file.metadata().row_groups().iter().map(|group| group.num_rows()).collect()
}

/// Scenario: more open segments than there is room for files have rows for many folders each, every folder more than a row group.
/// Guarantee: the files of all of them are bounded together; the rest waits, and each record is in its object in the end, in groups of
/// the size that was asked for, whatever had to wait (I5).
#[tokio::test]
async fn files_are_bounded_in_all_segments_and_groups_where_they_waited() {
    let options = options(Format::Parquet, 80);
    let (form, encoder) = (Form::new(&options), Rows::new(&options));
    let mut segments: Vec<Segment> = (0..5).map(|_| Segment::new(form.clone())).collect();
    for segment in &mut segments {
        for part in 0..8 {
            segment.take(&rows_of(&encoder, part * 800..(part + 1) * 800)).unwrap();
            segment.work(&mut form.pool.take().await.unwrap()).unwrap();
        }
    }
    let counts: Vec<usize> = segments.iter().map(open).collect();
    assert_eq!(counts, [64, 64, 64, 64, 0]);
    for segment in &mut segments {
        for name in segment.names() {
            let finished = segment.finish(&name, &[], &mut form.pool.take().await.unwrap()).unwrap();
            let groups = groups(&finished);
            assert_eq!((finished.rows, groups.iter().sum::<i64>()), (80, 80));
            assert!(groups.iter().all(|rows| *rows <= 40), "{groups:?}");
            segment.release(&name);
        }
    }
    let room = form.open.available_permits();
    assert_eq!(room, MOST_OPEN_IN_ALL, "files that are given up make room");
}
