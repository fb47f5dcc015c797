//! The one task that owns dictation: the machine, the microphone, the takes, and what everybody is told.

use super::control::{Control, Event, Order};
use super::ear::Ready;
use super::history::{Kept, Stage};
use super::machine::{Action, Command, Discarded, Machine, TakeId, Times};
use super::plans::{self, Application};
use super::record::{Found, Recording};
use super::take::{Audio, Input, Last, OWNER, Report, Shared, Take};
use super::window::{self, Window};
use crate::agent::Confirm;
use crate::audio::SPEECH_RATE;
use crate::audio::capture::{Microphone, Sound, Source};
use crate::config::{Answer, BindingConfig, DictateConfig};
use crate::outcome::{PendingCall, Plan};
use crate::pipeline::{self, Run};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Samples between two levels: a tenth of a second.
const LEVEL_STEP: usize = SPEECH_RATE as usize / 10;
/// Digital silence at the start of a take that is skipped: Bluetooth microphones send 0.6 s of it before the first
/// sound. Longer silence is a source that has none to give.
const SKIP: usize = SPEECH_RATE as usize * 8 / 10;
/// How long the text of the last takes is waited for when the program ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the owner is made with.
pub(super) struct Setup {
    /// What the configuration asks for outside of dictation.
    pub base: Plan,
    pub shared: Arc<Shared>,
    pub reports: mpsc::UnboundedReceiver<Report>,
    pub control: Control,
    pub source: watch::Receiver<Source>,
    pub end: CancellationToken,
}

/// See the head of this file.
pub(super) struct Owner {
    base: Plan,
    shared: Arc<Shared>,
    bindings: Vec<BindingConfig>,
    machine: Machine,
    control: Control,
    reports: mpsc::UnboundedReceiver<Report>,
    source: watch::Receiver<Source>,
    microphone: Option<Microphone>,
    sounds_in: mpsc::UnboundedSender<(u64, Sound)>,
    sounds: mpsc::UnboundedReceiver<(u64, Sound)>,
    /// Counts openings: sound of a microphone that was closed belongs to nobody.
    opening: u64,
    current: Option<Current>,
    /// What a warm microphone had just before.
    before: VecDeque<f32>,
    level: Level,
    /// Gone once the last take is delivered.
    last_delivered: Option<oneshot::Receiver<()>>,
    running: BTreeMap<TakeId, CancellationToken>,
    /// Of them, those that the machine counts as being processed.
    processing: BTreeSet<TakeId>,
    last: watch::Sender<Last>,
    private: bool,
    /// The call that the last answer waits for.
    pending: Option<(TakeId, PendingCall)>,
    /// Takes recovered are numbered from far above.
    recovered: TakeId,
    end: CancellationToken,
}

struct Decision {
    take: TakeId,
    token: String,
    approved: bool,
    plan: Plan,
    cancel: CancellationToken,
}

/// The rest of an answer that waited.
async fn decided(decision: Decision, ready: Arc<Ready>, shared: Arc<Shared>) {
    let Decision { take, token, approved, plan, cancel } = decision;
    // The owner goes last.
    let tell = |event| drop(shared.reports.send(Report::Event(event)));
    match ready.engine.waiting(&token, OWNER) {
        Err(error) => tell(Event::Warning { message: error.to_string() }),
        Ok(suspended) => {
            let observer = |event: pipeline::Event<'_>| match event {
                pipeline::Event::ReplyDelta(delta) => tell(Event::ReplyDelta { take, delta: delta.to_owned() }),
                pipeline::Event::Pending(call) => drop(shared.reports.send(Report::Pending(take, call.clone()))),
                _ => {}
            };
            let (owner, confirm) = (OWNER, Some(&Confirm::Later));
            let run = Run { owner, confirm, ..Run::new(&ready.engine, &plan, &observer, &cancel) };
            match pipeline::run_confirmation(run, suspended, approved).await {
                Ok(outcome) => {
                    for warning in outcome.warnings {
                        tell(Event::Warning { message: warning.message });
                    }
                    if let Some(reply) = outcome.reply.filter(|reply| reply.pending.is_none()) {
                        tell(Event::Reply { take, text: reply.text.clone() });
                        answered(take, &reply.text, &shared).await;
                    }
                }
                Err(error) => tell(Event::Warning { message: error.to_string() }),
            }
        }
    }
    let _ = shared.reports.send(Report::Done(take));
}

