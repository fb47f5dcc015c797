//! What outputs are called: `talk.srt` for `talk.wav`. Where two files of a folder would share a name both keep their
//! extension: `talk.mp3.srt` beside `talk.mp4.srt`. Decided from the names alone, never by what was done first.

use super::record::{RelativePath, Text};
use crate::language::Lang;
use crate::output::Format;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization;

/// Longest base of a name, bytes. File systems end at 255; the longest that is added is `.translated.jsonl`, and `-`
/// with eight characters where the name is shortened.
const MAX_BASE: usize = 220;

/// How much of a file's own name its outputs carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// `talk`
    Stem,
    /// `talk.mp3`
    Full,
    /// `talk.mp3-1a2b3c4d`: names that differ only in what some file systems do not tell apart.
    Hashed,
}

/// The outputs of one file without variant and extension: `folder/talk`, below OUT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    file: PathBuf,
    level: Level,
}

impl Base {
    /// A name for each of these files, in their order.
    pub fn plan(files: &[PathBuf]) -> Vec<Base> {
        let mut bases: Vec<Base> = files.iter().map(|file| Base { file: file.clone(), level: Level::Stem }).collect();
        // Each round lifts the plainest of those that collide, so it ends; three levels, so it ends soon.
        loop {
            let mut groups: HashMap<String, Vec<usize>> = HashMap::new();
            for (at, base) in bases.iter().enumerate() {
                groups.entry(base.key()).or_default().push(at);
            }
            let mut lifted = false;
            for group in groups.into_values().filter(|group| group.len() > 1) {
                let lowest = group.iter().map(|at| bases[*at].level).min().unwrap_or(Level::Hashed);
                for at in group {
                    lifted |= bases[at].level == lowest && bases[at].lift();
                }
            }
            if !lifted {
                return bases;
            }
        }
    }

    /// Longer names for the same file, for when something that is not ours stands under this one.
    pub fn longer(&self) -> Option<Base> {
        let mut longer = self.clone();
        longer.lift().then_some(longer)
    }

    /// The path of one output, below OUT.
    pub fn output(&self, variant: Option<&str>, format: Format) -> PathBuf {
        let mut name = self.name();
        if let Some(variant) = variant {
            name.push(".");
            name.push(variant);
        }
        name.push(".");
        name.push(format.extension());
        self.file.with_file_name(name)
    }

    /// The base as text, to be compared with that of an earlier run.
    pub fn text(&self) -> String {
        RelativePath::of(&self.file.with_file_name(self.name())).to_string()
    }

    fn lift(&mut self) -> bool {
        let next = match self.level {
            Level::Stem => Level::Full,
            Level::Full => Level::Hashed,
            Level::Hashed => return false,
        };
        self.level = next;
        true
    }

    fn name(&self) -> OsString {
        let full = self.file.file_name().unwrap_or(OsStr::new("recording"));
        let name = match self.level {
            Level::Stem => self.file.file_stem().unwrap_or(full),
            Level::Full | Level::Hashed => full,
        };
        let hash = hex8(self.file.as_os_str().as_encoded_bytes());
        let mut base = shortened(name);
        if self.level == Level::Hashed || base.len() < name.len() {
            base.push("-");
            base.push(hash);
        }
        base
    }

    /// As a file system sees it that tells neither case nor composition apart.
    fn key(&self) -> String {
        self.text().nfc().collect::<String>().to_lowercase()
    }
}

/// Which texts are written, and what stands in their names.
pub(super) fn variants(texts: &[Text], source: Option<Lang>, target: Option<Lang>) -> Vec<(Text, Option<String>)> {
    if let [text] = texts {
        return vec![(*text, None)];
    }
    let code = |lang: Option<Lang>| lang.map_or_else(|| "und".to_owned(), |lang| lang.code().to_owned());
    let translated = texts.contains(&Text::Translated);
    let same = translated && source == target;
    let name = |text: Text| match text {
        Text::Translated => code(target),
        Text::Cleaned if translated && !same => code(source),
        Text::Cleaned => "clean".to_owned(),
        Text::Raw if translated && !same && !texts.contains(&Text::Cleaned) => code(source),
        Text::Raw => "raw".to_owned(),
    };
    texts.iter().map(|text| (*text, Some(name(*text)))).collect()
}

