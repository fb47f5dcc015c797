use super::super::events::Failure;
use super::*;
use crate::speech::Segment;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

fn session() -> Session {
    let rules = Rules {
        vad: VadSettings::default(),
        options: SpeechOptions::default(),
        buffer: 30.0,
        partial: 1.0,
        model: "whisper-1".into(),
        select: Box::new(|model| (model != "nobody").then(|| (model != "whisper-1").then(|| model.to_owned()))),
    };
    let mut session =
        Session::new(Opening { shape: Shape::Nested, older: false, expires_at: 7 }, rules, None).expect("it begins");
    assert_eq!(session.created(), Event::Created { session: session.view() });
    set(&mut session, json!({"format": {"type": "audio/pcm", "rate": 16000}}));
    session
}

/// Changes settings in the nested shape.
fn set(session: &mut Session, input: Value) -> Vec<Event> {
    let update = json!({"type": "session.update", "event_id": "up", "session": {"audio": {"input": input}}});
    session.take(&update.to_string())
}

fn say(session: &mut Session, kind: &str) -> Vec<Event> {
    session.take(&json!({"type": format!("input_audio_buffer.{kind}"), "event_id": "e7"}).to_string())
}

/// A person says "he was not an ill disposed young man" (2.99 s at 16 kHz).
fn speech() -> Vec<i16> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/librivox/0880.wav");
    let samples = hound::WavReader::open(path).expect("the sample").into_samples::<i16>();
    samples.map(|sample| sample.expect("a sample")).collect()
}

fn silence(seconds: f64) -> Vec<i16> {
    // Not digital silence: the noise of a quiet room.
    (0..(seconds * 16_000.0) as i64).map(|n| (n * 7_919 % 13 - 6) as i16).collect()
}

/// Appends in pieces of 50 ms.
fn append(session: &mut Session, samples: &[i16]) -> Vec<Event> {
    let pieces = samples.chunks(800).map(|piece| piece.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<u8>>());
    pieces.flat_map(|bytes| append_bytes(session, &bytes)).collect()
}

fn append_bytes(session: &mut Session, bytes: &[u8]) -> Vec<Event> {
    let audio = BASE64_STANDARD.encode(bytes);
    session.take(&json!({"type": "input_audio_buffer.append", "event_id": "e8", "audio": audio}).to_string())
}

fn heard(text: &str) -> Transcript {
    let segments = vec![Segment { text: text.into(), ..Segment::default() }];
    Transcript { language: Some(Lang::ENGLISH), segments }
}

/// The recogniser says `text` of whatever is next; which part it was.
fn recognise(session: &mut Session, text: &str) -> (Part, Vec<Event>) {
    let work = session.next_work().expect("work");
    assert!(session.wants_work());
    (work.part, session.heard(Ok(heard(text))))
}

fn kinds(events: &[Event]) -> Vec<String> {
    let kind = |event: &Event| {
        let json: Value = serde_json::from_str(&event.to_json()).expect("JSON");
        json["type"].as_str().expect("a type").rsplit_once('.').map_or("error", |(_, kind)| kind).to_owned()
    };
    events.iter().map(kind).collect()
}

fn fault(events: &[Event]) -> (&'static str, Option<&str>) {
    match events {
        [Event::Error { error }] => (error.code, error.event_id.as_deref()),
        other => panic!("not one error: {other:?}"),
    }
}

fn item_of(event: &Event) -> String {
    let json: Value = serde_json::from_str(&event.to_json()).expect("JSON");
    json["item_id"].as_str().or(json["item"]["id"].as_str()).expect("an item").to_owned()
}

#[test]
fn a_turn_begins_with_speech_and_ends_with_a_pause() {
    let mut session = session();
    let mut events = append(&mut session, &silence(1.0));
    assert!(events.is_empty(), "{events:?}");
    events.extend(append(&mut session, &speech()));
    events.extend(append(&mut session, &silence(1.0)));
    assert_eq!(kinds(&events), ["speech_started", "speech_stopped", "committed", "added", "done"]);
    let items: Vec<String> = events.iter().map(item_of).collect();
    assert!(items.iter().all(|item| *item == items[0]), "one item: {items:?}");
    let [Event::SpeechStarted { audio_start_ms, .. }, Event::SpeechStopped { audio_end_ms, .. }, ..] = &events[..]
    else {
        panic!("{events:?}")
    };
    // The voice begins within 0.3 s of the recording and ends within its last half second.
    assert!((700..=1_300).contains(audio_start_ms), "{audio_start_ms}");
    assert!((3_900..=4_600).contains(audio_end_ms), "{audio_end_ms}");
    let (part, events) = recognise(&mut session, "He was not an ill-disposed young man.");
    assert_eq!((part, kinds(&events)), (Part::Whole, vec!["delta".to_owned(), "completed".to_owned()]));
    let Event::Completed { transcript, usage: Usage::Duration { seconds }, languages, .. } = &events[1] else {
        panic!("{events:?}")
    };
    assert_eq!(transcript, "He was not an ill-disposed young man.");
    assert!((2.5..4.0).contains(seconds), "{seconds}");
    assert_eq!(languages, &[Language { code: "en" }]);
    assert!(session.next_work().is_none() && session.is_settled());
    // The next turn follows this one.
    append(&mut session, &speech());
    let events = append(&mut session, &silence(1.0));
    let Some(Event::Committed { previous_item_id, .. }) = events.iter().find(|e| matches!(e, Event::Committed { .. }))
    else {
        panic!("{events:?}")
    };
    assert_eq!(previous_item_id.as_deref(), Some(items[0].as_str()));
}