/// An answer that comes without a take of its own goes where answers go.
async fn answered(take: TakeId, text: &str, shared: &Shared) {
    let to = match (shared.config.answer, plans::Destination::parse(&shared.config.output)) {
        (Answer::Notify, plans::Destination::Insert) => return,
        (Answer::Clipboard, plans::Destination::Insert) => plans::Destination::Clipboard,
        (_, to) => to,
    };
    let window = window::focus().await;
    let event = match super::deliver::deliver(text, &to, window.as_ref(), &shared.settings).await {
        Ok(delivered) => Event::Delivered { take, how: delivered.how },
        Err(error) => Event::Error { take: Some(take), message: error.to_string() },
    };
    let _ = shared.reports.send(Report::Event(event));
}

/// The take that is recorded.
struct Current {
    take: TakeId,
    inputs: mpsc::UnboundedSender<Input>,
    /// Samples of digital silence skipped; `None` once there was sound.
    skipped: Option<usize>,
}

impl Owner {
    /// Ready to go. `last` is kept up to date with the last text.
    pub fn new(setup: Setup, last: watch::Sender<Last>) -> Self {
        let Setup { base, shared, reports, control, source, end } = setup;
        let config = &shared.config;
        let bindings = config.bindings();
        let modes = bindings.iter().map(|binding| (binding.name.clone(), binding.mode)).collect();
        let machine = Machine::new(modes, times(config));
        let (sounds_in, sounds) = mpsc::unbounded_channel();
        let private = config.private;
        Owner {
            base,
            bindings,
            machine,
            control,
            reports,
            source,
            microphone: None,
            sounds_in,
            sounds,
            opening: 0,
            current: None,
            before: VecDeque::new(),
            level: Level::default(),
            last_delivered: None,
            running: BTreeMap::new(),
            processing: BTreeSet::new(),
            last,
            private,
            pending: None,
            recovered: 1 << 32,
            end,
            shared,
        }
    }

    /// Until it is told to end. What was said by then is delivered first.
    pub async fn run(mut self) {
        if self.is_warm() {
            self.open();
        }
        let mut ready = self.shared.ready.clone();
        let mut loading = true;
        let end = self.end.clone();
        let mut last_moment = None;
        loop {
            if self.end.is_cancelled() {
                let until = *last_moment.get_or_insert_with(|| Instant::now() + PATIENCE);
                self.wind_up();
                if self.running.is_empty() || Instant::now() >= until {
                    break;
                }
            }
            let deadline = self.machine.deadline().or(last_moment);
            tokio::select! {
                order = self.control.orders.recv() => match order {
                    Some(order) => self.order(order).await,
                    None => self.end.cancel(),
                },
                Some((opening, sound)) = self.sounds.recv() => self.sound(opening, sound),
                Some(report) = self.reports.recv() => self.report(report),
                () = sleep_until(deadline) => {
                    self.fetch();
                    let actions = self.machine.tick(Instant::now());
                    self.act(actions).await;
                }
                changed = ready.changed(), if loading => {
                    loading = changed.is_ok() && ready.borrow().is_none();
                    let is_ready = ready.borrow().is_some();
                    self.control.status.send_modify(|status| status.ready = is_ready);
                    if changed.is_err() {
                        // The models cannot be loaded; what was recorded stays on the disk.
                        break;
                    }
                }
                () = end.cancelled(), if last_moment.is_none() => {}
            }
        }
        // What is still in work is on the disk: `--recover` finds it.
        for cancel in self.running.values() {
            cancel.cancel();
        }
    }

    async fn order(&mut self, Order { command, at, reply }: Order) {
        match command {
            Command::Again => self.again(),
            Command::Confirm => self.decide(true),
            Command::Deny => self.decide(false),
            Command::Recover => self.recover().await,
            Command::Private { on } => {
                self.private = on;
                self.control.status.send_modify(|status| status.private = on);
                if on {
                    self.last.send_replace(Last::default());
                }
            }
            Command::Quit => self.end.cancel(),
            _ => {}
        }
        // A clock that goes backwards between threads must not begin a take before the last has ended.
        let actions = self.machine.handle(&command, at);
        self.act(actions).await;
        if let Some(reply) = reply {
            // Whoever asked may have gone.
            let _ = reply.send(self.control.status.borrow().clone());
        }
    }

