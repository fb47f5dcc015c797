//! What a request asks of the pipeline: flat form fields, or one field `plan` with the same names as JSON, over the
//! configuration's defaults. One table of names serves uploads, texts and jobs.

use super::error::ApiError;
use super::form::{Form, is_given};
use super::openai::select;
use crate::app::session;
use crate::config::Config;
use crate::error::Error;
use crate::language::{Lang, LanguageChoice};
use crate::outcome::{Plan, Route, RouteChoice, Style, Task};
use crate::output::{Format, TextChoice};
use axum::http::HeaderMap;
use clap::ValueEnum;
use serde::Deserialize;
use utoipa::ToSchema;

/// Most names and terms of one request. Whisper's prompt holds about 110 tokens of them; the rest corrects near misses.
const MAX_VOCABULARY: usize = 1000;
/// Longest text before a recording, characters. Whisper hears its last 224 tokens.
const MAX_PROMPT: usize = 20_000;

/// Longest name of a conversation, characters.
const MAX_CONVERSATION: usize = 128;

/// The form with the conversation of the header `X-Conversation-Id`; a field wins.
pub(super) fn with_header(mut form: Form, headers: &HeaderMap) -> Form {
    if let Some(name) = headers.get("x-conversation-id").and_then(|value| value.to_str().ok()) {
        form.0.insert(0, ("conversation".to_owned(), name.to_owned()));
    }
    form
}

/// What may be asked of the pipeline. Everything has a default: the configuration's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PlanFields {
    /// How far cleanup may go: `verbatim`, `punctuate`, `tidy` or `rewrite`.
    #[schema(value_type = Option<Style>)]
    pub cleanup: Option<String>,
    /// Another name of `cleanup`.
    #[schema(value_type = Option<Style>)]
    pub style: Option<String>,
    /// Language to translate to, a code or an English name; `none`: no translation.
    #[schema(example = "de")]
    pub to: Option<String>,
    /// Another name of `to`.
    #[schema(example = "de")]
    pub translate_to: Option<String>,
    /// What happens with the text: `text`, `intent` (decided only), `auto` (the intent decides), `agent`, or the name of
    /// a route, such as `agent/calendar`, that is taken whatever is said.
    #[schema(example = "auto")]
    pub route: Option<String>,
    /// A route that is likely, by its name; weaker than `route`.
    #[schema(example = "note")]
    pub hint: Option<String>,
    /// Language spoken, a code or an English name; `auto`: heard.
    #[schema(example = "en")]
    pub language: Option<String>,
    /// Whisper's own task: text in the language spoken, or in English.
    #[schema(value_type = Option<SpeechTask>)]
    pub task: Option<String>,
    /// Text before the recording, for Whisper: names, spelling, style.
    #[schema(max_length = 20000)]
    pub prompt: Option<String>,
    /// Names and jargon.
    #[schema(max_items = 1000)]
    pub vocabulary: Vec<String>,
    /// Another name of `vocabulary`.
    #[schema(max_items = 1000)]
    pub keywords: Vec<String>,
    /// Times for every word.
    pub word_times: Option<bool>,
    /// Speech model: a name of `/v1/models`.
    #[schema(example = "default")]
    pub model: Option<String>,
    /// Temperature of Whisper's first attempt; 0 is greedy.
    #[schema(minimum = 0, maximum = 1)]
    pub temperature: Option<f64>,
    /// Conversation that the answer goes on with: a name of the client's choice. Also the header `X-Conversation-Id`.
    #[schema(max_length = 128)]
    pub conversation: Option<String>,
    /// What the answer is written as; `json` by default.
    #[schema(value_type = Option<FormatName>)]
    pub format: Option<String>,
    /// Which text the formats other than JSON carry; the best there is by default.
    #[schema(value_type = Option<TextName>)]
    pub text_choice: Option<String>,
}

/// What Whisper makes of speech.
#[derive(Clone, Copy, ToSchema, ValueEnum)]
#[schema(rename_all = "lowercase")]
pub(super) enum SpeechTask {
    Transcribe,
    Translate,
}

/// Formats of an answer.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes output::Format in the OpenAPI document")]
pub(super) enum FormatName {
    Json,
    Jsonl,
    Text,
    Srt,
    Vtt,
    Tsv,
    Csv,
    Lrc,
    Md,
}

