//! The whole pipeline over HTTP: one answer or events, recordings and text.

use super::support::http::*;
use super::support::serve::{Served, serve};
use serde_json::Value;

const PIPELINE: &str = "/v1/pipeline";
const TEXT: &str = "/v1/text";

#[test]
fn the_pipeline_is_one_request_away() {
    let served = serve().start();
    outcome_and_formats(&served);
    events(&served);
    refusals(&served);
    text(&served);
    text_refusals(&served);
}

fn clip(fields: &[(&str, &str)]) -> Form {
    Form::new().file("roof.wav", "audio/wav", &sample("requests/note-roof.wav")).fields(fields)
}

fn outcome_and_formats(served: &Served) {
    let plan = r#"{"cleanup":"verbatim","route":"text","keywords":["Wednesday"],"word_times":true,"model":"default"}"#;
    let answer = post(&served.url, PIPELINE, clip(&[("plan", plan)]));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    let outcome = answer.json();
    let transcript = &outcome["transcript"];
    assert_eq!((outcome["schema"].as_u64(), transcript["language"].as_str()), (Some(1), Some("en")));
    assert_eq!(outcome["source"]["name"].as_str(), Some("roof.wav"));
    assert!(transcript["segments"][0]["words"].as_array().is_some_and(|words| words.len() > 5), "{transcript}");
    let spoken = outcome["cleaned"]["text"].as_str().expect("text").to_owned();
    assert!(spoken.to_lowercase().contains("scaffolding"), "{spoken}");
    assert_eq!(outcome["cleaned"]["style"].as_str(), Some("verbatim"));
    assert!(outcome["intent"].is_null() && outcome["reply"].is_null() && outcome["translated"].is_null());
    let flat = [("cleanup", "verbatim"), ("route", "text")];
    let begins = [
        ("text", "text/plain; charset=utf-8", ""),
        ("srt", "text/plain; charset=utf-8", "1\n00:00:0"),
        ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n"),
        ("csv", "text/csv; charset=utf-8", "start,end,text\n"),
        ("jsonl", "application/x-ndjson", "{\"schema\":1"),
    ];
    for (format, kind, begin) in begins {
        let answer = post(&served.url, PIPELINE, clip(&flat).field("format", format));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{format}");
        assert!(answer.body.starts_with(begin) && answer.body.contains("caffolding"), "{format}: {}", answer.body);
    }
}

fn events(served: &Served) {
    let audio = joined(&["librivox/0870.wav", "librivox/0880.wav"]);
    let form =
        Form::new().field("stream", "true").field("cleanup", "punctuate").field("route", "auto").field("to", "de");
    let (status, head, events) = post_stream(&served.url, PIPELINE, form.file("talk.wav", "audio/wav", &audio));
    assert_eq!(status, 200);
    assert!(head.to_lowercase().contains("content-type: text/event-stream"), "{head}");
    for sent in &events {
        assert_eq!(sent.event.as_deref(), sent.data["type"].as_str(), "{sent:?}");
    }
    let named = |name: &str| events.iter().filter(|sent| sent.data["type"] == name).collect::<Vec<_>>();
    let position = |name: &str| events.iter().position(|sent| sent.data["type"] == name);
    let done = events.last().expect("events");
    assert_eq!(done.data["type"].as_str(), Some("done"));
    let outcome = &done.data["outcome"];
    let segments = named("segment");
    assert!(segments.len() >= 2, "{events:?}");
    let streamed: Vec<&Value> = segments.iter().map(|sent| &sent.data["text"]).collect();
    let whole = outcome["transcript"]["segments"].as_array().expect("segments");
    assert_eq!(streamed, whole.iter().map(|segment| &segment["text"]).collect::<Vec<_>>());
    let cues = |name: &str| -> Vec<Value> {
        named(name).iter().flat_map(|sent| sent.data["cues"].as_array().expect("cues").clone()).collect()
    };
    assert_eq!(cues("cleaned"), *outcome["cleaned"]["cues"].as_array().expect("cues"));
    assert_eq!(named("intent").len(), 1);
    assert_eq!(named("intent")[0].data["label"], outcome["intent"]["label"]);
    let warned: Vec<&Value> = named("warning").iter().map(|sent| &sent.data["code"]).collect();
    for warning in outcome["warnings"].as_array().expect("warnings") {
        assert!(warned.contains(&&warning["code"]), "{warning}");
    }
    let translated = outcome["translated"]["cues"].as_array();
    assert!(translated.is_none_or(|whole| *whole == cues("translated")), "{events:?}");
    assert!(
        translated.is_some() || warned.iter().any(|code| code.as_str().is_some_and(|c| c.starts_with("translation")))
    );
    // Early means early: the first words are cleaned before the last ones are recognised.
    let last_segment = events.iter().rposition(|sent| sent.data["type"] == "segment");
    assert!(position("segment") < last_segment && position("segment") < position("cleaned"));
    assert!(position("progress") < last_segment, "{events:?}");
    assert!(done.at > events[position("segment").expect("a segment")].at);
}

