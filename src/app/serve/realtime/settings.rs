//! What a client may set, in both shapes: nested as OpenAI has it since 2025 (`audio.input.…`), flat as before
//! (`input_audio_format`, …). Only what an update names changes; `null` turns a thing off.

use super::audio::{Format, RATES, TELEPHONE};
use super::events::Fault;
use crate::language::{Lang, LanguageChoice};
use crate::speech::SpeechOptions;
use crate::speech::vad::VadSettings;
use serde::de::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::str::FromStr;

/// How a session object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `{"type": "transcription", "audio": {"input": {…}}}`
    Nested,
    /// `{"input_audio_format": …}`
    Flat,
}

/// Settings in force.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub format: Format,
    /// `None`: audio is cut into turns and not recognised.
    pub transcription: Option<Transcription>,
    pub turns: Turns,
    /// Whether the client asked for log probabilities.
    pub logprobs: bool,
}

/// How speech is recognised.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Transcription {
    /// As the client names it.
    pub model: String,
    pub language: LanguageChoice,
    pub prompt: Option<String>,
    pub keywords: Vec<String>,
}

/// Who says where a turn ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Turns {
    /// The client, with `input_audio_buffer.commit`.
    Manual,
    /// A pause. Milliseconds.
    ServerVad { threshold: f64, prefix_padding_ms: u64, silence_duration_ms: u64 },
    /// A longer pause: no model judges here whether a sentence is complete.
    SemanticVad(Eagerness),
}

/// How long a pause `semantic_vad` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eagerness {
    Low,
    Auto,
    High,
}

/// Longest padding before the voice, milliseconds.
const MAX_PREFIX_MS: f64 = 5_000.0;
/// Shortest pause that ends a turn, milliseconds, whatever less is asked for: a shorter one is a stop consonant.
const MIN_SILENCE_MS: u64 = 100;
/// Longest pause that may end a turn, milliseconds.
const MAX_SILENCE_MS: f64 = 10_000.0;
/// Longest prompt, characters. Whisper reads the last 224 tokens.
const MAX_PROMPT: usize = 10_000;
/// Most keywords.
const MAX_KEYWORDS: usize = 1_000;

impl Turns {
    /// OpenAI's documented defaults.
    pub fn server_vad() -> Self {
        Turns::ServerVad { threshold: 0.5, prefix_padding_ms: 300, silence_duration_ms: 500 }
    }

    /// Milliseconds of pause that end a turn; 0 where the client does it.
    pub fn silence_ms(self) -> u64 {
        match self {
            Turns::Manual => 0,
            Turns::ServerVad { silence_duration_ms, .. } => silence_duration_ms,
            Turns::SemanticVad(Eagerness::Low) => 2_000,
            Turns::SemanticVad(Eagerness::Auto) => 1_200,
            Turns::SemanticVad(Eagerness::High) => 800,
        }
    }

    /// Milliseconds before the voice that belong to a turn.
    pub fn prefix_ms(self) -> u64 {
        match self {
            Turns::ServerVad { prefix_padding_ms, .. } => prefix_padding_ms,
            Turns::Manual | Turns::SemanticVad(_) => 300,
        }
    }

    /// For the segmenter, from the service's own: those alone cut what a client commits by hand.
    pub fn vad(self, own: VadSettings) -> VadSettings {
        if self == Turns::Manual {
            return own;
        }
        let threshold = if let Turns::ServerVad { threshold, .. } = self { threshold as f32 } else { own.threshold };
        // The recogniser needs the quiet ends of words, however little padding the client wants to be told of.
        let pad = (self.prefix_ms() as f64 / 1000.0).max(own.pad);
        VadSettings { threshold, pad, min_silence: self.silence_ms() as f64 / 1000.0, ..own }
    }
}

impl Transcription {
    /// What the recogniser is asked; `own` is what the service asks by itself.
    pub fn options(&self, own: &SpeechOptions) -> SpeechOptions {
        let mut options = own.clone();
        if self.language != LanguageChoice::Auto {
            options.language = self.language;
        }
        options.prompt = self.prompt.clone().or(options.prompt);
        // The client's first: the last ones are left out when there are too many.
        options.vocabulary.splice(0..0, self.keywords.iter().cloned());
        options
    }
}

