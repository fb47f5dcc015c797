//! One session without its socket: messages in, events out, and utterances for the recogniser in between.
//!
//! ```text
//! append -> intake (16 kHz) -> segmenter -> utterance ended   -> waiting -> recogniser -> delta, completed
//!                                  `- utterance being spoken -> a look  -> recogniser -> delta
//! ```
//!
//! One utterance is at the recogniser at a time: first those that have ended, in order; when there are none, the one
//! being spoken. With `server_vad` each utterance is a turn, and so an item; a turn longer than the longest utterance
//! (28 s) ends at its best pause. What a client commits by hand is one item, cut into utterances all the same, so that
//! it is recognised while it comes in. Times are counted in samples of 16 kHz since the session began.

use super::audio::{Intake, IntakeError};
use super::events::{Event, Failure, Fault, Item, Language, Said, Usage, new_id, parse};
use super::partial::Told;
use super::settings::{Settings, Shape, Turns};
use crate::audio::SPEECH_RATE;
use crate::language::Lang;
use crate::speech::vad::{Segmenter, VadSettings};
use crate::speech::{SpeechOptions, TokenLogprob, Transcript, Utterance};
use serde_json::Value;
use std::collections::VecDeque;

/// Shortest audio that can be committed, seconds; OpenAI's limit.
const MIN_COMMIT: f64 = 0.1;
/// Samples after which the segmenter is asked whether somebody speaks: 0.1 s.
const STEP: usize = SPEECH_RATE as usize / 10;

/// The model of a name, if there is one.
pub(super) type Select = Box<dyn Fn(&str) -> Option<Model> + Send + Sync>;

/// What the service decides, not the client.
pub(super) struct Rules {
    /// How the service cuts recordings.
    pub vad: VadSettings,
    /// What it asks of the recogniser by itself.
    pub options: SpeechOptions,
    /// Seconds of speech that may wait for the recogniser.
    pub buffer: f64,
    /// Seconds of new audio between two looks at what is being spoken; 0: none.
    pub partial: f64,
    /// Model of a session that names none.
    pub model: String,
    /// The model of that name, if there is one.
    pub select: Select,
}

/// A model as the engine knows it; `None`: the configured one.
pub(super) type Model = Option<String>;

/// How a session begins.
pub(super) struct Opening {
    pub shape: Shape,
    /// Whether the client knows `transcription_session.created`.
    pub older: bool,
    /// Seconds since 1970 at which the session is ended.
    pub expires_at: u64,
}

/// An utterance for the recogniser.
#[derive(Debug)]
pub(super) struct Work {
    pub utterance: Utterance,
    pub model: Model,
    pub options: SpeechOptions,
    pub part: Part,
}

/// How much of an utterance is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What was spoken so far. May be skipped when the recogniser has better things to do.
    SoFar,
    /// All of it.
    Whole,
}

/// See the head of this file.
pub(super) struct Session {
    id: String,
    opening: Opening,
    rules: Rules,
    settings: Settings,
    model: Model,
    intake: Intake,
    segmenter: Segmenter,
    /// Samples so far.
    clock: u64,
    /// Where the segmenter's own clock began.
    origin: u64,
    /// Where what is not committed begins.
    since: u64,
    /// The item being spoken.
    open: Option<Spoken>,
    /// Committed items whose text is not complete.
    closed: VecDeque<Spoken>,
    last_item: Option<String>,
    /// Utterances that have ended, with the item they belong to.
    waiting: VecDeque<(String, Work)>,
    at_work: Option<(String, Part, f64)>,
    /// Up to where the utterance being spoken was looked at.
    looked: u64,
}

/// An item and its text.
struct Spoken {
    id: String,
    told: Told,
    /// Utterances without text so far.
    missing: usize,
    languages: Vec<Lang>,
    /// When the client asked for them.
    logprobs: Option<Vec<TokenLogprob>>,
    failure: Option<Failure>,
    /// Seconds, once committed.
    seconds: f64,
    /// Whether it is recognised at all.
    wanted: bool,
}

