//! A private Postgres cluster from the server programs of this machine, for a demo or a measurement. It listens on no address: whoever comes
//! to the socket in its folder, which only its user may enter, is its superuser. It goes with its owner, however that ends.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The superuser of a cluster, and its database.
pub const ADMIN: &str = "postgres";
/// Names the socket in a cluster's folder.
pub const PORT: u16 = 5432;
/// How long a cluster may take to be made and to answer.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// So many of the last lines of its log say why it did not begin.
const LOG_LINES: usize = 4;

/// Makes a cluster and runs it. Ends that when whoever holds its standard input is gone, by whatever signal, and takes the folder along. What
/// ends by itself leaves the file `ended`.
///
/// A program may not be there yet, or not listen to signals yet; SIGINT, which ends a server fast, is even ignored until then. So SIGTERM comes
/// first, and both come until all is over.
const GUARD: &str = r#"dir=$1 programs=$2 port=$3 admin=$4
(trap 'exit 1' TERM
"$programs/initdb" -D "$dir/data" -U "$admin" -A trust -E UTF8 --locale=C --no-sync &&
"$programs/postgres" -D "$dir/data" -p "$port" -k "$dir" -c listen_addresses= -c max_connections=100
: >"$dir/ended") </dev/null >"$dir/log" 2>&1 & all=$!
cat >/dev/null
trap '' TERM INT
while kill -0 $all; do kill -TERM 0; kill -INT 0; sleep 0.1; done
for try in 1 2 3 4 5; do rm -rf "$dir" && break; sleep 0.1; done"#;

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No server's programs were found.
    #[error("no Postgres server is installed here: `apt-get install postgresql`")]
    NotInstalled,
    /// The server ended as it began; with the last lines of its log.
    #[error("the private Postgres ended: {0}")]
    Ended(String),
    /// The server does not answer within a minute; with the last lines of its log.
    #[error("the private Postgres does not answer: {0}")]
    Silent(String),
    /// The operating system refused.
    #[error("the private Postgres: {0}")]
    Io(#[from] io::Error),
}

/// A fresh cluster in a temporary folder. Both go when it is dropped, or when its process ends.
#[derive(Debug)]
pub struct PrivatePostgres {
    folder: PathBuf,
    programs: PathBuf,
    /// The shell that ends the server.
    guard: Child,
}

impl PrivatePostgres {
    /// Starts one and waits until it answers, some seconds. Syncs to disk as a server does by default.
    ///
    /// # Errors
    /// When no server is installed, or it does not answer within a minute.
    pub fn start() -> Result<Self, PostgresError> {
        Self::begin(&programs().ok_or(PostgresError::NotInstalled)?)?.answering()
    }

