//! `GET /v1/jobs/{id}/result`: what came of a job, in any format.

use super::handlers::{disposition, parameters};
use super::store::{StoreError, Stored};
use super::wire::JobStatus;
use crate::app::serve::edge::Client;
use crate::app::serve::error::{ApiError, ErrorBody};
use crate::app::serve::plan::{TextName, choice};
use crate::app::serve::state::Service;
use crate::config::Config;
use crate::outcome::Outcome;
use crate::output::{Format, RenderSettings, SubtitleLimits, TextChoice, render};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
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
            (Outcome = "application/json"), (String = "application/x-ndjson"), (String = "text/plain"),
            (String = "application/x-subrip"), (String = "text/vtt"), (String = "text/tab-separated-values"),
            (String = "text/csv"), (String = "text/markdown"),
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
    let body = format.write(&outcome, text, &service.config)?;
    let mut response = ([(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()))], body).into_response();
    if query.download {
        let stem = std::path::Path::new(&job.name).file_stem().and_then(|stem| stem.to_str()).unwrap_or("result");
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
enum Wire {
    Ours(Format),
}

impl Wire {
    fn parse(name: &str) -> Result<Self, ApiError> {
        match name.parse() {
            // The view for a terminal is laid out for one; nobody has one here.
            Ok(format) if format != Format::Terminal => Ok(Wire::Ours(format)),
            _ => {
                let known = "json, text, srt, vtt, tsv, csv, lrc, md, jsonl, verbose_json";
                Err(ApiError::bad_field("format", format!("format is one of {known}, not '{name}'")))
            }
        }
    }

    fn write(&self, outcome: &Outcome, text: TextChoice, config: &Config) -> Result<String, ApiError> {
        let Wire::Ours(format) = self;
        let limits = &config.output;
        let subtitles = SubtitleLimits {
            columns: limits.subtitle_columns as usize,
            lines: limits.subtitle_lines as usize,
            columns_per_second: limits.subtitle_chars_per_second,
            ..SubtitleLimits::default()
        };
        let settings = RenderSettings { text, subtitles, ..RenderSettings::default() };
        render(outcome, *format, &settings)
            .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    }

    fn media_type(&self) -> &'static str {
        let Wire::Ours(format) = self;
        match format {
            Format::Json => "application/json",
            Format::Jsonl => "application/x-ndjson",
            Format::Srt => "application/x-subrip; charset=utf-8",
            Format::Vtt => "text/vtt; charset=utf-8",
            Format::Tsv => "text/tab-separated-values; charset=utf-8",
            Format::Csv => "text/csv; charset=utf-8",
            Format::Md => "text/markdown; charset=utf-8",
            Format::Text | Format::Lrc | Format::Terminal => "text/plain; charset=utf-8",
        }
    }

    fn extension(&self) -> &'static str {
        let Wire::Ours(format) = self;
        format.extension()
    }
}
