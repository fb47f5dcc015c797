//! `Host` and `Origin`. A name that an attacker points at 127.0.0.1 (DNS rebinding) is not one of ours, and a page of
//! another origin is refused before its request has any effect.

use super::super::error::ApiError;
use crate::config::ServeConfig;
use axum::extract::Request;
use axum::http::{StatusCode, Version, header, uri};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Names the service goes by, and origins that may call it.
pub(super) struct Hosts {
    names: BTreeSet<String>,
    /// Address it listens on.
    bound: IpAddr,
    /// `*` among the names.
    any: bool,
    origins: Vec<String>,
}

/// Host in lower case without brackets or final dot, and port.
#[derive(Debug, PartialEq, Eq)]
struct Authority {
    host: String,
    port: Option<u16>,
}

impl Hosts {
    pub fn new(config: &ServeConfig, bound: IpAddr) -> Self {
        let names = config.hosts.iter().chain([&config.host]).map(|name| plain(name));
        Hosts {
            names: names.chain(["localhost".to_owned()]).collect(),
            bound,
            any: config.hosts.iter().any(|name| name == "*"),
            origins: config.cors_origins.iter().map(|origin| origin.to_ascii_lowercase()).collect(),
        }
    }

    /// # Errors
    /// 400 without a usable Host, 403 for a foreign Host or Origin.
    pub fn check(&self, request: &Request) -> Result<(), ApiError> {
        let host = self.host(request)?;
        let mut origins = request.headers().get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(()) };
        let origin = origin.to_str().ok().filter(|_| origins.next().is_none());
        if origin.is_some_and(|origin| self.may_call(origin, host.as_ref())) {
            return Ok(());
        }
        let message = "pages of this origin may not call the service; its owner can allow them with serve.cors_origins";
        Err(ApiError::new(StatusCode::FORBIDDEN, message).code("origin_not_allowed"))
    }

    /// Whom the client believes to talk to. Absolute addresses (`GET http://name/path`) count as well as the header.
    fn host(&self, request: &Request) -> Result<Option<Authority>, ApiError> {
        let unusable = |message: &str| ApiError::new(StatusCode::BAD_REQUEST, message).code("invalid_host");
        let mut headers = request.headers().get_all(header::HOST).iter();
        let (header, second) = (headers.next(), headers.next());
        if second.is_some() {
            return Err(unusable("there are several Host headers"));
        }
        let header = header.map(|host| host.to_str().ok().and_then(Authority::parse));
        let header = header.map(|host| host.ok_or_else(|| unusable("the Host header is not a host"))).transpose()?;
        let target = request.uri().authority().map(uri::Authority::as_str).map(Authority::parse);
        let target = target.map(|host| host.ok_or_else(|| unusable("the address has no usable host"))).transpose()?;
        for authority in [&header, &target].into_iter().flatten() {
            if !self.is_us(&authority.host) {
                let message = "this service does not go by that name; its owner can add it with serve.hosts";
                return Err(ApiError::new(StatusCode::FORBIDDEN, message).code("host_not_allowed"));
            }
        }
        let found = target.or(header);
        if found.is_none() && request.version() > Version::HTTP_10 {
            return Err(unusable("the Host header is missing"));
        }
        Ok(found)
    }

    fn is_us(&self, host: &str) -> bool {
        if self.any || self.names.contains(host) {
            return true;
        }
        let Ok(address) = host.parse::<IpAddr>() else { return false };
        let address = address.to_canonical();
        // Where it listens on every address it cannot know them all (there may be a port mapping in between). No name
        // that an attacker controls is an address, so these cannot be rebound.
        address.is_loopback() || address == self.bound.to_canonical() || self.bound.is_unspecified()
    }

    fn may_call(&self, origin: &str, host: Option<&Authority>) -> bool {
        let origin = origin.to_ascii_lowercase();
        if self.origins.contains(&origin) {
            return true;
        }
        let default = match origin.split_once("://") {
            Some(("http", _)) => 80,
            Some(("https", _)) => 443,
            // `null` (sandboxed frames, files) and everything that is no web page.
            _ => return false,
        };
        // Not the scheme: there may be a proxy with TLS before this service.
        let from = origin.split_once("://").and_then(|(_, authority)| Authority::parse(authority));
        let same = |from: &Authority, host: &Authority| {
            from.host == host.host && from.port.unwrap_or(default) == host.port.unwrap_or(default)
        };
        from.zip(host).is_some_and(|(from, host)| same(&from, host))
    }
}