fn refusals(served: &Served) {
    let cases = [
        ("cleanup", "sparkling", "cleanup"),
        ("style", "sparkling", "style"),
        ("to", "klingon", "to"),
        ("translate_to", "klingon", "translate_to"),
        ("route", "home", "route"),
        ("format", "docx", "format"),
        ("language", "de", "language"),
        ("temperature", "-1", "temperature"),
        ("word_times", "perhaps", "word_times"),
        ("plan", "{\"clenup\":\"tidy\"}", "plan"),
        ("plan", "tidy", "plan"),
    ];
    for (name, value, param) in cases {
        let answer = post(&served.url, PIPELINE, clip(&[(name, value)]));
        assert_eq!(answer.error(400).0.as_deref(), Some(param), "{name}={value}");
    }
    assert_eq!(
        post(&served.url, PIPELINE, clip(&[("model", "nope")])).error(404).1.as_deref(),
        Some("model_not_found")
    );
    let both = clip(&[("stream", "true"), ("format", "srt")]);
    assert_eq!(post(&served.url, PIPELINE, both).error(400).0.as_deref(), Some("format"));
    let noise = Form::new().field("stream", "true").file("a.wav", "audio/wav", b"nothing of the kind");
    let answer = post(&served.url, PIPELINE, noise);
    assert_eq!(answer.error(answer.status).0.as_deref(), Some("file"));
    assert!((400..500).contains(&answer.status));
    post_json(&served.url, PIPELINE, "{}").error(415);
}

fn text(served: &Served) {
    let body = r#"{"text":"um so the the report is ready","plan":{"cleanup":"tidy"},"route":"text"}"#;
    let answer = post_json(&served.url, TEXT, body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let outcome = answer.json();
    let cleaned = outcome["cleaned"]["text"].as_str().expect("text").to_lowercase();
    assert!(
        cleaned.contains("the report is ready") && !cleaned.contains("um") && !cleaned.contains("the the"),
        "{cleaned}"
    );
    assert!(outcome["source"]["duration"].is_null() && outcome["intent"].is_null());
    let body = r#"{"text":"What is the capital of France?","cleanup":"verbatim","route":"auto","stream":true}"#;
    let (status, _, events) = stream_of(&served.url, TEXT, "application/json; charset=utf-8", body.as_bytes());
    assert_eq!(status, 200);
    let done = &events.last().expect("events").data;
    assert_eq!(done["type"].as_str(), Some("done"));
    let intent = events.iter().find(|sent| sent.data["type"] == "intent").expect("an intent");
    assert_eq!(intent.data["label"], done["outcome"]["intent"]["label"]);
    let reply: String =
        events.iter().filter(|s| s.data["type"] == "reply.delta").filter_map(|s| s.data["delta"].as_str()).collect();
    let whole = done["outcome"]["reply"]["text"].as_str().unwrap_or_default();
    assert_eq!(reply.trim(), whole.trim());
    let markdown =
        post_json(&served.url, TEXT, r#"{"text":"One.\nTwo.","cleanup":"verbatim","route":"text","format":"md"}"#);
    assert_eq!(markdown.header("content-type"), Some("text/markdown; charset=utf-8"));
    assert!(markdown.body.contains("One.") && markdown.body.contains("Two."));
}

fn text_refusals(served: &Served) {
    let cases: [(&str, u16, Option<&str>); 10] = [
        (r#"{"text":""}"#, 400, Some("text")),
        (r#"{"text":" \n\t"}"#, 400, Some("text")),
        (r#"{"text":"a","cleanup":"sparkling"}"#, 400, Some("cleanup")),
        (r#"{"text":"a","format":"srt"}"#, 400, Some("format")),
        (r#"{"text":"a""#, 400, None),
        (r#"{"text":5}"#, 422, None),
        (r#"["text"]"#, 422, None),
        (r#"{"txt":"a"}"#, 422, None),
        (r#"{"text":"a","stream":"yes"}"#, 422, None),
        (r#"{"text":"a","plan":{"clenup":"tidy"}}"#, 422, None),
    ];
    for (body, status, param) in cases {
        assert_eq!(post_json(&served.url, TEXT, body).error(status).0.as_deref(), param, "{body}");
    }
    let long = format!(r#"{{"text":"{}"}}"#, "word ".repeat(30_000));
    assert_eq!(post_json(&served.url, TEXT, &long).error(413).0.as_deref(), Some("text"));
    let longer = format!(r#"{{"text":"{}"}}"#, "word ".repeat(300_000));
    post_json(&served.url, TEXT, &longer).error(413);
    send(&served.url, "POST", TEXT, "text/plain", b"hello").error(415);
    send(&served.url, "POST", TEXT, "application/x-www-form-urlencoded", b"text=hello").error(415);
    send(&served.url, "POST", TEXT, "application/json", b"\xff\xfe").error(400);
    get(&served.url, TEXT).error(405);
}