impl Settings {
    pub fn new(model: String) -> Self {
        let (language, prompt, keywords) = (LanguageChoice::Auto, None, Vec::new());
        Settings {
            format: Format::default(),
            transcription: Some(Transcription { model, language, prompt, keywords }),
            turns: Turns::server_vad(),
            logprobs: false,
        }
    }

    /// These settings with the changes of one update, and the shape it came in. `default_model` where transcription is
    /// turned on without naming a model.
    ///
    /// # Errors
    /// What is wrong with the update; then none of it counts.
    pub fn updated(&self, session: &Value, default_model: &str) -> Result<(Settings, Shape), Fault> {
        let update: Update = serde_path_to_error::deserialize(session).map_err(|error| {
            let path = error.path().to_string();
            let param = if path == "." { "session".to_owned() } else { format!("session.{path}") };
            Fault::new("invalid_type", format!("Invalid value for '{param}': {}.", error.inner())).param(param)
        })?;
        if let Some(kind) = update.kind.as_deref().filter(|kind| *kind != "transcription") {
            let kind: String = kind.chars().take(64).collect();
            let message = format!("Invalid value: '{kind}'. Only sessions of type 'transcription' are served here.");
            return Err(Fault::new("invalid_value", message).param("session.type"));
        }
        let mut next = self.clone();
        let shape = if update.is_flat() { Shape::Flat } else { Shape::Nested };
        if let Some(include) = update.include {
            next.logprobs = include.iter().flatten().any(|what| what == "item.input_audio_transcription.logprobs");
        }
        if let Some(name) = update.input_audio_format.flatten() {
            next.format = flat_format(&name)?;
        }
        next.apply(update.input_audio_transcription, update.turn_detection, &Names::flat(default_model))?;
        if let Some(input) = update.audio.flatten().and_then(|audio| audio.input.flatten()) {
            if let Some(format) = input.format.flatten() {
                next.format = nested_format(&format)?;
            }
            next.apply(input.transcription, input.turn_detection, &Names::nested(default_model))?;
        }
        Ok((next, shape))
    }

    fn apply(
        &mut self,
        transcription: Option<Option<TranscriptionUpdate>>,
        turns: Option<Option<TurnsUpdate>>,
        names: &Names<'_>,
    ) -> Result<(), Fault> {
        match transcription {
            None => {}
            Some(None) => self.transcription = None,
            Some(Some(update)) => {
                let model = names.default_model.to_owned();
                let (language, prompt, keywords) = (LanguageChoice::Auto, None, Vec::new());
                let now = self.transcription.take();
                let now = now.unwrap_or(Transcription { model, language, prompt, keywords });
                self.transcription = Some(transcribing(now, update, names.transcription)?);
            }
        }
        match turns {
            None => {}
            Some(None) => self.turns = Turns::Manual,
            Some(Some(update)) => self.turns = turning(self.turns, update, names.turns)?,
        }
        Ok(())
    }

