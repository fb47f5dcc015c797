//! Starting and ending: models in the background, the owner, the control socket; and the second dictation, which hands
//! over to the first.

use super::control::{Controller, Event, Status};
use super::desktop_session::Session;
use super::ear::Ready;
use super::history::History;
use super::owner::{Owner, Setup};
use super::socket::{self, Asked, Seat};
use super::take::{Last, Shared};
use super::{ctl, feedback, hotkey, plans, recover, window};
use crate::app::interrupt;
use crate::app::progress::Progress;
use crate::app::session::{self, program};
use crate::audio::capture::Source;
use crate::audio::{self, Channels, Input, SPEECH_RATE};
use crate::cli::{DictateArgs, Global};
use crate::config::{Config, DictateConfig, Loaded};
use crate::engine::{Engine, Notice, Start, Upkeep};
use crate::error::Error;
use crate::outcome::Plan;
use crate::speech::queue::Ticket;
use crate::speech::vad::VadSettings;
use crate::speech::{SpeechOptions, Utterance};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a dictation that was told to end may take for it.
const HANDOVER: Duration = Duration::from_secs(30);

/// Dictation that runs.
pub(in crate::app) struct Dictation {
    /// Drives it.
    pub controller: Controller,
    /// The last text.
    pub last: watch::Receiver<Last>,
    /// Set once the models are loaded.
    ready: watch::Receiver<Option<Arc<Ready>>>,
    owner: JoinHandle<()>,
    loading: JoinHandle<Result<(), Error>>,
}

/// What dictation is started with.
pub(in crate::app) struct Opening {
    /// Validated.
    pub config: Config,
    /// Where sound comes from; looked at whenever the microphone is opened.
    pub source: watch::Receiver<Source>,
    /// Told what takes a while.
    pub notice: Notice,
    /// Ends it.
    pub end: CancellationToken,
}

impl Dictation {
    /// Starts it; the models are loaded in the background, and takes that come before wait for them.
    ///
    /// # Errors
    /// What the configuration names and cannot be read.
    pub async fn start(opening: Opening) -> Result<Self, Error> {
        let Opening { config, source, notice, end } = opening;
        let base = session::plan(&config)?;
        for binding in &config.dictate.binding {
            for name in [&binding.route, &binding.hint] {
                let named = session::named_route(&config, name).map(drop);
                named.map_err(|error| Error::Usage(format!("binding '{}': {error}", binding.name)))?;
            }
        }
        let history = match History::open(&data_dir(&config)).await {
            Ok(history) => Some(history),
            Err(error) => {
                notice(&format!("nothing is kept: {error}"));
                None
            }
        };
        let status = Status {
            language: base.language.to_string(),
            model: config.speech.model.clone(),
            private: config.dictate.private,
            pid: std::process::id(),
            ..Status::default()
        };
        let (controller, control) = Controller::new(status);
        let (ready_in, ready) = watch::channel(None);
        let (last_in, last) = watch::channel(Last::default());
        let (reports_in, reports) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            config: config.dictate.clone(),
            vad: vad(&config),
            settings: window::Settings::of(&config),
            ready: ready.clone(),
            history: history.clone(),
            reports: reports_in,
        });
        if let Some(history) = history {
            let limits = config.dictate.history.clone();
            tokio::spawn(forget(history, limits, end.clone()));
        }
        let loading = tokio::spawn(load(config, base.clone(), notice, ready_in));
        let setup = Setup { base, shared, reports, control, source, end };
        let owner = tokio::spawn(Owner::new(setup, last_in).run());
        Ok(Dictation { controller, last, ready, owner, loading })
    }

    /// Until the models are loaded.
    ///
    /// # Errors
    /// When they cannot be; [`Dictation::finish`] says why.
    pub async fn loaded(&mut self) -> Result<(), Error> {
        let loaded = self.ready.wait_for(Option::is_some).await;
        loaded.map(drop).map_err(|_| Error::Dictation("the models cannot be loaded".into()))
    }

    /// Until it has ended; then its servers are stopped.
    ///
    /// # Errors
    /// When the models cannot be loaded.
    pub async fn finish(self) -> Result<(), Error> {
        let Dictation { ready, owner, loading, .. } = self;
        let mut owner = owner;
        let mut loading = loading;
        let mut result = Ok(());
        tokio::select! {
            loaded = &mut loading => {
                result = loaded.unwrap_or_else(|panic| Err(Error::Dictation(panic.to_string())));
                // Without models it has ended already.
                let _ = owner.await;
            }
            // Its panic was printed; what it had recorded is on the disk.
            _ = &mut owner => loading.abort(),
        }
        let models = ready.borrow().clone();
        if let Some(models) = models {
            models.engine.stop().await;
        }
        result
    }
}

