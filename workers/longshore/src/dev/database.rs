//! The Postgres of a demo with `--sink postgres`: a private cluster from the server programs of this machine, or one that was named.
//! Everything here goes by `psql`, so what is read back does not come by the sink's own way.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use longshore_broker::postgres::{self, ADMIN, PORT, PostgresError, PrivatePostgres};

use crate::exit::{End, Exit};
use crate::output::Output;

/// Where the demo's tables are, in whichever database.
pub(crate) const SCHEMA: &str = "longshore_demo";
/// What to do where there is no server, besides installing one.
const NAME_ONE: &str = "or name one: --sink postgresql://USER@HOST:PORT/DATABASE";

/// A database for a run.
pub(crate) struct Database {
    /// A host name, an address, or the folder of a socket.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) name: String,
    psql: PathBuf,
    /// A private cluster goes with it.
    cluster: Option<PrivatePostgres>,
}

impl Database {
    /// The database that `--sink` asks for, with an empty schema for the demo.
    pub(crate) fn wanted(sink: &str, output: &Output) -> Result<Self, End> {
        let database = match sink {
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
        Ok(database)
    }

    /// `postgresql://USER@HOST:PORT/DATABASE`. The password comes by `PGPASSWORD`, which workers and `psql` read both, so it is in no
    /// command line and in no file.
    fn named(url: &str) -> Result<Self, End> {
        let form = "expected files, parquet, postgres, or postgresql://USER@HOST:PORT/DATABASE, and the password in PGPASSWORD";
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
        let psql = postgres::programs().map_or_else(|| PathBuf::from("psql"), |folder| folder.join("psql"));
        let (host, user, name) = (host.to_owned(), user.to_owned(), name.to_owned());
        Ok(Self { host, port, user, name, psql, cluster: None })
    }

    /// A fresh cluster in a temporary folder, which goes with this process.
    fn private() -> Result<Self, End> {
        let cluster = PrivatePostgres::start().map_err(|error| match error {
            PostgresError::NotInstalled => End::new(Exit::Unavailable, format!("{error}, {NAME_ONE}")),
            PostgresError::Ended(_) | PostgresError::Silent(_) | PostgresError::Io(_) => {
                End::new(Exit::Unavailable, error.to_string())
            }
        })?;
        let psql = cluster.program("psql");
        let (host, user) = (cluster.host().display().to_string(), ADMIN.to_owned());
        Ok(Self { host, port: PORT, name: user.clone(), user, psql, cluster: Some(cluster) })
    }

    /// What it is.
    pub(crate) fn words(&self) -> String {
        match self.cluster {
            Some(_) => format!("a private cluster, in {}", self.host),
            None => format!("the one that was named, at {}:{}", self.host, self.port),
        }
    }

    fn psql(&self, text: &str) -> Command {
        let mut command = Command::new(&self.psql);
        postgres::without_settings(&mut command);
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

#[cfg(test)]
mod tests {
    use super::*;

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
