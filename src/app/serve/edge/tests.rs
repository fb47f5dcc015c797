//! The whole edge around small handlers, without a socket.

use super::*;
use crate::config::KeyConfig;
use axum::body::{Body, to_bytes};
use axum::routing::{get, post};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

fn app(config: &ServeConfig) -> Router {
    let router = Router::new()
        .route("/health/live", get(|| async { "alive" }))
        .route("/v1/models", get(|| async { "models" }))
        .route("/v1/panic", get(|| async { panic!("a transcript") as () }))
        .route("/v1/text", post(|_: axum::Json<serde_json::Value>| async { "text" }))
        .route("/v1/who", get(|client: axum::Extension<Client>| async move { client.0.name }));
    guarded(router, config, SocketAddr::from(([127, 0, 0, 1], 8000)))
}

async fn ask(app: &Router, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::builder().uri(path).header("host", "localhost:8000");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("a request");
    app.clone().oneshot(request).await.expect("infallible")
}

async fn text(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 16).await.expect("a body").to_vec()).expect("text")
}

fn with_key(limit: u32) -> ServeConfig {
    let sha256 = Sha256::digest("bb_ann").iter().map(|byte| format!("{byte:02x}")).collect();
    let key = KeyConfig { name: "ann".into(), sha256, requests_per_minute: limit, concurrent: 0 };
    ServeConfig { keys: vec![key], ..ServeConfig::default() }
}

#[tokio::test]
async fn only_health_and_the_page_are_open_when_there_are_keys() {
    let app = app(&with_key(0));
    assert_eq!(ask(&app, "/health/live", &[]).await.status(), 200);
    for path in ["/v1/models", "/metrics", "/openapi.json", "/nowhere", "//health/live", "/healthy"] {
        let response = ask(&app, path, &[("authorization", "Bearer wrong")]).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["www-authenticate"]),
            (401, &HeaderValue::from_static("Bearer")),
            "{path}"
        );
        let body: serde_json::Value = serde_json::from_str(&text(response).await).expect("JSON");
        assert_eq!(body["error"]["code"], "invalid_api_key");
    }
    let who = ask(&app, "/v1/who", &[("authorization", "Bearer bb_ann")]).await;
    assert_eq!(text(who).await, "ann");
}

#[tokio::test]
async fn without_keys_any_key_will_do_and_the_address_is_the_client() {
    let app = app(&ServeConfig::default());
    let who = ask(&app, "/v1/who", &[("authorization", "Bearer sk-whatever")]).await;
    assert_eq!(text(who).await, "127.0.0.1");
}

#[tokio::test]
async fn too_many_requests_are_told_when_to_come_back() {
    let app = app(&with_key(2));
    for expected in [200, 200, 429] {
        let response = ask(&app, "/v1/models", &[("authorization", "Bearer bb_ann")]).await;
        assert_eq!(response.status(), expected);
        if expected == 429 {
            let seconds: u64 = response.headers()["retry-after"].to_str().expect("text").parse().expect("an integer");
            assert!((1..=30).contains(&seconds));
        }
    }
    assert_eq!(ask(&app, "/health/live", &[]).await.status(), 200);
}

#[tokio::test]
async fn guessing_keys_is_limited_by_address() {
    let app = self::app(&ServeConfig { requests_per_minute: 2, ..with_key(0) });
    for expected in [401, 401, 429] {
        assert_eq!(ask(&app, "/v1/models", &[("authorization", "Bearer guess")]).await.status(), expected);
    }
    assert_eq!(ask(&app, "/v1/models", &[("authorization", "Bearer bb_ann")]).await.status(), 200);
}

#[tokio::test]
async fn every_response_has_an_id_and_security_headers() {
    let app = app(&with_key(0));
    for (path, status) in [("/health/live", 200), ("/v1/models", 401)] {
        let response = ask(&app, path, &[("x-request-id", "mine-1")]).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["x-request-id"], "mine-1");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let policy = response.headers()["content-security-policy"].to_str().expect("text");
        assert!(policy.contains("frame-ancestors 'none'"));
    }
}

#[tokio::test]
async fn a_panic_is_a_fault_that_tells_nothing() {
    let response = ask(&app(&ServeConfig::default()), "/v1/panic", &[]).await;
    assert_eq!(response.status(), 500);
    assert!(response.headers().contains_key("x-request-id"));
    let body = text(response).await;
    assert!(body.contains("internal_error") && !body.contains("transcript"), "{body}");
}

#[tokio::test]
async fn errors_of_libraries_have_our_form() {
    let app = app(&ServeConfig::default());
    let request = Request::post("/v1/text").header("host", "localhost").header("content-type", "application/json");
    let response = app.clone().oneshot(request.body(Body::from("{")).expect("a request")).await.expect("infallible");
    assert_eq!(response.status(), 400);
    let body: serde_json::Value = serde_json::from_str(&text(response).await).expect("JSON");
    assert_eq!(body["error"]["type"], "invalid_request_error");
    let request = Request::put("/v1/models").header("host", "localhost").body(Body::empty()).expect("a request");
    let response = app.oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), 405);
    assert!(response.headers().contains_key("allow"));
    assert!(text(response).await.starts_with("{\"error\""));
}

#[tokio::test]
async fn cors_is_off_by_default_and_on_for_named_origins_only() {
    let ask_first = |config: ServeConfig, origin: &'static str| async move {
        let request = Request::builder().method("OPTIONS").uri("/v1/models").header("host", "localhost:8000");
        let request = request.header("origin", origin).header("access-control-request-method", "POST");
        let request = request.header("access-control-request-headers", "authorization, x-stainless-os");
        app(&config).oneshot(request.body(Body::empty()).expect("a request")).await.expect("infallible")
    };
    let allowed = || ServeConfig { cors_origins: vec!["https://app.example.org".into()], ..with_key(0) };
    let response = ask_first(allowed(), "https://app.example.org").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["access-control-allow-origin"], "https://app.example.org");
    assert_eq!(response.headers()["access-control-allow-headers"], "authorization, x-stainless-os");
    assert!(!response.headers().contains_key("access-control-allow-credentials"));
    for origin in ["https://evil.example", "null"] {
        let response = ask_first(allowed(), origin).await;
        assert_eq!(response.status(), 403, "{origin}");
        assert!(!response.headers().contains_key("access-control-allow-origin"));
    }
    let response = ask_first(ServeConfig::default(), "https://app.example.org").await;
    assert_eq!(response.status(), 403);
    let origin = [("origin", "https://app.example.org"), ("authorization", "Bearer bb_ann")];
    let response = ask(&app(&allowed()), "/v1/models", &origin).await;
    assert_eq!(
        (response.status(), &response.headers()["access-control-allow-origin"]),
        (StatusCode::OK, &HeaderValue::from_static("https://app.example.org"))
    );
}
