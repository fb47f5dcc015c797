//! `bestbox models list|pull|import|verify|rm|path`.

use super::progress::Progress;
use super::{block_on, interrupt};
use crate::cli::{Global, ModelsArgs, ModelsCommand};
use crate::config::{Config, Loaded};
use crate::error::Error;
use crate::models::{self, Event, Puller, State, Store};
use comfy_table::{Table, presets};
use tokio_util::sync::CancellationToken;

/// Runs one of the six. Blocking work, so it has a thread of its own beside the signal handler.
pub(super) fn run(loaded: Loaded, global: &Global, args: ModelsArgs) -> Result<(), Error> {
    let progress = Progress::new(global);
    block_on(async move {
        let cancel = interrupt::token();
        let shown = progress.clone();
        let work = move || dispatch(&loaded.config, args.command, &shown, &cancel);
        let result = tokio::task::spawn_blocking(work).await;
        progress.end();
        result.map_err(|panic| Error::Usage(format!("it ended unexpectedly: {panic}")))?
    })
}

fn dispatch(
    config: &Config,
    command: ModelsCommand,
    shown: &Progress,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let store = store(config);
    let draw = |event: Event<'_>| shown.model(event);
    match command {
        ModelsCommand::List { json } => list(&store, json),
        ModelsCommand::Pull { names } => {
            let names = if names.is_empty() { configured(config) } else { names };
            for pulled in Puller::new(&store, cancel.clone()).pull(&names, &draw)? {
                let how = match (pulled.present, pulled.checked) {
                    (true, _) => "is there",
                    (false, true) => "pulled and checked",
                    (false, false) => "pulled; there is no checksum to compare it with",
                };
                shown.line(&format!("{}: {how}", pulled.name));
            }
            Ok(())
        }
        ModelsCommand::Import { dir, name, kind } => {
            let imported = store.import(&dir, kind, name.as_deref(), &draw, cancel)?;
            shown.end();
            println!("{}", imported.path.display());
            Ok(())
        }
        ModelsCommand::Verify { names } => verify(&store, names, shown, cancel),
        ModelsCommand::Rm { names } => {
            for name in names {
                let freed = store.remove(&name)?;
                shown.line(&format!("{name}: removed, {} freed", models::size(freed)));
            }
            Ok(())
        }
        ModelsCommand::Path { name } => {
            let path = name.map_or_else(|| Ok(store.models()), |name| store.locate(&name))?;
            println!("{}", path.display());
            Ok(())
        }
    }
}

/// The models folder and the user's own.
pub(super) fn store(config: &Config) -> Store {
    Store::new(models::cache_dir(), config.models.folders.clone())
}

/// Catalogue names that the configuration needs; files of the user's own are not pulled.
pub(super) fn configured(config: &Config) -> Vec<String> {
    let mut names = vec![config.speech.model.clone()];
    names.extend([&config.light, &config.heavy].into_iter().filter(|tier| tier.manage).map(|tier| tier.model.clone()));
    names.retain(|name| !name.contains(std::path::is_separator));
    names.dedup();
    names
}

fn list(store: &Store, json: bool) -> Result<(), Error> {
    let listed = store.list();
    if json {
        let text = serde_json::to_string_pretty(&listed).map_err(|error| Error::Usage(error.to_string()))?;
        println!("{text}");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["NAME", "FOR", "SIZE", "STATE", "LICENCE", "LANGUAGES"]);
    for model in listed {
        let role = model.role.map_or_else(String::new, |role| role.to_string());
        table.add_row([
            model.name,
            role,
            models::size(model.bytes),
            state(model.state).to_owned(),
            model.licence,
            model.languages.join(" "),
        ]);
    }
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    println!("{}", table.trim_fmt());
    Ok(())
}

fn state(state: State) -> &'static str {
    match state {
        State::NotHere => "-",
        State::Partial => "partly downloaded",
        State::Checked => "here, checked",
        State::Unchecked => "here, checked on first use",
        State::NotPinned => "here, no checksum known",
    }
}

fn verify(store: &Store, names: Vec<String>, shown: &Progress, cancel: &CancellationToken) -> Result<(), Error> {
    let here = || store.list().into_iter().filter(|model| model.path.is_some()).map(|model| model.name).collect();
    let names: Vec<String> = if names.is_empty() { here() } else { names };
    let mut first_error = None;
    for name in names {
        match store.verify(&name, cancel) {
            Ok((_, found, sha256)) => println!("{name}: {} (sha256 {sha256})", state(found)),
            Err(error) => {
                shown.error(&format!("{name}: {error}"));
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(()), |error| Err(error.into()))
}
