//! The database of jobs: opening it, and what requests ask of it. The only folder that names sqlx.
//!
//! SQLite in WAL mode with one writing connection. `synchronous=FULL`: a commit is on the disk when it returns, so an
//! id that was answered with 202 survives a power failure too. There is one commit an utterance, seconds of work each,
//! so the price is nothing.

use super::wire::{JobStatus, WebhookState};
use crate::app::serve::error::ApiError;
use axum::http::StatusCode;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Row, SqlSafeStr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a statement waits for another connection's lock before it is an error.
const BUSY: Duration = Duration::from_secs(10);
/// Readers at once: lists, results and event streams.
const READERS: u32 = 4;

/// Why the database cannot be used just now.
#[derive(Debug, thiserror::Error)]
pub(in crate::app::serve) enum StoreError {
    /// No room, or the disk does not take what is written.
    #[error("the disk that keeps the jobs cannot be written ({0}); make room on it")]
    Disk(sqlx::Error),
    /// Anything else that SQLite says.
    #[error("the database of jobs cannot be used: {0}")]
    Database(sqlx::Error),
    /// It cannot even be opened.
    #[error("the database of jobs {path} cannot be opened: {why}; make room, or move the file away to start anew")]
    Open { path: String, why: String },
    /// What is stored cannot be read back.
    #[error("a stored job cannot be read: {0}")]
    Damaged(#[from] serde_json::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // SQLITE_FULL is 13, SQLITE_IOERR 10; extended codes carry the primary one in their low byte.
        let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<u32>().ok());
        match code.map(|code| code & 0xff) {
            Some(10 | 13) => StoreError::Disk(error),
            _ => StoreError::Database(error),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Disk(_) => "storage_full",
            _ => "storage_unavailable",
        };
        tracing::error!(%error, "jobs");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).code(code).retry_after(30)
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A job as it is stored, without its text.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub id: String,
    pub client: String,
    pub fingerprint: String,
    pub status: JobStatus,
    pub name: String,
    pub bytes: i64,
    pub form: String,
    pub created: i64,
    pub started: Option<i64>,
    pub finished: Option<i64>,
    pub crashes: i64,
    pub tries: i64,
    pub waiting: Option<String>,
    pub format: Option<String>,
    pub duration: Option<f64>,
    pub seconds: f64,
    pub attempts: i64,
    pub utterances: i64,
    pub recognitions: i64,
    pub error: Option<String>,
    pub webhook: Option<(String, WebhookState, i64)>,
}

impl sqlx::FromRow<'_, SqliteRow> for Stored {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let status: String = row.try_get("status")?;
        let webhook = match row.try_get::<Option<String>, _>("hook_url")? {
            Some(url) => {
                let state = WebhookState::parse(&row.try_get::<String, _>("hook_state")?);
                Some((url, state, row.try_get("hook_attempts")?))
            }
            None => None,
        };
        Ok(Stored {
            id: row.try_get("id")?,
            client: row.try_get("client")?,
            fingerprint: row.try_get("fingerprint")?,
            status: JobStatus::parse(&status),
            name: row.try_get("name")?,
            bytes: row.try_get("bytes")?,
            form: row.try_get("form")?,
            created: row.try_get("created")?,
            started: row.try_get("started")?,
            finished: row.try_get("finished")?,
            crashes: row.try_get("crashes")?,
            tries: row.try_get("tries")?,
            waiting: row.try_get("waiting")?,
            format: row.try_get("format")?,
            duration: row.try_get("duration")?,
            seconds: row.try_get("seconds")?,
            attempts: row.try_get("attempts")?,
            utterances: row.try_get("utterances")?,
            recognitions: row.try_get("recognitions")?,
            error: row.try_get("error")?,
            webhook,
        })
    }
}

/// A job with its webhook, if it has one.
macro_rules! select_jobs {
    ($rest:literal) => {
        concat!(
            "SELECT jobs.*, webhooks.url AS hook_url, webhooks.state AS hook_state, ",
            "webhooks.attempts AS hook_attempts FROM jobs LEFT JOIN webhooks ON webhooks.job = jobs.id ",
            $rest
        )
    };
}
pub(super) use select_jobs;

/// A job that is to be stored. Its audio is in place already.
pub(super) struct NewJob {
    pub id: String,
    pub client: String,
    pub idempotency: Option<String>,
    pub fingerprint: String,
    pub name: String,
    pub bytes: u64,
    pub form: String,
    pub webhook: Option<String>,
}

/// Which jobs are listed.
pub(super) struct Listed<'a> {
    pub client: &'a str,
    pub status: Option<JobStatus>,
    /// Only those made before this one.
    pub after: Option<&'a str>,
    pub limit: u32,
}

/// Something that happened, as it is stored.
pub(super) struct StoredEvent {
    pub seq: i64,
    pub kind: String,
    pub data: String,
}

/// The database.
pub(super) struct Store {
    path: String,
    /// The one connection that writes: writers wait for each other here and not inside SQLite.
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
}

