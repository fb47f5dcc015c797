//! `POST /v1/jobs`.

use super::store::{NewJob, Stored};
use super::wire::Job;
use super::{Jobs, plan, retention};
use crate::app::serve::admission::Admitted;
use crate::app::serve::error::ApiError;
use crate::app::serve::form::Form;
use crate::app::serve::problems::Problems;
use crate::app::serve::state::Service;
use crate::app::serve::upload::{Audio, receive};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// Longest `Idempotency-Key`, bytes.
const MAX_KEY: usize = 255;

/// The form of a job. All fields but `file` may be left out, and stand in any order.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form in the OpenAPI document")]
pub(super) struct JobForm {
    /// The recording, in any container and codec.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// How far cleanup may go: `verbatim`, `punctuate`, `tidy` or `rewrite`. Another name is `style`.
    cleanup: Option<String>,
    /// Language to translate to. Another name is `translate_to`.
    to: Option<String>,
    /// What happens with the text: `text`, `auto` or `agent`.
    route: Option<String>,
    /// Language spoken, a code or an English name; `auto`: heard.
    language: Option<String>,
    /// Text before the recording, for Whisper.
    prompt: Option<String>,
    /// Names and jargon, separated by commas.
    vocabulary: Option<String>,
    /// Names and jargon, one a field.
    #[schema(rename = "keywords[]")]
    keywords: Option<Vec<String>>,
    /// Times for every word.
    word_times: Option<String>,
    /// `word` asks for times for every word, as at OpenAI.
    #[schema(rename = "timestamp_granularities[]")]
    timestamp_granularities: Option<Vec<String>>,
    /// `transcribe`, or `translate` for English text by Whisper itself.
    task: Option<String>,
    /// Speech model: a name of `/v1/models`.
    model: Option<String>,
    /// Temperature of Whisper's first attempt, 0 to 1.
    temperature: Option<String>,
    /// The fields above as JSON.
    plan: Option<String>,
    /// Told by a signed POST when the job is over. Only hosts that the operator allows.
    webhook: Option<String>,
}

/// What becomes a job.
pub(super) struct Wanted {
    pub client: String,
    pub form: Form,
    pub audio: Audio,
    pub idempotency: Option<String>,
    pub webhook: Option<String>,
}

/// Takes a long recording. The job is answered as soon as the upload is stored; its result is fetched later, in any
/// format. With an `Idempotency-Key`, a repeated request gets the job it made before.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs",
    params((
        "Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255,
        pattern = r"^[!-~]+$", description = "The same key and client: the same job",
    )),
    request_body(content = JobForm, content_type = "multipart/form-data"),
    responses(
        (status = 202, description = "Taken", body = Job, headers(("Location" = String, description = "The job"))),
        Problems
    )
)]
pub(super) async fn create_job(
    State(service): State<Arc<Service>>,
    place: Admitted,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    let idempotency = idempotency_key(&headers)?;
    let upload = receive(&service, request).await?;
    plan::of(&upload.form, &service.config).await?;
    let webhook = upload.form.one("webhook").map(|url| service.jobs.hooks.check(url)).transpose()?;
    if upload.audio.bytes == 0 {
        return Err(ApiError::bad_field("file", "the file is empty").code("invalid_audio"));
    }
    let client = place.client.name.clone();
    let wanted = Wanted { client, form: upload.form, audio: upload.audio, idempotency, webhook };
    // A task of its own: a client that hangs up now leaves either a whole job or none.
    let made = tokio::spawn(async move { service.jobs.create(wanted).await.map(|stored| service.jobs.seen(stored)) });
    let job = made.await.map_err(|panic| {
        let message = format!("making the job failed unexpectedly: {panic}");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })??;
    let location = [(header::LOCATION, format!("/v1/jobs/{}", job.id))];
    Ok((StatusCode::ACCEPTED, location, Json(job)).into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    match key.to_str() {
        Ok(key) if (1..=MAX_KEY).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => {
            let message = format!("Idempotency-Key is 1 to {MAX_KEY} ASCII characters");
            Err(ApiError::bad_field("Idempotency-Key", message))
        }
    }
}

impl Jobs {
    /// Stores a job, or finds the one its key belongs to.
    pub(super) async fn create(&self, wanted: Wanted) -> Result<Stored, ApiError> {
        let Wanted { client, form, audio, idempotency, webhook } = wanted;
        let form = serde_json::to_string(&form).map_err(super::StoreError::Damaged)?;
        let job = NewJob {
            id: Uuid::now_v7().simple().to_string(),
            client,
            idempotency,
            fingerprint: super::hex(&Sha256::digest(format!("{form} {} {}", audio.bytes, audio.name))),
            name: audio.name.clone(),
            bytes: audio.bytes,
            form,
            webhook,
        };
        if !retention::make_room(self, audio.bytes).await? {
            let message = format!(
                "the jobs that are not over take all of the {} bytes that are set aside (serve.jobs.keep_bytes); \
                 try again when some are done",
                self.config.keep_bytes
            );
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).code("storage_full").retry_after(60));
        }
        self.place(&job.id, audio).await?;
        let known = match self.store.insert(&job).await {
            Ok(Ok(())) => None,
            Ok(Err(known)) => Some(known),
            Err(error) => {
                self.files.remove(&job.id);
                return Err(error.into());
            }
        };
        let id = match known {
            None => {
                self.runner.wake();
                tracing::info!(job = job.id, bytes = job.bytes, "a job is queued");
                job.id
            }
            Some(known) => {
                self.files.remove(&job.id);
                if known.fingerprint != job.fingerprint {
                    let message = "this Idempotency-Key was used with another recording or other fields";
                    let error = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message);
                    return Err(error.param("Idempotency-Key").code("idempotency_key_reused"));
                }
                known.id
            }
        };
        let gone = || ApiError::new(StatusCode::NOT_FOUND, "the job was deleted meanwhile");
        self.store.find(&id).await?.ok_or_else(gone)
    }

    async fn place(&self, id: &str, audio: Audio) -> Result<(), ApiError> {
        let files = self.files.clone();
        let folder = id.to_owned();
        let placed = tokio::task::spawn_blocking(move || files.take(&folder, audio)).await;
        let placed = placed.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        placed.map_err(|error| {
            let message = format!("the recording cannot be stored: {error}");
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).code("disk_full").retry_after(30)
        })
    }
}
