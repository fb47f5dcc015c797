//! Parameters of header values (`form-data; name="file"; filename*=UTF-8''na%C3%AFve.wav`), as clients really send them.

use std::borrow::Cow;

/// Longest file name that is kept, characters.
const MAX_NAME: usize = 200;

/// A value and its parameters, names in lower case, in the order they came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    /// What stands before the first `;`, in lower case.
    pub value: String,
    pairs: Vec<(String, Vec<u8>)>,
}

impl Parameters {
    /// Never fails: what makes no sense is left out.
    pub fn parse(header: &[u8]) -> Self {
        let end = header.iter().position(|&byte| byte == b';').unwrap_or(header.len());
        let value = String::from_utf8_lossy(&header[..end]).trim().to_ascii_lowercase();
        let (mut pairs, mut rest) = (Vec::new(), &header[end..]);
        while let Some(after) = rest.strip_prefix(b";") {
            let (pair, left) = parameter(after);
            pairs.extend(pair);
            rest = left;
        }
        Parameters { value, pairs }
    }

    /// The bytes of a parameter, quotes and escapes removed.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_slice())
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.bytes(name).map(String::from_utf8_lossy)
    }

    /// The file's name: `filename*` (RFC 5987) before `filename`.
    pub fn file_name(&self) -> Option<String> {
        let extended = self.bytes("filename*").and_then(extended);
        extended.or_else(|| self.text("filename").map(Cow::into_owned)).map(|name| harmless(&name))
    }
}

/// One `name=value`, and what follows it from the next `;` on.
fn parameter(bytes: &[u8]) -> (Option<(String, Vec<u8>)>, &[u8]) {
    let end = bytes.iter().position(|&byte| matches!(byte, b'=' | b';')).unwrap_or(bytes.len());
    let name = String::from_utf8_lossy(&bytes[..end]).trim().to_ascii_lowercase();
    let Some(after) = bytes[end..].strip_prefix(b"=") else { return (None, &bytes[end..]) };
    let after = after.trim_ascii_start();
    let mut value = Vec::new();
    let rest = if let Some(quoted) = after.strip_prefix(b"\"") {
        let mut at = 0;
        while let Some(&byte) = quoted.get(at) {
            match byte {
                b'"' => break,
                // Only quotes and backslashes are escaped; a lone backslash belongs to a Windows path.
                b'\\' if matches!(quoted.get(at + 1), Some(b'"' | b'\\')) => {
                    value.push(quoted[at + 1]);
                    at += 1;
                }
                byte => value.push(byte),
            }
            at += 1;
        }
        let rest = quoted.get(at..).unwrap_or_default();
        &rest[rest.iter().position(|&byte| byte == b';').unwrap_or(rest.len())..]
    } else {
        let end = after.iter().position(|&byte| byte == b';').unwrap_or(after.len());
        value.extend_from_slice(after[..end].trim_ascii());
        &after[end..]
    };
    ((!name.is_empty()).then_some((name, value)), rest)
}

/// `charset'language'percent-encoded` (RFC 5987); none in other charsets than UTF-8 and Latin-1.
fn extended(value: &[u8]) -> Option<String> {
    let mut pieces = value.splitn(3, |&byte| byte == b'\'');
    let charset = String::from_utf8_lossy(pieces.next()?).to_ascii_lowercase();
    let (_language, text) = (pieces.next()?, pieces.next()?);
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let digits = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                at += 3;
            }
            None => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    match charset.as_str() {
        "utf-8" => String::from_utf8(bytes).ok(),
        "iso-8859-1" => Some(bytes.into_iter().map(char::from).collect()),
        _ => None,
    }
}

/// The last part of what may look like a path, without control characters, of bounded length. It is shown, and never
/// opened.
fn harmless(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    match kept.trim() {
        "." | ".." => String::new(),
        kept => kept.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file_name(header: &str) -> Option<String> {
        Parameters::parse(header.as_bytes()).file_name()
    }

    #[test]
    fn names_are_found_however_they_are_written() {
        for header in [
            r#"form-data; name="file"; filename="a b.wav""#,
            r#"form-data; filename="a b.wav"; name=file"#,
            r#"FORM-DATA;NAME="file";FileName="a b.wav";x"#,
            r#"form-data ; name = "file" ; filename = "a b.wav" "#,
        ] {
            let found = Parameters::parse(header.as_bytes());
            assert_eq!((found.value.as_str(), found.text("name").as_deref()), ("form-data", Some("file")), "{header}");
            assert_eq!(found.file_name().as_deref(), Some("a b.wav"), "{header}");
        }
        let quoted = Parameters::parse(br#"form-data; name="a\"b\\c;d"; filename="#);
        assert_eq!(quoted.text("name").as_deref(), Some(r#"a"b\c;d"#));
        assert_eq!(quoted.file_name().as_deref(), Some(""));
        assert_eq!(file_name("form-data; name=x"), None);
    }

    #[test]
    fn extended_names_come_first() {
        assert_eq!(
            file_name("form-data; filename=\"a.wav\"; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.wav").as_deref(),
            Some("naïve €.wav")
        );
        assert_eq!(file_name("form-data; filename*=iso-8859-1'en'%A3.wav").as_deref(), Some("£.wav"));
        for broken in ["UTF-8''%FF", "koi8-r''a", "a.wav", "UTF-8'a"] {
            let header = format!("form-data; filename=b.wav; filename*={broken}");
            assert_eq!(file_name(&header).as_deref(), Some("b.wav"), "{broken}");
        }
        assert_eq!(file_name("form-data; filename*=UTF-8''100%.wav").as_deref(), Some("100%.wav"));
    }

    #[test]
    fn a_name_is_never_a_path() {
        for (given, kept) in [
            ("/etc/passwd", "passwd"),
            ("../../x.wav", "x.wav"),
            (r"C:\clips\x.wav", "x.wav"),
            ("..", ""),
            ("a\0b\r\n.wav", "ab.wav"),
            ("a/", ""),
        ] {
            assert_eq!(harmless(given), kept, "{given:?}");
        }
        assert_eq!(harmless(&"ä".repeat(5000)).chars().count(), MAX_NAME);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let found = Parameters::parse(&bytes);
            let name = found.file_name().unwrap_or_default();
            prop_assert!(!name.contains(['/', '\\']) && !name.chars().any(char::is_control));
        }
    }
}
