//! The web page at `/` and the documentation at `/docs`: plain files out of the binary.
//!
//! They load nothing from anywhere else, and the policy sent with them forbids it: no foreign host, no inline script or
//! style, no string that becomes code or markup. Whatever was spoken, named or answered is set as text by the scripts.

mod settings;

use super::state::Service;
use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Content Security Policy of every page. `trusted-types 'none'` makes the browser refuse innerHTML and its like.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    media-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// Headers of every file besides its type. Only this page may use the microphone, and nobody may frame it.
const HEADERS: [(&str, &str); 7] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("permissions-policy", "microphone=(self), camera=(), geolocation=(), payment=(), usb=()"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// A file of the page.
struct File {
    /// Path of its address.
    path: &'static str,
    /// Media type.
    kind: &'static str,
    body: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// A file beside this one.
macro_rules! file {
    ($path:literal, $kind:expr, $name:literal) => {
        File { path: $path, kind: $kind, body: include_str!($name) }
    };
    ($name:literal, $kind:expr) => {
        File { path: concat!("/page/", $name), kind: $kind, body: include_str!($name) }
    };
}

const FILES: &[File] = &[
    file!("/", HTML, "index.html"),
    file!("/docs", HTML, "docs.html"),
    // Browsers ask for it by themselves.
    file!("/favicon.ico", IMAGE, "icon.svg"),
    file!("icon.svg", IMAGE),
    file!("style.css", STYLE),
    file!("docs.css", STYLE),
    file!("app.js", SCRIPT),
    file!("api.js", SCRIPT),
    file!("capture.js", SCRIPT),
    file!("docs.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("format.js", SCRIPT),
    file!("history.js", SCRIPT),
    file!("live.js", SCRIPT),
    file!("live-worklet.js", SCRIPT),
    file!("options.js", SCRIPT),
    file!("passages.js", SCRIPT),
    file!("player.js", SCRIPT),
    file!("result.js", SCRIPT),
    file!("sse.js", SCRIPT),
];

pub(super) fn routes() -> Router<Arc<Service>> {
    let router = Router::new().route("/page/settings.json", get(settings::settings));
    FILES.iter().fold(router, |router, file| {
        let tag = format!("\"{}\"", &hex(&Sha256::digest(file.body))[..32]);
        router.route(file.path, get(move |asked: HeaderMap| std::future::ready(file.answer(&asked, &tag))))
    })
}

impl File {
    /// The file, or 304 where the browser has this very version. `no-cache`: it asks each time, so that a new version
    /// of the program never meets an old script.
    fn answer(&self, asked: &HeaderMap, tag: &str) -> Response {
        let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut known = known.flat_map(|value| value.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
        let mut response = if known.any(|known| known == tag || known == "*") {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(header::CONTENT_TYPE, self.kind)], self.body).into_response()
        };
        let headers = response.headers_mut();
        for (name, value) in HEADERS {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Ok(tag) = HeaderValue::from_str(tag) {
            headers.insert(header::ETAG, tag);
        }
        response
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> &'static File {
        FILES.iter().find(|file| file.path == path).expect("there")
    }

    fn asking(tags: &[&str]) -> HeaderMap {
        tags.iter().map(|tag| (header::IF_NONE_MATCH, HeaderValue::from_str(tag).expect("a value"))).collect()
    }

    #[test]
    fn a_file_is_sent_once_and_confirmed_afterwards() {
        let page = file("/");
        let first = page.answer(&HeaderMap::new(), "\"a\"");
        assert_eq!((first.status(), &first.headers()["etag"]), (StatusCode::OK, &HeaderValue::from_static("\"a\"")));
        for tags in [&["\"a\""][..], &["W/\"a\""], &["\"x\", \"a\""], &["\"x\"", "\"a\""], &["*"]] {
            let again = page.answer(&asking(tags), "\"a\"");
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{tags:?}");
            assert_eq!(again.headers()["content-security-policy"], POLICY, "{tags:?}");
        }
        assert_eq!(page.answer(&asking(&["\"b\""]), "\"a\"").status(), StatusCode::OK);
    }

    #[test]
    fn every_file_that_a_file_names_is_served() {
        for file in FILES {
            for name in file.body.split(['"', '\'', '`']).filter(|name| name.starts_with("/page/")) {
                let there = FILES.iter().any(|file| file.path == name) || name == "/page/settings.json";
                assert!(there, "{} names {name}", file.path);
            }
            for name in file.body.split('"').filter_map(|name| name.strip_prefix("./")) {
                assert!(FILES.iter().any(|file| file.path == format!("/page/{name}")), "{} names {name}", file.path);
            }
        }
    }

    #[test]
    fn nothing_is_inline_foreign_or_made_of_strings() {
        let forbidden =
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "javascript:"];
        for file in FILES {
            for word in forbidden {
                assert!(!file.body.contains(word), "{} uses {word}", file.path);
            }
            // The name space of SVG is the one address there may be.
            let foreign = file.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!foreign.contains("http://") && !foreign.contains("https://"), "{} names a host", file.path);
            if file.kind == HTML {
                assert!(!file.body.contains(" style=") && !file.body.contains("<style"), "{}: inline style", file.path);
                let scripts: Vec<&str> = file.body.split("<script").skip(1).collect();
                assert!(
                    !scripts.is_empty() && scripts.iter().all(|script| script.starts_with(" type=\"module\" src="))
                );
            }
        }
    }
}
