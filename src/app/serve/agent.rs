//! A person's word about a call that waits: the answer goes on.

use super::admission::Admitted;
use super::error::ApiError;
use super::pipeline::{self, Delivery};
use super::problems::Problems;
use super::render::Carry;
use super::sse::ServerSentEvent;
use super::state::Service;
use super::work::Source;
use crate::app::session;
use crate::outcome::Outcome;
use crate::output::{Answer, Format, TextChoice};
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(confirm))
}

/// The body of `POST /v1/agent/confirm`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    /// The token of the call that waits.
    #[schema(max_length = 200)]
    token: String,
    /// Whether the call is made.
    approve: bool,
    /// Events as something happens, instead of one answer at the end.
    #[serde(default)]
    stream: bool,
}

/// Confirm or deny a call of a tool
///
/// `pending` of a reply names a call that waits. Its token works once, until it expires, for the key that asked, and for
/// exactly the arguments shown. The answer then goes on; the outcome has its rest as `reply`, perhaps with the next call
/// that waits.
#[utoipa::path(
    post,
    path = "/v1/agent/confirm",
    tag = "pipeline",
    request_body = Confirmation,
    responses(
        (
            status = 200,
            description = "The rest of the answer; events with `stream`.",
            content((Outcome = "application/json"), (ServerSentEvent = "text/event-stream"))
        ),
        Problems
    )
)]
async fn confirm(
    State(service): State<Arc<Service>>,
    place: Admitted,
    body: Result<Json<Confirmation>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(word) = body.map_err(|error| ApiError::new(error.status(), error.body_text()))?;
    let suspended = service.engine()?.waiting(&word.token, &place.client.name).map_err(|error| {
        ApiError::new(StatusCode::NOT_FOUND, error.to_string()).param("token").code("nothing_to_confirm")
    })?;
    let plan = session::plan(&service.config)?;
    let delivery = match word.stream {
        true => Delivery::Events,
        false => Delivery::Body(Format::Json, Carry { text: TextChoice::Best, answer: Answer::Append }),
    };
    let source = Source::Confirmed { suspended: Box::new(suspended), approved: word.approve };
    pipeline::run(&service, place, plan, source, delivery).await
}