#[test]
fn text_is_shown_while_somebody_speaks_and_adds_up() {
    let mut session = session();
    let (mut looks, mut deltas) = (0, String::new());
    let so_far = ["He was", "He was not an", "He was not an ill"];
    for piece in speech().chunks(800) {
        append(&mut session, piece);
        if let Some(work) = session.next_work() {
            assert_eq!(work.part, Part::SoFar);
            for event in session.heard(Ok(heard(so_far[looks]))) {
                let Event::Delta { delta, .. } = event else { panic!("{event:?}") };
                deltas += &delta;
            }
            looks += 1;
        }
    }
    assert_eq!((looks, deltas.as_str()), (2, "He was"), "a look a second, shown once two agree");
    append(&mut session, &silence(1.0));
    let (_, events) = recognise(&mut session, "He was not an ill-disposed young man.");
    let [Event::Delta { delta, .. }, Event::Completed { transcript, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(&(deltas + delta), transcript);
}

#[test]
fn a_look_is_given_up_for_the_whole() {
    let mut session = session();
    append(&mut session, &speech()[..24_000]);
    assert_eq!(session.next_work().map(|work| work.part), Some(Part::SoFar));
    assert!(session.wants_work());
    append(&mut session, &speech()[24_000..]);
    append(&mut session, &silence(1.0));
    assert!(!session.wants_work(), "its utterance has ended");
    session.abandon();
    assert_eq!(recognise(&mut session, "He was.").0, Part::Whole);
}

#[test]
fn what_is_committed_by_hand_is_one_item_recognised_while_it_comes() {
    let mut session = session();
    let events = set(&mut session, json!({"turn_detection": null}));
    assert_eq!(kinds(&events), ["updated"]);
    assert!(append(&mut session, &speech()).is_empty());
    assert!(append(&mut session, &silence(1.5)).is_empty(), "nobody is told of turns");
    let (part, events) = recognise(&mut session, "One.");
    assert_eq!((part, kinds(&events)), (Part::Whole, vec!["delta".to_owned()]));
    append(&mut session, &speech());
    let events = say(&mut session, "commit");
    assert_eq!(kinds(&events), ["committed", "added", "done"]);
    let (_, events) = recognise(&mut session, "Two.");
    let [Event::Delta { delta, .. }, Event::Completed { transcript, usage: Usage::Duration { seconds }, .. }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((delta.as_str(), transcript.as_str()), (" Two.", "One. Two."));
    assert!((seconds - (2.0 * speech().len() as f64 / 16_000.0 + 1.5)).abs() < 0.01, "{seconds}");
}

#[test]
fn too_little_cannot_be_committed_and_silence_has_no_text() {
    let mut session = session();
    set(&mut session, json!({"turn_detection": null}));
    assert_eq!(fault(&say(&mut session, "commit")), ("input_audio_buffer_commit_empty", Some("e7")));
    append(&mut session, &silence(0.09));
    assert_eq!(fault(&say(&mut session, "commit")).0, "input_audio_buffer_commit_empty");
    append(&mut session, &silence(0.02));
    let events = say(&mut session, "commit");
    assert_eq!(kinds(&events), ["committed", "added", "done", "completed"]);
    assert!(matches!(&events[3], Event::Completed { transcript, .. } if transcript.is_empty()));
    assert_eq!(fault(&say(&mut session, "commit")).0, "input_audio_buffer_commit_empty", "it is empty again");
}

#[test]
fn a_turn_can_be_ended_by_hand() {
    let mut session = session();
    let begun = append(&mut session, &speech()[..32_000]);
    assert_eq!(kinds(&begun), ["speech_started"]);
    let events = say(&mut session, "commit");
    assert_eq!(kinds(&events), ["committed", "added", "done"]);
    assert_eq!(item_of(&events[0]), item_of(&begun[0]));
    assert_eq!(recognise(&mut session, "He was.").0, Part::Whole);
}

#[test]
fn cleared_audio_is_forgotten_with_its_work() {
    let mut session = session();
    append(&mut session, &speech()[..32_000]);
    assert!(session.next_work().is_some());
    assert_eq!(kinds(&say(&mut session, "clear")), ["cleared"]);
    assert!(!session.wants_work());
    session.abandon();
    assert!(append(&mut session, &silence(2.0)).is_empty());
    // By hand: utterances that had ended go too.
    set(&mut session, json!({"turn_detection": null}));
    append(&mut session, &speech());
    append(&mut session, &silence(1.5));
    say(&mut session, "clear");
    assert!(session.next_work().is_none());
    assert_eq!(fault(&say(&mut session, "commit")).0, "input_audio_buffer_commit_empty");
}

#[test]
fn a_failure_is_told_of_its_item_alone() {
    let mut session = session();
    for _ in 0..2 {
        append(&mut session, &speech());
        append(&mut session, &silence(1.0));
    }
    session.next_work().expect("work");
    let failure = Failure { kind: "server_error", code: "transcription_failed", message: "no".into(), param: None };
    let events = session.heard(Err(failure));
    assert_eq!(kinds(&events), ["failed"]);
    assert_eq!(kinds(&recognise(&mut session, "Fine.").1), ["delta", "completed"]);
}

#[test]
fn the_older_shape_is_answered_in_kind() {
    let mut session = session();
    let update = json!({"type": "transcription_session.update", "session": {
        "input_audio_format": "g711_ulaw", "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
    }});
    let events = session.take(&update.to_string());
    assert!(matches!(&events[..], [Event::OlderUpdated { session }] if session["input_audio_format"] == "g711_ulaw"));
    let update = json!({"type": "session.update", "session": {"input_audio_format": "pcm16"}});
    let events = session.take(&update.to_string());
    assert!(matches!(&events[..], [Event::Updated { session }] if session["input_audio_format"] == "pcm16"));
    set(&mut session, json!({}));
    let flat = json!({"type": "transcription_session.update", "session": {}});
    session.take(&flat.to_string());
    // 24 kHz now: three samples for two.
    let speech: Vec<i16> = speech()
        .chunks_exact(2)
        .flat_map(|two| [two[0], ((i32::from(two[0]) + i32::from(two[1])) / 2) as i16, two[1]])
        .collect();
    let mut events = append(&mut session, &speech);
    events.extend(append(&mut session, &[0; 24_000]));
    assert_eq!(kinds(&events), ["speech_started", "speech_stopped", "committed", "created"]);
}

#[test]
fn what_is_wrong_is_answered_and_changes_nothing() {
    let mut session = session();
    let before = session.settings.clone();
    assert_eq!(fault(&session.take("{nonsense")), ("invalid_json", None));
    assert_eq!(fault(&append_bytes(&mut session, &[1, 2, 3])), ("invalid_value", Some("e8")));
    assert_eq!(
        fault(&set(&mut session, json!({"transcription": {"model": "nobody"}}))),
        ("model_not_found", Some("up"))
    );
    assert_eq!(fault(&set(&mut session, json!({"turn_detection": {"threshold": 7}}))), ("invalid_value", Some("up")));
    assert_eq!(session.settings, before);
    assert_eq!(kinds(&append(&mut session, &speech())), ["speech_started"], "and the session goes on");
}

#[test]
fn speech_that_nobody_recognises_is_refused_at_the_limit() {
    let mut session = session();
    let mut seconds = 0.0;
    let refused = loop {
        let mut events = append(&mut session, &speech());
        events.extend(append(&mut session, &silence(1.0)));
        seconds += 4.0;
        if let Some(error) = events.iter().position(|event| matches!(event, Event::Error { .. })) {
            break events[error].clone();
        }
        assert!(seconds < 60.0, "never refused");
    };
    assert_eq!(fault(&[refused]).0, "input_audio_buffer_full");
    recognise(&mut session, "One.");
    assert!(append(&mut session, &silence(0.1)).is_empty(), "there is room again");
}

#[test]
fn settings_of_an_utterance_are_those_it_was_spoken_under() {
    let mut session = session();
    set(&mut session, json!({"transcription": {"language": "de", "prompt": "Montag", "model": "base"}}));
    append(&mut session, &speech());
    let events = set(&mut session, json!({"transcription": null, "turn_detection": {"type": "semantic_vad"}}));
    assert_eq!(kinds(&events), ["speech_stopped", "committed", "added", "done", "updated"], "the old turn ends first");
    let work = session.next_work().expect("work");
    assert_eq!((work.model.as_deref(), work.options.prompt.as_deref()), (Some("base"), Some("Montag")));
    session.heard(Ok(heard("Montag.")));
    append(&mut session, &speech());
    let events = append(&mut session, &silence(2.0));
    assert_eq!(kinds(&events), ["speech_stopped", "committed", "added", "done"], "turns without text");
    assert!(session.next_work().is_none() && session.is_settled());
}

#[test]
fn log_probabilities_come_with_the_text_when_asked_for() {
    let mut session = session();
    let ask = json!({"type": "session.update", "session": {"include": ["item.input_audio_transcription.logprobs"]}});
    session.take(&ask.to_string());
    append(&mut session, &speech());
    append(&mut session, &silence(1.0));
    let work = session.next_work().expect("work");
    assert!(work.options.token_logprobs);
    let token = TokenLogprob { token: " He".into(), logprob: -0.5, bytes: b" He".to_vec() };
    let mut text = heard("He");
    text.segments[0].token_logprobs = vec![token.clone()];
    let events = session.heard(Ok(text));
    assert!(matches!(&events[1], Event::Completed { logprobs: Some(all), .. } if *all == [token]), "{events:?}");
}
