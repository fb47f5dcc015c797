//! The token loop: one encoder pass, then any number of attempts at the text on it.
//!
//! Positions: `[previous-text, prompt…] [start-of-transcript] [language, task] [no-times] text… [end]`. whisper.cpp gives the logits
//! of a batch of more than one token at the wrong offset, so the last token of every step goes alone.

use super::whisper::{FRAMES_PER_SECOND, Model};
use super::whisper_rules::{self as rules, Ids, Times};
use super::{SpeechError, Task};
use crate::audio::SPEECH_RATE;
use crate::language::Lang;
use std::ops::Range;
use tokio_util::sync::CancellationToken;
use whisper_rs::{FullParams, SamplingStrategy, WhisperState};

/// Below this mean log-probability the text is guesswork (OpenAI's `logprob_threshold`).
const GUESSWORK: f32 = -1.0;
/// Below this a second look at the full window is worth its time.
const DOUBTFUL: f32 = -0.7;

/// Where the random numbers of every utterance start.
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// One way of decoding what is encoded.
pub(super) struct Attempt<'a> {
    /// Tokens said before, as far as the model is concerned.
    pub prompt: &'a [i32],
    /// `None`: as heard.
    pub language: Option<Lang>,
    pub task: Task,
    pub times: Times,
    /// 0 is greedy.
    pub temperature: f32,
}

/// A token of the text or a time, with its natural-log probability.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub id: usize,
    pub logprob: f32,
}

/// Why an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The model was done.
    EndOfText,
    /// More tokens than anybody can say in the time.
    Cap,
    /// The same words again and again.
    Loop,
}

/// What one attempt heard.
#[derive(Clone, Debug)]
pub(super) struct Hypothesis {
    pub tokens: Vec<Token>,
    pub stop: Stop,
    pub language: Lang,
    /// 1 when the language was given.
    pub language_probability: f32,
    pub avg_logprob: f32,
    pub no_speech: f32,
    pub temperature: f32,
    /// First time token; ids from here on are times.
    pub first_time: usize,
}

impl Hypothesis {
    /// Text tokens only.
    pub fn text_tokens(&self) -> Vec<i32> {
        self.tokens.iter().filter(|t| t.id < self.first_time).map(|t| t.id as i32).collect()
    }

    /// Worth another encoder pass when the first was shortened.
    pub fn is_doubtful(&self) -> bool {
        self.stop != Stop::EndOfText || self.avg_logprob < DOUBTFUL || self.language_probability < 0.5
    }

    /// Not to be delivered if there is anything better.
    pub fn is_failure(&self) -> bool {
        self.stop != Stop::EndOfText || self.avg_logprob < GUESSWORK
    }

    /// The model hears no speech and does not believe in its own text either. Measured with base and tiny.en: speech in
    /// noise has a no-speech probability up to 0.2, noise and music 0.3 to 0.9; their texts -0.5 to -1.4.
    pub fn is_no_speech(&self) -> bool {
        self.no_speech > 0.6 && self.avg_logprob < DOUBTFUL || self.no_speech > 0.25 && self.avg_logprob < GUESSWORK
    }

    /// The better of two: one that ended by itself, then the likelier.
    pub fn better(self, other: Hypothesis) -> Hypothesis {
        let key = |h: &Hypothesis| (h.stop == Stop::EndOfText, h.avg_logprob);
        let (a, b) = (key(&self), key(&other));
        if (b.0, b.1) > (a.0, a.1) { other } else { self }
    }

    /// Whether a stretch of the prompt came out as text: six tokens in a row, or all there are.
    pub fn echoes(&self, prompt: &[i32]) -> bool {
        let text = self.text_tokens();
        let n = text.len().min(6);
        n >= 4 && text.windows(n).any(|run| prompt.windows(n).any(|p| p == run))
    }

    /// Leaves one round of a loop at the end standing.
    pub fn collapse_loop(&mut self) {
        let ids: Vec<usize> = self.tokens.iter().map(|t| t.id).filter(|id| *id < self.first_time).collect();
        let tail = rules::looping_tail(&ids);
        let unit =
            (1..=tail).find(|n| ids.len() >= 2 * n && ids[ids.len() - n..] == ids[ids.len() - 2 * n..ids.len() - n]);
        if let Some(unit) = unit {
            self.tokens.truncate(self.tokens.len() - tail.saturating_sub(unit).min(self.tokens.len()));
        }
    }
}

