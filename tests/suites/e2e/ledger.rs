//! Sinks that do not fit the committed offsets: the worker halts, says why, and loses nothing.

use std::time::Duration;

use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::{Account, Rig, shared_broker};

/// Long enough for a worker that has only to be told of its partitions and give up after `limits.halt`.
const END: Duration = Duration::from_secs(60);

/// Metadata for a commit of offset 0 as a later version may write it: whole, and with a mark that is not known here.
const NEWER_MARK: &str = "L1:AIAAAAANTqQi";

fn fill(rig: &Rig, from: u64, to: u64) {
    rig.witness.publish(&rig.topic, &(from..to).map(log_line).collect::<Vec<_>>());
}

fn drain(rig: &Rig) {
    let worker = rig.working();
    rig.wait_drained(END, &[&worker]);
    worker.stop();
}

fn files(rig: &Rig) -> usize {
    longshore_sinks::verify::list(&rig.files()).unwrap().files.len()
}

/// A worker that cannot work ends by itself, with this exit code and reason.
fn assert_halts(rig: &Rig, reason: &str) {
    let mut worker = rig.worker_with(&["limits.halt=2s"], &[]);
    let code = worker.exit_code(END);
    let said = worker.process.transcript();
    assert_eq!(code, 78, "{said}");
    assert!(said.contains(reason), "{said}");
}

/// Scenario: the input topic is deleted and made again under the same name, with other records.
/// Guarantee: the old files are not mixed with another topic's records: `ledger.foreign`, exit 78; a new generation works.
#[test]
fn a_topic_made_again_is_not_mixed_with_the_old() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-made-again").with_topics(1);
    fill(&rig, 0, 500);
    drain(&rig);
    let before = Account::take(&rig);
    before.assert_right(500, log_fate);
    let held = files(&rig);
    rig.witness.delete_topic(&rig.topic);
    rig.witness.create_topic(&rig.topic, 1, &[]);
    fill(&rig, 0, 700);
    assert_halts(&rig, "ledger.foreign");
    assert!(rig.witness.committed(&rig.group(), &rig.topic).is_empty(), "something was committed");
    assert_eq!(files(&rig), held, "something was published");
    let mut next = rig.worker_with(&["generation=2"], &[]);
    next.wait_for_partitions();
    rig.wait_drained(END, &[&next]);
    next.stop();
}

/// Scenario: the sink folder is empty although offsets are committed (a pod-local disk), then it is back.
/// Guarantee: `ledger.missing`, exit 78, nothing committed meanwhile; with the folder back nothing is lost or doubled.
#[test]
fn an_empty_folder_halts_before_anything_is_lost() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-empty-disk").with_topics(2);
    fill(&rig, 0, 500);
    drain(&rig);
    let aside = rig.folder().join("aside");
    std::fs::rename(rig.files(), &aside).unwrap();
    fill(&rig, 500, 1_000);
    let before = rig.witness.committed(&rig.group(), &rig.topic);
    assert_halts(&rig, "ledger.missing");
    assert_eq!(rig.witness.committed(&rig.group(), &rig.topic), before);
    // What the worker may have made of an empty folder holds no file; the old one takes its place again.
    if rig.files().exists() {
        assert_eq!(files(&rig), 0);
        std::fs::remove_dir_all(rig.files()).unwrap();
    }
    std::fs::rename(&aside, rig.files()).unwrap();
    drain(&rig);
    Account::take(&rig).assert_right(1_000, log_fate);
}

/// Scenario: another tool committed with metadata of its own, then without any.
/// Guarantee: metadata that is not ours stops the worker with a reason; plain offsets are a place to begin.
#[test]
fn foreign_commit_metadata_halts_and_plain_offsets_do_not() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-metadata").with_topics(1);
    fill(&rig, 0, 300);
    rig.witness.commit(&rig.group(), &rig.topic, 0, 100, "written by somebody else");
    assert_halts(&rig, "offset.metadata");
    assert_eq!(rig.witness.committed(&rig.group(), &rig.topic)[&0].offset, 100);
    rig.witness.commit(&rig.group(), &rig.topic, 0, 100, "");
    drain(&rig);
    let account = Account::take(&rig);
    assert_eq!(account.missing(), (0..100).map(|offset| (0, offset)).collect::<Vec<_>>());
}

/// Scenario: a newer worker committed for the input, or for the retry partition alone: a later version of the metadata, or a mark in the known one that
/// is not known here. Guarantee (I1, I4): the worker ends with `format.newer`, exit 78 and one sentence that says what it met, which version it reads
/// and what to do; it publishes nothing and no commit takes the place of the newer one. With the newer commit taken back the
/// worker goes on, and each record is there once.
#[test]
fn commits_of_a_newer_version_halt_and_stay() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-newer").with_topics(1);
    fill(&rig, 0, 300);
    let retry = rig.retry_topic();
    for (topic, metadata, words) in [
        (&rig.topic, "L2:AAAA", "commit metadata of version 2, of which longshore"),
        (&rig.topic, NEWER_MARK, "commit metadata of version 1 with additions that longshore"),
        (&retry, "L2:AAAA", "commit metadata of version 2, of which longshore"),
        (&retry, NEWER_MARK, "commit metadata of version 1 with additions that longshore"),
    ] {
        rig.witness.commit(&rig.group(), topic, 0, 0, metadata);
        let mut worker = rig.worker_with(&["limits.halt=2s"], &[]);
        let code = worker.exit_code(END);
        let said = worker.process.transcript();
        assert_eq!(code, 78, "{said}");
        for words in ["format.newer", words, "run that version or a later one here", "docs/versions.md"] {
            assert!(said.contains(words), "{said} lacks {words}");
        }
        let left = &rig.witness.committed(&rig.group(), topic)[&0];
        assert_eq!((left.offset, left.metadata.as_str()), (0, metadata));
        let other = if topic == &rig.topic { &retry } else { &rig.topic };
        let others = rig.witness.committed(&rig.group(), other);
        assert!(others.values().all(|commit| commit.offset == 0), "{others:?}");
        assert!(!rig.files().exists() || files(&rig) == 0, "something was published");
        rig.witness.commit(&rig.group(), topic, 0, 0, "");
    }
    drain(&rig);
    Account::take(&rig).assert_right(300, log_fate);
}

/// Scenario: the committed offset lies beyond the end of the log.
/// Guarantee: no silent jump: `offset.out-of-range`, exit 78, and the commit stays.
#[test]
fn an_offset_out_of_range_halts() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-range").with_topics(1);
    fill(&rig, 0, 100);
    rig.witness.commit(&rig.group(), &rig.topic, 0, 5_000, "");
    assert_halts(&rig, "offset.out-of-range");
    assert_eq!(rig.witness.committed(&rig.group(), &rig.topic)[&0].offset, 5_000);
}
