//! Disks that fill up under a whole worker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::readback::{Place, Reader, read_back};
use longshore_tests::harness::rig::PATIENCE;
use longshore_tests::harness::{Flow, Rig, report, shared_broker, wait_until};

use super::worker::{is_kept, numbers, wait_held};

/// A disk of 8 MiB, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None, and the test counts as skipped, where this machine's rights do not allow one.
    fn mount(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(folder);
        let mounted = mount.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(folder.to_owned()));
        }
        report::skipped("no disk can be mounted");
        None
    }

    /// Takes all room there is, until [`Self::free`].
    fn fill(&self) {
        let mut ballast = fs::File::create(self.0.join("ballast")).unwrap();
        while std::io::Write::write_all(&mut ballast, &[1; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A worker that the test gave up may still be in it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Plays a flow of records during which a disk has no room for a while; `place` and `staging` are the sink's.
fn plays(name: &str, place: &str, staging: &str) {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), name);
    let Some(disk) = SmallDisk::mount(&rig.folder().join("small")) else { return };
    let (lake, staging) = (rig.folder().join(place), rig.folder().join(staging));
    let sink = format!(
        "\n  - objects: {{ url: \"{}\", staging: \"{}\", roll: {{ age: 300ms }} }}",
        lake.display(),
        staging.display()
    );
    let rig = rig.sinks(&sink).with_topics(2);
    let mut worker = rig.working();
    let flow = Flow::start(&rig.witness, &rig.topic, 500, log_line);
    let committed = || -> i64 {
        rig.witness.committed(&rig.group(), &rig.topic).values().map(|position| position.offset).sum()
    };
    let goes_on = || {
        let (before, started) = (committed(), Instant::now());
        wait_until("records are committed", PATIENCE, || committed() > before + 200);
        started.elapsed()
    };
    goes_on();
    disk.fill();
    wait_held(&mut worker, "sink.no-space");
    disk.free();
    let took = goes_on();
    assert!(took < Duration::from_secs(5), "{took:?} after there was room again");
    let published = flow.stop();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();
    let copies: i64 = rig.witness.ends(&rig.retry_topic()).iter().sum();
    assert_eq!(copies, 0, "a full disk is no reason for a retry");
    let Some(found) = read_back(Reader::Duckdb, Place::Folder(&lake)) else { return };
    let found = numbers(&found.rows);
    assert!(found.values().all(|origins| origins.len() == 1), "rows are there more than once");
    let expected: Vec<u64> = (0..published).filter(|number| is_kept(*number)).collect();
    assert_eq!(found.into_keys().collect::<Vec<_>>(), expected);
}

/// Scenario: the disk that the lake is on fills up under a flow of records; then there is room again.
/// Guarantee (I1, I2, I6): the worker says so and goes on by itself within five seconds; nothing goes to the retry topic, and each record is there
/// once.
#[test]
fn a_lake_without_room_is_waited_for() {
    plays("objects-full", "small/lake", "staging");
}

/// Scenario: the same with the disk for what is not uploaded yet. Guarantee: the same.
#[test]
fn a_staging_disk_without_room_is_waited_for() {
    plays("objects-staged", "lake", "small/staging");
}