    /// The session object of `session.created` and the like.
    pub fn view(&self, shape: Shape, id: &str, expires_at: u64) -> Value {
        let (name, format) = match self.format {
            Format::Pcm { rate } => ("pcm16", json!({"type": "audio/pcm", "rate": rate})),
            Format::Pcmu => ("g711_ulaw", json!({"type": "audio/pcmu"})),
            Format::Pcma => ("g711_alaw", json!({"type": "audio/pcma"})),
        };
        let transcription = self.transcription.as_ref().map(|set| {
            let language = match set.language {
                LanguageChoice::Auto => None,
                LanguageChoice::Fixed(language) => Some(language.code()),
            };
            let mut view = json!({"model": set.model, "language": language, "prompt": set.prompt});
            if !set.keywords.is_empty() {
                view["keywords"] = json!(set.keywords);
            }
            view
        });
        let turns = match self.turns {
            Turns::Manual => Value::Null,
            Turns::ServerVad { threshold, prefix_padding_ms, silence_duration_ms } => json!({
                "type": "server_vad",
                "threshold": threshold,
                "prefix_padding_ms": prefix_padding_ms,
                "silence_duration_ms": silence_duration_ms,
            }),
            Turns::SemanticVad(eagerness) => json!({"type": "semantic_vad", "eagerness": match eagerness {
                Eagerness::Low => "low",
                Eagerness::Auto => "auto",
                Eagerness::High => "high",
            }}),
        };
        let include = self.logprobs.then(|| json!(["item.input_audio_transcription.logprobs"]));
        // No noise reduction is done, so none is said to be.
        match shape {
            Shape::Nested => json!({
                "type": "transcription",
                "object": "realtime.transcription_session",
                "id": id,
                "expires_at": expires_at,
                "audio": {"input": {
                    "format": format,
                    "transcription": transcription,
                    "noise_reduction": null,
                    "turn_detection": turns,
                }},
                "include": include,
            }),
            Shape::Flat => json!({
                "id": id,
                "object": "realtime.transcription_session",
                "expires_at": expires_at,
                "input_audio_format": name,
                "input_audio_transcription": transcription,
                "input_audio_noise_reduction": null,
                "turn_detection": turns,
                "client_secret": null,
                "include": include,
            }),
        }
    }
}

/// Where things stand in an update, for messages.
struct Names<'a> {
    transcription: &'static str,
    turns: &'static str,
    default_model: &'a str,
}

impl<'a> Names<'a> {
    fn flat(default_model: &'a str) -> Self {
        Names { transcription: "session.input_audio_transcription", turns: "session.turn_detection", default_model }
    }

    fn nested(default_model: &'a str) -> Self {
        let (transcription, turns) = ("session.audio.input.transcription", "session.audio.input.turn_detection");
        Names { transcription, turns, default_model }
    }
}

fn invalid(param: String, message: impl std::fmt::Display) -> Fault {
    Fault::new("invalid_value", format!("Invalid value for '{param}': {message}.")).param(param)
}

fn flat_format(name: &str) -> Result<Format, Fault> {
    match name {
        "pcm16" => Ok(Format::default()),
        "g711_ulaw" => Ok(Format::Pcmu),
        "g711_alaw" => Ok(Format::Pcma),
        _ => Err(invalid("session.input_audio_format".into(), "it is 'pcm16', 'g711_ulaw' or 'g711_alaw'")),
    }
}

fn nested_format(update: &FormatUpdate) -> Result<Format, Fault> {
    let at = |name: &str| format!("session.audio.input.format.{name}");
    let format = match update.kind.as_deref() {
        None | Some("audio/pcm") => {
            let rate = update.rate.unwrap_or(24_000.0);
            if !(f64::from(*RATES.start())..=f64::from(*RATES.end())).contains(&rate) || rate.fract() != 0.0 {
                let message = format!("it is a whole number of Hz from {} to {}", RATES.start(), RATES.end());
                return Err(invalid(at("rate"), message));
            }
            Format::Pcm { rate: rate as u32 }
        }
        Some("audio/pcmu") => Format::Pcmu,
        Some("audio/pcma") => Format::Pcma,
        Some(_) => return Err(invalid(at("type"), "it is 'audio/pcm', 'audio/pcmu' or 'audio/pcma'")),
    };
    let telephone = matches!(format, Format::Pcmu | Format::Pcma);
    if telephone && update.rate.is_some_and(|rate| rate != f64::from(TELEPHONE)) {
        return Err(invalid(at("rate"), format!("G.711 has {TELEPHONE} Hz")));
    }
    Ok(format)
}

