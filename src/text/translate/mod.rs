//! Translation cue by cue, so that subtitles keep their times. Every translation is checked; one that fails twice is
//! left out, the cue keeps its own text, and a warning says so.

mod check;
mod prompt;

use crate::language::Lang;
use crate::outcome::{Cue, Finish, Track, Warning, WarningCode};
use crate::text::llm::{ChatRequest, Client, LlmError, Message};
use check::Source;
use futures_util::{StreamExt, stream};
use prompt::{Care, Pair};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pieces of more characters than this are cut at sentence ends: small models drop sentences from long texts.
const PIECE_CHARS: usize = 500;
/// Only a short line before is worth its time as context.
const CONTEXT_CHARS: usize = 200;

/// Settings of translation.
#[derive(Clone, Debug, PartialEq)]
pub struct TranslateSettings {
    /// For one request (one cue, or a part of at most about 500 characters).
    pub timeout: Duration,
    /// Slot of the server to run in; only used while `concurrency` is 1.
    pub slot: Option<u32>,
    /// Requests at a time: the slots the server has for translation. At least 1.
    pub concurrency: usize,
}

impl Default for TranslateSettings {
    fn default() -> Self {
        TranslateSettings { timeout: Duration::from_secs(60), slot: None, concurrency: 1 }
    }
}

/// Translates with one model.
#[derive(Debug)]
pub struct Translator {
    client: Option<Client>,
    settings: TranslateSettings,
}

impl Translator {
    /// A translator; without a client nothing is translated, and a warning says so.
    pub fn new(client: Option<Client>, settings: TranslateSettings) -> Self {
        Translator { client, settings }
    }

    /// System message and examples for a pair of languages, to be read into the server's cache beforehand.
    pub fn static_prefix(from: Option<Lang>, to: Lang) -> Vec<Message> {
        prompt::static_prefix(from, to, Care::Usual)
    }

    /// Translates `cues` into `to`, one cue each, times kept. Never fails: a cue whose translation was refused keeps its
    /// own text; `None` when nothing at all could be translated. Same language on both sides: as it is.
    pub async fn translate(
        &self,
        cues: &[Cue],
        from: Option<Lang>,
        to: Lang,
        cancel: &CancellationToken,
    ) -> (Option<Track>, Vec<Warning>) {
        if from == Some(to) {
            return (Some(Track::new(to, cues.to_vec())), Vec::new());
        }
        let Some(client) = &self.client else {
            return (None, vec![unavailable("no language model is set up for it")]);
        };
        let lanes = self.settings.concurrency.clamp(1, cues.len().max(1));
        let slot = self.settings.slot.filter(|_| lanes == 1);
        let run = Run { client, from, to, slot, timeout: self.settings.timeout, cancel };
        // Each lane goes through its stretch in order, so that the line before can be its context.
        let stretch = cues.len().div_ceil(lanes).max(1);
        // Collected, so that the whole is a future that may move between threads.
        let work: Vec<_> = cues.chunks(stretch).map(|part| run.lane(part)).collect();
        let done: Vec<Vec<Line>> = stream::iter(work).buffered(lanes).collect().await;
        report(cues, done.into_iter().flatten().collect(), to)
    }
}

/// What came of one cue.
enum Line {
    /// Translated, or nothing in it to translate.
    Done(String),
    /// No word in it.
    Wordless,
    /// Refused twice, with the reason.
    Refused(&'static str),
    /// No answer.
    Unanswered(String),
}

fn report(cues: &[Cue], lines: Vec<Line>, to: Lang) -> (Option<Track>, Vec<Warning>) {
    let mut translated = 0;
    let mut refused = Vec::new();
    let mut silent = Vec::new();
    let texts: Vec<Cue> = cues
        .iter()
        .zip(lines)
        .map(|(cue, line)| {
            let text = match line {
                Line::Done(text) => {
                    translated += 1;
                    text
                }
                Line::Wordless => cue.text.clone(),
                Line::Refused(reason) => {
                    refused.push((cue.start, reason));
                    cue.text.clone()
                }
                Line::Unanswered(reason) => {
                    silent.push(reason);
                    cue.text.clone()
                }
            };
            Cue { text, ..cue.clone() }
        })
        .collect();
    let mut warnings = Vec::new();
    if let Some(reason) = silent.first() {
        let message = format!("{} of {} segments were not translated: {reason}.", silent.len(), cues.len());
        warnings.push(Warning::new(WarningCode::TranslationUnavailable, message));
    }
    if let Some((start, reason)) = refused.first() {
        let message = format!(
            "The translation of {} of {} segments was refused and the text left as it is; first at {start:.1} s: {reason}.",
            refused.len(),
            cues.len()
        );
        warnings.push(Warning::new(WarningCode::TranslationRejected, message));
    }
    let failed = translated == 0 && !warnings.is_empty();
    ((!failed).then(|| Track::new(to, texts)), warnings)
}

fn unavailable(reason: &str) -> Warning {
    Warning::new(WarningCode::TranslationUnavailable, format!("The text was not translated: {reason}."))
}

struct Run<'a> {
    client: &'a Client,
    from: Option<Lang>,
    to: Lang,
    slot: Option<u32>,
    timeout: Duration,
    cancel: &'a CancellationToken,
}

