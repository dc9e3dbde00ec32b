//! The image itself, where something can build it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use longshore_broker::{BrokerOptions, Listener};
use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::rig::PATIENCE;
use longshore_tests::harness::{
    Account, Record, Rig, free_port, packed_files, report, start_broker, wait_until,
};

use super::{render, root};

const TAG: &str = "longshore-test:image";
/// What a pod's container has: a file system that cannot be written, and no right to anything. The labels of SELinux are left alone.
const POD: [&str; 5] = [
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--security-opt=label=disable",
];

/// The program that has built the image, once for all tests; none where nothing can: then the test returns, and is counted as skipped.
#[track_caller]
fn builder() -> Option<&'static str> {
    static BUILT: OnceLock<Output> = OnceLock::new();
    let output = BUILT.get_or_init(|| {
        Command::new(root("scripts/image.sh")).arg(TAG).stdin(Stdio::null()).output().unwrap()
    });
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(69) {
        report::skipped(&format!("the image is not built: {}", said.trim()));
        return None;
    }
    assert!(output.status.success(), "{said}");
    let (program, tag) = std::str::from_utf8(&output.stdout).unwrap().trim().split_once(' ').unwrap();
    assert_eq!(tag, TAG);
    Some(program)
}

/// The same where it runs images as well.
fn engine() -> Option<Engine> {
    let program = builder()?;
    if program == "buildah" {
        report::skipped("the image is built and not run: Buildah alone is here");
        return None;
    }
    Some(Engine(program))
}

#[derive(Clone, Copy)]
struct Engine(&'static str);

impl Engine {
    /// Whether a command of the engine ended well, and what it said.
    fn run(self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(self.0).args(arguments).stdin(Stdio::null()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    #[track_caller]
    fn well(self, arguments: &[&str]) -> String {
        let (well, said) = self.run(arguments);
        assert!(well, "{} {}: {said}", self.0, arguments.join(" "));
        said
    }
}

/// A container that goes with its test.
struct Container {
    engine: Engine,
    name: String,
}

impl Drop for Container {
    #[expect(clippy::print_stdout, reason = "test output")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.engine.run(&["logs", &self.name]).1);
        }
        self.engine.run(&["rm", "--force", "--volumes", &self.name]);
    }
}

/// Scenario: the image, whoever builds it. Guarantee: it is run by a user whose number says that it is not root, and asked to stop by SIGTERM.
#[test]
fn the_image_is_built() {
    let Some(program) = builder() else { return };
    report::used(&format!("an image built by {program}"));
    let (inspect, config) = match program {
        "buildah" => (&["inspect", "--type=image"][..], ".OCIv1.Config"),
        _ => (&["image", "inspect"][..], ".Config"),
    };
    let format = format!("{{{{{config}.User}}}} {{{{{config}.StopSignal}}}}");
    let said = Command::new(program).args(inspect).args(["--format", &format, TAG]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "65532:65532 SIGTERM", "{said:?}");
}

/// Scenario: the image runs with a file system that cannot be written and without any right. Guarantee: it is a worker of this version, finds
/// its libraries, reads a pipeline that is mounted, and asks its own health.
#[test]
fn the_image_runs() {
    let Some(engine) = engine() else { return };
    let pipeline = root("deploy/compose-pipeline.yaml").canonicalize().unwrap();
    let mount = format!("{}:/etc/longshore/pipeline.yaml:ro", pipeline.display());
    let start = [&["run", "--rm", "--network=none", "--volume", &mount][..], &POD, &[TAG]].concat();
    let image = |arguments: &[&str]| engine.run(&[&start, arguments].concat());
    let (well, said) = image(&["--version"]);
    assert!(well && said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    let (well, said) = image(&["check", "/etc/longshore/pipeline.yaml"]);
    assert!(well && said.contains("no mistakes"), "{said}");
    // Nobody serves pages in this container.
    let (well, said) = image(&["health"]);
    assert!(!well && said.contains("no answer of /livez"), "{said}");
}

/// Makes what the image's user, nobody of this machine, writes to.
fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
}

/// Scenario: a worker in a container with a pod's rights talks to its broker by TLS, writes to a volume, and is stopped in the middle as a kubelet
/// does, within the grace that a pod has; a second one does the rest.
/// Guarantee: it trusts the authorities where the image has them; as its container's first process it takes the signal, drains and ends with 0;
/// every record is where it belongs, once.
#[test]
fn a_container_drains_when_it_is_stopped() {
    let Some(engine) = engine() else { return };
    let options = BrokerOptions { listeners: vec![Listener::Tls], ..BrokerOptions::default() };
    let Some(broker) = start_broker(options) else { return };
    let kafka =
        format!("{{ brokers: \"{}\", security: {{ tls: {{}} }} }}", broker.bootstrap_of(Listener::Tls));
    let rig = Rig::new(&broker.bootstrap(), "contained").kafka(&kafka).with_topics(2);
    fs::copy(broker.certificate_pem().unwrap(), rig.folder().join("authorities.pem")).unwrap();
    let pod = render::render(render::OBJECTS, &[]);
    let grace = pod.pod()["terminationGracePeriodSeconds"].to_string();
    open_to_all(rig.folder());
    let mut published = 0;
    for round in 0..2 {
        let container = Container { engine, name: format!("longshore-test-{}-{round}", std::process::id()) };
        let records: Vec<Record> = (published..published + 2_000).map(log_line).collect();
        start(&container, &rig);
        rig.witness.publish(&rig.topic, &records);
        published += 2_000;
        if round == 1 {
            rig.wait_drained(PATIENCE, &[]);
        } else {
            wait_until("a file is there", PATIENCE, || !packed_files(&rig.files()).is_empty());
        }
        engine.well(&["stop", "-t", &grace, &container.name]);
        let code = engine.well(&["container", "inspect", "--format", "{{.State.ExitCode}}", &container.name]);
        assert_eq!(code.trim(), "0", "{}", container.name);
    }
    Account::take(&rig).assert_right(published, log_fate);
}

/// Starts a worker and waits until it says that it is ready.
fn start(container: &Container, rig: &Rig) {
    let (engine, name) = (container.engine, container.name.as_str());
    let listen = format!("LONGSHORE_HTTP__LISTEN=127.0.0.1:{}", free_port());
    let folder = rig.folder().display();
    let (volume, file) = (format!("{folder}:{folder}"), rig.file().display().to_string());
    let authorities = format!("{folder}/authorities.pem:/etc/ssl/certs/ca-certificates.crt:ro");
    let mine = ["run", "--detach", "--name", name, "--network=host", "--env", &listen];
    // A volume that the engine makes belongs to whom the image's folder belongs to; the spool is there, as `deploy/compose.yaml` has it.
    let spool = ["--volume=/var/lib/longshore", "--env=LONGSHORE_LIMITS__SPOOL_FOLDER=/var/lib/longshore"];
    let mounted = ["--volume", &volume, "--volume", &authorities].into_iter().chain(spool);
    let worker = [TAG, "run", "-c", &file];
    let settings = rig.settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> =
        mine.into_iter().chain(mounted).chain(POD).chain(worker).chain(settings).collect();
    engine.well(&arguments);
    let ready = ["exec", name, "/usr/local/bin/longshore", "health", "--ready"];
    wait_until("the worker in the container is ready", PATIENCE, || engine.run(&ready).0);
}
