//! `bestbox doctor --self-test`: two seconds from the microphone, what the model hears in them, and text into a window of
//! its own (on Wayland: its terminal), pasted and typed, as dictation does it.

use super::{Finding, Good, Note, Wrong};
use crate::app::dictate::desktop_session::Session;
use crate::app::session::program;
use crate::audio::capture::{Microphone, Sound, Source};
use crate::audio::{Channels, SPEECH_RATE};
use crate::config::Config;
use crate::engine::{Engine, Needs, Start, Upkeep};
use crate::error::Error;
#[cfg(all(unix, not(target_os = "macos")))]
use crate::output::insert::{Method, Target, focus, hand_over, insert};
use crate::speech::queue::Ticket;
use crate::speech::{SpeechOptions, Utterance};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Seconds that are recorded.
const SECONDS: usize = 2;
/// To open the microphone and to deliver them. Bluetooth takes a second to wake up.
const RECORDING: Duration = Duration::from_secs(8);
/// Quieter than this is nobody and nothing, dB of full scale.
const SILENCE: f32 = -70.0;
/// Louder than this is cut off at the top.
const OVERDRIVEN: f32 = -0.5;

/// Longest wait for a text that was sent.
#[cfg(all(unix, not(target_os = "macos")))]
const ARRIVES: Duration = Duration::from_secs(5);

/// Runs it; asks for two seconds of speech on standard error.
pub(super) async fn run(config: &Config, session: &Session) -> Vec<(&'static str, Finding)> {
    let source = super::source(&config.dictate.microphone);
    crate::app::say(&format!("bestbox: recording {SECONDS} seconds: say something"));
    let recorded = tokio::task::spawn_blocking(move || record(source)).await;
    let recorded = recorded.unwrap_or_else(|panic| Err(panic.to_string()));
    let (recording, heard) = match recorded {
        Ok(recorded) => {
            let finding = recorded.finding();
            (finding, Some(recognise(config, recorded.samples).await))
        }
        Err(reason) => (Wrong("nothing was recorded".into(), reason), None),
    };
    let mut findings = vec![("recording", recording)];
    findings.extend(heard.map(|heard| ("recognition", heard)));
    findings.extend(insertion(config, session).await);
    findings
}

/// What the microphone gave.
struct Recorded {
    name: String,
    /// 16 kHz mono.
    samples: Vec<f32>,
    dropped: u64,
}

impl Recorded {
    fn finding(&self) -> Finding {
        let decibels = |amplitude: f32| 20.0 * amplitude.max(1e-5).log10();
        let peak = decibels(self.samples.iter().fold(0.0, |most, sample| most.max(sample.abs())));
        let power = self.samples.iter().map(|sample| sample * sample).sum::<f32>() / self.samples.len().max(1) as f32;
        let level = decibels(power.sqrt());
        let said = format!("{SECONDS} s from {}, level {level:.0} dB, peak {peak:.0} dB", self.name);
        match () {
            () if peak < SILENCE => Wrong(
                format!("{said}: silence"),
                "is it muted, or another one chosen? `bestbox devices` lists them; dictate.microphone names one".into(),
            ),
            () if self.dropped > 0 => Note(format!("{said}, {} samples lost", self.dropped), "the machine is too busy"),
            () if peak > OVERDRIVEN => Note(format!("{said}: overdriven"), "turn the microphone down"),
            () => Good(said),
        }
    }
}

fn record(source: Source) -> Result<Recorded, String> {
    let (tell, sounds) = mpsc::channel();
    let microphone = Microphone::open(source, move |sound| {
        // The listener goes first.
        let _ = tell.send(sound);
    });
    let _microphone = microphone.map_err(|error| error.to_string())?;
    let until = Instant::now() + RECORDING;
    let mut recorded = Recorded { name: "the microphone".into(), samples: Vec::new(), dropped: 0 };
    let mut lost = None;
    while recorded.samples.len() < SECONDS * SPEECH_RATE as usize {
        match sounds.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Sound::Opened { name, .. }) => recorded.name = name,
            Ok(Sound::Samples(samples)) => recorded.samples.extend(samples),
            Ok(Sound::Dropped(count)) => recorded.dropped += count,
            // It is opened again, as dictation does.
            Ok(Sound::Lost(reason)) => lost = Some(reason),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let seconds = recorded.samples.len() as f64 / f64::from(SPEECH_RATE);
                if let Some(reason) = lost {
                    return Err(reason);
                }
                return Err(format!("{} delivered only {seconds:.1} s: try another microphone", recorded.name));
            }
        }
    }
    Ok(recorded)
}

/// What the speech model makes of it. Silence is no error.
async fn recognise(config: &Config, samples: Vec<f32>) -> Finding {
    match try_recognise(config, samples).await {
        Ok(text) if text.is_empty() => Good("no words in it".into()),
        Ok(text) => Good(format!("\"{text}\"")),
        Err(error) => Wrong("the recording cannot be recognised".into(), error.to_string()),
    }
}

