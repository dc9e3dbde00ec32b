//! Connections: a few for all pairs of a worker, lent for one piece of work at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_core::{Failure, Reason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, Statement};

use super::options::PostgresOptions;
use super::sqlstate::failure;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// Nothing that is asked of the server may take longer; beyond it the connection is given up and asked again.
const CALL: Duration = Duration::from_secs(75);

/// What every session says first. Nobody must wait long for a worker that stands still in the middle of a transaction (it is
/// frozen, or its network is gone), so the server ends such sessions, and a claim ends what it waits for: no timeout for locks that a role
/// may have comes before that. A client whose machine is gone is noticed within a minute, where the system's own patience is two hours: what its
/// transaction holds would be held as long. Each statement has to see what others have committed meanwhile, whatever a role or a
/// database may have for its default. A commit that is answered must be durable, since the offset
/// is committed after it. Last comes a mark by which the session is known again, see [`SESSION_MARK`], and the process that serves it.
const SESSION: &str = "SET idle_in_transaction_session_timeout = '10s'; SET statement_timeout = '60s'; \
    SET lock_timeout = 0; SET default_transaction_isolation = 'read committed'; \
    SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 4; \
    SELECT set_config(name, '20s', false) FROM pg_settings WHERE name = 'tcp_user_timeout'; \
    SET DateStyle = 'ISO'; \
    SELECT set_config('synchronous_commit', 'on', false) \
        WHERE current_setting('synchronous_commit') IN ('off', 'local'); \
    SELECT set_config('longshore.session', \
        md5(random()::text || clock_timestamp()::text || pg_backend_pid()::text), false), pg_backend_pid()";
/// Asks for the mark. Behind a pooler that gives each transaction any session it is another one or none.
pub(super) const SESSION_MARK: &str = "SELECT current_setting('longshore.session', true)";

/// The connections of one sink.
pub(super) struct Pool {
    config: Config,
    connector: Connector,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Session>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

/// One connection, and the statements that it has prepared.
struct Session {
    client: Client,
    mark: String,
    /// The server's process, as it writes it.
    process: String,
    prepared: HashMap<String, Statement>,
    /// What was said to it once.
    said: Vec<String>,
}

/// A connection on loan. Only one that is given back is used again: after an error, or when the work was dropped in the middle,
/// nobody knows what state it is in, so it is closed and the server rolls back.
pub(super) struct Lease {
    session: Session,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    /// Connections to this database.
    ///
    /// # Errors
    /// What is wrong with the certificates.
    pub(super) fn new(options: &PostgresOptions, application: &str) -> Result<Arc<Self>, String> {
        let mut config = Config::new();
        config
            .host(&options.host)
            .port(options.port)
            .user(&options.user)
            .dbname(&options.database)
            .application_name(application)
            .connect_timeout(CONNECT)
            .tcp_user_timeout(Duration::from_secs(20))
            .keepalives_idle(Duration::from_secs(15))
            .ssl_mode(if options.tls.is_some() { SslMode::Require } else { SslMode::Disable });
        if let Some(password) = &options.password {
            config.password(password);
        }
        let connector = Connector::new(options)?;
        let permits = Arc::new(Semaphore::new(options.connections.max(1)));
        Ok(Arc::new(Self { config, connector, permits, idle: Mutex::default() }))
    }

    /// A connection, as soon as one is free. Cancel-safe.
    pub(super) async fn lend(self: &Arc<Self>) -> Result<Lease, Failure> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| Failure::halt(Reason::Internal, "the pool is closed"))?;
        let session = loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(session) if session.client.is_closed() => {}
                Some(session) => break session,
                None => break self.connect().await?,
            }
        };
        Ok(Lease { session, pool: Arc::clone(self), _permit: permit })
    }

    async fn connect(&self) -> Result<Session, Failure> {
        let connecting = tokio::time::timeout(2 * CONNECT, self.connector.connect(&self.config));
        let client =
            connecting.await.map_err(|_| late("connect"))?.map_err(|error| failure("connect", &error))?;
        let said = within("connect", async {
            client.simple_query(SESSION).await.map_err(|error| failure("connect", &error))
        });
        let said = said.await?;
        let [mark, process] = [0, 1].map(|at| last_value(&said, at).unwrap_or_default().to_owned());
        Ok(Session { client, mark, process, prepared: HashMap::new(), said: Vec::new() })
    }

    /// A connection beside the pool, whose own may all be waiting.
    pub(super) async fn aside(&self) -> Result<Client, Failure> {
        Ok(self.connect().await?.client)
    }
}

/// A column of the last row.
fn last_value(messages: &[SimpleQueryMessage], column: usize) -> Option<&str> {
    messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(column)),
        _ => None,
    })?
}

