//! The pipeline's journal, as whoever may write to its topic leaves it.
//!
//! The bytes are lines of `key value`, parted by the first space; a line without one has no value.

use longshore_core::journal::{Journal, Key};

/// What may be held for a byte that was read: the worst is a block of runs of one letter each, `[0,1],` as two numbers of 64 bits, and a run's
/// id beside it.
const BYTES_FOR_ONE: usize = 64;

/// See the module.
pub fn run(data: &[u8]) {
    let mut journal = Journal::default();
    for line in data.split(|byte| *byte == b'\n') {
        let (key, value) = match line.iter().position(|byte| *byte == b' ') {
            Some(space) => (&line[..space], Some(&line[space + 1..])),
            None => (line, None),
        };
        if let Some(read) = Key::parse(key) {
            assert_eq!(Key::parse(read.to_string().as_bytes()).as_ref(), Some(&read));
            assert_eq!(Key::is_selected(key), matches!(read, Key::Selected(_)));
        }
        journal.apply(Some(key), value);
    }
    let most = BYTES_FOR_ONE * data.len() + 1_024;
    assert!(journal.bytes() <= most, "{} bytes of {} that were read (I5)", journal.bytes(), data.len());
    // What commands ask of it.
    let all = journal.all_handled();
    let topics: Vec<String> = all.topics().map(str::to_owned).collect();
    for topic in &topics {
        for (partition, runs) in all.partitions(topic) {
            for (first, end) in runs.iter() {
                assert!(all.contains(topic, partition, first.0) && !all.contains(topic, partition, end.0));
                journal.handled_by(topic, partition, first.0);
            }
        }
    }
    assert_eq!(all.is_empty(), all.len() == 0);
    for key in journal.outlived(|_, _| Some(i64::MAX)) {
        assert_eq!(Key::parse(key.to_string().as_bytes()), Some(key));
    }
    blocks(&journal);
}

/// The blocks that are written of marks are the marks again.
fn blocks(journal: &Journal) {
    let marks = journal.all_handled();
    let mut again = Journal::default();
    for (topic, partition, base) in marks.bases() {
        let block = serde_json::to_vec(&marks.block(topic, partition, base)).expect("a block is JSON");
        assert!(block.len() <= 512 << 10, "a block of {} bytes", block.len());
        let key = format!("handled/r/{topic}/{partition}/{base}");
        again.apply(Some(key.as_bytes()), Some(&block));
    }
    assert_eq!(again.unreadable, 0);
    assert_eq!(again.all_handled().len(), marks.len());
    for run in journal.runs.values() {
        let text = serde_json::to_vec(run).expect("a run is JSON");
        let read: longshore_core::journal::Run = serde_json::from_slice(&text).expect("ours");
        assert_eq!(&read, run);
    }
}
