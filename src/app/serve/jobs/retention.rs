//! How long jobs are kept: so many hours, and so many bytes. A job goes as a whole: row, text, audio.

use super::Jobs;
use super::store::{StoreError, now_ms};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(60);

/// Looks now and every minute until `stop`.
pub(super) async fn watch(jobs: &Jobs, stop: &CancellationToken) {
    loop {
        if let Err(error) = sweep(jobs).await {
            tracing::warn!(%error, "old jobs cannot be removed yet");
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

/// Removes what is over and too old, or too much.
pub(super) async fn sweep(jobs: &Jobs) -> Result<(), StoreError> {
    let limits = &jobs.config;
    if limits.keep_hours > 0.0 {
        let oldest = now_ms() - (limits.keep_hours * 3_600_000.0) as i64;
        for id in jobs.store.over_since(oldest).await? {
            tracing::info!(job = id, "older than serve.jobs.keep_hours; removed");
            jobs.forget(&id).await?;
        }
    }
    make_room(jobs, 0).await?;
    jobs.store.shrink().await
}

/// Removes jobs that are over, the oldest first, until `bytes` more are within the limit; false when they cannot be.
pub(super) async fn make_room(jobs: &Jobs, bytes: u64) -> Result<bool, StoreError> {
    let limit = jobs.config.keep_bytes;
    if limit == 0 {
        return Ok(true);
    }
    let mut taken = jobs.store.bytes().await?.saturating_add(bytes);
    if taken <= limit {
        return Ok(true);
    }
    for (id, size) in jobs.store.oldest_over().await? {
        tracing::info!(job = id, "more than serve.jobs.keep_bytes; removed");
        jobs.forget(&id).await?;
        taken = taken.saturating_sub(size.unsigned_abs());
        if taken <= limit {
            return Ok(true);
        }
    }
    Ok(false)
}
