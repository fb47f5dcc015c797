//! What is not speech gives no words, whatever the detector lets through; what is speech keeps them.

use crate::speech_support as s;
use bestbox::speech::{Recognizer, SpeechOptions, Utterance};
use tokio_util::sync::CancellationToken;

/// Levels from a whisper of noise to a loud room.
const LEVELS: [f32; 3] = [0.003, 0.03, 0.2];

fn no_words(name: &str, sound: impl Fn(f64, f32) -> Vec<f32>) {
    // Sixty seconds at one level, twelve at the others; everything when there is time.
    for (i, level) in LEVELS.into_iter().enumerate() {
        for seconds in [12.0, 60.0] {
            if seconds > 12.0 && i != 1 && !s::long() {
                continue;
            }
            let transcript = s::with_base(|r| s::transcribe(r, &sound(seconds, level), &SpeechOptions::default()));
            assert_eq!(transcript.text(), "", "{name}, {seconds} s at {level}: {transcript:?}");
        }
    }
}

#[test]
fn silence_gives_no_words() {
    for seconds in [0.2, 12.0, 60.0] {
        let silence = vec![0.0; (seconds * s::RATE) as usize];
        assert!(s::utterances(&silence).is_empty());
        let utterance = Utterance::whole(silence, 0.0).expect("not empty");
        let transcript = s::with_base(|r| {
            r.recognize(&utterance, &SpeechOptions::default(), &CancellationToken::new()).expect("silence is no error")
        });
        assert!(transcript.segments.is_empty() && transcript.language.is_none());
    }
}

#[test]
fn white_noise_gives_no_words() {
    no_words("white noise", s::white);
}

#[test]
fn pink_noise_gives_no_words() {
    no_words("pink noise", s::pink);
}

#[test]
fn mains_hum_gives_no_words() {
    no_words("hum", s::hum);
}

#[test]
fn a_ringing_tone_gives_no_words() {
    no_words("ringing", s::ringing);
}

#[test]
fn music_gives_no_words() {
    no_words("music", s::music);
}

#[test]
fn the_small_english_model_is_silent_too() {
    for (name, sound) in
        [("pink noise", s::pink(12.0, 0.1)), ("ringing", s::ringing(12.0, 0.1)), ("music", s::music(12.0, 0.1))]
    {
        let transcript = s::with_tiny_en(|r| s::transcribe(r, &sound, &SpeechOptions::default()));
        assert_eq!(transcript.text(), "", "{name}: {transcript:?}");
    }
}
