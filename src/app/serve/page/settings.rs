//! What the page must know about this service before it can offer choices.

use crate::app::serve::error::ApiError;
use crate::app::serve::state::Service;
use crate::language::Lang;
use crate::outcome::{Route, Style};
use crate::output::Format;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// Body of `/page/settings.json`.
#[derive(Debug, Serialize)]
pub(super) struct Settings {
    /// What happens where a request does not say.
    defaults: Defaults,
    /// Every language of Whisper.
    languages: Vec<Language>,
    /// Formats that a result can be fetched in.
    formats: Vec<FileFormat>,
    /// Largest upload, bytes.
    max_upload_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Defaults {
    /// Code, or `auto`.
    language: String,
    style: Style,
    translate_to: Option<Lang>,
    route: Route,
    word_times: bool,
    /// Name of the speech model; never where its file is.
    model: String,
}

#[derive(Debug, Serialize)]
struct Language {
    code: &'static str,
    /// English, with a capital.
    name: String,
}

#[derive(Debug, Serialize)]
struct FileFormat {
    name: &'static str,
    /// Without the dot.
    extension: &'static str,
}

/// The configured defaults and the closed sets of the page's menus.
pub(super) async fn settings(State(service): State<Arc<Service>>) -> Result<Json<Settings>, ApiError> {
    let plan = crate::app::session::plan(&service.config)?;
    let defaults = Defaults {
        language: plan.language.to_string(),
        style: plan.clean,
        translate_to: plan.translate,
        route: plan.route,
        word_times: plan.word_times,
        model: name_of(&service.config.speech.model),
    };
    let languages = Lang::all().map(|language| Language { code: language.code(), name: language.title() }).collect();
    let formats = Format::ALL.into_iter().filter(|format| *format != Format::Terminal);
    let formats = formats.map(|format| FileFormat { name: format.name(), extension: format.extension() }).collect();
    let max_upload_bytes = service.config.serve.max_upload_bytes;
    Ok(Json(Settings { defaults, languages, formats, max_upload_bytes }))
}

/// A model's name, or the name of its file where the configuration has a path.
fn name_of(model: &str) -> String {
    Path::new(model).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
