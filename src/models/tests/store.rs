//! Finding, checking and removing models.

use crate::models::catalog::{self, Role, Source};
use crate::models::{ModelError, Precision, State, Store};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("cache/models")).unwrap();
    fs::create_dir_all(folder.path().join("mine")).unwrap();
    let store = Store::new(folder.path().join("cache"), vec![folder.path().join("mine")]);
    (folder, store)
}

fn put(path: &Path, magic: &str) {
    fs::write(path, format!("{magic} and some more")).unwrap();
}

#[test]
fn the_catalogue_is_sound() {
    let mut names = HashSet::new();
    let mut files = HashSet::new();
    for model in catalog::all() {
        assert!(names.insert(&model.name) && files.insert(&model.file), "{} is there twice", model.name);
        assert!(
            !model.sources.is_empty() && !model.licence.is_empty() && !model.languages.is_empty(),
            "{}",
            model.name
        );
        assert!(!model.file.contains(['/', '\\']));
        assert_eq!(catalog::find(&model.name).map(|m| &m.name), Some(&model.name));
        assert_eq!(catalog::find(&model.file).map(|m| &m.name), Some(&model.name));
        let hex = |s: &str| s.len() == 64 && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        assert!(model.sha256.as_deref().is_none_or(hex), "{}", model.name);
        for source in &model.sources {
            let Source::Packages { files, import } = source else { continue };
            assert!(files.iter().all(|f| hex(&f.sha256) && f.parts.iter().all(|p| p.package.contains("=="))));
            assert!(files.len() == 1 || import.is_some());
            // What comes out of a package can only be trusted by its hash.
            assert!(model.sha256.is_some());
        }
    }
}

#[test]
fn names_of_the_profiles_are_in_the_catalogue() {
    let names = [
        "base-q8_0",
        "tiny.en-q8_0",
        "large-v3-turbo-q8_0",
        "smollm2-135m",
        "qwen2.5-coder-0.5b",
        "qwen2.5-coder-1.5b",
        "qwen2.5-7b-instruct-q5_k_m",
        "qwen2.5-14b-instruct-q4_k_m",
        "qwen3-14b-q4_k_m",
    ];
    for name in names {
        assert!(catalog::find(name).is_some(), "{name}");
    }
}

#[test]
fn a_model_is_found_by_any_of_its_names_and_by_path() {
    let (folder, store) = store();
    let mine = folder.path().join("mine/ggml-base.bin");
    put(&mine, "lmgg");
    for spec in ["base", "BASE", "whisper-base", "ggml-base", "ggml-base.bin", mine.to_str().unwrap()] {
        assert_eq!(store.resolve(spec, Role::Whisper).unwrap(), mine, "{spec}");
    }
    let own = folder.path().join("mine/my-tuned.gguf");
    put(&own, "GGUF");
    assert_eq!(store.resolve("my-tuned", Role::Llm).unwrap(), own);
    assert_eq!(store.resolve("my-tuned.gguf", Role::Llm).unwrap(), own);
    let listed = store.list();
    assert!(
        listed.iter().any(|l| l.name == "my-tuned.gguf" && l.role == Some(Role::Llm) && l.state == State::NotPinned)
    );
    assert!(listed.iter().any(|l| l.name == "base" && l.path.as_ref() == Some(&mine)));
}

#[test]
fn what_is_not_there_says_what_to_run() {
    let (folder, store) = store();
    let say = |spec: &str| store.resolve(spec, Role::Whisper).unwrap_err().to_string();
    assert_eq!(say("whisper-base"), "model base is not here yet: run `bestbox models pull base`");
    assert!(say("large-v3-turbi").contains("did you mean large-v3-turbo"));
    assert!(!say("zzzz").contains("did you mean"));
    assert!(say("/nowhere/model.bin").contains("there is no model file /nowhere/model.bin"));
    let ct2 = folder.path().join("faster-whisper-small");
    fs::create_dir(&ct2).unwrap();
    fs::write(ct2.join("model.bin"), "x").unwrap();
    assert!(say(ct2.to_str().unwrap()).contains("run `bestbox models import "));
}