fn transcribing(now: Transcription, update: TranscriptionUpdate, at: &str) -> Result<Transcription, Fault> {
    let mut next = now;
    if let Some(model) = update.model.flatten().filter(|model| !model.is_empty()) {
        next.model = model;
    }
    // Which one of several languages is spoken is heard, as without any.
    let only = update.languages.flatten().filter(|languages| languages.len() == 1);
    let language = update.language.or_else(|| only.map(|mut languages| languages.pop()));
    if let Some(language) = language {
        next.language = match language.as_deref() {
            None | Some("" | "auto") => LanguageChoice::Auto,
            Some(code) => {
                let known = Lang::from_str(code).map_err(|error| invalid(format!("{at}.language"), error))?;
                LanguageChoice::Fixed(known)
            }
        };
    }
    if let Some(prompt) = update.prompt {
        next.prompt = prompt.filter(|prompt| !prompt.is_empty());
        if next.prompt.as_ref().is_some_and(|prompt| prompt.chars().count() > MAX_PROMPT) {
            return Err(invalid(format!("{at}.prompt"), format!("it has more than {MAX_PROMPT} characters")));
        }
    }
    if let Some(keywords) = update.keywords {
        next.keywords = keywords.unwrap_or_default();
        if next.keywords.len() > MAX_KEYWORDS {
            return Err(invalid(format!("{at}.keywords"), format!("there are more than {MAX_KEYWORDS}")));
        }
    }
    Ok(next)
}

fn turning(now: Turns, update: TurnsUpdate, at: &str) -> Result<Turns, Fault> {
    let semantic = matches!(now, Turns::SemanticVad(_));
    match update.kind.as_deref() {
        None if semantic => eager(update.eagerness, at),
        Some("semantic_vad") => eager(update.eagerness, at),
        None | Some("server_vad") => {
            let was = if matches!(now, Turns::ServerVad { .. }) { now } else { Turns::server_vad() };
            let Turns::ServerVad { threshold, prefix_padding_ms, silence_duration_ms } = was else { return Ok(was) };
            let within = |name: &str, value: Option<f64>, was: f64, range: std::ops::RangeInclusive<f64>| match value {
                None => Ok(was),
                Some(value) if range.contains(&value) => Ok(value),
                Some(_) => {
                    let message = format!("it is a number from {} to {}", range.start(), range.end());
                    Err(invalid(format!("{at}.{name}"), message))
                }
            };
            let threshold = within("threshold", update.threshold, threshold, 0.0..=1.0)?;
            let (prefix, silence) = (prefix_padding_ms as f64, silence_duration_ms as f64);
            let prefix = within("prefix_padding_ms", update.prefix_padding_ms, prefix, 0.0..=MAX_PREFIX_MS)?;
            let silence = within("silence_duration_ms", update.silence_duration_ms, silence, 0.0..=MAX_SILENCE_MS)?;
            let (prefix_padding_ms, silence_duration_ms) = (prefix as u64, (silence as u64).max(MIN_SILENCE_MS));
            Ok(Turns::ServerVad { threshold, prefix_padding_ms, silence_duration_ms })
        }
        Some(_) => Err(invalid(format!("{at}.type"), "it is 'server_vad', 'semantic_vad', or null for the whole")),
    }
}

fn eager(eagerness: Option<String>, at: &str) -> Result<Turns, Fault> {
    match eagerness.as_deref() {
        Some("low") => Ok(Turns::SemanticVad(Eagerness::Low)),
        None | Some("auto" | "medium") => Ok(Turns::SemanticVad(Eagerness::Auto)),
        Some("high") => Ok(Turns::SemanticVad(Eagerness::High)),
        Some(_) => Err(invalid(format!("{at}.eagerness"), "it is 'low', 'medium', 'high' or 'auto'")),
    }
}

/// `Some(None)` for null, `None` where the field is missing.
fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(serde::Deserialize)]
struct Update {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "named")]
    audio: Option<Option<AudioUpdate>>,
    #[serde(default, deserialize_with = "named")]
    include: Option<Option<Vec<String>>>,
    // The older shape. Not `flatten`: an error would no longer say where it is.
    #[serde(default, deserialize_with = "named")]
    input_audio_format: Option<Option<String>>,
    #[serde(default, deserialize_with = "named")]
    input_audio_transcription: Option<Option<TranscriptionUpdate>>,
    #[serde(default, deserialize_with = "named")]
    turn_detection: Option<Option<TurnsUpdate>>,
}

impl Update {
    fn is_flat(&self) -> bool {
        self.audio.is_none()
            && (self.input_audio_format.is_some()
                || self.input_audio_transcription.is_some()
                || self.turn_detection.is_some())
    }
}