/// Runs until it is told to end.
///
/// # Errors
/// When it cannot be started, or the models cannot be loaded.
pub(super) async fn run(loaded: Loaded, global: Global, args: DictateArgs) -> Result<(), Error> {
    if args.recover {
        return recover::run(loaded, &global).await;
    }
    let folder = socket::folder()?;
    let Some(seat) = seat(&folder, args.replace).await? else { return Ok(()) };
    let config = loaded.config;
    let end = interrupt::token();
    let (_source, sources) = watch::channel(source(&config, args.source.as_deref())?);
    recover::mention(&config).await;
    let listener = seat.listen()?;
    let screen = has_screen(&config.dictate, &global);
    let progress = Progress::new(&Global { quiet: screen || global.quiet, ..global });
    let opening = Opening { config: config.clone(), source: sources, notice: progress.notice(), end };
    let dictation = Dictation::start(opening).await?;
    let controller = dictation.controller.clone();
    let serving = tokio::spawn(socket::serve(listener, controller.clone(), dictation.last.clone()));
    let session = Session::from_env();
    let feedback = feedback::start(&config.dictate.feedback, &session, &controller);
    let hotkeys = hotkey::start(&config.dictate.hotkey, &session, hotkey::of(&config.dictate), &controller).await;
    let problem = hotkeys.as_ref().err().map(|error| format!("no keys, but `bestbox ctl` works: {error}"));
    let view = View::show(screen, &dictation, progress, problem);
    let result = dictation.finish().await;
    drop(hotkeys);
    view.end().await;
    feedback.stop().await;
    serving.abort();
    window::hand_over().await;
    drop(seat);
    result
}

/// Whether the terminal is ours to draw on.
fn has_screen(config: &DictateConfig, global: &Global) -> bool {
    let terminals =
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
    let stdout = |output: &str| output == "stdout";
    let prints = stdout(&config.output)
        || config.binding.iter().any(|binding| stdout(&binding.output))
        || config.application.iter().any(|application| stdout(&application.output));
    config.feedback.terminal && terminals && !prints && !global.quiet && global.verbose == 0
}

/// What whoever started it sees: the view in the terminal, or lines on standard error.
struct View {
    stop: CancellationToken,
    shown: JoinHandle<()>,
}

impl View {
    fn show(screen: bool, dictation: &Dictation, progress: Progress, problem: Option<String>) -> Self {
        let stop = CancellationToken::new();
        let (controller, until) = (dictation.controller.clone(), stop.clone());
        let shown = if screen {
            tokio::spawn(async move {
                if let Err(error) = feedback::terminal::run(controller, until, problem).await {
                    crate::app::say(&format!("bestbox: {error}"));
                }
            })
        } else {
            if let Some(problem) = problem {
                progress.error(&problem);
            }
            let ready = dictation.ready.clone();
            tokio::spawn(async move {
                until.run_until_cancelled(tell(controller, ready, progress)).await;
            })
        };
        View { stop, shown }
    }

    async fn end(self) {
        self.stop.cancel();
        // Whatever it was, the terminal is given back by now.
        let _ = self.shown.await;
    }
}

