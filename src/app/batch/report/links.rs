//! Links from the report to recordings and transcripts: relative, so that IN and OUT can move together.

use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

/// From OUT to IN.
pub(super) struct Links {
    to_input: String,
}

impl Links {
    pub fn new(out: &Path, root: &Path) -> Self {
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Links { to_input: between(&real(out), &real(root)) }
    }

    /// To a file of IN. `path`: its bytes below IN, `/` between its parts.
    pub fn input(&self, path: &[u8]) -> String {
        self.to_input.clone() + &encoded(path)
    }
}

/// The way between two absolute folders, with a `/` at its end; empty where they are one. A `file:` URL where there is
/// no way (another drive).
fn between(from: &Path, to: &Path) -> String {
    let (from, to): (Vec<_>, Vec<_>) = (from.components().collect(), to.components().collect());
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let parts = |parts: &[Component]| {
        let mut path = String::new();
        for part in parts {
            path.push_str(&encoded(part.as_os_str().as_encoded_bytes()));
            path.push('/');
        }
        path
    };
    if common == 0 {
        let whole: PathBuf = to.iter().collect();
        return format!("file:///{}/", encoded(whole.to_string_lossy().replace('\\', "/").as_bytes()));
    }
    "../".repeat(from.len() - common) + &parts(&to[common..])
}

/// Percent-encodes everything that is not unreserved (RFC 3986, 2.3) or a `/`.
pub(super) fn encoded(path: &[u8]) -> String {
    let mut link = String::with_capacity(path.len());
    for byte in path {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => link.push(char::from(*byte)),
            _ => drop(write!(link, "%{byte:02X}")),
        }
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_out_to_in() {
        let way = |from: &str, to: &str| between(Path::new(from), Path::new(to));
        assert_eq!(way("/a/out", "/a/in put"), "../in%20put/");
        assert_eq!(
            (way("/a", "/a").as_str(), way("/a", "/a/b").as_str(), way("/a/b", "/a").as_str()),
            ("", "b/", "../")
        );
    }

    #[test]
    fn no_name_can_be_read_as_anything_but_a_name() {
        assert_eq!(encoded("a:b?c#d%e\"<é".as_bytes()), "a%3Ab%3Fc%23d%25e%22%3C%C3%A9");
        assert_eq!(encoded(b"\xff\n/x"), "%FF%0A/x");
    }
}
