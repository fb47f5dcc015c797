//! The database of jobs: opening it, and what requests ask of it. The only folder that names sqlx.
//!
//! SQLite in WAL mode with one writing connection. `synchronous=FULL`: a commit is on the disk when it returns, so an
//! id that was answered with 202 survives a power failure too. There is one commit an utterance, seconds of work each,
//! so the price is nothing.

use super::wire::{JobStatus, WebhookState};
use crate::app::serve::error::ApiError;
use crate::app::sqlite;
use axum::http::StatusCode;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row, SqlSafeStr};
use std::path::{Path, PathBuf};
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
    Open { path: PathBuf, why: String },
    /// What is stored cannot be read back.
    #[error("a stored job cannot be read: {0}")]
    Damaged(#[from] serde_json::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if sqlite::disk_refuses(&error) { StoreError::Disk(error) } else { StoreError::Database(error) }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Disk(_) => "disk_full",
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

pub(super) use sqlite::WRITE;

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
    path: PathBuf,
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
        let pool = |connections| sqlite::pool(connections, Duration::from_secs(60));
        Store {
            path,
            writer: pool(1).connect_lazy_with(options.clone()),
            readers: pool(READERS).connect_lazy_with(options),
        }
    }

    /// Makes the tables, or brings older ones up to date.
    pub async fn open(&self) -> Result<(), StoreError> {
        let unopened = |why: String| StoreError::Open { path: self.path.clone(), why };
        // SQLite gives its log and index the mode of the database: transcripts are nobody else's business.
        let mut options = std::fs::OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&self.path).map_err(|error| unopened(error.to_string()))?;
        let sql = include_str!("schema.sql").into_sql_str();
        let first = Migration::new(1, "jobs".into(), MigrationType::Simple, sql, false);
        let opened = Migrator::with_migrations(vec![first]).run(&self.writer).await;
        opened.map_err(|error| unopened(error.to_string()))
    }

    /// Ends every connection; the log is folded into the database.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Stores a job. A client's idempotency key that is known gives the job it belongs to instead.
    pub async fn insert(&self, job: &NewJob) -> Result<Result<(), Stored>, StoreError> {
        let mut transaction = self.writer.begin_with(WRITE).await?;
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

#[cfg(test)]
mod tests {
    use super::super::journal::{Ended, Id, Journal, What};
    use super::*;
    use std::sync::Arc;

    struct Fixture {
        store: Arc<Store>,
        _folder: tempfile::TempDir,
    }

    async fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::new(folder.path()));
        store.open().await.unwrap();
        store.open().await.expect("a second start finds its tables");
        Fixture { store, _folder: folder }
    }

    impl Fixture {
        async fn add(&self, id: &str, client: &str) {
            self.store.insert(&job(id, client)).await.unwrap().unwrap();
        }

        async fn status(&self, id: &str) -> JobStatus {
            self.store.find(id).await.unwrap().unwrap().status
        }

        async fn take(&self) -> Option<String> {
            self.store.take_next().await.unwrap().map(|job| job.id)
        }
    }

    fn job(id: &str, client: &str) -> NewJob {
        NewJob {
            id: id.into(),
            client: client.into(),
            idempotency: None,
            fingerprint: "f".into(),
            name: "a.wav".into(),
            bytes: 10,
            form: "[]".into(),
            webhook: None,
        }
    }

    fn finished() -> Ended {
        Ended { status: JobStatus::Finished, error: None, outcome: Some("{}".into()), seconds: Some(3.0) }
    }

    #[tokio::test]
    async fn clients_take_turns_and_each_is_served_in_order() {
        let all = fixture().await;
        for id in ["a1", "a2", "a3"] {
            all.add(id, "a").await;
        }
        all.add("b1", "b").await;
        let mut order = Vec::new();
        while let Some(id) = all.take().await {
            // Times are milliseconds: the next one must be later.
            tokio::time::sleep(Duration::from_millis(3)).await;
            order.push(id);
        }
        assert_eq!(order, ["a1", "b1", "a2", "a3"]);
    }

    #[tokio::test]
    async fn a_job_that_kills_the_process_again_and_again_fails_unless_it_gets_on() {
        let all = fixture().await;
        all.add("a", "x").await;
        let journal = Journal::new();
        journal.start(all.store.clone());
        for start in 1..=5 {
            assert_eq!(all.take().await.as_deref(), Some("a"), "start {start}");
            let part = What::Recognised { sample: start, part: "{}".into() };
            assert!(journal.write(&Id::from("a"), part).await);
            all.store.recover().await.unwrap();
        }
        for _ in 0..2 {
            assert_eq!(all.take().await.as_deref(), Some("a"));
            all.store.recover().await.unwrap();
        }
        let stored = all.store.find("a").await.unwrap().unwrap();
        assert_eq!(stored.status, JobStatus::Failed);
        assert!(stored.error.unwrap().contains("crashed"));
        assert_eq!((stored.attempts, stored.utterances), (7, 5));
        let events = all.store.events("a", 0).await.unwrap();
        assert_eq!(events.last().map(|event| event.kind.as_str()), Some("error"));
    }

    #[tokio::test]
    async fn an_idempotency_key_belongs_to_one_client_and_one_job() {
        let all = fixture().await;
        let keyed = |id: &str, client: &str| NewJob { idempotency: Some("k".into()), ..job(id, client) };
        assert!(all.store.insert(&keyed("1", "x")).await.unwrap().is_ok());
        assert_eq!(all.store.insert(&keyed("2", "x")).await.unwrap().unwrap_err().id, "1");
        assert!(all.store.insert(&keyed("3", "y")).await.unwrap().is_ok());
        assert!(all.store.get("1", "y").await.unwrap().is_none(), "of another client");
        assert!(all.store.find("2").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn the_end_of_a_job_is_one_step() {
        let all = fixture().await;
        all.store.insert(&NewJob { webhook: Some("https://h/".into()), ..job("a", "x") }).await.unwrap().unwrap();
        all.take().await;
        let journal = Journal::new();
        journal.start(all.store.clone());
        let id = Id::from("a");
        let mut news = journal.news();
        journal.push(&id, What::Recognised { sample: 7, part: "{}".into() });
        journal.push(&id, What::Reply("one ".into()));
        journal.push(&id, What::Reply("two".into()));
        assert!(journal.write(&id, What::Ended(finished())).await);
        assert_eq!(&*news.recv().await.unwrap(), "a");
        let stored = all.store.find("a").await.unwrap().unwrap();
        assert_eq!((stored.status, stored.duration), (JobStatus::Finished, Some(3.0)));
        assert_eq!(stored.webhook.map(|hook| hook.1), Some(WebhookState::Due));
        assert_eq!(all.store.outcome("a").await.unwrap().as_deref(), Some("{}"));
        let events = all.store.events("a", 0).await.unwrap();
        let answer: String = events.iter().filter(|e| e.kind == "reply.delta").map(|e| e.data.as_str()).collect();
        assert!(answer.contains("one") && answer.contains("two"), "{answer}");
        assert_eq!(events.last().map(|event| event.kind.as_str()), Some("done"));
        assert!(events.iter().map(|event| event.seq).eq(1..=events.len() as i64));
        // What comes late changes nothing, and a deleted job takes nothing.
        assert!(journal.write(&id, What::Ended(Ended { status: JobStatus::Cancelled, ..finished() })).await);
        assert_eq!(all.status("a").await, JobStatus::Finished);
        all.store.delete("a").await.unwrap();
        assert!(journal.write(&id, What::Recognised { sample: 9, part: "{}".into() }).await);
        assert!(journal.write(&id, What::Event { kind: "segment", data: "{}".into() }).await);
        assert!(all.store.events("a", 0).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_full_disk_pauses_and_costs_nothing() {
        let all = fixture().await;
        all.add("a", "x").await;
        all.take().await;
        // SQLite's own limit answers with the very error of a full disk.
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&all.store.writer).await.unwrap();
        let limit = |pages: i64| sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        sqlx::query(limit(pages)).execute(&all.store.writer).await.unwrap();
        let journal = Arc::new(Journal::new());
        journal.start(all.store.clone());
        let id = Id::from("a");
        let long = "x".repeat(100_000);
        journal.push(&id, What::Recognised { sample: 1, part: long.clone() });
        let ended = tokio::spawn({
            let (journal, id) = (journal.clone(), id.clone());
            async move { journal.write(&id, What::Ended(finished())).await }
        });
        let begun = std::time::Instant::now();
        while journal.stalled().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it never noticed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(journal.stalled().unwrap().contains("make room"), "{:?}", journal.stalled());
        assert!(tokio::time::timeout(Duration::from_millis(200), journal.writable()).await.is_err());
        let refused = all.store.insert(&NewJob { form: long, ..job("b", "x") }).await;
        assert!(matches!(refused, Err(StoreError::Disk(_))), "{:?}", refused.err());
        assert_eq!(all.status("a").await, JobStatus::Running);
        sqlx::query(limit(1_000_000)).execute(&all.store.writer).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap().unwrap());
        assert_eq!(journal.stalled(), None);
        let stored = all.store.find("a").await.unwrap().unwrap();
        assert_eq!((stored.status, stored.utterances), (JobStatus::Finished, 1));
    }

    #[tokio::test]
    async fn work_done_under_another_plan_is_not_mixed_in() {
        let all = fixture().await;
        all.add("a", "x").await;
        let journal = Journal::new();
        journal.start(all.store.clone());
        let id = Id::from("a");
        assert!(all.store.kept("a", "one").await.unwrap().is_empty());
        journal.push(&id, What::Recognised { sample: 1, part: "{}".into() });
        assert!(journal.write(&id, What::Event { kind: "segment", data: "{}".into() }).await);
        assert_eq!(all.store.kept("a", "one").await.unwrap().len(), 1);
        assert!(all.store.kept("a", "two").await.unwrap().is_empty());
        let kinds: Vec<String> = all.store.events("a", 0).await.unwrap().into_iter().map(|event| event.kind).collect();
        assert_eq!(kinds, ["void", "restarted"]);
    }

    #[tokio::test]
    async fn a_webhook_is_tried_again_later_and_given_up_at_last() {
        let all = fixture().await;
        all.store.insert(&NewJob { webhook: Some("https://h/".into()), ..job("a", "x") }).await.unwrap().unwrap();
        assert!(all.store.due().await.unwrap().is_empty(), "the job is not over");
        assert!(all.store.end_queued("a", JobStatus::Cancelled).await.unwrap());
        assert_eq!(all.store.due().await.unwrap().len(), 1);
        all.store.sent("a", Some("500"), Some(now_ms() + 60_000)).await.unwrap();
        assert!(all.store.due().await.unwrap().is_empty(), "not yet");
        all.store.sent("a", Some("500"), Some(now_ms() - 1)).await.unwrap();
        assert_eq!(all.store.due().await.unwrap()[0].attempts, 2);
        all.store.sent("a", Some("500"), None).await.unwrap();
        assert!(all.store.due().await.unwrap().is_empty());
        let hook = all.store.find("a").await.unwrap().unwrap().webhook.unwrap();
        assert_eq!((hook.1, hook.2), (WebhookState::Failed, 3));
    }
}
