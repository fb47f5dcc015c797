//! What is evaluated: recordings and texts with what is right about them, as JSON lines.
//!
//! ```json
//! {"audio": "requests/note-roof.wav", "language": "en", "text": "The roofers finished.", "route": "note"}
//! {"text": "What is the capital of Norway?", "route": "quick", "split": "fit"}
//! ```
//!
//! `audio` stands beside the manifest; without it the text is given to cleanup and intent as speech recognition would
//! give it: lower case, no marks. `text` is what was said, written as it should be. `route` (or `label`) is the right
//! intent; one that no route has (`out-of-scope`) is right when the model is undecided. `split` keeps a line for fitting.

use crate::error::Error;
use crate::language::Lang;
use crate::speech::{Segment, Transcript};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// One line of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    /// How the report calls it: the recording's path, or the text.
    pub name: String,
    /// Where it stands: `manifest.jsonl line 3`.
    pub line: String,
    /// The recording; `None`: only the text.
    pub audio: Option<PathBuf>,
    pub language: Lang,
    /// What was said, as it should be written; `None`: not known.
    pub reference: Option<String>,
    /// The right intent, if it is known.
    pub route: Option<String>,
    pub split: Split,
}

/// What a line may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Split {
    /// Thresholds are fitted on it; nothing is reported of it.
    Fit,
    /// Only reported.
    Test,
}

#[derive(Deserialize)]
struct Line {
    audio: Option<PathBuf>,
    language: Option<Lang>,
    #[serde(alias = "reference")]
    text: Option<String>,
    #[serde(alias = "label", alias = "intent")]
    route: Option<String>,
    split: Option<Split>,
}

/// Reads manifests.
///
/// # Errors
/// A file that cannot be read, or a line that is none, with its number.
pub(super) fn read(manifests: &[PathBuf]) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    for manifest in manifests {
        let text =
            std::fs::read_to_string(manifest).map_err(|source| Error::Read { path: manifest.to_owned(), source })?;
        items.extend(parse(&text, manifest)?);
    }
    if items.is_empty() {
        return Err(Error::Usage("the manifest is empty; give JSON lines such as {\"audio\": …, \"text\": …}".into()));
    }
    Ok(items)
}

fn parse(text: &str, manifest: &Path) -> Result<Vec<Item>, Error> {
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let place = format!("{} line {}", manifest.display(), number + 1);
            let at = |reason: String| Error::Usage(format!("{place}: {reason}"));
            let line: Line = serde_json::from_str(line).map_err(|error| at(error.to_string()))?;
            let name = match (&line.audio, &line.text) {
                (Some(audio), _) => audio.display().to_string(),
                (None, Some(text)) => text.clone(),
                (None, None) => return Err(at("it has neither \"audio\" nor \"text\"".into())),
            };
            if line.text.as_ref().is_some_and(|text| !text.chars().any(char::is_alphanumeric)) {
                return Err(at("its \"text\" has no words; leave it out where it is not known".into()));
            }
            Ok(Item {
                line: place,
                audio: line.audio.map(|audio| folder.join(audio)),
                language: line.language.unwrap_or(Lang::ENGLISH),
                reference: line.text,
                route: line.route,
                split: line.split.unwrap_or(Split::Test),
                name,
            })
        })
        .collect()
}

impl Item {
    /// The text as speech recognition would give it: lower case, no marks but apostrophes. `None` without a text.
    pub fn spoken(&self) -> Option<Transcript> {
        let text = self.reference.as_ref()?.to_lowercase();
        let plain = text.chars().map(|c| if c.is_alphanumeric() || c == '\'' { c } else { ' ' }).collect::<String>();
        let text = plain.split_whitespace().collect::<Vec<_>>().join(" ");
        let segment = Segment { text, ..Segment::default() };
        Some(Transcript { language: Some(self.language), segments: vec![segment] })
    }
}

/// Lines to fit on and lines to report, never the same. Where no line says which it is for, they are halved by a hash
/// of their text, so that the halves are the same whatever the order and whatever is added later.
pub(super) fn halves(items: Vec<Item>) -> (Vec<Item>, Vec<Item>) {
    if items.iter().any(|item| item.split == Split::Fit) {
        return items.into_iter().partition(|item| item.split == Split::Fit);
    }
    items.into_iter().partition(|item| Sha256::digest(item.name.to_lowercase().as_bytes())[0].is_multiple_of(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<Item> {
        parse(text, Path::new("folder/manifest.jsonl")).unwrap()
    }

    #[test]
    fn lines_are_recordings_or_texts() {
        let all = items(
            "{\"audio\": \"a.wav\", \"language\": \"de\", \"text\": \"Ja.\", \"route\": \"note\"}\n\n\
             {\"label\": \"quick\", \"text\": \"What's new, Ann?\", \"split\": \"fit\"}\n",
        );
        assert_eq!(all[0].audio.as_deref(), Some(Path::new("folder/a.wav")));
        assert_eq!((all[0].language.code(), all[0].route.as_deref()), ("de", Some("note")));
        assert_eq!((all[1].split, all[1].route.as_deref()), (Split::Fit, Some("quick")));
        assert_eq!(all[1].spoken().unwrap().text(), "what's new ann");
    }

    #[test]
    fn a_wrong_line_is_named() {
        let message = |text: &str| parse(text, Path::new("m.jsonl")).unwrap_err().to_string();
        assert!(message("{\"text\": \"a\"}\n{\"route\": \"note\"}").starts_with("m.jsonl line 2: it has neither"));
        assert!(message("nonsense").starts_with("m.jsonl line 1: "));
        assert!(
            message("{\"text\": \"a\"}\n\n{\"text\": \"…\"}").starts_with("m.jsonl line 3: its \"text\" has no words")
        );
        assert_eq!(items("\n{\"text\": \"a\"}")[0].line, "folder/manifest.jsonl line 2");
    }

    #[test]
    fn what_is_fitted_on_is_never_reported() {
        let text: String = (0..100).map(|n| format!("{{\"text\": \"sentence {n}\", \"route\": \"note\"}}\n")).collect();
        let (fit, test) = halves(items(&text));
        assert!(fit.len() > 30 && test.len() > 30, "{} and {}", fit.len(), test.len());
        assert!(fit.iter().all(|item| !test.contains(item)));
        let mut turned = items(&text);
        turned.reverse();
        assert_eq!(halves(turned).0.len(), fit.len());
        let (fit, test) = halves(items("{\"text\": \"a\", \"split\": \"fit\"}\n{\"text\": \"b\"}"));
        assert_eq!((fit.len(), test[0].name.as_str()), (1, "b"));
    }
}
