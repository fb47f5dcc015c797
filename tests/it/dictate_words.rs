//! What becomes of a take: history, private mode, snippets, and the plan of each binding.

use crate::support::dictate::{Home, words};
use serde_json::Value;
use std::time::Duration;

/// "How many hours are there in one week?"
const SAMPLE: &str = "requests/quick-hours.wav";

#[track_caller]
fn take(home: &Home, binding: &str) -> String {
    home.ctl(&["start", "--binding", binding]);
    std::thread::sleep(Duration::from_millis(3_600));
    let text = home.ctl(&["stop", "--wait"]);
    home.until("rest", |status| status["state"] == "idle");
    text
}

#[track_caller]
fn takes(home: &Home, args: &[&str]) -> Vec<Value> {
    let ran = home.run(&[["history"].as_slice(), args, &["--json"]].concat()).ok();
    ran.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn what_was_said_is_kept_found_made_anew_and_deleted_but_not_in_private() {
    let config = "profile = 'tiny'\n[cleanup]\nstyle = 'verbatim'\n[dictate]\noutput = 'stdout'\n\
                  [dictate.snippets]\n'How many hours are there in one week' = '168 ⏰'\n\
                  [[dictate.binding]]\nname = 'plain'\n\
                  [[dictate.binding]]\nname = 'notes'\noutput = 'file:notes.txt'\n\
                  [[dictate.binding]]\nname = 'run'\nplan = 'command'\nrun = 'cat > ran.txt'\n";
    let home = Home::new(config);
    let dictation = home.dictate_hearing(SAMPLE, &[]);
    // The whole take is a snippet; its words stay in the history.
    assert_eq!(take(&home, "plain"), "168 ⏰");
    assert_eq!(dictation.printed().trim(), "168 ⏰");
    take(&home, "notes");
    assert_eq!(std::fs::read_to_string(home.path("notes.txt")).expect("notes"), "168 ⏰\n");
    take(&home, "run");
    assert_eq!(std::fs::read_to_string(home.path("ran.txt")).expect("written"), "168 ⏰");

    let all = takes(&home, &["list"]);
    let bindings: Vec<&str> = all.iter().map(|take| take["binding"].as_str().expect("a name")).collect();
    assert_eq!(bindings, ["run", "notes", "plain"]);
    let how: Vec<&str> = all.iter().map(|take| take["delivered"].as_str().expect("a word")).collect();
    assert_eq!(how, ["command", "file", "stdout"]);
    assert_eq!(takes(&home, &["search", "HOURS", "week"]).len(), 3);
    assert_eq!(takes(&home, &["search", "months"]).len(), 0);
    let shown = home.run(&["history", "show", "1"]).ok().out;
    assert!(
        shown.contains("recognised: ") && shown.contains("text: 168 ⏰") && shown.contains("binding: run"),
        "{shown}"
    );
    let audio = home.run(&["history", "audio", "2"]).ok().out;
    let reader = hound::WavReader::open(audio.trim()).expect("a recording");
    assert!(reader.len() > 3 * 16_000 && reader.spec().sample_rate == 16_000);

    home.ctl(&["private", "on"]);
    assert_eq!(take(&home, "plain"), "168 ⏰");
    assert_eq!(takes(&home, &["list"]).len(), 3, "nothing of it is kept");
    assert_eq!(home.audio().len(), 3);
    home.run(&["ctl", "last"]).failed(1, &["no text yet"]);
    home.ctl(&["private", "off"]);
    drop(dictation);

    let anew = home.run(&["history", "reprocess", "1", "--save"]).ok().out;
    assert_eq!(words(&anew), words("How many hours are there in one week?"));
    assert_eq!(takes(&home, &["list"])[0]["text"], anew.trim());
    home.run(&["history", "delete", "2"]).ok();
    assert_eq!((takes(&home, &["list"]).len(), home.audio().len()), (2, 2));
    home.run(&["history", "show", "9"]).failed(1, &["there is no take '9'"]);
    home.run(&["history", "delete", "--all"]).ok();
    assert_eq!((takes(&home, &["list"]).len(), home.audio().len()), (0, 0));
}

/// An answer is streamed, and given up by a word; text is cleaned by a model.
#[test]
fn the_agent_answers_and_can_be_stopped() {
    let config = "profile = 'tiny'\n[agent]\nmax_tokens = 2000\n[dictate]\noutput = 'stdout'\nanswer = 'insert'\n\
                  deadline_seconds = 20\n\
                  [[dictate.binding]]\nname = 'plain'\n\
                  [[dictate.binding]]\nname = 'ask'\nplan = 'agent'\n\
                  [[dictate.binding]]\nname = 'german'\nplan = 'translate'\nto = 'de'\n";
    let home = Home::new(config);
    let dictation = home.dictate_hearing(SAMPLE, &[]);
    let text = take(&home, "plain");
    assert_eq!(words(&text), words("How many hours are there in one week?"));
    assert!(text.ends_with('?'), "{text}");

    let mut follower = home.follow();
    home.ctl(&["start", "--binding", "ask"]);
    std::thread::sleep(Duration::from_millis(3_600));
    home.ctl(&["stop"]);
    follower.next("reply-delta");
    home.ctl(&["cancel"]);
    // Given up, or over before we said so.
    let end = home.until("rest", |status| status["state"] == "idle");
    assert_eq!(end["processing"], 0, "{end}");
    let ends = follower.all().iter().filter(|event| event["event"] == "cancelled" || event["event"] == "reply").count();
    assert_eq!(ends, 1, "{:?}", follower.all());

    let german = take(&home, "german");
    assert!(!german.is_empty());
    let kept = takes(&home, &["list"]);
    assert_eq!(kept.len(), 3);
    assert_eq!((kept[0]["binding"].as_str(), kept[0]["state"].as_str()), (Some("german"), Some("done")));
    assert!(dictation.printed().lines().any(|line| line == text), "{}", dictation.printed());
}
