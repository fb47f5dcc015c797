//! `GET /v1/jobs/{id}/result`: what came of a job, in any format.

use super::handlers::{disposition, parameters};
use super::plan;
use super::store::{StoreError, Stored};
use super::wire::JobStatus;
use crate::app::serve::edge::Client;
use crate::app::serve::error::{ApiError, ErrorBody};
use crate::app::serve::form::Form;
use crate::app::serve::openai::{VerboseJson, verbose_json};
use crate::app::serve::plan::{TextName, choice};
use crate::app::serve::render::{self, Carry, rendered};
use crate::app::serve::state::Service;
use crate::outcome::Outcome;
use crate::output::{Answer, Format, TextChoice};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::path::Path as FilePath;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Formats of a result.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes the names in the OpenAPI document")]
pub(super) enum ResultFormat {
    Json,
    Text,
    Srt,
    Vtt,
    Tsv,
    Csv,
    Lrc,
    Md,
    Jsonl,
    VerboseJson,
}

/// The outcome, or OpenAI's `verbose_json`.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the answer in the OpenAPI document")]
pub(super) enum ResultJson {
    Outcome(Box<Outcome>),
    Verbose(VerboseJson),
}

/// How a result is written.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ResultQuery {
    /// The whole outcome as JSON by default; `verbose_json` is OpenAI's.
    #[param(value_type = Option<ResultFormat>, inline)]
    format: Option<String>,
    /// Which text the formats other than JSON carry; the best there is by default.
    #[param(value_type = Option<TextName>, inline)]
    text: Option<String>,
    /// Whether a browser is to save it as a file.
    #[serde(default)]
    download: bool,
}

/// The text of a job that is over: of a cancelled one, what was recognised until then.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/result", tag = "jobs",
    params(("id" = String, Path, description = "The job's id"), ResultQuery),
    responses(
        (status = 200, description = "The result", content(
            (ResultJson = "application/json"), (String = "text/plain"), (String = "text/vtt"), (String = "text/csv"),
            (String = "text/tab-separated-values"), (String = "text/markdown"), (String = "application/x-ndjson"),
        )),
        (status = 400, description = "A parameter is wrong", body = ErrorBody),
        (status = 401, description = "A key is needed", body = ErrorBody),
        (status = 403, description = "Not from here", body = ErrorBody),
        (status = 404, description = "No such job", body = ErrorBody),
        (status = 409, description = "There is no result, or not yet", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The disk cannot be used", body = ErrorBody),
    )
)]
pub(super) async fn job_result(
    State(service): State<Arc<Service>>,
    client: Client,
    Path(id): Path<String>,
    query: Result<Query<ResultQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let query = parameters(query)?;
    let format = Wire::parse(query.format.as_deref().unwrap_or("json"))?;
    let text = query.text.as_deref().map_or(Ok(TextChoice::Best), |text| choice("text", text))?;
    let job = service.jobs.own(&id, &client).await?;
    let Some(json) = service.jobs.store.outcome(&job.id).await? else {
        return Err(no_result(&service, job));
    };
    let outcome: Outcome = serde_json::from_str(&json).map_err(StoreError::Damaged)?;
    let mut response = match format {
        Wire::Ours(format) => {
            let carry = Carry { text, answer: Answer::Append };
            render::answer(format, rendered(&outcome, format, carry, &service.config)?)
        }
        Wire::Verbose => {
            let form: Form = serde_json::from_str(&job.form).map_err(StoreError::Damaged)?;
            let plan = plan::fields(&form, &service.config)?;
            Json(verbose_json(&outcome, &plan)).into_response()
        }
    };
    if query.download {
        let stem = FilePath::new(&job.name).file_stem().and_then(|stem| stem.to_str()).unwrap_or("result");
        let name = format!("{stem}.{}", format.extension());
        response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition("attachment", &name));
    }
    Ok(response)
}

/// 409: what the job is doing instead.
fn no_result(service: &Service, job: Stored) -> ApiError {
    let seen = service.jobs.seen(job);
    let conflict = |message: String| ApiError::new(StatusCode::CONFLICT, message);
    match seen.status {
        JobStatus::Failed => {
            let why = seen.error.as_ref().and_then(|error| error["message"].as_str()).unwrap_or("unknown").to_owned();
            conflict(format!("the job failed: {why}")).code("job_failed")
        }
        JobStatus::Cancelled => {
            conflict("the job was cancelled before any text was there".into()).code("job_cancelled")
        }
        status => {
            let of = seen.progress.total_seconds.map_or_else(String::new, |total| format!(" of {total:.1}"));
            let message = format!(
                "the job is {}: {:.1}{of} s of audio are done; ask again",
                status.name(),
                seen.progress.seconds
            );
            let wait = seen.progress.eta_seconds.unwrap_or(2.0).clamp(1.0, 60.0).ceil();
            conflict(message).code("job_not_finished").retry_after(wait as u64)
        }
    }
}

/// How a result goes over the wire.
#[derive(Clone, Copy)]
enum Wire {
    Ours(Format),
    /// OpenAI's, with words where the job was asked for their times.
    Verbose,
}

impl Wire {
    fn parse(name: &str) -> Result<Self, ApiError> {
        match name.parse() {
            // The view for a terminal is laid out for one; nobody has one here.
            Ok(format) if format != Format::Terminal => Ok(Wire::Ours(format)),
            _ if name == "verbose_json" => Ok(Wire::Verbose),
            _ => {
                let known = "json, text, srt, vtt, tsv, csv, lrc, md, jsonl, verbose_json";
                Err(ApiError::bad_field("format", format!("format is one of {known}, not '{name}'")))
            }
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Wire::Ours(format) => format.extension(),
            Wire::Verbose => "json",
        }
    }
}
