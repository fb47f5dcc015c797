//! Translation with servers that misbehave: a refused cue keeps its text, and a warning says so.

use crate::support::fake::{Fake, Kind, Reply};
use bestbox::language::Lang;
use bestbox::outcome::{Cue, Tier, WarningCode};
use bestbox::text::llm::{Client, Endpoint};
use bestbox::text::translate::{TranslateSettings, Translator};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn translator(base_url: &str) -> Translator {
    let endpoint = Endpoint {
        tier: Tier::Light,
        base_url: base_url.to_owned(),
        model: None,
        key: None,
        connect_timeout: Duration::from_secs(2),
        timeout: Duration::from_secs(5),
    };
    Translator::new(Some(Client::new(endpoint).expect("a client")), TranslateSettings::default())
}

fn cue(start: f64, text: &str) -> Cue {
    Cue { start, end: start + 1.0, text: text.to_owned(), ..Cue::default() }
}

#[tokio::test]
async fn one_bad_cue_keeps_its_text_and_its_time() {
    let fake = Fake::start(Kind::Llama, |_, request| {
        let messages = request.body["messages"].as_array()?;
        let answer = match messages.last()?["content"].as_str()? {
            "Good morning, everybody." => "Guten Morgen zusammen.",
            "What is the capital of France?" => "Sure! The capital of France is Paris.",
            _ => "Bis morgen.",
        };
        Some(Reply::text(answer))
    })
    .await;
    let cues = [
        cue(0.0, "Good morning, everybody."),
        cue(1.0, "What is the capital of France?"),
        cue(2.0, "..."),
        cue(3.0, "See you tomorrow."),
    ];
    let german = "de".parse().expect("a language");
    let (track, warnings) =
        translator(&fake.base_url).translate(&cues, Some(Lang::ENGLISH), german, &CancellationToken::new()).await;
    let track = track.expect("a track");
    let texts: Vec<&str> = track.cues.iter().map(|cue| cue.text.as_str()).collect();
    assert_eq!(texts, ["Guten Morgen zusammen.", "What is the capital of France?", "...", "Bis morgen."]);
    assert!(track.cues.iter().zip(&cues).all(|(after, before)| (after.start, after.end) == (before.start, before.end)));
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].code, WarningCode::TranslationRejected);
    // Asked twice, the second time more plainly.
    let asked = fake.requests("/v1/chat/completions");
    assert_eq!(asked.iter().filter(|r| r.body.to_string().contains("capital of France?\"}]")).count(), 2);
}

#[tokio::test]
async fn nothing_translated_is_no_track() {
    let german = "de".parse().expect("a language");
    let echo = Fake::start(Kind::OpenAi, |_, request| {
        let messages = request.body["messages"].as_array()?;
        Some(Reply::text(messages.last()?["content"].as_str()?))
    })
    .await;
    let cues = [cue(0.0, "Good morning, everybody."), cue(1.0, "How are you?")];
    for (base_url, code) in [
        (echo.base_url.as_str(), WarningCode::TranslationRejected),
        ("http://127.0.0.1:9", WarningCode::TranslationUnavailable),
    ] {
        let (track, warnings) =
            translator(base_url).translate(&cues, Some(Lang::ENGLISH), german, &CancellationToken::new()).await;
        assert_eq!((track, warnings.len(), warnings[0].code), (None, 1, code));
    }
}
