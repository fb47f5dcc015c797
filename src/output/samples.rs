//! Outcomes for the tests of this folder.

use crate::language::Lang;
use crate::outcome::*;
use crate::speech::{Segment, TokenLogprob, Transcript, Word};

/// Words half a second long, from their starts.
pub fn words(list: &[(&str, f64)]) -> Vec<Word> {
    list.iter()
        .map(|(word, start)| Word { word: (*word).into(), start: *start, end: start + 0.5, probability: 0.9 })
        .collect()
}

/// An outcome with nothing but a raw English transcript.
pub fn spoken(segments: &[(f64, f64, &str)], duration: f64) -> Outcome {
    let segments = segments
        .iter()
        .map(|(start, end, text)| Segment { start: *start, end: *end, text: (*text).into(), ..Segment::default() })
        .collect();
    Outcome {
        schema: SCHEMA,
        source: SourceInfo { name: "talk.wav".into(), duration: Some(duration), format: Some("wav/pcm_s16le".into()) },
        transcript: Transcript { language: Some(Lang::ENGLISH), segments },
        cleaned: None,
        translated: None,
        intent: None,
        reply: None,
        warnings: vec![],
        timings: Timings { audio_s: duration, total_ms: 100.0, ..Timings::default() },
    }
}

/// A recording without speech.
pub fn silence() -> Outcome {
    Outcome {
        transcript: Transcript::default(),
        warnings: vec![Warning::new(WarningCode::NoSpeech, "the recording has no speech in it")],
        ..spoken(&[], 3.0)
    }
}

/// An outcome with every field filled.
pub fn full() -> Outcome {
    let mut outcome = spoken(&[(0.5, 3.0, "um what is the capital of france"), (3.5, 5.0, "thank you")], 6.0);
    outcome.transcript.segments[0].words = words(&[
        ("um", 0.5),
        ("what", 0.75),
        ("is", 1.0),
        ("the", 1.25),
        ("capital", 1.5),
        ("of", 2.0),
        ("france", 2.25),
    ]);
    outcome.transcript.segments[0].tokens = vec![1, 2, 3];
    outcome.transcript.segments[0].token_logprobs =
        vec![TokenLogprob { token: " um".into(), logprob: -0.1, bytes: b" um".to_vec() }];
    let cue = |start, end, text: &str, paragraph| Cue { start, end, text: text.into(), paragraph, ..Cue::default() };
    let cleaned = vec![cue(0.5, 3.0, "What is the capital of France?", false), cue(3.5, 5.0, "Thank you.", true)];
    outcome.cleaned =
        Some(Cleaned { style: Style::Tidy, engine: CleanEngine::Grammar, track: Track::new(Lang::ENGLISH, cleaned) });
    let german = "de".parse().expect("a language");
    let translated =
        vec![cue(0.5, 3.0, "Was ist die Hauptstadt von Frankreich?", false), cue(3.5, 5.0, "Danke.", false)];
    outcome.translated = Some(Track::new(german, translated));
    outcome.intent = Some(Intent {
        label: "quick".into(),
        path: vec!["quick".into()],
        probability: 0.875,
        action: Action::Light,
        undecided: false,
        by: DecidedBy::Model,
        probabilities: [("quick".to_owned(), 0.875), ("note".to_owned(), 0.125)].into(),
        attention: false,
    });
    outcome.reply = Some(Reply {
        text: "Paris.".into(),
        tier: Tier::Light,
        model: "a-model".into(),
        finish: Finish::Stop,
        tokens: Some(3),
        spoken: Some("Paris.".into()),
        tools: vec![ToolUse { tool: "atlas".into(), arguments: serde_json::json!({}), end: ToolEnd::Done }],
        pending: Some(PendingCall {
            token: "secret".into(),
            tool: "write_note".into(),
            arguments: serde_json::json!({}),
            expires: 1_800_000_000.0,
        }),
    });
    outcome.warnings = vec![Warning::new(WarningCode::LowConfidence, "the last sentence was hard to hear")];
    outcome.timings = Timings {
        audio_s: 6.0,
        decode_ms: Some(2.0),
        vad_ms: Some(5.25),
        recognize_ms: Some(800.0),
        clean_ms: Some(300.5),
        translate_ms: Some(410.0),
        intent_ms: Some(150.0),
        reply_first_ms: Some(90.0),
        reply_ms: Some(600.0),
        total_ms: 2200.0,
    };
    outcome
}
