//! The routes, and the OpenAPI document made of them.

use super::error::ApiError;
use super::state::Service;
use super::{agent, drain, events, health, jobs, metrics, openai, page, pipeline, realtime, text};
use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

/// Information of the document that no handler knows.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "BestBox speech",
        description = "Speech in; clean text, its intent and an answer out. OpenAI's audio API and the whole pipeline."
    ),
    // What the data of server-sent events is.
    components(schemas(events::RunEvent))
)]
struct Document;

/// Every route of the service.
pub(super) fn router(service: Arc<Service>) -> Router {
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(openai::routes())
        .merge(pipeline::routes())
        .merge(text::routes())
        .merge(agent::routes())
        .merge(jobs::routes())
        .merge(realtime::routes())
        .merge(health::routes())
        .merge(metrics::routes())
        .split_for_parts();
    if !service.config.serve.keys.is_empty() {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("key", SecurityScheme::Http(bearer));
        document.security = Some(vec![SecurityRequirement::new("key", [""; 0])]);
    }
    let document = Arc::new(document.to_pretty_json().unwrap_or_default());
    let router = router
        .merge(page::routes())
        .route(
            "/openapi.json",
            get(move || {
                let json = ([(axum::http::header::CONTENT_TYPE, "application/json")], document.to_string());
                std::future::ready(json)
            }),
        )
        .fallback(|| async {
            ApiError::new(StatusCode::NOT_FOUND, "there is nothing at this address; see /openapi.json")
        })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not take that method; see /openapi.json")
        });
    router.layer(from_fn_with_state(service.clone(), drain::gate)).with_state(service)
}
