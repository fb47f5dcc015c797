//! Times: words against a forced alignment, utterances of a long recording against where they were put.

use crate::speech_support as s;
use bestbox::language::{Lang, LanguageChoice};
use bestbox::speech::{Recognizer, SpeechOptions, Utterance};
use tokio_util::sync::CancellationToken;

fn english() -> SpeechOptions {
    SpeechOptions { language: LanguageChoice::Fixed(Lang::ENGLISH), ..SpeechOptions::default() }
}

/// Words of a clip's alignment: normalised word, start, end.
fn alignment(name: &str) -> Vec<(String, f64, f64)> {
    let text = std::fs::read_to_string(s::sample(&format!("librivox/{name}.json"))).expect("the alignment is there");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    json["w"]
        .as_array()
        .expect("words")
        .iter()
        .filter(|w| w["t"] != "<sil>")
        .map(|w| {
            let word = w["t"].as_str().expect("a word").split('(').next().unwrap_or_default();
            let (start, length) = (w["b"].as_f64().expect("start"), w["d"].as_f64().expect("length"));
            (s::words(word).concat(), start, start + length)
        })
        .collect()
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

#[test]
fn word_times_are_within_100_ms_of_the_alignment() {
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for (name, clip, _) in s::clips() {
        let plain = s::with_base(|r| s::transcribe(r, &clip, &english()));
        let options = SpeechOptions { word_times: true, ..english() };
        let timed = s::with_base(|r| s::transcribe(r, &clip, &options));
        assert_eq!(plain.text(), timed.text(), "asking for times does not change the text");
        let words: Vec<_> = timed.segments.iter().flat_map(|segment| &segment.words).collect();
        let spoken: Vec<&str> = words.iter().map(|w| w.word.as_str()).collect();
        assert_eq!(s::words(&spoken.join(" ")), s::words(&timed.text()), "every word has a time");
        let mut clock = 0.0;
        for word in &words {
            assert!(
                word.start >= clock && word.end >= word.start && word.end <= clip.len() as f64 / s::RATE,
                "{word:?}"
            );
            assert!((0.0..=1.0).contains(&word.probability));
            clock = word.start;
        }
        // In order, by name; a word that was heard differently has no time to compare.
        let mut reference = alignment(&name).into_iter();
        for word in &words {
            let key = s::words(&word.word).concat();
            let ahead = reference.clone().take(4).position(|(w, ..)| w == key);
            if let Some((_, start, end)) = ahead.and_then(|n| reference.nth(n)) {
                starts.push((word.start - start).abs());
                ends.push((word.end - end).abs());
            }
        }
    }
    assert!(starts.len() >= 55, "only {} of 69 words compared", starts.len());
    let (start, end) = (median(starts.clone()), median(ends.clone()));
    println!("{} words: median error of the start {:.0} ms, of the end {:.0} ms", starts.len(), start * 1e3, end * 1e3);
    assert!(start <= 0.1 && end <= 0.1, "start {start:.3} s, end {end:.3} s");
}

/// Clips one after another with pauses of 0.3 to 3 s: samples, and where each clip is.
fn recording(seconds: f64) -> (Vec<f32>, Vec<(f64, f64, String)>) {
    let clips = s::clips();
    let mut random = s::Random(42);
    let (mut samples, mut places) = (vec![0.0f32; 8_000], Vec::new());
    for (_, clip, text) in clips.iter().cycle() {
        if samples.len() as f64 >= seconds * s::RATE {
            break;
        }
        let start = samples.len() as f64 / s::RATE;
        samples.extend_from_slice(clip);
        places.push((start, samples.len() as f64 / s::RATE, text.clone()));
        let pause = 0.3 + 2.7 * f64::from(random.uniform());
        samples.extend((0..(pause * s::RATE) as usize).map(|_| random.gauss() * 2e-4));
    }
    (samples, places)
}

#[test]
fn ten_minutes_are_cut_at_pauses_and_no_speech_is_left_out() {
    let (samples, places) = recording(600.0);
    let utterances = s::utterances(&samples);
    let mut clock = 0.0;
    for u in &utterances {
        assert!(u.start() >= clock, "no overlap: {} after {clock}", u.start());
        assert!(u.seconds() <= 28.3, "{}", u.seconds());
        clock = u.end();
        // Exact to the sample: the utterance is that stretch of the recording.
        let at = (u.start() * s::RATE).round() as usize;
        assert!((u.start() * s::RATE - at as f64).abs() < 1e-6);
        assert_eq!(u.samples(), &samples[at..at + u.samples().len()]);
    }
    // The clips have up to 0.3 s of silence at either end.
    for (start, end, text) in &places {
        let covered: f64 =
            utterances.iter().map(|u| (u.end().min(end - 0.3) - u.start().max(start + 0.3)).max(0.0)).sum();
        assert!(
            covered >= (end - start - 0.6) * 0.98,
            "'{text}' at {start:.2}: {covered:.2} of {:.2} s",
            end - start - 0.6
        );
        // A cut never goes through a clip: the pauses between them are better places.
        assert!(
            !utterances.iter().any(|u| u.end() > start + 0.4 && u.end() < end - 0.4),
            "cut inside '{text}' at {start:.2}"
        );
    }
}

#[test]
fn a_minute_and_a_half_is_recognised_once_and_in_order() {
    let (samples, places) = recording(if s::long() { 600.0 } else { 60.0 });
    let transcript = s::with_base(|r| s::transcribe(r, &samples, &english()));
    let reference: Vec<&str> = places.iter().map(|(.., text)| text.as_str()).collect();
    let (errors, total) = s::word_errors(&reference.join(" "), &transcript.text());
    println!("{errors} errors in {total} words");
    assert!(errors * 100 <= total * 6, "{errors} of {total}: {}", transcript.text());
    let mut clock = 0.0;
    for segment in &transcript.segments {
        assert!(segment.start >= clock - 1e-9 && segment.end >= segment.start, "{segment:?} after {clock}");
        assert!(segment.end - segment.start <= 15.0, "a piece for a subtitle: {segment:?}");
        clock = segment.end;
    }
    // Each clip's first words come from a segment that starts within half a second of the clip, or covers it.
    for (start, end, text) in &places {
        let first = text.split(' ').next().unwrap_or_default();
        let there = transcript.segments.iter().any(|seg| {
            seg.start < end - 0.3
                && seg.end > start + 0.3
                && s::words(&seg.text).iter().any(|w| w == first || first == "mister")
        });
        assert!(there, "'{text}' at {start:.2}: {:?}", transcript.segments);
    }
}

#[test]
fn an_hour_pushed_at_once_needs_no_more_than_one_utterance_of_memory() {
    // Ten seconds of speech, then nothing: what is dropped must not pile up (checked by the result, and under
    // `make test-long` at an hour).
    let (mut samples, _) = recording(10.0);
    samples.resize((if s::long() { 3_600.0 } else { 120.0 } * s::RATE) as usize, 0.0);
    let utterances = s::utterances(&samples);
    assert!(!utterances.is_empty() && utterances.last().is_some_and(|u| u.end() < 20.0), "silence is not speech");
}

#[test]
fn a_long_utterance_without_the_segmenter_is_still_heard_whole() {
    let (samples, places) = recording(35.0);
    let utterance = Utterance::whole(samples, 100.0).expect("not empty");
    let transcript =
        s::with_base(|r| r.recognize(&utterance, &english(), &CancellationToken::new())).expect("it works");
    let reference: Vec<&str> = places.iter().map(|(.., text)| text.as_str()).collect();
    let (errors, total) = s::word_errors(&reference.join(" "), &transcript.text());
    assert!(errors * 10 <= total, "{errors} of {total}: {}", transcript.text());
    assert!(transcript.segments.first().is_some_and(|seg| seg.start >= 100.0));
    assert!(transcript.segments.last().is_some_and(|seg| seg.end <= utterance.end() + 1e-6));
}

#[test]
fn a_fifth_of_a_second_is_no_error() {
    let (_, clip, _) = &s::clips()[0];
    for n in [1, 100, 1_600, 3_200] {
        let utterance = Utterance::whole(clip[8_000..8_000 + n].to_vec(), 0.0).expect("not empty");
        let options = SpeechOptions { word_times: true, ..english() };
        s::with_base(|r| r.recognize(&utterance, &options, &CancellationToken::new())).expect("short is no error");
    }
}
