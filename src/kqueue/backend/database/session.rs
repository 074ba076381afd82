//! One open connection to either engine. Statements and results are text; any number of statements takes one round
//! trip. Leaves no prepared statements on the server, so that a pooler which gives each transaction another connection
//! (pgbouncer) works as well as the server itself.

use bytes::Bytes;
use futures_util::{TryStream, TryStreamExt};
use sqlx::mysql::{MySqlConnectOptions, MySqlRow, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgRow, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Either, MySqlConnection, PgConnection, Row};

use super::settings::{Address, DatabaseSettings, Engine, TlsMode};

/// One column of one row, as text.
pub(in crate::backend) type Cell = Option<Bytes>;

/// Result of one statement.
#[derive(Debug, Default)]
pub(in crate::backend) struct Answer {
    /// Rows that it returned.
    pub rows: Vec<Vec<Cell>>,
    /// Number of rows that it matched; an update counts them even if their values stay the same.
    pub hits: u64,
}

/// A connection.
pub(in crate::backend) enum Session {
    MySql(MySqlConnection),
    Postgres(PgConnection),
}

impl Session {
    /// Connects to one server. Sets nothing that would outlive a transaction.
    pub(in crate::backend) async fn open(settings: &DatabaseSettings, address: &Address) -> sqlx::Result<Self> {
        match settings.engine {
            Engine::MySql => Ok(Self::MySql(mysql(settings, address).connect().await?)),
            Engine::Postgres => Ok(Self::Postgres(postgres(settings, address).connect().await?)),
        }
    }

    /// Runs statements, separated by semicolons. Returns one result for each, in order. Stops at the first that fails.
    pub(in crate::backend) async fn run(&mut self, sql: String) -> sqlx::Result<Vec<Answer>> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Self::MySql(connection) => {
                let told = sql.fetch_many(connection).map_ok(|told| told.map_left(|done| done.rows_affected()));
                collect(told, |row: &MySqlRow, at| {
                    Ok(row.try_get_unchecked::<Option<Vec<u8>>, _>(at)?.map(Bytes::from))
                })
                .await
            }
            Self::Postgres(connection) => {
                let told = sql.fetch_many(connection).map_ok(|told| told.map_left(|done| done.rows_affected()));
                collect(told, |row: &PgRow, at| {
                    let value = row.try_get_raw(at)?;
                    Ok(value.as_bytes().ok().map(Bytes::copy_from_slice))
                })
                .await
            }
        }
    }

    /// Whether the server still answers.
    pub(in crate::backend) async fn ping(&mut self) -> sqlx::Result<()> {
        match self {
            Self::MySql(connection) => connection.ping().await,
            Self::Postgres(connection) => connection.ping().await,
        }
    }

    /// Closes the connection properly, so that the server does not log a lost client.
    pub(in crate::backend) async fn close(self) -> sqlx::Result<()> {
        match self {
            Self::MySql(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        }
    }
}

async fn collect<R: Row>(
    mut told: impl TryStream<Ok = Either<u64, R>, Error = sqlx::Error> + Unpin,
    cell: impl Fn(&R, usize) -> sqlx::Result<Cell>,
) -> sqlx::Result<Vec<Answer>> {
    let (mut answers, mut open) = (Vec::new(), Answer::default());
    while let Some(next) = told.try_next().await? {
        match next {
            Either::Right(row) => open.rows.push((0..row.len()).map(|at| cell(&row, at)).collect::<sqlx::Result<_>>()?),
            Either::Left(hits) => answers.push(Answer { hits, ..std::mem::take(&mut open) }),
        }
    }
    Ok(answers)
}

/// Options as PDO would use them.
fn mysql(settings: &DatabaseSettings, address: &Address) -> MySqlConnectOptions {
    let tls = &settings.tls;
    let mut options = MySqlConnectOptions::new()
        .host(if address.host.is_empty() { "localhost" } else { &address.host })
        .port(address.port.unwrap_or(Engine::MySql.port()))
        .username(settings.username.as_deref().unwrap_or_default())
        .ssl_mode(match tls.mode {
            // MySQL treats a socket as secure and expects the plain password, which the library sends over TLS only.
            TlsMode::Disable if address.socket.is_some() => MySqlSslMode::Preferred,
            TlsMode::Disable => MySqlSslMode::Disabled,
            TlsMode::Prefer => MySqlSslMode::Preferred,
            TlsMode::Require => MySqlSslMode::Required,
            TlsMode::VerifyCa => MySqlSslMode::VerifyCa,
            TlsMode::VerifyFull => MySqlSslMode::VerifyIdentity,
        })
        // As PDO: over TLS only.
        .enable_cleartext_plugin(!matches!(tls.mode, TlsMode::Disable | TlsMode::Prefer))
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .set_names(false)
        .statement_cache_capacity(0)
        .disable_statement_logging();
    if !settings.database.is_empty() {
        options = options.database(&settings.database);
    }
    if let Some(socket) = &address.socket {
        options = options.socket(socket);
    }
    if let Some(password) = settings.password.as_deref().filter(|password| !password.is_empty()) {
        options = options.password(password);
    }
    if let Some(ca) = &tls.ca {
        options = options.ssl_ca(ca);
    }
    if let Some(cert) = &tls.cert {
        options = options.ssl_client_cert(cert);
    }
    if let Some(key) = &tls.key {
        options = options.ssl_client_key(key);
    }
    options
}

/// Options as libpq would use them. What the app leaves open comes from the environment, but not from `~/.pgpass`.
pub(in crate::backend) fn postgres(settings: &DatabaseSettings, address: &Address) -> PgConnectOptions {
    let tls = &settings.tls;
    let mut options = PgConnectOptions::new_without_pgpass()
        .ssl_mode(match tls.mode {
            TlsMode::Disable => PgSslMode::Disable,
            TlsMode::Prefer => PgSslMode::Prefer,
            // As libpq: verifies the certificate if there is a CA.
            TlsMode::Require if tls.ca.is_some() => PgSslMode::VerifyCa,
            TlsMode::Require => PgSslMode::Require,
            TlsMode::VerifyCa => PgSslMode::VerifyCa,
            TlsMode::VerifyFull => PgSslMode::VerifyFull,
        })
        .application_name(format!("kqueue {}", settings.app).trim_end())
        // Poolers refuse parameters that they do not know.
        .extra_float_digits(None)
        .statement_cache_capacity(0)
        .disable_statement_logging();
    if !address.host.is_empty() {
        options = options.host(&address.host);
    }
    if let Some(port) = address.port {
        options = options.port(port);
    }
    if let Some(socket) = &address.socket {
        options = options.socket(socket);
    }
    if !settings.database.is_empty() {
        options = options.database(&settings.database);
    }
    if let Some(username) = &settings.username {
        options = options.username(username);
    }
    if let Some(password) = &settings.password {
        options = options.password(password);
    }
    if let Some(ca) = &tls.ca {
        options = options.ssl_root_cert(ca);
    }
    if let Some(cert) = &tls.cert {
        options = options.ssl_client_cert(cert);
    }
    if let Some(key) = &tls.key {
        options = options.ssl_client_key(key);
    }
    options
}