    fn begin(programs: &Path) -> Result<Self, PostgresError> {
        let folder = tempfile::Builder::new().prefix("longshore-postgres-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        let mut run = Command::new("sh");
        if let Some((user, group)) = owner() {
            chown(folder.path(), Some(user), Some(group))?;
            run.uid(user).gid(group);
        }
        run.args(["-c", GUARD, "guard"]).arg(folder.path()).arg(programs).arg(PORT.to_string()).arg(ADMIN);
        without_settings(&mut run).current_dir(folder.path());
        // A group of its own, so that Ctrl-C ends the process first and the server by its guard.
        run.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let guard = run.spawn()?;
        // From here on the guard takes the folder away.
        Ok(Self { folder: folder.keep(), programs: programs.to_owned(), guard })
    }

    fn answering(self) -> Result<Self, PostgresError> {
        let deadline = Instant::now() + START_DEADLINE;
        while !self.psql().args(["-c", "select 1"]).output()?.status.success() {
            if self.folder.join("ended").exists() {
                return Err(PostgresError::Ended(self.last_words()));
            }
            if Instant::now() > deadline {
                return Err(PostgresError::Silent(self.last_words()));
            }
            // There is nothing to subscribe to before the server answers.
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(self)
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("; ")
    }

    /// The folder of its socket; clients take it for a host.
    #[must_use]
    pub fn host(&self) -> &Path {
        &self.folder
    }

    /// One of the server's programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// `psql`, connecting as the superuser; wants `-c` or `-f`, and says no more than what is asked for.
    #[must_use]
    pub fn psql(&self) -> Command {
        let mut command = Command::new(self.program("psql"));
        without_settings(&mut command).args(["-X", "-q", "-w", "-v", "ON_ERROR_STOP=1"]).stdin(Stdio::null());
        command.arg("-h").arg(&self.folder).args(["-p", &PORT.to_string(), "-U", ADMIN, "-d", ADMIN]);
        command
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        // Its standard input closes, and it ends the server.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// Takes out of a command what the environment says of another database. The password, `PGPASSWORD`, is meant for it and stays.
pub fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") && name != "PGPASSWORD" {
            command.env_remove(name);
        }
    }
    command
}

/// The folder of the newest server's programs: Debian's place, or wherever `pg_config` says. None without a server.
#[must_use]
pub fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut found: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
    found.sort_by_key(|path| std::cmp::Reverse(number(path)));
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim().to_owned()));
    let mut all = found.into_iter().map(|path| path.join("bin")).chain(told);
    all.find(|folder| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).is_file()))
}

/// Postgres refuses to run as root; then it runs as the user that its package made, or as nobody. User and group.
#[must_use]
pub fn owner() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres").or_else(|| find("nobody"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(cluster: &PrivatePostgres, setting: &str) -> String {
        let output = cluster.psql().args(["-A", "-t", "-c", &format!("show {setting}")]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Guarantee: nobody but its user comes to a private cluster: it listens in its own folder alone. The folder goes with it.
    #[test]
    fn a_private_cluster_listens_in_its_folder_alone() {
        if programs().is_none() {
            assert!(std::env::var_os("CI").is_none(), "no Postgres can run here");
            return;
        }
        let cluster = PrivatePostgres::start().unwrap();
        assert_eq!(show(&cluster, "listen_addresses"), "");
        let folder = cluster.host().to_owned();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(show(&cluster, "unix_socket_directories"), folder.display().to_string());
        drop(cluster);
        assert!(!folder.exists());
    }

    /// Scenario: the process goes while its cluster is being made, and while the server begins. Guarantee: nothing of it is left.
    #[test]
    fn a_cluster_goes_with_its_process_at_any_moment() {
        let Some(programs) = programs() else {
            assert!(std::env::var_os("CI").is_none(), "no Postgres can run here");
            return;
        };
        for sign in ["", "data/PG_VERSION", "data/postmaster.opts"] {
            let cluster = PrivatePostgres::begin(&programs).unwrap();
            let folder = cluster.host().to_owned();
            let began = Instant::now();
            while !folder.join(sign).exists() {
                assert!(began.elapsed() < START_DEADLINE, "{sign}");
                // A poll, since nothing tells when a file of another program appears.
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(cluster);
            assert!(!folder.exists(), "{sign}");
        }
    }

    /// Scenario: a server that ends as it starts. Guarantee: that is said at once, in its own words, and its folder is gone.
    #[test]
    fn a_server_that_ends_is_told_in_its_own_words() {
        let programs = tempfile::tempdir().unwrap();
        fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // `cat` refuses the options of a server, by the name under which it was called.
        for (name, program) in [("initdb", "/bin/true"), ("postgres", "/bin/cat"), ("psql", "/bin/false")] {
            std::os::unix::fs::symlink(program, programs.path().join(name)).unwrap();
        }
        let cluster = PrivatePostgres::begin(programs.path()).unwrap();
        let folder = cluster.host().to_owned();
        let words = cluster.answering().unwrap_err().to_string();
        let (_, words) = words.split_once("the private Postgres ended: ").unwrap();
        assert!(words.contains("postgres: "), "{words}");
        assert!(!folder.exists());
    }
}
