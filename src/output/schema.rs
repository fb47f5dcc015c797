//! docs/outcome.md says what the JSON is; this says that it is so.

use super::samples;
use crate::outcome::*;
use serde_json::Value;
use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../docs/outcome.md");

/// First cells of the table rows under a heading, and the rows themselves.
fn rows(heading: &str) -> Vec<(String, String)> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading)).expect("the heading is there");
    let row = |line: &str| Some((line.strip_prefix("| `")?.split('`').next()?.to_owned(), line.to_owned()));
    section.lines().filter_map(row).collect()
}

fn paths(at: &str, value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = if at == "intent.probabilities" { "*" } else { name };
                let path = if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
                into.insert(path.clone());
                paths(&path, value, into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(&format!("{at}[]"), item, into)),
        _ => {}
    }
}

fn name(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn every_field_is_documented_and_every_documented_field_exists() {
    let mut outcome = samples::full();
    outcome.translated.as_mut().unwrap().cues[1].paragraph = true;
    outcome.transcript.segments[0].paragraph = true;
    outcome.intent.as_mut().unwrap().attention = true;
    outcome.transcript.segments[0].speaker = Some("Agent".into());
    outcome.cleaned.as_mut().unwrap().track.cues[0].speaker = Some("Agent".into());
    outcome.translated.as_mut().unwrap().cues[0].speaker = Some("Agent".into());
    let mut real = BTreeSet::new();
    paths("", &serde_json::to_value(&outcome).unwrap(), &mut real);
    let documented: BTreeSet<String> = rows("Fields").into_iter().map(|(path, _)| path).collect();
    assert_eq!(real.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new(), "not documented");
    assert_eq!(documented.difference(&real).collect::<Vec<_>>(), Vec::<&String>::new(), "documented, but not there");
    assert!(PAGE.starts_with(&format!("# The outcome as JSON, schema {SCHEMA}\n")));
}

#[test]
fn what_may_be_null_is_documented_as_such() {
    let mut outcome = samples::full();
    (outcome.cleaned, outcome.translated, outcome.intent, outcome.reply) = (None, None, None, None);
    outcome.transcript.language = None;
    outcome.source = SourceInfo::default();
    outcome.timings = Timings::default();
    let json = serde_json::to_value(&outcome).unwrap();
    for (path, row) in rows("Fields") {
        let value = path.split('.').try_fold(&json, |value, name| value.get(name));
        if value.is_some_and(Value::is_null) {
            assert!(row.contains("or null"), "{path} may be null");
        }
    }
    let bare = r#"{"schema":1,"source":{"name":"a","duration":null,"format":null},
        "transcript":{"language":null,"segments":[]},"warnings":[],"timings":{"total_ms":1.0}}"#;
    assert!(serde_json::from_str::<Outcome>(bare).is_ok(), "an absent field reads as null");
}

#[test]
fn every_value_of_every_closed_set_is_documented() {
    // The matches make the compiler ask for a new variant here.
    use WarningCode::*;
    let codes = [
        CleanupUnavailable,
        CleanupRejected,
        RewriteRejected,
        TranslationUnavailable,
        TranslationRejected,
        IntentUnavailable,
        IntentUndecided,
        ReplyUnavailable,
        ReplyTruncated,
        ToolsUnavailable,
        ToolDenied,
        NoSpeech,
        LowConfidence,
        AudioTruncated,
        Interrupted,
    ];
    let known = |code: WarningCode| match code {
        CleanupUnavailable | CleanupRejected | RewriteRejected | TranslationUnavailable | TranslationRejected => true,
        IntentUnavailable | IntentUndecided | ReplyUnavailable | ReplyTruncated => true,
        ToolsUnavailable | ToolDenied => true,
        NoSpeech | LowConfidence | AudioTruncated | Interrupted => true,
    };
    assert!(codes.into_iter().all(known));
    let documented: BTreeSet<String> = rows("Warning codes").into_iter().map(|(code, _)| code).collect();
    assert_eq!(documented, codes.into_iter().map(name).collect());

    let row = |path: &str| rows("Fields").into_iter().find(|(p, _)| p == path).expect("a row").1;
    let has = |path: &str, values: &[String]| {
        for value in values {
            assert!(row(path).contains(&format!("`{value}`")), "{path} lacks {value}");
        }
    };
    has("cleaned.style", &[Style::Verbatim, Style::Punctuate, Style::Tidy, Style::Rewrite].map(name));
    let engines = [CleanEngine::None, CleanEngine::Grammar, CleanEngine::Checked, CleanEngine::Rules];
    has("cleaned.engine", &engines.map(name));
    has("intent.action", &[Action::Text, Action::Light, Action::Heavy].map(name));
    let by = [DecidedBy::Model, DecidedBy::Rule, DecidedBy::SecondOpinion, DecidedBy::Forced, DecidedBy::Default];
    has("intent.by", &by.map(name));
    has("reply.tier", &[Tier::Light, Tier::Heavy].map(name));
    has("reply.finish", &[Finish::Stop, Finish::Length, Finish::Timeout, Finish::Broken].map(name));
}