/// The working memory of one thread and the model's special tokens.
pub(super) struct Decoder {
    state: WhisperState,
    ids: Ids,
    special: Special,
    prepare: FullParams<'static, 'static>,
    threads: usize,
    /// Seconds of audio that are encoded.
    seconds: f64,
    random: u64,
    scratch: Vec<f32>,
}

/// Token ids of the model's control tokens.
struct Special {
    start: i32,
    previous: i32,
    no_times: i32,
    no_speech: usize,
    transcribe: i32,
    translate: i32,
    /// One a language, in the order of [`Lang::all`]; empty for an English-only model.
    languages: Range<usize>,
    vocabulary: usize,
    text_context: usize,
}

impl Decoder {
    pub fn new(model: &Model, threads: usize) -> Result<Self, SpeechError> {
        let context = model.context();
        let state = context.create_state().map_err(failed("making room for the model"))?;
        let start = context.token_sot();
        let first_language = start as usize + 1;
        let special = Special {
            start,
            previous: context.token_prev(),
            no_times: context.token_not(),
            no_speech: context.token_nosp() as usize,
            transcribe: context.token_transcribe(),
            translate: context.token_translate(),
            languages: first_language..first_language + model.languages(),
            vocabulary: context.n_vocab() as usize,
            text_context: context.n_text_ctx() as usize,
        };
        let (end_of_text, first_time) = (context.token_eot() as usize, context.token_beg() as usize);
        // Everything between the end of text and the times is a control token.
        let ids = Ids {
            end_of_text,
            first_time,
            never: (end_of_text + 1..first_time).collect(),
            space: context.tokenize(" ", 2).ok().and_then(|t| (t.len() == 1).then(|| t[0] as usize)),
        };
        let mut prepare = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
        prepare.set_n_threads(threads as i32);
        prepare.set_print_progress(false);
        prepare.set_print_realtime(false);
        // SAFETY: the callback touches none of its arguments and needs no user data.
        unsafe { prepare.set_start_encoder_callback(Some(stop_before_encoding)) };
        let scratch = Vec::with_capacity(special.vocabulary);
        Ok(Decoder { state, ids, special, prepare, threads, seconds: 0.0, random: SEED, scratch })
    }

    /// Runs the encoder over at most 30 s of samples. `frames` of 20 ms are computed; `None` is the full window.
    pub fn encode(
        &mut self,
        samples: &[f32],
        frames: Option<usize>,
        cancel: &CancellationToken,
    ) -> Result<(), SpeechError> {
        self.check(cancel)?;
        // A clip gives the same text whatever this thread worked on before.
        self.random = SEED;
        // whisper.cpp ignores less than 100 ms; the model was trained on silence behind short clips.
        let mut padded = Vec::new();
        let shortest = SPEECH_RATE as usize;
        let samples = if samples.len() < shortest {
            padded.extend_from_slice(samples);
            padded.resize(shortest, 0.0);
            &padded[..]
        } else {
            samples
        };
        // `full` computes the spectrogram, stores audio_ctx (nothing else can), and is stopped before it encodes.
        let mut prepare = self.prepare.clone();
        prepare.set_audio_ctx(frames.unwrap_or(0) as i32);
        self.state.full(prepare, samples).map_err(failed("computing the spectrogram"))?;
        self.state.encode(0, self.threads).map_err(failed("encoding"))?;
        self.seconds = samples.len() as f64 / f64::from(SPEECH_RATE);
        self.check(cancel)
    }

    /// The language of what is encoded.
    pub fn hear_language(&mut self) -> Result<(Lang, f32), SpeechError> {
        self.step(&[self.special.start], 0)?;
        Ok(self.language_of_logits())
    }

