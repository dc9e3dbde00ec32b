//! The `postgres` sink.

use std::sync::Arc;

use longshore_core::sink::Sink;
use longshore_core::{Failure, Generation, Item, Value};
use longshore_sinks::postgres::{Column, PostgresOptions, PostgresSink, Source, Table};
use longshore_tests::harness::line::Line;
use longshore_tests::harness::postgres::{ADMIN, Postgres, shared_postgres};

use super::fixture::{Fixture, Seen, Wire};
use super::owner::PIPELINE;

/// A table in which nothing keeps a record from being there twice.
pub(crate) struct Pg {
    server: &'static Postgres,
    database: String,
    line: Line,
}

impl Fixture for Pg {
    fn fresh(name: &str) -> Option<Self> {
        let server = shared_postgres()?;
        server.database(name);
        server.sql(name, "create table t (_origin text not null, body text not null)");
        Some(Self { server, database: name.to_owned(), line: Line::before(server.port()) })
    }

    fn address(&self) -> String {
        format!("{}/{}", self.line.port(), self.database)
    }

    fn sink_at(address: &str) -> Arc<dyn Sink> {
        let (port, database) = address.split_once('/').unwrap();
        let column =
            |name: &str, extract| Column { name: name.to_owned(), source: Source::Value(Arc::new(extract)) };
        let options = PostgresOptions {
            host: "127.0.0.1".into(),
            port: port.parse().unwrap(),
            user: ADMIN.into(),
            password: None,
            database: database.to_owned(),
            tls: None,
            connections: 4,
            table: Table::parse("t").unwrap(),
            columns: vec![column("_origin", Field::Origin), column("body", Field::Body)],
            key: None,
        };
        Arc::new(PostgresSink::new("postgres", PIPELINE, Generation::FIRST, options).unwrap())
    }

    fn rows(&self) -> Option<Vec<Seen>> {
        let rows = self.server.rows(&self.database, "select _origin, body from t");
        let seen = |row: &String| {
            let (origin, body) = row.split_once('|').unwrap();
            Seen::new(origin, body)
        };
        Some(rows.iter().map(seen).collect())
    }

    fn take_away(&self) {
        self.line.break_after(0, false);
    }

    fn bring_back(&self) {
        self.line.mend();
    }

    fn wire(&self) -> Option<&dyn Wire> {
        Some(&self.line)
    }
}

impl Wire for Line {
    fn break_after(&self, requests: usize, done: bool) {
        Line::break_after(self, requests, done);
    }

    fn is_broken(&self) -> bool {
        Line::is_broken(self)
    }

    fn mend(&self) {
        Line::mend(self);
    }
}

/// What is written to a column.
enum Field {
    Origin,
    Body,
}

impl longshore_sinks::Extract for Field {
    fn extract(&self, item: &Item) -> Result<Value, Failure> {
        let (pair, offset) = (item.source.pair(), item.source.offset());
        Ok(match self {
            Self::Origin => {
                let origin = format!("{}/{}/{offset}/{}", pair.topic.as_str(), pair.partition.0, item.index);
                Value::from(origin.as_str())
            }
            Self::Body => item.fields().and_then(|fields| fields.get("body")).cloned().unwrap_or_default(),
        })
    }
}
