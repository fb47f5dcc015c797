//! Every recording of samples/, from its container to words: the default speech model hears the right language and
//! few words wrong, and the words of a German recording keep their meaning on the way into English.

use crate::audio_support::decode_file;
use crate::samples_manifest::{Recording, recordings};
use crate::speech_support::{sample, transcribe, with_base};
use bestbox::app::wer::{WordErrors, wer};
use bestbox::outcome::Task;
use bestbox::speech::{SpeechOptions, Transcript};

fn heard(recording: &Recording, options: &SpeechOptions) -> Transcript {
    let decoded = decode_file(&sample(&recording.audio)).expect("it decodes");
    with_base(|recognizer| transcribe(recognizer, &decoded.samples, options))
}

#[test]
fn the_default_model_transcribes_every_recording() {
    let mut total = WordErrors::default();
    for recording in recordings() {
        let transcript = heard(&recording, &SpeechOptions::default());
        assert_eq!(transcript.language, Some(recording.language), "{}", recording.audio);
        let errors = wer(&recording.text, &transcript.text(), recording.language);
        println!("{}: {:.1} % {}", recording.audio, errors.rate() * 100.0, transcript.text());
        // Short sentences: one word in six or so may be another.
        assert!(errors.rate() <= 0.25, "{}: {}", recording.audio, transcript.text());
        total += errors;
    }
    println!("all: {:.1} % of {}", total.rate() * 100.0, total.reference_len());
    assert!(total.rate() <= 0.08, "{total:?}");
}

#[test]
fn whisper_translates_into_english_by_itself() {
    let german = recordings().into_iter().find(|recording| recording.language.code() == "de").expect("a German one");
    let options = SpeechOptions { task: Task::TranslateToEnglish, ..SpeechOptions::default() };
    let text = heard(&german, &options).text().to_lowercase();
    assert!(text.contains("morning") && text.contains("monday"), "{text}");
}