/// Why a piece has no translation.
enum Failure {
    Refused(&'static str),
    Unanswered(LlmError),
}

impl Run<'_> {
    async fn lane(&self, cues: &[Cue]) -> Vec<Line> {
        let mut lines = Vec::with_capacity(cues.len());
        let mut before: Option<Pair> = None;
        let mut gone: Option<String> = None;
        for cue in cues {
            let line = match &gone {
                Some(reason) => Line::Unanswered(reason.clone()),
                None if !cue.text.chars().any(char::is_alphabetic) => Line::Wordless,
                None => match self.cue(&cue.text, before.as_ref()).await {
                    Ok(text) => Line::Done(text),
                    Err(Failure::Refused(reason)) => Line::Refused(reason),
                    Err(Failure::Unanswered(error)) => {
                        // A server that is gone or too slow is not asked for every further cue.
                        let passing = matches!(error, LlmError::Garbage { .. } | LlmError::TooLong { .. });
                        gone = (!passing).then(|| error.to_string());
                        Line::Unanswered(error.to_string())
                    }
                },
            };
            before = match &line {
                Line::Done(text) if cue.text.chars().count() <= CONTEXT_CHARS => {
                    Some(Pair { source: cue.text.clone(), target: text.clone() })
                }
                _ => None,
            };
            lines.push(line);
        }
        lines
    }

    /// One cue: its lines and, where long, its sentences apart, put together with the same breaks.
    async fn cue(&self, text: &str, before: Option<&Pair>) -> Result<String, Failure> {
        let mut out = String::new();
        for line in text.split_inclusive('\n') {
            let words = line.trim();
            if !words.chars().any(char::is_alphabetic) {
                out.push_str(line);
                continue;
            }
            let pieces = pieces(words);
            for (at, piece) in pieces.iter().enumerate() {
                if at > 0 && !self.to.is_unspaced() {
                    out.push(' ');
                }
                out.push_str(&self.piece(piece, before.filter(|_| at == 0)).await?);
            }
            out.push_str(&line[line.trim_end().len()..]);
        }
        Ok(out.trim_end_matches(' ').to_owned())
    }

    async fn piece(&self, text: &str, before: Option<&Pair>) -> Result<String, Failure> {
        let first = self.attempt(text, before, Care::Usual).await;
        match first {
            Err(Failure::Refused(_)) => self.attempt(text, None, Care::Strict).await,
            other => other,
        }
    }

    async fn attempt(&self, text: &str, before: Option<&Pair>, care: Care) -> Result<String, Failure> {
        let request = ChatRequest {
            messages: prompt::messages(self.from, self.to, care, before, text),
            max_tokens: u32::try_from(text.len() * 2 + 48).unwrap_or(u32::MAX),
            temperature: 0.0,
            // One line in, one line out: explanations come on lines of their own.
            grammar: Some("root ::= [^\\r\\n]+".to_owned()),
            slot: self.slot,
            timeout: Some(self.timeout),
        };
        let completion = self.client.chat(&request, self.cancel).await.map_err(Failure::Unanswered)?;
        if completion.finish != Finish::Stop {
            return Err(Failure::Refused("it did not come to an end"));
        }
        let output = check::unwrapped(text, completion.text.trim());
        match check::objection(&Source { text, from: self.from, to: self.to }, output) {
            Some(reason) => Err(Failure::Refused(reason)),
            None => Ok(output.to_owned()),
        }
    }
}

/// A text cut at sentence ends (or, failing that, at spaces) into pieces of bounded length.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.chars().count() > PIECE_CHARS {
        let limit = rest.char_indices().nth(PIECE_CHARS).map_or(rest.len(), |(at, _)| at);
        let head = &rest[..limit];
        let after = |at: usize, c: char| at + c.len_utf8();
        let sentence = head
            .char_indices()
            .zip(head.chars().skip(1).chain([' ']))
            .filter(|((_, c), next)| {
                matches!(c, '。' | '！' | '？') || (matches!(c, '.' | '!' | '?') && next.is_whitespace())
            })
            .last()
            .map(|((at, c), _)| after(at, c));
        let space = || head.char_indices().rfind(|(_, c)| c.is_whitespace()).map(|(at, c)| after(at, c));
        let cut = sentence.or_else(space).unwrap_or(limit);
        pieces.push(rest[..cut].trim());
        rest = rest[cut..].trim_start();
    }
    pieces.push(rest);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_at_sentences_and_nothing_is_lost() {
        let text = "This is one sentence with 3.5 in it. ".repeat(60);
        let cut = pieces(text.trim());
        assert!(cut.len() > 3 && cut.iter().all(|piece| piece.ends_with("it.") && piece.len() <= 500));
        assert_eq!(cut.join(" "), text.trim());
        let unbroken = "字".repeat(1200);
        assert_eq!(pieces(&unbroken).concat(), unbroken);
    }

    #[tokio::test]
    async fn same_language_and_no_model() {
        let cues = [Cue { start: 0.0, end: 1.0, text: "Hallo.".into(), ..Cue::default() }];
        let none = Translator::new(None, TranslateSettings::default());
        let cancel = CancellationToken::new();
        let german = "de".parse().unwrap();
        let (track, warnings) = none.translate(&cues, Some(german), german, &cancel).await;
        assert_eq!((track.map(|t| t.text), warnings.len()), (Some("Hallo.".into()), 0));
        let (track, warnings) = none.translate(&cues, Some(german), Lang::ENGLISH, &cancel).await;
        assert_eq!((track, warnings[0].code), (None, WarningCode::TranslationUnavailable));
    }
}
