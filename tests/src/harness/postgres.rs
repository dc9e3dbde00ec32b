//! A real Postgres of the test's own: a fresh cluster in a temporary folder, on a free port, run by a user that is not root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use longshore_broker::postgres::{owner, programs};
use rustix::process::{Pid, Signal, kill_process};

use super::ports::free_port;
use super::report;
use super::wait::pass_time;

/// A server that is not there within this never will be.
const PATIENCE: Duration = Duration::from_secs(60);
/// The superuser of the cluster.
pub const ADMIN: &str = "tester";

/// The password of the keys in `tests/certificates`.
const KEY_PASSWORD: &str = "key-password-7261";

/// Ends the server when whoever holds its standard input is gone, and takes the folder along unless a file `keep` is in it.
const GUARD: &str = r#"dir=$1; shift; "$@" </dev/null & server=$!; cat >/dev/null
kill -QUIT $server 2>/dev/null; wait $server; [ -e "$dir/keep" ] || rm -rf "$dir""#;

/// A Postgres server.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    programs: PathBuf,
    /// User and group that it runs as, when we are root.
    owner: Option<(u32, u32)>,
    port: u16,
    guard: Option<Child>,
}

/// One server for the whole suite, or `None` where none is installed; use a database of your own ([`Postgres::database`]).
///
/// # Panics
/// As [`Postgres::start`].
#[must_use]
pub fn shared_postgres() -> Option<&'static Postgres> {
    static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
    SHARED.get_or_init(Postgres::start).as_ref()
}

