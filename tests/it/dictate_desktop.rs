//! From the key to the window, on a real X server with a window manager and a sound server: hold, speak, release, and
//! the text is there.

use crate::support::cli::sample;
use crate::support::desktop::sound::Plugged;
use crate::support::desktop::windows::Window;
use crate::support::desktop::{Desktop, wait_until};
use crate::support::dictate::{Dictation, Follower, Home, resources, words};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const CONFIG: &str = "profile = 'tiny'\n[cleanup]\nstyle = 'verbatim'\n\
                      [dictate.insert]\ntrailing_space = true\n\
                      [[dictate.binding]]\nname = 'hold'\nkey = 'F9'\nmode = 'hold'\n\
                      [[dictate.binding]]\nname = 'auto'\nkey = 'F8'\nmode = 'auto'\n";
/// Longer than any text takes to arrive, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    desktop: Desktop,
    home: Home,
    /// "How many hours are there in one week?", from its first sound to its last.
    speech: PathBuf,
}

/// Writes the recording without the silence around it: whoever loses the first or the last moment loses a word.
fn trimmed(to: PathBuf) -> PathBuf {
    let mut reader = hound::WavReader::open(sample("requests/quick-hours.wav")).expect("a sample");
    let (spec, samples) = (reader.spec(), reader.samples::<i16>().map(Result::unwrap).collect::<Vec<i16>>());
    let loud = |sample: &i16| sample.unsigned_abs() > 600;
    let (first, last) = (samples.iter().position(loud).expect("sound"), samples.iter().rposition(loud).expect("sound"));
    let mut writer = hound::WavWriter::create(&to, spec).expect("a file");
    samples[first..=last].iter().for_each(|sample| writer.write_sample(*sample).expect("a sample"));
    writer.finalize().expect("a file");
    to
}

impl Stage {
    fn set() -> Stage {
        let desktop = Desktop::with_sound();
        let home = Home::on(&desktop, CONFIG);
        let speech = trimmed(desktop.folder().join("speech.wav"));
        Stage { desktop, home, speech }
    }

    /// Holds the key, speaks as soon as it listens, and lets go with the last sound.
    fn say(&self, follower: &mut Follower) {
        self.desktop.xdotool(["keydown", "F9"]);
        follower.next("listening");
        self.desktop.play(&self.speech);
        self.desktop.xdotool(["keyup", "F9"]);
    }

