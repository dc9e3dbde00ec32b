//! A batch in the broker's log whose checksum is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore_broker::BrokerOptions;
use longshore_core::{Class, Reason};
use longshore_kafka::GroupProtocol;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::{Record, Rig, start_broker, wait_until};

use super::member::{Member, PATIENCE, World, kafka, look};

/// The value of the record to be damaged; it stands alone in its batch.
const MARK: &str = "{\"body\":\"the-record-whose-batch-is-damaged\"}";
/// Whole records before it.
const BEFORE: usize = 10;

/// The one segment file of partition 0.
fn segment(folder: &Path, topic: &str) -> Option<PathBuf> {
    let here = folder.join(format!("{topic}-0")).join("00000000000000000000.log");
    if here.is_file() {
        return Some(here);
    }
    let folders = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    folders.filter(|path| path.is_dir()).find_map(|path| segment(&path, topic))
}

/// Turns one bit of the marked record over.
fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.windows(MARK.len()).position(|window| window == MARK.as_bytes()).unwrap();
    bytes[at + MARK.len() / 2] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// Scenario: ten records, then one in a batch of its own that is damaged in the broker's log, then more.
/// Guarantee: what stands before it is read; nothing behind it is taken, since what is lost nobody can tell (I1, I9); the pair
/// halts with `broker.damaged` and nothing is committed beyond; a worker ends with exit code 65 and says so.
#[test]
fn a_damaged_batch_halts_the_pair_and_is_not_passed_over() {
    let Some(mut broker) = start_broker(BrokerOptions::default()) else { return };
    let rig = Rig::new(&broker.bootstrap(), "group-damaged").with_topics(1);
    let whole = |from: usize, to: usize| (from..to).map(|n| log_line(n as u64).to(0)).collect::<Vec<_>>();
    rig.witness.publish(&rig.topic, &whole(0, BEFORE));
    rig.witness.publish(&rig.topic, &[Record::new("damaged", MARK).to(0)]);
    rig.witness.publish(&rig.topic, &whole(BEFORE, 3 * BEFORE));
    broker.stop(1).unwrap();
    damage(&segment(broker.data(), &rig.topic).unwrap());
    broker.restart(1).unwrap();

    let world = World::default();
    let member =
        Member::join(kafka(&broker.bootstrap(), GroupProtocol::Classic), &rig.topic, "by-hand", &world);
    wait_until("the pair is refused", PATIENCE, || look(&world, |seen| !seen.refused.is_empty()));
    look(&world, |seen| {
        let failure = &seen.refused[0].1;
        assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::BrokerDamaged), "{failure}");
        assert!(failure.detail().contains("offset 10 "), "{failure}");
        let read: Vec<_> = seen.deliveries[&0].keys().copied().collect();
        assert_eq!(read, (0..BEFORE as i64).collect::<Vec<_>>());
        assert_eq!(seen.refused.len(), 1, "said once");
    });
    member.leave();

    let mut worker = rig.worker_with(&["limits.halt=2s"], &[]);
    let code = worker.exit_code(Duration::from_secs(60));
    let said = worker.process.transcript();
    assert_eq!(code, 65, "{said}");
    assert!(said.contains("broker.damaged"), "{said}");
    let committed = rig.witness.committed(&rig.group(), &rig.topic);
    assert!(committed.get(&0).is_none_or(|position| position.offset <= BEFORE as i64), "{committed:?}");
}