/// The server did not answer in time.
fn late(doing: &str) -> Failure {
    Failure::target(Reason::SinkUnavailable, format_args!("{doing}: no answer in time"))
}

/// Waits for a piece of work as long as anything may take.
pub(super) async fn within<T>(
    doing: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    within_time(CALL, doing, work).await
}

/// Waits so long for a piece of work.
pub(super) async fn within_time<T>(
    time: Duration,
    doing: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(time, work).await.unwrap_or_else(|_| Err(late(doing)))
}

impl Lease {
    /// The server's process, as it writes it.
    pub(super) fn process(&self) -> &str {
        &self.session.process
    }

    /// The connection.
    pub(super) fn client(&self) -> &Client {
        &self.session.client
    }

    /// The statement, prepared at its first use on this connection.
    pub(super) async fn statement(&mut self, text: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.session.prepared.get(text) {
            return Ok(statement.clone());
        }
        let statement = self.session.client.prepare(text).await?;
        self.session.prepared.insert(text.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Says this unless the connection has heard it. Outside of a transaction, which could take it back.
    pub(super) async fn once(&mut self, text: &str) -> Result<(), tokio_postgres::Error> {
        if !self.session.said.iter().any(|said| said == text) {
            self.session.client.batch_execute(text).await?;
            self.session.said.push(text.to_owned());
        }
        Ok(())
    }

    /// Says this, which only makes things better: a refusal changes nothing. Outside of a transaction.
    pub(super) async fn once_if_allowed(&mut self, text: &str) -> Result<(), tokio_postgres::Error> {
        match self.once(text).await {
            Err(error) if error.as_db_error().is_some() => {
                self.session.said.push(text.to_owned());
                Ok(())
            }
            other => other,
        }
    }

    /// Begins a transaction, in which constraints are judged by the statement that breaks them: those that wait for the commit
    /// could not be told from one another there. Makes sure of the session, since its temporary table and settings are needed.
    pub(super) async fn begin(&self) -> Result<(), Failure> {
        let text = format!("BEGIN; SET CONSTRAINTS ALL IMMEDIATE; {SESSION_MARK}");
        let answer = self.client().simple_query(&text).await.map_err(|error| failure("publish", &error))?;
        if last_value(&answer, 0) == Some(self.session.mark.as_str()) {
            return Ok(());
        }
        let words = "the connection changed its session: a pooler in between has to be in session mode";
        Err(Failure::halt(Reason::SinkUnfit, words))
    }

    /// Outside of a transaction, everything answered: others may use it.
    pub(super) fn give_back(self) {
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.session);
    }
}

/// With or without encryption.
enum Connector {
    Plain,
    #[cfg(feature = "tls")]
    Tls(postgres_openssl::MakeTlsConnector),
}

impl Connector {
    #[cfg(feature = "tls")]
    fn new(options: &PostgresOptions) -> Result<Self, String> {
        use openssl::ssl::{SslConnector, SslFiletype, SslMethod};
        let Some(tls) = &options.tls else { return Ok(Self::Plain) };
        let build = || {
            let mut builder = SslConnector::builder(SslMethod::tls())?;
            if let Some(ca) = &tls.ca {
                builder.set_ca_file(ca)?;
            }
            if let Some((certificate, key)) = &tls.identity {
                builder.set_certificate_chain_file(certificate)?;
                builder.set_private_key_file(key, SslFiletype::PEM)?;
            }
            Ok(builder.build())
        };
        let built: Result<SslConnector, openssl::error::ErrorStack> = build();
        let mut connector =
            postgres_openssl::MakeTlsConnector::new(built.map_err(|error| format!("tls: {error}"))?);
        let verify = tls.verify_hostname;
        connector.set_callback(move |config, _| {
            config.set_verify_hostname(verify);
            Ok(())
        });
        Ok(Self::Tls(connector))
    }

    #[cfg(not(feature = "tls"))]
    fn new(options: &PostgresOptions) -> Result<Self, String> {
        match options.tls {
            Some(_) => Err("tls: this build has none".to_owned()),
            None => Ok(Self::Plain),
        }
    }

    async fn connect(&self, config: &Config) -> Result<Client, tokio_postgres::Error> {
        match self {
            Self::Plain => {
                let (client, connection) = config.connect(NoTls).await?;
                drive(connection);
                Ok(client)
            }
            #[cfg(feature = "tls")]
            Self::Tls(connector) => {
                let (client, connection) = config.connect(connector.clone()).await?;
                drive(connection);
                Ok(client)
            }
        }
    }
}

/// The connection's own task ends with its client, or with an error that the client's next call tells.
fn drive<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to postgres ended");
        }
    });
}
