//! `bestbox dictate --recover`: text of what a crash has left, and of what could not be recognised.

use super::history::{History, Kept, Stage};
use super::record::{Found, Recording};
use super::run::data_dir;
use crate::app::interrupt;
use crate::app::progress::Progress;
use crate::app::session::{self, program};
use crate::audio::{Channels, Input};
use crate::cli::Global;
use crate::config::{Config, Loaded};
use crate::engine::{Engine, Needs, Start, Upkeep};
use crate::error::Error;
use crate::outcome::{Outcome, Plan, Route};
use crate::pipeline::{Run, run_audio};
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Makes text of every take that has none, prints it, a line a take, and keeps it in the history.
///
/// # Errors
/// When the history or the models cannot be used; a take that fails is reported and stays for the next time.
pub(super) async fn run(loaded: Loaded, global: &Global) -> Result<(), Error> {
    let (config, progress) = (loaded.config, Progress::new(global));
    let history = open(&config).await?;
    let mut waiting = Vec::new();
    for take in history.unfinished().await.map_err(|error| Error::Dictation(error.to_string()))? {
        match Recording::take_over(&history.audio(&take.id)) {
            Ok(Found::Ours(recording)) => waiting.push((take, recording)),
            // A running dictation is at it.
            Ok(Found::InUse) => {}
            Err(error) => {
                progress.error(&format!("the audio of take {} is gone: {error}", take.id));
                let lost = Kept { state: Stage::Failed, ..take };
                history.put(&lost).await.map_err(|error| Error::Dictation(error.to_string()))?;
            }
        }
    }
    if waiting.is_empty() {
        progress.end();
        crate::app::say("bestbox: every take has its text; nothing is left to recover");
        return Ok(());
    }
    let maker = Maker::start(config, None, &progress).await?;
    let total = waiting.len();
    let mut failed = 0;
    for (take, mut recording) in waiting {
        if let Err(error) = recording.finish() {
            progress.error(&format!("{}: {error}", recording.path().display()));
        }
        let take = Kept { seconds: recording.seconds(), ..take };
        match maker.make(recording.path()).await {
            Ok(outcome) => {
                let text = text_of(&outcome);
                let state = if text.is_empty() { Stage::Empty } else { Stage::Done };
                let raw = outcome.transcript.text();
                let done = Kept { state, raw, text: text.clone(), delivered: "recovered".into(), ..take };
                history.put(&done).await.map_err(|error| Error::Dictation(error.to_string()))?;
                if !text.is_empty() {
                    println!("{text}");
                }
            }
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                failed += 1;
                progress.error(&format!("take {}: {error}", take.id));
            }
        }
    }
    maker.engine.stop().await;
    progress.end();
    if failed > 0 { Err(Error::Some { failed, total, worst: crate::error::Exit::Failure }) } else { Ok(()) }
}

/// Says that there is something to recover.
pub(super) async fn mention(config: &Config) {
    let Ok(history) = open(config).await else { return };
    let Ok(takes) = history.unfinished().await else { return };
    let left = takes.iter().filter(|take| {
        matches!(Recording::take_over(&history.audio(&take.id)), Ok(Found::Ours(recording)) if recording.seconds() > 0.2)
    });
    let count = left.count();
    if count > 0 {
        crate::app::say(&format!("bestbox: {count} takes have no text yet: bestbox dictate --recover"));
    }
}

pub(super) async fn open(config: &Config) -> Result<History, Error> {
    History::open(&data_dir(config)).await.map_err(|error| Error::Dictation(error.to_string()))
}

/// Models for takes that are on the disk.
pub(super) struct Maker {
    pub engine: Engine,
    plan: Plan,
    cancel: CancellationToken,
}

impl Maker {
    /// Loads them. `plan`: other settings than the configuration's.
    pub async fn start(config: Config, plan: Option<Plan>, progress: &Progress) -> Result<Self, Error> {
        let plan = match plan {
            Some(plan) => plan,
            None => Plan { route: Route::Text, ..session::plan(&config)? },
        };
        let cancel = interrupt::token();
        let needs = Needs::of(&plan, &config, true);
        let (notice, upkeep) = (progress.notice(), Upkeep::Once);
        let start = Start { config, needs, channels: Channels::Average, program: program()?, notice, upkeep };
        let starting = cancel.run_until_cancelled(Engine::start(start)).await;
        Ok(Maker { engine: starting.ok_or(Error::Interrupted)??, plan, cancel })
    }

    /// What is said in a file.
    pub async fn make(&self, path: &Path) -> Result<Outcome, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let run = Run::new(&self.engine, &self.plan, &|_| {}, &self.cancel);
        run_audio(run, Input::File(path.to_owned()), &name).await
    }
}

/// The best text of an outcome: the answer, the translation, the cleaned text.
pub(super) fn text_of(outcome: &Outcome) -> String {
    match &outcome.reply {
        Some(reply) => reply.text.clone(),
        None => super::take::best(outcome),
    }
}
