use super::*;
use crate::output::{Format, RenderSettings, render};

fn given(name: &str, content: impl AsRef<[u8]>) -> Result<Given, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    read(&path, LanguageChoice::Auto).map_err(|error| error.to_string())
}

fn shape(given: &Given) -> Vec<(f64, f64, &str)> {
    given.transcript.segments.iter().map(|s| (s.start, s.end, s.text.as_str())).collect()
}

fn code(given: &Given) -> Option<&str> {
    given.transcript.language.map(Lang::code)
}

#[test]
fn subtitles_keep_their_times_and_come_in_order() {
    let srt = "2\r\n00:00:05,000 --> 00:00:06,500\r\nzwei,\r\ndrei\r\n\r\n1\r\n00:00:01,250 --> 00:00:02,000\r\n<i>Eins</i>\r\n";
    let read = given("talk.de.srt", srt).unwrap();
    assert_eq!(shape(&read), [(1.25, 2.0, "Eins"), (5.0, 6.5, "zwei, drei")]);
    assert_eq!((read.duration, code(&read)), (Some(6.5), Some("de")), "too short to tell, so the name does");
    let vtt =
        "WEBVTT\n\nNOTE language: fr\n\n00:01.000 --> 00:02.000\n<v Ann Lee>Oui</v>\n\n00:02.000 --> 00:03.000\nnon\n";
    let read = given("talk.vtt", vtt).unwrap();
    assert_eq!(code(&read), Some("fr"));
    let speakers: Vec<_> = read.transcript.segments.iter().map(|s| s.speaker.as_deref()).collect();
    assert_eq!(speakers, [Some("Ann Lee"), None]);
}

#[test]
fn what_bestbox_writes_comes_back() {
    let given = given("a.json", OUTCOME).unwrap();
    assert_eq!((given.duration, code(&given)), (Some(6.0), Some("en")));
    assert_eq!(given.transcript.segments[0].words.len(), 1);
    let outcome: crate::outcome::Outcome = serde_json::from_str(OUTCOME).unwrap();
    for format in [Format::Srt, Format::Vtt, Format::Json, Format::Jsonl] {
        let text = render(&outcome, format, &RenderSettings::default()).unwrap();
        let read = self::given(&format!("a.{format}"), text).unwrap();
        let text = |g: &Given| g.transcript.text().to_lowercase();
        assert_eq!((text(&read), code(&read)), (text(&given), Some("en")), "{format}");
        assert!((read.transcript.segments[0].start - 0.5).abs() < 0.01, "{format}");
    }
}

const OUTCOME: &str = r#"{"schema":1,"source":{"name":"x.wav","duration":6.0,"format":null},"transcript":{"language":"en",
    "segments":[{"start":0.5,"end":3.0,"text":"good morning","words":[{"start":0.5,"end":1.0,"word":"good","probability":0.9}],
    "avg_logprob":-0.2,"no_speech":0.0},{"start":3.5,"end":5.0,"text":"to you","avg_logprob":-0.1,"no_speech":0.0}]},
    "cleaned":null,"translated":null,"intent":null,"reply":null,"warnings":[],"timings":{"audio_s":6.0,"total_ms":1.0},
    "a later field":1}"#;

#[test]
fn whisper_cpp() {
    let json = r#"{"systeminfo":"AVX = 1","model":{"type":"base"},"params":{"language":"auto"},"result":{"language":"de"},
        "transcription":[{"timestamps":{"from":"00:00:00,000","to":"00:00:02,560"},"offsets":{"from":0,"to":2560},
        "text":" Guten Tag.","tokens":[{"text":" Guten","id":1,"p":0.9}]},
        {"timestamps":{},"offsets":{"from":2560,"to":4000},"text":" Hallo.","speaker":"1"}]}"#;
    let read = given("a.json", json).unwrap();
    assert_eq!(shape(&read), [(0.0, 2.56, "Guten Tag."), (2.56, 4.0, "Hallo.")]);
    assert_eq!((code(&read), read.duration), (Some("de"), Some(4.0)));
    assert_eq!(read.transcript.segments[1].speaker.as_deref(), Some("1"));
}

#[test]
fn whisper_x_and_openai() {
    let whisperx = r#"{"segments":[{"start":0.1,"end":2.0,"text":" In 1984 we","speaker":"SPEAKER_00","words":[
        {"word":"In","start":0.1,"end":0.3,"score":0.8},{"word":"1984"},{"word":"we","start":1.0,"end":1.2,"score":0.5}]}],
        "word_segments":[],"language":"en"}"#;
    let read = given("a.json", whisperx).unwrap();
    let words: Vec<_> = read.transcript.segments[0].words.iter().map(|w| (w.word.as_str(), w.start)).collect();
    assert_eq!(words, [("In", 0.1), ("we", 1.0)]);
    assert_eq!(read.transcript.segments[0].speaker.as_deref(), Some("SPEAKER_00"));

    let verbose = r#"{"task":"transcribe","language":"german","duration":"9.5","text":"Ja. Nein.","segments":[
        {"id":0,"seek":0,"start":0.0,"end":1.0,"text":" Ja.","tokens":[1],"temperature":0.2,"avg_logprob":-1.5,
         "compression_ratio":1.1,"no_speech_prob":0.01},{"id":1,"seek":0,"start":2.0,"end":3.0,"text":" Nein."}],
        "words":[{"word":"Ja","start":0.1,"end":0.4},{"word":"Nein","start":1.995,"end":2.5}]}"#;
    let read = given("a.json", verbose).unwrap();
    assert_eq!((code(&read), read.duration), (Some("de"), Some(9.5)));
    assert_eq!(shape(&read), [(0.0, 1.0, "Ja."), (2.0, 3.0, "Nein.")]);
    let segments = &read.transcript.segments;
    assert_eq!((segments[0].avg_logprob, segments[0].words.len(), segments[1].words.len()), (-1.5, 1, 1));

    let words = r#"{"task":"transcribe","language":"english","duration":9.0,"text":"Well, yes. No.","words":[
        {"word":"Well","start":0.0,"end":0.4},{"word":"yes","start":0.5,"end":0.9},{"word":"No","start":5.0,"end":5.5}]}"#;
    assert_eq!(shape(&given("a.json", words).unwrap()), [(0.0, 0.9, "Well, yes."), (5.0, 5.5, "No.")]);
    let text = r#"{"text":"Only words.","usage":{"type":"duration","seconds":3}}"#;
    let read = given("a.json", text).unwrap();
    assert_eq!((shape(&read), read.duration), (vec![(0.0, 0.0, "Only words.")], None));
}

