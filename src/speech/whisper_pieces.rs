//! Tokens to timed text, and text to prompt tokens.

use super::whisper_decode::{Hypothesis, Token, frames_to_seconds};
use super::{Segment, TokenLogprob, Utterance, Word};
use crate::audio::SPEECH_RATE;
use whisper_rs::WhisperContext;

/// Up to so many seconds an utterance is one segment and the model is not asked for times: the segmenter knows better
/// where it starts and ends, and there are fewer tokens to compute.
pub(super) const ONE_SEGMENT: f64 = 8.0;

/// Maps times in a piece of audio to the clock of the file.
pub(super) struct Clock {
    start: f64,
    speech: (f64, f64),
}

impl Clock {
    pub fn new(piece: &Utterance) -> Self {
        Clock { start: piece.start(), speech: piece.speech() }
    }

    fn at(&self, frames: usize) -> f64 {
        (self.start + frames_to_seconds(frames)).clamp(self.speech.0, self.speech.1)
    }
}

/// A segment per pair of times, or one for all. Segments without text are left out.
pub(super) fn segments(context: &WhisperContext, heard: &Hypothesis, clock: &Clock) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::new();
    let mut start = clock.speech.0;
    let mut run: Vec<Token> = Vec::new();
    let mut close = |start: f64, end: f64, run: &mut Vec<Token>| {
        let tokens: Vec<i32> = run.iter().map(|t| t.id as i32).collect();
        let text = text(context, &tokens);
        if !text.trim().is_empty() && !is_annotation(&text) {
            let start = start.max(out.last().map_or(0.0, |s: &Segment| s.end));
            out.push(Segment {
                start,
                end: end.max(start),
                text: text.trim().to_owned(),
                words: Vec::new(),
                avg_logprob: run.iter().map(|t| t.logprob).sum::<f32>() / run.len() as f32,
                tokens,
                no_speech: heard.no_speech,
                temperature: heard.temperature,
                token_logprobs: run.iter().map(|token| spelled(context, token)).collect(),
                ..Segment::default()
            });
        }
        run.clear();
    };
    for token in &heard.tokens {
        match token.id.checked_sub(heard.first_time) {
            Some(frames) => {
                let time = clock.at(frames);
                close(start, time, &mut run);
                start = time;
            }
            None => run.push(*token),
        }
    }
    close(start, clock.speech.1, &mut run);
    out
}

/// A token with its spelling. Its bytes need not be whole characters.
fn spelled(context: &WhisperContext, token: &Token) -> TokenLogprob {
    let bytes = context.token_to_bytes(token.id as i32).unwrap_or_default().to_vec();
    TokenLogprob { token: String::from_utf8_lossy(&bytes).into_owned(), logprob: token.logprob, bytes }
}

/// Whether a text is only Whisper's description of a sound, as in "[BEEP]", "(soft music)", "*sighs*" or "♪": bracketed from
/// end to end, or without a letter or digit. Brackets inside a sentence stay.
pub(super) fn is_annotation(text: &str) -> bool {
    let mut depth = 0usize;
    let mut outside = false;
    let mut starred = false;
    for c in text.chars() {
        match c {
            '[' | '(' | '（' | '【' | '［' => depth += 1,
            ']' | ')' | '）' | '】' | '］' => depth = depth.saturating_sub(1),
            '*' => starred = !starred,
            c if c.is_alphanumeric() && depth == 0 && !starred => outside = true,
            _ => {}
        }
    }
    // Something that never closes is no annotation: better a stray bracket than a lost word.
    !outside && depth == 0 && !starred
}

/// Text of some tokens. Bytes that are no UTF-8 (a character cut off by the cap) become the replacement character.
pub(super) fn text(context: &WhisperContext, tokens: &[i32]) -> String {
    String::from_utf8_lossy(&bytes(context, tokens)).into_owned()
}

fn bytes(context: &WhisperContext, tokens: &[i32]) -> Vec<u8> {
    tokens.iter().flat_map(|t| context.token_to_bytes(*t).unwrap_or_default()).copied().collect()
}

/// Splits every segment into words and gives them times. `ends` has the end of each text token, seconds from the start
/// of the piece, in order over all segments.
pub(super) fn add_words(
    context: &WhisperContext,
    segments: &mut [Segment],
    heard: &Hypothesis,
    ends: &[f64],
    piece: &Utterance,
) {
    let unspaced = heard.language.is_unspaced();
    let levels = Levels::of(piece.samples());
    let logprobs: Vec<f32> = heard.tokens.iter().filter(|t| t.id < heard.first_time).map(|t| t.logprob).collect();
    let mut at = 0;
    let mut before = piece.speech().0 - piece.start();
    for segment in segments {
        for group in words(context, &segment.tokens, unspaced) {
            let range = at + group.start..at + group.end;
            let word = text(context, &segment.tokens[group]).trim().to_owned();
            let end = ends[range.clone()].last().copied().unwrap_or(before).max(before);
            let (start, stop) = levels.sounding(before, end);
            let probability = logprobs[range.clone()].iter().map(|l| l.exp()).sum::<f32>() / range.len().max(1) as f32;
            if !word.is_empty() {
                segment.words.push(Word { start: piece.start() + start, end: piece.start() + stop, word, probability });
            }
            before = end;
        }
        at += segment.tokens.len();
        if let (Some(first), Some(last)) = (segment.words.first(), segment.words.last()) {
            (segment.start, segment.end) = (first.start, last.end);
        }
    }
}