    async fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Begin { take, binding } => self.begin(take, binding).await,
                Action::Ending { take } => self.pass(take, Input::Ending),
                Action::End { take, by_itself } => {
                    if by_itself {
                        let message = format!(
                            "the recording was ended after {:.0} s (dictate.max_seconds)",
                            self.shared.config.max_seconds
                        );
                        self.tell(Event::Warning { message });
                    }
                    self.fetch();
                    self.processing.insert(take);
                    self.pass(take, Input::End);
                    self.close();
                }
                Action::Discard { take, why } => {
                    self.pass(take, Input::Discard(why));
                    self.close();
                    if why == Discarded::Cancelled {
                        self.control.status.send_modify(|status| status.partial.clear());
                    }
                }
                Action::CancelProcessing => self.running.values().for_each(CancellationToken::cancel),
                Action::Refuse(refusal) => self.tell(Event::Warning { message: refusal.to_string() }),
            }
        }
        self.show_state();
    }

    async fn begin(&mut self, id: TakeId, binding: usize) {
        // First of all, so that no word is lost while the rest is looked up.
        if self.microphone.is_none() {
            self.open();
        }
        let binding = self.bindings[binding].clone();
        let window = window::focus().await;
        let (inputs, received) = mpsc::unbounded_channel();
        let audio = if self.private { Audio::Nowhere } else { Audio::New };
        self.start(Begun { id, binding, window, audio, kept: None, inputs: received });
        let before: Vec<f32> = self.before.drain(..).collect();
        self.current = Some(Current { take: id, inputs, skipped: Some(0) });
        self.control.status.send_modify(|status| {
            status.take = id;
            status.partial.clear();
        });
        self.level = Level::default();
        if !before.is_empty() {
            self.hear(before);
        }
    }

    fn start(&mut self, begun: Begun) {
        let Begun { id, binding, window, audio, kept, inputs } = begun;
        let application = window
            .as_ref()
            .map(|window| Application { class: window.application.clone(), title: window.title.clone() });
        let mut plan = plans::plan(&self.base, &self.shared.config, &binding, application.as_ref());
        plan.plan.private = self.private;
        // In private mode every utterance stands alone.
        plan.plan.conversation = plan.plan.conversation.filter(|_| !self.private);
        let class = application.map(|application| application.class).unwrap_or_default();
        let (after, delivered) = oneshot::channel();
        let cancel = CancellationToken::new();
        self.running.insert(id, cancel.clone());
        let shared = if self.private { self.unkept() } else { self.shared.clone() };
        let take = Take {
            id,
            plan,
            window,
            kept: kept.unwrap_or_else(|| Kept::begun(&binding.name, &class)),
            audio,
            shared,
            inputs,
            before: self.last_delivered.replace(delivered),
            after: Some(after),
            cancel,
            told: false,
        };
        tokio::spawn(take.run());
    }

    /// As always, but that nothing is kept.
    fn unkept(&self) -> Arc<Shared> {
        let shared = &self.shared;
        Arc::new(Shared {
            config: shared.config.clone(),
            vad: shared.vad,
            settings: shared.settings.clone(),
            ready: shared.ready.clone(),
            history: None,
            reports: shared.reports.clone(),
        })
    }

    fn pass(&mut self, take: TakeId, input: Input) {
        let Some(current) = self.current.as_ref().filter(|current| current.take == take) else { return };
        let more = matches!(input, Input::Samples(_) | Input::Ending);
        // A take that has given up reports so by itself.
        let _ = current.inputs.send(input);
        if !more {
            self.current = None;
        }
    }

    /// What the microphone has sent so far: sound that is older than a decision belongs before it.
    fn fetch(&mut self) {
        while let Ok((opening, sound)) = self.sounds.try_recv() {
            self.sound(opening, sound);
        }
    }

    fn sound(&mut self, opening: u64, sound: Sound) {
        if opening != self.opening {
            return;
        }
        match sound {
            Sound::Opened { name, chosen } => {
                let message = match chosen {
                    true => format!("listening to '{name}'"),
                    false => format!("'{}' is not there: '{name}' takes its place", self.shared.config.microphone),
                };
                self.control.status.send_modify(|status| status.microphone = Some(name.clone()));
                self.tell(Event::Microphone { name: Some(name), message });
            }
            Sound::Lost(message) => {
                self.control.status.send_modify(|status| status.microphone = None);
                self.tell(Event::Microphone { name: None, message });
            }
            Sound::Dropped(samples) => {
                self.control.status.send_modify(|status| status.dropped_samples += samples);
                self.tell(Event::Warning { message: format!("{samples} samples of the microphone were lost") });
            }
            Sound::Samples(samples) => match &self.current {
                Some(_) => self.hear(samples),
                None => {
                    self.before.extend(samples);
                    let keep = (self.shared.config.pre_roll_seconds * f64::from(SPEECH_RATE)) as usize;
                    let excess = self.before.len().saturating_sub(keep);
                    self.before.drain(..excess);
                }
            },
        }
    }

    /// Sound for the take that is recorded.
    fn hear(&mut self, mut samples: Vec<f32>) {
        let Some(current) = &mut self.current else { return };
        let take = current.take;
        if let Some(skipped) = current.skipped {
            let silent = samples.iter().take_while(|sample| **sample == 0.0).count();
            if silent == samples.len() && skipped + silent < SKIP {
                current.skipped = Some(skipped + silent);
                return;
            }
            samples.drain(..silent);
            current.skipped = None;
            let microphone = self.control.status.borrow().microphone.clone().unwrap_or_default();
            self.tell(Event::Listening { take, microphone });
        }
        for dbfs in self.level.push(&samples) {
            self.control.status.send_modify(|status| status.level_dbfs = Some(dbfs));
            self.tell(Event::Level { dbfs });
        }
        self.pass(take, Input::Samples(samples));
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Event(event) => {
                if let Event::Partial { text, .. } | Event::Final { text, .. } = &event {
                    self.control.status.send_modify(|status| status.partial.clone_from(text));
                }
                self.tell(event);
            }
            Report::Pending(take, call) => {
                let (tool, arguments, expires) = (call.tool.clone(), call.arguments.clone(), call.expires);
                self.pending = Some((take, call));
                self.tell(Event::Confirm { take, tool, arguments, expires });
            }
            Report::Done(take) => {
                self.running.remove(&take);
                if self.processing.remove(&take) {
                    self.machine.processed();
                }
                self.show_state();
            }
            Report::Last(last) => {
                // A cleaned text that comes late must not hide a newer take.
                let newest = last.cleaned.is_empty() || last.take == self.last.borrow().take;
                if !self.private && newest {
                    self.last.send_replace(last);
                }
            }
        }
    }

    /// A person's word about the call that waits.
    fn decide(&mut self, approved: bool) {
        let Some((take, call)) = self.pending.take() else {
            self.tell(Event::Warning { message: "there is no call to confirm or deny".into() });
            return;
        };
        let Some(ready) = self.shared.ready.borrow().clone() else { return };
        let plan = self.base.clone();
        let cancel = CancellationToken::new();
        // Given up as a take is.
        self.running.insert(take, cancel.clone());
        let shared = self.shared.clone();
        tokio::spawn(decided(Decision { take, token: call.token, approved, plan, cancel }, ready, shared));
    }

    /// The last text once more.
    fn again(&mut self) {
        let last = self.last.borrow().clone();
        let text = if last.reply.is_empty() { last.text } else { last.reply };
        if text.is_empty() {
            self.tell(Event::Warning { message: "there is no text yet that could be delivered again".into() });
            return;
        }
        let (shared, take, to) =
            (self.shared.clone(), last.take, plans::Destination::parse(&self.shared.config.output));
        tokio::spawn(async move {
            let window = window::focus().await;
            let event = match super::deliver::deliver(&text, &to, window.as_ref(), &shared.settings).await {
                Ok(delivered) => Event::Delivered { take, how: delivered.how },
                Err(error) => Event::Error { take: Some(take), message: error.to_string() },
            };
            let _ = shared.reports.send(Report::Event(event));
        });
    }

    /// The take that was cancelled last, as if it had not been.
    async fn recover(&mut self) {
        match self.cancelled().await {
            Ok((kept, mut recording)) => match recording.read() {
                Ok(samples) => {
                    self.recovered += 1;
                    let (inputs, received) = mpsc::unbounded_channel();
                    let known = self.bindings.iter().find(|binding| binding.name == kept.binding);
                    let binding = known.unwrap_or(&self.bindings[0]).clone();
                    let window = window::focus().await;
                    let audio = Audio::There(recording);
                    let kept = Some(Kept { state: Stage::Processing, ..kept });
                    self.machine.also_processing();
                    self.processing.insert(self.recovered);
                    self.start(Begun { id: self.recovered, binding, window, audio, kept, inputs: received });
                    // The take was started a moment ago and has not ended.
                    let _ = inputs.send(Input::Replayed(samples));
                    let _ = inputs.send(Input::End);
                    self.show_state();
                }
                Err(error) => self.tell(Event::Error { take: None, message: format!("cannot read the take: {error}") }),
            },
            Err(message) => self.tell(Event::Warning { message }),
        }
    }

    async fn cancelled(&self) -> Result<(Kept, Recording), String> {
        let history = self.shared.history.as_ref().ok_or("nothing is kept that could be recovered")?;
        let kept = history.newest(Stage::Cancelled).await.map_err(|error| error.to_string())?;
        let kept = kept.ok_or("no take was cancelled that is still kept")?;
        match Recording::take_over(&history.audio(&kept.id)) {
            Ok(Found::Ours(recording)) => Ok((kept, recording)),
            Ok(Found::InUse) => Err("the cancelled take is still being put away; try again".into()),
            Err(error) => Err(format!("the audio of the cancelled take is gone: {error}")),
        }
    }

    /// The program ends: what is being recorded is complete.
    fn wind_up(&mut self) {
        if let Some(current) = self.current.take() {
            let _ = current.inputs.send(Input::End);
            self.close();
            self.show_state();
        }
    }

    fn is_warm(&self) -> bool {
        // A recording begins when it is opened.
        self.shared.config.warm && !matches!(*self.source.borrow(), Source::Recording(_))
    }

    fn open(&mut self) {
        self.opening += 1;
        let (opening, sounds) = (self.opening, self.sounds_in.clone());
        let tell = move |sound| {
            // The owner goes last.
            let _ = sounds.send((opening, sound));
        };
        match Microphone::open(self.source.borrow().clone(), tell) {
            Ok(microphone) => self.microphone = Some(microphone),
            Err(error) => {
                self.tell(Event::Error { take: None, message: format!("no thread for the microphone: {error}") });
            }
        }
    }

    /// After a take: a microphone that is not to stay warm is closed.
    fn close(&mut self) {
        self.control.status.send_modify(|status| status.level_dbfs = None);
        if !self.is_warm() {
            self.microphone = None;
            self.opening += 1;
        }
    }

    fn show_state(&mut self) {
        let (state, binding) = (self.machine.state(), self.machine.binding().map(ToOwned::to_owned));
        let processing = self.machine.processing();
        let before = {
            let status = self.control.status.borrow();
            (status.state, status.binding.clone(), status.processing)
        };
        if before == (state, binding.clone(), processing) {
            return;
        }
        self.control.status.send_modify(|status| {
            if status.state != state {
                status.since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            }
            (status.state, status.binding, status.processing) = (state, binding.clone(), processing);
        });
        if (before.0, before.1) != (state, binding.clone()) {
            self.tell(Event::StateChanged { state, binding });
        }
    }

    fn tell(&self, event: Event) {
        // Whoever started it is told otherwise: the terminal view must not be written over.
        match &event {
            Event::Error { message, .. } | Event::Warning { message } | Event::Microphone { message, .. } => {
                tracing::info!("{message}");
            }
            _ => {}
        }
        // Nobody may be listening.
        let _ = self.control.events.send(event);
    }
}

