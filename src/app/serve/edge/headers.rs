//! What every response has: headers that keep browsers out of trouble, and errors in one form.

use super::super::error::ApiError;
use axum::body::to_bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// Longest text of an error that a library has made.
const MAX_TEXT: usize = 4096;

/// Set where a handler has not said otherwise. Nothing of an API is a page, a frame or worth keeping.
const SECURITY: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Adds the security headers that are not there yet.
pub(super) fn secure(headers: &mut HeaderMap) {
    for (name, value) in SECURITY {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Errors that a library has answered with (a body that is not JSON, a WebSocket that is none, …) as all others.
pub(super) async fn in_our_form(response: Response) -> Response {
    let status = response.status();
    let json = |value: &HeaderValue| value.as_bytes().starts_with(b"application/json");
    let ours = response.headers().get(header::CONTENT_TYPE).is_some_and(json);
    if ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, MAX_TEXT).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let reason = || status.canonical_reason().unwrap_or("this request cannot be served").to_owned();
    // What a library says about a fault of ours is for the log.
    let told = if text.is_empty() || status.is_server_error() { reason() } else { text.clone() };
    if status.is_server_error() {
        tracing::error!(status = status.as_u16(), text, "a response that is a fault");
    }
    let mut response = ApiError::new(status, told).into_response();
    // Allow, Retry-After, Content-Range and their like; not what described the other body.
    for (name, value) in &parts.headers {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name) {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    #[tokio::test]
    async fn an_error_of_a_library_gets_our_form_and_keeps_its_headers() {
        let response = (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")], "no").into_response();
        let response = in_our_form(response).await;
        assert_eq!(response.headers()[header::ALLOW], "GET");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let body = to_bytes(response.into_body(), 1000).await.expect("a body");
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["error"]["message"], "no");
        assert_eq!(body["error"]["type"], "invalid_request_error");
    }

    #[tokio::test]
    async fn a_fault_does_not_tell_what_went_wrong_inside() {
        let response = (StatusCode::INTERNAL_SERVER_ERROR, "/home/secret").into_response();
        let body = to_bytes(in_our_form(response).await.into_body(), 1000).await.expect("a body");
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }

    #[test]
    fn a_page_keeps_its_own_policy() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("script-src 'self'"));
        secure(&mut headers);
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], "script-src 'self'");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}