impl Authority {
    /// None for anything but `host` or `host:port`.
    fn parse(text: &str) -> Option<Self> {
        let parsed: uri::Authority = text.parse().ok()?;
        let rest = text.strip_prefix(parsed.host())?;
        let port = match rest.strip_prefix(':') {
            Some("") => None,
            Some(port) => Some(port.parse().ok()?),
            None if rest.is_empty() => None,
            None => return None,
        };
        let host = plain(parsed.host());
        (!host.is_empty()).then_some(Authority { host, port })
    }
}

fn plain(host: &str) -> String {
    let host = host.trim().to_ascii_lowercase();
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
    inner.strip_suffix('.').unwrap_or(inner).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn check(config: &ServeConfig, bound: &str, uri: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        let hosts = Hosts::new(config, bound.parse().expect("an address"));
        hosts.check(&request).map_or_else(|error| error.status.as_u16(), |()| 200)
    }

    #[test]
    fn only_our_own_names_are_served() {
        let config = ServeConfig { hosts: vec!["Speech.Example.org".into()], ..ServeConfig::default() };
        let ours = ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "localhost.:8000", "[::1]:8000", "127.1.2.3"];
        for host in ours.into_iter().chain(["speech.example.org:443", "[::ffff:127.0.0.1]"]) {
            assert_eq!(check(&config, "127.0.0.1", "/", &[("host", host)]), 200, "{host}");
        }
        for host in
            ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "192.0.2.1", "0.0.0.0", "x.localhost"]
        {
            assert_eq!(check(&config, "127.0.0.1", "/", &[("host", host)]), 403, "{host}");
        }
        for host in ["", "a b", "user@localhost", "localhost:x", "localhost:99999", "localhost/x", ":80"] {
            assert_eq!(check(&config, "127.0.0.1", "/", &[("host", host)]), 400, "{host}");
        }
        assert_eq!(check(&config, "127.0.0.1", "/", &[]), 400, "no Host at all");
        assert_eq!(check(&config, "127.0.0.1", "/", &[("host", "localhost"), ("host", "localhost")]), 400);
    }

    #[test]
    fn absolute_addresses_count_as_well_as_the_header() {
        let config = ServeConfig::default();
        let host = [("host", "localhost")];
        assert_eq!(check(&config, "127.0.0.1", "http://evil.example/v1/models", &host), 403);
        assert_eq!(check(&config, "127.0.0.1", "http://localhost/v1/models", &[("host", "evil.example")]), 403);
        assert_eq!(check(&config, "127.0.0.1", "http://localhost/v1/models", &[]), 200);
    }

    #[test]
    fn on_every_address_any_address_but_no_foreign_name_will_do() {
        let config = ServeConfig { host: "0.0.0.0".into(), ..ServeConfig::default() };
        assert_eq!(check(&config, "0.0.0.0", "/", &[("host", "192.0.2.1:8000")]), 200);
        assert_eq!(check(&config, "0.0.0.0", "/", &[("host", "evil.example")]), 403);
        assert_eq!(check(&config, "192.0.2.7", "/", &[("host", "192.0.2.7")]), 200);
        assert_eq!(check(&config, "192.0.2.7", "/", &[("host", "192.0.2.8")]), 403);
        let any = ServeConfig { hosts: vec!["*".into()], ..config };
        assert_eq!(check(&any, "0.0.0.0", "/", &[("host", "evil.example")]), 200);
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let config = ServeConfig { cors_origins: vec!["https://App.example.org".into()], ..ServeConfig::default() };
        let from = |origin| check(&config, "127.0.0.1", "/", &[("host", "localhost:8000"), ("origin", origin)]);
        for origin in ["http://localhost:8000", "https://localhost:8000", "https://app.example.org"] {
            assert_eq!(from(origin), 200, "{origin}");
        }
        for origin in ["null", "", "http://localhost", "http://localhost:8001", "http://127.0.0.1:8000", "file://"] {
            assert_eq!(from(origin), 403, "{origin}");
        }
        for origin in
            ["https://evil.example", "http://localhost:8000.evil.example", "https://app.example.org.evil.example"]
        {
            assert_eq!(from(origin), 403, "{origin}");
        }
        let twice =
            [("host", "localhost:8000"), ("origin", "http://localhost:8000"), ("origin", "https://evil.example")];
        assert_eq!(check(&config, "127.0.0.1", "/", &twice), 403);
        let default_port = [("host", "localhost"), ("origin", "http://localhost:80")];
        assert_eq!(check(&config, "127.0.0.1", "/", &default_port), 200);
    }
}
