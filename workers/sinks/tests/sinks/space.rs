//! No space left: the pair is told to pause, nothing is visible by half, and it goes on when there is space again.

use std::path::Path;
use std::process::{Command, Stdio};

use longshore_core::{Class, Reason, Scope};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::helper::*;

const FOLDER: &str = "LONGSHORE_TEST_SPACE_FOLDER";

/// Not a test by itself: runs under a soft limit of 2 MiB for files, as its parent sets it.
#[tokio::test]
async fn cramped_worker() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    for format in FORMATS {
        let folder = Path::new(&folder).join(format.extension());
        let limit = getrlimit(Resource::Fsize);
        let (mut worker, _) = writer(&folder, format, 1).await;
        let block = block_of(0..1000, 6000);
        for _ in 0..2 {
            let failure = worker.append(&block).await.unwrap_err();
            assert_eq!(failure.class, Class::Retry { scope: Scope::Target, after: None }, "{failure}");
            assert_eq!(failure.reason, Reason::SinkNoSpace);
            let staging = ledger_folder(&folder).join("staging").join(&staged(&folder)[0]);
            assert!(std::fs::metadata(staging).unwrap().len() <= 2 << 20);
        }
        setrlimit(Resource::Fsize, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
        worker.append(&block).await.unwrap();
        worker.seal().unwrap();
        // The trailer finds no space either, and later does.
        setrlimit(Resource::Fsize, Rlimit { current: Some(2 << 20), maximum: limit.maximum }).unwrap();
        if format == FORMATS[0] {
            let failure = worker.publish(&trailer(0, 1, 0..1000)).await.unwrap_err();
            assert_eq!(failure.reason, Reason::SinkNoSpace);
            assert_eq!(names(&data_folder(&folder)), Vec::<String>::new());
        }
        setrlimit(Resource::Fsize, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
        assert_eq!(worker.publish(&trailer(0, 1, 0..1000)).await.unwrap(), done());
        assert_eq!(offsets(&folder), (0..1000).collect::<Vec<_>>());
        setrlimit(Resource::Fsize, limit).unwrap();
    }
}

/// Scenario: files may not grow beyond 2 MiB, until they may. Guarantee: `sink.no-space` for the target, the same block
/// and the same trailer come through later, and each row is there once.
#[test]
fn a_file_size_limit_holds_the_pair() {
    let folder = tempfile::tempdir().unwrap();
    let binary = std::env::current_exe().unwrap();
    // Without the trap the signal would end the process where a full disk gives an error.
    let script = "trap '' XFSZ; ulimit -S -f 2048; exec \"$0\" --exact space::cramped_worker --nocapture";
    let mut shell = Command::new("bash");
    shell.args(["-c", script]).arg(binary).env(FOLDER, folder.path());
    let output = shell.output().unwrap();
    let words =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    assert!(words.contains("1 passed"), "{words}");
    assert_eq!(offsets(&folder.path().join("jsonl")).len(), 1000);
}

/// A small file system of its own, unmounted when dropped; none when this machine's rights do not allow one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(folder.path());
        let mounted = mount.stdout(Stdio::null()).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// Scenario: a full disk (where mounting is allowed), space comes back. Guarantee: as above.
#[tokio::test]
async fn a_full_disk_holds_the_pair() {
    let Some(disk) = SmallDisk::mount() else { return };
    let root = disk.0.path().join("out");
    let (mut worker, _) = writer(&root, FORMATS[1], 1).await;
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 2 << 20]).unwrap();
    let block = block_of(0..1000, 2500);
    let failure = worker.append(&block).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.reason),
        (Class::Retry { scope: Scope::Target, after: None }, Reason::SinkNoSpace)
    );
    std::fs::remove_file(ballast).unwrap();
    worker.append(&block).await.unwrap();
    worker.seal().unwrap();
    assert_eq!(worker.publish(&trailer(0, 1, 0..1000)).await.unwrap(), done());
    assert_eq!(offsets(&root).len(), 1000);
}