impl Session {
    /// A session in which nothing was said, with the model `rules.model`, which is `model` to the engine.
    ///
    /// # Errors
    /// None in practice: the default format can be resampled.
    pub fn new(opening: Opening, rules: Rules, model: Model) -> Result<Self, IntakeError> {
        let settings = Settings::new(rules.model.clone());
        let segmenter = Segmenter::new(settings.turns.vad(rules.vad));
        Ok(Session {
            id: new_id("sess"),
            opening,
            intake: Intake::new(settings.format)?,
            segmenter,
            settings,
            model,
            rules,
            clock: 0,
            origin: 0,
            since: 0,
            open: None,
            closed: VecDeque::new(),
            last_item: None,
            waiting: VecDeque::new(),
            at_work: None,
            looked: 0,
        })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The first event.
    pub fn created(&self) -> Event {
        let session = self.view();
        if self.opening.older { Event::OlderCreated { session } } else { Event::Created { session } }
    }

    /// Takes one message of the client.
    pub fn take(&mut self, message: &str) -> Vec<Event> {
        let mut events = Vec::new();
        let (event_id, said) = parse(message);
        let result = said.and_then(|said| match said {
            Said::Update { session, older } => self.update(&session, older, &mut events),
            Said::Append(bytes) => self.append(&bytes, &mut events),
            Said::Commit => self.commit(&mut events),
            Said::Clear => self.clear(&mut events),
        });
        events.extend(result.err().map(|error| Event::Error { error: Fault { event_id, ..error } }));
        events
    }

    /// What the recogniser is to do next, when it does nothing for this session.
    pub fn next_work(&mut self) -> Option<Work> {
        let (item, work) = self.waiting.pop_front().or_else(|| self.look())?;
        self.at_work = Some((item, work.part, work.utterance.seconds()));
        Some(work)
    }

    /// Whether anybody still wants what the recogniser does. If not, [`Session::abandon`] it.
    pub fn wants_work(&mut self) -> bool {
        let Some((item, part, _)) = &self.at_work else { return false };
        match part {
            Part::Whole => self.open.iter().chain(&self.closed).any(|spoken| spoken.id == *item),
            // The whole of an utterance comes before any look at it.
            Part::SoFar => self.waiting.is_empty() && self.open.as_ref().is_some_and(|open| open.id == *item),
        }
    }

    /// The recogniser was stopped, or has no time for a look.
    pub fn abandon(&mut self) {
        self.at_work = None;
    }

    /// The recogniser has finished.
    pub fn heard(&mut self, result: Result<Transcript, Failure>) -> Vec<Event> {
        let mut events = Vec::new();
        let Some((id, part, _)) = self.at_work.take() else { return events };
        let Some(spoken) = self.open.iter_mut().chain(&mut self.closed).find(|spoken| spoken.id == id) else {
            return events;
        };
        let joint = |transcript: &Transcript| {
            if transcript.language.is_some_and(Lang::is_unspaced) { "" } else { " " }
        };
        let delta = match (part, result) {
            // A look that failed is no loss.
            (Part::SoFar, result) => result.ok().and_then(|heard| spoken.told.guess(&heard.text(), joint(&heard))),
            (Part::Whole, Ok(heard)) => {
                spoken.missing -= 1;
                let language = heard.language.filter(|language| !spoken.languages.contains(language));
                spoken.languages.extend(language);
                if let Some(logprobs) = &mut spoken.logprobs {
                    logprobs.extend(heard.segments.iter().flat_map(|segment| segment.token_logprobs.iter().cloned()));
                }
                spoken.told.settle(&heard.text(), joint(&heard))
            }
            (Part::Whole, Err(failure)) => {
                spoken.missing = 0;
                spoken.failure = Some(failure);
                self.waiting.retain(|(item, _)| *item != id);
                None
            }
        };
        events.extend(delta.map(|delta| Event::Delta { item_id: id, content_index: 0, delta }));
        self.conclude(&mut events);
        events
    }

    /// Whether everything that was committed has its text.
    pub fn is_settled(&self) -> bool {
        self.closed.is_empty()
    }

    fn view(&self) -> Value {
        self.settings.view(self.opening.shape, &self.id, self.opening.expires_at)
    }

    fn update(&mut self, session: &Value, older: bool, events: &mut Vec<Event>) -> Result<(), Fault> {
        let (next, shape) = self.settings.updated(session, &self.rules.model)?;
        let model = next.transcription.as_ref().map(|set| (self.rules.select)(&set.model).ok_or(&set.model));
        let model = model.transpose().map_err(|model| {
            let shown: String = model.chars().take(64).collect();
            let message = format!("the model '{shown}' does not exist here; GET /v1/models lists those that do");
            Fault::new("model_not_found", message).param("session.audio.input.transcription.model")
        })?;
        if next.format != self.intake.format() {
            self.flush(&next, events)?;
        }
        if next.turns != self.settings.turns {
            // What was said so far was said under the old rule.
            for utterance in self.segmenter.finish() {
                self.ended(utterance, events);
            }
            if let Some(open) = self.open.take() {
                self.close(open, self.uncommitted(), events);
            }
            self.segmenter = Segmenter::new(next.turns.vad(self.rules.vad));
            self.begin_anew();
        }
        self.settings = next;
        self.model = model.flatten();
        self.opening.shape = if older { Shape::Flat } else { shape };
        let session = self.view();
        events.push(if older { Event::OlderUpdated { session } } else { Event::Updated { session } });
        Ok(())
    }

    fn append(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Fault> {
        if self.backlog() + self.intake.seconds(bytes.len()) > self.rules.buffer {
            let message = format!(
                "{:.0} s of speech are waiting to be recognised, and {:.0} s may; send the rest later",
                self.backlog(),
                self.rules.buffer
            );
            return Err(Fault::new("input_audio_buffer_full", message));
        }
        let samples = self.intake.push(bytes).map_err(|error| no_audio(&error))?;
        self.listen(&samples, events);
        Ok(())
    }

    fn commit(&mut self, events: &mut Vec<Event>) -> Result<(), Fault> {
        let same = self.settings.clone();
        self.flush(&same, events)?;
        let seconds = self.uncommitted();
        if seconds < MIN_COMMIT {
            let message = format!(
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, but buffer \
                 only has {:.2}ms of audio.",
                seconds * 1000.0
            );
            return Err(Fault::new("input_audio_buffer_commit_empty", message));
        }
        let rest = self.segmenter.finish();
        let mut item = self.open.take().unwrap_or_else(|| self.new_item());
        for utterance in rest {
            self.wait(&mut item, utterance);
        }
        self.close(item, seconds, events);
        self.begin_anew();
        Ok(())
    }

    fn clear(&mut self, events: &mut Vec<Event>) -> Result<(), Fault> {
        let inside = self.intake.restart(self.settings.format).map_err(|error| no_audio(&error.into()))?;
        self.clock += inside.len() as u64;
        if let Some(open) = self.open.take() {
            self.waiting.retain(|(item, _)| *item != open.id);
        }
        self.segmenter.finish();
        self.begin_anew();
        events.push(Event::Cleared);
        Ok(())
    }

    /// What is still inside the resampler; from here on audio comes in the format of `next`.
    fn flush(&mut self, next: &Settings, events: &mut Vec<Event>) -> Result<(), Fault> {
        let inside = self.intake.restart(next.format).map_err(|error| no_audio(&error.into()))?;
        self.listen(&inside, events);
        Ok(())
    }

    fn listen(&mut self, samples: &[f32], events: &mut Vec<Event>) {
        for step in samples.chunks(STEP) {
            self.clock += step.len() as u64;
            for utterance in self.segmenter.push(step) {
                self.ended(utterance, events);
            }
            if self.settings.turns != Turns::Manual
                && self.open.is_none()
                && let Some(voice) = self.segmenter.speaking()
            {
                self.started(voice, events);
            }
        }
    }

    /// Somebody speaks, since `voice` seconds on the segmenter's clock.
    fn started(&mut self, voice: f64, events: &mut Vec<Event>) {
        let item = self.new_item();
        let prefix = self.settings.turns.prefix_ms();
        let audio_start_ms = self.ms(voice).saturating_sub(prefix).max(self.since * 1000 / u64::from(SPEECH_RATE));
        events.push(Event::SpeechStarted { audio_start_ms, item_id: item.id.clone() });
        self.open = Some(item);
    }

    /// The segmenter has given out an utterance.
    fn ended(&mut self, utterance: Utterance, events: &mut Vec<Event>) {
        if self.settings.turns == Turns::Manual {
            let mut item = self.open.take().unwrap_or_else(|| self.new_item());
            self.wait(&mut item, utterance);
            self.open = Some(item);
            return;
        }
        let (voice_start, voice_end) = utterance.speech();
        if self.open.is_none() {
            self.started(voice_start, events);
        }
        let Some(mut item) = self.open.take() else { return };
        // An utterance without padding at its end was cut for its length, not ended by a pause.
        let cut = utterance.end() - voice_end < 0.001;
        let end = self.ms(utterance.end());
        let end = if cut { end } else { end.max(self.ms(voice_end) + self.settings.turns.silence_ms()) };
        let audio_end_ms = end.min(self.clock * 1000 / u64::from(SPEECH_RATE));
        events.push(Event::SpeechStopped { audio_end_ms, item_id: item.id.clone() });
        let seconds = utterance.seconds();
        self.wait(&mut item, utterance);
        self.close(item, seconds, events);
        self.since = audio_end_ms * u64::from(SPEECH_RATE) / 1000;
    }

    /// Puts an utterance of `item` in the queue.
    fn wait(&mut self, item: &mut Spoken, utterance: Utterance) {
        if let Some(work) = self.work(utterance, Part::Whole).filter(|_| item.wanted && item.failure.is_none()) {
            item.missing += 1;
            self.waiting.push_back((item.id.clone(), work));
        }
    }

    /// With the settings of now, whatever is set later.
    fn work(&self, utterance: Utterance, part: Part) -> Option<Work> {
        let mut options = self.settings.transcription.as_ref()?.options(&self.rules.options);
        options.token_logprobs = part == Part::Whole && self.settings.logprobs;
        Some(Work { utterance, model: self.model.clone(), options, part })
    }

    /// The audio of `item` is complete.
    fn close(&mut self, mut item: Spoken, seconds: f64, events: &mut Vec<Event>) {
        let (item_id, previous_item_id) = (item.id.clone(), self.last_item.replace(item.id.clone()));
        let shown = Item::new(item_id.clone());
        events.push(Event::Committed { previous_item_id: previous_item_id.clone(), item_id });
        match self.opening.shape {
            Shape::Nested => {
                let previous = previous_item_id.clone();
                events.push(Event::ItemAdded { previous_item_id: previous, item: shown.clone() });
                events.push(Event::ItemDone { previous_item_id, item: shown });
            }
            Shape::Flat => events.push(Event::ItemCreated { previous_item_id, item: shown }),
        }
        item.seconds = (seconds * 1000.0).round() / 1000.0;
        if item.wanted {
            self.closed.push_back(item);
            self.conclude(events);
        }
    }

    /// Tells of the committed items that have all of their text.
    fn conclude(&mut self, events: &mut Vec<Event>) {
        while self.closed.front().is_some_and(|item| item.missing == 0) {
            let Some(item) = self.closed.pop_front() else { return };
            events.push(match item.failure {
                Some(error) => Event::Failed { item_id: item.id, content_index: 0, error },
                None => Event::Completed {
                    item_id: item.id,
                    content_index: 0,
                    transcript: item.told.text().to_owned(),
                    usage: Usage::Duration { seconds: item.seconds },
                    languages: item.languages.iter().map(|language| Language { code: language.code() }).collect(),
                    logprobs: item.logprobs,
                },
            });
        }
    }

    /// The utterance being spoken, when it is time for a look at it.
    fn look(&mut self) -> Option<(String, Work)> {
        if self.rules.partial <= 0.0 {
            return None;
        }
        let begun = self.origin + (self.segmenter.speaking()? * f64::from(SPEECH_RATE)) as u64;
        let fresh = self.clock.saturating_sub(begun.max(self.looked)) as f64 / f64::from(SPEECH_RATE);
        if fresh < self.rules.partial {
            return None;
        }
        let work = self.work(self.segmenter.pending()?, Part::SoFar)?;
        let item = self.open.take().unwrap_or_else(|| self.new_item());
        let look = (item.wanted && item.failure.is_none()).then(|| (item.id.clone(), work));
        self.open = Some(item);
        self.looked = self.clock;
        look
    }

    fn new_item(&self) -> Spoken {
        Spoken {
            id: new_id("item"),
            told: Told::default(),
            missing: 0,
            languages: Vec::new(),
            logprobs: self.settings.logprobs.then(Vec::new),
            failure: None,
            seconds: 0.0,
            wanted: self.settings.transcription.is_some(),
        }
    }

    /// The segmenter is as new, and nothing is uncommitted.
    fn begin_anew(&mut self) {
        self.origin = self.clock;
        self.since = self.clock;
        self.looked = self.clock;
    }

    /// Seconds that are not committed.
    fn uncommitted(&self) -> f64 {
        (self.clock - self.since) as f64 / f64::from(SPEECH_RATE)
    }

    /// Seconds of speech without text.
    fn backlog(&self) -> f64 {
        let waiting: f64 = self.waiting.iter().map(|(_, work)| work.utterance.seconds()).sum();
        let at_work = self.at_work.as_ref().filter(|(_, part, _)| *part == Part::Whole);
        waiting + at_work.map_or(0.0, |(_, _, seconds)| *seconds)
    }

    /// Milliseconds of the session at `seconds` of the segmenter's clock.
    fn ms(&self, seconds: f64) -> u64 {
        (seconds * 1000.0).round() as u64 + self.origin * 1000 / u64::from(SPEECH_RATE)
    }
}

fn no_audio(error: &IntakeError) -> Fault {
    Fault::new("invalid_value", error.to_string()).param("audio")
}

#[cfg(test)]
mod tests;