    /// One attempt at the text of what is encoded.
    pub fn decode(&mut self, attempt: &Attempt<'_>, cancel: &CancellationToken) -> Result<Hypothesis, SpeechError> {
        let mut past = 0;
        let room = self.special.text_context / 2 - 1;
        if !attempt.prompt.is_empty() {
            let prompt = &attempt.prompt[attempt.prompt.len().saturating_sub(room)..];
            past += self.step(&[self.special.previous], past)?;
            past += self.step(prompt, past)?;
        }
        past += self.step(&[self.special.start], past)?;
        self.load_logits()?;
        let no_speech = rules::probabilities(&self.scratch, 0..self.special.vocabulary)[self.special.no_speech];
        let (language, language_probability) = match attempt.language {
            Some(language) => (language, 1.0),
            None => self.language_of_logits(),
        };
        let mut control = Vec::new();
        if !self.special.languages.is_empty() {
            let index = Lang::all().position(|l| l == language).unwrap_or(0);
            control.push((self.special.languages.start + index) as i32);
            control.push(match attempt.task {
                Task::Transcribe => self.special.transcribe,
                Task::TranslateToEnglish => self.special.translate,
            });
        }
        if attempt.times == Times::Off {
            control.push(self.special.no_times);
        }
        for token in control {
            past += self.step(&[token], past)?;
        }

        let cap = self.cap(language).min(self.special.text_context - past - 1);
        let mut ids: Vec<usize> = Vec::new();
        let mut text: Vec<usize> = Vec::new();
        let mut tokens = Vec::new();
        let mut sum = 0.0;
        let stop = loop {
            self.check(cancel)?;
            self.load_logits()?;
            rules::forbid(&mut self.scratch, &ids, &self.ids, attempt.times);
            let (id, logprob) = if attempt.temperature > 0.0 {
                let uniform = self.uniform();
                rules::sample(&self.scratch, attempt.temperature, uniform)
            } else {
                rules::greedy(&self.scratch)
            };
            sum += logprob;
            if id == self.ids.end_of_text {
                break Stop::EndOfText;
            }
            ids.push(id);
            tokens.push(Token { id, logprob });
            if id < self.ids.first_time {
                text.push(id);
                if rules::looping_tail(&text) > 0 {
                    break Stop::Loop;
                }
            }
            if tokens.len() >= cap {
                break Stop::Cap;
            }
            past += self.step(&[id as i32], past)?;
        };
        Ok(Hypothesis {
            avg_logprob: sum / (tokens.len() + 1) as f32,
            tokens,
            stop,
            language,
            language_probability,
            no_speech,
            temperature: attempt.temperature,
            first_time: self.ids.first_time,
        })
    }

    /// More tokens than anybody says in the time: about 3 a second in Latin scripts (fast speech 6), up to 25 where a
    /// character takes several.
    fn cap(&self, language: Lang) -> usize {
        let latin = matches!(
            language.code(),
            "en" | "de"
                | "es"
                | "fr"
                | "pt"
                | "it"
                | "nl"
                | "pl"
                | "sv"
                | "da"
                | "no"
                | "nn"
                | "fi"
                | "ca"
                | "ro"
                | "tr"
                | "id"
                | "ms"
        );
        let a_second = if latin { 12.0 } else { 30.0 };
        (16.0 + a_second * self.seconds) as usize
    }

    fn language_of_logits(&mut self) -> (Lang, f32) {
        if self.special.languages.is_empty() || self.load_logits().is_err() {
            return (Lang::ENGLISH, 1.0);
        }
        let probabilities = rules::probabilities(&self.scratch, self.special.languages.clone());
        Lang::all().zip(probabilities).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((Lang::ENGLISH, 1.0))
    }

    /// Runs tokens through the decoder at a position; gives how many.
    fn step(&mut self, tokens: &[i32], past: usize) -> Result<usize, SpeechError> {
        self.state.decode(tokens, past, self.threads).map_err(failed("decoding"))?;
        Ok(tokens.len())
    }

    fn load_logits(&mut self) -> Result<(), SpeechError> {
        let logits = self.state.get_logits().map_err(failed("decoding"))?;
        self.scratch.clear();
        self.scratch.extend_from_slice(logits);
        Ok(())
    }

    fn check(&self, cancel: &CancellationToken) -> Result<(), SpeechError> {
        if cancel.is_cancelled() { Err(SpeechError::Cancelled) } else { Ok(()) }
    }

    /// splitmix64 with a fixed seed: attempts differ, runs do not.
    fn uniform(&mut self) -> f32 {
        self.random = self.random.wrapping_add(SEED);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    }
}

pub(super) fn failed<E: std::fmt::Display>(doing: &'static str) -> impl FnOnce(E) -> SpeechError {
    move |error| SpeechError::Failed { doing, why: error.to_string() }
}

unsafe extern "C" fn stop_before_encoding(
    _: *mut whisper_rs::whisper_rs_sys::whisper_context,
    _: *mut whisper_rs::whisper_rs_sys::whisper_state,
    _: *mut std::ffi::c_void,
) -> bool {
    false
}

/// Frames to seconds.
pub(super) fn frames_to_seconds(frames: usize) -> f64 {
    frames as f64 / FRAMES_PER_SECOND
}
