//! Translation with the embedded default model.

use crate::clean_model::client;
use crate::support::llama::Llama;
use bestbox::language::Lang;
use bestbox::outcome::Cue;
use bestbox::text::translate::{TranslateSettings, Translator};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn subtitles_are_translated_with_their_times() {
    let llama = Llama::start("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf");
    let settings = TranslateSettings { timeout: std::time::Duration::from_secs(120), ..TranslateSettings::default() };
    let translator = Translator::new(Some(client(&llama.base_url)), settings);
    let cues: Vec<Cue> = ["Good morning, everybody.", "Where is the station?", "The meeting is at 10:30."]
        .into_iter()
        .zip(0..)
        .map(|(text, at)| Cue { start: f64::from(at), end: f64::from(at) + 1.0, text: text.into(), ..Cue::default() })
        .collect();
    let spanish = "es".parse().expect("a language");
    let cancel = CancellationToken::new();
    let (track, warnings) = translator.translate(&cues, Some(Lang::ENGLISH), spanish, &cancel).await;
    let track = track.unwrap_or_else(|| panic!("nothing was translated: {warnings:?}"));
    assert_eq!(warnings, []);
    assert!(track.cues[0].text.to_lowercase().contains("buenos días"), "{track:?}");
    assert!(track.cues[1].text.contains("estación"), "{track:?}");
    assert!(track.cues[2].text.contains("10:30"), "{track:?}");
    assert_eq!(track.cues.iter().map(|cue| cue.start).collect::<Vec<_>>(), [0.0, 1.0, 2.0]);
}
