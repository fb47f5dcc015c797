//! An outcome as the body of an answer.

use super::error::ApiError;
use crate::app::session::subtitle_limits;
use crate::config::Config;
use crate::outcome::Outcome;
use crate::output::{Answer, Format, RenderSettings, TextChoice, render};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// What a format carries besides its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carry {
    /// Which text.
    pub text: TextChoice,
    /// The model's answer, in the text format.
    pub answer: Answer,
}

/// The outcome as `format`, laid out as configured.
///
/// # Errors
/// 400 for a format with times of a text that has none.
pub(super) fn rendered(outcome: &Outcome, format: Format, carry: Carry, config: &Config) -> Result<String, ApiError> {
    let settings = RenderSettings {
        text: carry.text,
        answer: carry.answer,
        subtitles: subtitle_limits(config),
        ..RenderSettings::default()
    };
    render(outcome, format, &settings).map_err(|error| ApiError::bad_field("format", error.to_string()))
}

/// A body with the content type of `format`.
pub(super) fn answer(format: Format, body: String) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, content_type(format))], body).into_response()
}

/// The content type of a format.
pub(super) fn content_type(format: Format) -> &'static str {
    match format {
        Format::Json => "application/json",
        Format::Jsonl => "application/x-ndjson",
        // SubRip has no registered type, and clients show plain text.
        Format::Terminal | Format::Text | Format::Srt | Format::Lrc => "text/plain; charset=utf-8",
        Format::Vtt => "text/vtt; charset=utf-8",
        Format::Tsv => "text/tab-separated-values; charset=utf-8",
        Format::Csv => "text/csv; charset=utf-8",
        Format::Md => "text/markdown; charset=utf-8",
    }
}
