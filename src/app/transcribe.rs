//! `bestbox transcribe`: recordings in, one after the other, one engine around them.

use super::Override;
use super::progress::Progress;
use super::session::{Overrides, Session, channel_overrides, plan_overrides, sink};
use crate::audio::{Channels, Input};
use crate::cli::{Global, TranscribeArgs};
use crate::config::Loaded;
use crate::error::{Error, Exit};
use crate::outcome::Outcome;
use crate::output::{Delivered, Inputs};
use crate::pipeline::{self, Run};
use std::path::Path;
use toml::Value;

/// The command's own flags as configuration.
pub(super) fn overrides(args: &TranscribeArgs) -> Vec<Override> {
    let mut set = Overrides(plan_overrides(&args.plan));
    set.0.extend(channel_overrides(&args.channels));
    set.text("speech.model", "--model", args.model.clone());
    set.text("speech.prompt", "--prompt", args.prompt.clone());
    set.value(
        "speech.translate_to_english",
        "--translate-to-english",
        args.translate_to_english.then_some(Value::Boolean(true)),
    );
    set.value("speech.word_times", "--words", args.words.then_some(Value::Boolean(true)));
    set.value("speech.threads", "--threads", args.threads.map(|n| Value::Integer(n.into())));
    set.0
}

/// Transcribes every file; one that fails is reported and does not stop the others.
pub(super) async fn run(loaded: Loaded, global: Global, args: TranscribeArgs) -> Result<(), Error> {
    let channels = args.channel.map_or(Channels::Average, |n| Channels::One(usize::from(n) - 1));
    let inputs = if args.files.len() > 1 { Inputs::Several } else { Inputs::One };
    let mut sink = sink(&args.output, &loaded.config, inputs, None)?;
    refuse_unreadable(&args.files)?;
    sink.check(&args.files)?;
    let session = Session::start(loaded.config, true, channels, Progress::new(&global)).await?;
    let mut failed = 0;
    let mut worst = Exit::Failure;
    let mut result = Ok(());
    for file in &args.files {
        match one(&session, file).await.and_then(|outcome| Ok(sink.deliver(&outcome)?)) {
            // `| head`: whoever wanted the rest is gone.
            Ok(Delivered::ReaderGone) => break,
            Ok(_) if session.cancel.is_cancelled() => result = Err(Error::Interrupted),
            Ok(_) => {}
            Err(error) if args.files.len() == 1 || fatal(&error) => result = Err(error),
            Err(error) => {
                session.progress.error(&format!("bestbox: {}: {error}", file.display()));
                failed += 1;
                worst = error.exit();
            }
        }
        if result.is_err() {
            break;
        }
    }
    session.progress.end();
    session.engine.stop().await;
    result?;
    if failed > 0 { Err(Error::Some { failed, total: args.files.len(), worst }) } else { Ok(()) }
}

/// What makes going on with the next file pointless.
fn fatal(error: &Error) -> bool {
    matches!(error.exit(), Exit::Interrupted | Exit::Output | Exit::Model | Exit::Usage)
}

/// A single missing file is said before any model is loaded.
fn refuse_unreadable(files: &[std::path::PathBuf]) -> Result<(), Error> {
    let [file] = files else { return Ok(()) };
    if is_stdin(file) {
        return Ok(());
    }
    std::fs::metadata(file).map(drop).map_err(|source| Error::Read { path: file.clone(), source })
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

async fn one(session: &Session, file: &Path) -> Result<Outcome, Error> {
    let input = if is_stdin(file) { Input::Stdin } else { Input::File(file.to_owned()) };
    let name = file.display().to_string();
    session.progress.begin(&name);
    let observer = |event: pipeline::Event<'_>| session.progress.event(&event);
    let run = Run {
        owner: "cli",
        confirm: Some(&session.confirm),
        ..Run::new(&session.engine, &session.plan, &observer, &session.cancel)
    };
    let outcome = pipeline::run_audio(run, input, &name).await;
    session.progress.end();
    if let Ok(outcome) = &outcome {
        for warning in &outcome.warnings {
            session.progress.line(&format!("{name}: warning: {}", warning.message));
        }
    }
    outcome
}
