//! What stands before every handler: request id, log, host and origin, key, rate limits, headers.

use super::error::ApiError;
use super::state::Service;
use crate::pipeline::Caller;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

/// Who asks: the name of a key, or an address where no key is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub name: String,
    /// The same, for sharing out the recognisers.
    pub caller: Caller,
}

impl Client {
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Client { caller: Caller(hasher.finish()), name }
    }
}

impl FromRequestParts<Arc<Service>> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Service>) -> Result<Self, ApiError> {
        if let Some(client) = parts.extensions.get::<Client>() {
            return Ok(client.clone());
        }
        let address: Result<ConnectInfo<SocketAddr>, Infallible> =
            Ok(parts.extensions.get().copied().unwrap_or(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 0)))));
        Ok(Client::named(address.map_or_else(|e| match e {}, |info| info.0.ip().to_string())))
    }
}
