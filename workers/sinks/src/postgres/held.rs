//! Who holds a pair that is to be claimed, and what can be done about it.

use longshore_core::Failure;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use super::connect::{Lease, Pool};
use super::sqlstate::failure;

/// The sessions that a process waits for (<https://www.postgresql.org/docs/current/functions-info.html>, `pg_blocking_pids`): number, role,
/// application, whether the session waits for its client, and whether that is hidden from this role. Number 0 is a prepared transaction.
const HOLDERS: &str = "SELECT DISTINCT holding.pid, a.usename::text, a.application_name, \
        coalesce(a.wait_event_type = 'Client', false), coalesce(a.query = '<insufficient privilege>', false) \
    FROM unnest(pg_blocking_pids($1::text::integer)) AS holding (pid) LEFT JOIN pg_stat_activity a USING (pid)";

/// What came of a look at those who hold a pair.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// By nobody any more, or by sessions that stood still and were ended, as if their clients had gone away.
    Ended,
    /// By a session that is at work, in words.
    AtWork(String),
    /// By one that this role can do nothing about: what it is, and what to do.
    OutOfReach(String),
}

/// Ends the sessions that this connection waits for and that wait for their clients. On a connection of its own.
pub(super) async fn end_waiting(pool: &Pool, waits: &Lease) -> Result<Held, Failure> {
    let client = pool.aside().await?;
    let found = client.query(HOLDERS, &[&waits.process()]).await;
    let found = found.map_err(|error| failure("look who holds the pair", &error))?;
    let (mut ended, mut at_work) = (0_usize, None);
    for row in &found {
        match holder(&client, row).await? {
            Held::Ended => ended += 1,
            Held::AtWork(who) => at_work = Some(who),
            out_of_reach @ Held::OutOfReach(_) => return Ok(out_of_reach),
        }
    }
    if ended > 0 {
        tracing::warn!(ended, "sessions that stood still while they held a pair that has another owner now");
    }
    Ok(at_work.map_or(Held::Ended, Held::AtWork))
}

async fn holder(client: &Client, row: &Row) -> Result<Held, Failure> {
    let process: i32 = row.get(0);
    if process == 0 {
        let words =
            "a prepared transaction holds it: commit it or roll it back, `pg_prepared_xacts` has its name";
        return Ok(Held::OutOfReach(words.to_owned()));
    }
    let [role, application] = [1, 2].map(|column| row.get::<_, Option<&str>>(column).unwrap_or("unknown"));
    let who = format!("session {process} of role {role} ({application})");
    let (waits, hidden): (bool, bool) = (row.get(3), row.get(4));
    if !hidden && !waits {
        return Ok(Held::AtWork(who));
    }
    if !hidden {
        match client.execute("SELECT pg_terminate_backend($1)", &[&process]).await {
            Ok(_) => return Ok(Held::Ended),
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {}
            Err(error) => return Err(failure("end a session", &error)),
        }
    }
    Ok(Held::OutOfReach(format!(
        "{who} holds it, and this role may not end it: if it stands still, say `select pg_terminate_backend({process})` as a role that may, or \
         grant role {role} to this one"
    )))
}

/// Gives up what a connection waits for.
pub(super) async fn cancel(pool: &Pool, waits: &Lease) -> Result<(), Failure> {
    let client = pool.aside().await?;
    let cancelled = client.execute("SELECT pg_cancel_backend($1::text::integer)", &[&waits.process()]).await;
    cancelled.map(drop).map_err(|error| failure("give a claim up", &error))
}