#[test]
fn lists_chunks_and_lines() {
    let list = r#"[{"id":1,"start":0,"end":1.5,"text":" one"},{"start":1.5,"end":2.0,"text":" two"}]"#;
    assert_eq!(shape(&given("a.json", list).unwrap()), [(0.0, 1.5, "one"), (1.5, 2.0, "two")]);
    let lines = "{\"start\":0,\"end\":1.5,\"text\":\"one\"}\n\n{\"start\":2,\"end\":3,\"text\":\"two\"}\n";
    assert_eq!(shape(&given("a.jsonl", lines).unwrap()), [(0.0, 1.5, "one"), (2.0, 3.0, "two")]);
    let chunks =
        r#"{"text":"one two","chunks":[{"timestamp":[0.0,1.0],"text":"one"},{"timestamp":[1.0,null],"text":"two"}]}"#;
    assert_eq!(shape(&given("a.json", chunks).unwrap()), [(0.0, 1.0, "one"), (1.0, 1.0, "two")]);
    let outcome = OUTCOME.replace('\n', " ");
    let error = given("a.jsonl", format!("{outcome}\n{outcome}\n")).unwrap_err();
    assert!(error.contains("2 recordings"), "{error}");
}

#[test]
fn text_keeps_its_paragraphs_and_long_ones_come_in_pieces() {
    let read =
        given("a.txt", "\u{feff}\r\nWe met in the garden\r\nof the old house.\r\n\r\nLater it rained.\r\n").unwrap();
    let found: Vec<_> = read.transcript.segments.iter().map(|s| (s.text.as_str(), s.paragraph)).collect();
    let wanted = [("We met in the garden", false), ("of the old house.", false), ("Later it rained.", true)];
    assert_eq!((found.as_slice(), read.duration), (wanted.as_slice(), None));
    let hour = "This sentence is one of a great many in one line. ".repeat(1000);
    let read = given("a.txt", &hour).unwrap();
    let segments = &read.transcript.segments;
    assert!(segments.len() > 100 && segments.iter().all(|s| s.text.len() < 500 && s.text.ends_with('.')));
    assert_eq!(read.transcript.text(), hour.trim());
    assert_eq!(segments.iter().filter(|s| s.paragraph).count(), 0);
}

#[test]
fn what_is_no_transcript_is_said_to_be_none() {
    let error = |name: &str, content: &str| given(name, content).unwrap_err();
    assert!(error("a.json", r#"{"name":"bestbox","version":1}"#).contains("no transcript"));
    assert!(error("a.json", r#"{"segments":[{"start":0"#).contains("not valid JSON"));
    let odd = error("a.json", r#"{"segments":[{"start":"now","text":"x"}]}"#);
    assert!(odd.contains("segments[0].start"), "{odd}");
    assert!(error("a.json", &OUTCOME.replace("\"schema\":1", "\"schema\":7")).contains("later version"));
    assert!(error("a.srt", "just words").contains("no srt cue"));
    assert!(error("a.txt", "a\0b").contains("zero bytes"));
}

#[test]
fn a_json_of_something_else_is_known_by_its_head() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        is_foreign(&path)
    };
    let long = "x ".repeat(100_000);
    assert!(foreign("a.json", &format!(r#"{{"id":1,"title":"t","formats":[],"description":"{long}"}}"#)));
    assert!(foreign("a.json", r#"["a","b"]"#));
    assert!(foreign("a.json", r#"{"id":1,"text":"a post","likes":3}"#));
    assert!(foreign("a.jsonl", r#"{"path":"a.wav"}"#));
    assert!(
        !foreign("a.json", &format!(r#"{{"text":"{long}","segments":[],"language":"en"}}"#)),
        "cut in the first value"
    );
    assert!(!foreign("a.json", OUTCOME));
    assert!(!foreign("a.jsonl", r#"{"start":0,"end":1,"text":"x"}"#));
}

#[test]
fn an_empty_transcript_is_one_without_words() {
    for (name, content) in [("a.vtt", "WEBVTT\n"), ("a.srt", "\n"), ("a.txt", " \n"), ("a.json", r#"{"segments":[]}"#)]
    {
        let read = given(name, content).unwrap();
        assert_eq!((shape(&read), read.duration, code(&read)), (vec![], None, None), "{name}");
    }
}

#[test]
fn the_language_asked_for_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    std::fs::write(&path, OUTCOME).unwrap();
    let read = read(&path, LanguageChoice::Fixed("de".parse().unwrap())).unwrap();
    assert_eq!(code(&read), Some("de"));
}
