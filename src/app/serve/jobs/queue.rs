//! What the runner, retention and webhooks ask of the database.

use super::journal::{Ended, end, event};
use super::store::{Store, StoreError, Stored, WRITE, now_ms, select_jobs};
use super::wire::JobStatus;
use crate::app::serve::error::ApiError;
use axum::http::StatusCode;

/// How often the process may die while a job is in work that gets nothing done in between. Then the job is to blame.
const MAX_CRASHES: i64 = 3;

/// An utterance that is done: its first sample, what was recognised, and the text made of it, as JSON.
pub(super) type Kept = (i64, String, Option<String>);

/// A webhook that is due.
pub(super) struct Due {
    pub job: Stored,
    pub url: String,
    pub attempts: i64,
}

impl Store {
    /// After a start: what was in work when the process ended is queued again.
    pub async fn recover(&self) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin_with(WRITE).await?;
        let running: Vec<Stored> =
            sqlx::query_as(select_jobs!("WHERE status = 'running'")).fetch_all(&mut *transaction).await?;
        for job in running {
            if job.crashes + 1 >= MAX_CRASHES {
                let message = format!(
                    "the service ended {MAX_CRASHES} times while it worked on this recording without getting on; \
                     it is not tried again"
                );
                let error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message).code("crashed");
                end(&mut transaction, &job.id, &Ended::failed(&error)).await?;
                continue;
            }
            tracing::info!(job = job.id, utterances = job.utterances, "taken up again after a crash");
            let sql = "UPDATE jobs SET status = 'queued', crashes = crashes + 1 WHERE id = ?";
            sqlx::query(sql).bind(&job.id).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The next job to work on, marked as running: fair between clients (fewest in work, then longest unserved), and
    /// first come first served for each of them.
    pub async fn take_next(&self) -> Result<Option<Stored>, StoreError> {
        let mut transaction = self.writer.begin_with(WRITE).await?;
        let sql = "WITH served AS (SELECT client, sum(status = 'running') AS busy, max(coalesce(begun, 0)) AS last \
                   FROM jobs GROUP BY client) \
                   SELECT id FROM jobs JOIN served USING (client) WHERE status = 'queued' AND not_before <= ? \
                   ORDER BY busy, last, id LIMIT 1";
        let id: Option<String> = sqlx::query_scalar(sql).bind(now_ms()).fetch_optional(&mut *transaction).await?;
        let Some(id) = id else { return Ok(None) };
        let sql = "UPDATE jobs SET status = 'running', begun = ?1, started = coalesce(started, ?1), waiting = NULL, \
                   attempts = attempts + 1 WHERE id = ?2";
        sqlx::query(sql).bind(now_ms()).bind(&id).execute(&mut *transaction).await?;
        let job = sqlx::query_as(select_jobs!("WHERE id = ?")).bind(&id).fetch_optional(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(job)
    }

    /// Gives a job that could not be done now back to the queue, for later.
    pub async fn postpone(&self, id: &str, reason: &str, until: i64) -> Result<(), StoreError> {
        let sql = "UPDATE jobs SET status = 'queued', tries = tries + 1, waiting = ?, not_before = ? \
                   WHERE id = ? AND status = 'running'";
        sqlx::query(sql).bind(reason).bind(until).bind(id).execute(&self.writer).await?;
        Ok(())
    }

    /// Gives a job whose service ends back to the queue.
    pub async fn requeue(&self, id: &str) -> Result<(), StoreError> {
        let sql = "UPDATE jobs SET status = 'queued' WHERE id = ? AND status = 'running'";
        sqlx::query(sql).bind(id).execute(&self.writer).await?;
        Ok(())
    }

    /// What is done of a job, if it was done on the same `basis`; otherwise that is forgotten and the new basis noted.
    pub async fn kept(&self, id: &str, basis: &str) -> Result<Vec<Kept>, StoreError> {
        let mut transaction = self.writer.begin_with(WRITE).await?;
        let sql = "UPDATE jobs SET basis = ?1, seconds = 0, utterances = 0, recognitions = 0 \
                   WHERE id = ?2 AND basis IS NOT ?1";
        if sqlx::query(sql).bind(basis).bind(id).execute(&mut *transaction).await?.rows_affected() > 0 {
            sqlx::query("DELETE FROM utterances WHERE job = ?").bind(id).execute(&mut *transaction).await?;
            // The numbers go on, so that whoever follows sees that it begins anew.
            let sql = "UPDATE events SET kind = 'void', data = '' WHERE job = ? AND kind <> 'void'";
            if sqlx::query(sql).bind(id).execute(&mut *transaction).await?.rows_affected() > 0 {
                event(&mut transaction, id, "restarted", r#"{"type":"restarted"}"#).await?;
            }
        }
        let sql = "SELECT sample, part, written FROM utterances WHERE job = ?";
        let kept = sqlx::query_as(sql).bind(id).fetch_all(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(kept)
    }

    /// Kinds and data of all events so far.
    pub async fn told(&self, id: &str) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT kind, data FROM events WHERE job = ? ORDER BY seq";
        Ok(sqlx::query_as(sql).bind(id).fetch_all(&self.readers).await?)
    }

    /// Every job's id.
    pub async fn ids(&self) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT id FROM jobs").fetch_all(&self.writer).await?)
    }

    /// Ids of jobs that are over since before `time`.
    pub async fn over_since(&self, time: i64) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT id FROM jobs WHERE finished IS NOT NULL AND finished < ?";
        Ok(sqlx::query_scalar(sql).bind(time).fetch_all(&self.readers).await?)
    }

