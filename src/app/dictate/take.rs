//! One take, from its first sample to its delivery: written to disk, cut into phrases, recognised and cleaned while it is
//! spoken, delivered after the takes before it.

use super::control::Event;
use super::deliver::{self, Delivered};
use super::ear::{Ear, Ready, Spoken, Text};
use super::history::{History, Kept, Stage};
use super::machine::{Discarded, TakeId};
use super::phrases::{Next, Phrases};
use super::plans::{Destination, TakePlan, said};
use super::record::Recording;
use super::window::{self, Window};
use crate::agent::Confirm;
use crate::config::{Answer, DictateConfig, PlanKind};
use crate::language::Lang;
use crate::outcome::{Action, Cue, Outcome, PendingCall, Plan, Route, Style, Track};
use crate::pipeline::{self, Live, Run, run_live};
use crate::speech::Segment;
use crate::speech::vad::VadSettings;
use crate::text::clean::{CleanRequest, MoreFollows};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Whose conversations those of dictation are.
pub(super) const OWNER: &str = "dictate";

/// What all takes share.
pub(super) struct Shared {
    pub config: DictateConfig,
    pub vad: VadSettings,
    pub settings: window::Settings,
    /// The models, once they are loaded.
    pub ready: watch::Receiver<Option<Arc<Ready>>>,
    pub history: Option<History>,
    pub reports: mpsc::UnboundedSender<Report>,
}

/// What comes into a take.
#[derive(Debug)]
pub(super) enum Input {
    /// 16 kHz mono.
    Samples(Vec<f32>),
    /// The same, from the take's own file.
    Replayed(Vec<f32>),
    /// The key is up; the tail follows.
    Ending,
    /// That was all.
    End,
    /// It is of no use.
    Discard(Discarded),
}

/// What a take tells its owner.
#[derive(Debug)]
pub(super) enum Report {
    /// To be passed on.
    Event(Event),
    /// It was delivered, or there is nothing to deliver.
    Done(TakeId),
    /// What it became.
    Last(Last),
    /// Its answer waits for a person's word about this call.
    Pending(TakeId, PendingCall),
}

/// The last text.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Last {
    /// The take.
    pub take: TakeId,
    /// As it was delivered.
    pub text: String,
    /// As it was recognised.
    pub raw: String,
    /// Cleaned, be it too late.
    pub cleaned: String,
    /// A model's answer.
    pub reply: String,
}

/// Where the audio of a take goes.
pub(super) enum Audio {
    /// Into a new file.
    New,
    /// Nowhere: private mode.
    Nowhere,
    /// It is in this one already.
    There(Recording),
}

/// A take that is to be made.
pub(super) struct Take {
    pub id: TakeId,
    pub plan: TakePlan,
    pub window: Option<Window>,
    pub kept: Kept,
    pub audio: Audio,
    pub shared: Arc<Shared>,
    pub inputs: mpsc::UnboundedReceiver<Input>,
    /// Gone once the take before is delivered.
    pub before: Option<oneshot::Receiver<()>>,
    /// Dropped once this one is.
    pub after: Option<oneshot::Sender<()>>,
    /// Gives up what is being made of it.
    pub cancel: CancellationToken,
    /// Whether [`Report::Done`] was sent.
    pub told: bool,
}

/// What was written so far, by the pipeline's observer.
#[derive(Default)]
struct Written {
    cleaned: Vec<Vec<Cue>>,
    action: Option<Action>,
}

/// How listening ended.
enum Heard {
    /// Everything that was said.
    All(Spoken),
    /// The recording is of no use.
    Discarded(Discarded),
}

