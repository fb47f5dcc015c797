//! Everything that running jobs write, through one task: entries that came meanwhile share a commit, and nobody is told
//! of an event before it is on the disk. While the disk takes nothing, entries stay here and are tried again; whoever
//! brings more waits, so a full disk pauses the jobs and costs them nothing.

use super::store::{Store, StoreError, WRITE, now_ms};
use super::wire::JobStatus;
use crate::app::serve::error::ApiError;
use serde_json::json;
use sqlx::SqliteConnection;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Entries of one commit at most.
const BATCH: usize = 256;
/// Between two attempts to write to a disk that takes nothing.
const RETRY: Duration = Duration::from_secs(1);

/// A job's id.
pub(super) type Id = Arc<str>;

/// What is written down of a job.
pub(super) enum What {
    /// The recording was opened.
    Opened { format: String, duration: Option<f64> },
    /// Recognised up to this second.
    Progress { seconds: f64 },
    /// An utterance was recognised.
    Recognised { sample: i64, part: String },
    /// The text of an utterance was written.
    Written { sample: i64, written: String },
    /// Something to be shown.
    Event { kind: &'static str, data: String },
    /// A piece of the answer; pieces that follow each other become one event.
    Reply(String),
    /// It is over.
    Ended(Ended),
    /// Nothing: answered when everything before is written.
    Flush,
}

/// How a job ended.
pub(super) struct Ended {
    pub status: JobStatus,
    /// The error's body as JSON.
    pub error: Option<String>,
    /// The outcome as JSON.
    pub outcome: Option<String>,
    /// Seconds of audio in all.
    pub seconds: Option<f64>,
}

impl Ended {
    pub fn failed(error: &ApiError) -> Self {
        let error = serde_json::to_string(&error.body().error).ok();
        Ended { status: JobStatus::Failed, error, outcome: None, seconds: None }
    }
}

struct Entry {
    job: Id,
    what: What,
    /// Told when it is written.
    done: Option<oneshot::Sender<()>>,
}

/// The way to the writing task.
pub(super) struct Journal {
    entries: mpsc::UnboundedSender<Entry>,
    /// Ids of jobs of which something new is written.
    news: broadcast::Sender<Id>,
    /// Why nothing can be written just now.
    stalled: watch::Receiver<Option<String>>,
    /// Gives up what cannot be written: the process ends.
    closing: CancellationToken,
    writer: std::sync::Mutex<Option<Writer>>,
}

struct Writer {
    entries: mpsc::UnboundedReceiver<Entry>,
    stalled: watch::Sender<Option<String>>,
    news: broadcast::Sender<Id>,
    closing: CancellationToken,
}

impl Journal {
    pub fn new() -> Self {
        let (entries, received) = mpsc::unbounded_channel();
        let (stalled_in, stalled) = watch::channel(None);
        let (news, closing) = (broadcast::channel(256).0, CancellationToken::new());
        let writer = Writer { entries: received, stalled: stalled_in, news: news.clone(), closing: closing.clone() };
        Journal { entries, news, stalled, closing, writer: Some(writer).into() }
    }

    /// Starts the writing task; a second call does nothing.
    pub fn start(&self, store: Arc<Store>) {
        let writer = self.writer.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(writer) = writer {
            tokio::spawn(writer.run(store));
        }
    }

    /// Writes it down soon; never waits.
    pub fn push(&self, job: &Id, what: What) {
        // The writing task lives as long as the service.
        let _ = self.entries.send(Entry { job: job.clone(), what, done: None });
    }

    /// Writes it down; returns when it is on the disk. False when the process ends before that is possible.
    pub async fn write(&self, job: &Id, what: What) -> bool {
        let (done, written) = oneshot::channel();
        let sent = self.entries.send(Entry { job: job.clone(), what, done: Some(done) });
        sent.is_ok() && written.await.is_ok()
    }

