//! A real object store of the test's own: versitygw over a temporary folder, on a free port, with keys of its own.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::ports::free_port;
use super::tools::tool;
use super::wait::wait_until;
use super::{http, report};

/// A server that is not there within this never will be.
const PATIENCE: Duration = Duration::from_secs(60);
/// The access key's id.
pub const KEY: &str = "pier-key";
/// The access key's secret.
pub const SECRET: &str = "pier-secret-5120";
/// The region that the server signs for.
pub const REGION: &str = "us-east-1";

/// Ends the server when whoever holds its standard input is gone, and takes the folder along unless a file `keep` is in it.
/// SIGKILL, since a stopped server (SIGSTOP) hears nothing else.
const GUARD: &str = r#"dir=$1; shift; "$@" </dev/null & server=$!; echo $server >"$dir/pid"; cat >/dev/null
kill -KILL $server 2>/dev/null; wait $server 2>/dev/null; [ -e "$dir/keep" ] || rm -rf "$dir""#;

/// An S3 server. A bucket is a folder of [`Store::bucket_folder`], an object a file in it.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    program: PathBuf,
    port: u16,
    guard: Option<Child>,
}

/// One server for the whole suite, or `None` where none can be had; use a bucket of your own ([`Store::bucket`]).
///
/// # Panics
/// As [`Store::start`].
#[must_use]
pub fn shared_store() -> Option<&'static Store> {
    static SHARED: OnceLock<Option<Store>> = OnceLock::new();
    SHARED.get_or_init(Store::start).as_ref()
}

fn program() -> Option<PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(|| tool("versitygw")).clone()
}

impl Store {
    /// A fresh server without buckets. None where it cannot be had: then the test returns, and is counted as skipped.
    ///
    /// # Panics
    /// When it does not start, and with `CI` set when it cannot be had.
    #[must_use]
    pub fn start() -> Option<Self> {
        let program = program()?;
        let folder =
            tempfile::tempdir().unwrap_or_else(|error| panic!("no folder for a store: {error}")).keep();
        let mut store = Self { folder, program, port: free_port(), guard: None };
        make(&store.folder.join("buckets"));
        store.run();
        let version = store.program.parent().and_then(Path::file_name).unwrap_or_default();
        report::used(&version.to_string_lossy());
        Some(store)
    }

    /// Starts the server again after [`Self::kill`], over the same folder.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn run(&mut self) {
        let _ = fs::remove_file(self.folder.join("keep"));
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log"));
        let log = log.unwrap_or_else(|error| panic!("a store's log: {error}"));
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard"]).arg(&self.folder).arg(&self.program);
        command.args(["--port", &self.address(), "--region", REGION, "--quiet", "--keep-alive", "posix"]);
        command.arg(self.folder.join("buckets"));
        command.env("ROOT_ACCESS_KEY", KEY).env("ROOT_SECRET_KEY", SECRET);
        let errors = log.try_clone().map_or_else(|_| Stdio::null(), Stdio::from);
        command.stdin(Stdio::piped()).stdout(log).stderr(errors).process_group(0);
        let guard = command.spawn().unwrap_or_else(|error| panic!("versitygw: {error}"));
        self.guard = Some(guard);
        let address = ([127, 0, 0, 1], self.port).into();
        wait_until("the store answers", PATIENCE, || http::get(address, "/").is_some());
    }

    /// Kills the server with SIGKILL; its folder stays.
    ///
    /// # Panics
    /// When its folder cannot be written to.
    pub fn kill(&mut self) {
        fs::write(self.folder.join("keep"), "").unwrap_or_else(|error| panic!("a store's folder: {error}"));
        self.signal(Signal::KILL);
        self.end();
    }

    /// Sends the server a signal: SIGSTOP lets connections stand without an answer, SIGCONT goes on.
    ///
    /// # Panics
    /// When it goes on beyond a SIGSTOP.
    pub fn signal(&self, signal: Signal) {
        let pid = fs::read_to_string(self.folder.join("pid")).ok().and_then(|text| text.trim().parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else { return };
        let _ = kill_process(pid, signal);
        if signal == Signal::STOP {
            // One thread after the other stops, and until then one may still answer.
            wait_until("the store stands still", PATIENCE, || stands_still(pid));
        }
    }

    /// Makes an empty bucket.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn bucket(&self, name: &str) {
        make(&self.bucket_folder(name));
    }

    /// Where a bucket's objects lie as files, for readers that go by no protocol.
    #[must_use]
    pub fn bucket_folder(&self, name: &str) -> PathBuf {
        self.folder.join("buckets").join(name)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address to give a client.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn end(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.guard.is_some() {
            self.end();
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Whether all threads of a process are stopped, by the state behind the name in brackets (proc_pid_stat(5)).
fn stands_still(pid: Pid) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).into_iter().flatten().flatten();
    let mut stats = tasks.map(|task| fs::read_to_string(task.path().join("stat")).unwrap_or_default());
    stats.all(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
}

fn make(folder: &Path) {
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
}