impl Store {
    /// Connects when it is first used. `folder` must exist.
    pub fn new(folder: &Path) -> Self {
        let path = folder.join("jobs.db");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            // Keeps the log from staying as large as it once was.
            .pragma("journal_size_limit", "67108864");
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(Duration::from_secs(60))
                .idle_timeout(None)
                .max_lifetime(None)
        };
        Store {
            path: path.display().to_string(),
            writer: pool(1).connect_lazy_with(options.clone()),
            readers: pool(READERS).connect_lazy_with(options),
        }
    }

    /// Makes the tables, or brings older ones up to date.
    pub async fn open(&self) -> Result<(), StoreError> {
        let sql = include_str!("schema.sql").into_sql_str();
        let first = Migration::new(1, "jobs".into(), MigrationType::Simple, sql, false);
        let opened = Migrator::with_migrations(vec![first]).run(&self.writer).await;
        opened.map_err(|error| StoreError::Open { path: self.path.clone(), why: error.to_string() })
    }

    /// Ends every connection; the log is folded into the database.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Stores a job. A client's idempotency key that is known gives the job it belongs to instead.
    pub async fn insert(&self, job: &NewJob) -> Result<Result<(), Stored>, StoreError> {
        let mut transaction = self.writer.begin().await?;
        let known = sqlx::query_as::<_, Stored>(select_jobs!("WHERE client = ? AND idempotency = ?"));
        let known = known.bind(&job.client).bind(&job.idempotency).fetch_optional(&mut *transaction).await?;
        if let Some(known) = known {
            return Ok(Err(known));
        }
        let sql = "INSERT INTO jobs (id, client, idempotency, fingerprint, status, name, bytes, form, created) \
                   VALUES (?, ?, ?, ?, 'queued', ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(&job.id)
            .bind(&job.client)
            .bind(&job.idempotency)
            .bind(&job.fingerprint)
            .bind(&job.name)
            .bind(i64::try_from(job.bytes).unwrap_or(i64::MAX))
            .bind(&job.form)
            .bind(now_ms())
            .execute(&mut *transaction)
            .await?;
        if let Some(url) = &job.webhook {
            let sql = "INSERT INTO webhooks (job, url, state) VALUES (?, ?, 'waiting')";
            sqlx::query(sql).bind(&job.id).bind(url).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(Ok(()))
    }

    /// A client's own job.
    pub async fn get(&self, id: &str, client: &str) -> Result<Option<Stored>, StoreError> {
        let sql = select_jobs!("WHERE id = ? AND client = ?");
        Ok(sqlx::query_as(sql).bind(id).bind(client).fetch_optional(&self.readers).await?)
    }

    /// Any job.
    pub async fn find(&self, id: &str) -> Result<Option<Stored>, StoreError> {
        let sql = select_jobs!("WHERE id = ?");
        Ok(sqlx::query_as(sql).bind(id).fetch_optional(&self.readers).await?)
    }

    /// A client's jobs, newest first.
    pub async fn list(&self, wanted: &Listed<'_>) -> Result<Vec<Stored>, StoreError> {
        let sql = select_jobs!(
            "WHERE client = ?1 AND (?2 IS NULL OR status = ?2) AND (?3 IS NULL OR id < ?3) ORDER BY id DESC LIMIT ?4"
        );
        let status = wanted.status.map(JobStatus::name);
        let query = sqlx::query_as(sql).bind(wanted.client).bind(status).bind(wanted.after).bind(wanted.limit);
        Ok(query.fetch_all(&self.readers).await?)
    }

    /// Takes a job and all that belongs to it out of the database.
    pub async fn delete(&self, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM jobs WHERE id = ?").bind(id).execute(&self.writer).await?;
        Ok(())
    }

    /// The outcome as JSON, when there is one.
    pub async fn outcome(&self, id: &str) -> Result<Option<String>, StoreError> {
        let query = sqlx::query_scalar("SELECT outcome FROM results WHERE job = ?");
        Ok(query.bind(id).fetch_optional(&self.readers).await?)
    }

    /// What happened after `seq`, at most 200 at a time.
    pub async fn events(&self, id: &str, seq: i64) -> Result<Vec<StoredEvent>, StoreError> {
        let sql = "SELECT seq, kind, data FROM events WHERE job = ? AND seq > ? ORDER BY seq LIMIT 200";
        let rows: Vec<(i64, String, String)> = sqlx::query_as(sql).bind(id).bind(seq).fetch_all(&self.readers).await?;
        Ok(rows.into_iter().map(|(seq, kind, data)| StoredEvent { seq, kind, data }).collect())
    }

    /// How many jobs there are of each status.
    pub async fn counts(&self) -> Result<Vec<(JobStatus, u64)>, StoreError> {
        let sql = "SELECT status, count(*) FROM jobs GROUP BY status";
        let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(&self.readers).await?;
        let of = |status: JobStatus| {
            let found = rows.iter().find(|(name, _)| name == status.name());
            (status, found.map_or(0, |(_, count)| count.unsigned_abs()))
        };
        Ok(JobStatus::ALL.into_iter().map(of).collect())
    }
}
