//! `bestbox route`: what texts are for, and why.

mod explain;
mod report;

use super::Override;
use super::progress::Progress;
use super::session::{Overrides, Session};
use crate::audio::Channels;
use crate::cli::{Global, RouteArgs};
use crate::config::{Loaded, SecondOpinion};
use crate::engine::{Ask, Need, Needs};
use crate::error::Error;
use crate::outcome::{Plan, Route, Style, Tier};
use explain::Explained;
use std::io::Write;
use tokio::io::{AsyncBufReadExt, BufReader};

/// The command's own flags as configuration.
pub(super) fn overrides(args: &RouteArgs) -> Vec<Override> {
    let mut set = Overrides::default();
    set.text("intent.force", "--force", args.force.clone());
    set.text("intent.hint", "--hint", args.hint.clone());
    set.variant("tiers", "--tiers", args.tiers);
    set.0
}

/// Decides and explains, or sums up a log.
pub(super) async fn run(loaded: Loaded, global: Global, args: RouteArgs) -> Result<(), Error> {
    if let Some(log) = &args.shadow_report {
        return report::run(log, args.json);
    }
    let mut config = loaded.config;
    config.intent.route = Route::Intent;
    let second = config.intent.second_opinion != SecondOpinion::Off;
    let shadow = config.intent.shadow == "heavy";
    if second {
        // Somebody wants to know: what is not up is started.
        config.intent.second_opinion = SecondOpinion::HeavyStart;
    }
    // A route that was asked for needs no model; everything else may.
    let needs = Needs {
        light: if config.intent.force.is_empty() { Need::AtStart } else { Need::No },
        intent: true,
        heavy: if second || shadow { Need::AtStart } else { Need::No },
        ..Needs::default()
    };
    let session = Session::start_with(config, needs, Channels::Average, Progress::new(&global)).await?;
    if second {
        session.engine.ready(&[Tier::Heavy]).await;
        session.engine.warm_second_opinion().await;
    }
    let result = texts(&session, &args).await;
    session.progress.end();
    session.engine.stop().await;
    result
}

async fn texts(session: &Session, args: &RouteArgs) -> Result<(), Error> {
    let plan = Plan { clean: Style::Verbatim, ..session.plan.clone() };
    let mut stdin = BufReader::new(tokio::io::stdin()).lines();
    for text in &args.texts {
        if text != "-" {
            if !one(session, &plan, text, args).await? {
                return Ok(());
            }
            continue;
        }
        let read = |source| Error::Read { path: "-".into(), source };
        loop {
            let line = tokio::select! {
                line = stdin.next_line() => line.map_err(read)?,
                () = session.cancel.cancelled() => return Err(Error::Interrupted),
            };
            match line {
                Some(line) if !one(session, &plan, line.trim(), args).await? => return Ok(()),
                Some(_) => {}
                None => break,
            }
        }
    }
    Ok(())
}

/// Explains one text; false once nobody reads any more.
async fn one(session: &Session, plan: &Plan, text: &str, args: &RouteArgs) -> Result<bool, Error> {
    let ask =
        Ask { plan, text, caller: 0, conversation: args.conversation.then_some("route"), cancel: &session.cancel };
    let (decision, shadow) = session.engine.explain(ask).await;
    if session.cancel.is_cancelled() {
        return Err(Error::Interrupted);
    }
    let explained = Explained::of(text, decision, shadow);
    let shown = if args.json {
        let line = serde_json::to_string(&explained).map_err(|error| Error::Usage(error.to_string()))?;
        format!("{line}\n")
    } else {
        format!("{explained}\n")
    };
    let mut out = std::io::stdout().lock();
    Ok(out.write_all(shown.as_bytes()).and_then(|()| out.flush()).is_ok())
}