/// Texts of an outcome.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes output::TextChoice in the OpenAPI document")]
pub(super) enum TextName {
    Best,
    Raw,
    Cleaned,
    Translated,
}

/// The plan of a request. Fields beside `plan` win over the same ones in it.
///
/// # Errors
/// 400 that names the field, for a value nobody knows. The model is not looked up here: see [`with_model`].
pub(super) fn plan_from(form: &Form, config: &Config) -> Result<Plan, ApiError> {
    let form = &flattened(form)?;
    let mut plan = session::plan(config)?;
    if let Some((name, value)) = either(form, ["cleanup", "style"]) {
        plan.clean = choice::<Style>(name, value)?;
    }
    if let Some((name, value)) = either(form, ["to", "translate_to"]) {
        let none = value.trim().eq_ignore_ascii_case("none");
        plan.translate = if none { None } else { Some(language(name, value)?) };
    }
    if let Some(value) = form.one("route") {
        (plan.route, plan.force) = match value.parse().map_err(|why: String| ApiError::bad_field("route", why))? {
            RouteChoice::Kind(kind) => (kind, None),
            RouteChoice::Named(name) => (Route::Auto, route("route", &name, config)?),
        };
    }
    if let Some(value) = form.one("hint") {
        plan.hint = route("hint", value, config)?;
    }
    if let Some(value) = form.one("task") {
        plan.task = match choice("task", value)? {
            SpeechTask::Transcribe => Task::Transcribe,
            SpeechTask::Translate => Task::TranslateToEnglish,
        };
    }
    if let Some(name) = form.one("conversation") {
        if name.chars().count() > MAX_CONVERSATION {
            let message = format!("conversation has more than {MAX_CONVERSATION} characters");
            return Err(ApiError::bad_field("conversation", message));
        }
        plan.conversation = Some(name.to_owned());
    }
    speech_fields(form, &mut plan)?;
    if form.one("word_times").is_some() {
        plan.word_times = form.flag("word_times")?;
    }
    Ok(plan)
}

/// The path of the route that a field names.
fn route(field: &str, name: &str, config: &Config) -> Result<Option<String>, ApiError> {
    session::named_route(config, name).map_err(|error| match error {
        Error::Usage(reason) if field == "route" => {
            ApiError::bad_field(field, format!("{reason}, or text, intent, auto, agent"))
        }
        Error::Usage(reason) => ApiError::bad_field(field, reason),
        // The route file has gone since the service began.
        other => other.into(),
    })
}

/// The plan with its model looked up, so that a name nobody knows is told before any work.
///
/// # Errors
/// 404 that names the field.
pub(super) async fn with_model(mut plan: Plan, config: &Config) -> Result<Plan, ApiError> {
    if let Some(asked) = plan.model.take() {
        plan.model = select(config, &asked).await?;
    }
    Ok(plan)
}

/// The fields that every endpoint with audio has: language, prompt, vocabulary, model, temperature.
pub(super) fn speech_fields(form: &Form, plan: &mut Plan) -> Result<(), ApiError> {
    if let Some(value) = form.one("language") {
        plan.language = value.parse().map_err(|error| ApiError::bad_field("language", format!("language: {error}")))?;
    }
    if let Some(prompt) = form.one("prompt") {
        if prompt.chars().count() > MAX_PROMPT {
            return Err(ApiError::bad_field("prompt", format!("prompt has more than {MAX_PROMPT} characters")));
        }
        plan.prompt = Some(prompt.to_owned());
    }
    for term in form.all("vocabulary").flat_map(|list| list.split([',', '\n'])).chain(form.all("keywords")) {
        let term = term.trim();
        if !term.is_empty() && !plan.vocabulary.iter().any(|known| known == term) {
            plan.vocabulary.push(term.to_owned());
        }
    }
    if plan.vocabulary.len() > MAX_VOCABULARY {
        return Err(ApiError::bad_field("keywords", format!("more than {MAX_VOCABULARY} names and terms")));
    }
    plan.model = form.one("model").map(ToOwned::to_owned).or(plan.model.take());
    let no_number = |_| ApiError::bad_field("temperature", "temperature is a number from 0 to 1");
    if let Some(temperature) = form.parse::<f32>("temperature").map_err(no_number)? {
        if !(0.0..=1.0).contains(&temperature) {
            return Err(ApiError::bad_field("temperature", format!("temperature is 0 to 1, not {temperature}")));
        }
        plan.temperature = temperature;
    }
    Ok(())
}

