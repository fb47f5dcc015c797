//! `bestbox eval`: how good a configuration is, on the user's own recordings and texts.
//!
//! Every line of the manifests goes through the pipeline as any recording or text does; what comes out is compared with
//! what is right. Two configurations are compared on the same lines; thresholds are fitted on lines that are not
//! reported.

mod fit;
mod intent;
mod items;
mod punctuation;
mod report;
mod scores;
mod table;

pub(super) use intent::wilson;
pub(super) use report::escaped;

use super::progress::Progress;
use super::session::{Session, plan_overrides};
use super::{Override, load};
use crate::audio::{Channels, Input};
use crate::cli::{EvalArgs, Global};
use crate::config::{Config, Loaded, user_file};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::output::write_whole;
use crate::pipeline::{self, Run};
use crate::text::intent::RouteSet;
use items::{Item, halves, read};
use scores::{Done, Scores, scores};
use std::path::{Path, PathBuf};
use toml::Value;

/// The command's own flags as configuration. The intent is decided and nobody answers, unless a route is asked for.
pub(super) fn overrides(args: &EvalArgs) -> Vec<Override> {
    let mut set = plan_overrides(&args.plan);
    if args.plan.route.is_none() {
        set.push(("intent.route".into(), Value::String("intent".into()), "eval".into()));
    }
    set
}

/// What the report is made of.
#[derive(serde::Serialize)]
struct Evaluation {
    /// Lines that were evaluated.
    lines: usize,
    /// Lines that thresholds were fitted on.
    fitted_on: usize,
    /// Ctrl-C came: the figures are of the lines before it.
    interrupted: bool,
    /// One configuration or two.
    configurations: Vec<Scores>,
}

/// Evaluates, compares, fits and reports.
pub(super) async fn run(loaded: Loaded, global: Global, args: EvalArgs) -> Result<(), Error> {
    let mut items = read(&args.manifests)?;
    let mut fitting = Vec::new();
    if args.fit {
        (fitting, items) = halves(items);
    } else {
        items.retain(|item| item.split == items::Split::Test);
    }
    let mut config = loaded.config;
    let mut kept = None;
    let mut fitted_on = 0;
    if args.fit {
        let (routes, count) = fitted(&config, &global, &fitting, &args).await?;
        fitted_on = count;
        config.intent.routes = routes.display().to_string();
        kept = Some(routes);
    }
    let (scores, mut interrupted) = evaluate("this configuration", config, &global, &items).await?;
    let mut configurations = vec![scores];
    if !args.against.is_empty() && !interrupted {
        let mut other = global.clone();
        other.set.extend(args.against.iter().cloned());
        let loaded = load(&other, overrides(&args))?;
        let (scores, cut) = evaluate(&args.against.join(" "), loaded.config, &global, &items).await?;
        configurations.push(scores);
        interrupted = cut;
    }
    let evaluation = Evaluation { lines: items.len(), fitted_on, interrupted, configurations };
    if let Some(path) = &args.html {
        write_whole(path, &report::html(&evaluation))?;
    }
    if args.json {
        let text = serde_json::to_string_pretty(&evaluation).map_err(|error| Error::Usage(error.to_string()))?;
        println!("{text}");
    } else {
        println!("{}", table::table(&evaluation));
    }
    if let Some(routes) = kept.filter(|_| !global.quiet) {
        let key = format!("intent.routes = \"{}\"", routes.display());
        crate::app::say(&format!(
            "fitted on {fitted_on} utterances and written; use it with this line in the configuration: {key}"
        ));
    }
    if interrupted {
        return Err(Error::Interrupted);
    }
    let failed: usize = evaluation.configurations.iter().map(|scores| scores.failed.len()).sum();
    match failed {
        0 => Ok(()),
        _ => Err(Error::Some { failed, total: evaluation.lines, worst: crate::error::Exit::Input }),
    }
}

/// Every line through one configuration, up to the end or to an interruption: then `true`, and what was measured so far.
async fn evaluate(name: &str, config: Config, global: &Global, items: &[Item]) -> Result<(Scores, bool), Error> {
    let speech = items.iter().any(|item| item.audio.is_some());
    let session = Session::start(config, speech, Channels::Average, Progress::new(global)).await?;
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for (number, item) in items.iter().enumerate() {
        session.progress.line(&format!("{name}: {} of {}", number + 1, items.len()));
        let outcome = one(&session, item).await;
        // A recording that was interrupted has an outcome, of its first half: not what is to be measured.
        if session.cancel.is_cancelled() {
            break;
        }
        match outcome {
            Ok(outcome) => done.push(Done { item: item.clone(), outcome }),
            Err(error) => failed.push((format!("{}: {}", item.line, item.name), error.to_string())),
        }
    }
    let names = session.engine.routes().names().into_iter().map(str::to_owned).collect::<Vec<_>>();
    session.progress.end();
    session.engine.stop().await;
    Ok((scores(name, &done, failed, &names), session.cancel.is_cancelled()))
}

async fn one(session: &Session, item: &Item) -> Result<Outcome, Error> {
    let observer = |_: pipeline::Event<'_>| {};
    let run = Run::new(&session.engine, &session.plan, &observer, &session.cancel);
    match (&item.audio, item.spoken()) {
        (Some(audio), _) => pipeline::run_audio(run, Input::File(audio.clone()), &item.name).await,
        (None, Some(transcript)) => pipeline::run_text(run, transcript, &item.name).await,
        (None, None) => Err(Error::Usage("it has neither a recording nor a text".into())),
    }
}

/// Fits on `items` and writes the routes; says where, and how many utterances it was fitted on.
async fn fitted(config: &Config, global: &Global, items: &[Item], args: &EvalArgs) -> Result<(PathBuf, usize), Error> {
    let target = fit_target(config, args)?;
    let source = &config.intent.routes;
    let text = if source.is_empty() {
        RouteSet::built_in_text().to_owned()
    } else {
        let path = PathBuf::from(source);
        std::fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?
    };
    let session = Session::start(config.clone(), false, Channels::Average, Progress::new(global)).await?;
    let mut said = |number, total| session.progress.line(&format!("fitting: {number} of {total}"));
    let found = fit::run(&session.engine, items, &session.cancel, &mut said).await;
    session.progress.end();
    session.engine.stop().await;
    let found = found?;
    let origin = if source.is_empty() { Path::new("the built-in routes") } else { Path::new(source) };
    let text = fit::written(&text, origin, &found.calibration)?;
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|source| crate::output::OutputError::Write { path: target.clone(), source })?;
    }
    write_whole(&target, &text)?;
    Ok((target, found.utterances))
}

/// Where fitted routes go: where the user says, else into the routes in use, else beside the user's configuration.
fn fit_target(config: &Config, args: &EvalArgs) -> Result<PathBuf, Error> {
    if let Some(path) = &args.fit_output {
        return Ok(path.clone());
    }
    if !config.intent.routes.is_empty() {
        return Ok(PathBuf::from(&config.intent.routes));
    }
    let beside = user_file().map(|file| file.with_file_name("routes.toml"));
    beside.ok_or_else(|| Error::Usage("say where fitted routes go: --fit-output FILE".into()))
}