    /// Why nothing can be written just now.
    pub fn stalled(&self) -> Option<String> {
        self.stalled.borrow().clone()
    }

    /// Returns at once, or when the disk takes what is written again.
    pub async fn writable(&self) {
        let mut stalled = self.stalled.clone();
        // An error means that the writer ended with the process.
        let _ = stalled.wait_for(Option::is_none).await;
    }

    /// Ids of jobs of which there is something new, from now on.
    pub fn news(&self) -> broadcast::Receiver<Id> {
        self.news.subscribe()
    }

    /// Tells whoever follows a job to look again.
    pub fn announce(&self, job: &Id) {
        // Nobody following is fine.
        let _ = self.news.send(job.clone());
    }

    /// Writes what is there, for at most `grace`.
    pub async fn close(&self, grace: Duration) {
        if tokio::time::timeout(grace, self.write(&Id::from(""), What::Flush)).await.is_err() {
            tracing::error!("jobs: what was done last cannot be written and will be done again");
        }
        self.closing.cancel();
    }
}

impl Writer {
    async fn run(mut self, store: Arc<Store>) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.closing.run_until_cancelled(self.entries.recv_many(&mut batch, BATCH)).await.is_some_and(|n| n > 0) {
            join_replies(&mut batch);
            while let Err(error) = write(&store, &batch).await {
                let why = error.to_string();
                tracing::warn!(error = why, "jobs wait");
                // Also wakes nobody when it says the same again.
                self.stalled.send_if_modified(|stalled| {
                    let new = stalled.as_deref() != Some(&why);
                    *stalled = Some(why);
                    new
                });
                if self.closing.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
                    return;
                }
            }
            self.stalled.send_if_modified(|stalled| stalled.take().is_some());
            let mut told: Option<Id> = None;
            for entry in batch.drain(..) {
                if told.as_ref() != Some(&entry.job) {
                    let _ = self.news.send(entry.job.clone());
                    told = Some(entry.job);
                }
                // Whoever asked may have gone.
                entry.done.map(|done| done.send(()));
            }
        }
    }
}

/// Answers come token by token; those of one commit become one event.
fn join_replies(batch: &mut Vec<Entry>) {
    batch.dedup_by(|next, before| match (&next.what, &mut before.what) {
        (What::Reply(more), What::Reply(text)) if next.job == before.job => {
            text.push_str(more);
            true
        }
        _ => false,
    });
}

async fn write(store: &Store, batch: &[Entry]) -> Result<(), StoreError> {
    let mut transaction = store.writer.begin_with(WRITE).await?;
    for entry in batch {
        write_one(&mut transaction, &entry.job, &entry.what).await?;
    }
    Ok(transaction.commit().await?)
}

