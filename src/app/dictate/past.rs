//! `bestbox history`.

use super::history::Kept;
use super::recover::{Maker, open, text_of};
use super::window;
use crate::app::progress::Progress;
use crate::app::session;
use crate::cli::{Global, HistoryArgs, HistoryCommand};
use crate::config::Loaded;
use crate::error::Error;
use crate::outcome::{Plan, Route};
use comfy_table::{Table, presets};
use std::time::{SystemTime, UNIX_EPOCH};

/// Characters of a text in a list.
const SHOWN: usize = 100;

/// Runs one command.
///
/// # Errors
/// When the history cannot be opened, or there is no such take.
pub(super) async fn run(loaded: Loaded, global: Global, args: HistoryArgs) -> Result<(), Error> {
    let config = loaded.config;
    let history = open(&config).await?;
    let failed = |error: super::history::HistoryError| Error::Dictation(error.to_string());
    let find = async |name: &str| {
        let found = history.find(name).await.map_err(failed)?;
        found.ok_or_else(|| Error::Dictation(format!("there is no take '{name}'; see `bestbox history list`")))
    };
    match args.command {
        HistoryCommand::List { limit, json } => list(&history.list(limit).await.map_err(failed)?, json),
        HistoryCommand::Search { words, json } => {
            list(&history.search(&words, usize::MAX).await.map_err(failed)?, json)
        }
        HistoryCommand::Show { take, json } => show(&find(&take).await?, json),
        HistoryCommand::Copy { take } => {
            let take = find(&take).await?;
            window::copy(take.best()).await.map_err(Error::Dictation)?;
            window::hand_over().await;
            Ok(())
        }
        HistoryCommand::Audio { take } => {
            let take = find(&take).await?;
            let path = history.audio(&take.id);
            if !path.exists() {
                return Err(Error::Dictation(format!("the audio of take {} is not kept any more", take.id)));
            }
            println!("{}", path.display());
            Ok(())
        }
        HistoryCommand::Reprocess { take, model, save, .. } => {
            let take = find(&take).await?;
            let plan = Plan { model, ..session::plan(&config)? };
            // The intent is asked only where somebody wants to know.
            let plan = Plan { route: if plan.route == Route::Auto { Route::Text } else { plan.route }, ..plan };
            let progress = Progress::new(&global);
            let maker = Maker::start(config, Some(plan), &progress).await?;
            let outcome = maker.make(&history.audio(&take.id)).await;
            maker.engine.stop().await;
            progress.end();
            let outcome = outcome?;
            let text = text_of(&outcome);
            println!("{text}");
            if save {
                let raw = outcome.transcript.text();
                history.put(&Kept { raw, text, cleaned: String::new(), ..take }).await.map_err(failed)?;
            }
            Ok(())
        }
        HistoryCommand::Delete { takes, all: false } => {
            // All are found before the first goes: their numbers change with it.
            let mut found = Vec::new();
            for name in &takes {
                found.push(find(name).await?);
            }
            for take in found {
                history.delete(&take.id).await.map_err(failed)?;
            }
            Ok(())
        }
        HistoryCommand::Delete { all: true, .. } => {
            let deleted = history.delete_all().await.map_err(failed)?;
            println!("{deleted} takes deleted");
            Ok(())
        }
    }
}

fn json_line(take: &Kept) -> Result<String, Error> {
    serde_json::to_string(take).map_err(|error| Error::Dictation(error.to_string()))
}

fn list(takes: &[Kept], json: bool) -> Result<(), Error> {
    if json {
        for take in takes {
            println!("{}", json_line(take)?);
        }
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (number, take) in takes.iter().enumerate() {
        let text = if take.best().is_empty() { format!("({})", take.state.name()) } else { take.best().to_owned() };
        let mut shown: String = text.replace('\n', " ").chars().take(SHOWN).collect();
        if shown.chars().count() == SHOWN {
            shown.push('…');
        }
        table.add_row([(number + 1).to_string(), ago(take.started), format!("{:.0} s", take.seconds), shown]);
    }
    println!("{}", table.trim_fmt());
    Ok(())
}

fn show(take: &Kept, json: bool) -> Result<(), Error> {
    if json {
        println!("{}", json_line(take)?);
        return Ok(());
    }
    let seconds = format!("{:.1} s", take.seconds);
    let rows = [
        ("id", take.id.as_str()),
        ("begun", &ago(take.started)),
        ("state", take.state.name()),
        ("length", &seconds),
        ("binding", &take.binding),
        ("application", &take.application),
        ("language", &take.language),
        ("recognised", &take.raw),
        ("text", &take.text),
        ("cleaned later", &take.cleaned),
        ("answer", &take.reply),
        ("delivered", &take.delivered),
    ];
    for (what, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        println!("{what}: {value}");
    }
    Ok(())
}

/// How long ago, in one unit.
fn ago(started_ms: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let seconds = (now as i64 - started_ms).max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