/// The right to run; none where another dictation goes on.
async fn seat(folder: &Path, replace: bool) -> Result<Option<Seat>, Error> {
    let until = Instant::now() + HANDOVER;
    let mut asked = false;
    loop {
        let pid = match socket::ask(folder)? {
            Asked::Ours(seat) => return Ok(Some(seat)),
            Asked::Taken(pid) => pid.map_or_else(String::new, |pid| format!(" (process {pid})")),
        };
        if !replace {
            println!("dictation is running already{pid}: its keys and `bestbox ctl` go on; --replace takes over");
            return Ok(None);
        }
        if Instant::now() >= until {
            return Err(Error::Dictation(format!("the running dictation{pid} does not end; end it by hand")));
        }
        // It may be starting, or ending by itself.
        asked = asked || tokio::task::block_in_place(ctl::quit).is_ok();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What happens, as lines on standard error.
async fn tell(controller: Controller, mut ready: watch::Receiver<Option<Arc<Ready>>>, progress: Progress) {
    let mut events = controller.events();
    let mut loading = true;
    loop {
        tokio::select! {
            loaded = ready.wait_for(Option::is_some), if loading => {
                loading = false;
                progress.end();
                if loaded.is_ok() {
                    progress.line("dictation is ready");
                }
            }
            event = events.recv() => match event {
                Ok(Event::Warning { message } | Event::Error { message, .. }) => progress.error(&message),
                Ok(Event::Microphone { name: None, message }) => progress.error(&message),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// The models; sent on once they are warm.
async fn load(
    config: Config,
    base: Plan,
    notice: Notice,
    ready: watch::Sender<Option<Arc<Ready>>>,
) -> Result<(), Error> {
    let start = Start {
        needs: plans::needs(&base, &config),
        channels: Channels::Average,
        program: program()?,
        notice,
        upkeep: Upkeep::Kept,
        config,
    };
    let engine = Engine::start(start).await?;
    engine.set_transcripts(crate::app::transcripts::of(engine.config()));
    let lease = engine.speech()?.lease(None).await?;
    // The first recognition of a process is slower than those after it. Quiet noise: silence is not even looked at.
    let mut random = fastrand::Rng::with_seed(1);
    let noise = (0..SPEECH_RATE).map(|_| (random.f32() - 0.5) * 0.01).collect();
    if let Some(utterance) = Utterance::whole(noise, 0.0) {
        let options = SpeechOptions { language: base.language, ..SpeechOptions::default() };
        lease.recognize(utterance, options, Ticket::default(), CancellationToken::new()).await?;
    }
    ready.send_replace(Some(Arc::new(Ready { engine, lease })));
    // Dropping the sender would say that loading failed.
    ready.closed().await;
    Ok(())
}

async fn forget(history: History, limits: crate::config::HistoryConfig, end: CancellationToken) {
    loop {
        if let Err(error) = history.forget_old(&limits).await {
            tracing::warn!(%error, "old takes stay");
        }
        let hour = tokio::time::sleep(Duration::from_secs(3600));
        if end.run_until_cancelled(hour).await.is_none() {
            return;
        }
    }
}

/// Where recordings and the history are.
pub(super) fn data_dir(config: &Config) -> PathBuf {
    let configured = &config.dictate.data_dir;
    if !configured.as_os_str().is_empty() {
        return configured.clone();
    }
    let platform = directories::ProjectDirs::from("", "", "bestbox").map(|dirs| dirs.data_dir().join("dictate"));
    platform.unwrap_or_else(|| std::env::temp_dir().join("bestbox-dictate"))
}

/// How speech is cut into phrases.
fn vad(config: &Config) -> VadSettings {
    let defaults = VadSettings::default();
    let threshold = config.speech.vad_threshold as f32;
    VadSettings {
        threshold: if threshold > 0.0 { threshold } else { defaults.threshold },
        min_silence: config.dictate.pause_seconds,
        max_utterance: config.dictate.max_utterance_seconds.min(config.speech.max_utterance_seconds),
        ..defaults
    }
}

fn source(config: &Config, recording: Option<&Path>) -> Result<Source, Error> {
    if let Some(path) = recording {
        return Ok(Source::Recording(Arc::new(decode(path)?)));
    }
    let name = &config.dictate.microphone;
    // A source of PulseAudio was put into the environment, where its ALSA plugin finds it.
    let default = name.is_empty() || name.starts_with(super::PULSE);
    Ok(if default { Source::Default } else { Source::Named(name.clone()) })
}

fn decode(path: &Path) -> Result<Vec<f32>, Error> {
    let settings = audio::DecodeSettings { worker: program()?, ..audio::DecodeSettings::default() };
    tokio::task::block_in_place(|| {
        let mut stream = audio::open(Input::File(path.to_owned()), &settings)?;
        let mut samples = Vec::new();
        while let Some(block) = stream.next_block()? {
            samples.extend(block);
        }
        Ok(samples)
    })
}