/// A job that was deleted meanwhile takes nothing more: every statement asks for its row.
async fn write_one(connection: &mut SqliteConnection, job: &str, what: &What) -> Result<(), StoreError> {
    match what {
        What::Opened { format, duration } => {
            let sql = "UPDATE jobs SET format = ?, duration = ? WHERE id = ?";
            sqlx::query(sql).bind(format).bind(duration).bind(job).execute(&mut *connection).await?;
            let data = json!({"type": "opened", "format": format, "duration": duration});
            event(connection, job, "opened", &data.to_string()).await?;
        }
        What::Progress { seconds } => {
            let sql = "UPDATE jobs SET seconds = max(seconds, ?) WHERE id = ? RETURNING duration";
            let duration: Option<Option<f64>> =
                sqlx::query_scalar(sql).bind(seconds).bind(job).fetch_optional(&mut *connection).await?;
            let data = json!({"type": "progress", "seconds": seconds, "total_seconds": duration.flatten()});
            event(connection, job, "progress", &data.to_string()).await?;
        }
        What::Recognised { sample, part } => {
            let sql = "INSERT INTO utterances (job, sample, part) SELECT ?1, ?2, ?3 \
                       WHERE EXISTS (SELECT 1 FROM jobs WHERE id = ?1) ON CONFLICT DO NOTHING";
            let new = sqlx::query(sql).bind(job).bind(sample).bind(part).execute(&mut *connection).await?;
            // It got on: a crash after this is not the same one again. The language spoken is kept under a number that
            // no sample has, and is no utterance.
            let (new, times) = if *sample == i64::MAX { (0, 0) } else { (new.rows_affected(), 1) };
            let sql = "UPDATE jobs SET crashes = 0, recognitions = recognitions + ?, utterances = utterances + ? \
                       WHERE id = ?";
            let new = i64::try_from(new).unwrap_or(0);
            sqlx::query(sql).bind(times).bind(new).bind(job).execute(connection).await?;
        }
        What::Written { sample, written } => {
            let sql = "UPDATE utterances SET written = ? WHERE job = ? AND sample = ?";
            sqlx::query(sql).bind(written).bind(job).bind(sample).execute(connection).await?;
        }
        What::Event { kind, data } => event(connection, job, kind, data).await?,
        What::Reply(delta) => {
            let data = json!({"type": "reply.delta", "delta": delta});
            event(connection, job, "reply.delta", &data.to_string()).await?;
        }
        What::Ended(ended) => end(connection, job, ended).await?,
        What::Flush => {}
    }
    Ok(())
}

/// Something to be shown, under the job's next number.
pub(super) async fn event(
    connection: &mut SqliteConnection,
    job: &str,
    kind: &str,
    data: &str,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO events (job, seq, kind, data) \
               SELECT ?1, (SELECT coalesce(max(seq), 0) + 1 FROM events WHERE job = ?1), ?2, ?3 \
               WHERE EXISTS (SELECT 1 FROM jobs WHERE id = ?1)";
    sqlx::query(sql).bind(job).bind(kind).bind(data).execute(connection).await?;
    Ok(())
}

/// The end of a job: status, result, last event and webhook in one go. What was only kept to be taken up again goes.
pub(super) async fn end(connection: &mut SqliteConnection, job: &str, ended: &Ended) -> Result<(), StoreError> {
    let sql = "UPDATE jobs SET status = ?1, finished = ?2, error = ?3, waiting = NULL, \
               seconds = coalesce(?4, seconds), duration = coalesce(?4, duration), result_bytes = ?5 \
               WHERE id = ?6 AND finished IS NULL";
    let updated = sqlx::query(sql)
        .bind(ended.status.name())
        .bind(now_ms())
        .bind(&ended.error)
        .bind(ended.seconds)
        .bind(ended.outcome.as_ref().map_or(0, |json| i64::try_from(json.len()).unwrap_or(i64::MAX)))
        .bind(job)
        .execute(&mut *connection)
        .await?;
    if updated.rows_affected() == 0 {
        return Ok(());
    }
    if let Some(outcome) = &ended.outcome {
        let sql = "INSERT INTO results (job, outcome) VALUES (?, ?)";
        sqlx::query(sql).bind(job).bind(outcome).execute(&mut *connection).await?;
    }
    sqlx::query("DELETE FROM utterances WHERE job = ?").bind(job).execute(&mut *connection).await?;
    let (kind, data) = match (ended.status, &ended.error) {
        // Its data is the result, which is stored once.
        (JobStatus::Finished, _) => ("done", String::new()),
        (JobStatus::Cancelled, _) => ("cancelled", json!({"type": "cancelled"}).to_string()),
        (_, error) => ("error", format!("{{\"type\":\"error\",\"error\":{}}}", error.as_deref().unwrap_or("null"))),
    };
    event(connection, job, kind, &data).await?;
    let sql = "UPDATE webhooks SET state = 'due', next = ? WHERE job = ? AND state = 'waiting'";
    sqlx::query(sql).bind(now_ms()).bind(job).execute(connection).await?;
    Ok(())
}