    /// The same into `window`; what it received. `before` is what it held.
    #[track_caller]
    fn say_into(&self, window: &Window, follower: &mut Follower) -> String {
        self.desktop.focus(window);
        let before = window.text();
        self.say(follower);
        let told = follower.next("final")["text"].as_str().expect("a text").to_owned();
        let begun = Instant::now();
        loop {
            let now = window.text();
            if let Some(new) = now.strip_prefix(&before).filter(|new| new.len() > told.len()) {
                assert_eq!(new, format!("{told} "));
                return told;
            }
            assert!(begun.elapsed() < PATIENCE, "{told:?} is not in the window: {now:?}; {:?}", follower.all());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// First and last word, which is where words are lost.
#[track_caller]
fn is_whole(text: &str) {
    let words = words(text);
    assert!(words.starts_with(&["how".into(), "many".into()]) && words.ends_with(&["week".into()]), "{text:?}");
}

#[test]
fn hold_speak_release_and_the_text_is_in_the_window() {
    let long = std::env::var_os("BESTBOX_LONG").is_some();
    let stage = Stage::set();
    let (desktop, home) = (&stage.desktop, &stage.home);
    let terminal = desktop.xterm("terminal", &[]);
    let editor = desktop.editor("editor");
    let dictation = home.dictate(&[]);
    let mut follower = home.follow();

    let cycles = if long { 200 } else { 10 };
    let mut settled = None;
    for cycle in 0..cycles {
        let window = if cycle % 2 == 0 { &terminal } else { &editor };
        is_whole(&stage.say_into(window, &mut follower));
        assert_eq!(follower.next("delivered")["how"], "paste");
        if long {
            eprintln!("cycle {cycle}: {:?}", resources(dictation.pid()));
        }
        if cycle == cycles / 10 {
            settled = Some(resources(dictation.pid()));
        }
    }
    let (settled, end) = (settled.expect("measured"), resources(dictation.pid()));
    assert!(end.0 < settled.0 + (60 << 20), "memory: {} MB, then {} MB", settled.0 >> 20, end.0 >> 20);
    assert!(end.1 < settled.1 + 20, "open files: {}, then {}", settled.1, end.1);
    assert_eq!(home.status()["dropped_samples"], 0);

    an_image_in_the_clipboard_survives(&stage, &terminal, &mut follower);
    a_window_that_lost_the_focus_gets_nothing(&stage, (&terminal, &editor), &mut follower);
    rapid_taps_leave_it_idle(&stage, &editor, &mut follower);
    drop(dictation);
    wait_until("the end", || !home.socket().exists());
}

fn an_image_in_the_clipboard_survives(stage: &Stage, window: &Window, follower: &mut Follower) {
    let image = stage.desktop.folder().join("image.png");
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    std::fs::write(&image, &bytes).expect("a file");
    stage.desktop.copy_file(&image, "image/png");
    is_whole(&stage.say_into(window, follower));
    follower.next("delivered");
    assert!(stage.desktop.clipboard_as("image/png") == bytes, "the image is another");
}

fn a_window_that_lost_the_focus_gets_nothing(stage: &Stage, windows: (&Window, &Window), follower: &mut Follower) {
    let (begun, other) = windows;
    stage.desktop.focus(begun);
    let before = (begun.text(), other.text());
    stage.desktop.xdotool(["keydown", "F9"]);
    follower.next("listening");
    stage.desktop.play(&stage.speech);
    stage.desktop.focus(other);
    stage.desktop.xdotool(["keyup", "F9"]);
    let text = follower.next("final")["text"].as_str().expect("a text").to_owned();
    let warning = follower.next("warning")["message"].as_str().expect("a sentence").to_owned();
    assert!(warning.contains("the text is in the clipboard"), "{warning}");
    assert_eq!(follower.next("delivered")["how"], "clipboard");
    assert_eq!(stage.desktop.clipboard().trim(), text);
    assert_eq!((begun.text(), other.text()), before);
}

fn rapid_taps_leave_it_idle(stage: &Stage, window: &Window, follower: &mut Follower) {
    for key in ["F9", "F8"] {
        let mut taps = vec!["key", "--delay", "6"];
        taps.resize(503, key);
        stage.desktop.xdotool(taps);
        // In mode auto taps start and stop: an even number of them ends in rest.
        stage.home.until("rest", |status| status["state"] == "idle" && status["processing"] == 0);
    }
    // Another dictation is not started beside it, and this one works on.
    let ran = stage.home.run(&["dictate"]).ok();
    assert!(ran.out.contains("running already"), "{}", ran.out);
    let mut fresh = stage.home.follow();
    is_whole(&stage.say_into(window, &mut fresh));
    drop(fresh);
    let _ = follower.all();
}

#[test]
fn a_microphone_that_is_unplugged_costs_no_word_before_and_none_after() {
    let mut stage = Stage::set();
    let terminal = stage.desktop.xterm("terminal", &[]);
    let dictation: Dictation = stage.home.dictate(&[]);
    let mut follower = stage.home.follow();
    stage.desktop.focus(&terminal);
    stage.desktop.xdotool(["keydown", "F9"]);
    follower.next("listening");
    stage.desktop.play(&stage.speech);
    stage.desktop.microphone(Plugged::Out);
    std::thread::sleep(Duration::from_secs(2));
    stage.desktop.xdotool(["keyup", "F9"]);
    is_whole(follower.next("final")["text"].as_str().expect("a text"));
    follower.next("delivered");
    stage.home.until("rest", |status| status["state"] == "idle");

    stage.desktop.microphone(Plugged::In);
    is_whole(&stage.say_into(&terminal, &mut follower));
    drop(dictation);
}

#[test]
fn the_chosen_microphone_is_taken_again_when_it_is_back() {
    let mut stage = Stage::set();
    let terminal = stage.desktop.xterm("terminal", &[]);
    // Warm: it is open between the takes, and looked after.
    let dictation = stage.home.dictate(&["--microphone", "Headset of", "--set", "dictate.warm=true"]);
    let listens_to =
        |status: &serde_json::Value, name: &str| status["microphone"].as_str().is_some_and(|n| n.contains(name));
    let mut follower = stage.home.follow();
    stage.home.until("the default in its place", |status| listens_to(status, "Default"));
    is_whole(&stage.say_into(&terminal, &mut follower));

    stage.desktop.headset(Plugged::In);
    stage.home.until("the chosen one", |status| listens_to(status, "Headset of"));
    is_whole(&stage.say_into(&terminal, &mut follower));

    stage.desktop.headset(Plugged::Out);
    // The sound server itself moves the open stream to its default.
    is_whole(&stage.say_into(&terminal, &mut follower));
    drop(dictation);
}
