//! What a `postgres` sink is given.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub use crate::extract::Extract;

/// Where the database is, what is written to, and as whom.
#[derive(Clone)]
pub struct PostgresOptions {
    /// A host name, an address, or the folder of a Unix socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The role.
    pub user: String,
    /// The role's password, if it needs one.
    pub password: Option<String>,
    /// The database.
    pub database: String,
    /// Encryption; none: as plain text.
    pub tls: Option<Tls>,
    /// The most connections of one worker.
    pub connections: usize,
    /// The table.
    pub table: Table,
    /// What is written to which of its columns, at least one.
    pub columns: Vec<Column>,
    /// The columns that say which row is meant: records change rows, the newest wins, and a record without a value deletes.
    /// None: every record adds a row.
    pub key: Option<Vec<String>>,
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

/// How a connection is encrypted.
#[derive(Clone, Debug)]
pub struct Tls {
    /// A PEM file of authorities to trust; the system's without it.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key, PEM files, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether the certificate must name the host.
    pub verify_hostname: bool,
}

/// A table by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The schema, in which the ledger's tables are as well.
    pub schema: String,
    /// The table.
    pub name: String,
}

impl Table {
    /// Reads `table` or `schema.table`; without a schema it is `public`. None for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (schema, name) = text.split_once('.').unwrap_or(("public", text));
        let fits = |part: &str| !part.is_empty() && part.len() <= 63 && !part.contains(['.', '"', '\0']);
        (fits(schema) && fits(name)).then(|| Self { schema: schema.to_owned(), name: name.to_owned() })
    }

    /// Quoted, for a statement.
    pub(super) fn quoted(&self) -> String {
        self.beside(&self.name)
    }

    /// Another table of the same schema, quoted.
    pub(super) fn beside(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(name))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// An identifier in quotes.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// One column and what is written to it.
#[derive(Clone)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What is written to it.
    pub source: Source,
}

/// What is written to a column.
#[derive(Clone)]
pub enum Source {
    /// The whole record as JSON, with its origin.
    Record,
    /// A value made of the record.
    Value(Arc<dyn Extract>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_and_quoted() {
        let table = Table::parse("logs").unwrap();
        assert_eq!(
            (table.quoted().as_str(), table.to_string().as_str()),
            (r#""public"."logs""#, "public.logs")
        );
        assert_eq!(Table::parse("a.B c").unwrap().quoted(), r#""a"."B c""#);
        for bad in ["", ".", "a.", ".a", "a.b.c", "a\"b", &"x".repeat(64)] {
            assert_eq!(Table::parse(bad), None, "{bad}");
        }
    }
}
