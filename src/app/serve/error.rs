//! Every error as OpenAI's clients expect it: `{"error":{"message","type","param","code"}}`.

use super::metrics::Reason;
use crate::audio::AudioError;
use crate::error::Error;
use crate::models::ModelError;
use crate::speech::SpeechError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// What a client is told when there is no result. One clear sentence: what, where, what to do.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    /// 4xx, or 503 where waiting helps. Anything else of 5xx is a fault of ours.
    pub status: StatusCode,
    pub message: String,
    /// The field of the request that is at fault.
    pub param: Option<String>,
    /// Machine-readable reason, such as `invalid_audio`.
    pub code: Option<&'static str>,
    /// Seconds after which it is worth trying again.
    pub retry_after: Option<u64>,
    /// Where the result will be, or is.
    pub location: Option<String>,
}

/// Body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorDetail {
    /// One sentence for a person.
    pub message: String,
    /// Kind of error, such as `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Field of the request that is at fault.
    pub param: Option<String>,
    /// Machine-readable reason.
    pub code: Option<&'static str>,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        ApiError { status, message: message.into(), param: None, code: None, retry_after: None, location: None }
    }

    /// 400 for a field.
    pub fn bad_field(param: &str, message: impl Into<String>) -> Self {
        ApiError { param: Some(param.to_owned()), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    /// 503 for whatever comes while the service ends.
    pub fn draining() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the service is ending; try again later")
            .code("draining")
            .retry_after(30)
    }

    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    pub fn param(mut self, param: &str) -> Self {
        self.param = Some(param.to_owned());
        self
    }

    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub fn body(&self) -> ErrorBody {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            503 => "service_unavailable",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        let (message, param, code) = (self.message.clone(), self.param.clone(), self.code);
        ErrorBody { error: ErrorDetail { message, kind, param, code } }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some(code) = self.code {
            response.extensions_mut().insert(Reason(code));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(location) = self.location.as_deref().and_then(|path| HeaderValue::from_str(path).ok()) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Error> for ApiError {
    /// Bad audio is the client's, never a 5xx; a full disk or a missing model is ours, and passes.
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Audio(error) => audio(&error, message),
            Error::Speech(SpeechError::EnglishOnly(_) | SpeechError::UnknownLanguage(_)) => {
                ApiError::bad_field("language", message)
            }
            Error::Speech(SpeechError::Cancelled | SpeechError::Stopped) | Error::Interrupted => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the service is ending; try again").retry_after(5)
            }
            Error::Loading => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).code("loading").retry_after(5),
            Error::Kept(id) => ApiError {
                location: Some(format!("/v1/jobs/{id}")),
                ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).code("kept_as_job").retry_after(30)
            },
            Error::Model(ModelError::NoRoom { .. }) => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).code("model_busy").retry_after(10)
            }
            Error::Model(ModelError::TooLarge { .. }) => ApiError::bad_field("model", message).code("model_too_large"),
            Error::Model(_) => ApiError::bad_field("model", message).code("model_not_found"),
            _ => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message),
        }
    }
}

fn audio(error: &AudioError, message: String) -> ApiError {
    let status = match error {
        AudioError::TooLong { .. } | AudioError::TooManyBytes { .. } | AudioError::SpoolLimit { .. } => {
            return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).param("file").code("audio_too_large");
        }
        AudioError::Spool { .. } | AudioError::Start { .. } | AudioError::Open { .. } => {
            return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(30);
        }
        AudioError::Unsupported { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        _ => StatusCode::BAD_REQUEST,
    };
    ApiError::new(status, message).param("file").code("invalid_audio")
}
