//! The fields of OpenAI's audio endpoints, checked, as a plan.

use crate::app::serve::error::ApiError;
use crate::app::serve::form::Form;
use crate::app::serve::plan::{self, fixed, speech_fields};
use crate::app::session;
use crate::config::Config;
use crate::language::LanguageChoice;
use crate::outcome::{Cutting, Plan, Route, Style, Task};
use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::ToSchema;

/// What is wanted, apart from the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    /// Raw text: no language model has a hand in it.
    pub plan: Plan,
    /// Name of the model as the client gave it.
    pub model: String,
    pub body: Body,
    pub delivery: Delivery,
}

/// What the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Json(Logprobs),
    Verbose(Granularities),
    Text,
    Srt,
    Vtt,
}

/// Whether the tokens' probabilities are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logprobs {
    Leave,
    Include,
}

/// Whether text is sent while it is being recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    AtOnce,
    Stream,
}

/// Which times `verbose_json` carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granularities {
    Segments,
    Words,
    Both,
}

/// The form of `POST /v1/audio/transcriptions`. Fields that are not in here are ignored.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form in the OpenAPI document")]
pub(super) struct TranscriptionForm {
    /// The recording: WAV, MP3, FLAC, OGG, Opus, M4A, MP4, WebM, AIFF, CAF and others, told by its content.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// A name of `/v1/models`.
    #[schema(example = "whisper-1")]
    model: String,
    /// Language spoken: ISO 639-1 code or English name. Heard when absent.
    #[schema(example = "en")]
    language: Option<String>,
    /// Possible languages. One is taken as `language`; among several the recording decides.
    #[schema(rename = "languages[]", example = json!(["en"]))]
    languages: Option<Vec<String>>,
    /// Text before the recording: names, spelling, style.
    #[schema(max_length = 20000)]
    prompt: Option<String>,
    /// Names and jargon.
    #[schema(rename = "keywords[]", max_items = 1000)]
    keywords: Option<Vec<String>>,
    /// What the answer is.
    response_format: Option<ResponseFormat>,
    /// Temperature of the first attempt; 0 is greedy.
    #[schema(minimum = 0, maximum = 1)]
    temperature: Option<f32>,
    /// With `verbose_json` only.
    #[schema(rename = "timestamp_granularities[]")]
    timestamp_granularities: Option<Vec<Granularity>>,
    /// Server-sent events while text is recognised, for `json` and `text`.
    stream: Option<bool>,
    /// With `json` only.
    #[schema(rename = "include[]")]
    include: Option<Vec<Include>>,
    /// `auto`, or a JSON object with `type` `server_vad` and its settings (also as `chunking_strategy[type]` and so on).
    #[schema(example = "auto")]
    chunking_strategy: Option<String>,
}

/// The form of `POST /v1/audio/translations`. Fields that are not in here are ignored.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form in the OpenAPI document")]
pub(super) struct TranslationForm {
    /// The recording, in any language.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// A name of `/v1/models`.
    #[schema(example = "whisper-1")]
    model: String,
    /// English text before the recording: names, spelling, style.
    #[schema(max_length = 20000)]
    prompt: Option<String>,
    /// What the answer is.
    response_format: Option<ResponseFormat>,
    /// Temperature of the first attempt; 0 is greedy.
    #[schema(minimum = 0, maximum = 1)]
    temperature: Option<f32>,
}