/// A take that begins.
struct Begun {
    id: TakeId,
    binding: BindingConfig,
    window: Option<Window>,
    audio: Audio,
    kept: Option<Kept>,
    inputs: mpsc::UnboundedReceiver<Input>,
}

/// Levels of a tenth of a second each.
#[derive(Default)]
struct Level {
    sum: f64,
    count: usize,
}

impl Level {
    /// dB of full scale (root mean square), -100 to 0, of each tenth that is complete.
    fn push(&mut self, samples: &[f32]) -> Vec<f32> {
        let mut levels = Vec::new();
        for sample in samples {
            self.sum += f64::from(sample * sample);
            self.count += 1;
            if self.count == LEVEL_STEP {
                let power = self.sum / LEVEL_STEP as f64;
                levels.push((10.0 * power.max(1e-10).log10()).clamp(-100.0, 0.0) as f32);
                *self = Level::default();
            }
        }
        levels
    }
}

fn times(config: &DictateConfig) -> Times {
    Times {
        debounce: Duration::from_secs_f64(config.debounce_seconds),
        tap: Duration::from_secs_f64(config.tap_seconds),
        tail: Duration::from_secs_f64(config.release_tail_seconds),
        shortest: Duration::from_secs_f64(config.min_seconds),
        longest: Duration::from_secs_f64(config.max_seconds),
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_of_full_scale() {
        let mut level = Level::default();
        assert!(level.push(&[1.0; LEVEL_STEP - 1]).is_empty());
        assert_eq!(level.push(&[1.0]), [0.0]);
        let half = level.push(&vec![0.5; LEVEL_STEP * 2]);
        assert!(half.len() == 2 && (half[0] + 6.02).abs() < 0.01, "{half:?}");
        assert_eq!(level.push(&[0.0; LEVEL_STEP]), [-100.0]);
    }
}