/// Ranges of tokens that make a word: from a leading space to the next; in unspaced scripts every run of tokens that is
/// whole characters. Punctuation joins the word before it.
fn words(context: &WhisperContext, tokens: &[i32], unspaced: bool) -> Vec<std::ops::Range<usize>> {
    let mut out: Vec<std::ops::Range<usize>> = Vec::new();
    let mut start = 0;
    for i in 0..tokens.len() {
        let end = i + 1;
        // Not inside a character.
        let Ok(unit) = String::from_utf8(bytes(context, &tokens[start..end])) else { continue };
        let joins = !unit.starts_with(' ') && !unspaced || unit.trim().chars().all(|c| !c.is_alphanumeric());
        match out.last_mut() {
            Some(last) if joins => last.end = end,
            _ => out.push(start..end),
        }
        start = end;
    }
    if start < tokens.len() {
        out.push(start..tokens.len());
    }
    out
}

/// Level of the audio in steps of 10 ms.
struct Levels(Vec<f32>);

impl Levels {
    const STEP: usize = SPEECH_RATE as usize / 100;

    fn of(samples: &[f32]) -> Self {
        let power = |s: &[f32]| 10.0 * (s.iter().map(|x| x * x).sum::<f32>() / s.len() as f32 + 1e-10).log10();
        Levels(samples.chunks(Self::STEP).map(power).collect())
    }

    /// The sounding part of a stretch, seconds: a word neither begins in the pause before it nor lasts through the one
    /// behind it. Pauses under 30 ms are part of speech (stops).
    fn sounding(&self, from: f64, to: f64) -> (f64, f64) {
        let range = ((from * 100.0) as usize).min(self.0.len())..((to * 100.0) as usize).min(self.0.len());
        let levels = &self.0[range];
        let most = levels.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // 25 dB under the loudest of the word is a pause.
        let quiet = |level: &&f32| **level < most - 25.0;
        let before = levels.iter().take_while(quiet).count();
        let after = levels.iter().rev().take_while(quiet).count();
        let start = if before >= 3 { from + before as f64 / 100.0 } else { from };
        let end = if after >= 3 { to - after as f64 / 100.0 } else { to };
        if start < end { (start, end) } else { (from, to) }
    }
}

/// Tokens said before the recording: the vocabulary as a glossary, then the user's own prompt, which is the nearer and
/// so the stronger. Both together stay within half of the text context (224 tokens) less one.
pub(super) fn prompt_tokens(context: &WhisperContext, prompt: Option<&str>, vocabulary: &[String]) -> Vec<i32> {
    let room = context.n_text_ctx() as usize / 2 - 1;
    let tokenize = |text: &str| {
        let clean: String = text.chars().filter(|c| *c != '\0').collect();
        // A token is at least one byte.
        context.tokenize(&clean, clean.len() + 1).unwrap_or_default()
    };
    let prompt =
        prompt.map(str::trim).filter(|p| !p.is_empty()).map(|p| tokenize(&format!(" {p}"))).unwrap_or_default();
    let prompt = &prompt[prompt.len().saturating_sub(room)..];
    let room = (room - prompt.len()).min(MOST_VOCABULARY);
    let mut glossary = Vec::new();
    let mut names = String::new();
    for name in vocabulary.iter().map(|n| n.trim()).filter(|n| !n.is_empty()) {
        let longer = if names.is_empty() { name.to_owned() } else { format!("{names}, {name}") };
        let tokens = tokenize(&format!(" Glossary: {longer}."));
        if tokens.len() > room {
            break;
        }
        (names, glossary) = (longer, tokens);
    }
    glossary.extend_from_slice(prompt);
    glossary
}

/// Tokens of vocabulary: beyond about a hundred the names at the far end no longer help, and every token costs time.
const MOST_VOCABULARY: usize = 110;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_of_sounds_are_not_words() {
        for text in ["[BLANK_AUDIO]", " (soft music)", "*sighs*", "♪♪", "[Music] (whistling).", "...", "（音楽）"]
        {
            assert!(is_annotation(text), "{text}");
        }
        for text in ["Yes.", "the array [0] is empty", "(so he said", "5 * 3", "[Music] Hello", "好"] {
            assert!(!is_annotation(text), "{text}");
        }
    }

    #[test]
    fn a_word_is_timed_by_its_sound() {
        // 0.5 s silence, 0.5 s tone, 0.5 s silence.
        let tone = (0..8_000).map(|n| (n as f32 * 0.3).sin() * 0.5);
        let silence = || std::iter::repeat_n(0.0, 8_000);
        let samples: Vec<f32> = silence().chain(tone).chain(silence()).collect();
        let (start, end) = Levels::of(&samples).sounding(0.2, 1.4);
        assert!((start - 0.5).abs() < 0.02 && (end - 1.0).abs() < 0.02, "{start} {end}");
        assert_eq!(Levels::of(&samples).sounding(0.6, 0.9), (0.6, 0.9));
    }
}
