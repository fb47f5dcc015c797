//! `GET /v1/realtime`: OpenAI's transcription session over a WebSocket.
//!
//! ```text
//! socket (read, write, limits) <-> session (events, turns, items) <-> recognize
//!                                     `- settings (both shapes), audio (formats), partial (what may be shown early)
//! ```

mod audio;
mod events;
mod partial;
mod recognize;
mod session;
mod settings;
mod socket;

use super::admission::Admitted;
use super::error::{ApiError, ErrorBody};
use super::state::Service;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection as NoUpgrade;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use session::{Model, Opening, Rules, Session};
use settings::Shape;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    let mut router = OpenApiRouter::new().routes(routes!(realtime));
    // OpenAPI knows no WebSockets: to those who read the document, `get` would be a request that no plain client can
    // make. So the path stands in the document with what it is for, and the handshake under a name of its own.
    for item in router.get_openapi_mut().paths.paths.values_mut() {
        if let Some(handshake) = item.get.take() {
            (item.summary, item.description) = (handshake.summary.clone(), handshake.description.clone());
            let handshake = serde_json::to_value(handshake).unwrap_or_default();
            item.extensions = Some([("x-websocket-handshake", handshake)].into_iter().collect());
        }
    }
    router
}

/// Largest message, bytes: 15 MiB of audio in base64 and what is around it, so that one that is a little too large still
/// gets an answer.
const MAX_MESSAGE: usize = 24 << 20;

/// Transcription of speech while it is spoken, over a WebSocket.
///
/// OpenAI's transcription session. The client sends `session.update` (or the older `transcription_session.update`; both
/// take the nested and the older flat form), `input_audio_buffer.append`, `.commit` and `.clear`. The service sends
/// `session.created`, `session.updated`, `input_audio_buffer.speech_started`, `.speech_stopped`, `.committed` and
/// `.cleared`, `conversation.item.added` and `.done` (older form: `.created`),
/// `conversation.item.input_audio_transcription.delta`, `.completed` and `.failed`, and `error`, after which the session
/// goes on. Clients with the header `OpenAI-Beta: realtime=v1` are greeted in the older form.
///
/// Audio is 16-bit PCM, mono, little-endian, at 24 kHz or another `rate` from 8 to 48 kHz, or G.711 (`audio/pcmu`,
/// `audio/pcma`) at 8 kHz. Deltas come while somebody speaks, also before `committed`: only words on which two
/// looks at the growing utterance agree. They add up to the transcript of `completed`; where the whole utterance says
/// other words than were shown, `completed` is right. `semantic_vad` waits for a longer pause (0.8, 1.2 or 2 s) than
/// `server_vad`; no model judges the sentence. `noise_reduction` is accepted and not done.
#[utoipa::path(
    get,
    path = "/v1/realtime",
    tag = "realtime",
    params(
        ("intent" = Option<String>, Query, description = "`transcription`, the only kind of session there is"),
        ("model" = Option<String>, Query, description = "Model of the session, until `session.update` names another"),
        ("OpenAI-Beta" = Option<String>, Header, description = "`realtime=v1`: the older, flat form of the session"),
        ("Sec-WebSocket-Protocol" = Option<String>, Header, description = "From browsers: `realtime` and \
            `openai-insecure-api-key.KEY`; answered with `realtime`"),
    ),
    responses(
        (status = 101, description = "The session begins"),
        (status = 400, description = "Not a WebSocket handshake of version 13", body = ErrorBody),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "Not from this page or under this name", body = ErrorBody),
        (status = 404, description = "There is no such model", body = ErrorBody),
        (status = 426, description = "This address speaks WebSocket alone", body = ErrorBody),
        (status = 429, description = "Too many requests or sessions", body = ErrorBody),
        (status = 503, description = "The service is starting or ending", body = ErrorBody),
    )
)]
async fn realtime(
    State(service): State<Arc<Service>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, NoUpgrade>,
    place: Result<Admitted, ApiError>,
) -> Result<Response, Response> {
    let upgrade = upgrade.map_err(|refusal| no_upgrade(&refusal))?.protocols(["realtime"]);
    let place = place.map_err(IntoResponse::into_response)?;
    // An address that cannot be read asks for nothing.
    let query = query.map(|Query(pairs)| pairs).unwrap_or_default();
    let asked = |name: &str| query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let (rules, model) = rules(&service, asked("model")).map_err(IntoResponse::into_response)?;
    let older = is_older(&headers, &upgrade);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let opening = Opening {
        shape: if older { Shape::Flat } else { Shape::Nested },
        older: older && asked("intent") == Some("transcription"),
        expires_at: (now + service.config.serve.realtime.max_session_seconds) as u64,
    };
    let session = Session::new(opening, rules, model)
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response())?;
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    Ok(upgrade.on_upgrade(move |socket| socket::run(socket, service, place, session)))
}

/// Clients of before 2025-09 say so in a header, or from a browser in a subprotocol.
fn is_older(headers: &HeaderMap, upgrade: &WebSocketUpgrade) -> bool {
    let beta = headers.get_all("openai-beta").iter().any(|value| value.as_bytes().starts_with(b"realtime=v1"));
    beta || upgrade.requested_protocols().any(|protocol| protocol.as_bytes() == b"openai-beta.realtime-v1")
}

fn rules(service: &Arc<Service>, model: Option<&str>) -> Result<(Rules, Model), ApiError> {
    let plan = crate::app::session::plan(&service.config)?;
    // Models of whole conversations stand in the address of clients that only want the text of them.
    let conversational = |model: &str| model.starts_with("gpt-") && model.contains("realtime");
    let name = model.filter(|model| !model.is_empty() && !conversational(model)).unwrap_or("whisper-1");
    let model = recognize::select(service, name).ok_or_else(|| {
        let message = "the model in the address does not exist here; GET /v1/models lists those that do";
        ApiError::new(StatusCode::NOT_FOUND, message).param("model").code("model_not_found")
    })?;
    let limits = &service.config.serve.realtime;
    let engine = service.engine()?;
    let weak = Arc::downgrade(service);
    let rules = Rules {
        vad: engine.vad_settings(),
        options: engine.speech_options(&plan),
        buffer: limits.buffer_seconds,
        partial: limits.partial_seconds,
        model: name.to_owned(),
        select: Box::new(move |model| recognize::select(weak.upgrade()?.as_ref(), model)),
    };
    Ok((rules, model))
}

fn no_upgrade(refusal: &NoUpgrade) -> Response {
    let to_upgrade = matches!(refusal, NoUpgrade::InvalidConnectionHeader(_) | NoUpgrade::InvalidUpgradeHeader(_));
    let status = if to_upgrade { StatusCode::UPGRADE_REQUIRED } else { StatusCode::BAD_REQUEST };
    let message = format!("this address speaks WebSocket alone: {refusal}");
    let mut response = ApiError::new(status, message).code("websocket_required").into_response();
    if to_upgrade {
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    response
}
