//! samples/: every recording has its line in the manifest, its text beside it, and a known language and route.

use crate::intent_data::sample;
use bestbox::language::Lang;
use bestbox::text::intent::RouteSet;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One line of samples/manifest.jsonl.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// Path from samples/.
    pub audio: String,
    pub language: Lang,
    /// What is said.
    pub text: String,
    /// Route of the built-in set, for requests.
    pub route: Option<String>,
}

/// Every recording made for samples/.
pub fn recordings() -> Vec<Recording> {
    let manifest = sample("manifest.jsonl");
    manifest.lines().map(|line| serde_json::from_str(line).expect("a recording a line")).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")
}

#[test]
fn the_manifest_and_the_files_agree() {
    let recordings = recordings();
    let listed: BTreeSet<String> = recordings.iter().map(|recording| recording.audio.clone()).collect();
    assert_eq!(listed.len(), recordings.len(), "a recording is listed twice");
    let mut found = BTreeSet::new();
    let mut bytes = 0;
    for part in ["requests", "languages"] {
        for entry in std::fs::read_dir(folder().join(part)).expect("folder of samples") {
            let entry = entry.expect("entry");
            bytes += entry.metadata().expect("metadata").len();
            let name = entry.file_name().into_string().expect("UTF-8 name");
            if !name.ends_with(".txt") {
                found.insert(format!("{part}/{name}"));
            }
        }
    }
    // The readings come with their own list of transcripts.
    let made: BTreeSet<String> = listed.into_iter().filter(|audio| !audio.starts_with("librivox/")).collect();
    assert_eq!(made, found);
    assert!(bytes < 6_000_000, "{bytes} bytes of samples");
    for recording in recordings.iter().filter(|recording| found.contains(&recording.audio)) {
        let text = sample(Path::new(&recording.audio).with_extension("txt").to_str().expect("UTF-8 path"));
        assert_eq!(text.trim(), recording.text, "{}", recording.audio);
    }
}

#[test]
fn every_route_and_language_has_its_recordings() {
    let routes = RouteSet::built_in();
    for name in routes.names() {
        let count = recordings().iter().filter(|recording| recording.route.as_deref() == Some(name)).count();
        assert!(count >= 3, "{count} recordings for {name}");
    }
    for recording in recordings() {
        assert!(recording.route.is_none_or(|route| routes.names().contains(&route.as_str())));
    }
    for code in ["de", "fr", "es", "zh"] {
        assert!(recordings().iter().any(|recording| recording.language.code() == code), "nothing in {code}");
    }
}

#[test]
fn no_spoken_request_is_in_the_prompt() {
    let routes = RouteSet::built_in();
    let plain = |text: &str| text.to_lowercase().replace(|c: char| !c.is_alphanumeric(), "");
    let known: BTreeSet<String> = routes.routes().iter().flat_map(|r| &r.examples).map(|e| plain(e)).collect();
    for recording in recordings() {
        assert!(!known.contains(&plain(&recording.text)), "{} is an example", recording.audio);
    }
}