    /// Bytes that all jobs take.
    pub async fn bytes(&self) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(sum(bytes + result_bytes), 0) FROM jobs";
        let bytes: i64 = sqlx::query_scalar(sql).fetch_one(&self.readers).await?;
        Ok(bytes.unsigned_abs())
    }

    /// Jobs that are over, the oldest first, with their bytes.
    pub async fn oldest_over(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let sql = "SELECT id, bytes + result_bytes FROM jobs WHERE finished IS NOT NULL ORDER BY finished, id";
        Ok(sqlx::query_as(sql).fetch_all(&self.readers).await?)
    }

    /// Gives pages that deleted jobs left back to the file system.
    pub async fn shrink(&self) -> Result<(), StoreError> {
        sqlx::query("PRAGMA incremental_vacuum").execute(&self.writer).await?;
        Ok(())
    }

    /// Webhooks that are due, at most eight.
    pub async fn due(&self) -> Result<Vec<Due>, StoreError> {
        let sql = select_jobs!("WHERE webhooks.state = 'due' AND webhooks.next <= ? ORDER BY webhooks.next LIMIT 8");
        let jobs: Vec<Stored> = sqlx::query_as(sql).bind(now_ms()).fetch_all(&self.readers).await?;
        let due = |job: Stored| {
            let (url, _, attempts) = job.webhook.clone()?;
            Some(Due { job, url, attempts })
        };
        Ok(jobs.into_iter().filter_map(due).collect())
    }

    /// Notes an attempt to send a webhook: delivered, to be tried again at a time, or given up.
    pub async fn sent(&self, id: &str, problem: Option<&str>, again: Option<i64>) -> Result<(), StoreError> {
        let state = match (problem, again) {
            (None, _) => "delivered",
            (Some(_), Some(_)) => "due",
            (Some(_), None) => "failed",
        };
        let sql = "UPDATE webhooks SET state = ?, attempts = attempts + 1, problem = ?, next = ? WHERE job = ?";
        let query = sqlx::query(sql).bind(state).bind(problem).bind(again.unwrap_or(0)).bind(id);
        query.execute(&self.writer).await?;
        Ok(())
    }

    /// Ends a job that is not in work: cancelled while it waited.
    pub async fn end_queued(&self, id: &str, status: JobStatus) -> Result<bool, StoreError> {
        let mut transaction = self.writer.begin_with(WRITE).await?;
        let queued: Option<String> = sqlx::query_scalar("SELECT id FROM jobs WHERE id = ? AND status = 'queued'")
            .bind(id)
            .fetch_optional(&mut *transaction)
            .await?;
        if queued.is_some() {
            end(&mut transaction, id, &Ended { status, error: None, outcome: None, seconds: None }).await?;
        }
        transaction.commit().await?;
        Ok(queued.is_some())
    }
}
