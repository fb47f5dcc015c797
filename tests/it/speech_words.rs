//! Word error rates on real speech: as recorded, quiet, in noise, over the telephone. Bounds a little above what was
//! measured with Whisper base q8_0.

use crate::speech_support as s;
use bestbox::language::{Lang, LanguageChoice};
use bestbox::outcome::Task;
use bestbox::speech::{Recognizer, SpeechError, SpeechOptions, Utterance};
use tokio_util::sync::CancellationToken;

fn errors(change: impl Fn(&[f32]) -> Vec<f32>) -> (usize, usize) {
    let (mut errors, mut total) = (0, 0);
    for (name, clip, reference) in s::clips() {
        let heard = s::with_base(|r| s::transcribe(r, &change(&clip), &SpeechOptions::default())).text();
        let (e, n) = s::word_errors(&reference, &heard);
        if e > 0 {
            println!("{name}: {e} of {n}: {heard}");
        }
        errors += e;
        total += n;
    }
    println!("{errors} errors in {total} words");
    (errors, total)
}

fn noise(clip: &[f32], below_db: f32, kind: fn(f64, f32) -> Vec<f32>) -> Vec<f32> {
    let level = s::rms(clip) * 10f32.powf(-below_db / 20.0);
    s::mixed(clip, &kind(clip.len() as f64 / s::RATE, level))
}

#[test]
fn clean_speech_has_few_errors() {
    let (errors, total) = errors(<[f32]>::to_vec);
    assert!(errors * 100 <= total * 4, "{errors} of {total}: more than 4 %");
}

#[test]
fn speech_at_minus_30_db_keeps_its_words() {
    let (errors, total) = errors(|clip| clip.iter().map(|x| x * 0.0316).collect());
    assert!(errors * 100 <= total * 6, "{errors} of {total}: more than 6 %");
}

#[test]
fn speech_in_noise_keeps_its_words() {
    for (name, kind) in [("white", s::white as fn(f64, f32) -> Vec<f32>), ("pink", s::pink)] {
        let (errors, total) = errors(|clip| noise(clip, 10.0, kind));
        assert!(errors * 100 <= total * 15, "{name} noise at 10 dB: {errors} of {total}: more than 15 %");
    }
}

#[test]
fn speech_over_the_telephone_keeps_its_words() {
    let (errors, total) = errors(s::telephone);
    assert!(errors * 100 <= total * 8, "{errors} of {total}: more than 8 %");
}

#[test]
fn segments_carry_what_the_model_thought() {
    let (_, clip, _) = &s::clips()[0];
    let transcript = s::with_base(|r| s::transcribe(r, clip, &SpeechOptions::default()));
    assert_eq!(transcript.language, Some(Lang::ENGLISH), "heard, not told");
    for segment in &transcript.segments {
        assert!(segment.avg_logprob < 0.0 && segment.avg_logprob > -1.0, "{segment:?}");
        assert!((0.0..0.5).contains(&segment.no_speech), "{segment:?}");
        assert!(!segment.tokens.is_empty() && segment.words.is_empty() && segment.temperature == 0.0);
        assert!(segment.token_logprobs.is_empty(), "only when asked for");
    }
}

#[test]
fn tokens_spell_the_text_when_asked_for() {
    let (_, clip, _) = &s::clips()[0];
    let options = SpeechOptions { token_logprobs: true, ..SpeechOptions::default() };
    let transcript = s::with_base(|r| s::transcribe(r, clip, &options));
    assert!(!transcript.segments.is_empty());
    for segment in &transcript.segments {
        assert_eq!(segment.token_logprobs.len(), segment.tokens.len());
        let bytes: Vec<u8> = segment.token_logprobs.iter().flat_map(|t| t.bytes.clone()).collect();
        assert_eq!(String::from_utf8(bytes).expect("whole text").trim(), segment.text);
        let mean = segment.token_logprobs.iter().map(|t| t.logprob).sum::<f32>() / segment.tokens.len() as f32;
        assert!((mean - segment.avg_logprob).abs() < 1e-4, "{mean} {}", segment.avg_logprob);
        assert!(segment.token_logprobs.iter().all(|t| t.logprob <= 0.0));
    }
}

#[test]
fn a_temperature_is_honoured_and_the_same_clip_gives_the_same_text() {
    let clips = s::clips();
    let options = SpeechOptions { temperature: 0.3, ..SpeechOptions::default() };
    let (first, again) = s::with_base(|r| {
        let first = s::transcribe(r, &clips[0].1, &options);
        // Something else in between must not show.
        s::transcribe(r, &clips[1].1, &options);
        (first, s::transcribe(r, &clips[0].1, &options))
    });
    assert_eq!(first, again);
    assert!(first.segments.iter().all(|segment| segment.temperature >= 0.3), "{first:?}");
}

#[test]
fn an_english_model_hears_english_and_refuses_the_rest() {
    let (_, clip, reference) = &s::clips()[0];
    let utterance = Utterance::whole(clip.clone(), 0.0).expect("not empty");
    let cancel = CancellationToken::new();
    s::with_tiny_en(|r| {
        assert_eq!(r.detect_language(&utterance, &cancel).expect("it listens"), (Lang::ENGLISH, 1.0));
        let transcript = s::transcribe(r, clip, &SpeechOptions::default());
        assert_eq!(transcript.language, Some(Lang::ENGLISH));
        let (errors, total) = s::word_errors(reference, &transcript.text());
        assert!(errors * 5 <= total, "{}", transcript.text());
        let german = "de".parse().expect("a language");
        let options = SpeechOptions { language: LanguageChoice::Fixed(german), ..SpeechOptions::default() };
        let error = r.recognize(&utterance, &options, &cancel).expect_err("it knows no German");
        assert!(matches!(error, SpeechError::EnglishOnly(lang) if lang == german), "{error}");
    });
}

/// "The invoice from Wojcik and Thorvaldsen goes to Ngozi.", spoken by flite's voice rms.
fn names() -> Vec<f32> {
    s::read(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/names.wav"))
}

#[test]
fn the_vocabulary_teaches_names() {
    let without = s::with_base(|r| s::transcribe(r, &names(), &SpeechOptions::default())).text();
    let vocabulary = ["Siobhan Kowalczyk", "Wojcik", "Thorvaldsen", "Ngozi"].map(str::to_owned).to_vec();
    let with =
        s::with_base(|r| s::transcribe(r, &names(), &SpeechOptions { vocabulary, ..SpeechOptions::default() })).text();
    println!("without: {without}\nwith: {with}");
    assert!(!without.contains("Thorvaldsen"), "this name needs no help: {without}");
    assert!(with.contains("Wojcik") && with.contains("Thorvaldsen"), "{with}");
    assert!(!with.contains("Glossary") && !with.contains("Siobhan"), "what was not said stays out: {with}");
}

#[test]
fn the_whole_prompt_budget_neither_breaks_nor_leaks() {
    // Far more vocabulary and prompt than fit: the text is still what was said.
    let (_, clip, reference) = &s::clips()[3];
    let options = SpeechOptions {
        vocabulary: (0..400).map(|n| format!("Zarathustra{n} GmbH")).collect(),
        prompt: Some("Notes from the reading circle. ".repeat(200)),
        task: Task::Transcribe,
        ..SpeechOptions::default()
    };
    let heard = s::with_base(|r| s::transcribe(r, clip, &options)).text();
    let (errors, total) = s::word_errors(reference, &heard);
    assert!(errors * 5 <= total, "{heard}");
    assert!(!heard.contains("Zarathustra") && !heard.contains("reading circle"), "{heard}");
}
