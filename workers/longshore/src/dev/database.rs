//! The Postgres of a demo with `--sink postgres`: a private cluster from the server programs of this machine, or one that was named.
//! Everything here goes by `psql`, so what is read back does not come by the sink's own way.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::exit::{End, Exit};
use crate::output::Output;

/// Where the demo's tables are, in whichever database.
pub(crate) const SCHEMA: &str = "longshore_demo";
/// The superuser of a private cluster, and its database.
const ADMIN: &str = "postgres";
/// Names the socket in a private cluster's folder.
const PORT: u16 = 5432;
/// How long a cluster may take to be made and to answer.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// So many of the last lines of its log say why it did not begin.
const LOG_LINES: usize = 4;
/// What to install where there is no server.
const INSTALL: &str = "no Postgres server is installed here: `apt-get install postgresql`, \
    or name one: --sink postgresql://USER@HOST:PORT/DATABASE";

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

/// A database for a run.
pub(crate) struct Database {
    /// A host name, an address, or the folder of a socket.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) name: String,
    psql: PathBuf,
    /// The shell that ends a private cluster.
    guard: Option<Child>,
}

impl Database {
    /// The database that `--sink` asks for, with an empty schema for the demo; none for `files`.
    pub(crate) fn wanted(sink: &str, output: &Output) -> Result<Option<Self>, End> {
        let database = match sink {
            "files" => return Ok(None),
            _ if !cfg!(feature = "postgres") => {
                let words = "--sink: this build was made without the feature `postgres`";
                return Err(End::new(Exit::Configuration, words));
            }
            "postgres" => Self::private()?,
            url => Self::named(url)?,
        };
        let version = database.sql("show server_version")?;
        output.note(format_args!("database: Postgres {}, {}", version.trim(), database.words()));
        let there = database.sql(&format!("select to_regnamespace('{SCHEMA}') is not null"))?;
        if there.trim() == "t" {
            let words = format!(
                "the database holds the schema of an earlier demo: drop schema {SCHEMA} cascade, or let the demo start its own"
            );
            return Err(End::new(Exit::Configuration, words));
        }
        database.sql(&format!("create schema {SCHEMA}"))?;
        Ok(Some(database))
    }

    /// `postgresql://USER@HOST:PORT/DATABASE`. The password comes by `PGPASSWORD`, which workers and `psql` read both, so it is in no
    /// command line and in no file.
    fn named(url: &str) -> Result<Self, End> {
        let form = "expected files, postgres, or postgresql://USER@HOST:PORT/DATABASE, and the password in PGPASSWORD";
        let wrong = || End::new(Exit::Usage, format!("--sink: {form}"));
        let rest = url.split_once("://").map(|(_, rest)| rest).ok_or_else(wrong)?;
        let (user, place) = rest.rsplit_once('@').ok_or_else(wrong)?;
        let (host, name) = place.split_once('/').ok_or_else(wrong)?;
        let (host, port) = host.rsplit_once(':').unwrap_or((host, "5432"));
        let port = port.parse().map_err(|_| wrong())?;
        let plain = |text: &str| {
            let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            !text.is_empty() && text.chars().all(allowed)
        };
        if ![user, host, name].iter().all(|text| plain(text)) {
            return Err(wrong());
        }
        let psql = programs().map_or_else(|| PathBuf::from("psql"), |folder| folder.join("psql"));
        let (host, user, name) = (host.to_owned(), user.to_owned(), name.to_owned());
        Ok(Self { host, port, user, name, psql, guard: None })
    }

    /// A fresh cluster in a temporary folder, which goes with this process.
    fn private() -> Result<Self, End> {
        let programs = programs().ok_or_else(|| End::new(Exit::Unavailable, INSTALL))?;
        Self::begin(&programs)?.answering()
    }

