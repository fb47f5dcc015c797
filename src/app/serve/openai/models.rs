//! Names of models: OpenAI's own are aliases of the configured one, ours select what is installed.

use crate::app::serve::error::ApiError;
use crate::app::serve::problems::Problems;
use crate::app::serve::state::Service;
use crate::config::Config;
use crate::error::Error;
use crate::models::{self, Role, Store, catalog};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use utoipa::ToSchema;

/// Names that mean the configured model: what OpenAI's clients ask for, and `default`.
pub(in crate::app::serve) const ALIASES: [&str; 7] = [
    "default",
    "whisper-1",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
    // Without its speakers: `diarized_json` is refused.
    "gpt-4o-transcribe-diarize",
    "gpt-transcribe",
];

/// A model as OpenAI lists it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct ModelObject {
    /// Name to put into `model`.
    #[schema(example = "whisper-1")]
    id: String,
    /// Always `model`.
    object: ModelKind,
    /// When its file was made, seconds since 1970.
    created: u64,
    /// Always `bestbox`.
    owned_by: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ModelKind {
    Model,
}

/// All models.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelList {
    /// Always `list`.
    object: ListKind,
    data: Vec<ModelObject>,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ListKind {
    List,
}

/// An installed speech model.
struct Installed {
    name: String,
    path: PathBuf,
}

/// Models
///
/// The names that `model` takes: OpenAI's (aliases of the configured model) and those of the models on this machine.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, body = ModelList), Problems))]
pub(super) async fn list(State(service): State<Arc<Service>>) -> Result<Json<ModelList>, ApiError> {
    let data = on_disk(&service.config, listed).await?;
    Ok(Json(ModelList { object: ListKind::List, data }))
}

/// One model
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    tag = "models",
    params(("model" = String, Path, description = "Name of the model.", example = "whisper-1")),
    responses((status = 200, body = ModelObject), Problems)
)]
pub(super) async fn one(
    State(service): State<Arc<Service>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelObject>, ApiError> {
    // What is not even text names no model.
    let Path(id) = id.map_err(|_| unknown("?"))?;
    let found = on_disk(&service.config, listed).await?.into_iter().find(|model| model.id == id);
    found.map(Json).ok_or_else(|| unknown(&id))
}

/// The speech model that a client names; `None`: the configured one. A name never becomes a path.
///
/// # Errors
/// 404 `model_not_found`.
pub(in crate::app::serve) async fn select(config: &Config, asked: &str) -> Result<Option<String>, ApiError> {
    let asked = asked.trim();
    if ALIASES.contains(&asked) {
        return Ok(None);
    }
    if !is_name(asked) {
        return Err(unknown(asked));
    }
    let wanted = asked.to_owned();
    let configured = config.speech.model.clone();
    on_disk(config, move |store, _| {
        let canonical = catalog::find(&wanted).map_or(wanted.as_str(), |model| model.name.as_str());
        let found = installed(store).into_iter().find(|model| {
            let bare = model.name.trim_start_matches("ggml-").trim_end_matches(".bin");
            model.name == canonical || model.name == wanted || bare == wanted
        });
        let found = found.ok_or_else(|| unknown(&wanted))?;
        let is_configured = store.locate(&configured).is_ok_and(|path| path == found.path);
        Ok((!is_configured).then_some(found.name))
    })
    .await?
}

/// Letters, digits and `.`, `_`, `-`: nothing that could lead out of a folder.
fn is_name(asked: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=128).contains(&asked.len()) && !asked.starts_with('.') && asked.chars().all(plain)
}

fn unknown(asked: &str) -> ApiError {
    let shown: String = asked.chars().filter(|c| !c.is_control()).take(64).collect();
    let message = format!("the model '{shown}' does not exist here; GET /v1/models lists those that do");
    ApiError::new(StatusCode::NOT_FOUND, message).param("model").code("model_not_found")
}

/// Runs `work` where it may wait for the disk.
async fn on_disk<T: Send + 'static>(
    config: &Config,
    work: impl FnOnce(&Store, &str) -> T + Send + 'static,
) -> Result<T, ApiError> {
    let store = Store::new(models::cache_dir(), config.models.folders.clone());
    let configured = config.speech.model.clone();
    let done = tokio::task::spawn_blocking(move || work(&store, &configured)).await;
    done.map_err(|panic| Error::Usage(format!("listing the models failed: {panic}")).into())
}

fn listed(store: &Store, configured: &str) -> Vec<ModelObject> {
    let object = |id: &str, path: Option<PathBuf>| {
        let modified = path.and_then(|path| path.metadata().ok()).and_then(|data| data.modified().ok());
        let created = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs());
        ModelObject { id: id.to_owned(), object: ModelKind::Model, created, owned_by: "bestbox" }
    };
    let aliases = ALIASES.iter().map(|alias| object(alias, store.locate(configured).ok()));
    aliases.chain(installed(store).into_iter().map(|model| object(&model.name, Some(model.path)))).collect()
}

fn installed(store: &Store) -> Vec<Installed> {
    let speech = store.list().into_iter().filter(|model| model.role == Some(Role::Whisper));
    speech.filter_map(|model| Some(Installed { name: model.name, path: model.path? })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_never_is_a_path() {
        for name in ["/etc/passwd", "../ggml-tiny.bin", "..", ".", "", "a b", "~/x", "C:\\x", "tiny/../tiny", "a\0b"] {
            let error = select(&Config::default(), name).await.expect_err(name);
            assert_eq!((error.status.as_u16(), error.code), (404, Some("model_not_found")), "{name:?}");
        }
    }

    #[tokio::test]
    async fn aliases_are_the_configured_model_and_file_names_select() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ggml-mine.bin"), b"lmgg").unwrap();
        std::fs::write(folder.path().join("other.gguf"), b"GGUF").unwrap();
        let mut config = Config::default();
        config.models.folders = vec![folder.path().to_owned()];
        for alias in ALIASES {
            assert_eq!(select(&config, alias).await.unwrap(), None);
        }
        for name in ["mine", "ggml-mine.bin"] {
            assert_eq!(select(&config, name).await.unwrap().as_deref(), Some("ggml-mine.bin"));
        }
        assert_eq!(select(&config, "other.gguf").await.unwrap_err().status, StatusCode::NOT_FOUND, "no speech model");
        config.speech.model = "mine".into();
        assert_eq!(select(&config, "mine").await.unwrap(), None);
    }
}
