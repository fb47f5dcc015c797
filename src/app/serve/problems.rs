//! The errors that endpoints share, for the OpenAPI document.

use super::error::ErrorBody;
use utoipa::IntoResponses;

/// Of every request that brings a body.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes ApiError in the OpenAPI document")]
pub(super) enum Problems {
    /// A field is missing, malformed or unknown, or the file is not audio; `param` names the field.
    #[response(status = 400)]
    BadRequest(ErrorBody),
    /// No key, or a wrong one.
    #[response(status = 401)]
    Unauthorized(ErrorBody),
    /// The page or host that the request comes from may not call this service.
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// There is no such model.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// The body stopped half-way.
    #[response(status = 408)]
    Timeout(ErrorBody),
    /// The body is too large, or the recording too long.
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// Another content type is needed, or the audio is of a kind that cannot be decoded here.
    #[response(status = 415)]
    UnsupportedMediaType(ErrorBody),
    /// The JSON is not of the right shape.
    #[response(status = 422)]
    Unprocessable(ErrorBody),
    /// Too many requests; `Retry-After` says when to come back, in seconds.
    #[response(status = 429, headers(("Retry-After" = i64, description = "Seconds.")))]
    Busy(ErrorBody),
    /// Loading or ending; `Retry-After` says when to come back, in seconds.
    #[response(status = 503, headers(("Retry-After" = i64, description = "Seconds.")))]
    Unavailable(ErrorBody),
}