impl Take {
    /// Makes it. Returns when all is done, long after [`Report::Done`] where a cleaned text comes late.
    pub async fn run(mut self) {
        let mut recording = self.recording().await;
        let written = Arc::new(Mutex::new(Written::default()));
        let (live, heard) = mpsc::unbounded_channel();
        let writing = tokio::spawn(self.writing(heard, written.clone()));
        let all = self.listen(&mut recording, live).await;
        if let Some(Err(error)) = recording.as_mut().map(Recording::finish) {
            self.warn(format!("the recording of this take is not complete on the disk: {error}"));
        }
        self.kept.seconds = recording.as_ref().map_or(self.kept.seconds, Recording::seconds);
        match all {
            Heard::Discarded(why) => {
                writing.abort();
                self.discarded(why, recording).await;
            }
            Heard::All(spoken) => self.make(spoken, writing, &written).await,
        }
        self.done();
    }

    /// Opens the file; without one the take goes on in memory.
    async fn recording(&mut self) -> Option<Recording> {
        let history = self.shared.history.clone()?;
        let recording = match std::mem::replace(&mut self.audio, Audio::Nowhere) {
            Audio::Nowhere => return None,
            Audio::There(recording) => Some(recording),
            Audio::New => match Recording::create(&history.audio(&self.kept.id)) {
                Ok(recording) => Some(recording),
                Err(error) => {
                    self.warn(format!("this take is only kept in memory: its file cannot be written: {error}"));
                    None
                }
            },
        };
        self.keep().await;
        recording
    }

    /// Until the recording is complete and every phrase has its text.
    async fn listen(&mut self, recording: &mut Option<Recording>, live: mpsc::UnboundedSender<Live>) -> Heard {
        let mut phrases = Phrases::new(self.shared.vad, self.shared.config.partial_seconds);
        let mut ear = Ear::new(self.shared.ready.clone(), &self.plan.plan);
        let mut text = Text::new(live);
        let (mut ended, mut failure) = (None, None);
        loop {
            while ear.is_ready() {
                match phrases.next() {
                    Next::Nothing => break,
                    Next::Recognize(utterance) => ear.listen_to(utterance, text.language()),
                    Next::Settled(phrase) => text.settled(phrase),
                }
            }
            if phrases.is_settled() {
                let ended = ended.unwrap_or_else(Instant::now);
                return Heard::All(Spoken { phrases: text.said(), ended, failure });
            }
            tokio::select! {
                biased;
                input = self.inputs.recv(), if ended.is_none() => match input {
                    Some(Input::Samples(samples)) => {
                        // On the disk before anything is made of it.
                        if let Some(Err(error)) = recording.as_mut().map(|recording| recording.push(&samples)) {
                            self.warn(format!("the rest of this take is only kept in memory: {error}"));
                            *recording = None;
                        }
                        phrases.push(&samples);
                        text.goes_on(phrases.is_speaking());
                    }
                    Some(Input::Replayed(samples)) => phrases.push(&samples),
                    Some(Input::Ending) => phrases.ending(),
                    Some(Input::End) | None => {
                        ended = Some(Instant::now());
                        phrases.finish();
                        self.kept.state = Stage::Processing;
                    }
                    Some(Input::Discard(why)) => return Heard::Discarded(why),
                },
                () = self.cancel.cancelled(), if ended.is_some() => return Heard::Discarded(Discarded::Cancelled),
                heard = ear.heard() => match heard {
                    // The models are loaded.
                    None => {}
                    Some(Ok(heard)) => {
                        if let Some(phrase) = phrases.heard(heard) {
                            text.settled(phrase);
                        }
                        let text = text.shown(phrases.guess());
                        self.tell(Event::Partial { take: self.id, text });
                    }
                    Some(Err(error)) => {
                        let lost = phrases.failed();
                        failure = if lost { Some(error) } else { failure };
                    }
                },
            }
        }
    }

