//! What a client asks of its own jobs. A job of somebody else is not there.

use super::Jobs;
use super::files::media_type;
use super::store::{Listed, Stored};
use super::wire::{Job, JobDeleted, JobList, JobStatus};
use crate::app::serve::edge::Client;
use crate::app::serve::error::{ApiError, ErrorBody};
use crate::app::serve::state::Service;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::sync::Arc;
use tower::ServiceExt;
use tower_http::services::ServeFile;
use utoipa::IntoParams;

/// Which jobs are listed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// How many, 1 to 100; 20 by default.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// Only jobs older than the one with this id.
    #[param(pattern = "^[0-9a-f]{32}$")]
    after: Option<String>,
    /// Only jobs of this status.
    #[param(inline)]
    status: Option<JobStatus>,
}

/// The caller's jobs, newest first.
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", params(ListQuery),
    responses(
        (status = 200, description = "Jobs", body = JobList),
        (status = 400, description = "A parameter is wrong", body = ErrorBody),
        (status = 401, description = "A key is needed", body = ErrorBody),
        (status = 403, description = "Not from here", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The disk cannot be used", body = ErrorBody),
    )
)]
pub(super) async fn list_jobs(
    State(service): State<Arc<Service>>,
    client: Client,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<JobList>, ApiError> {
    let query = parameters(query)?;
    let limit = query.limit.unwrap_or(20);
    if !(1..=100).contains(&limit) {
        return Err(ApiError::bad_field("limit", format!("limit is 1 to 100, not {limit}")));
    }
    if query.after.as_deref().is_some_and(|after| !is_id(after)) {
        return Err(ApiError::bad_field("after", "after is the id of a job"));
    }
    // One more than asked for tells whether there are more.
    let wanted = Listed { client: &client.name, status: query.status, after: query.after.as_deref(), limit: limit + 1 };
    let mut found = service.jobs.store.list(&wanted).await?;
    let has_more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let data = found.into_iter().map(|stored| service.jobs.seen(stored)).collect();
    Ok(Json(JobList { object: "list", data, has_more }))
}

/// Where a job stands.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job", body = Job),
        (status = 401, description = "A key is needed", body = ErrorBody),
        (status = 403, description = "Not from here", body = ErrorBody),
        (status = 404, description = "No such job", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The disk cannot be used", body = ErrorBody),
    )
)]
pub(super) async fn get_job(
    State(service): State<Arc<Service>>,
    client: Client,
    Path(id): Path<String>,
) -> Result<Json<Job>, ApiError> {
    let stored = service.jobs.own(&id, &client).await?;
    Ok(Json(service.jobs.seen(stored)))
}

/// Gives a job up and removes it with its audio and its text, whatever its status.
#[utoipa::path(
    delete, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "It is gone", body = JobDeleted),
        (status = 401, description = "A key is needed", body = ErrorBody),
        (status = 403, description = "Not from here", body = ErrorBody),
        (status = 404, description = "No such job", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The disk cannot be used", body = ErrorBody),
    )
)]
pub(super) async fn delete_job(
    State(service): State<Arc<Service>>,
    client: Client,
    Path(id): Path<String>,
) -> Result<Json<JobDeleted>, ApiError> {
    let jobs = &service.jobs;
    jobs.own(&id, &client).await?;
    // The rows first: what the run may still write finds no job and goes nowhere.
    jobs.forget(&id).await?;
    jobs.runner.cancel(&id);
    tracing::info!(job = id, "deleted by its owner");
    Ok(Json(JobDeleted { id, object: "job.deleted", deleted: true }))
}

