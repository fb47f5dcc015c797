//! search.html and its index: a page over all transcripts that needs no server. A page opened as a file may not fetch
//! anything, so the index comes as scripts: `search-index.js` with the list of files and the first texts, and, where
//! there are many, further ones in `search-index/`, each named by the hash of what it holds.

use super::super::outputs::WriteError;
use super::super::record::Kind;
use super::super::wanted::hex;
use super::html::document;
use super::{File, Pages, Report};
use crate::outcome::Outcome;
use crate::output::{TextChoice, TimedText, timed_texts};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Where further pieces of the index are.
pub(super) const FOLDER: &str = "search-index/";

/// Bytes of one piece of the index: some hundred hours of speech, a moment's work for a browser.
const PIECE_BYTES: usize = 4 << 20;

const SCRIPT: &str = include_str!("search.js");
const MAIN: &str = include_str!("search.html");

/// The page; the same for every folder.
pub(super) fn page() -> String {
    // `'self'` for folders behind a web server, `file:` for those that are opened as files.
    document("Search transcripts", SCRIPT, " 'self' file:", MAIN)
}

/// Writes the index. `stored`: where each file's outcome is, if it has one.
pub(super) fn write(report: &Report, stored: &[Option<PathBuf>], pages: &mut Pages) -> Result<(), WriteError> {
    let (mut files, mut scripts) = (Vec::new(), Vec::new());
    let (mut first, mut texts) = (None, String::new());
    for (file, outcome) in report.files.iter().zip(stored) {
        // One at a time: thousands of them are more than memory holds.
        let outcome =
            outcome.as_ref().and_then(|path| serde_json::from_slice::<Outcome>(&std::fs::read(path).ok()?).ok());
        let Some(outcome) = outcome else { continue };
        for text in texts_of(&outcome, files.len()) {
            if !texts.is_empty() {
                texts.push(',');
            }
            texts.push_str(&text);
        }
        files.push(entry(file));
        if texts.len() >= PIECE_BYTES {
            let full = std::mem::take(&mut texts);
            match first {
                None => first = Some(full),
                Some(_) => scripts.push(piece(&full, pages)?),
            }
        }
    }
    match first {
        None => first = Some(texts),
        Some(_) if !texts.is_empty() => scripts.push(piece(&texts, pages)?),
        Some(_) => {}
    }
    let index = format!(
        "bestboxSearch.begin({{\"files\":{},\"scripts\":{},\"texts\":[{}]}});\n",
        Value::from(files),
        Value::from(scripts),
        first.unwrap_or_default()
    );
    pages.put("search-index.js", index.as_bytes())
}

fn piece(texts: &str, pages: &mut Pages) -> Result<String, WriteError> {
    let script = format!("bestboxSearch.add([{texts}]);\n");
    let name = format!("{FOLDER}{}.js", &hex(&Sha256::digest(&script))[..16]);
    pages.put(&name, script.as_bytes())?;
    Ok(name)
}

/// Name, recording (where there is sound to play) and transcript of a file.
fn entry(file: &File) -> Value {
    let audio = (file.present && file.kind == Kind::Audio).then_some(&file.link);
    let by_format = |format: &str| file.outputs.iter().find(|output| output.format == format);
    let transcript = by_format("text").or_else(|| by_format("md")).or(file.outputs.first());
    json!([super::super::progress::printable(&file.path), audio, transcript.map(|output| &output.link)])
}

/// The texts of a file as JSON: what was said, and its translation.
fn texts_of(outcome: &Outcome, file: usize) -> Vec<String> {
    let said = Some((outcome.transcript.language, TextChoice::Cleaned));
    let translated = outcome.translated.as_ref().map(|track| (Some(track.language), TextChoice::Translated));
    let text = |(language, choice)| {
        let cues: Vec<Value> = timed_texts(outcome, choice).iter().map(cue).collect();
        json!([file, language, cues]).to_string()
    };
    said.into_iter().chain(translated).map(text).collect()
}

/// `[start, end, text]`, then the speaker and the words' times in hundredths of a second after the start, where known.
fn cue(text: &TimedText) -> Value {
    let second = |seconds: f64| (seconds * 100.0).round() / 100.0;
    let mut cue = vec![json!(second(text.start)), json!(second(text.end)), json!(text.text)];
    if text.speaker.is_some() || !text.words.is_empty() {
        cue.push(json!(text.speaker));
    }
    if !text.words.is_empty() {
        let after = |start: &f64| ((start - text.start) * 100.0).round().max(0.0) as u64;
        cue.push(text.words.iter().map(after).collect());
    }
    cue.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_allows_its_own_scripts_alone() {
        let page = page();
        assert!(page.contains("script-src 'sha256-") && page.contains("default-src 'none'"));
        assert!(!page.contains("unsafe-eval") && !page.contains("http:") && !page.contains("https:"));
    }
}