    /// Begins to make a cluster. Whoever comes to its socket is its superuser, and nobody but its user comes into the folder.
    fn begin(programs: &Path) -> Result<Self, End> {
        let folder = tempfile::Builder::new().prefix("longshore-postgres-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        let mut run = Command::new("sh");
        if let Some((user, group)) = owner() {
            chown(folder.path(), Some(user), Some(group))?;
            run.uid(user).gid(group);
        }
        run.args(["-c", GUARD, "guard"]).arg(folder.path()).arg(programs).arg(PORT.to_string()).arg(ADMIN);
        without_settings(&mut run).current_dir(folder.path());
        // A group of its own, so that Ctrl-C ends the demo first and the server by its guard.
        run.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let guard = Some(run.spawn()?);
        // From here on the guard takes the folder away.
        let host = folder.keep().display().to_string();
        let psql = programs.join("psql");
        Ok(Self { host, port: PORT, user: ADMIN.to_owned(), name: ADMIN.to_owned(), psql, guard })
    }

    /// Waits until a private cluster answers.
    fn answering(self) -> Result<Self, End> {
        let folder = Path::new(&self.host);
        let deadline = Instant::now() + START_DEADLINE;
        while let Err(end) = self.sql("select 1") {
            let ended = folder.join("ended").exists();
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(LOG_LINES).collect();
                let last = last.into_iter().rev().collect::<Vec<_>>().join("; ");
                let what =
                    if ended { "ended".to_owned() } else { format!("does not answer: {}", end.message) };
                return Err(End::new(Exit::Unavailable, format!("the private Postgres {what}: {last}")));
            }
            // There is nothing to subscribe to before the server answers.
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(self)
    }

    /// What it is.
    pub(crate) fn words(&self) -> String {
        match self.guard {
            Some(_) => format!("a private cluster, in {}", self.host),
            None => format!("the one that was named, at {}:{}", self.host, self.port),
        }
    }

    fn psql(&self, text: &str) -> Command {
        let mut command = Command::new(&self.psql);
        without_settings(&mut command);
        // Large results come in parts, so they are never in memory as a whole.
        command.args(["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-v", "FETCH_COUNT=5000"]);
        command.args(["-h", &self.host, "-p", &self.port.to_string(), "-U", &self.user]);
        command.args(["-d", &self.name, "-c", text]).stdin(Stdio::null());
        command
    }

    /// Runs statements and gives what they print.
    pub(crate) fn sql(&self, text: &str) -> Result<String, End> {
        let ran = self
            .psql(text)
            .output()
            .map_err(|error| End::new(Exit::Unavailable, format!("psql: {error}")))?;
        if ran.status.success() {
            return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
        }
        Err(End::new(Exit::Unavailable, format!("psql: {}", String::from_utf8_lossy(&ran.stderr).trim())))
    }

    /// Hands every row of a query over, as one line.
    pub(crate) fn each(
        &self,
        text: &str,
        mut visit: impl FnMut(&str) -> std::io::Result<()>,
    ) -> Result<(), End> {
        let mut child = self.psql(text).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(out) = child.stdout.take() {
            for line in BufReader::new(out).lines() {
                visit(&line?)?;
            }
        }
        let ended = child.wait_with_output()?;
        if ended.status.success() {
            return Ok(());
        }
        Err(End::new(Exit::Unavailable, format!("psql: {}", String::from_utf8_lossy(&ended.stderr).trim())))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            // Its standard input closes, and it ends the server.
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
    }
}

/// What the environment says of another database would be mixed into what is said of this one. The password is meant for it.
fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") && name != "PGPASSWORD" {
            command.env_remove(name);
        }
    }
    command
}

/// The folder of the newest server's programs: Debian's place, or wherever `pg_config` says.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut found: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
    found.sort_by_key(|path| std::cmp::Reverse(number(path)));
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim().to_owned()));
    let mut all = found.into_iter().map(|path| path.join("bin")).chain(told);
    all.find(|folder| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).is_file()))
}

/// Postgres refuses to run as root; then it runs as the user that its package made, or as nobody.
fn owner() -> Option<(u32, u32)> {
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

    /// Guarantee: nobody but its user comes to a private cluster: it listens in its own folder alone. The folder goes with it.
    #[test]
    fn a_private_cluster_listens_in_its_folder_alone() {
        if programs().is_none() {
            assert!(std::env::var_os("CI").is_none(), "no Postgres can run here");
            return;
        }
        let database = Database::private().unwrap();
        assert_eq!(database.sql("show listen_addresses").unwrap().trim(), "");
        let folder = PathBuf::from(&database.host);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(database.sql("show unix_socket_directories").unwrap().trim(), database.host);
        drop(database);
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
            let database = Database::begin(&programs).unwrap();
            let folder = PathBuf::from(&database.host);
            let began = Instant::now();
            while !folder.join(sign).exists() {
                assert!(began.elapsed() < START_DEADLINE, "{sign}");
                // A poll, since nothing tells when a file of another program appears.
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(database);
            assert!(!folder.exists(), "{sign}");
        }
    }

    /// Scenario: a server that ends as it starts. Guarantee: that is said at once, in its own words, and its folder is gone.
    #[test]
    fn a_server_that_ends_is_told_in_its_own_words() {
        let programs = tempfile::tempdir().unwrap();
        fs::set_permissions(programs.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // `cat` refuses the options of a server, by the name under which it was called.
        for (name, program) in [("initdb", "/bin/true"), ("postgres", "/bin/cat")] {
            std::os::unix::fs::symlink(program, programs.path().join(name)).unwrap();
        }
        let database = Database::begin(programs.path()).unwrap();
        let folder = PathBuf::from(&database.host);
        let end = database.answering().err().unwrap();
        let (_, words) = end.message.split_once("the private Postgres ended: ").unwrap();
        assert!(words.contains("postgres: "), "{words}");
        assert!(!folder.exists());
    }

    /// Guarantee: an address is read or refused, one with a password in it among the latter.
    #[test]
    fn addresses_are_read_or_refused() {
        let named = |url: &str| {
            let database = Database::named(url).ok()?;
            Some(format!("{} {} {} {}", database.user, database.host, database.port, database.name))
        };
        assert_eq!(named("postgresql://me@db.internal:6432/logs").unwrap(), "me db.internal 6432 logs");
        assert_eq!(named("postgres://me@::/logs"), None);
        assert_eq!(named("postgresql://me@db/logs").unwrap(), "me db 5432 logs");
        for bad in
            ["postgresql://me:secret@db/logs", "postgresql://db/logs", "postgresql://me@db", "me@db/logs"]
        {
            assert_eq!(named(bad), None, "{bad}");
        }
    }
}
