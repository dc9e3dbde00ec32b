//! A worker under a service manager.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use longshore_tests::harness::rig::PATIENCE;
use longshore_tests::harness::{Rig, binary, report, shared_broker};
use rustix::process::Signal;

/// What a manager hears, by `sd_notify(3)`.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    /// Waits for a message with this line; gives the lines of all messages until then.
    fn wait_for(&self, line: &str) -> Vec<String> {
        let (mut heard, began) = (Vec::new(), Instant::now());
        let mut buffer = [0; 4_096];
        while !heard.iter().any(|known| known == line) {
            assert!(began.elapsed() < PATIENCE, "no {line} in {heard:?}");
            let length = self.socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}: {heard:?}"));
            heard.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
        }
        heard
    }
}

/// Scenario: a worker is started as a service with a watchdog of 3 s, works, and is stopped.
/// Guarantee: the manager hears when it is ready, how it is, that it lives, as often as it asks for, and that it stops.
#[test]
fn a_service_manager_hears_of_a_worker() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-service").with_topics(2);
    let path = rig.folder().join("notify");
    let manager = Manager::at(&path);
    let socket = path.display().to_string();
    let mut worker = rig.worker_with(&[], &[("NOTIFY_SOCKET", &socket), ("WATCHDOG_USEC", "3000000")]);
    let before = manager.wait_for("READY=1");
    assert!(before.iter().all(|line| line != "STOPPING=1"), "{before:?}");
    manager.wait_for("STATUS=running, 2 partitions");
    let began = Instant::now();
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    assert!(began.elapsed() < Duration::from_secs(9), "three pings took {:?}", began.elapsed());
    worker.process.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    worker.stop();
}

/// Guarantee: systemd takes the unit as it is, and counts little that a worker which was taken over could do.
#[test]
fn the_unit_is_sound_and_hardened() {
    let folder = tempfile::tempdir().unwrap();
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd/longshore@.service");
    let text = fs::read_to_string(unit).unwrap();
    let here = text.replace("/usr/local/bin/longshore", &binary().display().to_string());
    assert_ne!(here, text);
    // An instance by itself, since an offline judgement knows no template.
    let unit = folder.path().join("longshore-web.service");
    fs::write(&unit, here.replace("%i", "web")).unwrap();
    let analyze = |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).arg(&unit).output();
    let Ok(verified) = analyze(&["verify", "--man=no"]) else {
        report::skipped("no systemd-analyze");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && said.is_empty(), "{said}");
    // Tenths: 10 is wide open, and what is below 2 is called OK.
    let judged = analyze(&["security", "--offline=true", "--no-pager", "--threshold=20"]).unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
}