/// At most [`MAX_BASE`] bytes, cut between characters.
fn shortened(name: &OsStr) -> OsString {
    if name.len() <= MAX_BASE {
        return name.to_owned();
    }
    let text = name.to_string_lossy();
    let end = (0..=MAX_BASE).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].into()
}

fn hex8(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The folder of a path below OUT.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(files: &[&str]) -> Vec<String> {
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        let srt = |base: &Base| base.output(None, Format::Srt).to_string_lossy().into_owned();
        Base::plan(&files).iter().map(srt).collect()
    }

    #[test]
    fn names_are_short_where_they_can_be() {
        assert_eq!(outputs(&["talk.wav", "a/talk.wav", "noext"]), ["talk.srt", "a/talk.srt", "noext.srt"]);
        assert_eq!(outputs(&["talk.mp3", "talk.mp4", "b.wav"]), ["talk.mp3.srt", "talk.mp4.srt", "b.srt"]);
        assert_eq!(
            outputs(&["talk.mp3", "talk.mp3.wav", "talk.mp4"]),
            ["talk.mp3.srt", "talk.mp3.wav.srt", "talk.mp4.srt"]
        );
    }

    #[test]
    fn the_order_does_not_matter() {
        let mut files = vec!["t.mp3", "t.mp4", "T.wav", "t.mp3.wav", "ta.wav", "é.wav", "e\u{301}.ogg", "x/t.mp3"];
        let mut first: Vec<(String, String)> = files.iter().map(ToString::to_string).zip(outputs(&files)).collect();
        files.reverse();
        let mut second: Vec<(String, String)> = files.iter().map(ToString::to_string).zip(outputs(&files)).collect();
        first.sort();
        second.sort();
        assert_eq!(first, second);
        let distinct: std::collections::HashSet<String> = first.iter().map(|(_, o)| o.to_lowercase()).collect();
        assert_eq!(distinct.len(), files.len());
    }

    #[test]
    fn names_that_only_case_tells_apart_get_a_hash() {
        let names = outputs(&["Talk.mp3", "talk.mp3"]);
        assert!(names[0].starts_with("Talk.mp3-") && names[1].starts_with("talk.mp3-"), "{names:?}");
        assert_ne!(names[0].to_lowercase(), names[1].to_lowercase());
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = |end: &str| format!("{}{end}.wav", "語".repeat(83));
        let names = outputs(&[&long("a"), &long("b"), &"x".repeat(251)]);
        assert!(names.iter().all(|name| name.len() <= 240), "{names:?}");
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn variants_say_the_language_or_the_text() {
        let (en, de) = (Some(Lang::ENGLISH), "de".parse().ok());
        let named = |texts: &[Text], to| {
            variants(texts, en, to).into_iter().map(|(_, name)| name.unwrap_or_default()).collect::<Vec<_>>()
        };
        use Text::*;
        assert_eq!(named(&[Cleaned], None), [""]);
        assert_eq!(named(&[Raw, Cleaned], None), ["raw", "clean"]);
        assert_eq!(named(&[Cleaned, Translated], de), ["en", "de"]);
        assert_eq!(named(&[Raw, Translated], de), ["en", "de"]);
        assert_eq!(named(&[Raw, Cleaned, Translated], de), ["raw", "en", "de"]);
        assert_eq!(named(&[Cleaned, Translated], en), ["clean", "en"]);
    }

    proptest::proptest! {
        #[test]
        fn no_two_outputs_ever_share_a_name(
            names in proptest::collection::hash_set("[aAbé.]{1,4}(\\.(mp3|MP3|wav))?", 1..12)
        ) {
            let names: Vec<&str> = names.iter().map(String::as_str).filter(|n| n.trim_matches('.').len() == n.len()).collect();
            let outputs = outputs(&names);
            let distinct: std::collections::HashSet<String> = outputs.iter().map(|o| o.to_lowercase()).collect();
            proptest::prop_assert_eq!(distinct.len(), names.len());
        }
    }
}
