//! Keys of the service's users: only their digests are known, and they are compared in constant time.

use super::super::error::ApiError;
use super::client::Client;
use super::limits::Rate;
use crate::config::KeyConfig;
use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

/// How a browser's WebSocket, which cannot set headers, carries a key (OpenAI's convention).
const WEBSOCKET_PREFIX: &str = "openai-insecure-api-key.";

/// Every configured key; none: everybody is let in.
pub(super) struct Keys(Vec<Arc<Key>>);

/// One user's key.
pub(super) struct Key {
    name: String,
    digest: [u8; 32],
    rate: Option<Rate>,
    places: Option<Arc<Semaphore>>,
}

impl Keys {
    /// A key whose digest is unusable (the configuration refuses such) fits nothing.
    pub fn new(configured: &[KeyConfig]) -> Self {
        let key = |key: &KeyConfig| {
            let places = (key.concurrent > 0).then(|| Arc::new(Semaphore::new(key.concurrent as usize)));
            let (name, rate) = (key.name.clone(), Rate::new(key.requests_per_minute));
            Some(Arc::new(Key { name, digest: key.digest()?, rate, places }))
        };
        Keys(configured.iter().filter_map(key).collect())
    }

    /// Whose key stands in the head of a request; `None` where no keys are configured.
    ///
    /// # Errors
    /// 401 without a key, or with one that is nobody's.
    pub fn recognise(&self, headers: &HeaderMap) -> Result<Option<Arc<Key>>, ApiError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let refused = |message: &str| ApiError::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key");
        let presented = presented(headers)
            .ok_or_else(|| refused("this service needs a key: send it as 'Authorization: Bearer KEY'"))?;
        let digest = Sha256::digest(presented.as_bytes());
        let mut found = None;
        // All of them, whichever fits: the time says nothing about a key.
        for key in &self.0 {
            if bool::from(key.digest.ct_eq(digest.as_slice())) {
                found = Some(key.clone());
            }
        }
        found.map(Some).ok_or_else(|| refused("nobody has this key; ask the service's owner for one"))
    }
}

impl Key {
    /// Counts a request.
    ///
    /// # Errors
    /// 429 when there were too many in the last minute.
    pub fn count(&self) -> Result<(), ApiError> {
        self.rate.as_ref().map_or(Ok(()), Rate::count)
    }

    pub fn client(&self) -> Client {
        Client { places: self.places.clone(), ..Client::named(self.name.clone()) }
    }
}

/// The key that a request shows.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = authorization.and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| {
        let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
        let mut offered = offered.flat_map(|value| value.split(',')).map(str::trim);
        offered.find_map(|protocol| protocol.strip_prefix(WEBSOCKET_PREFIX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn keys() -> Keys {
        let key = |name: &str, text: &str| {
            let sha256 = Sha256::digest(text).iter().map(|byte| format!("{byte:02X}")).collect();
            KeyConfig { name: name.into(), sha256, ..KeyConfig::default() }
        };
        Keys::new(&[key("ann", "bb_ann"), key("bob", "bb_bob")])
    }

    fn name(header: &'static str, value: &str) -> Result<Option<String>, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header, HeaderValue::from_str(value).expect("a value"));
        let found = keys().recognise(&headers).map_err(|error| error.status.as_u16())?;
        Ok(found.map(|key| key.client().name))
    }

    #[test]
    fn a_key_is_recognised_wherever_clients_put_it() {
        assert_eq!(name("authorization", "Bearer bb_bob"), Ok(Some("bob".into())));
        assert_eq!(name("authorization", "bearer  bb_ann "), Ok(Some("ann".into())));
        let protocols = "realtime, openai-insecure-api-key.bb_ann, openai-beta.realtime-v1";
        assert_eq!(name("sec-websocket-protocol", protocols), Ok(Some("ann".into())));
    }

    #[test]
    fn everything_else_is_refused() {
        for value in ["Bearer ", "Bearer bb_", "Bearer bb_bobx", "Basic bb_bob", "bb_bob", "", "Bearer bb_bob bb_bob"] {
            assert_eq!(name("authorization", value), Err(401), "{value}");
        }
        assert_eq!(name("sec-websocket-protocol", "realtime"), Err(401));
    }

    #[test]
    fn without_keys_everybody_is_let_in() {
        let found = Keys::new(&[]).recognise(&HeaderMap::new());
        assert!(matches!(found, Ok(None)));
    }
}