impl Postgres {
    /// A fresh cluster, started. None where Postgres is not installed: then the test returns, and is counted as skipped.
    ///
    /// # Panics
    /// When it is installed and does not start, and with `CI=true` when it is not installed.
    #[must_use]
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(std::env::var("CI").is_err(), "CI is set, and Postgres is not installed");
            report::skipped("no Postgres");
            return None;
        };
        let folder =
            tempfile::tempdir().unwrap_or_else(|error| panic!("no folder for Postgres: {error}")).keep();
        let mut server = Self { folder, programs, owner: owner(), port: free_port(), guard: None };
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&server.folder, mode).unwrap_or_else(|error| panic!("postgres: {error}"));
        if let Some((user, group)) = server.owner {
            chown(&server.folder, Some(user), Some(group))
                .unwrap_or_else(|error| panic!("postgres: {error}"));
        }
        let data = server.data();
        let arguments =
            ["-D", path(&data), "-U", ADMIN, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
        let made = server.command("initdb").args(arguments).output();
        check("initdb", &made.unwrap_or_else(|error| panic!("initdb: {error}")));
        // The role `writer` needs its password, the role `sealed` encryption; everybody else is let in.
        let hba = data.join("pg_hba.conf");
        let rest = fs::read_to_string(&hba).unwrap_or_default();
        let rules =
            format!("host all writer 127.0.0.1/32 scram-sha-256\nhostnossl all sealed all reject\n{rest}");
        fs::write(&hba, rules).unwrap_or_else(|error| panic!("pg_hba.conf: {error}"));
        server.give_certificate();
        server.run();
        let version = server.sql("postgres", "show server_version");
        report::used(&format!("Postgres {version}"));
        Some(server)
    }

    /// Its certificate is `stranger.pem` of `tests/certificates`, which names no host.
    fn give_certificate(&self) {
        let certificates = Path::new(env!("CARGO_MANIFEST_DIR")).join("certificates");
        for (from, to) in [("stranger.pem", "server.crt"), ("stranger.key", "server.key")] {
            let to = self.data().join(to);
            let mode = fs::Permissions::from_mode(0o600);
            let given = fs::copy(certificates.join(from), &to).and_then(|_| fs::set_permissions(&to, mode));
            let owned = given.and_then(|()| match self.owner {
                Some((user, group)) => chown(&to, Some(user), Some(group)),
                None => Ok(()),
            });
            owned.unwrap_or_else(|error| panic!("{}: {error}", to.display()));
        }
    }

    /// Starts the server again after [`Self::kill`].
    pub fn run(&mut self) {
        let _ = fs::remove_file(self.folder.join("keep"));
        let (data, port) = (self.data(), self.port.to_string());
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard"]).arg(&self.folder).arg(self.programs.join("postgres"));
        command.args(["-D", path(&data), "-p", &port, "-k", path(&self.folder)]);
        // The machine does not lose its power in a test; the process does, and its files survive that.
        let settings = [
            "fsync=off",
            "listen_addresses=127.0.0.1",
            "max_connections=60",
            "max_prepared_transactions=4",
            "ssl=on",
        ];
        command.args(settings.iter().flat_map(|setting| ["-c", setting]));
        command.args(["-c", &format!("ssl_passphrase_command=echo {KEY_PASSWORD}")]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log"));
        command.stderr(log.map_or_else(|_| Stdio::null(), Stdio::from));
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
            let _ = chown(self.folder.join("log"), Some(user), Some(group));
        }
        let guard = command.current_dir(&self.folder).spawn();
        self.guard = Some(guard.unwrap_or_else(|error| panic!("postgres: {error}")));
        let began = Instant::now();
        while let Err(error) = self.try_sql("postgres", "select 1") {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(began.elapsed() < PATIENCE, "Postgres does not answer: {error}\n{}", log());
            pass_time(Duration::from_millis(50));
        }
    }

    /// Kills the server with SIGKILL, and waits until its backends have found out and are gone: one that has not may answer once more.
    pub fn kill(&mut self) {
        let backends = self.children();
        fs::write(self.folder.join("keep"), "").unwrap_or_else(|error| panic!("postgres: {error}"));
        self.signal(Signal::KILL);
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
        let began = Instant::now();
        while backends.iter().any(|backend| is_there(*backend)) {
            assert!(began.elapsed() < PATIENCE, "backends outlive their server: {backends:?}");
            pass_time(Duration::from_millis(10));
        }
    }

    /// Stops the server and all its backends in their tracks (SIGSTOP), or lets them go on (SIGCONT).
    pub fn signal_all(&self, signal: Signal) {
        for process in self.pid().into_iter().chain(self.children()) {
            let _ = kill_process(process, signal);
        }
    }

    /// The server's backends and helpers.
    fn children(&self) -> Vec<Pid> {
        let Some(server) = self.pid() else { return Vec::new() };
        let found = Command::new("pgrep").args(["-P", &server.as_raw_nonzero().to_string()]).output();
        let found = found.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        found
            .unwrap_or_default()
            .lines()
            .filter_map(|line| Pid::from_raw(line.trim().parse().ok()?))
            .collect()
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, signal);
        }
    }

    fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes an empty database.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn database(&self, name: &str) {
        self.sql("postgres", &format!("create database \"{name}\""));
    }

    /// Runs statements as the superuser and gives the rows, columns between `|`.
    ///
    /// # Panics
    /// When a statement fails.
    #[track_caller]
    #[must_use = "the rows are what is asked for"]
    pub fn rows(&self, database: &str, text: &str) -> Vec<String> {
        let found = self.try_sql(database, text).unwrap_or_else(|error| panic!("{text}: {error}"));
        found.lines().map(str::to_owned).collect()
    }

    /// Runs statements as the superuser and gives what they print.
    ///
    /// # Panics
    /// When a statement fails.
    #[track_caller]
    pub fn sql(&self, database: &str, text: &str) -> String {
        self.try_sql(database, text).unwrap_or_else(|error| panic!("{text}: {error}")).trim_end().to_owned()
    }

    /// The same with its error.
    ///
    /// # Errors
    /// What `psql` says.
    pub fn try_sql(&self, database: &str, text: &str) -> Result<String, String> {
        let port = self.port.to_string();
        let output = Command::new(self.programs.join("psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                ADMIN,
            ])
            .args(["-d", database, "-c", text])
            .env("PGCONNECT_TIMEOUT", "5")
            .output()
            .map_err(|error| error.to_string())?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.folder).stdin(Stdio::null());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        match self.guard.take() {
            Some(mut guard) => {
                drop(guard.stdin.take());
                let _ = guard.wait();
            }
            None => {
                let _ = fs::remove_dir_all(&self.folder);
            }
        }
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn check(what: &str, output: &Output) {
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whether a process runs; one that nobody has waited for yet does not.
fn is_there(process: Pid) -> bool {
    let state = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    state.is_ok_and(|state| !state.contains(") Z "))
}