#[derive(serde::Deserialize)]
struct AudioUpdate {
    #[serde(default, deserialize_with = "named")]
    input: Option<Option<InputUpdate>>,
}

#[derive(serde::Deserialize)]
struct InputUpdate {
    #[serde(default, deserialize_with = "named")]
    format: Option<Option<FormatUpdate>>,
    #[serde(default, deserialize_with = "named")]
    transcription: Option<Option<TranscriptionUpdate>>,
    #[serde(default, deserialize_with = "named")]
    turn_detection: Option<Option<TurnsUpdate>>,
}

#[derive(serde::Deserialize)]
struct FormatUpdate {
    #[serde(rename = "type")]
    kind: Option<String>,
    rate: Option<f64>,
}

#[derive(serde::Deserialize)]
struct TranscriptionUpdate {
    #[serde(default, deserialize_with = "named")]
    model: Option<Option<String>>,
    #[serde(default, deserialize_with = "named")]
    language: Option<Option<String>>,
    #[serde(default, deserialize_with = "named")]
    languages: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "named")]
    prompt: Option<Option<String>>,
    #[serde(default, deserialize_with = "named")]
    keywords: Option<Option<Vec<String>>>,
}

#[derive(serde::Deserialize)]
struct TurnsUpdate {
    #[serde(rename = "type")]
    kind: Option<String>,
    threshold: Option<f64>,
    prefix_padding_ms: Option<f64>,
    silence_duration_ms: Option<f64>,
    eagerness: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new("whisper-1".into())
    }

    fn updated(from: &Settings, session: Value) -> (Settings, Shape) {
        from.updated(&session, "whisper-1").expect("a valid update")
    }

    fn refused(session: Value) -> (&'static str, String) {
        let fault = settings().updated(&session, "whisper-1").expect_err("a fault");
        (fault.code, fault.param.expect("a place"))
    }

    #[test]
    fn both_shapes_say_the_same() {
        let nested = json!({"type": "transcription", "audio": {"input": {
            "format": {"type": "audio/pcmu"},
            "transcription": {"model": "gpt-4o-transcribe", "language": "de", "prompt": "Angebot"},
            "turn_detection": {"type": "server_vad", "threshold": 0.3, "prefix_padding_ms": 100, "silence_duration_ms": 900},
            "noise_reduction": {"type": "near_field"},
        }}, "include": ["item.input_audio_transcription.logprobs"]});
        let flat = json!({
            "input_audio_format": "g711_ulaw",
            "input_audio_transcription": {"model": "gpt-4o-transcribe", "language": "de", "prompt": "Angebot"},
            "turn_detection": {"type": "server_vad", "threshold": 0.3, "prefix_padding_ms": 100, "silence_duration_ms": 900},
            "input_audio_noise_reduction": {"type": "near_field"},
            "include": ["item.input_audio_transcription.logprobs"],
        });
        let ((nested, one), (flat, other)) = (updated(&settings(), nested), updated(&settings(), flat));
        assert_eq!(nested, flat);
        assert_eq!((one, other), (Shape::Nested, Shape::Flat));
        assert_eq!(flat.format, Format::Pcmu);
        assert!(flat.logprobs);
        let vad = flat.turns.vad(VadSettings::default());
        assert_eq!((vad.threshold, vad.min_silence, vad.pad), (0.3, 0.9, 0.25));
        let view = flat.view(Shape::Flat, "sess_1", 7);
        assert_eq!(view["input_audio_transcription"]["language"], "de");
        assert_eq!(view["turn_detection"]["silence_duration_ms"], 900);
        assert_eq!(flat.view(Shape::Nested, "sess_1", 7)["audio"]["input"]["format"], json!({"type": "audio/pcmu"}));
    }

    #[test]
    fn what_an_update_does_not_name_stays_and_null_turns_off() {
        let (first, _) = updated(
            &settings(),
            json!({"audio": {"input": {
                "transcription": {"model": "base", "language": "fr", "keywords": ["Łódź"]},
                "turn_detection": {"type": "server_vad", "threshold": 0.8},
            }}}),
        );
        let (next, _) = updated(
            &first,
            json!({"audio": {"input": {
                "transcription": {"prompt": "x", "language": null},
                "turn_detection": {"silence_duration_ms": 700},
            }}}),
        );
        let transcription = next.transcription.clone().expect("on");
        assert_eq!((transcription.model.as_str(), transcription.language), ("base", LanguageChoice::Auto));
        assert_eq!((transcription.prompt.as_deref(), transcription.keywords), (Some("x"), vec!["Łódź".to_owned()]));
        let kept = Turns::ServerVad { threshold: 0.8, prefix_padding_ms: 300, silence_duration_ms: 700 };
        assert_eq!(next.turns, kept);
        let (off, shape) = updated(&next, json!({"turn_detection": null, "input_audio_transcription": null}));
        assert_eq!((off.turns, off.transcription.clone(), shape), (Turns::Manual, None, Shape::Flat));
        assert_eq!(off.view(shape, "s", 0)["turn_detection"], Value::Null);
        let (on, _) = updated(&off, json!({"audio": {"input": {"transcription": {}}}}));
        assert_eq!(on.transcription.expect("on").model, "whisper-1");
        assert_eq!(updated(&next, json!({})).0, next);
    }

    #[test]
    fn other_rates_and_semantic_vad() {
        let (set, _) = updated(
            &settings(),
            json!({"audio": {"input": {
                "format": {"type": "audio/pcm", "rate": 16000}, "turn_detection": {"type": "semantic_vad", "eagerness": "low"},
            }}}),
        );
        assert_eq!(set.format, Format::Pcm { rate: 16_000 });
        assert_eq!(set.turns.vad(VadSettings::default()).min_silence, 2.0);
        let long = Turns::ServerVad { threshold: 0.5, prefix_padding_ms: 900, silence_duration_ms: 500 };
        assert_eq!(long.vad(VadSettings::default()).pad, 0.9);
        assert_eq!(Turns::Manual.vad(VadSettings::default()), VadSettings::default());
        let (quick, _) = updated(&settings(), json!({"turn_detection": {"silence_duration_ms": 0}}));
        assert_eq!(quick.turns.silence_ms(), 100, "no shorter than that, and the view says so");
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        let input = |what: Value| json!({"audio": {"input": what}});
        let at = |name: &str| format!("session.audio.input.{name}");
        let vad = |what: Value| refused(input(json!({"turn_detection": what})));
        assert_eq!(refused(json!(3)), ("invalid_type", "session".into()));
        assert_eq!(refused(json!({"type": "realtime"})), ("invalid_value", "session.type".into()));
        assert_eq!(refused(json!({"audio": {"input": 5}})), ("invalid_type", at("x").replace(".x", "")));
        assert_eq!(refused(input(json!({"format": {"type": "audio/opus"}}))), ("invalid_value", at("format.type")));
        assert_eq!(refused(input(json!({"format": {"rate": 192_000}}))), ("invalid_value", at("format.rate")));
        assert_eq!(refused(input(json!({"format": {"rate": 0}}))).0, "invalid_value");
        assert_eq!(refused(input(json!({"format": {"type": "audio/pcma", "rate": 16000}}))).0, "invalid_value");
        let language = refused(input(json!({"transcription": {"language": "klingon"}})));
        assert_eq!(language, ("invalid_value", at("transcription.language")));
        assert_eq!(vad(json!({"threshold": 1.5})), ("invalid_value", at("turn_detection.threshold")));
        assert_eq!(vad(json!({"threshold": "high"})), ("invalid_type", at("turn_detection.threshold")));
        assert_eq!(
            vad(json!({"silence_duration_ms": -1})),
            ("invalid_value", at("turn_detection.silence_duration_ms"))
        );
        assert_eq!(vad(json!({"type": "psychic_vad"})), ("invalid_value", at("turn_detection.type")));
        assert_eq!(
            refused(json!({"input_audio_format": "mp3"})),
            ("invalid_value", "session.input_audio_format".into())
        );
    }
}