    /// The pipeline over the phrases, on a task of its own.
    fn writing(
        &self,
        heard: mpsc::UnboundedReceiver<Live>,
        written: Arc<Mutex<Written>>,
    ) -> impl Future<Output = Option<Outcome>> + Send + 'static {
        let (mut ready, plan, cancel) = (self.shared.ready.clone(), self.plan.plan.clone(), self.cancel.clone());
        let (reports, take, name) = (self.shared.reports.clone(), self.id, self.kept.id.clone());
        async move {
            // The program ends where the models cannot be loaded.
            let ready = ready.wait_for(Option::is_some).await.ok()?.clone()?;
            let observer = move |event: pipeline::Event<'_>| {
                let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    pipeline::Event::Cleaned(cues) => written.cleaned.push(cues.to_vec()),
                    pipeline::Event::Intent(intent) => written.action = Some(intent.action),
                    pipeline::Event::ReplyDelta(delta) => {
                        let event = Event::ReplyDelta { take, delta: delta.to_owned() };
                        // The owner goes last.
                        let _ = reports.send(Report::Event(event));
                    }
                    pipeline::Event::Pending(call) => {
                        let _ = reports.send(Report::Pending(take, call.clone()));
                    }
                    _ => {}
                }
            };
            let (owner, confirm) = (OWNER, Some(&Confirm::Later));
            let run = Run { owner, confirm, ..Run::new(&ready.engine, &plan, &observer, &cancel) };
            Some(run_live(run, heard, &name).await)
        }
    }

    async fn discarded(&mut self, why: Discarded, recording: Option<Recording>) {
        match why {
            Discarded::TooShort => {
                drop(recording);
                self.forget().await;
                self.tell(Event::Nothing { take: self.id, why: "shorter than a word".into() });
            }
            Discarded::Cancelled => {
                self.kept.state = Stage::Cancelled;
                self.keep().await;
                self.tell(Event::Cancelled { take: self.id, recoverable: recording.is_some() });
            }
        }
    }

    /// Phrases to a text, and the text to where it goes.
    async fn make(&mut self, spoken: Spoken, mut writing: JoinHandle<Option<Outcome>>, written: &Mutex<Written>) {
        let raw = spoken.text();
        if let Some(failure) = &spoken.failure {
            self.kept.state = Stage::Failed;
            let kept =
                if self.shared.history.is_some() { "; its audio is kept: bestbox dictate --recover" } else { "" };
            self.tell(Event::Error { take: Some(self.id), message: format!("{failure}{kept}") });
        }
        if raw.is_empty() {
            if spoken.failure.is_none() {
                self.kept.state = Stage::Empty;
                self.tell(Event::Nothing { take: self.id, why: "nothing was said".into() });
            }
            self.keep().await;
            return;
        }
        let deadline = spoken.ended + self.allowance(&raw);
        let mut outcome = None;
        let mut patient = self.plan.plan.translate.is_some() || self.plan.plan.route == Route::Agent;
        loop {
            tokio::select! {
                done = &mut writing => {
                    outcome = done.ok().flatten();
                    break;
                }
                () = tokio::time::sleep_until(deadline), if !patient => {
                    let action = written.lock().unwrap_or_else(PoisonError::into_inner).action;
                    if action.is_none_or(|action| action == Action::Text) {
                        break;
                    }
                    // An answer is being written: that takes as long as it takes.
                    patient = true;
                    self.let_others_pass();
                }
            }
        }
        if self.cancel.is_cancelled() {
            self.kept.raw = raw;
            self.kept.reply = outcome.and_then(|outcome| outcome.reply).map(|reply| reply.text).unwrap_or_default();
            self.kept.state = Stage::Cancelled;
            self.keep().await;
            let recoverable = self.shared.history.is_some();
            self.tell(Event::Cancelled { take: self.id, recoverable });
            return;
        }
        let text = match &outcome {
            Some(outcome) => best(outcome),
            None => self.unfinished(&spoken, written).await,
        };
        self.kept.language = spoken.language().map_or(String::new(), |lang| lang.code().to_owned());
        let mut last = Last { take: self.id, raw: raw.clone(), ..Last::default() };
        let reply = outcome.as_ref().and_then(|outcome| outcome.reply.as_ref()).map(|reply| reply.text.clone());
        if let Some(outcome) = &outcome {
            for warning in &outcome.warnings {
                self.warn(warning.message.clone());
            }
        }
        let waits =
            outcome.as_ref().and_then(|outcome| outcome.reply.as_ref()).is_some_and(|reply| reply.pending.is_some());
        match reply {
            // The question was put when it came up; there is nothing to deliver before its answer.
            Some(reply) if waits => {
                last.text.clone_from(&raw);
                last.reply = reply;
            }
            Some(reply) => self.answer(&raw, reply, &mut last).await,
            None => self.text(text, &spoken, &mut last).await,
        }
        if self.kept.state != Stage::Failed {
            self.kept.state = Stage::Done;
        }
        (self.kept.raw, self.kept.text, self.kept.reply) = (last.raw.clone(), last.text.clone(), last.reply.clone());
        self.remember(&last);
        self.keep().await;
        self.done();
        if outcome.is_none() {
            self.late(writing, last).await;
        }
    }

    /// A cleaned text that comes after the delivery is offered.
    async fn late(&mut self, writing: JoinHandle<Option<Outcome>>, mut last: Last) {
        let Ok(Some(outcome)) = writing.await else { return };
        let cleaned = best(&outcome);
        if cleaned != last.text {
            last.cleaned.clone_from(&cleaned);
            self.kept.cleaned.clone_from(&cleaned);
            self.remember(&last);
            self.keep().await;
            self.tell(Event::Cleaned { take: self.id, text: cleaned });
        }
        if let Some(reply) = outcome.reply {
            self.tell(Event::Reply { take: self.id, text: reply.text });
        }
    }

    /// How long cleanup may take after the end of the recording.
    fn allowance(&self, raw: &str) -> Duration {
        let config = &self.shared.config;
        let words = raw.split_whitespace().count().max(raw.chars().count() / 8) as f64;
        Duration::from_secs_f64(config.deadline_seconds + config.deadline_word_seconds * words)
    }

    /// What is cleaned so far, and the rest by rules.
    async fn unfinished(&self, spoken: &Spoken, written: &Mutex<Written>) -> String {
        let mut cues: Vec<Cue> = Vec::new();
        let cleaned = std::mem::take(&mut written.lock().unwrap_or_else(PoisonError::into_inner).cleaned);
        let done = cleaned.len();
        cues.extend(cleaned.into_iter().flatten());
        let lang = spoken.language().unwrap_or(Lang::ENGLISH);
        let rest: Vec<Segment> = spoken.phrases.iter().skip(done).flat_map(|phrase| phrase.segments.clone()).collect();
        let ready = self.shared.ready.borrow().clone();
        if let (Some(ready), false) = (ready, rest.is_empty()) {
            // Without a model: rules.
            let (cleaner, _) = ready.engine.cleaner(&Plan { clean: Style::Verbatim, ..Plan::default() }).await;
            let prepared = cleaner.prepare(&rest, lang, &self.plan.plan.vocabulary);
            let before = Track::new(lang, cues.clone()).text;
            let request = CleanRequest {
                cues: &prepared,
                lang,
                style: if self.plan.plan.clean == Style::Rewrite { Style::Tidy } else { self.plan.plan.clean },
                before: (!before.is_empty()).then_some(before.as_str()),
                more_follows: MoreFollows::No,
            };
            let (cleaned, _) = cleaner.clean(&request, &self.cancel).await;
            cues.extend(cleaned.track.cues);
        }
        Track::new(lang, cues).text
    }

    async fn text(&mut self, text: String, spoken: &Spoken, last: &mut Last) {
        let config = self.shared.clone();
        let text = said(&config.config.snippets, &last.raw).map_or(text, ToOwned::to_owned);
        last.text.clone_from(&text);
        self.tell(Event::Final {
            take: self.id,
            id: self.shared.history.is_some().then(|| self.kept.id.clone()),
            text: text.clone(),
            raw: last.raw.clone(),
            seconds: self.kept.seconds,
            ms: spoken.ended.elapsed().as_secs_f64() * 1000.0,
        });
        self.turn().await;
        let result = match self.plan.kind {
            PlanKind::Command => self.command(&text, &last.raw).await,
            _ => self.deliver(&text, &self.plan.destination).await,
        };
        self.delivered(result);
    }

    async fn command(&self, text: &str, raw: &str) -> Result<Delivered, String> {
        let run = self.plan.run.as_str();
        let line = if run.is_empty() { said(&self.shared.config.commands, raw) } else { Some(run) };
        match line {
            Some(line) => deliver::program(line, text).await.map_err(|error| error.to_string()),
            None => Err(format!("there is no command '{text}' in dictate.commands")),
        }
    }

    async fn answer(&mut self, raw: &str, reply: String, last: &mut Last) {
        raw.clone_into(&mut last.text);
        last.reply.clone_from(&reply);
        self.tell(Event::Reply { take: self.id, text: reply.clone() });
        self.turn().await;
        let destination = match (self.shared.config.answer, &self.plan.destination) {
            (Answer::Notify, Destination::Insert) => {
                self.delivered(Ok(Delivered::by("notification")));
                return;
            }
            (Answer::Clipboard, Destination::Insert) => Destination::Clipboard,
            (_, destination) => destination.clone(),
        };
        let result = self.deliver(&reply, &destination).await;
        self.delivered(result);
    }

    async fn deliver(&self, text: &str, to: &Destination) -> Result<Delivered, String> {
        let delivering = deliver::deliver(text, to, self.window.as_ref(), &self.shared.settings);
        delivering.await.map_err(|error| error.to_string())
    }

    fn delivered(&mut self, result: Result<Delivered, String>) {
        match result {
            Ok(Delivered { how, note }) => {
                self.kept.delivered.clone_from(&how);
                if let Some(note) = note {
                    self.warn(note);
                }
                self.tell(Event::Delivered { take: self.id, how });
            }
            Err(message) => self.tell(Event::Error { take: Some(self.id), message }),
        }
    }

    /// Waits until the take before is delivered.
    async fn turn(&mut self) {
        if let Some(before) = self.before.take() {
            // Gone without a word: it is done all the same.
            let _ = before.await;
        }
    }

    /// Those that follow need not wait for this one.
    fn let_others_pass(&mut self) {
        if self.shared.config.answer != Answer::Insert {
            self.after = None;
        }
    }

    fn done(&mut self) {
        self.after = None;
        if !std::mem::replace(&mut self.told, true) {
            // The owner goes last.
            let _ = self.shared.reports.send(Report::Done(self.id));
        }
    }

    fn tell(&self, event: Event) {
        // The owner goes last.
        let _ = self.shared.reports.send(Report::Event(event));
    }

    fn warn(&self, message: String) {
        self.tell(Event::Warning { message });
    }

    fn remember(&self, last: &Last) {
        let _ = self.shared.reports.send(Report::Last(last.clone()));
    }

    async fn keep(&self) {
        if let Some(history) = &self.shared.history
            && let Err(error) = history.put(&self.kept).await
        {
            self.warn(error.to_string());
        }
    }

    async fn forget(&self) {
        if let Some(history) = &self.shared.history
            && let Err(error) = history.delete(&self.kept.id).await
        {
            self.warn(error.to_string());
        }
    }
}

/// The best text of an outcome.
pub(super) fn best(outcome: &Outcome) -> String {
    let translated = outcome.translated.as_ref().map(|track| track.text.clone());
    let cleaned = || outcome.cleaned.as_ref().map(|cleaned| cleaned.track.text.clone());
    translated.or_else(cleaned).unwrap_or_else(|| outcome.transcript.text())
}
