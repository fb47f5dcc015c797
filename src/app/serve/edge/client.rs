//! Who asks.

use super::super::error::ApiError;
use super::super::state::Service;
use crate::pipeline::Caller;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The name of a key, or an address where no key is asked for.
#[derive(Clone, Debug)]
pub(in crate::app::serve) struct Client {
    pub name: String,
    /// The same, for sharing out the recognisers.
    pub caller: Caller,
    /// Requests with audio that this client may have at once; none: as many as there are places.
    pub places: Option<Arc<Semaphore>>,
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Client {}

impl Client {
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Client { caller: Caller(hasher.finish()), name, places: None }
    }
}

impl FromRequestParts<Arc<Service>> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Service>) -> Result<Self, ApiError> {
        if let Some(client) = parts.extensions.get::<Client>() {
            return Ok(client.clone());
        }
        // An address that needs no key.
        let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let address = info.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |info| info.0.ip());
        Ok(Client::named(address.to_canonical().to_string()))
    }
}