#[test]
fn a_model_of_the_wrong_kind_is_named() {
    let (folder, store) = store();
    put(&folder.path().join("mine/a.gguf"), "GGUF");
    put(&folder.path().join("mine/b.bin"), "oops");
    assert!(store.resolve("a", Role::Whisper).unwrap_err().to_string().contains("is a language model (GGUF)"));
    assert!(store.resolve("b", Role::Llm).unwrap_err().to_string().contains("neither GGUF nor ggml"));
}

#[test]
fn a_catalogue_file_in_the_cache_is_checked_before_use() {
    let (_folder, store) = store();
    let path = store.models().join("ggml-base.bin");
    put(&path, "lmgg");
    let error = store.resolve("base", Role::Whisper).unwrap_err();
    assert!(matches!(&error, ModelError::Damaged { name, .. } if name == "base"), "{error}");
    assert!(error.to_string().contains("bestbox models pull base"));
    // By its path it is the same file.
    assert!(store.resolve(path.to_str().unwrap(), Role::Whisper).is_err());
    assert!(store.verify("base", &CancellationToken::new()).is_err());
    let listed = store.list();
    assert_eq!(listed.iter().find(|l| l.name == "base").unwrap().state, State::Unchecked);
    assert_eq!(listed.iter().find(|l| l.name == "tiny").unwrap().state, State::NotHere);
}

#[test]
fn removing_frees_the_file_and_what_belongs_to_it() {
    let (folder, store) = store();
    let path = store.models().join("ggml-base.bin");
    put(&path, "lmgg");
    fs::write(store.models().join("ggml-base.bin.part"), [0; 100]).unwrap();
    assert_eq!(store.remove("base").unwrap(), 118);
    assert_eq!(fs::read_dir(store.models()).unwrap().count(), 0);
    assert!(matches!(store.remove("base"), Err(ModelError::Missing { .. })));
    assert!(store.remove("nothing-like-it").is_err());
    // A folder of the user's is only read.
    let mine = folder.path().join("mine/my.gguf");
    put(&mine, "GGUF");
    assert!(store.remove("my").is_err() && mine.exists());
}

#[test]
fn an_imported_folder_becomes_a_model_of_the_cache() {
    let (folder, store) = store();
    let source = folder.path().join("faster whisper/tuned");
    super::folder::write(&source, &super::folder::SMALL);
    let cancel = CancellationToken::new();
    let done = store.import(&source, Precision::Q8_0, None, &|_| {}, &cancel).unwrap();
    assert_eq!(done.path, store.models().join("ggml-tuned-q8_0.bin"));
    assert_eq!(store.resolve("tuned-q8_0", Role::Whisper).unwrap(), done.path);
    let named = store.import(&source, Precision::F16, Some("../../my model"), &|_| {}, &cancel).unwrap();
    assert_eq!(named.path.parent(), Some(&*store.models()));
    let (path, state, sha) = store.verify("tuned-q8_0", &cancel).unwrap();
    assert_eq!((path, state, sha), (done.path, State::NotPinned, done.sha256));
    cancel.cancel();
    assert!(matches!(store.import(&source, Precision::F16, Some("x"), &|_| {}, &cancel), Err(ModelError::Cancelled)));
}

#[test]
fn strangers_name_models_and_never_files() {
    let (folder, store) = store();
    put(&folder.path().join("mine/ggml-own.bin"), "lmgg");
    put(&folder.path().join("mine/chat.gguf"), "GGUF");
    put(&folder.path().join("secret.bin"), "lmgg");
    let own = store.resolve_named("ggml-own.bin", Role::Whisper).unwrap();
    assert_eq!(own, folder.path().join("mine/ggml-own.bin"));
    assert_eq!(store.resolve_named("own", Role::Whisper).unwrap(), own);
    let outside = folder.path().join("secret.bin");
    for name in [
        "",
        ".",
        "..",
        "../secret.bin",
        "~/secret.bin",
        outside.to_str().unwrap(),
        "mine/ggml-own.bin",
        "own\u{0}",
        "chat.gguf",
        "Cargo.toml",
        "no-such-model",
    ] {
        let error = store.resolve_named(name, Role::Whisper).unwrap_err();
        assert!(matches!(error, ModelError::NotOffered { .. }), "{name:?}: {error}");
        assert!(!error.to_string().contains(folder.path().to_str().unwrap()) || name.contains('/'), "{error}");
    }
    let error = store.resolve_named("base-q8_0", Role::Whisper).unwrap_err();
    assert!(matches!(error, ModelError::Missing { .. }), "{error}");
}
