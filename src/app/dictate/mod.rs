//! `bestbox dictate`: hold a key, speak, release, and the text is there.
//!
//! ```text
//! key, `bestbox ctl`, tray -> Controller -> owner task [machine] -> take (disk, phrases, text) -> delivery, history
//!                                             ^ microphone thread      `-> Status and Event to every view
//! ```
//!
//! One owner task holds all state; everybody else has a [`Controller`].

pub mod control;
#[cfg(unix)]
mod ctl;
mod deliver;
pub mod desktop_session;
mod ear;
pub mod feedback;
mod history;
pub mod hotkey;
pub mod machine;
mod owner;
mod past;
mod phrases;
mod plans;
mod record;
mod recover;
mod run;
#[cfg(unix)]
mod socket;
mod take;
mod window;

pub use control::{Control, Controller, Event, Order, Status};
pub use machine::{Command, Mode, State, TakeId};
pub(in crate::app) use run::{Dictation, Opening};

use super::session::{self, Overrides};
use super::{Override, block_on, load};
use crate::agent::tools::Found;
use crate::cli::{CtlArgs, DictateArgs, Global, HistoryArgs, HistoryCommand};
use crate::config::{Config, DictateConfig, Loaded};
use crate::error::Error;
use std::path::{Path, PathBuf};
use toml::Value;

/// Begins the name of a microphone that is a source of PulseAudio.
pub(super) const PULSE: &str = "pulse:";

/// The flags of `bestbox dictate` as configuration.
pub(super) fn overrides(args: &DictateArgs) -> Vec<Override> {
    let mut set = Overrides(session::plan_overrides(&args.plan));
    set.text("dictate.output", "--output", args.output.clone());
    set.text("dictate.microphone", "--microphone", args.microphone.clone());
    set.value("dictate.warm", "--warm", args.warm.then_some(Value::Boolean(true)));
    set.value("dictate.private", "--private", args.private.then_some(Value::Boolean(true)));
    set.0
}

/// `bestbox dictate`.
pub(super) fn run(loaded: Loaded, global: Global, args: DictateArgs) -> Result<(), Error> {
    set_sound_environment(&loaded.config.dictate);
    block_on(run::run(loaded, global, args))
}

/// What the sound system is to know before it is first used. Called by `main`, before any other thread runs.
pub(super) fn set_sound_environment(config: &DictateConfig) {
    // PulseAudio's ALSA plugin buffers two seconds where nobody says otherwise.
    let mut environment = vec![("PULSE_LATENCY_MSEC", "20")];
    environment.retain(|(name, _)| std::env::var_os(name).is_none());
    environment.extend(config.microphone.strip_prefix(PULSE).map(|name| ("PULSE_SOURCE", name)));
    for (name, value) in environment {
        // SAFETY: no other thread runs yet: `main` has not started the runtime.
        unsafe { std::env::set_var(name, value) };
    }
}

/// Where the history is.
pub(super) fn data_dir(config: &Config) -> PathBuf {
    run::data_dir(config)
}

/// What was dictated with all of `words` (lower case) in it, newest first. Makes nothing where there is no history.
///
/// # Errors
/// One sentence.
pub(super) async fn search_history(folder: &Path, words: &[String], limit: usize) -> Result<Vec<Found>, String> {
    let history = history::History::open_to_read(folder).await.map_err(|error| error.to_string())?;
    let Some(history) = history else { return Ok(Vec::new()) };
    let takes = history.search(words, limit).await.map_err(|error| error.to_string())?;
    Ok(takes.into_iter().map(|take| Found { place: take.said_at(), text: take.best().to_owned() }).collect())
}

/// `bestbox ctl`.
pub(super) fn ctl(args: CtlArgs) -> Result<(), Error> {
    ctl::run(args)
}

/// `bestbox history`.
pub(super) fn history(global: Global, args: HistoryArgs) -> Result<(), Error> {
    let flags = match &args.command {
        HistoryCommand::Reprocess { plan, .. } => session::plan_overrides(plan),
        _ => Vec::new(),
    };
    let loaded = load(&global, flags)?;
    block_on(past::run(loaded, global, args))
}