/// Gives a job up. What was recognised until then becomes its result; a job that is over stays as it is.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 202, description = "It ends within one pass of the encoder, or has ended", body = Job),
        (status = 401, description = "A key is needed", body = ErrorBody),
        (status = 403, description = "Not from here", body = ErrorBody),
        (status = 404, description = "No such job", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The disk cannot be used", body = ErrorBody),
    )
)]
pub(super) async fn cancel_job(
    State(service): State<Arc<Service>>,
    client: Client,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Job>), ApiError> {
    let jobs = &service.jobs;
    jobs.own(&id, &client).await?;
    // Queued first: a job that is taken up between the two is then in work.
    if jobs.store.end_queued(&id, JobStatus::Cancelled).await? {
        jobs.journal.announce(&super::journal::Id::from(id.as_str()));
    } else {
        jobs.runner.cancel(&id);
    }
    let stored = jobs.own(&id, &client).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs.seen(stored))))
}

/// The recording as it was sent; takes range requests, so that a player can jump.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/audio", tag = "jobs",
    params(
        ("id" = String, Path, description = "The job's id"),
    ),
    responses(
        (status = 200, description = "The audio, or with a `Range` header a part of it",
            content((Vec<u8> = "audio/*"), (Vec<u8> = "video/*"), (Vec<u8> = "application/octet-stream"))),
        (status = 206, description = "A part of it",
            content((Vec<u8> = "audio/*"), (Vec<u8> = "video/*"), (Vec<u8> = "application/octet-stream"))),
        (status = 304, description = "It has not changed"),
        (status = 401, description = "A key is needed", body = ErrorBody),
        (status = 403, description = "Not from here", body = ErrorBody),
        (status = 404, description = "No such job", body = ErrorBody),
        (status = 412, description = "A condition of the request does not hold", body = ErrorBody),
        (status = 416, description = "There are no such bytes", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The disk cannot be used", body = ErrorBody),
    )
)]
pub(super) async fn job_audio(
    State(service): State<Arc<Service>>,
    client: Client,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let job = service.jobs.own(&id, &client).await?;
    let path = service.jobs.files.audio(&job.id);
    let gone = |error: std::io::Error| {
        ApiError::new(StatusCode::NOT_FOUND, format!("the audio of this job cannot be read: {error}"))
    };
    let media = media_type(&path).map_err(gone)?;
    let mut response = match ServeFile::new(&path).oneshot(request).await {
        Ok(response) => response.map(axum::body::Body::new),
        Err(never) => match never {},
    };
    let headers = response.headers_mut();
    if headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    }
    // A browser must not make anything else of it than the audio it is served as.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::CONTENT_DISPOSITION, disposition("inline", &job.name));
    Ok(response.into_response())
}

/// `inline` or `attachment` with a file name, percent-encoded (RFC 6266, RFC 8187).
pub(super) fn disposition(kind: &str, name: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    let value = format!("{kind}; filename*=UTF-8''{encoded}");
    // Only ASCII came out of the loop.
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("attachment"))
}

/// What stands behind the question mark.
///
/// # Errors
/// 400 in the service's own form.
pub(super) fn parameters<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query.map(|Query(query)| query).map_err(|why| ApiError::new(StatusCode::BAD_REQUEST, why.body_text()))
}

/// Whether this can be the id of a job.
fn is_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Jobs {
    /// The caller's job of this id.
    ///
    /// # Errors
    /// 404, also for a job of another caller.
    pub(super) async fn own(&self, id: &str, client: &Client) -> Result<Stored, ApiError> {
        let found = if is_id(id) { self.store.get(id, &client.name).await? } else { None };
        found.ok_or_else(|| {
            let message = "there is no such job; it may have been deleted, or have passed its time";
            ApiError::new(StatusCode::NOT_FOUND, message).code("job_not_found")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_name_breaks_out_of_its_header() {
        let value = disposition("inline", "a\"b\r\nSet-Cookie: x; ü.wav");
        assert_eq!(value, "inline; filename*=UTF-8''a%22b%0D%0ASet-Cookie%3A%20x%3B%20%C3%BC.wav");
    }

    #[test]
    fn ids_are_never_paths() {
        assert!(is_id(&uuid::Uuid::now_v7().simple().to_string()));
        for bad in ["", "..", "../../../../etc/passwd", "0123456789ABCDEF0123456789ABCDEF", "0123"] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
