//! The models that BestBox knows by name: `models/catalog.toml`, embedded.

use super::ggml::Precision;
use serde::Deserialize;
use std::sync::LazyLock;

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Speech recognition: a ggml file for whisper.cpp.
    Whisper,
    /// Language model: a GGUF file for llama-server.
    Llm,
    /// Voice activity detection: a ggml file for whisper.cpp.
    Vad,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Whisper => "whisper",
            Role::Llm => "llm",
            Role::Vad => "vad",
        })
    }
}

/// One model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What it is called on the command line and in the configuration, such as `base-q8_0`.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its file name in the models folder.
    pub file: String,
    /// Size of the file; exact when `sha256` is there, about right otherwise.
    pub bytes: u64,
    /// SHA-256 of the file, lower-case hexadecimal; `None`: not pinned.
    pub sha256: Option<String>,
    /// SPDX name of its licence.
    pub licence: String,
    /// Language codes, or `multilingual`.
    pub languages: Vec<String>,
    /// Where it comes from, in the order to try.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
}

/// Where a model comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Source {
    /// A file of a Hugging Face repository.
    HuggingFace {
        /// Such as `ggerganov/whisper.cpp`.
        repo: String,
        /// Branch or commit.
        revision: String,
        /// Path in the repository.
        file: String,
    },
    /// Files inside Python packages.
    Packages {
        /// The files the packages hold; one, unless `import` is there.
        #[serde(rename = "file")]
        files: Vec<PackedFile>,
        /// The files are a CTranslate2 folder, to become ggml of this type.
        import: Option<Precision>,
    },
}

/// A file cut into parts, each in a package.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackedFile {
    /// File name.
    pub name: String,
    /// Size of the joined file.
    pub bytes: u64,
    /// SHA-256 of the joined file.
    pub sha256: String,
    /// The parts in the order to join.
    pub parts: Vec<Part>,
}

/// One part.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// `name==version`.
    pub package: String,
    /// Path inside the package's archive.
    pub path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "model")]
    models: Vec<Model>,
}

static CATALOG: LazyLock<Vec<Model>> = LazyLock::new(|| {
    let file: Result<File, _> = toml::from_str(include_str!("../../models/catalog.toml"));
    // Not input: it is compiled in, and a test of this module parses it.
    file.expect("models/catalog.toml is valid").models
});

/// All models, in the order of the catalogue.
pub fn all() -> &'static [Model] {
    &CATALOG
}

/// The model called `name`. Case, a leading `whisper-` or `ggml-` and the file's extension do not matter, so
/// `base-q8_0`, `whisper-base-q8_0` and `ggml-base-q8_0.bin` are the same.
pub fn find(name: &str) -> Option<&'static Model> {
    let wanted = key(name);
    all().iter().find(|m| key(&m.name) == wanted || key(&m.file) == wanted)
}

/// The catalogue's name nearest to `name`, when there is one near enough to be what was meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    let wanted = key(name);
    let scored = all().iter().map(|m| (strsim::jaro_winkler(&wanted, &key(&m.name)), m.name.as_str()));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

fn key(name: &str) -> String {
    let name = name.to_lowercase();
    let name = name.strip_suffix(".gguf").or_else(|| name.strip_suffix(".bin")).unwrap_or(&name);
    name.strip_prefix("whisper-").or_else(|| name.strip_prefix("ggml-")).unwrap_or(name).to_owned()
}