/// The language of a field.
pub(super) fn language(name: &str, value: &str) -> Result<Lang, ApiError> {
    value.parse().map_err(|error| ApiError::bad_field(name, format!("{name}: {error}")))
}

/// What the answer is written as (JSON by default), and which text it carries.
///
/// # Errors
/// 400 that names the field.
pub(super) fn format_from(form: &Form) -> Result<(Format, TextChoice), ApiError> {
    let form = &flattened(form)?;
    let format = match form.one("format") {
        None => Format::Json,
        Some(value) => match value.parse() {
            // The view for a terminal is laid out for one; nobody has one here.
            Ok(Format::Terminal) | Err(_) => {
                let known = "json, jsonl, text, srt, vtt, tsv, csv, lrc, md";
                return Err(ApiError::bad_field("format", format!("format is one of {known}, not '{value}'")));
            }
            Ok(format) => format,
        },
    };
    Ok((format, form.one("text_choice").map_or(Ok(TextChoice::Best), |value| choice("text_choice", value))?))
}

impl PlanFields {
    /// The same as form fields.
    pub fn into_form(self) -> Form {
        let mut form = Vec::new();
        let texts = [
            ("cleanup", self.cleanup),
            ("style", self.style),
            ("to", self.to),
            ("translate_to", self.translate_to),
            ("route", self.route),
            ("hint", self.hint),
            ("language", self.language),
            ("task", self.task),
            ("prompt", self.prompt),
            ("word_times", self.word_times.map(|value| value.to_string())),
            ("model", self.model),
            ("temperature", self.temperature.map(|value| value.to_string())),
            ("conversation", self.conversation),
            ("format", self.format),
            ("text_choice", self.text_choice),
        ];
        form.extend(texts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        // Entries of a list stand for themselves: no commas are looked for in them.
        form.extend(self.vocabulary.into_iter().chain(self.keywords).map(|term| ("keywords[]".to_owned(), term)));
        Form(form)
    }
}

/// The form with what its field `plan` holds put before the rest, where later values win.
fn flattened(form: &Form) -> Result<Form, ApiError> {
    let Some(plan) = form.one("plan") else { return Ok(form.clone()) };
    let bad = |why: String| ApiError::bad_field("plan", format!("plan is not what it should be: {why}"));
    let json = &mut serde_json::Deserializer::from_str(plan);
    let fields: PlanFields = serde_path_to_error::deserialize(json).map_err(|error| bad(error.to_string()))?;
    let mut all = fields.into_form();
    all.0.extend(form.0.iter().filter(|(name, _)| name != "plan").cloned());
    Ok(all)
}

/// The last value under either name, with the name it came under.
fn either<'a>(form: &'a Form, names: [&'static str; 2]) -> Option<(&'static str, &'a str)> {
    let found = form.0.iter().rev().find(|(field, value)| names.contains(&field.as_str()) && is_given(value));
    found.and_then(|(field, value)| Some((names.into_iter().find(|name| name == field)?, value.as_str())))
}

/// One of a closed set, by the name that the command line has for it.
pub(super) fn choice<T: ValueEnum>(name: &str, value: &str) -> Result<T, ApiError> {
    T::from_str(value.trim(), true).map_err(|_| {
        let known: Vec<String> = T::value_variants()
            .iter()
            .filter_map(|variant| Some(variant.to_possible_value()?.get_name().to_owned()))
            .collect();
        ApiError::bad_field(name, format!("{name} is one of {}, not '{value}'", known.join(", ")))
    })
}

/// The language a text is in, where the plan leaves it open.
pub(super) fn fixed(choice: LanguageChoice) -> Option<Lang> {
    match choice {
        LanguageChoice::Fixed(lang) => Some(lang),
        LanguageChoice::Auto => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> Form {
        Form(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    fn plan(fields: &[(&str, &str)]) -> Result<Plan, ApiError> {
        plan_from(&form(fields), &Config::default())
    }

    #[test]
    fn without_fields_the_plan_is_the_configurations() {
        assert_eq!(plan(&[]).unwrap(), session::plan(&Config::default()).unwrap());
    }

    #[test]
    fn flat_fields_and_the_json_field_say_the_same() {
        let flat = plan(&[
            ("cleanup", "tidy"),
            ("to", "German"),
            ("route", "text"),
            ("language", "en"),
            ("task", "translate"),
            ("prompt", "Names."),
            ("keywords[]", "Doe, Jane"),
            ("keywords[]", "BestBox"),
            ("word_times", "true"),
            ("model", "tiny"),
            ("temperature", "0.5"),
        ]);
        let json = plan(&[(
            "plan",
            r#"{"style":"tidy","translate_to":"de","route":"text","language":"english","task":"translate","prompt":"Names.",
            "vocabulary":["Doe, Jane","BestBox"],"word_times":true,"model":"tiny","temperature":0.5}"#,
        )]);
        let expected = Plan {
            language: LanguageChoice::Fixed(Lang::ENGLISH),
            task: Task::TranslateToEnglish,
            word_times: true,
            clean: Style::Tidy,
            translate: "de".parse().ok(),
            route: Route::Text,
            prompt: Some("Names.".into()),
            vocabulary: vec!["Doe, Jane".into(), "BestBox".into()],
            model: Some("tiny".into()),
            temperature: 0.5,
            ..Plan::default()
        };
        assert_eq!(flat.unwrap(), expected);
        assert_eq!(json.unwrap(), expected);
        let both = plan(&[("cleanup", "verbatim"), ("plan", r#"{"cleanup":"tidy"}"#)]).unwrap();
        assert_eq!(both.clean, Style::Verbatim, "a field beside the JSON wins, wherever it stands");
        assert_eq!(plan(&[("vocabulary", "one, two\nthree")]).unwrap().vocabulary, ["one", "two", "three"]);
    }

    #[test]
    fn a_route_is_forced_or_hinted_by_its_name() {
        let forced = plan(&[("route", "quick"), ("hint", "agent"), ("conversation", "kitchen")]).unwrap();
        assert_eq!((forced.route, forced.force.as_deref()), (Route::Auto, Some("quick")));
        assert_eq!((forced.hint.as_deref(), forced.conversation.as_deref()), (Some("agent"), Some("kitchen")));
        let json = plan(&[("plan", r#"{"route":"quick","hint":"agent","conversation":"kitchen"}"#)]).unwrap();
        assert_eq!(json, forced);
        for (field, value) in [("route", "home"), ("hint", "home"), ("hint", "text")] {
            let error = plan(&[(field, value)]).expect_err(field);
            assert!(error.status.as_u16() == 400 && error.message.contains("note, quick, agent"), "{}", error.message);
        }
        let long = "x".repeat(129);
        assert_eq!(plan(&[("conversation", &long)]).unwrap_err().param.as_deref(), Some("conversation"));
        let mut headers = HeaderMap::new();
        headers.insert("x-conversation-id", "hall".parse().unwrap());
        assert_eq!(with_header(form(&[]), &headers).one("conversation"), Some("hall"));
        assert_eq!(with_header(form(&[("conversation", "den")]), &headers).one("conversation"), Some("den"));
    }

    #[test]
    fn what_nobody_knows_is_named() {
        let cases: [(&str, &str, &str); 10] = [
            ("task", "summarise", "task"),
            ("cleanup", "sparkling", "cleanup"),
            ("style", "sparkling", "style"),
            ("to", "klingon", "to"),
            ("route", "home", "route"),
            ("language", "xx", "language"),
            ("temperature", "2", "temperature"),
            ("temperature", "NaN", "temperature"),
            ("word_times", "perhaps", "word_times"),
            ("plan", r#"{"clenup":"tidy"}"#, "plan"),
        ];
        for (name, value, param) in cases {
            let error = plan(&[(name, value)]).expect_err(name);
            assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(param)), "{name}={value}");
        }
        assert!(plan(&[("plan", "{")]).is_err() && plan(&[("plan", r#"{"to":5}"#)]).is_err());
        assert_eq!(format_from(&form(&[("format", "terminal")])).unwrap_err().param.as_deref(), Some("format"));
        assert_eq!(format_from(&form(&[("plan", r#"{"format":"srt"}"#)])).unwrap().0, Format::Srt);
    }
}