/// OpenAI's formats, without the diarized one.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes the form in the OpenAPI document")]
pub(super) enum ResponseFormat {
    Json,
    Text,
    Srt,
    VerboseJson,
    Vtt,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes the form in the OpenAPI document")]
pub(super) enum Granularity {
    Word,
    Segment,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes the form in the OpenAPI document")]
pub(super) enum Include {
    Logprobs,
}

/// Reads the form of an audio endpoint.
///
/// # Errors
/// 400 that names the field.
pub(super) fn asked(form: &Form, task: Task, config: &Config) -> Result<Asked, ApiError> {
    let model = form.one("model").ok_or_else(|| ApiError::bad_field("model", "you must provide a model parameter"))?;
    let mut plan = Plan { task, clean: Style::Verbatim, route: Route::Text, translate: None, ..session::plan(config)? };
    let body = match form.one("response_format") {
        None | Some("json") => Body::Json(Logprobs::Leave),
        Some("text") => Body::Text,
        Some("srt") => Body::Srt,
        Some("vtt") => Body::Vtt,
        Some("verbose_json") => Body::Verbose(Granularities::Segments),
        Some("diarized_json") => {
            let message = "response_format diarized_json is not supported: speakers are not told apart here; use json, text, srt, vtt or verbose_json";
            return Err(ApiError::bad_field("response_format", message).code("unsupported_value"));
        }
        Some(other) => {
            let message = format!("response_format is one of json, text, srt, verbose_json, vtt, not '{other}'");
            return Err(ApiError::bad_field("response_format", message).code("invalid_value"));
        }
    };
    if task == Task::TranslateToEnglish {
        let known = |name: &str| matches!(name, "prompt" | "temperature");
        let own = Form(form.0.iter().filter(|(name, _)| known(name)).cloned().collect());
        speech_fields(&own, &mut plan)?;
        return Ok(Asked { plan, model: model.to_owned(), body, delivery: Delivery::AtOnce });
    }
    // `model` is resolved by its own rules, and `vocabulary` is no field of OpenAI's.
    let own = Form(form.0.iter().filter(|(name, _)| name != "model" && name != "vocabulary").cloned().collect());
    speech_fields(&own, &mut plan)?;
    plan.model = None;
    languages(form, &mut plan)?;
    let body = includes(form, granularities(form, body)?)?;
    plan.word_times = matches!(body, Body::Verbose(Granularities::Words | Granularities::Both));
    plan.token_logprobs = body == Body::Json(Logprobs::Include);
    plan.cutting = chunking(form)?;
    let delivery = if form.flag("stream")? { Delivery::Stream } else { Delivery::AtOnce };
    if delivery == Delivery::Stream && !matches!(body, Body::Json(_) | Body::Text) {
        return Err(ApiError::bad_field("stream", "stream needs response_format json or text"));
    }
    Ok(Asked { plan, model: model.to_owned(), body, delivery })
}

fn languages(form: &Form, plan: &mut Plan) -> Result<(), ApiError> {
    let possible =
        form.all("languages").map(|value| plan::language("languages", value)).collect::<Result<Vec<_>, _>>()?;
    if form.one("language").is_none() {
        plan.language = match possible.as_slice() {
            [] => plan.language,
            [one] => LanguageChoice::Fixed(*one),
            // Heard, unless it is configured and among them.
            several => match fixed(plan.language) {
                Some(configured) if several.contains(&configured) => plan.language,
                _ => LanguageChoice::Auto,
            },
        };
    }
    Ok(())
}

fn granularities(form: &Form, body: Body) -> Result<Body, ApiError> {
    let (mut words, mut segments) = (false, false);
    for value in form.all("timestamp_granularities") {
        match value {
            "word" => words = true,
            "segment" => segments = true,
            other => {
                let message = format!("timestamp_granularities are word and segment, not '{other}'");
                return Err(ApiError::bad_field("timestamp_granularities", message).code("invalid_value"));
            }
        }
    }
    match (body, words, segments) {
        (_, false, false) => Ok(body),
        (Body::Verbose(_), true, true) => Ok(Body::Verbose(Granularities::Both)),
        (Body::Verbose(_), true, false) => Ok(Body::Verbose(Granularities::Words)),
        (Body::Verbose(_), false, true) => Ok(Body::Verbose(Granularities::Segments)),
        _ => {
            let message = "timestamp_granularities need response_format verbose_json";
            Err(ApiError::bad_field("timestamp_granularities", message))
        }
    }
}

fn includes(form: &Form, body: Body) -> Result<Body, ApiError> {
    let mut wanted = form.all("include").peekable();
    if wanted.peek().is_none() {
        return Ok(body);
    }
    if let Some(other) = wanted.find(|value| *value != "logprobs") {
        let message = format!("include knows only logprobs, not '{other}'");
        return Err(ApiError::bad_field("include", message).code("invalid_value"));
    }
    match body {
        Body::Json(_) => Ok(Body::Json(Logprobs::Include)),
        _ => Err(ApiError::bad_field("include", "logprobs need response_format json")),
    }
}

/// OpenAI's settings of voice detection.
#[derive(Debug, Default, Deserialize)]
struct ServerVad {
    #[serde(rename = "type")]
    kind: String,
    threshold: Option<f64>,
    silence_duration_ms: Option<f64>,
    prefix_padding_ms: Option<f64>,
    #[serde(flatten)]
    _others: std::collections::BTreeMap<String, IgnoredAny>,
}

/// Recordings are always cut where the speaker pauses, so `auto` asks for what is done anyway. Numbers are taken over:
/// both detectors score frames from 0 to 1.
fn chunking(form: &Form) -> Result<Cutting, ApiError> {
    const FIELD: &str = "chunking_strategy";
    let bad = |why: String| ApiError::bad_field(FIELD, format!("{FIELD}: {why}"));
    let part = |name: &str| form.one(&format!("{FIELD}[{name}]"));
    let number = |name: &'static str| {
        part(name).map(|value| value.parse().map_err(|_| bad(format!("{name} is no number: '{value}'")))).transpose()
    };
    let bracketed = form.0.iter().any(|(name, _)| name.starts_with("chunking_strategy["));
    let vad = match form.one(FIELD) {
        Some("auto") => return Ok(Cutting::default()),
        Some(json) => serde_json::from_str::<ServerVad>(json)
            .map_err(|error| bad(format!("it is 'auto' or a JSON object of type server_vad: {error}")))?,
        None if bracketed => ServerVad {
            kind: part("type").unwrap_or_default().to_owned(),
            threshold: number("threshold")?,
            silence_duration_ms: number("silence_duration_ms")?,
            prefix_padding_ms: number("prefix_padding_ms")?,
            ..ServerVad::default()
        },
        None => return Ok(Cutting::default()),
    };
    if vad.kind != "server_vad" {
        return Err(bad(format!("its type is server_vad, not '{}'", vad.kind)));
    }
    if vad.threshold.is_some_and(|threshold| !(0.0..=1.0).contains(&threshold)) {
        return Err(bad("threshold is 0 to 1".into()));
    }
    for (name, value) in
        [("silence_duration_ms", vad.silence_duration_ms), ("prefix_padding_ms", vad.prefix_padding_ms)]
    {
        if value.is_some_and(|ms| !(0.0..=60_000.0).contains(&ms)) {
            return Err(bad(format!("{name} is 0 to 60000 milliseconds")));
        }
    }
    let seconds = |ms: Option<f64>| ms.map(|ms| ms / 1000.0);
    Ok(Cutting {
        threshold: vad.threshold.map(|threshold| threshold as f32),
        pause: seconds(vad.silence_duration_ms),
        pad: seconds(vad.prefix_padding_ms),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::Lang;

    fn read(fields: &[(&str, &str)]) -> Result<Asked, ApiError> {
        let model = [("model", "whisper-1")];
        let fields = model.iter().chain(fields).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        asked(&Form(fields.collect()), Task::Transcribe, &Config::default())
    }

    #[test]
    fn no_language_model_has_a_hand_in_it() {
        let mut config = Config::default();
        (config.cleanup.style, config.translation.to) = (Style::Rewrite, "de".into());
        let form = Form(vec![("model".into(), "whisper-1".into()), ("cleanup".into(), "rewrite".into())]);
        let plan = asked(&form, Task::Transcribe, &config).unwrap().plan;
        assert_eq!((plan.clean, plan.route, plan.translate), (Style::Verbatim, Route::Text, None));
    }

    #[test]
    fn times_and_probabilities_only_where_openai_has_them() {
        let verbose = ("response_format", "verbose_json");
        let body = |fields: &[(&str, &str)]| read(fields).map(|asked| (asked.body, asked.plan.word_times)).ok();
        let word = ("timestamp_granularities[]", "word");
        assert_eq!(body(&[verbose]), Some((Body::Verbose(Granularities::Segments), false)));
        assert_eq!(body(&[word, verbose]), Some((Body::Verbose(Granularities::Words), true)));
        let both = [word, verbose, ("timestamp_granularities[]", "segment")];
        assert_eq!(body(&both), Some((Body::Verbose(Granularities::Both), true)));
        assert_eq!(body(&[word]), None);
        assert!(read(&[("include[]", "logprobs")]).unwrap().plan.token_logprobs);
        assert_eq!(body(&[("include[]", "logprobs"), verbose]), None);
    }

    #[test]
    fn several_languages_leave_the_choice_to_the_recording() {
        let language = |fields: &[(&str, &str)]| read(fields).unwrap().plan.language;
        let (de, fr) = (("languages[]", "de"), ("languages[]", "french"));
        assert_eq!(language(&[de]), LanguageChoice::Fixed("de".parse().unwrap()));
        assert_eq!(language(&[de, fr]), LanguageChoice::Auto);
        assert_eq!(language(&[("language", "en"), de, fr]), LanguageChoice::Fixed(Lang::ENGLISH));
    }

    #[test]
    fn chunking_as_json_and_in_brackets() {
        let json = r#"{"type":"server_vad","threshold":0.4,"silence_duration_ms":500,"new":[1]}"#;
        let bracketed = [
            ("chunking_strategy[type]", "server_vad"),
            ("chunking_strategy[threshold]", "0.4"),
            ("chunking_strategy[silence_duration_ms]", "500"),
        ];
        let expected = Cutting { threshold: Some(0.4), pause: Some(0.5), pad: None };
        assert_eq!(read(&[("chunking_strategy", json)]).unwrap().plan.cutting, expected);
        assert_eq!(read(&bracketed).unwrap().plan.cutting, expected);
        assert_eq!(read(&[("chunking_strategy", "auto")]).unwrap().plan.cutting, Cutting::default());
        for bad in ["none", "{}", r#"{"type":"x"}"#, r#"{"type":"server_vad","threshold":1.5}"#] {
            let error = read(&[("chunking_strategy", bad)]).expect_err(bad);
            assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some("chunking_strategy")));
        }
    }

    #[test]
    fn what_nobody_knows_is_named() {
        let cases = [
            ("response_format", "diarized_json", "response_format"),
            ("response_format", "xml", "response_format"),
            ("temperature", "1.5", "temperature"),
            ("language", "klingon", "language"),
            ("languages[]", "klingon", "languages"),
            ("timestamp_granularities[]", "syllable", "timestamp_granularities"),
            ("include[]", "everything", "include"),
            ("stream", "perhaps", "stream"),
        ];
        for (name, value, param) in cases {
            let error = read(&[(name, value)]).expect_err(name);
            assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(param)), "{name}={value}");
        }
        assert_eq!(
            read(&[("stream", "true"), ("response_format", "srt")]).unwrap_err().param.as_deref(),
            Some("stream")
        );
        assert!(read(&[("known_speaker_names[]", "Ann"), ("colour", "blue")]).is_ok(), "unknown fields are ignored");
    }
}
