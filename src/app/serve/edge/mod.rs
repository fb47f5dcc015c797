//! What stands between the socket and every handler.
//!
//! ```text
//! request id, log -> panic -> security headers -> host -> origin -> CORS -> key -> rate -> handler
//! ```
//!
//! Everything here is decided from the head of a request: a body is not touched before its sender may send it.

mod body;
mod client;
mod headers;
mod hosts;
mod keys;
mod limits;
pub(super) mod listen;
mod log;

pub(super) use client::Client;

use super::error::ApiError;
use crate::config::ServeConfig;
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use body::{Passed, Patience, Watched};
use hosts::Hosts;
use keys::Keys;
use limits::Addresses;
use std::any::Any;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// What the decisions are made from.
struct Edge {
    hosts: Hosts,
    keys: Keys,
    addresses: Option<Addresses>,
    patience: Patience,
}

/// The service's routes behind everything that guards them. `address` is what it listens on.
pub(super) fn guarded(router: Router, config: &ServeConfig, address: SocketAddr) -> Router {
    let edge = Arc::new(Edge {
        hosts: Hosts::new(config, address.ip()),
        keys: Keys::new(&config.keys),
        addresses: Addresses::new(config.requests_per_minute),
        patience: Patience::new(config),
    });
    let mut router = router.layer(from_fn_with_state(edge.clone(), admit));
    if !config.cors_origins.is_empty() {
        router = router.layer(cors(&config.cors_origins));
    }
    router
        .layer(from_fn_with_state(edge.clone(), recognise_address))
        .layer(CatchPanicLayer::custom(fault))
        .layer(from_fn_with_state(edge, outermost))
}

/// Identifies, times and logs a request; watches its body; gives its response the headers that all have.
async fn outermost(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let id = log::request_id(request.headers());
    request.headers_mut().insert(log::REQUEST_ID, id.clone());
    let passed = Arc::new(Passed::default());
    let line = log::Line::begin(&request, &id, passed.clone());
    request.extensions_mut().insert(line.name());
    let request = Watched::wrap(request, edge.patience, passed.clone());
    let mut response = next.run(request).await;
    if passed.too_slow() && response.status().is_client_error() {
        // Whatever the handler made of a body that broke off.
        let message = "the upload came to a stop or was too slow; send it again";
        response = ApiError::new(StatusCode::REQUEST_TIMEOUT, message).code("upload_too_slow").into_response();
    }
    let mut response = headers::in_our_form(response).await;
    headers::secure(response.headers_mut());
    response.headers_mut().insert(log::REQUEST_ID, id);
    line.finish(response)
}

/// Host and Origin: a page of somebody else's cannot use a visitor's browser to reach a service on their machine.
async fn recognise_address(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Result<Response, ApiError> {
    edge.hosts.check(&request)?;
    Ok(next.run(request).await)
}

/// Key and rate.
async fn admit(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Result<Response, ApiError> {
    if open(request.uri().path()) {
        return Ok(next.run(request).await);
    }
    let address = peer(&request);
    let known = edge.keys.recognise(request.headers());
    match &known {
        Ok(Some(key)) => key.count()?,
        // Without a key that we know it is the address that counts, so that guessing is slow too.
        Ok(None) | Err(_) => edge.addresses.as_ref().map_or(Ok(()), |addresses| addresses.count(address))?,
    }
    let client = known?.map_or_else(|| Client::named(address.to_canonical().to_string()), |key| key.client());
    if let Some(name) = request.extensions().get::<log::Name>() {
        name.set(&client.name);
    }
    request.extensions_mut().insert(client);
    Ok(next.run(request).await)
}

/// Who is connected; the service's own machine where nobody knows (in tests of a router without a socket).
fn peer(request: &Request) -> IpAddr {
    let info = request.extensions().get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |info| info.0.ip())
}

/// What needs no key: whether the service is well, and the files of its page.
fn open(path: &str) -> bool {
    matches!(path, "/" | "/docs" | "/favicon.ico" | "/health")
        || path.starts_with("/health/")
        || path.starts_with("/page/")
}

/// Only for origins that the configuration names; [`Hosts`] has refused all others by then.
fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(&origin.to_ascii_lowercase()).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            log::REQUEST_ID,
            header::RETRY_AFTER,
            header::LOCATION,
            HeaderName::from_static("content-disposition"),
        ])
        .max_age(Duration::from_secs(600))
}

/// A panic of ours. What it said stands in the log, never in a response.
fn fault(_: Box<dyn Any + Send>) -> Response {
    let message = "the service failed at this request; its log says more";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message).code("internal_error").into_response()
}

#[cfg(test)]
mod tests;