async fn try_recognise(config: &Config, samples: Vec<f32>) -> Result<String, Error> {
    let start = Start {
        needs: Needs { speech: true, ..Needs::default() },
        channels: Channels::Average,
        program: program()?,
        notice: Arc::new(|_: &str| {}),
        upkeep: Upkeep::Once,
        config: config.clone(),
    };
    let engine = Engine::start(start).await?;
    let Some(utterance) = Utterance::whole(samples, 0.0) else { return Ok(String::new()) };
    let options = SpeechOptions { language: crate::app::session::plan(config)?.language, ..SpeechOptions::default() };
    let lease = engine.speech()?.lease(None).await?;
    let heard = lease.recognize(utterance, options, Ticket::default(), CancellationToken::new()).await?;
    drop(lease);
    engine.stop().await;
    Ok(heard.text().trim().to_owned())
}

/// Where the texts are to arrive.
#[cfg(all(unix, not(target_os = "macos")))]
enum Receiver {
    Window(super::window::Window),
    Terminal(super::terminal::Terminal),
}

#[cfg(all(unix, not(target_os = "macos")))]
impl Receiver {
    fn open(session: &Session) -> Result<Receiver, Finding> {
        match (&session.wayland, &session.display) {
            (Some(_), _) => super::terminal::Terminal::open().map(Receiver::Terminal).map_err(|reason| {
                let advice = "on Wayland the self-test types into its own terminal: run it in one";
                Note(format!("not tested ({reason})"), advice)
            }),
            (None, Some(display)) => super::window::Window::open(display)
                .map(Receiver::Window)
                .map_err(|reason| Wrong("its window cannot be opened".into(), reason)),
            (None, None) => Err(Note("there is no display".into(), "nothing can be inserted")),
        }
    }

    /// What is to get the text, and what of the settings depends on it.
    async fn target(&self) -> Target {
        match self {
            Receiver::Window(window) => {
                Target { window: Some(window.id()), application: "bestbox-doctor".into(), ..Target::default() }
            }
            Receiver::Terminal(_) => focus().await.unwrap_or_default(),
        }
    }

    fn arrived(&self, text: &str) -> bool {
        match self {
            Receiver::Window(window) => window.arrived(text, ARRIVES),
            Receiver::Terminal(terminal) => terminal.arrived(text, ARRIVES),
        }
    }
}

#[cfg(all(unix, not(target_os = "macos")))]
async fn insertion(config: &Config, session: &Session) -> Vec<(&'static str, Finding)> {
    let receiver = match Receiver::open(session) {
        Ok(receiver) => receiver,
        Err(finding) => return vec![("insertion", finding)],
    };
    let mut findings = Vec::new();
    // Typing needs no more than the window's own keyboard map; pasting carries everything.
    for (what, method, text) in
        [("pasting", Method::Paste, "Grüße, ё, 漢字."), ("typing", Method::Type, "Hello, world.")]
    {
        let mut manner = config.dictate.insert.clone();
        manner.method = method;
        manner.rules.iter_mut().for_each(|rule| (rule.method, rule.submit, rule.trailing_space) = (None, None, None));
        (manner.trailing_space, manner.submit) = (false, false);
        let inserted = insert(text, &receiver.target().await, &manner).await;
        let arrived = tokio::task::block_in_place(|| receiver.arrived(text));
        findings.push((
            what,
            match (inserted, arrived) {
                (Ok(inserted), true) => Good(format!("arrives ({:?}, {:?})", inserted.how, inserted.tool)),
                (Ok(inserted), false) => {
                    let why = inserted.because.map_or_else(|| "it did not arrive".to_owned(), |why| why.to_string());
                    let advice = "`bestbox insert --focus` shows how this window gets text; a rule changes that";
                    Wrong(format!("the text is not in the window: {why}"), advice.into())
                }
                (Err(error), _) => Wrong("nothing can be inserted".into(), error.to_string()),
            },
        ));
    }
    hand_over().await;
    findings
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
async fn insertion(_: &Config, _: &Session) -> Vec<(&'static str, Finding)> {
    let advice = "run `bestbox insert --after 3 hello` and click into any window meanwhile";
    vec![("insertion", Note("the self-test has no window of its own here".into(), advice))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(samples: Vec<f32>, dropped: u64) -> Finding {
        Recorded { name: "USB".into(), samples, dropped }.finding()
    }

    #[test]
    fn silence_and_overdrive_are_told_from_speech() {
        let sine = |amplitude: f32| (0..32_000).map(move |n| amplitude * (n as f32 * 0.1).sin()).collect::<Vec<_>>();
        assert!(matches!(finding(vec![0.0; 32_000], 0), Wrong(text, _) if text.contains("silence")));
        assert!(matches!(finding(sine(1.0), 0), Note(text, _) if text.contains("overdriven")));
        assert!(matches!(finding(sine(0.1), 3), Note(text, _) if text.contains("3 samples lost")));
        assert!(matches!(finding(sine(0.1), 0), Good(text) if text.contains("level -23 dB, peak -20 dB")));
    }
}
