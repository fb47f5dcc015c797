//! OpenAI's audio API.

use super::admission::Admitted;
use super::error::ApiError;
use super::state::Service;
use super::upload::receive;
use super::work::{Source, Work};
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(transcriptions))
}

/// Text of a recording.
#[utoipa::path(post, path = "/v1/audio/transcriptions", responses((status = 200)))]
async fn transcriptions(
    State(service): State<Arc<Service>>,
    place: Admitted,
    request: Request,
) -> Result<Response, ApiError> {
    let upload = receive(&service, request).await?;
    let mut plan = crate::app::session::plan(&service.config)?;
    plan.clean = crate::outcome::Style::Verbatim;
    plan.route = crate::outcome::Route::Text;
    plan.translate = None;
    let mut work = Work::start(service.clone(), &place.client, plan, Source::Audio(upload.audio));
    let outcome = work.outcome().await?;
    Ok(Json(serde_json::json!({"text": outcome.transcript.text()})).into_response())
}
