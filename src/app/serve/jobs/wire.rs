//! Jobs as clients see them.

use super::store::{Stored, now_ms};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::app::serve) enum JobStatus {
    /// Waiting for its turn, or to be taken up again.
    Queued,
    /// In work.
    Running,
    /// The result is there.
    Finished,
    /// There is no result; `error` says why.
    Failed,
    /// Given up by its owner; what was recognised until then is the result.
    Cancelled,
}

impl JobStatus {
    /// Every status.
    pub const ALL: [JobStatus; 5] =
        [JobStatus::Queued, JobStatus::Running, JobStatus::Finished, JobStatus::Failed, JobStatus::Cancelled];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            JobStatus::Queued => "queued",
            JobStatus::Running => "running",
            JobStatus::Finished => "finished",
            JobStatus::Failed => "failed",
            JobStatus::Cancelled => "cancelled",
        }
    }

    /// The table's CHECK leaves no other names; a future one counts as failed.
    pub(super) fn parse(name: &str) -> Self {
        JobStatus::ALL.into_iter().find(|status| status.name() == name).unwrap_or(JobStatus::Failed)
    }

    /// Whether nothing more happens.
    pub fn is_over(self) -> bool {
        matches!(self, JobStatus::Finished | JobStatus::Failed | JobStatus::Cancelled)
    }
}

/// How far a webhook got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::app::serve) enum WebhookState {
    /// The job is not over.
    Waiting,
    /// To be sent.
    Due,
    /// Taken by its receiver.
    Delivered,
    /// Given up after the last attempt.
    Failed,
}

impl WebhookState {
    pub(super) fn parse(name: &str) -> Self {
        match name {
            "waiting" => WebhookState::Waiting,
            "due" => WebhookState::Due,
            "delivered" => WebhookState::Delivered,
            _ => WebhookState::Failed,
        }
    }
}

/// A long recording on its way to text.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::app::serve) struct Job {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Always `job`.
    #[schema(example = "job")]
    pub object: &'static str,
    pub status: JobStatus,
    /// Unix time, seconds.
    pub created_at: i64,
    /// Unix time, seconds; when work on it first began.
    pub started_at: Option<i64>,
    /// Unix time, seconds.
    pub finished_at: Option<i64>,
    /// Name of the file as it was sent.
    pub file_name: String,
    /// Size of the audio.
    pub bytes: i64,
    /// Container and codec, once the file was opened.
    #[schema(example = "ogg/opus")]
    pub format: Option<String>,
    pub progress: JobProgress,
    /// Why a job that is not over does not go on just now, such as a full disk. It goes on by itself.
    pub waiting: Option<String>,
    /// Why there is no result.
    #[schema(value_type = Option<crate::app::serve::error::ErrorDetail>)]
    pub error: Option<serde_json::Value>,
    /// Who is told when it is over.
    pub webhook: Option<JobWebhook>,
}

/// How far a job got.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::app::serve) struct JobProgress {
    /// Seconds of audio that are recognised.
    pub seconds: f64,
    /// Seconds of audio in all, where it is known.
    pub total_seconds: Option<f64>,
    /// Seconds until it is done, at the speed measured so far.
    pub eta_seconds: Option<f64>,
    /// Stretches of speech that are recognised and kept.
    pub utterances: i64,
    /// How often one was recognised: more than `utterances` only where a crash cost one.
    pub recognitions: i64,
    /// How often the job was taken up: once, and once more after each restart of the service.
    pub attempts: i64,
}

/// A webhook of a job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::app::serve) struct JobWebhook {
    pub url: String,
    pub state: WebhookState,
    pub attempts: i64,
}

/// Jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::app::serve) struct JobList {
    /// Always `list`.
    #[schema(example = "list")]
    pub object: &'static str,
    pub data: Vec<Job>,
    /// Whether there are older ones: ask with `after` = the last id.
    pub has_more: bool,
}

/// What DELETE answers.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::app::serve) struct JobDeleted {
    pub id: String,
    /// Always `job.deleted`.
    #[schema(example = "job.deleted")]
    pub object: &'static str,
    pub deleted: bool,
}

/// How fast a running job gets on, measured since it was last taken up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Unix time, milliseconds.
    pub begun: i64,
    /// Seconds of audio that were done then.
    pub from: f64,
}

impl Job {
    /// `pace` of a running job; `stalled`: why nothing can be stored just now.
    pub(super) fn of(stored: Stored, pace: Option<Pace>, stalled: Option<String>) -> Self {
        let eta_seconds = pace.zip(stored.duration).and_then(|(pace, total)| eta(pace, stored.seconds, total));
        let progress = JobProgress {
            seconds: stored.seconds,
            total_seconds: stored.duration,
            eta_seconds,
            utterances: stored.utterances,
            recognitions: stored.recognitions,
            attempts: stored.attempts,
        };
        let over = stored.status.is_over();
        Job {
            id: stored.id,
            object: "job",
            status: stored.status,
            created_at: stored.created / 1000,
            started_at: stored.started.map(|ms| ms / 1000),
            finished_at: stored.finished.map(|ms| ms / 1000),
            file_name: stored.name,
            bytes: stored.bytes,
            format: stored.format,
            progress,
            waiting: stalled.or(stored.waiting).filter(|_| !over),
            error: stored.error.and_then(|json| serde_json::from_str(&json).ok()),
            webhook: stored.webhook.map(|(url, state, attempts)| JobWebhook { url, state, attempts }),
        }
    }
}

/// Seconds left at the speed so far; unknown before anything was done.
fn eta(pace: Pace, seconds: f64, total: f64) -> Option<f64> {
    let (elapsed, done) = ((now_ms() - pace.begun) as f64 / 1000.0, seconds - pace.from);
    let left = (total - seconds).max(0.0);
    (done > 0.0 && elapsed > 0.0).then(|| (left * elapsed / done * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_the_speed_since_the_job_was_taken_up() {
        let pace = Pace { begun: now_ms() - 10_000, from: 100.0 };
        let left = eta(pace, 150.0, 200.0).unwrap();
        assert!((9.9..10.5).contains(&left), "{left}");
        assert_eq!(eta(pace, 100.0, 200.0), None, "nothing was measured yet");
        assert_eq!(eta(pace, 201.0, 200.0), Some(0.0));
    }

    #[test]
    fn every_status_is_read_as_it_is_written() {
        for status in JobStatus::ALL {
            assert_eq!(JobStatus::parse(status.name()), status);
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
        }
    }
}
